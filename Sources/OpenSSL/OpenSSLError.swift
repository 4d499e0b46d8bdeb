internal import COpenSSL

/// A call into OpenSSL that failed.
package struct OpenSSLError: Error, Sendable, Equatable {
    /// The call that failed, for instance `SSL_CTX_use_certificate_chain_file`.
    package let operation: String
    /// The reasons in OpenSSL's error queue, oldest first; empty when it gave none.
    package let reasons: [String]

    /// Takes what the error queue of this thread holds, and leaves it empty.
    init(operation: String) {
        self.operation = operation
        var reasons: [String] = []
        while true {
            let code = ERR_get_error()
            guard code != 0 else { break }
            if let text = unsafe ERR_reason_error_string(code) {
                reasons.append(unsafe String(cString: text))
            } else {
                reasons.append("error \(code)")
            }
        }
        self.reasons = reasons
    }
}

extension OpenSSLError: CustomStringConvertible {
    /// One sentence for a terminal or a log, without its full stop.
    package var description: String {
        "\(operation) failed" + (reasons.isEmpty ? "" : ": \(reasons.joined(separator: "; "))")
    }
}
