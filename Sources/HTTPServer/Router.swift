package import HTTPTypes
import HTTPWire

/// One method on one template of paths, and what answers it.
package struct Route: Sendable {
    /// Where the handler runs.
    package enum Execution: Sendable {
        /// On the event loop: it must answer from memory and never wait.
        case inline
        /// On a thread of its own: it may wait and compute.
        case worker
    }

    /// Answers a request, or refuses it.
    package typealias Handler = @Sendable (inout Request) throws(Problem) -> Response

    /// The method; GET answers HEAD too.
    package let method: HTTPRequest.Method
    /// `/v1/artifacts/{id}/content`; a parameter takes one whole segment.
    package let template: String
    /// Where the handler runs.
    package let execution: Execution
    /// The most bytes of a body as sent; nil for the server's limit.
    package let maxBodyBytes: Int?
    /// What answers.
    package let handler: Handler

    /// Describes a route.
    package init(
        _ method: HTTPRequest.Method, _ template: String, _ execution: Execution, maxBodyBytes: Int? = nil,
        handler: @escaping Handler
    ) {
        self.method = method
        self.template = template
        self.execution = execution
        self.maxBodyBytes = maxBodyBytes
        self.handler = handler
    }
}

/// The routes of a service, and the check that every request with a route passes first.
package struct Router: Sendable {
    /// The routes in the order given.
    package let routes: [Route]
    /// Runs after the route is found and before 100 Continue, any byte of the body, and the handler.
    package let admit: @Sendable (RoutedRequest) throws(Problem) -> Void

    /// Collects routes.
    package init(
        _ routes: [Route], admit: @escaping @Sendable (RoutedRequest) throws(Problem) -> Void = { _ in }
    ) {
        self.routes = routes
        self.admit = admit
    }
}

/// The routes, arranged for look-up.
struct RouteTable: Sendable {
    /// Methods that a server is expected to know, of RFC 9110, RFC 5789 and
    /// draft-ietf-httpbis-safe-method-w-body; others are 501 rather than 405 (RFC 9110 section 9.1).
    static let knownMethods: Set<HTTPRequest.Method> =
        Set(
            [.get, .head, .post, .put, .delete, .options, .patch, .trace]
                + [HTTPRequest.Method("QUERY")].compactMap { $0 })

    enum Match {
        case route(Route, parameters: [String: String])
        /// No route, but the path or `*` exists: its methods.
        case options(allow: String)
        case methodNotAllowed(allow: String)
        case notFound
    }

    fileprivate enum Segment: Sendable, Equatable {
        case literal(String)
        case parameter(String)
    }

    private struct Endpoint: Sendable {
        let segments: [Segment]
        var routes: [Route] = []

        var allow: String {
            var methods = routes.map(\.method.rawValue)
            if methods.contains("GET"), !methods.contains("HEAD") { methods.append("HEAD") }
            if !methods.contains("OPTIONS") { methods.append("OPTIONS") }
            return methods.sorted().joined(separator: ", ")
        }

        func route(for method: HTTPRequest.Method) -> Route? {
            routes.first { $0.method == method } ?? (method == .head ? routes.first { $0.method == .get } : nil)
        }

        /// The parameters of a path; nil when it is not of this template.
        func match(_ path: [String]) -> [String: String]? {
            guard path.count == segments.count else { return nil }
            var parameters = [String: String]()
            for (segment, value) in zip(segments, path) {
                switch segment {
                case .literal(let text): guard text == value else { return nil }
                case .parameter(let name):
                    guard !value.isEmpty else { return nil }
                    parameters[name] = value
                }
            }
            return parameters
        }
    }

    /// Endpoints without parameters, by their path as it is usually sent.
    private var literals: [String: Endpoint] = [:]
    /// All endpoints; those with the earlier literal segment first.
    private var endpoints: [Endpoint] = []
    private let allMethods: String

    init(_ routes: [Route]) throws(ServerError) {
        var byTemplate = [String: Endpoint]()
        for route in routes {
            var endpoint = Endpoint(segments: try Self.segments(of: route.template))
            let shape = endpoint.segments.map { if case .literal(let text) = $0 { text } else { "{}" } }
            let key = shape.joined(separator: "/")
            if let known = byTemplate[key] {
                // The same place under two parameter names would hide one of them.
                guard known.segments == endpoint.segments else { throw .malformedTemplate(route.template) }
                endpoint = known
            }
            guard !endpoint.routes.contains(where: { $0.method == route.method }) else {
                throw .duplicateRoute("\(route.method) \(route.template)")
            }
            endpoint.routes.append(route)
            byTemplate[key] = endpoint
        }
        endpoints = byTemplate.values.sorted { Self.rank($0.segments) < Self.rank($1.segments) }
        for endpoint in endpoints where !endpoint.segments.contains(where: { $0.isParameter }) {
            if let template = endpoint.routes.first?.template { literals[template] = endpoint }
        }
        allMethods = Set(routes.map(\.method.rawValue) + ["HEAD", "OPTIONS"]).sorted().joined(separator: ", ")
    }

    func match(_ head: RequestHead) -> Match {
        if head.isAsterisk { return .options(allow: allMethods) }
        if let endpoint = literals[head.rawPath] { return choose(head, endpoint, [:]) }
        for endpoint in endpoints {
            if let parameters = endpoint.match(head.path) { return choose(head, endpoint, parameters) }
        }
        return .notFound
    }

    private func choose(_ head: RequestHead, _ endpoint: Endpoint, _ parameters: [String: String]) -> Match {
        if let route = endpoint.route(for: head.method) { return .route(route, parameters: parameters) }
        return head.method == .options ? .options(allow: endpoint.allow) : .methodNotAllowed(allow: endpoint.allow)
    }

    private static func segments(of template: String) throws(ServerError) -> [Segment] {
        guard template.hasPrefix("/"), !template.contains("//") else { throw .malformedTemplate(template) }
        if template == "/" { return [] }
        var segments = [Segment]()
        for text in template.dropFirst().split(separator: "/", omittingEmptySubsequences: false) {
            guard text.hasPrefix("{") else {
                segments.append(.literal(String(text)))
                continue
            }
            guard text.hasSuffix("}"), text.count > 2 else { throw .malformedTemplate(template) }
            segments.append(.parameter(String(text.dropFirst().dropLast())))
        }
        return segments
    }

    private static func rank(_ segments: [Segment]) -> String {
        segments.map { $0.isParameter ? "1" : "0" }.joined()
    }
}

extension RouteTable.Segment {
    fileprivate var isParameter: Bool {
        if case .parameter = self { true } else { false }
    }
}
