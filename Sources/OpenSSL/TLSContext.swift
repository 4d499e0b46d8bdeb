internal import COpenSSL

/// The server's certificate, key and policy, shared by its sessions; reloading makes a new one.
///
/// TLS 1.2 with ECDHE and AEAD ciphers, and TLS 1.3. ALPN `http/1.1`; a client that offers only other protocols is
/// refused (RFC 7301 section 3.2). Stateless session tickets under keys that change; no compression, no renegotiation.
@safe package final class TLSContext: Sendable {
    /// Invariant: valid from `init` to `deinit`, unchanged after `init`, so threads may share it (SSL_CTX_new(3)).
    nonisolated(unsafe) let context: OpaquePointer
    /// When the certificate ends, in seconds since 1970.
    package let secondsOfEnd: Int
    private let ticketKeys: TicketKeys

    /// Reads a PEM certificate chain, leaf first, and its PEM key, which must not need a passphrase.
    package convenience init(certificateFile: String, keyFile: String) throws(OpenSSLError) {
        try self.init(
            certificateFile: certificateFile, keyFile: keyFile,
            ticketKeys: TicketKeys(period: TicketKeys.defaultPeriod) { .now })
    }

    init(certificateFile: String, keyFile: String, ticketKeys: TicketKeys) throws(OpenSSLError) {
        ERR_clear_error()
        guard let context = unsafe SSL_CTX_new(TLS_server_method()) else {
            throw OpenSSLError(operation: "SSL_CTX_new")
        }
        do throws(OpenSSLError) {
            try unsafe Self.setPolicy(of: context)
            try unsafe Self.load(certificateFile, keyFile, into: context)
            try unsafe ticketKeys.serve(context)
        } catch {
            unsafe SSL_CTX_free(context)
            throw error
        }
        unsafe self.context = context
        self.ticketKeys = ticketKeys
        secondsOfEnd = unsafe Self.secondsOfEnd(of: context)
    }

    /// RFC 5280 section 4.1.2.5; 0 for a certificate whose dates cannot be read.
    private static func secondsOfEnd(of context: OpaquePointer) -> Int {
        guard let end = unsafe X509_get0_notAfter(SSL_CTX_get0_certificate(context)) else { return 0 }
        guard let epoch = unsafe ASN1_TIME_set(nil, 0) else { return 0 }
        defer { unsafe ASN1_TIME_free(epoch) }
        var days: Int32 = 0
        var seconds: Int32 = 0
        guard unsafe ASN1_TIME_diff(&days, &seconds, epoch, end) == 1 else { return 0 }
        return Int(days) * 86_400 + Int(seconds)
    }

    deinit {
        unsafe SSL_CTX_free(context)
    }

    private static func setPolicy(of context: OpaquePointer) throws(OpenSSLError) {
        guard unsafe SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, Int(TLS1_2_VERSION), nil) == 1 else {
            throw OpenSSLError(operation: "SSL_CTX_set_min_proto_version")
        }
        guard unsafe SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1 else {
            throw OpenSSLError(operation: "SSL_CTX_set_cipher_list")
        }
        // HTTP delimits its messages itself, so an end of file without close_notify is an end, not an attack.
        unsafe SSL_CTX_set_options(context, TLSPolicy.options)
        unsafe SSL_CTX_ctrl(context, SSL_CTRL_SET_SESS_CACHE_MODE, Int(SSL_SESS_CACHE_OFF), nil)
        unsafe SSL_CTX_ctrl(context, SSL_CTRL_MODE, TLSPolicy.modes, nil)
        // Without retries a call reads the descriptor at most once, so a blocking one cannot outlive the caller's poll.
        unsafe SSL_CTX_ctrl(context, SSL_CTRL_CLEAR_MODE, Int(SSL_MODE_AUTO_RETRY), nil)
        unsafe SSL_CTX_set_alpn_select_cb(
            context,
            { _, output, outputLength, offered, offeredLength, _ in
                unsafe TLSPolicy.selectProtocol(output, outputLength, offered, Int(offeredLength))
            }, nil)
    }

    private static func load(
        _ certificateFile: String, _ keyFile: String, into context: OpaquePointer
    ) throws(OpenSSLError) {
        // The default would ask for a passphrase on the terminal.
        unsafe SSL_CTX_set_default_passwd_cb(context) { _, _, _, _ in 0 }
        guard unsafe SSL_CTX_use_certificate_chain_file(context, certificateFile) == 1 else {
            throw OpenSSLError(operation: "SSL_CTX_use_certificate_chain_file")
        }
        guard unsafe SSL_CTX_use_PrivateKey_file(context, keyFile, SSL_FILETYPE_PEM) == 1 else {
            throw OpenSSLError(operation: "SSL_CTX_use_PrivateKey_file")
        }
        guard unsafe SSL_CTX_check_private_key(context) == 1 else {
            throw OpenSSLError(operation: "SSL_CTX_check_private_key")
        }
    }
}

/// The numbers and the callback that make up the policy.
private enum TLSPolicy {
    /// `SSL_OP_BIT` macros do not reach Swift: NO_COMPRESSION 17, CIPHER_SERVER_PREFERENCE 22, NO_RENEGOTIATION 30,
    /// IGNORE_UNEXPECTED_EOF 7 (openssl/ssl.h, 3.0).
    static let options: UInt64 = 1 << 17 | 1 << 22 | 1 << 30 | 1 << 7

    static let modes = Int(
        SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS)

    /// Points at `http/1.1` inside the client's list of length-prefixed names (RFC 7301 section 3.1).
    static func selectProtocol(
        _ output: UnsafeMutablePointer<UnsafePointer<UInt8>?>?, _ outputLength: UnsafeMutablePointer<UInt8>?,
        _ offered: UnsafePointer<UInt8>?, _ offeredLength: Int
    ) -> Int32 {
        let names = unsafe UnsafeBufferPointer(start: offered, count: offeredLength)
        var offset = 0
        while offset < names.count {
            let start = offset + 1
            let end = unsafe start + Int(names[offset])
            guard end <= names.count else { break }
            if unsafe names[start..<end].elementsEqual("http/1.1".utf8), let offered = unsafe offered {
                unsafe output?.pointee = offered + start
                unsafe outputLength?.pointee = UInt8(end - start)
                return SSL_TLSEXT_ERR_OK
            }
            offset = end
        }
        return SSL_TLSEXT_ERR_ALERT_FATAL
    }
}
