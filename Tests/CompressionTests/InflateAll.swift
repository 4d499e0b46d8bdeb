import Compression

/// Feeds `input` in pieces of `step` bytes to an inflater that writes into `room` bytes at a time, to its end; or to
/// that of the first stream, where `endsAtStream`.
func inflateAll(
    _ input: [UInt8], step: Int, room: Int, endsAtStream: Bool,
    by inflate: (RawSpan, inout MutableRawSpan) throws -> InflateProgress
) throws -> (output: [UInt8], consumed: Int, finished: Bool) {
    var output: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: room)
    var offset = 0
    while true {
        let piece = Array(input[offset..<min(offset + step, input.count)])
        var span = buffer.mutableSpan
        var bytes = unsafe span.mutableBytes
        let progress = unsafe try inflate(piece.span.bytes, &bytes)
        output += buffer[..<progress.produced]
        offset += progress.consumed
        if endsAtStream && progress.finished || offset == input.count && progress.produced < room {
            return (output, offset, progress.finished)
        }
    }
}
