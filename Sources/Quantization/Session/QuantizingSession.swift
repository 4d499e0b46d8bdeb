package import Tensors

/// What a client says about bytes that do not describe themselves.
package enum InputDeclaration: Sendable, Equatable {
    /// safetensors, npy or npz, recognised by content.
    case recognise
    /// Raw little-endian elements in row-major order; the tensor is called `weight`.
    case raw(type: ElementType, shape: [Int])

    /// What raw bytes hold, of which there are `totalBytes` where that is known; nil for a file that says it itself.
    package func described(totalBytes: Int? = nil, limits: SessionLimits) throws(QuantizationError) -> InputDescription?
    {
        guard case .raw(let type, let shape) = self else { return nil }
        do {
            return try describeRaw(type: type, shape: shape, totalBytes: totalBytes, limits: limits.container)
        } catch {
            throw .container(error)
        }
    }
}

/// The artifact as the session leaves it.
package struct SessionResult: Sendable {
    /// What the input held.
    package let input: InputDescription
    /// Bytes of the artifact.
    package let artifactBytes: Int
    /// What was lost.
    package let report: QualityReport
    /// Names of the Linear modules that were left as they are: the skip list of a `quantization_config`.
    package let skippedModules: [String]
    /// Modules that overrides coded otherwise.
    package let variedModules: [VariedModule]
    /// Held until the report has been written.
    let memory: MemoryShare?

    /// The results of a model's shards as one; `model` describes their tensors together, and `warnings` were found
    /// for all of them.
    package static func joined(
        _ shards: [SessionResult], model: InputDescription, warnings: [String]
    ) -> SessionResult {
        SessionResult(
            input: model, artifactBytes: shards.reduce(0) { $0 + $1.artifactBytes },
            report: QualityReport.joined(shards.map(\.report), warnings: warnings),
            skippedModules: shards.flatMap(\.skippedModules), variedModules: shards.flatMap(\.variedModules),
            memory: nil)
    }
}

/// The heart: takes the bytes of an input in order, in pieces of any size, and writes the artifact to the storage it
/// was given.
///
/// It knows no socket, path, SQL or HTTP, so that the command line, a one-shot request and a job run the same thing.
/// Memory stays constant: what must be seen twice goes to scratch storage. What can be refused is refused when the
/// header is complete, before a weight is read. After an error the session is over and its output worthless.
///
/// Not safe for concurrent use; `QuantizingQueue` moves it to a Dispatch queue.
package final class QuantizingSession {
    private let recipe: Recipe
    private let engine: String
    private let limits: SessionLimits
    private let isShard: Bool
    private let calibrationFile: CalibrationFile?
    private let neighbours: Neighbours?
    private let workplace: Workplace
    private let memory: MemoryShare?
    /// Called once, when the header has been read and everything that can be refused from it was not.
    private let onPlan: (ArtifactLayout) throws(QuantizationError) -> Void
    private var header: HeaderCollector
    private var stage: TensorStage?
    /// Whether an error or the end of the input has ended the session.
    private var isOver = false

    /// A session for one input of `declaredBytes` (nil when unknown), writing to `output`; what it needs of memory it
    /// takes from `memory`, if there is one. A shard of a model may hold nothing to quantize. `calibrationFile` says
    /// what is known of its layers beside what the input itself says; `neighbours` are the model's other files. `level` is an instruction set other than the
    /// machine's best one; it does not show in the artifact.
    package init(
        recipe: Recipe, declaration: InputDeclaration, declaredBytes: Int?, engine: String,
        limits: SessionLimits = SessionLimits(), isShard: Bool = false, calibrationFile: CalibrationFile? = nil,
        neighbours: Neighbours? = nil,
        output: any ArtifactOutput,
        scratch: any ScratchStorage, memory: MemoryBudget? = nil, level: KernelLevel? = nil,
        onPlan: @escaping (ArtifactLayout) throws(QuantizationError) -> Void = { (_) throws(QuantizationError) in }
    ) throws(QuantizationError) {
        self.recipe = recipe
        self.engine = engine
        self.limits = limits
        self.isShard = isShard
        self.calibrationFile = calibrationFile
        self.neighbours = neighbours
        self.onPlan = onPlan
        let share = memory.map { MemoryShare($0) }
        self.memory = share
        header = HeaderCollector(declaredBytes: declaredBytes, limits: limits.container, memory: share)
        let kernels = level.flatMap { Kernels(level: $0) } ?? .best
        workplace = Workplace(output: output, scratch: scratch, kernels: kernels)
        if let input = try declaration.described(totalBytes: declaredBytes, limits: limits) { try begin(input) }
    }

    /// Takes the next bytes of the input.
    package func consume(_ bytes: RawSpan) throws(QuantizationError) {
        do throws(QuantizationError) {
            try take(bytes)
        } catch {
            isOver = true
            throw error
        }
    }

    private func take(_ bytes: RawSpan) throws(QuantizationError) {
        guard stage == nil else {
            try stage?.consume(bytes, workplace)
            return
        }
        let taken = try header.take(bytes)
        guard let (input, overshoot) = header.finished() else { return }
        try begin(input)
        if !overshoot.isEmpty { try stage?.consume(unsafe overshoot.span.bytes, workplace) }
        let rest = bytes.extracting(droppingFirst: taken)
        if rest.byteCount > 0 { try stage?.consume(rest, workplace) }
    }

    /// Ends the input: runs the passes that need all of it, writes the header with `inputDigest` and reports.
    ///
    /// `onLayer` hears of every layer that is coded behind the last byte: between its blocks, and when it is finished.
    /// It may throw, which ends the session, and it may take a `snapshot`, which stands behind the last layer that is
    /// finished.
    package func finish(
        inputDigest: String,
        onLayer: (LayerProgress) throws(QuantizationError) -> Void = { (_) throws(QuantizationError) in }
    ) throws(QuantizationError) -> SessionResult {
        guard stage != nil else { throw header.endedEarly }
        defer {
            stage = nil
            isOver = true
        }
        try stage?.end(workplace)
        while let step = stage?.nextStep {
            let made = try run(step, onLayer)
            try stage?.keep(made, of: step)
            if let progress = stage?.progress(at: step) { try onLayer(progress) }
        }
        guard let finished = stage else { throw .snapshot(.over) }
        let result = try finished.result(digest: inputDigest, memory: memory, workplace)
        try workplace.flush()
        return result
    }

    /// Does a step on a copy of the stage, so that a snapshot on the way finds the stage in front of the step.
    private func run(
        _ step: FinishStep, _ onLayer: (LayerProgress) throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> EncodedTensor {
        guard let stage else { throw .snapshot(.over) }
        let progress = stage.progress(at: step)
        return try stage.run(step, workplace) { () throws(QuantizationError) in
            if let progress { try onLayer(progress) }
        }
    }

    /// Begins with an input that is described already: what is consumed next is its data buffer.
    package func begin(_ input: InputDescription) throws(QuantizationError) {
        let layout = try ArtifactLayout(
            input: input, recipe: recipe, engine: engine, limits: limits, isShard: isShard,
            calibrationFile: calibrationFile, neighbours: neighbours)
        try memory?.add(layout.workingBytes(of: input, threads: limits.maximumThreads))
        try onPlan(layout)
        stage = TensorStage(
            input: layout.input, layout: layout, recipe: recipe, calibrationFile: calibrationFile,
            neighbours: neighbours, limits: limits)
    }
}

// A session that outlives its process: what it has done so far, and the way back to it.
extension QuantizingSession {
    /// Bytes from the start of the input that a later session must be given before it can `resume`: all that were
    /// consumed while the header is not whole, else those in front of the first tensor's data.
    package var headBytes: Int { stage?.headBytes ?? header.heldBytes }

    /// Bytes of the input consumed so far.
    package var consumedBytes: Int { stage?.consumedBytes ?? header.heldBytes }

    /// Everything that a later session of the same recipe, input and engine needs to go on behind the bytes consumed
    /// so far, on the same output and scratch storage.
    ///
    /// What the state promises has been handed to both: the caller makes them durable, then records the state, and only
    /// when that is durable too lets the session go on, for from then on earlier states are worthless. What it writes
    /// beyond the state, whole or in part, does not disturb one that resumes: it is written again, the same bytes at
    /// the same place. Threads and instruction set may differ between the two.
    ///
    /// Usually some KiB: sums, error counts, the unfinished block or row, 150 bytes for each finished weight; NF4 with
    /// double quantization holds the first MiB of a tensor until it has chosen its offset.
    package func snapshot() throws(QuantizationError) -> [UInt8] {
        guard !isOver else { throw .snapshot(.over) }
        var state = StateWriter(identity: identity)
        state.add(consumedBytes)
        do throws(QuantizationError) {
            try stage?.save(to: &state, workplace)
            try workplace.flush()
        } catch {
            isOver = true
            throw error
        }
        return state.sealed()
    }

    /// Goes on where the session stood whose `snapshot` this is: a new one that has consumed that one's `headBytes`.
    ///
    /// Throws `QuantizationError.snapshot` for a state that does not fit; this session is over then.
    package func resume(_ state: [UInt8]) throws(QuantizationError) {
        guard !isOver else { throw .snapshot(.over) }
        do throws(QuantizationError) {
            var reader = try StateReader(state, identity: identity)
            let position = try reader.integer(atMost: .max)
            guard consumedBytes == headBytes, headBytes <= position else { throw .snapshot(.contradiction) }
            try stage?.restore(from: &reader, workplace)
            try reader.end()
            guard position == consumedBytes else { throw .snapshot(.contradiction) }
        } catch {
            isOver = true
            throw error
        }
    }

    /// What must not differ between a session and the one that goes on in its place.
    private var identity: Fingerprint {
        var identity = Fingerprint()
        identity.add(recipe.canonical)
        identity.add(engine)
        if let stage { stage.describe(to: &identity) }
        return identity
    }
}
