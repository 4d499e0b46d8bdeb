import Foundation
import Tensors
import Testing

@testable import Quantization

/// An artifact in memory that remembers the largest read.
final class MemoryArtifact: ArtifactSource {
    let bytes: [UInt8]
    private(set) var largestRead = 0
    /// Reads from this offset on fail.
    var failsFrom = Int.max

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var byteCount: Int { bytes.count }

    func read(into target: inout MutableRawSpan, at offset: Int) throws(StorageFailure) {
        largestRead = max(largestRead, target.byteCount)
        guard offset >= 0, offset + target.byteCount <= min(bytes.count, failsFrom) else {
            throw StorageFailure(operation: "read", code: 5)
        }
        unsafe target.withUnsafeMutableBytes { target in
            unsafe bytes.withUnsafeBytes { bytes in
                unsafe target.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + target.count]))
            }
        }
    }
}

/// A restored file.
struct RestoreRun {
    let bytes: [UInt8]
    let largestRead: Int

    /// Restores `artifact` in pieces of `pieceBytes`.
    init(
        _ artifact: [UInt8], _ elements: RestoredElements = .float32, bits: Int? = nil, pieceBytes: Int = 1 << 16,
        level: KernelLevel? = nil, limits: RestoreLimits = RestoreLimits()
    ) throws {
        let source = MemoryArtifact(artifact)
        let session = try RestoringSession(
            source: source, elements: elements, bits: bits, limits: limits, memory: nil,
            kernels: level.flatMap { Kernels(level: $0) } ?? .best)
        var restored: [UInt8] = []
        var piece = [UInt8](repeating: 0xa5, count: pieceBytes)
        while true {
            var span = piece.mutableSpan
            var room = unsafe span.mutableBytes
            let count = try session.read(into: &room)
            restored += piece[..<count]
            if count < pieceBytes { break }
        }
        #expect(restored.count == session.byteCount)
        bytes = restored
        largestRead = source.largestRead
    }

    /// The tensors by name.
    func tensors() throws -> [String: (entry: TensorEntry, bytes: [UInt8])] {
        let contents = try SessionRun.tensors(of: bytes)
        return Dictionary(
            uniqueKeysWithValues: try SessionRun.description(of: bytes).entries.map {
                ($0.name, ($0, contents[$0.name] ?? []))
            })
    }

    /// The code of the error with which restoring is refused; nil if it is not.
    static func refusal(
        _ artifact: [UInt8], _ elements: RestoredElements = .float32, bits: Int? = nil,
        limits: RestoreLimits = RestoreLimits()
    ) -> QuantizationError? {
        do {
            _ = try RestoreRun(artifact, elements, bits: bits, limits: limits)
            return nil
        } catch {
            return error as? QuantizationError
        }
    }
}

extension QuantizationError {
    /// The stable code of an artifact that was refused, or the name of another case.
    var restoreCode: String {
        switch self {
        case .artifact(let code, _, _): code
        case .container(let error): error.code
        case .nonFinite: "non_finite"
        case .outOfRange: "out_of_range"
        case .limit(let name, _, _, _): "limit.\(name)"
        case .truncated: "truncated"
        case .storage: "storage"
        default: "\(self)"
        }
    }
}

/// Elements of a floating point tensor, widened by the standard library.
func floats(_ tensor: (entry: TensorEntry, bytes: [UInt8])) -> [Float] {
    unsafe tensor.bytes.withUnsafeBytes { bytes in
        (0..<tensor.entry.elementCount).map { index in
            switch tensor.entry.type {
            case .f16: Float(unsafe bytes.loadUnaligned(fromByteOffset: index * 2, as: Float16.self))
            case .bf16:
                Float(bitPattern: UInt32(unsafe bytes.loadUnaligned(fromByteOffset: index * 2, as: UInt16.self)) << 16)
            default: unsafe bytes.loadUnaligned(fromByteOffset: index * 4, as: Float.self)
            }
        }
    }
}
