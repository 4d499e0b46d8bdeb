import Tensors

/// Casts a small tensor to F16, rounding to nearest even: the bias of a Linear that AWQ quantizes.
///
/// The tensor is held whole (`SessionLimits.maximumBiasBytes`).
struct CastEncoder: TensorEncoder {
    let entry: TensorEntry
    let place: Place
    private var held: [UInt8] = []

    /// float16 holds no larger magnitude.
    private static let largest: Float = 65504

    init(entry: TensorEntry, place: Place) {
        self.entry = entry
        self.place = place
    }

    mutating func consume(_ bytes: RawSpan, _ workplace: Workplace) throws(QuantizationError) {
        held.append(bytes)
    }

    mutating func finish(_ workplace: Workplace) throws(QuantizationError) -> EncodedTensor {
        var values = [Float](repeating: 0, count: entry.elementCount)
        workplace.kernels.widen(held.span, type: entry.type, into: &values)
        for (index, value) in values.enumerated() {
            guard value.isFinite else { throw .nonFinite(tensor: entry.name, index: index) }
            guard value.magnitude <= Self.largest else {
                throw .outOfRange(tensor: entry.name, index: index, value: value, limit: Self.largest)
            }
        }
        let halves = values.map { Float16($0) }
        try workplace.write(halves.span, at: place.offset)
        return EncodedTensor()
    }

    func save(to state: inout StateWriter, _ workplace: Workplace) throws(QuantizationError) { state.add(held) }

    mutating func restore(
        from state: inout StateReader, taken: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        held = try state.raw(taken)
    }
}
