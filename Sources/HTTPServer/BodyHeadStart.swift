import HTTPWire

/// What the loop waits for before a body takes a thread: its first bytes, or all of it.
struct BodyHeadStart: Sendable {
    private let bytes: Int
    /// Looks for the end of a shorter body of chunks, `seen` bytes of which it knows; nil where its length was said.
    private var chunks: ChunkedDecoder?
    private var seen = 0

    /// A client that waits for 100 Continue sends nothing before a thread says it.
    init(_ request: RoutedRequest, _ limits: ServerLimits) {
        switch request.head.framing {
        case .length(let length) where !request.owesContinue: bytes = min(length, limits.bodyHeadStart)
        case .chunked where !request.owesContinue:
            bytes = limits.bodyHeadStart
            chunks = ChunkedDecoder(limits: limits.chunks)
        case .none, .length, .chunked: bytes = 0
        }
    }

    /// Whether enough has come; `input` is all that came of the body so far.
    mutating func isThere(in input: borrowing InputBuffer) -> Bool {
        let count = input.count
        guard count < bytes else { return true }
        guard count > seen, var decoder = chunks else { return false }
        let start = seen
        // Broken framing is no more to be waited for than the end: who reads the body refuses it.
        let isOver = (try? input.withBytes { try decoder.skim($0.extracting(start..<count)) }) ?? true
        chunks = decoder
        seen = count
        return isOver
    }
}
