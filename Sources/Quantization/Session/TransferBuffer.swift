internal import Synchronization

/// Page-aligned memory that carries input bytes from the receiving thread to the quantizing queue.
///
/// Allocated once and reused: a page touched for the first time costs 10 to 50 times more than a warm one.
@safe package final class TransferBuffer: @unchecked Sendable {
    // Invariant: `memory` holds `capacity` initialized bytes until deinit. It is written by the one who fills the ring,
    // and only when no reader is left: the ring takes a buffer back before it fills it again.
    private let memory: UnsafeMutableRawPointer
    private let capacity: Int
    private var count = 0
    private let readers = Atomic(0)

    init(capacity: Int) {
        self.capacity = capacity
        unsafe memory = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 4096)
        unsafe memory.initializeMemory(as: UInt8.self, repeating: 0, count: capacity)
    }

    deinit {
        unsafe memory.deallocate()
    }

    /// Lets `body` fill the memory from its start; `body` returns how many bytes it wrote.
    func fill<Failure: Error>(_ body: (inout MutableRawSpan) throws(Failure) -> Int) throws(Failure) -> Int {
        var span = unsafe MutableRawSpan(_unsafeStart: memory, byteCount: capacity)
        count = min(max(try body(&span), 0), capacity)
        return count
    }

    /// Announces how many readers will `release` the buffer before it may be filled again.
    func share(among count: Int) {
        readers.store(count, ordering: .releasing)
    }

    /// Ends one reader's turn; true for the last one.
    func release() -> Bool { readers.subtract(1, ordering: .acquiringAndReleasing).oldValue == 1 }

    /// Lets `body` read the bytes of the last fill.
    func read<Failure: Error>(_ body: (RawSpan) throws(Failure) -> Void) throws(Failure) {
        try body(unsafe RawSpan(_unsafeStart: memory, byteCount: count))
    }
}

/// Buffers of past requests, kept warm for the next ones.
package final class BufferPool: Sendable {
    /// Default bytes of one buffer.
    package static let bufferBytes = 512 << 10
    /// Default buffers of one ring: two in work, one being filled, one to even out.
    package static let ringBuffers = 4

    private let bufferBytes: Int
    private let ringBuffers: Int
    private let idleLimit: Int
    private let idle = Mutex<[[TransferBuffer]]>([])

    /// A pool that keeps at most `idleLimit` rings that nobody uses.
    package init(
        bufferBytes: Int = BufferPool.bufferBytes, ringBuffers: Int = BufferPool.ringBuffers, idleLimit: Int = 4
    ) {
        self.bufferBytes = bufferBytes
        self.ringBuffers = ringBuffers
        self.idleLimit = idleLimit
    }

    func take() -> [TransferBuffer] {
        idle.withLock { $0.popLast() } ?? (0..<ringBuffers).map { _ in TransferBuffer(capacity: bufferBytes) }
    }

    func giveBack(_ ring: [TransferBuffer]) {
        idle.withLock { rings in
            if rings.count < idleLimit { rings.append(ring) }
        }
    }
}

extension [UInt8] {
    /// Appends all of `bytes`.
    mutating func append(_ bytes: RawSpan) {
        unsafe bytes.withUnsafeBytes { unsafe append(contentsOf: $0) }
    }
}
