import Foundation
import Tensors
import Testing

@testable import Quantization

/// A finished session over in-memory storage.
struct SessionRun {
    let result: SessionResult
    let output: MemoryStorage

    static let digest = "sha256:" + String(repeating: "ab", count: 32)

    /// Runs `input` through a session in pieces of `pieceBytes`.
    init(
        _ input: [UInt8], _ options: [(String, String)], declaration: InputDeclaration = .recognise,
        pieceBytes: Int = .max, limits: SessionLimits = SessionLimits(), declared: Bool = true
    ) throws {
        let recipe = try Recipe(options: options.map { RecipeOption($0.0, $0.1) })
        output = MemoryStorage()
        let session = try QuantizingSession(
            recipe: recipe, declaration: declaration, declaredBytes: declared ? input.count : nil, engine: "viva test",
            limits: limits, output: output, scratch: MemoryStorage(countsRewrites: false))
        let intake = ArchiveIntake(
            codec: ZlibCodec(), declaredBytes: declared ? input.count : nil, limits: limits,
            openScratch: { () throws(StorageFailure) in MemoryStorage() })
        var position = 0
        while position < input.count {
            let end = position + min(pieceBytes, input.count - position)
            let piece = Array(input[position..<end])
            if declaration == .recognise {
                try unsafe intake.consume(piece.span.bytes, for: [session])
            } else {
                try unsafe session.consume(piece.span.bytes)
            }
            position = end
        }
        try intake.finish(for: [session])
        result = try session.finish(inputDigest: Self.digest)
    }

    /// The artifact's tensors by name, read with the strict parser.
    func tensors() throws -> [String: [UInt8]] { try Self.tensors(of: output.bytes) }

    static func description(of file: [UInt8]) throws -> InputDescription {
        try unsafe parseFile(file.span.bytes)
    }

    static func tensors(of file: [UInt8]) throws -> [String: [UInt8]] {
        let description = try description(of: file)
        var tensors: [String: [UInt8]] = [:]
        for entry in description.entries {
            let start = description.dataOffset
            tensors[entry.name] = Array(file[start + entry.bytes.lowerBound..<start + entry.bytes.upperBound])
        }
        return tensors
    }
}

/// A safetensors file made for a test.
func safetensors(_ tensors: [(name: String, type: ElementType, shape: [Int], bytes: [UInt8])]) -> [UInt8] {
    var position = 0
    var entries: [TensorEntry] = []
    for tensor in tensors {
        entries.append(
            TensorEntry(
                name: tensor.name, type: tensor.type, shape: tensor.shape,
                elementCount: tensor.shape.reduce(1, *), bytes: position..<position + tensor.bytes.count))
        position += tensor.bytes.count
    }
    let json = SafetensorsHeader.serialize(entries: entries, metadata: [])
    return SafetensorsHeader.file(prefixing: json, paddedTo: (json.count + 7) / 8 * 8) + tensors.flatMap(\.bytes)
}

/// Little-endian bytes of float32 values.
func bytes(of values: [Float]) -> [UInt8] {
    values.flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value.bitPattern >> (8 * $0)) } }
}

/// Normally distributed values from a seeded generator (Box-Muller over SplitMix64).
func gaussian(_ count: Int, seed: UInt64, scale: Double = 1) -> [Float] {
    var state = seed
    func next() -> Double {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return Double((z ^ (z >> 31)) >> 11) / Double(1 << 53)
    }
    return (0..<count).map { _ in
        Float(scale * (-2 * log(max(next(), 1e-300))).squareRoot() * cos(2 * .pi * next()))
    }
}

/// A golden case: what went into the real library and what came out.
struct GoldenCase: Decodable, Sendable, CustomTestStringConvertible {
    struct Parameters: Decodable, Sendable {
        let double_quant: Bool?
        let blocksize: Int?
    }
    let id: String
    let file: String
    let kind: String
    let params: Parameters

    var testDescription: String { id }

    static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Fixtures/golden")

    static func all(_ prefix: String) -> [GoldenCase] {
        struct Index: Decodable { let cases: [GoldenCase] }
        guard let data = try? Data(contentsOf: folder.appending(path: "index.json")),
            let index = try? JSONDecoder().decode(Index.self, from: data)
        else { return [] }
        return index.cases.filter { $0.id.hasPrefix(prefix) }
    }

    func bytes() throws -> [UInt8] { Array(try Data(contentsOf: Self.folder.appending(path: file))) }

    /// The tensors whose name begins with `prefix`, as a file of their own.
    func input() throws -> [UInt8] {
        let file = try bytes()
        let description = try unsafe parseFile(file.span.bytes)
        let picked = description.entries.filter { $0.name.hasPrefix("in.") }.map { entry in
            let start = description.dataOffset
            return (
                name: String(entry.name.dropFirst(3)), type: entry.type, shape: entry.shape,
                bytes: Array(file[start + entry.bytes.lowerBound..<start + entry.bytes.upperBound])
            )
        }
        return safetensors(picked)
    }
}
