package import Logging

/// One line of a log under construction, `{"time":…,"level":…,"logger":…,"message":…}` and what is appended to it.
///
/// For lines of one kind that come by the thousand: it holds no dictionary and sorts nothing, so the caller appends in
/// the order of the keys, each once. A key is given as it stands in the line, `,"status":"`, so that it is one copy; it
/// is the program's own and holds nothing to escape. All values are text, as metadata of a logger is.
package struct LogLine {
    /// What lines of one kind have in common: made once.
    package struct Kind: Sendable {
        fileprivate let text: String

        /// Lines of this level, from this logger, with this message.
        package init(level: Logger.Level, logger: String, message: String) {
            var json = JSONText()
            json.append(plain: "\",\"level\":\"")
            json.append(plain: level.rawValue)
            json.append(plain: "\",\"logger\":")
            json.append(string: logger)
            json.append(plain: ",\"message\":")
            json.append(string: message)
            text = String(decoding: json.bytes, as: UTF8.self)
        }
    }

    private(set) var json = JSONText()

    /// Begins a line; `milliseconds` counts from 1970-01-01T00:00:00Z.
    package init(milliseconds: Int64, _ kind: Kind) {
        json.reserve(384)
        json.append(plain: "{\"time\":\"")
        json.append(rfc3339: milliseconds)
        json.append(plain: kind.text)
    }

    /// Appends text, escaped.
    package mutating func append(_ key: String, _ text: String) {
        json.append(plain: key)
        json.append(contentsOf: text)
        json.append(octet: UInt8(ascii: "\""))
    }

    /// Appends an integer.
    package mutating func append(_ key: String, digitsOf number: Int) {
        json.append(plain: key)
        json.append(integer: number)
        json.append(octet: UInt8(ascii: "\""))
    }

    /// Appends milliseconds with three places: `12345` microseconds are `"12.345"`.
    package mutating func append(_ key: String, milliseconds microseconds: Int) {
        json.append(plain: key)
        json.append(integer: microseconds / 1000)
        json.append(octet: UInt8(ascii: "."))
        json.append(digitsOf: microseconds % 1000, from: 100)
        json.append(octet: UInt8(ascii: "\""))
    }

    /// The line with its line feed.
    package consuming func finished() -> [UInt8] {
        json.append(plain: "}\n")
        return json.bytes
    }
}
