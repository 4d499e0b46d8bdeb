import HTTPServer
import HTTPTypes
import HTTPWire
import Tensors

extension Request {
    /// Reads the whole body, at most `maximumBytes`, as one JSON document.
    ///
    /// - Throws: 413 `limit.body_bytes`, 400 `request.invalid_body`, and what the body's reading throws.
    mutating func document(maximumBytes: Int) throws(Problem) -> JSONValue {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            var span = buffer.mutableSpan
            var raw = unsafe span.mutableBytes
            let count = try body.read(into: &raw)
            if count == 0 { break }
            guard bytes.count + count <= maximumBytes else {
                throw Problem(
                    .contentTooLarge, code: "limit.body_bytes",
                    detail: "The document has at most \(maximumBytes) bytes.")
            }
            bytes += buffer.prefix(count)
        }
        do throws(TensorFormatError) {
            return try JSONValue.parse(unsafe bytes.span.bytes)
        } catch {
            throw .invalidBody("The body is no JSON: \(error.detail).")
        }
    }
}

extension Problem {
    /// 400 `request.invalid_body`: a document that does not say what it has to.
    static func invalidBody(_ detail: String) -> Problem {
        Problem(.badRequest, code: "request.invalid_body", title: "The body is not valid", detail: detail)
    }
}
