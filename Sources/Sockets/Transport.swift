import CPlatform
import Glibc
package import OpenSSL
import Synchronization

/// The server's TLS identity and policy, named here so that the layer above needs no other import.
package typealias TLSContext = OpenSSL.TLSContext

/// Ends all waits of a server's transports at once.
package final class Interruption: Sendable {
    private let requested = Atomic(false)

    /// Starts without a request.
    package init() {}

    /// Whether waiting threads must give up.
    package var isRequested: Bool { requested.load(ordering: .relaxed) }

    /// Makes every wait throw `interrupted` within a fraction of a second.
    package func request() {
        requested.store(true, ordering: .relaxed)
    }
}

/// A connected socket, plain or under TLS: non-blocking steps for a poller's thread, and calls that wait with a
/// deadline for threads of their own. It is closed when its only owner ends.
///
/// The session is referenced by this value alone, and this value has one owner, so moving it to another thread moves
/// the session: that is why it may be called Sendable.
package struct Transport: ~Copyable, @unchecked Sendable {
    /// What one step did.
    package enum Progress: Sendable, Equatable {
        /// This many bytes went through.
        case bytes(Int)
        /// Nothing can be done until the descriptor is ready for this.
        case wait(Interest)
        /// The peer ended its half: no more bytes will come.
        case ended
    }

    /// What a poller watches.
    package let descriptor: Descriptor
    private var session: TLSSession?
    /// Whether the TLS handshake is done; true from the start without TLS.
    package private(set) var isEstablished: Bool
    /// Whether the session failed: it must not be written to again.
    private var isBroken = false

    /// Ends the waits of this transport from another thread.
    private let interruption: Interruption

    /// Takes over a connected non-blocking socket.
    package init(
        _ descriptor: consuming Descriptor, tls: TLSContext?, interruption: Interruption
    ) throws(SocketError) {
        do {
            session = try tls.map { context throws(OpenSSLError) in
                try TLSSession(context: context, descriptor: descriptor.number)
            }
        } catch {
            throw .tls(error)
        }
        isEstablished = session == nil
        self.interruption = interruption
        self.descriptor = descriptor
    }

    /// Whether the bytes are encrypted on the wire.
    package var isSecure: Bool { session != nil }

    /// Whether decrypted bytes wait inside the session, where no poller sees them.
    package var hasPending: Bool { (session?.pending ?? 0) > 0 }

    /// The other end's address.
    package func peer() throws(SocketError) -> SocketAddress {
        try SocketAddress.of(descriptor, peer: true)
    }

    /// One step of the TLS handshake; `.bytes` when it is done.
    package mutating func handshake() throws(SocketError) -> Progress {
        guard let session, !isEstablished else { return .bytes(0) }
        let outcome = session.handshake()
        if outcome == .plainHTTP { self.session = nil }
        let progress = try judge(outcome)
        if case .bytes = progress { isEstablished = true }
        return progress
    }

    /// Reads what is there, at most `buffer.byteCount` bytes, without waiting.
    package mutating func receive(into buffer: inout MutableRawSpan) throws(SocketError) -> Progress {
        guard buffer.byteCount > 0 else { return .bytes(0) }
        if let session { return try receive(recordsOf: session, into: &buffer) }
        let number = descriptor.number
        let count = unsafe buffer.withUnsafeMutableBytes { bytes in
            unsafe viva_receive(number, bytes.baseAddress, bytes.count)
        }
        if count == 0 { return .ended }
        return try plain(count, "recv", .read)
    }

    /// OpenSSL returns a record at a time, 16 KiB at most: reads on, for what is handed on costs the same whatever its
    /// size. An end after the first record is met again by the next call.
    private mutating func receive(
        recordsOf session: TLSSession, into buffer: inout MutableRawSpan
    ) throws(SocketError) -> Progress {
        var count = 0
        while count < buffer.byteCount {
            var room = buffer._mutatingExtracting(count..<buffer.byteCount)
            let outcome = session.read(into: &room)
            switch outcome {
            case .bytes(let more) where more > 0: count += more
            // A session that failed tells so once: what came before it cannot be answered.
            case .failed, .plainHTTP: return try judge(outcome)
            case .bytes, .wantRead, .wantWrite, .closed: return count > 0 ? .bytes(count) : try judge(outcome)
            }
        }
        return .bytes(count)
    }

    /// Writes a prefix of `bytes` without waiting; `more` says that other bytes follow at once (MSG_MORE).
    package mutating func send(_ bytes: RawSpan, more: Bool = false) throws(SocketError) -> Progress {
        guard bytes.byteCount > 0 else { return .bytes(0) }
        if let session {
            let progress = try judge(session.write(bytes))
            if progress == .ended { throw .disconnected }
            return progress
        }
        let number = descriptor.number
        let count = unsafe bytes.withUnsafeBytes { bytes in
            unsafe viva_send(number, bytes.baseAddress, bytes.count, more ? 1 : 0)
        }
        return try plain(count, "send", .write)
    }

    /// Ends the writing half: close_notify under TLS, then FIN. The peer may still be sending.
    package mutating func shutdownWrite() {
        if let session, isEstablished, !isBroken { session.sendCloseNotify() }
        // ENOTCONN, the only failure of a connected socket, means that the peer has gone already.
        _ = viva_shutdown_write(descriptor.number)
    }

    /// Reads and forgets raw bytes after `shutdownWrite`, encrypted or not.
    package mutating func discard(with buffer: inout MutableRawSpan) throws(SocketError) -> Progress {
        let number = descriptor.number
        let count = unsafe buffer.withUnsafeMutableBytes { bytes in
            unsafe viva_receive(number, bytes.baseAddress, bytes.count)
        }
        if count == 0 { return .ended }
        return try plain(count, "recv", .read)
    }

    private func plain(_ count: Int, _ call: String, _ interest: Interest) throws(SocketError) -> Progress {
        if count >= 0 { return .bytes(count) }
        switch Int32(truncatingIfNeeded: -count) {
        case EAGAIN: return .wait(interest)
        case ECONNRESET, EPIPE, ETIMEDOUT, ENOTCONN, EHOSTUNREACH, ENETUNREACH: throw .disconnected
        case let number: throw .system(call: call, errno: number)
        }
    }

    private mutating func judge(_ outcome: TLSSession.Outcome) throws(SocketError) -> Progress {
        switch outcome {
        case .bytes(let count): return .bytes(count)
        case .wantRead: return .wait(.read)
        case .wantWrite: return .wait(.write)
        case .closed: return .ended
        case .plainHTTP:
            isEstablished = true
            throw .plainHTTP
        case .failed(let error):
            isBroken = true
            throw .tls(error)
        }
    }
}

// Calls that wait, for threads that may block.
extension Transport {
    /// Whether the descriptor is ready within `duration`, at most a fraction of a second; throws `interrupted` when the
    /// server stops.
    package func isReady(for interest: Interest, within duration: Duration) throws(SocketError) -> Bool {
        guard !interruption.isRequested else { throw .interrupted }
        let slice = min(duration, .milliseconds(200))
        let code = viva_wait(descriptor.number, interest.flag, wholeMilliseconds(slice))
        guard code >= 0 else { throw .system(call: "poll", errno: -code) }
        return code > 0
    }

    /// Waits until the descriptor is ready; throws `timedOut` when `deadline` passes first, `interrupted` when the
    /// server stops.
    package func wait(for interest: Interest, until deadline: ContinuousClock.Instant) throws(SocketError) {
        while true {
            let left = ContinuousClock.now.duration(to: deadline)
            guard left > .zero else { throw .timedOut }
            if try isReady(for: interest, within: left) { return }
        }
    }

    /// Writes all of `bytes`; throws `timedOut` when the peer takes nothing for `stall`.
    package mutating func sendAll(_ bytes: RawSpan, more: Bool = false, stall: Duration) throws(SocketError) {
        var sent = 0
        while sent < bytes.byteCount {
            switch try send(bytes.extracting(sent..<bytes.byteCount), more: more) {
            case .bytes(let count): sent += count
            case .ended: throw .disconnected
            case .wait(let interest): try wait(for: interest, until: .now + stall)
            }
        }
    }

    /// Writes a prefix of `range` of a file on a plain socket without waiting (sendfile(2)).
    ///
    /// One call moves no more than may wait unsent: calls without that bound took 1.5 times the CPU time a byte
    /// (docs/decisions/0022).
    package func sendFile(_ file: borrowing FileSource, range: Range<Int>) throws(SocketError) -> Progress {
        let most = min(range.count, Int(VIVA_MOST_UNSENT_BYTES))
        let count = viva_send_file(descriptor.number, file.descriptor.number, Int64(range.lowerBound), most)
        // The file is shorter than it was: the promised length can not be kept.
        guard count != 0 else { throw .disconnected }
        return try plain(count, "sendfile", .write)
    }
}
