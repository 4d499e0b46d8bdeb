import HTTPTypes

/// Whether requests need a key.
package enum Authentication: String, Sendable, CaseIterable {
    /// As soon as the address is not loopback. On loopback a request without a key is the owner `local`.
    case auto
    /// Everywhere.
    case required
    /// Nowhere: keys are not looked at, and everybody is the owner `local`.
    case none
}

/// What each route asks of a key.
struct AccessPolicy: Sendable {
    /// What becomes of requests without a key, and of keys.
    enum KeyUse: Sendable {
        case required
        /// A request without a key is everybody's; a key that is sent must be good.
        case optional
        case ignored
    }

    let keys: KeyUse
    /// What `/metrics` and `/v1/metrics` ask for.
    let metrics: Scopes
    /// What `/livez`, `/readyz` and `/healthz` ask for.
    let health: Scopes

    /// `metrics` without a wish of the operator's: figures of all owners, hence for `admin` where keys are needed.
    init(_ authentication: Authentication, isLoopback: Bool, metrics: Scopes? = nil, health: Scopes? = nil) {
        keys =
            switch authentication {
            case .none: .ignored
            case .required: .required
            case .auto: isLoopback ? .optional : .required
            }
        self.metrics = metrics ?? (keys == .required ? .admin : [])
        self.health = health ?? []
    }

    /// Open to everybody: they tell what the program is and can do, and nothing of what it holds.
    static let open: Set<String> = ["/", "/openapi.yaml", "/v1/methods"]
    /// Sent with a body or by POST, and yet they change nothing.
    static let reading: Set<String> = ["/v1/plan", "/v1/compare"]
    /// What concerns all owners.
    static let administrative: Set<String> = ["/v1/gc", "/v1/requests"]
    static let metricsPaths: Set<String> = ["/metrics", "/v1/metrics"]
    static let healthPaths: Set<String> = ["/livez", "/readyz", "/healthz"]

    /// The scopes that a route asks for; none when it is open to everybody. A route that nobody thought of here asks
    /// for `read` or `write`, by its method.
    func scopes(_ method: HTTPRequest.Method, _ template: String) -> Scopes {
        if Self.metricsPaths.contains(template) { return metrics }
        if Self.healthPaths.contains(template) { return health }
        if Self.administrative.contains(template) { return .admin }
        switch method {
        case .options: return []
        case .get, .head: return Self.open.contains(template) || template == "/v1/plan" ? [] : .read
        default: return Self.reading.contains(template) ? .read : .write
        }
    }
}
