package import HTTPTypes

/// The offered media type that an Accept value prefers; nil when none is acceptable (RFC 9110 section 12.5.1).
package func preferredMediaType(accept: String?, offered: [String]) -> String? {
    offered.first
}

/// Whether Accept-Encoding allows a gzip-coded response (RFC 9110 section 12.5.3).
package func acceptsGzip(_ fields: HTTPFields) -> Bool {
    false
}
