import Tensors

/// Hands a tensor that lies on scratch storage to an encoder from its first byte to its last.
struct DeferredPass {
    let entry: TensorEntry
    /// Where the staged tensor begins in scratch.
    let offset: Int

    /// Bytes read at a time.
    private static let pieceBytes = 256 << 10

    /// Feeds `encoder` with all rows in order.
    func run(_ encoder: inout any TensorEncoder, _ workplace: Workplace) throws(QuantizationError) {
        if entry.isFortranOrder {
            return try FortranPass(entry: entry, offset: offset).run(&encoder, workplace)
        }
        var piece = [UInt8](repeating: 0, count: min(Self.pieceBytes, entry.bytes.count))
        for start in stride(from: 0, to: entry.bytes.count, by: Self.pieceBytes) {
            let count = min(piece.count, entry.bytes.count - start)
            try workplace.unstage(into: &piece, count: count, at: offset + start)
            try encoder.consume(unsafe piece.span.extracting(first: count).bytes, workplace)
        }
    }
}
