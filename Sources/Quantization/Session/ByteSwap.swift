/// Turns big-endian elements into little-endian ones, whatever pieces they come in.
struct ByteSwap {
    /// Bytes of one element.
    let width: Int
    private var carried: [UInt8] = []

    init(width: Int) {
        self.width = width
    }

    /// The whole elements of what was carried over and `bytes`, each reversed.
    mutating func swapped(_ bytes: RawSpan) -> [UInt8] {
        carried.append(bytes)
        var whole = carried
        let count = whole.count / width * width
        carried = Array(whole[count...])
        whole.removeLast(whole.count - count)
        for start in stride(from: 0, to: count, by: width) { whole[start..<start + width].reverse() }
        return whole
    }
}
