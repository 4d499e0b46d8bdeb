import Foundation
import Tensors
import Testing

@testable import Quantization

/// One architecture of transformers: its configuration, the tensors of a saved checkpoint, and the weights that each
/// library quantizes by its own code. `tools/conformance/architectures.py` wrote the files.
struct ArchitectureFixture: CustomTestStringConvertible {
    let name: String
    let modelType: String
    let isTied: Bool?
    let entries: [TensorEntry]
    private let quantized: JSONValue?

    static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Fixtures/architectures")

    static let all: [ArchitectureFixture] = {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path())) ?? []
        return names.filter { $0.hasSuffix(".json") }.sorted().compactMap { try? ArchitectureFixture($0) }
    }()

    var testDescription: String { name }

    init(_ file: String) throws {
        let bytes = [UInt8](try Data(contentsOf: Self.folder.appending(path: file)))
        var limits = JSONValue.Limits()
        limits.readsPythonNumbers = true
        let root = try unsafe JSONValue.parse(bytes.span.bytes, limits: limits)
        name = String(file.dropLast(5))
        modelType = root["config"]?["model_type"]?.string ?? ""
        isTied = root["config"]?["tie_word_embeddings"]?.flag
        quantized = root["quantized"]
        guard case .array(let tensors)? = root["tensors"] else { throw CocoaError(.coderReadCorrupt) }
        var position = 0
        entries = tensors.map { tensor in
            var shape: [Int] = []
            if case .array(let sizes)? = tensor["shape"] { shape = sizes.compactMap(\.integer) }
            let type = tensor["dtype"]?.string.flatMap { ElementType(rawValue: $0) } ?? .bf16
            let count = shape.reduce(1, *)
            defer { position += count * type.bitWidth / 8 }
            return TensorEntry(
                name: tensor["name"]?.string ?? "", type: type, shape: shape, elementCount: count,
                bytes: position..<position + count * type.bitWidth / 8)
        }
    }

    /// The names that a library quantizes; nil where it cannot load the architecture.
    func quantized(by library: String) -> Set<String>? {
        guard case .array(let names)? = quantized?[library] else { return nil }
        return Set(names.compactMap(\.string))
    }

    /// The names that a recipe with these options quantizes, and what it warns of.
    func chosen(_ options: [(String, String)]) throws -> (names: Set<String>, warnings: [String]) {
        var all = options.map { RecipeOption($0.0, $0.1) } + [RecipeOption("model_type", modelType)]
        if let isTied { all.append(RecipeOption("tied", "\(isTied)")) }
        let selection = try TensorSelection(Recipe(options: all)).treatments(of: entries, limits: SessionLimits())
        let chosen = zip(entries, selection.treatments).filter { $0.1.variant != nil }.map(\.0.name)
        return (Set(chosen), selection.warnings)
    }

    /// Names with `N` for every number between dots: one for all layers.
    static func layerless(_ names: Set<String>) -> Set<String> {
        Set(names.map { $0.split(separator: ".").map { Int($0) == nil ? String($0) : "N" }.joined(separator: ".") })
    }
}
