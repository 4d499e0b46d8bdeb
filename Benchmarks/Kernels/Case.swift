import Glibc

/// Something to time: work that says how many bytes it went through.
struct Case {
    let group: String
    let title: String
    /// What else tells the case from others: an instruction set, a number of threads.
    let column: String
    let work: () -> Int
    private let isParallel: Bool

    /// The runs of which the median counts, or of several threads the best; one more goes before them.
    private static let (runs, parallelRuns) = (7, 25)

    init(_ group: String, _ title: String, _ level: Level, _ work: @escaping () -> Int) {
        (self.group, self.title, column, self.work, isParallel) = (group, title, level.name, work, false)
    }

    init(_ group: String, _ title: String, threads: Int, _ work: @escaping () -> Int) {
        (self.group, self.title, column, self.work, isParallel) = (group, title, "\(threads)", work, true)
    }

    /// GB/s: bytes over the CPU time of the process, which other work on the machine does not add to; for several
    /// threads bytes over the time on the wall, in the best run, which others have disturbed least.
    func rate() -> String {
        let clock = isParallel ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID
        _ = work()
        let rates = (0..<(isParallel ? Self.parallelRuns : Self.runs)).map { _ in
            let start = Self.seconds(clock)
            let bytes = work()
            return Double(bytes) / (Self.seconds(clock) - start) / 1e9
        }.sorted()
        let hundredths = Int(rates[isParallel ? rates.count - 1 : rates.count / 2] * 100)
        let rest = hundredths % 100
        return "\(hundredths / 100).\(rest < 10 ? "0" : "")\(rest)"
    }

    private static func seconds(_ clock: clockid_t) -> Double {
        var time = timespec()
        clock_gettime(clock, &time)
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
