import FoundationEssentials
import HTTPServer
import HTTPTypes

/// Takes one member out of a stored artifact JSON.
enum ManifestReader {
    private struct Manifest: Decodable {
        let quantization_config: JSON
    }

    /// The `quantization_config` of a stored artifact.
    static func quantizationConfig(_ manifest: String) throws(Problem) -> JSON {
        do {
            return try JSONDecoder().decode(Manifest.self, from: Data(manifest.utf8)).quantization_config
        } catch {
            throw Problem(
                .internalServerError, code: "catalogue.damaged",
                detail: "The artifact's record cannot be read: \(error)")
        }
    }
}

extension JSON: Decodable {
    private struct Key: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    /// Reads any JSON; members come sorted by name.
    init(from decoder: any Decoder) throws {
        if let object = try? decoder.container(keyedBy: Key.self) {
            let keys = object.allKeys.sorted { $0.stringValue < $1.stringValue }
            self = .object(try keys.map { ($0.stringValue, try object.decode(JSON.self, forKey: $0)) })
            return
        }
        let value = try decoder.singleValueContainer()
        if value.decodeNil() {
            self = .null
        } else if let flag = try? value.decode(Bool.self) {
            self = .bool(flag)
        } else if let number = try? value.decode(Int.self) {
            self = .integer(number)
        } else if let number = try? value.decode(Double.self) {
            self = .number(number)
        } else if let text = try? value.decode(String.self) {
            self = .string(text)
        } else {
            self = .array(try value.decode([JSON].self))
        }
    }
}
