import Foundation
import Tensors
import Testing

/// One file of Tests/Fixtures/containers with the verdicts written beside it.
struct ContainerCase: Decodable, Sendable, CustomTestStringConvertible {
    let file: String
    let format: String
    let strict: String

    var testDescription: String { file }

    var bytes: [UInt8] {
        get throws { try Fixtures.bytes(of: "containers/\(file)") }
    }
}

enum Fixtures {
    static let folder = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().appending(path: "Fixtures")

    static func bytes(of path: String) throws -> [UInt8] {
        Array(try Data(contentsOf: folder.appending(path: path)))
    }

    /// All cases of the corpus, npz excepted: only the end of an archive says what is in it.
    static let containers: [ContainerCase] = {
        do {
            let index = try Data(contentsOf: folder.appending(path: "containers/index.json"))
            return try JSONDecoder().decode([ContainerCase].self, from: index).filter { $0.format != "npz" }
        } catch {
            Issue.record("containers/index.json cannot be read: \(error)")
            return []
        }
    }()

    static let goodContainers = containers.filter { $0.strict == "accept" }
}

/// Parses a whole input.
func parse(_ bytes: [UInt8], limits: ContainerLimits = ContainerLimits()) throws -> InputDescription {
    try unsafe parseFile(bytes.span.bytes, limits: limits)
}

/// Parses the first part of an input.
func parse(
    prefix: some Sequence<UInt8>, totalBytes: Int?, limits: ContainerLimits = ContainerLimits()
) throws -> HeaderParse {
    let bytes = Array(prefix)
    return try unsafe parseHeader(bytes.span.bytes, totalBytes: totalBytes, limits: limits)
}

/// The error that refuses an input, or nil when it is accepted.
func refusal(of body: () throws -> Void) -> TensorFormatError? {
    do {
        try body()
        return nil
    } catch let error as TensorFormatError {
        return error
    } catch {
        Issue.record("\(error) is no TensorFormatError")
        return nil
    }
}

/// The error that refuses a whole input, or nil when it is accepted.
func refusal(of bytes: [UInt8], limits: ContainerLimits = ContainerLimits()) -> TensorFormatError? {
    refusal { _ = try parse(bytes, limits: limits) }
}

/// A safetensors file: the length, the header's bytes as they are, and zeros as data.
func safetensors(_ header: some Sequence<UInt8>, dataBytes: Int = 0) -> [UInt8] {
    let header = Array(header)
    var bytes = (0..<8).map { UInt8(truncatingIfNeeded: header.count >> (8 * $0)) }
    bytes += header
    bytes += [UInt8](repeating: 0, count: dataBytes)
    return bytes
}

func safetensors(_ header: String, dataBytes: Int = 0) -> [UInt8] {
    safetensors(header.utf8, dataBytes: dataBytes)
}

/// An npy file of version 1.0, or 2.0 and 3.0 with their longer length field.
func npy(_ header: String, major: UInt8 = 1, dataBytes: Int = 0) -> [UInt8] {
    let header = Array(header.utf8)
    var bytes: [UInt8] = [0x93] + Array("NUMPY".utf8) + [major, 0]
    bytes += (0..<(major == 1 ? 2 : 4)).map { UInt8(truncatingIfNeeded: header.count >> (8 * $0)) }
    bytes += header
    bytes += [UInt8](repeating: 0, count: dataBytes)
    return bytes
}

/// Checks what every accepted description promises.
func expectSound(_ description: InputDescription, sourceLocation: SourceLocation = #_sourceLocation) {
    var covered = 0
    var names: Set<[UInt8]> = []
    for entry in description.entries {
        #expect(entry.bytes.lowerBound == covered, sourceLocation: sourceLocation)
        covered = entry.bytes.upperBound
        #expect(entry.elementCount == entry.shape.reduce(1, *), sourceLocation: sourceLocation)
        #expect(entry.bytes.count * 8 == entry.elementCount * entry.type.bitWidth, sourceLocation: sourceLocation)
        #expect(names.insert(Array(entry.name.utf8)).inserted, sourceLocation: sourceLocation)
    }
    #expect(description.dataBytes == covered, sourceLocation: sourceLocation)
    #expect(description.totalBytes == description.dataOffset + covered, sourceLocation: sourceLocation)
}

/// A small generator with a fixed seed (SplitMix64), so that every run draws the same cases.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
