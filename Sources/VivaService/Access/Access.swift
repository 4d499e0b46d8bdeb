import HTTPServer
import HTTPTypes
import HTTPWire

/// Decides who may do what, and whose request it is.
struct Access: Sendable {
    /// For requests to addresses that others reach.
    let policy: AccessPolicy
    /// For requests to addresses that only this machine reaches.
    let localPolicy: AccessPolicy
    let admission: Admission
    let keys: KeyRing
    /// The limits of everybody without a key.
    let limits: OwnerLimits

    /// Lets a request in or refuses it, from its head alone: before 100 Continue and before a byte of the body.
    func admit(_ request: RoutedRequest) throws(Problem) {
        let needed = (request.isLocal ? localPolicy : policy).scopes(request.head.method, request.template)
        guard !needed.isEmpty else { return }
        guard let key = try key(in: request) else { return try admission(request) }
        let principal = try keys.holder(of: key)
        guard principal.scopes.isSuperset(of: needed) else { throw .insufficientScope(needed, principal.scopes) }
    }

    /// Whose request it is; for handlers, whose requests have been admitted. No further look at the catalogue.
    func principal(_ request: borrowing Request) throws(Problem) -> Principal {
        guard let key = try key(in: request.routed) else { return .anybody(limits) }
        return try keys.admittedHolder(of: key)
    }

    /// The key that a request shows; nil where it needs none and shows none.
    private func key(in request: RoutedRequest) throws(Problem) -> AccessKey? {
        let policy = request.isLocal ? localPolicy : policy
        guard policy.keys != .ignored else { return nil }
        guard let field = request.head.fields[.authorization] else {
            guard policy.keys == .optional else { throw .missingKey() }
            return nil
        }
        // RFC 9110 wants spaces; some clients send a tab.
        let parts = field.split(maxSplits: 1) { $0 == " " || $0 == "\t" }
        // Another scheme shows that the client knows nothing of keys (RFC 6750 section 3.1).
        guard parts.count == 2, parts[0].lowercased() == "bearer" else { throw .missingKey() }
        guard let key = AccessKey(parts[1].drop { $0 == " " || $0 == "\t" }) else {
            throw .invalidKey("What was sent is not of the form viva_<16 digits>_<64 digits>.")
        }
        return key
    }
}

// The refusals, with the challenges of RFC 6750.
extension Problem {
    fileprivate static let realm = "Bearer realm=\"viva\""

    /// Nothing was shown that could be a key.
    static func missingKey() -> Problem {
        Problem(
            .unauthorized, code: "key.missing", title: "A key is needed",
            detail: "Send 'Authorization: Bearer viva_...'; 'viva key add NAME --data DIR' makes a key.",
            fields: [.wwwAuthenticate: realm])
    }

    /// What was shown is no key that holds.
    static func invalidKey(_ detail: String) -> Problem {
        Problem(
            .unauthorized, code: "key.invalid", title: "The key does not hold", detail: detail,
            fields: [.wwwAuthenticate: "\(realm), error=\"invalid_token\""])
    }

    /// The key holds, but not for this.
    static func insufficientScope(_ needed: Scopes, _ granted: Scopes) -> Problem {
        Problem(
            .forbidden, code: "key.scope", title: "The key may not do this",
            detail: "This needs the scope '\(needed.text)'; the key has '\(granted.text)'.",
            members: [("needed_scope", .string(needed.text)), ("granted_scopes", .string(granted.text))],
            fields: [.wwwAuthenticate: "\(realm), error=\"insufficient_scope\", scope=\"\(needed.text)\""])
    }
}
