import Foundation
import Tensors

@testable import Quantization

/// A golden case: tensors of one safetensors file with the parameters that index.json states.
struct AWQGolden {
    struct Entry {
        let type: String
        let shape: [Int]
        let bytes: [UInt8]
    }

    let id: String
    let parameters: [String: Any]
    let tensors: [String: Entry]

    static let directory = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Fixtures/golden")

    init(_ id: String) throws {
        self.id = id
        let file = [UInt8](try Data(contentsOf: Self.directory.appending(path: id + ".safetensors")))
        let length = (0..<8).reduce(0) { $0 | Int(file[$1]) << (8 * $1) }
        let header = try JSONSerialization.jsonObject(with: Data(file[8..<8 + length])) as? [String: Any] ?? [:]
        var tensors: [String: Entry] = [:]
        for (name, value) in header {
            guard let entry = value as? [String: Any], let range = entry["data_offsets"] as? [Int],
                let type = entry["dtype"] as? String, let shape = entry["shape"] as? [Int]
            else { continue }
            tensors[name] = Entry(
                type: type, shape: shape, bytes: Array(file[8 + length + range[0]..<8 + length + range[1]]))
        }
        self.tensors = tensors
        let index = try JSONSerialization.jsonObject(
            with: Data(contentsOf: Self.directory.appending(path: "index.json")))
        let cases = (index as? [String: Any])?["cases"] as? [[String: Any]] ?? []
        parameters = cases.first { $0["id"] as? String == id }?["params"] as? [String: Any] ?? [:]
    }

    subscript(name: String) -> Entry {
        get throws { try tensors[name] ?? { throw AWQGoldenProblem(what: "\(id) has no \(name)") }() }
    }

    /// The values of an F32, F16 or F64 tensor.
    func values(_ name: String) throws -> [Double] {
        let entry = try self[name]
        let width = ["F64": 8, "F32": 4][entry.type] ?? 2
        return stride(from: 0, to: entry.bytes.count, by: width).map { start in
            let bits = (0..<width).reduce(UInt64(0)) { $0 | UInt64(entry.bytes[start + $1]) << (8 * UInt64($1)) }
            switch entry.type {
            case "F64": return Double(bitPattern: bits)
            case "F32": return Double(Float(bitPattern: UInt32(bits)))
            case "BF16": return Double(Float(bitPattern: UInt32(bits) << 16))
            default: return Double(Float16(bitPattern: UInt16(bits)))
            }
        }
    }

    func floats(_ name: String) throws -> [Float] { try values(name).map { Float($0) } }
}

struct AWQGoldenProblem: Error {
    let what: String
}

/// Storage in memory that grows as it is written.
final class AWQMemory: ScratchStorage {
    private(set) var bytes: [UInt8]
    /// The most bytes of any one read or write.
    private(set) var largestTransfer = 0
    /// Writes from this one on fail.
    var failsFromWrite = Int.max
    private var writes = 0

    init(_ bytes: [UInt8] = []) { self.bytes = bytes }

    func write(_ source: RawSpan, at offset: Int) throws(StorageFailure) {
        writes += 1
        if writes > failsFromWrite { throw StorageFailure(operation: "write", code: 28) }
        largestTransfer = max(largestTransfer, source.byteCount)
        let end = offset + source.byteCount
        if bytes.count < end { bytes += Array(repeating: 0, count: end - bytes.count) }
        for i in 0..<source.byteCount {
            bytes[offset + i] = unsafe source.unsafeLoad(fromByteOffset: i, as: UInt8.self)
        }
    }

    func read(into target: inout MutableRawSpan, at offset: Int) throws(StorageFailure) {
        largestTransfer = max(largestTransfer, target.byteCount)
        guard offset + target.byteCount <= bytes.count else { throw StorageFailure(operation: "read", code: 5) }
        for i in 0..<target.byteCount {
            target.storeBytes(of: bytes[offset + i], toByteOffset: i, as: UInt8.self)
        }
    }
}

/// The bytes of Float values.
func float32Bytes(_ values: [Float]) -> [UInt8] {
    values.flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value.bitPattern >> (8 * UInt32($0))) } }
}

/// One layer in memory, and what a run gave.
struct AWQRun {
    let storage: AWQMemory
    let output = AWQMemory()
    var layer: AWQLayer

    /// A layer of a weight [rows, columns] of `type`, and tokens [_, columns] in F32.
    init(
        weight: [UInt8], type: ElementType = .f32, rows: Int, columns: Int, tokens: [Float]? = nil,
        options: AWQOptions
    ) {
        let base = weight.count + (tokens?.count ?? 0) * 4
        storage = AWQMemory(weight + float32Bytes(tokens ?? []))
        let group = options.groupSize == -1 ? columns : options.groupSize
        let zeros = columns * rows / 2
        let scales = zeros + columns / group * rows / 2
        layer = AWQLayer(
            name: "layer.weight",
            weight: StagedTensor(type: type, rows: rows, columns: columns, offset: 0),
            activations: tokens.map {
                StagedTensor(type: .f32, rows: $0.count / columns, columns: columns, offset: weight.count)
            },
            options: options,
            placement: AWQPlacement(
                qweight: 0, qzeros: zeros, scales: scales, inputScales: scales + columns / group * rows * 2),
            scratchBase: base)
    }

    func run() throws -> AWQResult { try layer.run(scratch: storage, output: output) }

    var qweight: [UInt8] { Array(output.bytes[layer.placement.qweight..<layer.placement.qzeros]) }
    var qzeros: [UInt8] { Array(output.bytes[layer.placement.qzeros..<layer.placement.scales]) }
    var scales: [UInt8] { Array(output.bytes[layer.placement.scales..<(layer.placement.inputScales ?? 0)]) }
}

/// Repeatable normal-like values: sums of uniform numbers from a fixed linear congruence.
struct AWQNoise {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed &* 2 &+ 1 }

    mutating func next() -> Float {
        var sum: Float = 0
        for _ in 0..<4 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            sum += Float(state >> 40) / Float(1 << 24) - 0.5
        }
        return sum
    }

    mutating func values(_ count: Int, scale: Float = 1) -> [Float] { (0..<count).map { _ in next() * scale } }
}
