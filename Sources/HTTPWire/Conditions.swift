package import HTTPTypes

/// What the preconditions of a request decide.
package enum ConditionalOutcome: Sendable, Equatable {
    /// Perform the method.
    case proceed
    /// Answer 304.
    case notModified
    /// Answer 412.
    case preconditionFailed
}

/// Evaluates If-Match, then If-None-Match (RFC 9110 section 13.2.2).
///
/// - Parameter etag: the current entity tag with its quotes, nil when there is no current representation.
package func evaluateConditions(
    _ fields: HTTPFields, method: HTTPRequest.Method, etag: String?
) -> ConditionalOutcome {
    .proceed
}
