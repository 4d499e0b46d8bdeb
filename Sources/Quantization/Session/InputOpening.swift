import Tensors

/// The first bytes of an input, held until they tell an archive from everything else.
struct InputOpening {
    /// Nil when they have told.
    private var held: [UInt8]? = []

    /// Takes what it needs from the front of `bytes`: how many it took, and all that it held when these have told.
    mutating func take(_ bytes: RawSpan) -> (taken: Int, told: [UInt8]?) {
        guard var held else { return (0, nil) }
        let count = min(ZipArchive.magic.count - held.count, bytes.byteCount)
        held.append(bytes.extracting(first: count))
        let hasTold = held.count == ZipArchive.magic.count
        self.held = hasTold ? nil : held
        return (count, hasTold ? held : nil)
    }

    /// What is held of an input that has ended before it told, unless that is nothing.
    mutating func end() -> [UInt8]? {
        defer { held = nil }
        return held.flatMap { $0.isEmpty ? nil : $0 }
    }
}
