import Sockets

/// How far a long run has come, on one line of a terminal that is written over and over; silent where nobody looks.
final class ProgressBar {
    private let total: Int
    private let writer: LineWriter?
    private let start = ContinuousClock.now
    private var drawn: ContinuousClock.Instant?
    private var done = 0
    /// What the bar stands for at the moment, the name of a file for instance.
    var subject = ""

    /// How often the line is written at most.
    private static let pause: Duration = .milliseconds(100)
    private static let cells = 20
    /// The longest subject; with the figures the line stays under 80 columns.
    private static let subjectWidth = 16

    /// A bar over `total` bytes on standard error, if that is a terminal.
    init(total: Int) throws(SocketError) {
        self.total = total
        let writer = try LineWriter { _ in [] }
        self.writer = writer.isTerminal ? writer : nil
    }

    /// Notes that `bytes` more are done.
    func advance(by bytes: Int) {
        done += bytes
        guard let writer else { return }
        let now = ContinuousClock.now
        if let drawn, now - drawn < Self.pause { return }
        drawn = now
        writer.write(Array("\r\(text(after: now - start))\u{1B}[K".utf8))
    }

    /// Takes the line away.
    func finish() {
        guard let writer else { return }
        if drawn != nil { writer.write(Array("\r\u{1B}[K".utf8)) }
        writer.finish(by: .now + .seconds(1))
    }

    /// The line after some time, without what clears it: bar, share, bytes, rate, and the time that is left.
    func text(after elapsed: Duration) -> String {
        let share = total > 0 ? min(1, Double(done) / Double(total)) : 1
        let filled = Int(share * Double(Self.cells))
        let bar = String(repeating: "#", count: filled) + String(repeating: "-", count: Self.cells - filled)
        let seconds = elapsed.seconds
        let rate = seconds > 0 ? Double(done) / seconds : 0
        let left = rate > 0 ? Self.clock(Double(total - done) / rate) : "-:--"
        let name = TerminalText.plain(String(subject.suffix(Self.subjectWidth)))
        return "[\(bar)] \(Int(share * 100)) % \(Self.amount(Double(done))) of \(Self.amount(Double(total)))  "
            + "\(Self.amount(rate))/s  \(left) left  \(name)"
    }

    private static func amount(_ bytes: Double) -> String {
        let units = ["B", "kB", "MB", "GB", "TB"]
        var (value, unit) = (bytes, 0)
        while value >= 1000, unit < units.count - 1 {
            value /= 1000
            unit += 1
        }
        return "\(ReportText.fixed(value, unit == 0 || value >= 100 ? 0 : 1)) \(units[unit])"
    }

    private static func clock(_ seconds: Double) -> String {
        guard seconds < 360_000 else { return "-:--" }
        let whole = Int(seconds.rounded(.up))
        let minutes = whole / 60 % 60
        let tail = "\(100 + whole % 60)".dropFirst()
        return whole >= 3600 ? "\(whole / 3600):\("\(100 + minutes)".dropFirst()):\(tail)" : "\(minutes):\(tail)"
    }
}
