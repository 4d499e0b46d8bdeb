package import Logging

/// One line of a log under construction, `{"time":…,"level":…,"logger":…,"message":…}` and what is appended to it.
///
/// For lines of one kind that come by the thousand: it holds no dictionary and sorts nothing, so the caller appends in
/// the order of the keys, each once.
package struct LogLine {
    private(set) var json = JSONText()

    /// Begins a line; `milliseconds` counts from 1970-01-01T00:00:00Z.
    package init(milliseconds: Int64, level: Logger.Level, logger: String, message: String) {
        json.reserve(384)
        json.append("{\"time\":\"")
        json.append(rfc3339: milliseconds)
        json.append("\",\"level\":")
        json.append(string: level.rawValue)
        json.append(",\"logger\":")
        json.append(string: logger)
        json.append(",\"message\":")
        json.append(string: message)
    }

    /// Appends text, quoted and escaped.
    package mutating func append(_ key: StaticString, _ text: String) {
        append(key: key)
        json.append(string: text)
    }

    /// Appends an integer as text, as metadata of a logger is.
    package mutating func append(_ key: StaticString, digitsOf number: Int) {
        append(key: key)
        json.append("\"")
        json.append(integer: number)
        json.append("\"")
    }

    /// Appends milliseconds with three places as text: `12345` microseconds are `"12.345"`.
    package mutating func append(_ key: StaticString, milliseconds microseconds: Int) {
        append(key: key)
        json.append("\"")
        json.append(integer: microseconds / 1000)
        json.append(".")
        for divisor in [100, 10, 1] { json.append(digit: microseconds / divisor % 10) }
        json.append("\"")
    }

    private mutating func append(key: StaticString) {
        json.append(",\"")
        json.append(key)
        json.append("\":")
    }

    /// The line with its line feed.
    package consuming func finished() -> [UInt8] {
        json.append("}\n")
        return json.bytes
    }
}
