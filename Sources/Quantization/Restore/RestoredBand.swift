/// A run of restored elements on their way out, in the type in which they leave.
struct RestoredBand {
    /// Elements that a band holds: 256 KiB as float32, so that codes and values stay in a core's own cache.
    static let capacity = 1 << 16

    /// The type of the elements as they leave.
    let stored: RestoredType
    /// The elements as float32: what leaves, if that is the type; else a station on the way.
    var singles: [Float]
    /// The elements as 16 bits, if that is the type.
    var halves: [UInt16]
    /// Elements held.
    private(set) var count = 0
    /// Bytes that have left.
    private var sent = 0

    init(stored: RestoredType) {
        self.stored = stored
        singles = [Float](repeating: 0, count: Self.capacity)
        halves = [UInt16](repeating: 0, count: stored == .f32 ? 0 : Self.capacity)
    }

    /// Whether all bytes have left.
    var isEmpty: Bool { sent == count * stored.width }

    /// Says that the first `count` elements are there, in the type in which they leave.
    mutating func hold(_ count: Int) {
        self.count = count
        sent = 0
    }

    /// Turns the first `count` of `singles` into the type in which they leave; each must be finite there.
    mutating func narrow(_ count: Int, of weight: QuantizedWeight, from start: Int) throws(QuantizationError) {
        if let index = Narrowing.firstOverflow(singles, count: count, in: stored) {
            let value = singles[index]
            guard value.isFinite else { throw .nonFinite(tensor: weight.name, index: start + index) }
            throw .outOfRange(tensor: weight.name, index: start + index, value: value, limit: stored.largest)
        }
        if stored != .f32 { Narrowing.narrow(singles, count: count, to: stored, into: &halves) }
        hold(count)
    }

    /// Moves bytes to the start of `room`; answers how many.
    mutating func move(to room: inout MutableRawSpan) -> Int {
        let rest = sent..<min(count * stored.width, sent + room.byteCount)
        if stored == .f32 {
            room.copy(unsafe singles.span.bytes.extracting(rest))
        } else {
            room.copy(unsafe halves.span.bytes.extracting(rest))
        }
        sent = rest.upperBound
        return rest.count
    }
}

/// Restores the elements of one weight in order.
protocol WeightDecoder {
    /// Restores elements from `start` on into the empty `band`: at least one, for the weight has more than `start`.
    mutating func restore(
        from start: Int, into band: inout RestoredBand, _ reader: ArtifactReader
    ) throws(QuantizationError)
}
