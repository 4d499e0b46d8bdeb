import HTTPServer
import HTTPTypes
import HTTPWire

/// Who gets in without a key: only requests that a browser on a foreign page could not have made.
///
/// A page from elsewhere can make a browser send requests to loopback: by its own name for 127.0.0.1 (DNS rebinding),
/// and then it reads the answers too; or straight across origins, where it cannot. Both show in `Host` and `Origin`.
struct Admission: Sendable {
    func callAsFunction(_ request: RoutedRequest) throws(Problem) {
        // No browser reaches a local socket, and who forwards requests to one keeps their Host.
        if request.isLocal, !request.peer.hasPrefix("unix:"), let authority = request.head.authority,
            !Self.isLoopback(authority)
        {
            throw refusal("host.not_loopback", "Without a key '\(authority)' is not served here; use localhost.")
        }
        switch request.head.method {
        case .get, .head, .options: return
        default: break
        }
        if let origin = request.head.fields[.origin] {
            guard let authority = request.head.authority, origin.hasSuffix("://\(authority)") else {
                throw refusal("origin.foreign", "Writes from the origin '\(origin)' are refused.")
            }
        }
    }

    private static func isLoopback(_ authority: String) -> Bool {
        var host = authority[...]
        if host.hasPrefix("[") {
            host = host.dropFirst().prefix { $0 != "]" }
        } else {
            host = host.prefix { $0 != ":" }
        }
        let isFour = host.hasPrefix("127.") && host.allSatisfy { $0.isASCII && ($0.isNumber || $0 == ".") }
        return host.lowercased() == "localhost" || host == "::1" || isFour
    }

    private func refusal(_ code: String, _ detail: String) -> Problem {
        Problem(.forbidden, code: code, title: "The request came from elsewhere", detail: detail)
    }
}
