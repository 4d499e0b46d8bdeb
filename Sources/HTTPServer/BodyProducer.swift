/// Makes a body while it is sent, on the thread that sends it.
package protocol BodyProducer: AnyObject, Sendable {
    /// Bytes in all, known before the first one is made.
    var byteCount: Int { get }
    /// Fills the start of `bytes` with what comes next, and says with how many bytes: at least one.
    ///
    /// Called by one thread at a time, never for more than `byteCount` bytes in all.
    func produce(into bytes: inout MutableRawSpan) throws(ProductionFailure) -> Int
}

/// Why a body ended before its announced length.
package struct ProductionFailure: Error, Sendable, Equatable {
    /// The stable code that the log tells.
    package let code: String
    /// One sentence for the operator.
    package let detail: String

    /// Names the reason.
    package init(code: String, detail: String) {
        self.code = code
        self.detail = detail
    }
}
