internal import COpenSSL
import Synchronization

/// The keys that seal session tickets (RFC 5077 section 4), drawn anew after each `period`. What the key before has
/// sealed is good for one more; then it is gone, and nobody who comes by the memory of the server opens older sessions.
///
/// Whoever finds his ticket too old shakes hands in full.
@safe final class TicketKeys: Sendable {
    /// A day, as Go's crypto/tls has it. The tickets themselves hold for two hours at most.
    static let defaultPeriod = Duration.seconds(86_400)

    /// 16 bytes of name, 32 of AES-256-CBC's key, 32 of HMAC-SHA-256's.
    private typealias Key = InlineArray<80, UInt8>

    private struct State {
        var current: Key
        var previous: Key?
        var since: ContinuousClock.Instant
    }

    private let state: Mutex<State>
    private let period: Duration
    private let now: @Sendable () -> ContinuousClock.Instant

    init(period: Duration, now: @escaping @Sendable () -> ContinuousClock.Instant) throws(OpenSSLError) {
        guard let key = Self.fresh() else { throw OpenSSLError(operation: "RAND_priv_bytes") }
        self.period = period
        self.now = now
        state = Mutex(State(current: key, previous: nil, since: now()))
    }

    /// Has a context use these keys, which must outlive its sessions.
    func serve(_ context: OpaquePointer) throws(OpenSSLError) {
        unsafe SSL_CTX_set_ex_data(context, 0, Unmanaged.passUnretained(self).toOpaque())
        let isSet = unsafe SSL_CTX_set_tlsext_ticket_key_evp_cb(context) { session, name, vector, cipher, code, isNew in
            guard let keys = unsafe SSL_CTX_get_ex_data(SSL_get_SSL_CTX(session), 0), let name = unsafe name,
                let vector = unsafe vector
            else { return -1 }
            let ticket = unsafe Ticket(name: name, vector: vector, cipher: cipher, code: code)
            return unsafe Unmanaged<TicketKeys>.fromOpaque(keys).takeUnretainedValue().prepare(ticket, isNew == 1)
        }
        guard isSet == 1 else { throw OpenSSLError(operation: "SSL_CTX_set_tlsext_ticket_key_evp_cb") }
    }

    /// What OpenSSL passes for the time of a call: 16 bytes of name, room for 16 of an initial vector, and the contexts
    /// of cipher and authentication code.
    @unsafe private struct Ticket {
        // Invariant: valid within the call that they came with.
        let name: UnsafeMutablePointer<UInt8>
        let vector: UnsafeMutablePointer<UInt8>
        let cipher: OpaquePointer?
        let code: OpaquePointer?
    }

    /// 1: go on; 2: go on and send a new ticket; 0: shake hands in full; -1: end the handshake
    /// (SSL_CTX_set_tlsext_ticket_key_evp_cb(3)).
    private func prepare(_ ticket: Ticket, _ isNew: Bool) -> Int32 {
        state.withLock { state in
            guard renew(&state) else { return -1 }
            if isNew {
                for index in 0..<16 { unsafe ticket.name[index] = state.current[index] }
                guard unsafe RAND_bytes(ticket.vector, 16) == 1 else { return -1 }
                return unsafe Self.set(state.current, in: ticket, isNew) ? 1 : -1
            }
            for (key, isCurrent) in [(state.current, true), (state.previous ?? state.current, false)]
            where (0..<16).allSatisfy({ unsafe ticket.name[$0] == key[$0] }) {
                return unsafe Self.set(key, in: ticket, isNew) ? (isCurrent ? 1 : 2) : -1
            }
            return 0
        }
    }

    /// Changes the keys when it is time; false when there is no randomness for it.
    private func renew(_ state: inout State) -> Bool {
        let age = state.since.duration(to: now())
        guard age >= period else { return true }
        guard let key = Self.fresh() else { return false }
        state.previous = age < period * 2 ? state.current : nil
        state.current = key
        state.since = now()
        return true
    }

    private static func fresh() -> Key? {
        var key = Key(repeating: 0)
        var bytes = key.mutableSpan
        let isDrawn = unsafe bytes.withUnsafeMutableBufferPointer { unsafe RAND_priv_bytes($0.baseAddress, 80) }
        return isDrawn == 1 ? key : nil
    }

    private static func set(_ key: Key, in ticket: Ticket, _ isNew: Bool) -> Bool {
        var secret = key
        var bytes = secret.mutableSpan
        return unsafe bytes.withUnsafeMutableBufferPointer { bytes in
            guard let start = bytes.baseAddress else { return false }
            return unsafe EVP_CipherInit_ex(
                ticket.cipher, EVP_aes_256_cbc(), nil, start + 16, ticket.vector, isNew ? 1 : 0) == 1
                && viva_hmac_sha256_key(ticket.code, start + 48, 32) == 1
        }
    }
}
