import Sockets

/// Bytes that were received and not used yet, in storage that is reused; empty storage when nothing is held.
struct InputBuffer: Sendable {
    private var storage: [UInt8]
    private var start = 0
    private var end = 0

    /// Allocates room for `capacity` bytes.
    init(capacity: Int = 0) {
        storage = [UInt8](repeating: 0, count: capacity)
    }

    /// Holds `bytes`, which are not copied.
    init(holding bytes: [UInt8]) {
        storage = bytes
        end = bytes.count
    }

    var count: Int { end - start }
    var isEmpty: Bool { start == end }

    /// Lends the bytes held to `body`.
    func withBytes<R, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
        try body(unsafe storage.span.bytes.extracting(start..<end))
    }

    /// Forgets the first `count` bytes.
    mutating func consume(_ count: Int) {
        start += min(count, self.count)
        if start == end {
            start = 0
            end = 0
        }
    }

    /// Makes room for `capacity` bytes in all, moving what is held to the front.
    mutating func reserve(_ capacity: Int) {
        guard start > 0 || storage.count < capacity else { return }
        let held = Array(storage[start..<end])
        if storage.count < capacity {
            storage = held + [UInt8](repeating: 0, count: capacity - held.count)
        } else {
            storage.replaceSubrange(0..<held.count, with: held)
        }
        start = 0
        end = held.count
    }

    /// Puts a copy of what `other` holds into this empty buffer, which must have room for it.
    mutating func load(_ other: InputBuffer) {
        storage.replaceSubrange(0..<other.count, with: other.storage[other.start..<other.end])
        start = 0
        end = other.count
    }

    /// A buffer of just the bytes held.
    func trimmed() -> InputBuffer {
        var copy = InputBuffer()
        copy.storage = Array(storage[start..<end])
        copy.end = copy.storage.count
        return copy
    }

    /// Lets `body` write to the free room behind the bytes held and say how many bytes it wrote.
    mutating func fill<E: Error>(_ body: (inout MutableRawSpan) throws(E) -> Int) throws(E) -> Int {
        let free = end..<storage.count
        var span = storage.mutableSpan
        var bytes = unsafe span.mutableBytes
        var room = bytes._mutatingExtracting(free)
        let count = try body(&room)
        end += count
        return count
    }

    /// Receives what is there into the free room behind the bytes held, without waiting.
    mutating func receive(from transport: inout Transport) throws(SocketError) -> Transport.Progress {
        var progress = Transport.Progress.ended
        _ = try fill { room throws(SocketError) in
            progress = try transport.receive(into: &room)
            return if case .bytes(let count) = progress { count } else { 0 }
        }
        return progress
    }

    /// Sends what is there without waiting, and forgets what was sent; `more` says that other bytes follow at once.
    mutating func send(over transport: inout Transport, more: Bool) throws(SocketError) -> Transport.Progress {
        let progress = try withBytes { bytes throws(SocketError) in try transport.send(bytes, more: more) }
        if case .bytes(let count) = progress { consume(count) }
        return progress
    }

    /// Reads and forgets raw bytes after the writing half was shut down.
    mutating func discard(from transport: inout Transport) throws(SocketError) -> Transport.Progress {
        var span = storage.mutableSpan
        var bytes = unsafe span.mutableBytes
        return try transport.discard(with: &bytes)
    }

    /// Moves all bytes held to the end of `target`.
    mutating func moveAll(to target: inout [UInt8]) {
        target.append(contentsOf: storage[start..<end])
        consume(count)
    }

    /// Moves the first bytes held to the start of `target`; answers how many.
    mutating func move(into target: inout MutableRawSpan, atMost most: Int) -> Int {
        let count = min(count, most, target.byteCount)
        for index in 0..<count {
            target.storeBytes(of: storage[start + index], toByteOffset: index, as: UInt8.self)
        }
        consume(count)
        return count
    }
}
