/// Why bytes from a client are refused, with the status that answers them.
package struct WireError: Error, Sendable, Equatable {
    /// The status code of the answer: 400, 413, 414, 417, 431, 501 or 505.
    package let status: Int
    /// A stable code in the form `http.bare_line_feed`.
    package let code: String
    /// One sentence for a person: what was found.
    package let detail: String

    /// Collects the evidence of one refusal.
    package init(status: Int, code: String, detail: String) {
        self.status = status
        self.code = code
        self.detail = detail
    }

    /// A malformed message: status 400.
    init(_ code: String, _ detail: String) {
        self.init(status: 400, code: "http.\(code)", detail: detail)
    }
}
