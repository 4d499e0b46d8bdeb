/// How far a running job has come.
package struct JobProgress: Sendable, Equatable {
    /// Bytes of the input that were worked on.
    package var bytes = 0
    /// Bytes of the input.
    package var totalBytes = 0
    /// Tensors that are done.
    package var tensors = 0
    /// Tensors of the input; 0 until its header was read.
    package var totalTensors = 0
    /// Bytes a second, smoothed; nil before two reports.
    package var rate: Double?
    /// Tensors a second since the last byte of the input was worked on; nil before.
    package var tensorRate: Double?

    /// Nothing done.
    package init() {}

    /// Seconds that the rest takes at this rate, of tensors when all bytes are worked on; nil while there is none.
    package var secondsLeft: Double? {
        if bytes >= totalBytes, tensors < totalTensors {
            guard let tensorRate, tensorRate > 0 else { return nil }
            return Double(totalTensors - tensors) / tensorRate
        }
        guard let rate, rate > 0 else { return nil }
        return Double(max(0, totalBytes - bytes)) / rate
    }
}

/// Makes a rate of reports.
struct RateMeter {
    /// The weight of what is older halves in so many milliseconds.
    static let halfLife = 5_000.0

    private var last: (bytes: Int, time: Int64)?
    private var rate: Double?

    /// Takes in how far the work had come at a time in milliseconds; answers bytes a second.
    mutating func add(_ bytes: Int, at time: Int64) -> Double? {
        guard let before = last else {
            last = (bytes, time)
            return nil
        }
        let elapsed = Double(time - before.time)
        // A clock that stands still or goes back says nothing.
        guard elapsed > 0 else { return rate }
        last = (bytes, time)
        let now = Double(bytes - before.bytes) * 1_000 / elapsed
        let kept = RateMeter.remaining(after: elapsed)
        rate = max(0, rate.map { kept * $0 + (1 - kept) * now } ?? now)
        return rate
    }

    /// 2^(-elapsed / halfLife) to first order in each half-life, which needs no library.
    private static func remaining(after elapsed: Double) -> Double { halfLife / (halfLife + elapsed) }
}
