import Glibc

/// Something to time: work that says how many bytes it went through.
struct Case {
    let group: String
    let title: String
    let level: Level
    let work: () -> Int

    /// The runs of which the median counts; one more goes before them.
    static let runs = 7

    init(_ group: String, _ title: String, _ level: Level, _ work: @escaping () -> Int) {
        self.group = group
        self.title = title
        self.level = level
        self.work = work
    }

    /// GB/s: bytes over the CPU time of the process, which other work on the machine does not add to.
    func rate() -> String {
        _ = work()
        let rates = (0..<Self.runs).map { _ in
            let start = Self.seconds()
            let bytes = work()
            return Double(bytes) / (Self.seconds() - start) / 1e9
        }
        let hundredths = Int(rates.sorted()[Self.runs / 2] * 100)
        let rest = hundredths % 100
        return "\(hundredths / 100).\(rest < 10 ? "0" : "")\(rest)"
    }

    private static func seconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
}

/// Weights N(0, 0.02) from a seeded generator, as float32 and as bfloat16.
final class Weights {
    let values: [Float]
    let halves: [UInt16]

    init(count: Int) {
        var state: UInt64 = 1
        func uniform() -> Double {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Double(state >> 11) * 0x1p-53
        }
        // One MiB of its own, repeated: no kernel knows.
        let some = (0..<1 << 18).map { _ in
            Float(0.02 * (-2 * log(uniform() + 1e-300)).squareRoot() * cos(2 * .pi * uniform()))
        }
        values = (0..<count).map { some[$0 & (some.count - 1)] }
        halves = values.map { UInt16(truncatingIfNeeded: ($0.bitPattern + 0x7fff + ($0.bitPattern >> 16 & 1)) >> 16) }
    }
}
