import Tensors

/// Turns big-endian elements into little-endian ones on their way to another encoder, whatever pieces they come in.
struct SwappingEncoder: TensorEncoder {
    /// Bytes that are reversed together.
    private let width: Int
    private var next: any TensorEncoder
    private var carried: [UInt8] = []

    /// Swaps the elements of `entry` for `next`.
    init(entry: TensorEntry, next: any TensorEncoder) {
        // A complex number is two.
        width = entry.type == .c64 ? 4 : entry.type.bitWidth / 8
        self.next = next
    }

    mutating func consume(_ bytes: RawSpan, _ workplace: Workplace) throws(QuantizationError) {
        let little = swapped(bytes)
        try next.consume(unsafe little.span.bytes, workplace)
    }

    mutating func finish(_ workplace: Workplace) throws(QuantizationError) -> EncodedTensor {
        try next.finish(workplace)
    }

    mutating func save(to state: inout StateWriter, _ workplace: Workplace) throws(QuantizationError) {
        state.add(carried)
        try next.save(to: &state, workplace)
    }

    mutating func restore(
        from state: inout StateReader, taken: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        carried = try state.raw(taken % width)
        try next.restore(from: &state, taken: taken - carried.count, workplace)
    }

    /// The whole elements of what was carried over and `bytes`, each reversed.
    private mutating func swapped(_ bytes: RawSpan) -> [UInt8] {
        var whole = carried
        whole.append(bytes)
        let count = whole.count / width * width
        carried = Array(whole[count...])
        whole.removeLast(whole.count - count)
        for start in stride(from: 0, to: count, by: width) { whole[start..<start + width].reverse() }
        return whole
    }
}
