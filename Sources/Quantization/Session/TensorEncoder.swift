import Tensors

/// What an encoder works with: the storage it was given and the kernels of this CPU.
struct Workplace {
    let output: JoinedOutput
    let scratch: any ScratchStorage
    let kernels: Kernels
    let threads = SessionThreads()

    init(output: any ArtifactOutput, scratch: any ScratchStorage, kernels: Kernels) {
        self.output = JoinedOutput(output)
        self.scratch = scratch
        self.kernels = kernels
    }

    func write(_ bytes: RawSpan, at offset: Int) throws(QuantizationError) {
        do {
            try output.write(bytes, at: offset)
        } catch {
            throw .storage(error)
        }
    }

    /// Writes `values` as they lie in memory: little-endian, packed.
    func write<Value: BitwiseCopyable>(_ values: Span<Value>, at offset: Int) throws(QuantizationError) {
        try write(unsafe values.bytes, at: offset)
    }

    /// Writes values that `type` holds exactly as elements of that type.
    func write(_ values: [Float], as type: RestoredType, at offset: Int) throws(QuantizationError) {
        guard type != .f32 else { return try write(values.span, at: offset) }
        let halves = values.map { value in
            type == .f16 ? HalfOctets.bits(value) : UInt16(truncatingIfNeeded: value.bitPattern >> 16)
        }
        try write(halves.span, at: offset)
    }

    /// Hands to the output what was written and held back.
    func flush() throws(QuantizationError) {
        do { try output.flush() } catch { throw .storage(error) }
    }

    func stage(_ bytes: RawSpan, at offset: Int) throws(QuantizationError) {
        do {
            try scratch.write(bytes, at: offset)
        } catch {
            throw .storage(error)
        }
    }

    /// Stages `values` as they lie in memory.
    func stage<Value: BitwiseCopyable>(_ values: Span<Value>, at offset: Int) throws(QuantizationError) {
        try stage(unsafe values.bytes, at: offset)
    }

    /// Reads the first `count` of `values` back from scratch.
    func unstage<Value: BitwiseCopyable>(
        into values: inout [Value], count: Int, at offset: Int
    ) throws(QuantizationError) {
        try scratch.unstage(into: &values, count: count, at: offset)
    }
}

/// Turns one tensor's bytes, given in order and in pieces of any size, into the tensor's parts of the artifact.
///
/// The pieces must not show in the result: the same bytes give the same artifact and the same report however they
/// are cut.
protocol TensorEncoder {
    /// Takes the next bytes of the tensor.
    mutating func consume(_ bytes: RawSpan, _ workplace: Workplace) throws(QuantizationError)
    /// Writes what is still held back, after the last byte.
    mutating func finish(_ workplace: Workplace) throws(QuantizationError) -> EncodedTensor
    /// Hands to the storage what can be handed over and adds the rest to `state`. What the encoder writes later it may
    /// have written now: the same bytes at the same place.
    mutating func save(to state: inout StateWriter, _ workplace: Workplace) throws(QuantizationError)
    /// Takes up what `save` left of an encoder that had taken the first `taken` bytes of the tensor.
    mutating func restore(
        from state: inout StateReader, taken: Int, _ workplace: Workplace
    ) throws(QuantizationError)
}

/// An encoder whose place in the tensor is all that it holds.
protocol PositionedEncoder: TensorEncoder {
    /// Bytes taken.
    var position: Int { get set }
}

extension PositionedEncoder {
    func save(to state: inout StateWriter, _ workplace: Workplace) throws(QuantizationError) {}

    mutating func restore(
        from state: inout StateReader, taken: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        position = taken
    }

    func finish(_ workplace: Workplace) throws(QuantizationError) -> EncodedTensor { EncodedTensor() }
}

/// What an encoder knows when its tensor is written.
struct EncodedTensor {
    var quality: TensorQuality?
    /// The counted errors behind `quality`; taken out once they have joined those of the other tensors.
    var counts: ErrorCounts?
    /// NF4 with double quantization: the mean of absmax.
    var nestedOffset: Float?
    /// AWQ: the ratio that the scale search chose.
    var scaleRatio: Double?
    /// What became of the layer's output, where calibration data tells.
    var outputError: OutputError?
    /// The tokens that the calibration data was taken over, where it says.
    var tokens: Int?
}

extension EncodedTensor {
    /// What a layer's own sums and counts say.
    init(_ errors: QualitySums, _ histogram: [UInt64]) {
        var counts = ErrorCounts()
        counts.add(histogram)
        self.init(quality: TensorQuality(sums: errors, counts: counts), counts: counts)
    }
}

/// Copies a tensor as it is.
struct CopyEncoder: PositionedEncoder {
    let place: Place
    var position = 0

    mutating func consume(_ bytes: RawSpan, _ workplace: Workplace) throws(QuantizationError) {
        try workplace.write(bytes, at: place.offset + position)
        position += bytes.byteCount
    }
}

/// Keeps a tensor on scratch storage for a later pass.
struct StagingEncoder: PositionedEncoder {
    let offset: Int
    var position = 0

    mutating func consume(_ bytes: RawSpan, _ workplace: Workplace) throws(QuantizationError) {
        try workplace.stage(bytes, at: offset + position)
        position += bytes.byteCount
    }
}

/// Reads past calibration data that the recipe does not use.
struct DiscardingEncoder: PositionedEncoder {
    var position = 0

    mutating func consume(_ bytes: RawSpan, _ workplace: Workplace) throws(QuantizationError) {
        position += bytes.byteCount
    }
}
