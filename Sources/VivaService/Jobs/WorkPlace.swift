/// From where a session can go on: how much of the input it must see first, the hash of what it saw, and its state.
struct WorkPlace: Equatable {
    let headBytes: Int
    let hash: [UInt8]
    let state: [UInt8]

    init(headBytes: Int, hash: [UInt8], state: [UInt8]) {
        self.headBytes = headBytes
        self.hash = hash
        self.state = state
    }

    /// Reads `bytes`; nil when there is nothing to go on from.
    init?(_ bytes: [UInt8]) {
        guard bytes.count > 9, bytes.count > 9 + Int(bytes[8]) else { return nil }
        headBytes = bytes.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
        hash = Array(bytes[9..<9 + Int(bytes[8])])
        state = Array(bytes.dropFirst(9 + hash.count))
        if headBytes < 0 { return nil }
    }

    /// Eight bytes, the least significant first; the hash behind its length; the state.
    var bytes: [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: headBytes >> (8 * $0)) } + [UInt8(hash.count)] + hash + state
    }
}
