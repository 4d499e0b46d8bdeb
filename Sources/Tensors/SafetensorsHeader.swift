/// Writes safetensors headers.
package struct SafetensorsHeader {
    /// The JSON of a header, without the 8-byte length: `__metadata__` first, then the entries in the given order.
    ///
    /// Names must be unique, and none may be `__metadata__`; `__metadata__` is left out when there is none.
    package static func serialize(entries: [TensorEntry], metadata: [MetadataItem]) -> [UInt8] {
        var json = Array("{".utf8)
        if !metadata.isEmpty {
            let items = metadata.map { "\"\(jsonEscaped($0.name))\":\"\(jsonEscaped($0.value))\"" }
            json += Array("\"__metadata__\":{\(items.joined(separator: ","))}".utf8)
        }
        for entry in entries {
            if json.count > 1 { json.append(UInt8(ascii: ",")) }
            let shape = entry.shape.map(String.init).joined(separator: ",")
            let offsets = "\(entry.bytes.lowerBound),\(entry.bytes.upperBound)"
            json += Array("\"\(jsonEscaped(entry.name))\":{\"dtype\":\"\(entry.type.rawValue)\",".utf8)
            json += Array("\"shape\":[\(shape)],\"data_offsets\":[\(offsets)]}".utf8)
        }
        json.append(UInt8(ascii: "}"))
        return json
    }

    /// The start of a file: the 8-byte little-endian length, the JSON, and spaces up to `length` bytes of header.
    ///
    /// - Parameter length: the header's length with its trailing spaces, at least `json.count`; a multiple of 8
    ///   aligns the data buffer as the library's own writers do.
    package static func file(prefixing json: [UInt8], paddedTo length: Int) -> [UInt8] {
        precondition(length >= json.count, "a header cannot be padded to less than it is")
        var bytes: [UInt8] = []
        bytes.reserveCapacity(SafetensorsParser.lengthBytes + length)
        for index in 0..<SafetensorsParser.lengthBytes {
            bytes.append(UInt8(truncatingIfNeeded: length >> (8 * index)))
        }
        bytes += json
        bytes += [UInt8](repeating: UInt8(ascii: " "), count: length - json.count)
        return bytes
    }
}

/// The text between the quotes of a JSON string: quotes, backslashes and control characters escaped.
///
/// Source: RFC 8259 section 7. Everything else stays as it is, in UTF-8.
package func jsonEscaped(_ s: String) -> String {
    guard s.utf8.contains(where: { $0 < 0x20 || $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "\\") }) else {
        return s
    }
    var escaped = ""
    for scalar in s.unicodeScalars {
        switch scalar {
        case "\"": escaped += "\\\""
        case "\\": escaped += "\\\\"
        case "\n": escaped += "\\n"
        case "\r": escaped += "\\r"
        case "\t": escaped += "\\t"
        case "\u{0}"..<"\u{10}": escaped += "\\u000\(String(scalar.value, radix: 16))"
        case "\u{10}"..<" ": escaped += "\\u00\(String(scalar.value, radix: 16))"
        default: escaped.unicodeScalars.append(scalar)
        }
    }
    return escaped
}
