/// One TLS connection of the server side over a socket that the caller owns, polls and closes.
package final class TLSSession {
    /// What one step did.
    package enum Outcome: Sendable, Equatable {
        /// This many bytes were read or written; 0 for a finished handshake.
        case bytes(Int)
        /// Wait until the descriptor is readable, then repeat the call.
        case wantRead
        /// Wait until the descriptor is writable, then repeat the call.
        case wantWrite
        /// The peer ended the session: close_notify or end of file.
        case closed
        /// The session is broken and must be dropped.
        case failed(OpenSSLError)
    }

    /// Binds a new session to a connected socket.
    package init(context: TLSContext, descriptor: Int32) throws(OpenSSLError) {
    }

    /// Continues the handshake; `.bytes(0)` when it is done.
    package func handshake() -> Outcome { .closed }

    /// Reads at most one record's bytes into the start of `buffer`.
    package func read(into buffer: inout MutableRawSpan) -> Outcome { .closed }

    /// Writes a prefix of `bytes`.
    package func write(_ bytes: RawSpan) -> Outcome { .closed }

    /// Decrypted bytes that `read` can return without touching the descriptor.
    package var pending: Int { 0 }

    /// Sends close_notify, once, as far as the socket takes it.
    package func sendCloseNotify() {
    }
}
