import FoundationEssentials
import Quantization

/// An artifact's own description as the page reads it.
struct ArtifactCard: Decodable, Sendable {
    let id: String
    let name: String?
    let method: String
    let format: String
    let mode: String
    let options: [String: OptionValue]
    let input: Input
    let bytes: Int
    let digest: String
    let bitsPerWeight: Double
    let compressionRatio: Double
    let summary: ReportDocument.Figures
    let createdAt: String
    let engineVersion: String

    struct Input: Decodable, Sendable {
        let digest: String
        let bytes: Int
    }

    enum CodingKeys: String, CodingKey {
        case id, name, method, format, mode, options, input, bytes, digest, summary
        case bitsPerWeight = "bits_per_weight"
        case compressionRatio = "compression_ratio"
        case createdAt = "created_at"
        case engineVersion = "engine_version"
    }

    /// Reads a manifest.
    init(manifest: String) throws {
        self = try JSONDecoder().decode(Self.self, from: Data(manifest.utf8))
    }
}

extension ArtifactCard {
    /// The recipe in a few words: method, and mode and format where they are not the usual ones.
    var label: String {
        var words = [method]
        let known = Method(rawValue: method)
        if known?.modes.first?.rawValue != mode { words.append(mode) }
        if known?.formats.first?.rawValue != format { words.append(format) }
        return words.joined(separator: " ")
    }

    /// The options in alphabetical order: `block_size=64, double_quant=true`.
    var optionText: String {
        options.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value.text)" }.joined(separator: ", ")
    }

    /// Where it stands in the Pareto chart of a subject, by what its recipe has that the subject's has not; nil when
    /// its reconstruction is exact.
    func point(beside subject: ArtifactCard) -> ParetoChart.Point? {
        guard let sqnr = summary.sqnr else { return nil }
        var words = [label]
        if id != subject.id, label == subject.label {
            words += options.filter { subject.options[$0.key]?.text != $0.value.text }.sorted { $0.key < $1.key }
                .map { "\($0.key)=\($0.value.text)" }
        }
        return ParetoChart.Point(
            label: words.joined(separator: " "), bitsPerWeight: bitsPerWeight, sqnr: sqnr, isSubject: id == subject.id)
    }

    /// The moment of its making to the minute: `2026-11-23 02:26 UTC`.
    var madeAt: String { "\(createdAt.prefix(16).replacing("T", with: " ")) UTC" }
}

/// The value of a recipe's option, for people.
struct OptionValue: Decodable, Sendable {
    let text: String

    init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if let flag = try? value.decode(Bool.self) {
            text = "\(flag)"
        } else if let number = try? value.decode(Int.self) {
            text = "\(number)"
        } else if let number = try? value.decode(Double.self) {
            text = "\(number)"
        } else if let word = try? value.decode(String.self) {
            text = HTML.shortened(word)
        } else if let list = try? value.decode([OptionValue].self) {
            text = HTML.shortened(list.map(\.text).joined(separator: " "))
        } else {
            let members = try value.decode([String: OptionValue].self)
            text = HTML.shortened(
                members.sorted { $0.key < $1.key }.map { "\($0.key):\($0.value.text)" }.joined(separator: " "))
        }
    }
}
