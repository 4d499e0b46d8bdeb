import Foundation

/// A golden case: the tensors of one safetensors file and the parameters of its entry in `index.json`.
struct Golden {
    let id: String
    let parameters: [String: Any]
    private let tensors: [String: (type: String, shape: [Int], bytes: [UInt8])]

    private static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Fixtures/golden")

    /// The ids of the cases that begin with `prefix` and are in the folder.
    static func ids(_ prefix: String) -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path())) ?? []
        return names.filter { $0.hasPrefix(prefix) && $0.hasSuffix(".safetensors") }.map { String($0.dropLast(12)) }
            .sorted()
    }

    init(_ id: String) throws {
        self.id = id
        let index = try Self.object(Data(contentsOf: Self.folder.appending(path: "index.json")))
        let cases = index["cases"] as? [[String: Any]] ?? []
        parameters = cases.first { $0["id"] as? String == id }?["params"] as? [String: Any] ?? [:]
        let file = [UInt8](try Data(contentsOf: Self.folder.appending(path: id + ".safetensors")))
        let length = file[0..<8].enumerated().reduce(0) { $0 + Int($1.element) << (8 * $1.offset) }
        var tensors: [String: (type: String, shape: [Int], bytes: [UInt8])] = [:]
        for (name, entry) in try Self.object(Data(file[8..<8 + length])) {
            guard let entry = entry as? [String: Any], let type = entry["dtype"] as? String,
                let shape = entry["shape"] as? [Int], let span = entry["data_offsets"] as? [Int]
            else { continue }
            tensors[name] = (type, shape, Array(file[8 + length + span[0]..<8 + length + span[1]]))
        }
        self.tensors = tensors
    }

    func bytes(_ name: String) throws -> [UInt8] { try tensor(name).bytes }

    func type(_ name: String) throws -> String { try tensor(name).type }

    func shape(_ name: String) throws -> [Int] { try tensor(name).shape }

    /// The elements of an F32, F16 or BF16 tensor, widened by the standard library.
    func floats(_ name: String) throws -> [Float] {
        let tensor = try tensor(name)
        let bytes = tensor.bytes
        func bits(_ start: Int, _ size: Int) -> UInt32 {
            (0..<size).reduce(0) { $0 | UInt32(bytes[start + $1]) << UInt32(8 * $1) }
        }
        switch tensor.type {
        case "F32": return stride(from: 0, to: bytes.count, by: 4).map { Float(bitPattern: bits($0, 4)) }
        case "BF16": return stride(from: 0, to: bytes.count, by: 2).map { Float(bitPattern: bits($0, 2) << 16) }
        case "F16":
            return stride(from: 0, to: bytes.count, by: 2).map { Float(Float16(bitPattern: UInt16(bits($0, 2)))) }
        default: throw CocoaError(.fileReadCorruptFile)
        }
    }

    private func tensor(_ name: String) throws -> (type: String, shape: [Int], bytes: [UInt8]) {
        guard let tensor = tensors[name] else { throw CocoaError(.fileReadNoSuchFile) }
        return tensor
    }

    private static func object(_ data: Data) throws -> [String: Any] {
        try JSONSerialization.jsonObject(with: data) as? [String: Any] ?? [:]
    }
}
