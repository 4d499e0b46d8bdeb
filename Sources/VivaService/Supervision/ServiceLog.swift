import Logging
import Observability
import Sockets

/// The JSON lines of one process on standard error, written by a thread of their own.
struct ServiceLog {
    let logger: Logger
    private let lines: LineWriter

    init() throws(SocketError) {
        let lines = try LineWriter { lost in
            Array("{\"level\":\"warning\",\"logger\":\"viva\",\"message\":\"lines lost\",\"lines\":\(lost)}\n".utf8)
        }
        self.lines = lines
        logger = Logger(label: "viva") {
            JSONLogHandler(label: $0, now: Clock.milliseconds, write: lines.write)
        }
    }

    /// Whether a person looks at it.
    var isTerminal: Bool { lines.isTerminal }

    /// Takes a whole line with its line feed.
    var write: @Sendable ([UInt8]) -> Void { lines.write }

    /// Writes what waits; the process ends next.
    func finish() {
        lines.finish(by: .now + .seconds(1))
    }
}
