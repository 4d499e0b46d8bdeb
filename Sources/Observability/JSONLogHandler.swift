package import Logging

/// Writes each log event as one JSON object on a line of its own.
///
/// `{"time":…,"level":…,"logger":…,"message":…}` and then the metadata, sorted by key: dictionaries are flattened to
/// dotted keys (`http.status`), arrays stay arrays, numbers and truth values keep their type. A metadata key with the
/// name of one of the four fields becomes `metadata.<key>`, so no key appears twice. A line break inside a value is
/// escaped: nothing a client sends can forge a line.
package struct JSONLogHandler: LogHandler {
    /// The lowest level that is written.
    package var logLevel: Logger.Level
    /// What every line of this logger carries.
    package var metadata: Logger.Metadata = [:]
    /// What the task at hand adds to a line.
    package var metadataProvider: Logger.MetadataProvider?

    private let label: String
    private let now: @Sendable () -> Int64
    private let write: @Sendable ([UInt8]) -> Void

    /// `now` gives milliseconds since 1970-01-01T00:00:00Z; `write` gets one whole line with its line feed in one call.
    package init(
        label: String, level: Logger.Level = .info, now: @escaping @Sendable () -> Int64,
        write: @escaping @Sendable ([UInt8]) -> Void
    ) {
        self.label = label
        self.logLevel = level
        self.now = now
        self.write = write
    }

    /// The handler's own metadata value for a key.
    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    /// Writes the event; its metadata overrides the provider's, and that the handler's.
    package func log(event: LogEvent) {
        let kind = LogLine.Kind(level: event.level, logger: label, message: event.message.description)
        var json = LogLine(milliseconds: now(), kind).json
        var fields: [String: Logger.MetadataValue] = [:]
        for source in [metadata, metadataProvider?.get() ?? [:], event.metadata ?? [:]] {
            for (key, value) in source { Self.flatten(value, key: key, into: &fields) }
        }
        for (key, value) in fields.sorted(by: { $0.key < $1.key }) {
            json.append(",")
            json.append(string: key)
            json.append(":")
            Self.append(value, to: &json)
        }
        json.append("}\n")
        write(json.bytes)
    }

    private static let ownFields: Set<String> = ["time", "level", "logger", "message"]

    private static func flatten(
        _ value: Logger.MetadataValue, key: String, into fields: inout [String: Logger.MetadataValue]
    ) {
        if case .dictionary(let inner) = value {
            for (innerKey, innerValue) in inner { flatten(innerValue, key: "\(key).\(innerKey)", into: &fields) }
        } else {
            fields[ownFields.contains(key) ? "metadata.\(key)" : key] = value
        }
    }

    private static func append(_ value: Logger.MetadataValue, to json: inout JSONText) {
        switch value {
        case .string(let text): json.append(string: text)
        case .stringConvertible(let value):
            switch value {
            case let flag as Bool: json.append(bool: flag)
            case let number as any BinaryInteger: json.append(integer: number)
            case let number as Double: json.append(number: number)
            default: json.append(string: value.description)
            }
        case .array(let values):
            json.append("[")
            json.append(list: values) { append($1, to: &$0) }
            json.append("]")
        case .dictionary(let values):
            // Only inside an array, where there is no key to flatten into.
            json.append("{")
            json.append(list: values.sorted { $0.key < $1.key }) { json, pair in
                json.append(string: pair.key)
                json.append(":")
                append(pair.value, to: &json)
            }
            json.append("}")
        }
    }
}
