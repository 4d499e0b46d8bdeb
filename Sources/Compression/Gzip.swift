internal import CZlib

/// One gzip member that holds `bytes` (RFC 1952), without a name or a time: the same bytes give the same member.
///
/// - Parameter level: 1 (fast) to 9 (small); others are refused as `.zlib`.
package func gzip(_ bytes: RawSpan, level: Int = 1) throws(CompressionError) -> [UInt8] {
    guard (1...9).contains(level) else { throw .zlib(code: Z_STREAM_ERROR) }
    let stream = try ZlibStream(.deflating(level: level))
    var member = [UInt8](repeating: 0, count: stream.bound(bytes.byteCount))
    var consumed = 0
    var produced = 0
    while true {
        var span = member.mutableSpan
        var room = unsafe span.mutableBytes
        let step = stream.step(
            bytes.extracting(consumed..<bytes.byteCount), into: &room, at: produced, finish: true)
        consumed += step.consumed
        produced += step.produced
        if step.result == Z_STREAM_END { break }
        guard step.result == Z_OK, step.consumed + step.produced > 0 else { throw .zlib(code: step.result) }
    }
    member.removeLast(member.count - produced)
    return member
}
