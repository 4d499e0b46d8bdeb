import Glibc
import Synchronization

/// Writes lines to a descriptor on a thread of its own, many at a time: a reader that stalls delays nobody who logs.
///
/// Lines that find the buffer full are dropped and counted; a process that dies loses those of the last moments.
package final class LineWriter: Sendable {
    private struct State {
        var waiting: [UInt8] = []
        var lost = 0
        var isEnding = false
    }

    private let descriptor: Int32
    private let capacity: Int
    private let notice: @Sendable (Int) -> [UInt8]
    private let state = Mutex(State())
    private let work: Semaphore
    private let hurry: Semaphore
    private let ended: Semaphore

    /// How long lines are gathered before they are written.
    private static let gathering: Duration = .milliseconds(10)

    /// Starts the thread. `descriptor` stays the caller's and must outlive the writer.
    ///
    /// - Parameters:
    ///   - capacity: the most bytes that wait.
    ///   - notice: the line that says how many were dropped.
    package init(
        descriptor: Int32 = STDERR_FILENO, capacity: Int = 1 << 20, notice: @escaping @Sendable (Int) -> [UInt8]
    ) throws(SocketError) {
        self.descriptor = descriptor
        self.capacity = capacity
        self.notice = notice
        work = try Semaphore()
        hurry = try Semaphore()
        ended = try Semaphore()
        try Thread.start(name: "viva-log") { [self] in run() }
    }

    /// Whether a person looks at the descriptor.
    package var isTerminal: Bool { isatty(descriptor) == 1 }

    /// Takes a whole line with its line feed; never waits for the reader.
    package func write(_ line: [UInt8]) {
        let isFirst = state.withLock { state in
            guard line.count <= capacity - state.waiting.count else {
                state.lost += 1
                return false
            }
            defer { state.waiting += line }
            return state.waiting.isEmpty
        }
        if isFirst { work.signal() }
    }

    /// Writes what waits and ends the thread; gives up at `deadline`.
    package func finish(by deadline: ContinuousClock.Instant) {
        state.withLock { $0.isEnding = true }
        hurry.signal()
        work.signal()
        _ = ended.wait(until: deadline)
    }

    private func run() {
        var isEnding = false
        // Storage that was written out takes the next lines: new storage would grow a hundred times a second.
        var bytes: [UInt8] = []
        while !isEnding {
            _ = work.wait()
            _ = hurry.wait(until: .now + Self.gathering)
            bytes.removeAll(keepingCapacity: true)
            var lost = 0
            isEnding = state.withLock { state in
                swap(&state.waiting, &bytes)
                swap(&state.lost, &lost)
                return state.isEnding
            }
            if lost > 0 { bytes += notice(lost) }
            send(bytes)
        }
        ended.signal()
    }

    /// What cannot be written to the log can be told nowhere.
    private func send(_ bytes: [UInt8]) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }
}
