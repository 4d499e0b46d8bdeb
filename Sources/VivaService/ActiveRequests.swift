import HTTPTypes
import Synchronization

/// The methods that figures and lines of the log name: those of RFC 9110 and RFC 5789, as OpenTelemetry has them. A
/// client cannot make more of them.
enum RequestMethods {
    private static let known: [HTTPRequest.Method] = [
        .get, .post, .put, .head, .delete, .patch, .options, .trace, .connect,
    ]
    /// What they are called, and all others at the end.
    static let names = known.map(\.rawValue) + ["_OTHER"]

    /// The place of a method among `names`; nil is that of a request whose head could not be read.
    static func index(of method: HTTPRequest.Method?) -> Int {
        method.flatMap { known.firstIndex(of: $0) } ?? known.count
    }

    static func name(of method: HTTPRequest.Method?) -> String { names[index(of: method)] }
}

/// Counts the requests in work by method and scheme, without a lock: each request comes here twice.
final class ActiveRequests: Sendable {
    /// Those of methods in turn, plain and under TLS: twice as many as `RequestMethods.names`.
    private let begun = InlineArray<20, Atomic<Int>> { _ in Atomic(0) }
    private let ended = InlineArray<20, Atomic<Int>> { _ in Atomic(0) }

    func begin(_ method: HTTPRequest.Method?, isSecure: Bool) {
        begun[Self.place(method, isSecure)].add(1, ordering: .relaxed)
    }

    func end(_ method: HTTPRequest.Method?, isSecure: Bool) {
        ended[Self.place(method, isSecure)].add(1, ordering: .releasing)
    }

    /// Method and scheme of all that there were, and how many of them are in work.
    var series: [([String], Double)] {
        begun.indices.compactMap { place in
            // What has ended by now has begun before: the difference is never negative.
            let ended = ended[place].load(ordering: .acquiring)
            let begun = begun[place].load(ordering: .relaxed)
            guard begun > 0 else { return nil }
            return ([RequestMethods.names[place / 2], place % 2 == 0 ? "http" : "https"], Double(begun - ended))
        }
    }

    private static func place(_ method: HTTPRequest.Method?, _ isSecure: Bool) -> Int {
        2 * RequestMethods.index(of: method) + (isSecure ? 1 : 0)
    }
}
