internal import COpenSSL

/// The server's side of one TLS connection, over a socket that the caller owns, polls and closes.
///
/// Works with blocking and non-blocking descriptors; one call reads or writes the descriptor a bounded number of
/// times. Writing to a socket whose peer is gone raises SIGPIPE, which the process must ignore. Used by one thread
/// at a time.
@safe package final class TLSSession {
    /// What one step did.
    package enum Outcome: Sendable, Equatable {
        /// This many bytes were read or written; 0 for a finished handshake or an empty buffer.
        case bytes(Int)
        /// Wait until the descriptor is readable, then repeat the call.
        case wantRead
        /// Wait until the descriptor is writable, then repeat the call.
        case wantWrite
        /// The peer ended the session: close_notify, end of file or reset.
        case closed
        /// The peer speaks HTTP, not TLS; the session is broken.
        case plainHTTP
        /// The session is broken and must be dropped.
        case failed(OpenSSLError)
    }

    /// Invariant: valid from `init` to `deinit`; holds a reference to its context.
    private let session: OpaquePointer
    /// Kept for the keys of its tickets, which OpenSSL asks for: another one may greet new clients by now.
    private let context: TLSContext
    /// After a fatal error OpenSSL allows no further call, `SSL_shutdown` included (SSL_get_error(3)).
    private var isBroken = false
    private var sentCloseNotify = false

    /// Binds a new session to a connected socket, which stays the caller's.
    package init(context: TLSContext, descriptor: Int32) throws(OpenSSLError) {
        ERR_clear_error()
        guard let session = unsafe SSL_new(context.context) else { throw OpenSSLError(operation: "SSL_new") }
        guard unsafe SSL_set_fd(session, descriptor) == 1 else {
            unsafe SSL_free(session)
            throw OpenSSLError(operation: "SSL_set_fd")
        }
        unsafe SSL_set_accept_state(session)
        unsafe self.session = session
        self.context = context
    }

    deinit {
        unsafe SSL_free(session)
    }

    /// Continues the handshake; `.bytes(0)` when it is done.
    package func handshake() -> Outcome {
        guard !isBroken else { return .closed }
        ERR_clear_error()
        let result = unsafe SSL_do_handshake(session)
        if result != 1, ERR_GET_REASON(ERR_peek_error()) == SSL_R_HTTP_REQUEST {
            isBroken = true
            ERR_clear_error()
            return .plainHTTP
        }
        return result == 1 ? .bytes(0) : outcome(of: result, operation: "SSL_do_handshake")
    }

    /// Reads at most one record's bytes into the start of `buffer`; continues the handshake if needed.
    package func read(into buffer: inout MutableRawSpan) -> Outcome {
        guard !isBroken else { return .closed }
        guard buffer.byteCount > 0 else { return .bytes(0) }
        ERR_clear_error()
        var count = 0
        let result = unsafe buffer.withUnsafeMutableBytes {
            unsafe SSL_read_ex(session, $0.baseAddress, $0.count, &count)
        }
        return result == 1 ? .bytes(count) : outcome(of: result, operation: "SSL_read")
    }

    /// Writes a prefix of `bytes`, at most one record; after `.wantRead` or `.wantWrite` repeat the same bytes.
    package func write(_ bytes: RawSpan) -> Outcome {
        guard !isBroken else { return .closed }
        guard !bytes.isEmpty else { return .bytes(0) }
        ERR_clear_error()
        var count = 0
        let result = unsafe bytes.withUnsafeBytes {
            unsafe SSL_write_ex(session, $0.baseAddress, $0.count, &count)
        }
        return result == 1 ? .bytes(count) : outcome(of: result, operation: "SSL_write")
    }

    /// Decrypted bytes that `read` can return without touching the descriptor; polling does not see them.
    package var pending: Int {
        unsafe Int(SSL_pending(session))
    }

    /// The negotiated version, for instance `TLSv1.3`.
    package var protocolVersion: String {
        unsafe SSL_get_version(session).map { unsafe String(cString: $0) } ?? "unknown"
    }

    /// Sends close_notify once, if the socket takes it now; a broken or unfinished session sends none.
    package func sendCloseNotify() {
        guard !isBroken, !sentCloseNotify, unsafe SSL_is_init_finished(session) == 1 else { return }
        ERR_clear_error()
        let result = unsafe SSL_shutdown(session)
        // Full: the caller may try again; any other refusal means that no one listens.
        let reason = unsafe SSL_get_error(session, result)
        sentCloseNotify = result >= 0 || reason != SSL_ERROR_WANT_WRITE
        ERR_clear_error()
    }

    private func outcome(of result: Int32, operation: String) -> Outcome {
        switch unsafe SSL_get_error(session, result) {
        case SSL_ERROR_WANT_READ: return .wantRead
        case SSL_ERROR_WANT_WRITE: return .wantWrite
        case SSL_ERROR_ZERO_RETURN: return .closed
        case SSL_ERROR_SYSCALL:
            isBroken = true
            let error = OpenSSLError(operation: operation)
            return error.reasons.isEmpty ? .closed : .failed(error)
        default:
            isBroken = true
            return .failed(OpenSSLError(operation: operation))
        }
    }
}
