import Foundation
import Tensors
import Testing

@testable import Quantization

/// The tensors of a model of transformers, and the groups of which `tools/conformance/folding.py` has proved with that
/// model that scales can be folded into them, and that no reader is missing.
struct FoldFixture: CustomTestStringConvertible {
    struct Group: Hashable {
        let isNorm: Bool
        let addsOne: Bool
        let before: String
        let bias: String?
        let columns: Int
        let readers: Set<String>
    }

    let name: String
    let modelType: String
    var entries: [TensorEntry]
    let groups: Set<Group>

    static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Fixtures/folding")

    static let all: [FoldFixture] = {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path())) ?? []
        return names.sorted().compactMap { try? FoldFixture(String($0.dropLast(5))) }
    }()

    var testDescription: String { name }
    var architecture: Architecture? { Architecture(modelType: modelType, isTied: nil) }

    init(_ name: String) throws {
        let bytes = [UInt8](try Data(contentsOf: Self.folder.appending(path: name + ".json")))
        let root = try unsafe JSONValue.parse(bytes.span.bytes)
        self.name = name
        modelType = root["model_type"]?.string ?? ""
        guard case .array(let tensors)? = root["tensors"], case .array(let groups)? = root["groups"] else {
            throw CocoaError(.coderReadCorrupt)
        }
        entries = tensors.map { tensor in
            var shape: [Int] = []
            if case .array(let sizes)? = tensor["shape"] { shape = sizes.compactMap(\.integer) }
            return Self.entry(tensor["name"]?.string ?? "", shape)
        }
        self.groups = Set(
            groups.map { group in
                var readers: [String] = []
                if case .array(let names)? = group["readers"] { readers = names.compactMap(\.string) }
                return Group(
                    isNorm: group["kind"]?.string == "norm", addsOne: group["adds_one"]?.flag == true,
                    before: group["before"]?.string ?? "", bias: group["bias"]?.string,
                    columns: group["columns"]?.integer ?? 0, readers: Set(readers))
            })
    }

    static func entry(_ name: String, _ shape: [Int], _ type: ElementType = .f32) -> TensorEntry {
        let count = shape.reduce(1, *)
        return TensorEntry(
            name: name, type: type, shape: shape, elementCount: count, bytes: 0..<count * type.bitWidth / 8)
    }

    /// Every 2-D weight of a layer is coded, or what `coded` says.
    func plan(_ coded: (String) -> Bool = { $0.contains("layers.") && !$0.contains("gate.weight") }) throws -> FoldPlan
    {
        let coding = entries.map { entry in
            entry.shape.count == 2 && coded(entry.name) ? FoldCoding.scalable(hasData: true) : .copied
        }
        return try FoldPlan(entries, coding, architecture: architecture)
    }

    /// The groups of a plan by names.
    func named(_ plan: FoldPlan) -> Set<Group> {
        Set(
            plan.groups.map { group in
                Group(
                    isNorm: group.previous != .rows, addsOne: group.previous == .norm(addsOne: true),
                    before: entries[group.before].name, bias: group.bias.map { entries[$0].name },
                    columns: group.columns, readers: Set(group.readers.map { entries[$0].name }))
            })
    }
}
