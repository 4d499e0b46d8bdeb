import Tensors

/// An artifact, or an input, that lies somewhere in whole.
package protocol ArtifactSource: StoredBytes {
    /// Bytes in all.
    var byteCount: Int { get }
}

/// Reads parts of an artifact into arrays that are reused.
struct ArtifactReader {
    let source: any ArtifactSource
    let kernels: Kernels

    /// Fills the start of `bytes` with `count` bytes from `offset`.
    func read(_ count: Int, at offset: Int, into bytes: inout [UInt8]) throws(QuantizationError) {
        if bytes.count < count { bytes = [UInt8](repeating: 0, count: count) }
        guard count > 0 else { return }
        var span = bytes.mutableSpan
        var all = unsafe span.mutableBytes
        var wanted = all._mutatingExtracting(first: count)
        try read(into: &wanted, at: offset)
    }

    /// Fills all of `bytes` from `offset`.
    func read(into bytes: inout MutableRawSpan, at offset: Int) throws(QuantizationError) {
        do {
            try source.read(into: &bytes, at: offset)
        } catch {
            throw .storage(error)
        }
    }

    /// Reads elements `range` of a part and widens them into the start of `values`; each must be finite.
    func read(
        _ range: Range<Int>, of part: StoredPart, into values: inout [Float]
    ) throws(QuantizationError) {
        let width = part.type.bitWidth / 8
        var bytes: [UInt8] = []
        try read(range.count * width, at: part.offset + range.lowerBound * width, into: &bytes)
        if values.count < range.count { values = [Float](repeating: 0, count: range.count) }
        kernels.widen(bytes.span, type: part.type, into: &values)
        if let index = values[..<range.count].firstIndex(where: { !$0.isFinite }) {
            throw .nonFinite(tensor: part.name, index: range.lowerBound + index)
        }
    }
}

/// A tensor of an artifact that is part of a quantized weight.
struct StoredPart: Sendable, Equatable {
    let name: String
    let type: ElementType
    /// Where it lies, in bytes from the start of the artifact.
    let offset: Int

    init(_ entry: TensorEntry, dataOffset: Int) {
        name = entry.name
        type = entry.type
        offset = dataOffset + entry.bytes.lowerBound
    }
}
