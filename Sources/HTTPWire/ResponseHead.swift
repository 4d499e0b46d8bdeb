package import HTTPTypes

/// Writes the head of a response.
package enum ResponseHead {
    /// Appends the status line, the fields and the empty line, as HTTP/1.1 (RFC 9112 section 4).
    ///
    /// Names and values cannot hold CR, LF or NUL: `HTTPField` turns them into spaces when it is built.
    package static func serialize(status: HTTPResponse.Status, fields: HTTPFields, into output: inout [UInt8]) {
        output.reserveCapacity(output.count + 320 + fields.count * 48)
        output.append(contentsOf: "HTTP/1.1 ".utf8)
        for divisor in [100, 10, 1] { output.append(UInt8(ascii: "0") + UInt8(status.code / divisor % 10)) }
        output.append(.space)
        output.append(contentsOf: status.reasonPhrase.utf8)
        output.append(contentsOf: "\r\n".utf8)
        for field in fields {
            output.append(contentsOf: field.name.rawName.utf8)
            output.append(contentsOf: ": ".utf8)
            output.append(contentsOf: field.value.utf8)
            output.append(contentsOf: "\r\n".utf8)
        }
        output.append(contentsOf: "\r\n".utf8)
    }
}
