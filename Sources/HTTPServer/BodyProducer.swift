import Logging
import Sockets

/// Makes a body while it is sent, on the thread that sends it.
package protocol BodyProducer: AnyObject, Sendable {
    /// Bytes in all, known before the first one is made.
    var byteCount: Int { get }
    /// Fills the start of `bytes` with what comes next, and says with how many bytes: at least one.
    ///
    /// Called by one thread at a time, never for more than `byteCount` bytes in all.
    func produce(into bytes: inout MutableRawSpan) throws(ProductionFailure) -> Int
}

/// Why a body ended before its announced length.
package struct ProductionFailure: Error, Sendable, Equatable {
    /// The stable code that the log tells.
    package let code: String
    /// One sentence for the operator.
    package let detail: String

    /// Names the reason.
    package init(code: String, detail: String) {
        self.code = code
        self.detail = detail
    }
}

extension Engine {
    /// Bytes that are asked of a producer at once.
    static let producedPieceBytes = 256 << 10

    /// Sends all that `producer` makes, waiting; the failure after which the announced length cannot be kept, so that
    /// the connection must close.
    func send(
        _ producer: any BodyProducer, over connection: inout Connection, sent: inout Int
    ) throws(SocketError) -> ProductionFailure? {
        var buffer = [UInt8](repeating: 0, count: min(Self.producedPieceBytes, producer.byteCount))
        var left = producer.byteCount
        while left > 0 {
            // A client that takes all at once never makes the transport wait, which would notice.
            guard !service.interruption.isRequested else { throw .interrupted }
            var span = buffer.mutableSpan
            var bytes = unsafe span.mutableBytes
            var room = bytes._mutatingExtracting(first: min(bytes.byteCount, left))
            var made = 0
            var failure: ProductionFailure?
            do throws(ProductionFailure) {
                made = min(try producer.produce(into: &room), room.byteCount)
                if made < 1 { throw ProductionFailure(code: "response.short", detail: "\(left) bytes are missing.") }
            } catch {
                failure = error
            }
            if let failure {
                service.logger.error(
                    "answer broken off",
                    metadata: ["peer": "\(connection.peer)", "code": "\(failure.code)", "detail": "\(failure.detail)"])
                return failure
            }
            left -= made
            try connection.transport.sendAll(
                room.bytes.extracting(first: made), more: left > 0, stall: service.limits.writeStall)
            sent += made
        }
        return nil
    }
}
