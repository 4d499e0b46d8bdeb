// How the figures of a session that goes on elsewhere are recorded.

extension QualitySums {
    /// Adds everything but the number of weights, which follows from the position in the input.
    func save(to state: inout StateWriter) {
        for sum in [signal, squaredError, restoredSquared, absoluteError, maximumError, maximumSignal] {
            state.add(sum)
        }
    }

    /// Reads the sums of `count` weights.
    init(from state: inout StateReader, count: Int) throws(QuantizationError) {
        self.count = count
        signal = try state.double()
        squaredError = try state.double()
        restoredSquared = try state.double()
        absoluteError = try state.double()
        maximumError = try state.double()
        maximumSignal = try state.double()
    }
}

extension ErrorCounts {
    /// Adds the bins that are not empty, each with its distance from the one before: some hundred bytes in place of
    /// 48 KiB, for the errors of a tensor lie within a few octaves.
    func save(to state: inout StateWriter) {
        let counts = counts
        state.add(counts.count { $0 > 0 })
        var next = 0
        for (bin, count) in counts.enumerated() where count > 0 {
            state.add(bin - next)
            state.add(Int(count))
            next = bin + 1
        }
    }

    /// Reads the counts of exactly `count` weights.
    init(from state: inout StateReader, count: Int) throws(QuantizationError) {
        var counts = [UInt64](repeating: 0, count: ErrorHistogram.bins)
        var (next, rest) = (0, count)
        for _ in 0..<(try state.integer(atMost: ErrorHistogram.bins)) {
            guard next < counts.count else { throw .snapshot(.contradiction) }
            let bin = next + (try state.integer(atMost: counts.count - 1 - next))
            let counted = try state.integer(atMost: rest)
            counts[bin] = UInt64(counted)
            rest -= counted
            next = bin + 1
        }
        guard rest == 0 else { throw .snapshot(.contradiction) }
        self.init()
        add(counts)
    }
}

extension ErrorDistribution {
    func save(to state: inout StateWriter) {
        state.add(unchanged)
        state.add(counts.count)
        for edge in edges { state.add(edge) }
        for count in counts { state.add(count) }
    }

    /// Reads the distribution of exactly `count` weights.
    init(from state: inout StateReader, count: Int) throws(QuantizationError) {
        unchanged = try state.integer(atMost: count)
        let bins = try state.integer(atMost: Self.maximumTensorBins)
        var edges: [Float] = []
        for _ in 0..<(bins == 0 ? 0 : bins + 1) { edges.append(try state.finiteFloat()) }
        var counts: [Int] = []
        var rest = count - unchanged
        for _ in 0..<bins {
            counts.append(try state.integer(atMost: rest))
            rest -= counts.last ?? 0
        }
        guard rest == 0 else { throw .snapshot(.contradiction) }
        self.edges = edges
        self.counts = counts
    }
}

extension TensorQuality {
    func save(to state: inout StateWriter) {
        sums.save(to: &state)
        state.add(p99Error)
        errors.save(to: &state)
        state.add((absoluteErrorsAreBounds ? 1 : 0) + (excludesCast ? 2 : 0))
    }

    /// Reads the figures of a tensor of `count` weights.
    init(from state: inout StateReader, count: Int) throws(QuantizationError) {
        sums = try QualitySums(from: &state, count: count)
        p99Error = try state.double()
        errors = try ErrorDistribution(from: &state, count: count)
        let flags = try state.integer(atMost: 3)
        absoluteErrorsAreBounds = flags & 1 > 0
        excludesCast = flags & 2 > 0
    }
}

extension EncodedTensor {
    /// Adds what is known as soon as the tensor's last byte has come.
    func save(to state: inout StateWriter) {
        quality?.save(to: &state)
        if let nestedOffset { state.add(nestedOffset) }
    }

    /// Reads what is known of a tensor of `count` weights, and where `isNested` the offset of its scales.
    init(from state: inout StateReader, of count: Int, isNested: Bool) throws(QuantizationError) {
        quality = try TensorQuality(from: &state, count: count)
        if isNested { nestedOffset = try state.finiteFloat() }
    }

    /// Adds what a step behind the last byte may know.
    func saveAll(to state: inout StateWriter) {
        state.add(quality == nil ? 0 : 1)
        quality?.save(to: &state)
        state.add(nestedOffset == nil ? 0 : 1)
        if let nestedOffset { state.add(nestedOffset) }
        state.add(optional: scaleRatio)
        state.add(tokens == nil ? 0 : 1)
        if let tokens { state.add(tokens) }
        state.add(outputError == nil ? 0 : 1)
        outputError?.save(to: &state)
    }

    /// Reads what a step knew of a tensor of `count` weights.
    init(from state: inout StateReader, of count: Int) throws(QuantizationError) {
        if try state.flag() { quality = try TensorQuality(from: &state, count: count) }
        if try state.flag() { nestedOffset = try state.finiteFloat() }
        scaleRatio = try state.optionalDouble()
        if try state.flag() { tokens = try state.integer(atMost: .max) }
        if try state.flag() { outputError = try OutputError(from: &state) }
    }
}

extension OutputError {
    func save(to state: inout StateWriter) {
        state.add(relative)
        state.add(optional: roundToNearest)
        state.add(optional: plainAWQ)
        state.add(tokens)
        state.add(isHeldOut ? 1 : 0)
    }

    init(from state: inout StateReader) throws(QuantizationError) {
        self.init(
            relative: try state.double(), roundToNearest: try state.optionalDouble(),
            plainAWQ: try state.optionalDouble(), tokens: try state.integer(atMost: .max),
            isHeldOut: try state.flag())
    }
}
