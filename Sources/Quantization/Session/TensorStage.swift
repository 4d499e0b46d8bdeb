import Tensors

/// The part of a session behind the header: walks the tensors of the input and gives each to its encoder.
struct TensorStage {
    let input: InputDescription
    let layout: ArtifactLayout
    let scratch: ScratchPlan
    /// What is known of layers beside what the input says.
    let calibrationFile: CalibrationFile?
    /// The model's other files.
    let neighbours: Neighbours?
    /// That, and what the input says; made when all of it is there.
    private(set) var calibrationIndex: CalibrationIndex?
    let limits: SessionLimits
    private let recipe: Recipe
    /// The most threads of one encoder.
    let threads: Int
    private var current = 0
    /// Bytes of the current tensor that have been taken.
    private var taken = 0
    private var encoder: (any TensorEncoder)?
    private(set) var encoded: [EncodedTensor]
    /// The errors of all tensors so far.
    private(set) var errors = ErrorCounts()
    /// Which place on scratch the current tensor's nested pass has, and which one the last snapshot relies on.
    private var usesSecondPlace = false
    private var heldPlace: Bool?
    /// The passes behind the last byte, for each how many layers come before it, and how many passes are done.
    let steps: [FinishStep]
    let layersBefore: [Int]
    private(set) var stepsDone = 0

    init(
        input: InputDescription, layout: ArtifactLayout, recipe: Recipe, calibrationFile: CalibrationFile?,
        neighbours: Neighbours?, limits: SessionLimits
    ) {
        self.input = input
        self.layout = layout
        self.recipe = recipe
        self.calibrationFile = calibrationFile
        self.neighbours = neighbours
        self.limits = limits
        threads = limits.maximumThreads
        let scratch = ScratchPlan(
            input: input, tensors: layout.tensors, scaling: layout.scaling, calibration: layout.calibration,
            recipe: { layout.recipe(of: $0) })
        self.scratch = scratch
        steps = FinishStep.all(layout, scratch)
        layersBefore = steps.reduce(into: [0]) { $0.append(($0.last ?? 0) + ($1.isLayer ? 1 : 0)) }
        encoded = [EncodedTensor](repeating: EncodedTensor(), count: input.entries.count)
    }

    mutating func consume(_ bytes: RawSpan, _ workplace: Workplace) throws(QuantizationError) {
        var rest = bytes
        while rest.byteCount > 0 {
            try skipFinished(workplace)
            guard current < input.entries.count else {
                throw .trailingBytes(expected: input.totalBytes)
            }
            let missing = input.entries[current].bytes.count - taken
            let piece = min(missing, rest.byteCount)
            if encoder == nil { encoder = makeEncoderInOrder() }
            try encoder?.consume(rest.extracting(first: piece), workplace)
            taken += piece
            rest = rest.extracting(droppingFirst: piece)
        }
        try skipFinished(workplace)
    }

    /// Finishes the tensors whose last byte has come, empty ones included.
    private mutating func skipFinished(_ workplace: Workplace) throws(QuantizationError) {
        while current < input.entries.count, taken == input.entries[current].bytes.count {
            var finished = encoder ?? makeEncoderInOrder()
            try keep(finished.finish(workplace), at: current)
            encoder = nil
            current += 1
            taken = 0
        }
    }

    /// The current tensor's encoder, which leaves alone what the last snapshot relies on.
    private mutating func makeEncoderInOrder() -> any TensorEncoder {
        usesSecondPlace = heldPlace == false
        return makeEncoder(current)
    }

    /// The encoder for a tensor as its bytes arrive: its own, or a staging one when a later pass needs all of it.
    private func makeEncoder(_ index: Int) -> any TensorEncoder {
        let entry = input.entries[index]
        let encoder: any TensorEncoder
        switch scratch.staged[index] {
        case let offset? where layout.scaling.holdsScales(index): encoder = ScaleEncoder(entry: entry, offset: offset)
        case let offset? where scratch.isDeferred[index]: encoder = StagingEncoder(offset: offset)
        case let offset: encoder = makeEncoder(index, stagedAt: offset)
        }
        return entry.isBigEndian ? SwappingEncoder(entry: entry, next: encoder) : encoder
    }

    /// The encoder for a tensor's rows in order: on to scratch, if there is a place for them, or to the artifact.
    func makeEncoder(_ index: Int, stagedAt offset: Int?) -> any TensorEncoder {
        let encoder = offset.map { StagingEncoder(offset: $0) } ?? makeFinalEncoder(index)
        let entry = input.entries[index]
        if !entry.isFP8 || layout.tensors[index].isCopy { return encoder }
        let scales = layout.scaling.scalesOfWeights[index].flatMap { scratch.staged[$0] }.map {
            BlockScales(of: entry, at: $0)
        }
        return FP8Encoder(entry: entry, scales: scales, next: encoder)
    }

    private func makeFinalEncoder(_ index: Int) -> any TensorEncoder {
        let (entry, recipe) = (input.entries[index].widened, layout.recipe(of: index))
        switch layout.tensors[index] {
        case .copy(let place): return CopyEncoder(place: place)
        case .castToF16(let place): return CastEncoder(entry: entry, place: place)
        case .nf4(let placement):
            let scratchBase = scratch.passBase(isSecond: usesSecondPlace)
            if recipe.mode == .reference {
                return NF4Encoder(
                    entry: entry, recipe: recipe, placement: placement, scratchBase: scratchBase, threads: threads)
            }
            if placement.nestedAbsmax == nil {
                return NF4BestEncoder(entry: entry, recipe: recipe, placement: placement, threads: threads)
            }
            return NF4OpeningEncoder(
                entry: entry, recipe: recipe, placement: placement, scratchBase: scratchBase, threads: threads)
        case .int8(let codes, let scales, let format):
            return Int8Encoder(entry: entry, places: (codes, scales, format), threads: threads)
        case .grouped(let placement):
            guard let code = recipe.groupedCode else { return DiscardingEncoder() }
            return GroupEncoder(entry: entry, recipe: recipe, code: code, placement: placement, threads: threads)
        case .awq(let placement, _) where !layout.isLayer(index):
            return AWQEncoder(
                entry: entry, recipe: recipe, placement: placement,
                scratchBase: scratch.passBase(isSecond: usesSecondPlace), threads: threads)
        case .awq, .calibration, .folded: return DiscardingEncoder()
        }
    }

    /// Ends the input; the steps follow.
    mutating func end(_ workplace: Workplace) throws(QuantizationError) {
        try skipFinished(workplace)
        guard current == input.entries.count else {
            let received = input.dataOffset + (input.entries[current].bytes.lowerBound) + taken
            throw .truncated(expected: input.totalBytes, received: received)
        }
        usesSecondPlace = heldPlace == false
        calibrationIndex = try makeIndex(workplace)
    }

    /// Keeps what a step made; it is done.
    mutating func keep(_ tensor: EncodedTensor, of step: FinishStep) throws(QuantizationError) {
        if let index = step.index { try keep(tensor, at: index) }
        stepsDone += 1
    }

    /// Keeps the figures of a tensor only, if they pass the gates: the counts of its errors are 48 KiB, and the tensors
    /// may be many.
    private mutating func keep(_ tensor: EncodedTensor, at index: Int) throws(QuantizationError) {
        try recipe.gates.check(tensor.quality, tensor: input.entries[index].name)
        encoded[index] = tensor
        guard let counts = encoded[index].counts.take() else { return }
        errors.add(counts)
    }
}

// A stage that goes on elsewhere: its position, the figures of the finished tensors, the encoder of the current one.
extension TensorStage {
    /// Bytes of the input in front of the first tensor's data.
    var headBytes: Int { input.dataOffset }

    /// Bytes of the input that have been taken, the header included.
    var consumedBytes: Int {
        guard current < input.entries.count else { return input.totalBytes }
        return input.dataOffset + input.entries[current].bytes.lowerBound + taken
    }

    /// Adds what the stage works on.
    func describe(to identity: inout Fingerprint) {
        identity.add(input)
        if let calibrationFile { identity.add(calibrationFile.input) }
    }

    mutating func save(to state: inout StateWriter, _ workplace: Workplace) throws(QuantizationError) {
        state.add(current)
        state.add(taken)
        state.add(usesSecondPlace ? 1 : 0)
        for index in 0..<current where hasFigures(index) { encoded[index].save(to: &state) }
        state.add(stepsDone)
        for index in steps[..<stepsDone].compactMap(tensorWithFigures) { encoded[index].saveAll(to: &state) }
        errors.save(to: &state)
        try encoder?.save(to: &state, workplace)
        heldPlace = encoder == nil ? nil : usesSecondPlace
    }

    /// Takes up what `save` left of a stage of the same layout; nothing has been consumed yet.
    mutating func restore(from state: inout StateReader, _ workplace: Workplace) throws(QuantizationError) {
        current = try state.integer(atMost: input.entries.count)
        let bytes = current < input.entries.count ? input.entries[current].bytes.count : 0
        taken = try state.integer(atMost: max(0, bytes - 1))
        usesSecondPlace = try state.integer(atMost: 1) > 0
        var counted = 0
        for index in 0..<current {
            guard hasFigures(index) else { continue }
            encoded[index] = try EncodedTensor(
                from: &state, of: input.entries[index].elementCount, isNested: isNested(index))
            counted += input.entries[index].elementCount
        }
        stepsDone = try state.integer(atMost: current < input.entries.count ? 0 : steps.count)
        for index in steps[..<stepsDone].compactMap(tensorWithFigures) {
            encoded[index] = try EncodedTensor(from: &state, of: input.entries[index].elementCount)
            counted += encoded[index].quality?.sums.count ?? 0
        }
        errors = try ErrorCounts(from: &state, count: counted)
        guard taken > 0 else { return }
        encoder = makeEncoder(current)
        try encoder?.restore(from: &state, taken: taken, workplace)
        heldPlace = usesSecondPlace
    }

    /// Whether the tensor at `index` is measured as its bytes go by.
    private func hasFigures(_ index: Int) -> Bool {
        switch layout.tensors[index] {
        case .nf4, .int8, .grouped, .awq: !scratch.isDeferred[index] && !layout.isLayer(index)
        case .copy, .castToF16, .folded, .calibration: false
        }
    }

    /// The tensor that a step is the last one about: one that waited may become a layer.
    private func tensorWithFigures(_ step: FinishStep) -> Int? {
        guard case .deferred(let index) = step else { return step.index }
        return scratch.restaged[index] == nil ? index : nil
    }

    private func isNested(_ index: Int) -> Bool {
        guard case .nf4(let placement) = layout.tensors[index] else { return false }
        return placement.nestedAbsmax != nil
    }
}
