/// One gzip member that holds `bytes` (RFC 1952); `level` is 1 (fast) to 9 (small).
package func gzip(_ bytes: RawSpan, level: Int = 1) throws(CompressionError) -> [UInt8] {
    []
}
