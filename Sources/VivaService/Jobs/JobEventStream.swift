import HTTPServer
import Jobs
import Synchronization

/// What happens to one job, as Server-Sent Events or as lines of JSON.
final class JobEventStream: EventSource {
    /// How the events are written.
    enum Form: Sendable {
        case serverSentEvents
        case lines
    }

    private struct State {
        var isOpened = false
        var last: Int
        var isOver = false
    }

    let heartbeat: [UInt8]
    private let form: Form
    private let board: JobBoard
    private let job: JobRecord
    private let ticket: Int
    /// Tells ids of this process from those of an earlier one.
    private let epoch: String
    private let state: Mutex<State>

    /// A stream of the job that `read` finds, read after the stream began to listen: nothing falls between.
    ///
    /// `lastID` is what the client saw last; from it the stream goes on where this process can.
    init(
        _ id: String, form: Form, board: JobBoard, epoch: String, lastID: String?, signal: EventSignal,
        read: () throws(Problem) -> JobRecord
    ) throws(Problem) {
        self.form = form
        self.board = board
        self.epoch = epoch
        heartbeat = Array((form == .lines ? "\n" : ":\n\n").utf8)
        let (ticket, last) = board.listen(to: id) { signal.signal() }
        do throws(Problem) {
            job = try read()
        } catch {
            board.ignore(id, ticket: ticket)
            throw error
        }
        self.ticket = ticket
        let seen = lastID.flatMap { Self.number($0, epoch: epoch) }
        state = Mutex(State(isOpened: seen != nil, last: seen ?? last))
    }

    deinit {
        board.ignore(job.id, ticket: ticket)
    }

    func next(atMost count: Int) -> EventStep {
        state.withLock { state in
            if state.isOver { return .end }
            var bytes: [UInt8] = []
            if !state.isOpened {
                state.isOpened = true
                if form == .serverSentEvents { bytes += Array("retry: 2000\n\n".utf8) }
                bytes += text(.state(job), number: state.last)
            }
            let (notices, isOver) = board.notices(of: job.id, after: state.last)
            for notice in notices where bytes.count < count {
                bytes += text(notice.content, number: notice.number)
                state.last = notice.number
            }
            state.isOver = (isOver || job.state.isFinal) && (notices.last?.number ?? state.last) == state.last
            if bytes.isEmpty { return state.isOver ? .end : .later }
            return .bytes(bytes)
        }
    }

    private func text(_ content: JobNotice.Content, number: Int) -> [UInt8] {
        let (event, data) =
            switch content {
            case .state(let job): ("state", JobJSON(job: job, progress: board.progress(of: job.id)).json)
            case .progress(let progress): ("progress", JobJSON.json(progress))
            }
        switch form {
        case .serverSentEvents:
            return Array("id: \(epoch)-\(number)\nevent: \(event)\ndata: \(data.text())\n\n".utf8)
        case .lines:
            let line = JSON.object([("id", .string("\(epoch)-\(number)")), ("event", .string(event)), ("data", data)])
            return Array("\(line.text())\n".utf8)
        }
    }

    private static func number(_ id: String, epoch: String) -> Int? {
        guard id.hasPrefix("\(epoch)-") else { return nil }
        return Int(id.dropFirst(epoch.count + 1)).flatMap { $0 >= 0 ? $0 : nil }
    }
}
