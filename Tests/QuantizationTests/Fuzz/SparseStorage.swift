@testable import Quantization

/// Storage of any length that counts the writes of every byte, and refuses to read what nobody wrote.
final class SparseStorage: ScratchStorage {
    private struct Page {
        var bytes = [UInt8](repeating: 0xA5, count: SparseStorage.pageBytes)
        var writes = [UInt8](repeating: 0, count: SparseStorage.pageBytes)
    }

    private static let pageBytes = 4096
    private var pages: [Int: Page] = [:]
    /// The end of the last byte written.
    private(set) var end = 0
    /// Bytes written for the first time.
    private(set) var covered = 0
    /// Bytes written again.
    private(set) var overwritten = 0
    /// Bytes read that nobody wrote.
    private(set) var readUnwritten = 0

    func write(_ span: RawSpan, at offset: Int) throws(StorageFailure) {
        guard offset >= 0 else { throw StorageFailure(operation: "write", code: 22) }
        end = max(end, offset + span.byteCount)
        var done = 0
        while done < span.byteCount {
            let (page, start) = (offset + done).quotientAndRemainder(dividingBy: Self.pageBytes)
            let count = min(Self.pageBytes - start, span.byteCount - done)
            var held = pages.removeValue(forKey: page) ?? Page()
            for index in 0..<count {
                if held.writes[start + index] == 0 { covered += 1 } else { overwritten += 1 }
                held.writes[start + index] = 1
                held.bytes[start + index] = unsafe span.unsafeLoad(fromByteOffset: done + index, as: UInt8.self)
            }
            pages[page] = held
            done += count
        }
    }

    func read(into span: inout MutableRawSpan, at offset: Int) throws(StorageFailure) {
        guard offset >= 0, offset + span.byteCount <= end else { throw StorageFailure(operation: "read", code: 5) }
        var done = 0
        while done < span.byteCount {
            let (page, start) = (offset + done).quotientAndRemainder(dividingBy: Self.pageBytes)
            let count = min(Self.pageBytes - start, span.byteCount - done)
            let held = pages[page] ?? Page()
            for index in 0..<count {
                if held.writes[start + index] == 0 { readUnwritten += 1 }
                span.storeBytes(of: held.bytes[start + index], toByteOffset: done + index, as: UInt8.self)
            }
            done += count
        }
    }

    /// All bytes up to `end`.
    var bytes: [UInt8] {
        var all: [UInt8] = []
        all.reserveCapacity(end)
        while all.count < end {
            let page = pages[all.count / Self.pageBytes] ?? Page()
            all += page.bytes.prefix(end - all.count)
        }
        return all
    }
}
