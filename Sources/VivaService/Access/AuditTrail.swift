import Catalogue
import HTTPServer
import HTTPTypes
import HTTPWire

/// Notes who changed what: one line of the audit log for each request that changed something, after it did.
///
/// It stands around the routes, so that none can forget it. A request that was refused changes nothing; it has its line
/// in the log of requests.
struct AuditTrail: Sendable {
    let catalogue: Catalogue
    let access: Access
    let metrics: ServiceMetrics

    /// Days for which lines are kept.
    static let retentionDays: Int64 = 90

    /// The route with its notes; a route that changes nothing stays as it is.
    func noting(_ route: Route) -> Route {
        let needed = access.policy.scopes(route.method, route.template)
        guard route.method != .get, !needed.isDisjoint(with: [.write, .admin]) else { return route }
        let action = Self.action(route.method, route.template)
        return Route(route.method, route.template, route.execution, maxBodyBytes: route.maxBodyBytes) {
            (request) throws(Problem) in
            let owner = try access.principal(request).owner
            let response = try route.handler(&request)
            if Self.isChange(route.method, needed, response) {
                note(action, by: owner, to: Self.target(response, request, needed), trace: request.trace.traceID)
            }
            return response
        }
    }

    private func note(_ action: String, by owner: String, to target: String, trace: String) {
        let record = AuditRecord(
            at: Clock.milliseconds(), owner: owner, action: action, target: target, trace: trace)
        do throws(CatalogueError) {
            try catalogue.note(record)
        } catch {
            // The change is done and durable, and its answer must say so.
            metrics.unnoted(record, error)
        }
    }

    /// `artifact.delete` of `DELETE /v1/artifacts/{id}`, `quantize` of `POST /v1/quantize`.
    static func action(_ method: HTTPRequest.Method, _ template: String) -> String {
        let noun = template.split(separator: "/").dropFirst().first.map(String.init) ?? template
        guard noun.hasSuffix("s") else { return noun }
        let verb =
            switch method {
            case .post: "create"
            case .put where !template.hasSuffix("{id}"): "create"
            case .patch: "seal"
            default: method.rawValue.lowercased()
            }
        return "\(noun.dropLast()).\(verb)"
    }

    /// 200 to POST or PUT says that all was there before; a piece of an upload changes its row and nothing else yet.
    private static func isChange(_ method: HTTPRequest.Method, _ needed: Scopes, _ response: Response) -> Bool {
        guard response.status.kind == .successful else { return false }
        switch method {
        case .post, .put: return response.status != .ok || needed.contains(.admin)
        case .patch: return response.fields[.contentLocation] != nil
        default: return true
        }
    }

    /// What was made, or asked for; of what concerns all owners also how.
    private static func target(
        _ response: Response, _ request: borrowing Request, _ needed: Scopes
    ) -> String {
        if needed.contains(.admin) { return request.head.target }
        return response.fields[.contentLocation] ?? response.fields[.location] ?? request.head.rawPath
    }
}
