import CPlatform
import Glibc

/// One message between two processes: what it is, and its bytes.
package struct Frame: Sendable, Equatable {
    /// What the bytes are; both ends agree on the numbers.
    package let kind: UInt8
    /// The bytes.
    package let payload: [UInt8]

    /// A message.
    package init(kind: UInt8, payload: [UInt8] = []) {
        self.kind = kind
        self.payload = payload
    }
}

/// One end of a connection between two processes that carries frames: a byte that says what, four that say how long
/// (little-endian), and the payload.
///
/// One thread at a time sends and one receives.
package struct Channel: ~Copyable, Sendable {
    /// The longest payload that can be sent.
    package static let maximumPayload = 256 << 20
    static let headBytes = 5

    /// The number of the descriptor, for a child to inherit; valid while this value lives.
    package let number: Int32

    /// Takes over a connected socket.
    package init(owning number: Int32) {
        self.number = number
    }

    /// Connects two sockets and lends one to `use`, which starts a child with it; it is closed here then, so that the
    /// end of the child ends the other one, which is answered.
    package static func connected(
        to use: (borrowing Channel) throws(ProcessError) -> Void
    ) throws(ProcessError) -> Channel {
        var pair: [Int32] = [-1, -1]
        let answer = unsafe pair.withUnsafeMutableBufferPointer { unsafe viva_socket_pair($0.baseAddress) }
        guard answer == 0 else { throw .system(call: "socketpair", errno: -answer) }
        let near = Channel(owning: pair[0])
        try use(Channel(owning: pair[1]))
        return near
    }

    deinit {
        _ = close(number)
    }

    /// Sends one frame; throws `timedOut` when the other end takes nothing for so long (nil: for ever).
    package borrowing func send(_ frame: Frame, milliseconds: Int? = nil) throws(ProcessError) {
        guard frame.payload.count <= Self.maximumPayload else {
            throw .tooLarge(bytes: frame.payload.count, limit: Self.maximumPayload)
        }
        let length = UInt32(frame.payload.count)
        let head = [frame.kind] + (0..<4).map { UInt8(truncatingIfNeeded: length >> (8 * UInt32($0))) }
        try send(head, milliseconds)
        try send(frame.payload, milliseconds)
    }

    /// Receives one frame of at most `limit` bytes; nil when the other end closed. Throws `timedOut` when nothing comes
    /// for so long (nil: for ever); what had come of a frame by then is lost.
    package borrowing func receive(atMost limit: Int, milliseconds: Int? = nil) throws(ProcessError) -> Frame? {
        var head = [UInt8](repeating: 0, count: Self.headBytes)
        guard try fill(&head, milliseconds, mayEnd: true) else { return nil }
        let length = head.dropFirst().reversed().reduce(0) { $0 << 8 | Int($1) }
        guard length <= limit else { throw .tooLarge(bytes: length, limit: limit) }
        var payload = [UInt8](repeating: 0, count: length)
        _ = try fill(&payload, milliseconds, mayEnd: false)
        return Frame(kind: head[0], payload: payload)
    }

    /// Whether something can be received within so long: a frame, or the end.
    package borrowing func hasInput(milliseconds: Int = 0) -> Bool {
        viva_wait(number, 0, Self.timeout(milliseconds)) == 1
    }

    private borrowing func send(_ bytes: [UInt8], _ milliseconds: Int?) throws(ProcessError) {
        let (number, timeout) = (number, Self.timeout(milliseconds))
        try unsafe bytes.span.withUnsafeBytes { (buffer) throws(ProcessError) in
            guard let base = buffer.baseAddress else { return }
            var done = 0
            while done < buffer.count {
                let count = unsafe viva_channel_send(number, base + done, buffer.count - done, timeout)
                done += try Self.moved(count, "send")
            }
        }
    }

    /// Fills `bytes`; false when the other end had closed before the first of them, which only `mayEnd` allows.
    private borrowing func fill(
        _ bytes: inout [UInt8], _ milliseconds: Int?, mayEnd: Bool
    ) throws(ProcessError) -> Bool {
        let (number, timeout) = (number, Self.timeout(milliseconds))
        var span = bytes.mutableSpan
        return try unsafe span.withUnsafeMutableBytes { (buffer) throws(ProcessError) -> Bool in
            guard let base = buffer.baseAddress else { return true }
            var done = 0
            while done < buffer.count {
                let count = unsafe viva_channel_receive(number, base + done, buffer.count - done, timeout)
                let moved = try Self.moved(count, "recv")
                guard moved > 0 else {
                    if done == 0, mayEnd { return false }
                    throw .truncated(missing: buffer.count - done)
                }
                done += moved
            }
            return true
        }
    }

    private static func timeout(_ milliseconds: Int?) -> Int32 {
        milliseconds.map { Int32(clamping: max(0, $0)) } ?? -1
    }

    /// The bytes that a call moved; the next call does what this one could not do at once.
    private static func moved(_ answer: Int, _ call: String) throws(ProcessError) -> Int {
        switch answer {
        case 0...: return answer
        case -Int(ETIMEDOUT): throw .timedOut
        default: throw .system(call: call, errno: Int32(clamping: -answer))
        }
    }
}
