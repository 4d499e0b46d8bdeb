import OpenSSL
import Quantization

/// Moves an input from whoever receives it to a quantizing session, and hashes it on the way.
///
/// The one loop behind a one-shot request and the command line: the receiving thread reads and hashes, the session
/// works on its Dispatch queue.
struct InputPump {
    /// What the bytes were.
    struct Outcome {
        let result: SessionResult
        /// SHA-256 of the input.
        let inputDigest: Digest
        /// Bytes of the input.
        let inputBytes: Int
        /// From the first byte to the last.
        let receiving: Duration
        /// The passes after the last byte.
        let finishing: Duration
    }

    /// Why an input did not become an artifact.
    enum Failure<Receive: Error>: Error {
        case receive(Receive)
        case session(QuantizationError)
        case digest(OpenSSLError)
    }

    private let queue: QuantizingQueue

    init(session: sending QuantizingSession, inputBytes: Int?, pool: BufferPool) {
        queue = QuantizingQueue(session: session, inputBytes: inputBytes, pool: pool)
    }

    /// Calls `receive` until it returns 0, then ends the session.
    func run<Receive: Error>(
        _ receive: (inout MutableRawSpan) throws(Receive) -> Int
    ) throws(Failure<Receive>) -> Outcome {
        let clock = ContinuousClock()
        let start = clock.now
        let hash: SHA256
        do {
            hash = try SHA256()
        } catch {
            throw .digest(error)
        }
        var total = 0
        do throws(TransferError<Receive>) {
            while true {
                let count = try queue.take { (span) throws(Receive) in
                    let count = try receive(&span)
                    if count > 0 { hash.update(span.bytes.extracting(first: count)) }
                    return count
                }
                if count == 0 { break }
                total += count
            }
        } catch {
            switch error {
            case .receive(let error): throw .receive(error)
            case .session(let error): throw .session(error)
            }
        }
        let received = clock.now
        let digest = hash.finish()
        do throws(QuantizationError) {
            let result = try queue.finish(inputDigest: "sha256:\(digest.hex)")
            return Outcome(
                result: result, inputDigest: digest, inputBytes: total, receiving: received - start,
                finishing: clock.now - received)
        } catch {
            throw .session(error)
        }
    }
}
