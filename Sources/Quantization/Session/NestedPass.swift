/// Double quantization of one weight's absmax values: they wait on scratch storage until their mean is known.
///
/// Source: FORMATS of bitsandbytes 0.50.2, `quantize_blockwise` over `absmax - mean`, nested blocks of 256. Beside
/// each absmax a the sums of its block wait too, for the error with the reconstructed a' follows from them:
/// Σ(x − c·a')² = Σe² − 2(a' − a)·Σe·c + (a' − a)²·Σc², where e = x − c·a.
///
/// `mode=best` names an offset that competes with the mean: less error wins.
struct NestedPass {
    /// One block on scratch: absmax, Σe·c, Σc², Σ|c|, max|e| as float32.
    static let recordBytes = recordFields * 4
    private static let recordFields = 5
    /// Blocks handled at a time; a multiple of the nested block size.
    private static let batch = 1 << 14
    private static let quantizer = NestedQuantizer()

    private let blocks: Int
    private let scratchBase: Int
    private let codes: Place
    private let nestedAbsmax: Place
    private let name: String
    private let blockSize: Int
    private let type: RestoredType
    /// What the scales' differences are taken from if that gives less error than their mean.
    private let rivalOffset: Float?
    private var mean: TorchMean
    private var records: [Float] = []
    private var staged = 0

    init(
        name: String, blocks: Int, blockSize: Int, type: RestoredType, scratchBase: Int, codes: Place,
        nestedAbsmax: Place, rivalOffset: Float?
    ) {
        self.name = name
        self.blockSize = blockSize
        self.type = type
        self.blocks = blocks
        self.scratchBase = scratchBase
        self.codes = codes
        self.nestedAbsmax = nestedAbsmax
        self.rivalOffset = rivalOffset
        mean = TorchMean(count: blocks)
    }

    mutating func add(
        _ absmax: Span<Float>, _ sums: Span<NF4BlockSums>, _ workplace: Workplace
    ) throws(QuantizationError) {
        mean.add(absmax)
        for index in absmax.indices {
            let piece = sums[index]
            records.append(absmax[index])
            records.append(piece.errorTimesCode)
            records.append(piece.codeSquared)
            records.append(piece.absoluteCode)
            records.append(piece.maximumError)
            if records.count == Self.batch * Self.recordFields { try stage(workplace) }
        }
    }

    private mutating func stage(_ workplace: Workplace) throws(QuantizationError) {
        guard !records.isEmpty else { return }
        try workplace.stage(records.span, at: scratchBase + staged * Self.recordBytes)
        staged += records.count / Self.recordFields
        records.removeAll(keepingCapacity: true)
    }

    /// Hands the records in memory to scratch, where `stage` writes them again with those that follow.
    func save(to state: inout StateWriter, _ workplace: Workplace) throws(QuantizationError) {
        mean.save(to: &state)
        try workplace.stage(records.span, at: scratchBase + staged * Self.recordBytes)
    }

    /// Takes up the records of the first `count` blocks.
    mutating func restore(
        from state: inout StateReader, blocks count: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        try mean.restore(from: &state, added: count)
        staged = count / Self.batch * Self.batch
        records = [Float](repeating: 0, count: (count - staged) * Self.recordFields)
        try workplace.unstage(into: &records, count: records.count, at: scratchBase + staged * Self.recordBytes)
    }

    /// Writes codes and nested absmax, corrects `quality` for the reconstructed scales, and returns their offset.
    mutating func run(_ quality: inout TensorQuality, _ workplace: Workplace) throws(QuantizationError) -> Float {
        var offset = mean.finish()
        // A tensor of one batch never touched scratch.
        if staged > 0 { try stage(workplace) }
        if let rivalOffset {
            let (error, other) = try (errorChange(offset, workplace), errorChange(rivalOffset, workplace))
            // The rounding to 16 bits, which the sums leave out, must not turn it round.
            if other < error * (type == .f32 ? 1 : 0.25) { offset = rivalOffset }
        }
        let correction = try pass(offset, workplace) { (first, codeBytes, nestedValues) throws(QuantizationError) in
            try workplace.write(codeBytes.span, at: codes.offset + first)
            try workplace.write(nestedValues.span, at: nestedAbsmax.offset + first / NestedQuantizer.blockSize * 4)
        }
        correction.apply(to: &quality)
        return offset
    }

    /// How much the scales add to Σe² under an offset; infinite where a reader could not restore the scales.
    private func errorChange(_ offset: Float, _ workplace: Workplace) throws(QuantizationError) -> Double {
        do throws(QuantizationError) {
            return try pass(offset, workplace) { (_, _, _) in }.squaredError
        } catch {
            guard case .outOfRange = error else { throw error }
            return .infinity
        }
    }

    /// Makes the codes of all blocks, a batch after the other, and calls `body` with the first block of each, its codes
    /// and its nested absmax values.
    private func pass(
        _ offset: Float, _ workplace: Workplace, _ body: (Int, [UInt8], [Float]) throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> Correction {
        var correction = Correction()
        var batch = records
        for done in stride(from: 0, to: blocks, by: Self.batch) {
            let count = min(Self.batch, blocks - done)
            if staged > 0 {
                batch = [Float](repeating: 0, count: count * Self.recordFields)
                try workplace.unstage(into: &batch, count: batch.count, at: scratchBase + done * Self.recordBytes)
            }
            var codeBytes: [UInt8] = []
            var nestedValues: [Float] = []
            codeBytes.reserveCapacity(count)
            for start in stride(from: 0, to: count, by: NestedQuantizer.blockSize) {
                let group = start..<min(start + NestedQuantizer.blockSize, count)
                try quantize(batch, group, from: done, offset, &correction, &codeBytes, &nestedValues)
            }
            try body(done, codeBytes, nestedValues)
        }
        return correction
    }

    /// Adds one nested group, whose blocks are `group` of a batch that begins with block `first`.
    private func quantize(
        _ batch: [Float], _ group: Range<Int>, from first: Int, _ offset: Float, _ correction: inout Correction,
        _ codeBytes: inout [UInt8], _ nestedValues: inout [Float]
    ) throws(QuantizationError) {
        let absmax = group.map { batch[$0 * Self.recordFields] }
        let (groupCodes, nested) = Self.quantizer.quantize(absmax.span, offset: offset)
        guard nested.isFinite else {
            // Scales so large that their mean overflows float32: no such weight exists in a usable model.
            throw .outOfRange(tensor: name, index: 0, value: nested, limit: .greatestFiniteMagnitude)
        }
        codeBytes += groupCodes
        nestedValues.append(nested)
        for (index, code) in zip(group, groupCodes) {
            let restored = Self.quantizer.reconstruct(code, nestedAbsmax: nested, offset: offset)
            // The largest weight of a block is restored as its scale, which may lie beyond what the type holds.
            guard HalfPrecision.rounded(restored, to: type).isFinite else {
                throw .outOfRange(
                    tensor: name, index: (first + index) * blockSize, value: restored, limit: type.largest)
            }
            correction.add(batch[(index * Self.recordFields)...].prefix(Self.recordFields), restored)
        }
    }

    /// What the reconstructed scales change in the sums of a tensor.
    private struct Correction {
        var squaredError = 0.0
        var restoredSquared = 0.0
        var absoluteError = 0.0
        var maximumError = 0.0
        var largestShift = 0.0

        mutating func add(_ record: ArraySlice<Float>, _ restored: Float) {
            let first = record.startIndex
            let shift = Double(restored) - Double(record[first])
            let codeSquared = Double(record[first + 2])
            squaredError += shift * (shift * codeSquared - 2 * Double(record[first + 1]))
            restoredSquared += Double(restored) * Double(restored) * codeSquared
            absoluteError += shift.magnitude * Double(record[first + 3])
            maximumError = max(maximumError, Double(record[first + 4]) + shift.magnitude)
            largestShift = max(largestShift, shift.magnitude)
        }

        func apply(to quality: inout TensorQuality) {
            let corrected = quality.sums.squaredError + squaredError
            // Rounding may leave a little less than nothing; what is no number must stay so, `max` would drop it.
            quality.sums.squaredError = corrected < 0 ? 0 : corrected
            quality.sums.restoredSquared = restoredSquared
            quality.sums.absoluteError += absoluteError
            quality.sums.maximumError = maximumError
            quality.p99Error += largestShift
            quality.absoluteErrorsAreBounds = true
        }
    }
}
