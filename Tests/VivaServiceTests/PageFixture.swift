import Catalogue
import Foundation
import Quantization
import Testing

@testable import VivaService

/// A page of a real session's report.
enum PageFixture {
    /// Takes what is written and forgets it; no recipe here reads anything back.
    private final class Sink: ScratchStorage {
        func write(_ bytes: RawSpan, at offset: Int) throws(StorageFailure) {}
        func read(into bytes: inout MutableRawSpan, at offset: Int) throws(StorageFailure) {}
    }

    /// A weight of 8 rows for each name, and a bias that is copied.
    static func file(_ names: [String], columns: Int = 64) throws -> [UInt8] {
        var header: [String: Any] = [:]
        var position = 0
        var data: [UInt8] = []
        for (index, name) in names.enumerated() {
            let values = (0..<8 * columns).map { Float(sin(Double($0 * (index + 3)))) }
            let bytes = values.flatMap { value in
                (0..<4).map { UInt8(truncatingIfNeeded: value.bitPattern >> (8 * $0)) }
            }
            let range = [position, position + bytes.count]
            header[name] = ["dtype": "F32", "shape": [8, columns], "data_offsets": range]
            position += bytes.count
            data += bytes
        }
        header["bias"] = ["dtype": "F32", "shape": [1], "data_offsets": [position, position + 4]]
        let json = try JSONSerialization.data(withJSONObject: header)
        return (0..<8).map { UInt8(truncatingIfNeeded: json.count >> (8 * $0)) } + json + data + [0, 0, 0, 0]
    }

    static func description(_ names: [String], name: String? = nil, columns: Int = 64) throws -> ArtifactDescription {
        let bytes = try file(names, columns: columns)
        let recipe = try Recipe(options: [RecipeOption("method", "nf4")])
        let session = try QuantizingSession(
            recipe: recipe, declaration: .recognise, declaredBytes: bytes.count, engine: "test", output: Sink(),
            scratch: Sink())
        try unsafe session.consume(bytes.span.bytes)
        let digest = "sha256:" + String(repeating: "ab", count: 32)
        return ArtifactDescription(
            id: "0f3c6a2d9b7e4158", name: name, recipe: recipe, inputDigest: digest, inputBytes: bytes.count,
            result: try session.finish(inputDigest: digest))
    }

    static func card(_ description: ArtifactDescription) throws -> ArtifactCard {
        let digest = "sha256:" + String(repeating: "cd", count: 32)
        return try ArtifactCard(
            manifest: description.record(digest: digest, owner: "local", createdAt: 1_763_852_400_000).manifest)
    }

    static func page(_ names: [String], name: String? = nil, columns: Int = 64) throws -> ReportPage {
        let description = try description(names, name: name, columns: columns)
        let card = try card(description)
        let bytes = description.report().bytes()
        return ReportPage(
            card: card, report: try ReportDocument(bytes, length: bytes.count), relatives: [card],
            loading: LoadingSteps(card: card, config: "{}", isServed: true))
    }
}
