extension RequestHead {
    /// Reads a request head from the start of `bytes` (RFC 9112, strict).
    ///
    /// - Parameter scannedBefore: what the last `.partial` of this head said, else 0.
    package static func parse(_ bytes: RawSpan, limits: HeadLimits = HeadLimits(), scannedBefore: Int = 0) -> HeadParse
    {
        .partial(scanned: 0)
    }
}
