import Compression
import HTTPTypes
import HTTPWire
import Sockets

/// A request's body, read at the handler's pace: framing and gzip taken off, digests compared, limits held.
///
/// The client is told to continue (100) at the first read that needs bytes, never before.
package struct RequestBody: ~Copyable {
    private enum Framing {
        case length(Int)
        case chunked(ChunkedDecoder)
        case finished
    }

    private enum Phase {
        case untouched
        case reading
        /// Every later read repeats the first failure.
        case failed(Problem)
    }

    /// The declared length in bytes; nil when it is chunked or gzip-coded, 0 without a body.
    package let declaredLength: Int?
    /// Bytes of the body so far as coded, without its framing.
    package private(set) var bytesReceived = 0
    /// Whether the client can not be answered any more.
    private(set) var isDisconnected = false

    private var connection: Connection
    private let fields: HTTPFields
    private let coding: BodyCoding
    private let limits: ServerLimits
    private let maxBytes: Int
    private var phase = Phase.untouched
    private var framing: Framing
    private var owesContinue: Bool
    private var digest: BodyDigest?
    private var inflater: GzipInflater?
    private var inflaterFinished = true
    private var coded = InputBuffer()
    /// How long reads have waited for the client in all.
    private var waited = Duration.zero
    private var endedOrderly = false
    private let crowding: Crowding
    private let flight: Flight?
    /// The limit that a wait reached.
    private var reached: LimitName?

    init(_ admitted: RoutedRequest, connection: consuming Connection, limits: ServerLimits, crowding: Crowding) {
        self.crowding = crowding
        flight = admitted.exchange.flight
        fields = admitted.head.fields
        coding = admitted.coding
        maxBytes = admitted.bodyLimit(limits)
        owesContinue = admitted.owesContinue
        self.limits = limits
        self.connection = connection
        switch admitted.head.framing {
        case .none:
            framing = .finished
            declaredLength = 0
        case .length(let length):
            framing = length == 0 ? .finished : .length(length)
            declaredLength = coding == .gzip && length > 0 ? nil : length
        case .chunked:
            framing = .chunked(ChunkedDecoder(limits: limits.chunks))
            declaredLength = nil
        }
    }

    /// Reads the next bytes into the start of `buffer`, as many as are there: 0 at the end of the body.
    ///
    /// - Throws: 400 for broken framing, a body cut short or a digest that does not fit, 408 for a stalled one, 413
    ///   for one over its limit. The connection closes after the answer.
    package mutating func read(into buffer: inout MutableRawSpan) throws(Problem) -> Int {
        do throws(Problem) {
            try begin()
            guard buffer.byteCount > 0 else { return 0 }
            if flight?.isOverdue == true { throw Problem.overdue }
            return try inflater == nil ? readContent(into: &buffer) : readInflated(into: &buffer)
        } catch {
            phase = .failed(error)
            throw error
        }
    }

    private mutating func begin() throws(Problem) {
        switch phase {
        case .reading: return
        case .failed(let problem): throw problem
        case .untouched: break
        }
        phase = .reading
        digest = try BodyDigest.start(for: fields)
        if case .finished = framing { try digest?.verify() }
        guard coding == .gzip else { return }
        do {
            inflater = try GzipInflater(limits: limits.inflate)
        } catch {
            throw Self.problem(of: error)
        }
    }

    /// Takes what is left of the body as far as it has arrived; true when the next request can follow.
    mutating func settle() -> Bool {
        if case .failed = phase { return false }
        switch framing {
        case .finished: return true
        case .chunked: return false
        case .length(let left):
            // A client that waits for 100 may send its body or not: nobody knows what comes next.
            guard left <= connection.input.count else { return false }
            connection.input.consume(left)
            framing = .finished
            return true
        }
    }

    consuming func releaseConnection() -> Connection {
        connection
    }
}

// The layers: content without coding, content without framing, bytes of the wire.
extension RequestBody {
    private mutating func readInflated(into buffer: inout MutableRawSpan) throws(Problem) -> Int {
        guard let inflater else { return 0 }
        while true {
            if coded.isEmpty { try refillCoded() }
            let ended = coded.isEmpty
            if ended, inflaterFinished { return 0 }
            do throws(CompressionError) {
                let progress = try coded.withBytes { bytes throws(CompressionError) in
                    try inflater.inflate(bytes, into: &buffer)
                }
                coded.consume(progress.consumed)
                inflaterFinished = progress.finished
                if progress.produced > 0 { return progress.produced }
                if ended, !progress.finished { throw .malformed(detail: "the stream ends within a member") }
                if !ended, progress.consumed == 0 { throw .malformed(detail: "the stream makes no progress") }
            } catch {
                throw Self.problem(of: error)
            }
        }
    }

    private mutating func refillCoded() throws(Problem) {
        var refilled = coded
        coded = InputBuffer()
        refilled.reserve(64 << 10)
        _ = try refilled.fill { room throws(Problem) in try readContent(into: &room) }
        coded = refilled
    }

    private mutating func readContent(into buffer: inout MutableRawSpan) throws(Problem) -> Int {
        let count: Int
        switch framing {
        case .finished: return 0
        case .length(let left):
            count = try readRaw(into: &buffer, atMost: left)
            framing = left == count ? .finished : .length(left - count)
        case .chunked(let decoder): count = try readChunks(decoder, into: &buffer)
        }
        guard count <= maxBytes - bytesReceived else { throw Self.tooLarge(maxBytes) }
        bytesReceived += count
        flight?.receive(count)
        if let digest {
            digest.update(buffer.bytes.extracting(first: count))
            if case .finished = framing { try digest.verify() }
        }
        return count
    }

    private mutating func readChunks(
        _ decoder: ChunkedDecoder, into buffer: inout MutableRawSpan
    ) throws(Problem) -> Int {
        var decoder = decoder
        while true {
            if connection.input.isEmpty { try receiveInput() }
            do throws(WireError) {
                let progress = try connection.input.withBytes { bytes throws(WireError) in
                    try decoder.decode(bytes, into: &buffer)
                }
                connection.input.consume(progress.consumed)
                framing = progress.finished ? .finished : .chunked(decoder)
                if progress.produced > 0 || progress.finished { return progress.produced }
            } catch {
                throw Problem(error)
            }
        }
    }

    /// Bytes as they are on the wire: those that came with the head first, then straight from the socket.
    private mutating func readRaw(into buffer: inout MutableRawSpan, atMost most: Int) throws(Problem) -> Int {
        if !connection.input.isEmpty { return connection.input.move(into: &buffer, atMost: most) }
        var room = buffer._mutatingExtracting(first: min(most, buffer.byteCount))
        return try receive { connection throws(SocketError) in try connection.transport.receive(into: &room) }
    }

    /// Receives at least one byte behind what the connection holds.
    private mutating func receiveInput() throws(Problem) {
        connection.input.reserve(max(64 << 10, connection.input.count * 2))
        _ = try receive { connection throws(SocketError) in
            try connection.input.receive(from: &connection.transport)
        }
    }

    /// Waits for bytes and answers how many `step` has received; a client that waits as well is told to continue.
    private mutating func receive(
        _ step: (inout Connection) throws(SocketError) -> Transport.Progress
    ) throws(Problem) -> Int {
        while true {
            try sendContinue()
            do throws(SocketError) {
                switch try step(&connection) {
                case .bytes(let count): return count
                case .ended:
                    endedOrderly = true
                    throw .disconnected
                case .wait(let interest): try waitForClient(interest)
                }
            } catch {
                throw broken(by: error)
            }
        }
    }

    static let continueLine = Array("HTTP/1.1 100 Continue\r\n\r\n".utf8)

    private mutating func sendContinue() throws(Problem) {
        guard owesContinue else { return }
        owesContinue = false
        do {
            try connection.transport.sendAll(unsafe Self.continueLine.span.bytes, stall: limits.writeStall)
        } catch {
            throw broken(by: error)
        }
    }

    /// Waits within the idle limit and what the minimum rate leaves of the waiting time, which is a higher one while
    /// others wait for a thread.
    private mutating func waitForClient(_ interest: Interest) throws(SocketError) {
        let start = ContinuousClock.now
        let left = limits.bodyGrace + earned(by: bytesReceived, limits.bodyMinimumRate) - waited
        // The head start was waited for without a thread.
        let crowdedEarned = earned(by: max(0, bytesReceived - limits.bodyHeadStart), limits.crowdedBodyRate)
        let patience = min(limits.bodyIdle, left)
        var spent = Duration.zero
        defer {
            waited += spent
            flight?.wait(spent)
        }
        while true {
            let isOut = spent >= patience
            let crowdedLeft = crowding.patience(limits.crowdedGrace).map { $0 + crowdedEarned - waited }
            if isOut || spent >= crowdedLeft ?? patience {
                reached = !isOut ? .crowdedBodyRate : left < limits.bodyIdle ? .bodyRate : .bodyIdle
                throw .timedOut
            }
            let isReady = try connection.transport.isReady(for: interest, within: patience - spent)
            spent = start.duration(to: .now)
            if isReady { return }
        }
    }

    /// How long a body may be waited for, beyond its grace, for the bytes that came.
    private func earned(by bytes: Int, _ rate: Int) -> Duration {
        .seconds(1) * (Double(bytes) / Double(max(1, rate)))
    }
}

// What failures mean to a client.
extension RequestBody {
    private mutating func broken(by error: SocketError) -> Problem {
        switch error {
        case .timedOut: return Self.tooSlow(received: bytesReceived, reached ?? .writeStall)
        case .interrupted:
            return Problem(
                .serviceUnavailable, code: "server.stopping", detail: "The server stops; send the request again.",
                fields: [.retryAfter: "5"])
        default:
            // After an orderly end of file the client may still read.
            isDisconnected = !endedOrderly
            return Self.incomplete(received: bytesReceived)
        }
    }

    static func incomplete(received: Int) -> Problem {
        Problem(
            .badRequest, code: "body.incomplete", detail: "The connection ended within the body.",
            members: [("received", .integer(received))])
    }

    /// - Parameter limit: what the body has reached by its pace.
    static func tooSlow(received: Int, _ limit: LimitName) -> Problem {
        Problem(
            .requestTimeout, code: "body.timeout", detail: "The body stalled or came too slowly.",
            members: [("received", .integer(received)), ("limit", .string(limit.rawValue))]
        ).reaching(limit)
    }

    static func tooLarge(_ limit: Int) -> Problem {
        Problem(
            .contentTooLarge, code: "body.too_large", detail: "The body may have at most \(limit) bytes.",
            members: [("limit", .integer(limit))]
        ).reaching(.bodyBytes)
    }

    private static func problem(of error: CompressionError) -> Problem {
        switch error {
        case .malformed(let detail):
            Problem(.badRequest, code: "body.gzip_malformed", detail: "The gzip coding is broken: \(detail).")
        case .trailingGarbage:
            Problem(.badRequest, code: "body.gzip_malformed", detail: "Bytes follow the gzip coding's last member.")
        case .tooLong(let limit):
            Problem(
                .contentTooLarge, code: "body.inflated_too_large",
                detail: "The body would inflate to more than \(limit) bytes.", members: [("limit", .integer(limit))])
        case .ratio(let limit, let consumed, let produced):
            Problem(
                .contentTooLarge, code: "body.inflate_ratio",
                detail: "\(consumed) bytes inflate to \(produced): more than \(limit) times as much.",
                members: [("limit", .integer(limit))])
        case .zlib(let code):
            .failure(code: "body.gzip_unavailable", evidence: "zlib could not start (\(code)).")
        }
    }
}
