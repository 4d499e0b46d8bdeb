@testable import Quantization

/// Storage that remembers which bytes were written, so that a test can tell a gap or a second write.
///
/// A test reads it only when the session that writes it has finished.
final class MemoryStorage: ScratchStorage, @unchecked Sendable {
    private(set) var bytes: [UInt8] = []
    private var written: [Bool] = []
    private(set) var overwritten = 0
    private let countsRewrites: Bool

    init(countsRewrites: Bool = true) {
        self.countsRewrites = countsRewrites
    }

    func write(_ span: RawSpan, at offset: Int) throws(StorageFailure) {
        let end = offset + span.byteCount
        if bytes.count < end {
            bytes += [UInt8](repeating: 0xA5, count: end - bytes.count)
            written += [Bool](repeating: false, count: end - written.count)
        }
        for index in 0..<span.byteCount {
            if countsRewrites, written[offset + index] { overwritten += 1 }
            bytes[offset + index] = unsafe span.unsafeLoad(fromByteOffset: index, as: UInt8.self)
            written[offset + index] = true
        }
    }

    func read(into span: inout MutableRawSpan, at offset: Int) throws(StorageFailure) {
        guard offset + span.byteCount <= bytes.count else { throw StorageFailure(operation: "read", code: 5) }
        for index in 0..<span.byteCount {
            span.storeBytes(of: bytes[offset + index], toByteOffset: index, as: UInt8.self)
        }
    }

    /// Bytes between the start and the last one written that nobody wrote.
    var gaps: Int { written.count(where: { !$0 }) }
}

/// Storage whose writes fail.
final class FullStorage: ScratchStorage {
    func write(_ span: RawSpan, at offset: Int) throws(StorageFailure) {
        throw StorageFailure(operation: "write", code: 28)
    }

    func read(into span: inout MutableRawSpan, at offset: Int) throws(StorageFailure) {
        throw StorageFailure(operation: "read", code: 5)
    }
}
