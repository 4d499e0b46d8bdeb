import HTTPTypes
import HTTPWire

/// Small limits, so that few bytes reach them.
private let limits = HeadLimits(maxHeadBytes: 600, maxFields: 12, maxTargetBytes: 200)

/// Request heads: read whole, and in two pieces with the scan taken up again; both must say the same.
@Sendable func readHead(_ bytes: [UInt8]) {
    let whole = RequestHead.parse(bytes.span.bytes, limits: limits)
    if bytes.count > 1 {
        let split = 1 + Int(bytes[0]) % (bytes.count - 1)
        let first = Array(bytes[..<split])
        if case .partial(let scanned) = RequestHead.parse(first.span.bytes, limits: limits) {
            precondition(scanned <= split)
            let again = RequestHead.parse(bytes.span.bytes, limits: limits, scannedBefore: scanned)
            precondition("\(again)" == "\(whole)", "split at \(split)")
        }
    }
    guard case .complete(let head, let consumed) = whole else { return }
    precondition(consumed <= bytes.count && head.target.utf8.count < consumed)
    // Accepted means: no control characters but tab, CR and LF, and those only in pairs that end lines.
    precondition(bytes[..<consumed].allSatisfy { $0 >= 32 && $0 != 127 || $0 == 9 || $0 == 10 || $0 == 13 })
    precondition(!head.path.contains { $0 == "." || $0 == ".." || $0.contains("/") || $0.utf8.contains(0) })
    precondition(head.framing != .chunked || head.fields[values: .contentLength].isEmpty)
    precondition(head.version == .http10 || head.authority?.isEmpty == false)
}

/// Chunked bodies: read whole, and in pieces and through buffers of odd sizes; content and end must be the same.
@Sendable func readChunks(_ bytes: [UInt8]) {
    let whole = decode(bytes, step: max(1, bytes.count), room: max(1, bytes.count))
    let pieces = decode(bytes, step: 1 + Int(bytes.first ?? 0) % 9, room: 1 + Int(bytes.last ?? 0) % 9)
    precondition(whole.content == pieces.content && whole.end == pieces.end && whole.code == pieces.code)
    precondition(whole.content.count <= bytes.count)
    for step in [max(1, bytes.count), 1 + Int(bytes.first ?? 0) % 9] {
        precondition(skim(bytes, step: step) == whole.code, "a look finds another end")
    }
}

private let chunkLimits = ChunkLimits(maxExtensionBytes: 20, maxTrailerBytes: 60, maxTrailers: 3, maxOverheadBytes: 200)

private func skim(_ bytes: [UInt8], step: Int) -> String? {
    var decoder = ChunkedDecoder(limits: chunkLimits)
    for offset in stride(from: 0, to: bytes.count, by: step) {
        let piece = Array(bytes[offset..<min(bytes.count, offset + step)])
        do {
            if try decoder.skim(piece.span.bytes) { return "end" }
        } catch {
            return error.code
        }
    }
    return nil
}

private func decode(_ bytes: [UInt8], step: Int, room: Int) -> (content: [UInt8], end: Int, code: String?) {
    var decoder = ChunkedDecoder(limits: chunkLimits)
    var content: [UInt8] = []
    var buffer = [UInt8](repeating: 0xA5, count: room)
    var offset = 0
    while offset < bytes.count {
        let piece = Array(bytes[offset..<min(bytes.count, offset + step)])
        var span = buffer.mutableSpan
        var output = span.mutableBytes
        do {
            let progress = try decoder.decode(piece.span.bytes, into: &output)
            precondition(progress.consumed <= piece.count && progress.produced <= min(room, piece.count))
            content += buffer[..<progress.produced]
            offset += progress.consumed
            if progress.finished { return (content, offset, "end") }
            precondition(progress.consumed > 0, "no progress")
        } catch {
            // What came before the refusal within its piece was never handed out: the end alone is compared.
            return ([], 0, error.code)
        }
    }
    return (content, offset, nil)
}

/// Ranges, conditions, dates, digests, traces and what is negotiated: the first byte picks the reader.
@Sendable func readFields(_ bytes: [UInt8]) {
    guard let choice = bytes.first else { return }
    let text = String(decoding: bytes.dropFirst(), as: UTF8.self)
    let etag = "\"sha256-00\""
    switch choice % 8 {
    case 0, 1: readRanges(text, length: choice % 8 == 0 ? 1000 : choice == 9 ? 0 : Int.max)
    case 2, 3:
        let halves = text.split(separator: "\n", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let fields: HTTPFields =
            choice % 8 == 2
            ? [.ifMatch: halves[0], .ifNoneMatch: halves.last ?? ""]
            : [.ifUnmodifiedSince: halves[0], .ifModifiedSince: halves.last ?? "", .ifRange: text, .range: "bytes=0-"]
        _ = evaluateConditions(fields, method: .get, etag: etag, lastModified: 784_111_777)
        _ = evaluateRange(fields, length: 10, etag: etag, lastModified: 784_111_777)
    case 4:
        guard let seconds = secondsSinceEpoch(httpDate: text, near: 784_111_777) else { return }
        let again = secondsSinceEpoch(httpDate: httpDate(secondsSinceEpoch: seconds), near: 0)
        precondition(again == seconds)
    case 5:
        if case .sha256(let digest) = ContentDigest.parse(text) { precondition(digest.count == 32) }
        if let trace = TraceContext.parse(text) { precondition(trace.traceID.utf8.count == 32) }
    case 6:
        let offered = ["application/json", "text/html;charset=utf-8", "text/plain"]
        let chosen = preferredMediaType(accept: text, offered: offered)
        precondition(chosen.map(offered.contains) ?? true)
        _ = acceptsGzip([.acceptEncoding: text])
    default:
        // Pairs come from a target that was accepted; any text must be harmless all the same.
        guard let items = try? queryItems(of: text) else { return }
        precondition(items.count <= text.utf8.count)
    }
}

private func readRanges(_ text: String, length: Int) {
    guard case .ranges(let ranges) = evaluateRange([.range: text], length: length, etag: nil) else { return }
    precondition(!ranges.isEmpty && ranges.count <= maxRequestedRanges)
    precondition(ranges.allSatisfy { !$0.isEmpty && $0.lowerBound >= 0 && $0.upperBound <= length })
    let sorted = ranges.sorted { $0.lowerBound < $1.lowerBound }
    for (one, next) in zip(sorted, sorted.dropFirst()) { precondition(one.upperBound < next.lowerBound) }
}
