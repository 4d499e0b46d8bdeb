package import Logging

/// One line of a log under construction, `{"time":…,"level":…,"logger":…,"message":…}` and what is appended to it.
///
/// For lines of one kind that come by the thousand: it holds no dictionary and sorts nothing, so the caller appends in
/// the order of the keys, each once. Keys are the program's own: they hold nothing to escape.
package struct LogLine {
    private(set) var json = JSONText()

    /// Begins a line; `milliseconds` counts from 1970-01-01T00:00:00Z.
    package init(milliseconds: Int64, level: Logger.Level, logger: String, message: String) {
        json.reserve(384)
        json.append(plain: "{\"time\":\"")
        json.append(rfc3339: milliseconds)
        json.append(plain: "\",\"level\":\"")
        json.append(plain: level.rawValue)
        json.append(plain: "\",\"logger\":")
        json.append(string: logger)
        json.append(plain: ",\"message\":")
        json.append(string: message)
    }

    /// Appends text, quoted and escaped.
    package mutating func append(_ key: String, _ text: String) {
        append(key: key)
        json.append(string: text)
    }

    /// Appends an integer as text, as metadata of a logger is.
    package mutating func append(_ key: String, digitsOf number: Int) {
        append(key: key)
        json.append(plain: "\"")
        json.append(integer: number)
        json.append(plain: "\"")
    }

    /// Appends milliseconds with three places as text: `12345` microseconds are `"12.345"`.
    package mutating func append(_ key: String, milliseconds microseconds: Int) {
        append(key: key)
        json.append(plain: "\"")
        json.append(integer: microseconds / 1000)
        json.append(plain: ".")
        for divisor in [100, 10, 1] { json.append(digit: microseconds / divisor % 10) }
        json.append(plain: "\"")
    }

    private mutating func append(key: String) {
        json.append(plain: ",\"")
        json.append(plain: key)
        json.append(plain: "\":")
    }

    /// The line with its line feed.
    package consuming func finished() -> [UInt8] {
        json.append(plain: "}\n")
        return json.bytes
    }
}
