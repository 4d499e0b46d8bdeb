import Tensors

/// The float32 scales of one tensor on their way to the artifact, written many at a time.
struct ScaleWriter {
    private let place: Place
    private var pending: [Float] = []
    private var written = 0

    /// Scales are written this many at a time.
    private static let pendingLimit = 1 << 14

    init(_ place: Place) {
        self.place = place
    }

    /// Takes the next scales.
    mutating func append(_ scales: ArraySlice<Float>, _ workplace: Workplace) throws(QuantizationError) {
        pending += scales
        if pending.count >= Self.pendingLimit { try flush(workplace) }
    }

    /// Writes what is pending.
    mutating func flush(_ workplace: Workplace) throws(QuantizationError) {
        guard !pending.isEmpty else { return }
        try workplace.write(pending.span, at: place.offset + written * 4)
        written += pending.count
        pending.removeAll(keepingCapacity: true)
    }

    /// Goes on behind the first `count`, all of which are written.
    mutating func restore(count: Int) { written = count }
}
