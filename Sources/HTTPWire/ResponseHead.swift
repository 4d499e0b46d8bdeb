package import HTTPTypes

/// Writes the head of a response.
package enum ResponseHead {
    /// Appends the status line, the fields and the empty line, as HTTP/1.1 (RFC 9112 section 4).
    package static func serialize(status: HTTPResponse.Status, fields: HTTPFields, into output: inout [UInt8]) {
    }
}
