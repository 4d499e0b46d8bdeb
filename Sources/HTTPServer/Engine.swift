import HTTPTypes
import HTTPWire
import Logging
import Sockets

/// Carries requests from bytes to answers; one for each thread. It never waits, except in `execute` and `deliver`
/// when a thread of the pool calls them.
final class Engine {
    let service: Service
    let limits: ServerLimits
    private var writer = ResponseWriter()
    /// Lent to the connection whose turn it is: idle connections own no buffers.
    private var scratch: InputBuffer

    init(_ service: Service) {
        self.service = service
        limits = service.limits
        scratch = InputBuffer(capacity: max(limits.bodyHeadStart, limits.head.maxHeadBytes) + 64 << 10)
    }

    /// One turn of a connection whose descriptor is ready: reads once, answers what can be answered.
    func turn(_ connection: inout Connection, now: ContinuousClock.Instant) -> Next {
        do throws(SocketError) {
            if !connection.transport.isEstablished {
                if case .wait(let interest) = try connection.transport.handshake() {
                    connection.interest = interest
                    return .park
                }
                guard connection.transport.isEstablished else { return .drop }
                connection.since = now
            }
            if connection.input.isEmpty, case .head = connection.stage { connection.since = now }
            scratch.load(connection.input)
            swap(&scratch, &connection.input)
            defer { returnScratch(&connection) }
            switch try connection.input.receive(from: &connection.transport) {
            case .ended:
                guard case .body(let admitted, _) = connection.stage else { return .drop }
                // The client may have ended its half only, and still read.
                let problem = RequestBody.incomplete(received: connection.input.count)
                return refuse(problem, admitted.exchange, &connection)
            case .wait(let interest):
                connection.interest = interest
                return .park
            case .bytes: break
            }
            connection.interest = .read
            connection.lastProgress = now
            return process(&connection)
        } catch {
            note(error, connection.peer)
            return error == .plainHTTP ? refuse(.plainHTTP, &connection) : .drop
        }
    }

    /// Goes on where bytes are there already, and reads once where those are no whole request.
    func goOn(_ connection: inout Connection) -> Next {
        let next = connection.input.isEmpty ? Next.park : process(&connection)
        // Answers go out first: reading on may find the client's end of file, which ends the connection.
        guard case .park = next, connection.output.isEmpty else { return next }
        return turn(&connection, now: .now)
    }

    /// Does what it can of what a thread was to do, when there is none: the loop speaks TLS itself, and refuses what
    /// needs a handler. A long answer breaks off.
    func doWithoutThread(_ next: Next, _ connection: inout Connection) -> Next {
        var next = next
        if case .again = next { next = goOn(&connection) }
        switch next {
        case .work(let admitted): return refuse(.overloaded, admitted.exchange, &connection)
        case .deliver(let delivery):
            var exchange = delivery.exchange
            service.refuse(&exchange, with: .overloaded)
            finish(exchange, delivery.status, sent: delivery.sent, connection.origin)
            return .drop
        case .park, .again, .drop: return next
        }
    }

    private func returnScratch(_ connection: inout Connection) {
        var held = connection.input.isEmpty ? InputBuffer() : connection.input.trimmed()
        swap(&held, &connection.input)
        held.consume(held.count)
        scratch = held
    }

    /// Answers the requests that are whole in `input`, until one needs a thread or more bytes.
    func process(_ connection: inout Connection) -> Next {
        for _ in 0..<max(1, limits.maxPipelinedRequests) {
            var next = Next.park
            switch connection.stage {
            case .sending, .streaming, .closing, .lingering: return .park
            case .body(let admitted, var headStart):
                guard headStart.isThere(in: connection.input) else {
                    connection.stage = .body(admitted, headStart)
                    return .park
                }
                connection.stage = .head
                next = dispatch(admitted, &connection)
            case .head:
                guard let outcome = readHead(&connection) else { return .park }
                next = outcome
            }
            switch next {
            case .park, .again: if connection.output.count >= limits.inlineResponseBytes { return .again }
            case .work, .deliver, .drop: return next
            }
        }
        service.observer.limitReached(.pipelinedRequests)
        return .again
    }

    /// Reads one head; nil when it is not whole.
    private func readHead(_ connection: inout Connection) -> Next? {
        guard !connection.input.isEmpty else { return nil }
        let scanned = connection.scanned
        let parsed = connection.input.withBytes { RequestHead.parse($0, limits: limits.head, scannedBefore: scanned) }
        switch parsed {
        case .partial(let scanned):
            connection.scanned = scanned
            return nil
        case .refused(let error):
            connection.scanned = 0
            return refuse(Problem(error), &connection)
        case .complete(let head, let consumed):
            connection.scanned = 0
            connection.input.consume(consumed)
            return begin(head, &connection)
        }
    }

    /// Counts a request in; without a head it was refused or timed out.
    func start(_ head: RequestHead?, _ connection: inout Connection) -> Exchange {
        service.observer.requestStarted(head?.method, isSecure: connection.origin.isSecure)
        connection.served += 1
        let trace = head.map { service.identifiers.trace(of: $0.fields) } ?? service.identifiers.newTrace()
        return Exchange(head: head, id: service.identifiers.requestID(), trace: trace, started: .now)
    }

    private func begin(_ head: RequestHead, _ connection: inout Connection) -> Next {
        var exchange = start(head, &connection)
        do throws(Problem) {
            // A resource of another scheme is not served here (RFC 9110 section 7.4).
            guard !head.isHTTPS || connection.transport.isSecure else {
                throw Problem(
                    .misdirectedRequest, code: "http.misdirected", detail: "This connection is not secured for https.")
            }
            switch service.table.match(head) {
            case .route(let route, let parameters):
                exchange.template = route.template
                if route.execution == .worker { service.track(&exchange, connection.peer, .waiting) }
                var admitted = RoutedRequest(
                    head: head, route: route, parameters: parameters, coding: try .of(head.fields),
                    origin: connection.origin, exchange: exchange)
                try check(admitted)
                if admitted.owesContinue, service.crowding.isNear {
                    // Threads become few: who has not sent a byte yet waits for none.
                    connection.output.append(contentsOf: RequestBody.continueLine)
                    admitted = admitted.continued
                }
                var headStart = BodyHeadStart(admitted, limits)
                if headStart.isThere(in: connection.input) { return dispatch(admitted, &connection) }
                connection.stage = .body(admitted, headStart)
                connection.since = connection.lastProgress
                return .park
            case .options(let allow):
                let response = Response(status: .noContent, fields: [.allow: allow])
                return answer(response, exchange, &connection, bodyIsDone: skipBody(head, &connection))
            case .notFound:
                throw Problem(.notFound, code: "route.not_found", detail: "Nothing is served at \(head.rawPath).")
            case .methodNotAllowed(let allow):
                guard RouteIndex.knownMethods.contains(head.method) else {
                    throw Problem(
                        .notImplemented, code: "http.unknown_method",
                        detail: "The method '\(head.method.rawValue)' is not known here.")
                }
                throw Problem(
                    .methodNotAllowed, code: "route.method_not_allowed",
                    detail: "\(head.method.rawValue) is not possible here; \(allow) are.", fields: [.allow: allow])
            }
        } catch {
            service.refuse(&exchange, with: error)
            return answer(
                error.response(traceID: exchange.trace.traceID), exchange, &connection,
                bodyIsDone: skipBody(head, &connection))
        }
    }

    /// Every check of a head that can fail, before 100 Continue and before a byte of the body.
    private func check(_ request: RoutedRequest) throws(Problem) {
        if case .length(let length) = request.head.framing, length > request.bodyLimit(limits) {
            throw RequestBody.tooLarge(request.bodyLimit(limits))
        }
        _ = try BodyDigest.expected(by: request.head.fields)
        try service.admit(request)
    }

    /// Drops a body that lies in the buffer as a whole; false when more of it may come.
    private func skipBody(_ head: RequestHead, _ connection: inout Connection) -> Bool {
        switch head.framing {
        case .none: return true
        case .chunked: return false
        case .length(let length):
            guard length <= connection.input.count else { return false }
            connection.input.consume(length)
            return true
        }
    }

    private func dispatch(_ admitted: RoutedRequest, _ connection: inout Connection) -> Next {
        guard admitted.route.execution == .inline, admitted.isWhole(in: connection.input.count) else {
            return .work(admitted)
        }
        return execute(admitted, &connection)
    }

    /// Runs the handler and writes its answer.
    func execute(_ admitted: RoutedRequest, _ connection: inout Connection) -> Next {
        if let flight = admitted.exchange.flight {
            guard !flight.isOverdue else { return refuse(.overdue, admitted.exchange, &connection) }
            flight.enter(.working)
        }
        var exchange = admitted.exchange
        // Earlier answers go out before 100 Continue does, and before the client is waited for.
        if !connection.output.isEmpty, !admitted.isWhole(in: connection.input.count) {
            do throws(SocketError) {
                try connection.flush(stall: limits.writeStall)
            } catch {
                return fail(exchange, .badRequest, error, connection.origin)
            }
        }
        let body = RequestBody(admitted, connection: connection, limits: limits, crowding: service.crowding)
        var request = Request(admitted, body: body)
        var response: Response
        do throws(Problem) {
            response = try admitted.route.handler(&request)
        } catch {
            service.refuse(&exchange, with: error)
            response = error.response(traceID: exchange.trace.traceID)
        }
        var rest = request.releaseBody()
        exchange.bodyBytes = rest.bytesReceived
        let isDisconnected = rest.isDisconnected
        let isDone = rest.settle()
        connection = rest.releaseConnection()
        if isDisconnected {
            finish(exchange, response.status, sent: 0, connection.origin)
            return .drop
        }
        return answer(response, exchange, &connection, bodyIsDone: isDone)
    }

    /// Refuses what is no whole request.
    func refuse(_ problem: Problem, _ connection: inout Connection) -> Next {
        refuse(problem, start(nil, &connection), &connection)
    }

    /// Answers with a problem, closes, and never reads another request.
    func refuse(_ problem: Problem, _ exchange: Exchange, _ connection: inout Connection) -> Next {
        var exchange = exchange
        service.refuse(&exchange, with: problem)
        return answer(
            problem.response(traceID: exchange.trace.traceID), exchange, &connection, bodyIsDone: false)
    }
}

// Answers.
extension Engine {
    private func answer(
        _ response: Response, _ exchange: Exchange, _ connection: inout Connection, bodyIsDone: Bool
    ) -> Next {
        var response = response
        var exchange = exchange
        ResponseWriter.compress(&response, for: exchange.head)
        let framing = ResponseWriter.Framing(response.body, for: exchange.head)
        let isLast = connection.served >= limits.maxRequestsPerConnection
        if isLast { service.observer.limitReached(.requestsPerConnection) }
        let closes =
            !bodyIsDone || framing == .close || exchange.head?.keepAlive != true || service.isDraining || isLast
        let stage = closes ? Connection.Stage.closing(linger: !bodyIsDone || !connection.input.isEmpty) : .head
        let frame = ResponseWriter.Frame(
            requestID: exchange.id, head: exchange.head, closes: closes, framing: framing)
        writer.write(response, frame, into: &connection.output)
        let isBodiless = exchange.head?.method == .head || !ResponseWriter.mayHaveBody(response.status)
        if case .stream(let source, let signal) = response.body, !isBodiless {
            service.track(&exchange, connection.peer, .streaming)
            connection.stage = .streaming(
                Streaming(
                    source, signal, exchange: exchange, status: response.status, framing: framing, closes: closes,
                    bodyIsDone: bodyIsDone))
            rest(&connection)
            return .park
        }
        let pieces = isBodiless ? [] : response.body.pieces
        let length = isBodiless ? 0 : response.body.count
        if length > limits.inlineResponseBytes || pieces.contains(where: \.needsThread) {
            service.track(&exchange, connection.peer, .waiting)
            rest(&connection)
            return .deliver(Delivery(pieces: pieces, status: response.status, exchange: exchange, stage: stage))
        }
        do throws(SocketError) {
            for piece in pieces { try append(piece, to: &connection.output) }
        } catch {
            return fail(exchange, response.status, error, connection.origin)
        }
        connection.stage = stage
        rest(&connection)
        finish(exchange, response.status, sent: length, connection.origin, at: connection.since)
        return connection.hasUnseenBytes ? .again : .park
    }

    private func append(_ piece: BodyPart, to output: inout [UInt8]) throws(SocketError) {
        switch piece {
        case .bytes(let bytes): output.append(contentsOf: bytes)
        case .file(let file, let range):
            var part = InputBuffer(capacity: range.count)
            var offset = range.lowerBound
            while offset < range.upperBound {
                let count = try part.fill { room throws(SocketError) in try file.source.read(into: &room, at: offset) }
                guard count > 0 else { throw .disconnected }
                offset += count
            }
            part.moveAll(to: &output)
        case .produced: break  // Needs a thread: `deliver` sends it.
        }
    }

    /// A new stage begins now.
    func rest(_ connection: inout Connection) {
        connection.since = .now
        connection.lastProgress = connection.since
    }

    /// The end of a connection; a request that waited for its body ends with it, and so does a stream.
    func abandon(_ connection: borrowing Connection) {
        switch connection.stage {
        case .streaming(let streaming):
            breakOff(streaming.exchange, streaming.status, sent: connection.streamed, connection)
        case .sending(let delivery): breakOff(delivery.exchange, delivery.status, sent: delivery.sent, connection)
        case .body(let admitted, _):
            var exchange = admitted.exchange
            exchange.errorCode = "body.incomplete"
            finish(exchange, .badRequest, sent: 0, connection.origin)
        case .head, .closing, .lingering: break
        }
    }

    /// The end of a connection whose answer is not over.
    private func breakOff(
        _ exchange: Exchange, _ status: HTTPResponse.Status, sent: Int, _ connection: borrowing Connection
    ) {
        var exchange = exchange
        let term = connection.term(limits)
        let isStalled = term.limit != nil && term.end <= .now
        exchange.errorCode =
            service.interruption.isRequested
            ? "server.stopping" : isStalled ? "response.stalled" : "response.client_left"
        finish(exchange, status, sent: sent, connection.origin)
    }

    func fail(
        _ exchange: Exchange, _ status: HTTPResponse.Status, _ error: SocketError, _ origin: Origin, sent: Int = 0
    ) -> Next {
        var exchange = exchange
        exchange.errorCode = exchange.errorCode ?? (error == .timedOut ? "response.stalled" : "response.broken_off")
        note(error, origin.peer)
        finish(exchange, status, sent: sent, origin)
        return .drop
    }

    /// The end of a request: it is told to the observer, and an operator sees it no more.
    func finish(
        _ exchange: Exchange, _ status: HTTPResponse.Status, sent: Int, _ origin: Origin,
        at end: ContinuousClock.Instant = .now
    ) {
        if let flight = exchange.flight { service.flights.remove(flight) }
        let (seconds, attoseconds) = exchange.started.duration(to: end).components
        let nanoseconds = UInt64(clamping: seconds) &* 1_000_000_000 &+ UInt64(clamping: attoseconds / 1_000_000_000)
        service.observer.requestFinished(
            RequestSummary(
                method: exchange.head?.method, version: exchange.head?.version, route: exchange.template,
                status: status,
                durationNanoseconds: nanoseconds, requestBodyBytes: exchange.bodyBytes, responseBodyBytes: sent,
                requestID: exchange.id, traceID: exchange.trace.traceID, peer: origin.peer, isSecure: origin.isSecure,
                errorCode: exchange.errorCode))
    }

    /// Broken connections are everyday matters; anything else deserves a line.
    func note(_ error: SocketError, _ peer: String) {
        switch error {
        case .disconnected, .timedOut, .interrupted, .plainHTTP, .tls:
            service.logger.debug("connection ended", metadata: ["peer": "\(peer)", "error": "\(error)"])
        case .system, .lookup:
            service.logger.warning("connection failed", metadata: ["peer": "\(peer)", "error": "\(error)"])
        }
    }
}
