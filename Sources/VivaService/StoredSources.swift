import ArtifactStore
import Quantization
import Tensors

/// Lends a file of the store, or any other, to those who read artifacts and inputs.
final class OpenedSource: ArtifactSource, Sendable {
    private let file: OpenedFile

    init(_ file: consuming OpenedFile) {
        self.file = file
    }

    var byteCount: Int { file.length }
    /// The number of the open file, for a process that is to inherit it.
    var descriptor: Int32 { file.descriptor }

    func read(into bytes: inout MutableRawSpan, at offset: Int) throws(StorageFailure) {
        do throws(StoreError) {
            try file.read(into: &bytes, at: offset)
        } catch {
            throw StagedStorage.failure("read", error)
        }
    }
}

/// The staged bytes of an input, or their head, to be read before they are published.
final class StagedSource: ArtifactSource {
    let byteCount: Int
    private let storage: StagedStorage

    init(_ file: StagedFile, byteCount: Int) {
        storage = StagedStorage(file)
        self.byteCount = byteCount
    }

    func read(into bytes: inout MutableRawSpan, at offset: Int) throws(StorageFailure) {
        try storage.read(into: &bytes, at: offset)
    }
}

extension ArtifactSource {
    /// Gives all bytes to `body`, or the first `count` of them, in pieces.
    func readAll(
        first count: Int? = nil, _ body: (RawSpan) throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        let end = min(count ?? byteCount, byteCount)
        var (buffer, position) = ([UInt8](repeating: 0, count: min(end, 64 << 10)), 0)
        while position < end {
            var span = buffer.mutableSpan
            var all = unsafe span.mutableBytes
            let taken = try read(into: &all, at: position, until: end)
            position += taken
            try body(all.bytes.extracting(first: taken))
        }
    }

    /// Fills the front of `bytes` from `position`, up to `end` at most; returns how many bytes it filled.
    func read(into bytes: inout MutableRawSpan, at position: Int, until end: Int) throws(QuantizationError) -> Int {
        var piece = bytes._mutatingExtracting(first: min(bytes.byteCount, end - position))
        do throws(StorageFailure) { try read(into: &piece, at: position) } catch { throw .storage(error) }
        return piece.byteCount
    }
}
