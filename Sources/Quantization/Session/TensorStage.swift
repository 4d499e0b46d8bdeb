import Tensors

/// The part of a session behind the header: walks the tensors of the input and gives each to its encoder.
struct TensorStage {
    private let input: InputDescription
    private let layout: ArtifactLayout
    private let recipe: Recipe
    private let scratch: ScratchPlan
    private var swap: ByteSwap?
    private var current = 0
    /// Bytes of the current tensor that have been taken.
    private var taken = 0
    private var encoder: (any TensorEncoder)?
    private var encoded: [EncodedTensor]

    init(input: InputDescription, layout: ArtifactLayout, recipe: Recipe) {
        self.input = input
        self.layout = layout
        self.recipe = recipe
        scratch = ScratchPlan(input: input, tensors: layout.tensors, recipe: { layout.recipe(of: $0) })
        encoded = [EncodedTensor](repeating: EncodedTensor(), count: input.entries.count)
        if input.isBigEndian { swap = ByteSwap(width: (input.entries.first?.type.bitWidth ?? 8) / 8) }
    }

    mutating func consume(_ bytes: RawSpan, _ workplace: Workplace) throws(QuantizationError) {
        guard swap != nil else { return try walk(bytes, workplace) }
        let little = swap?.swapped(bytes) ?? []
        try walk(unsafe little.span.bytes, workplace)
    }

    private mutating func walk(_ bytes: RawSpan, _ workplace: Workplace) throws(QuantizationError) {
        var rest = bytes
        while rest.byteCount > 0 {
            try skipFinished(workplace)
            guard current < input.entries.count else {
                throw .trailingBytes(expected: input.totalBytes)
            }
            let missing = input.entries[current].bytes.count - taken
            let piece = min(missing, rest.byteCount)
            if encoder == nil { encoder = makeEncoder(current) }
            try encoder?.consume(rest.extracting(first: piece), workplace)
            taken += piece
            rest = rest.extracting(droppingFirst: piece)
        }
        try skipFinished(workplace)
    }

    /// Finishes the tensors whose last byte has come, empty ones included.
    private mutating func skipFinished(_ workplace: Workplace) throws(QuantizationError) {
        while current < input.entries.count, taken == input.entries[current].bytes.count {
            var finished = encoder ?? makeEncoder(current)
            encoded[current] = try finished.finish(workplace)
            try recipe.gates.check(encoded[current].quality, tensor: input.entries[current].name)
            encoder = nil
            current += 1
            taken = 0
        }
    }

    /// The encoder for a tensor as its bytes arrive: its own, or a staging one when a later pass needs all of it.
    private func makeEncoder(_ index: Int) -> any TensorEncoder {
        if let offset = scratch.staged[index] { return StagingEncoder(offset: offset) }
        if layout.tensors[index] == .calibration { return DiscardingEncoder() }
        return makeFinalEncoder(index)
    }

    private func makeFinalEncoder(_ index: Int) -> any TensorEncoder {
        let (entry, recipe) = (input.entries[index], layout.recipe(of: index))
        switch layout.tensors[index] {
        case .copy(let place): return CopyEncoder(place: place)
        case .castToF16(let place): return CastEncoder(entry: entry, place: place)
        case .nf4(let placement):
            if recipe.mode == .best { return NF4BestEncoder(entry: entry, recipe: recipe, placement: placement) }
            return NF4Encoder(entry: entry, recipe: recipe, placement: placement, scratchBase: scratch.base)
        case .int8(let codes, let scales, let format):
            return Int8Encoder(entry: entry, places: (codes, scales, format))
        case .grouped(let placement):
            guard let code = recipe.groupedCode else { return DiscardingEncoder() }
            return GroupEncoder(entry: entry, recipe: recipe, code: code, placement: placement)
        case .awq, .calibration: return DiscardingEncoder()
        }
    }

    mutating func finish(
        digest: String, memory: MemoryShare?, _ workplace: Workplace
    ) throws(QuantizationError) -> SessionResult {
        try skipFinished(workplace)
        guard current == input.entries.count else {
            let received = input.dataOffset + (input.entries[current].bytes.lowerBound) + taken
            throw .truncated(expected: input.totalBytes, received: received)
        }
        let activations = positionsOfActivations
        for index in input.entries.indices {
            if input.isColumnMajor(index) { try transpose(index, workplace) }
            if case .awq(let placement, _) = layout.tensors[index] {
                // Only the figures are kept: the rest of a result is 32 KiB and more, and the layers may be many.
                encoded[index] = try search(index, placement, activations, workplace)
                try recipe.gates.check(encoded[index].quality, tensor: input.entries[index].name)
            }
        }
        try writePrefix(digest, workplace)
        return result(memory)
    }

    private mutating func transpose(_ index: Int, _ workplace: Workplace) throws(QuantizationError) {
        guard let offset = scratch.staged[index] else { return }
        var encoder: any TensorEncoder
        if let target = scratch.transposed[index] {
            encoder = StagingEncoder(offset: target)
        } else {
            encoder = makeFinalEncoder(index)
        }
        try FortranPass(entry: input.entries[index], offset: offset).run(&encoder, workplace)
        encoded[index] = try encoder.finish(workplace)
        try recipe.gates.check(encoded[index].quality, tensor: input.entries[index].name)
    }

    /// Where the calibration tensors of the modules lie in the input.
    private var positionsOfActivations: [ExactName: Int] {
        var positions: [ExactName: Int] = [:]
        for (index, entry) in input.entries.enumerated() where layout.tensors[index] == .calibration {
            positions[ExactName(entry.name)] = index
        }
        return positions
    }

    private func search(
        _ index: Int, _ placement: AWQPlacement, _ positions: [ExactName: Int], _ workplace: Workplace
    ) throws(QuantizationError) -> EncodedTensor {
        let (entry, recipe) = (input.entries[index], layout.recipe(of: index))
        var activations: StagedTensor?
        if recipe.needsActivations {
            let wanted = (entry.name.before(suffix: "weight") ?? entry.name) + "activations"
            guard let found = positions[ExactName(wanted)] else {
                throw .calibration(code: "calibration.missing", detail: "There is no tensor '\(wanted)'.")
            }
            activations = staged(found)
        }
        guard let weight = staged(index) else { throw .nothingToQuantize(detail: "\(entry.name) is not staged.") }
        let layer = AWQLayer(
            name: entry.name, weight: weight, activations: activations, options: AWQOptions(recipe),
            placement: placement, scratchBase: scratch.base)
        let result = try layer.run(scratch: workplace.scratch, output: workplace.output)
        return EncodedTensor(
            quality: TensorQuality(result.errors), scaleRatio: result.chosenRatio,
            outputError: result.outputErrorRelative)
    }

    private func staged(_ index: Int) -> StagedTensor? {
        let entry = input.entries[index]
        guard let offset = scratch.transposed[index] ?? scratch.staged[index], entry.shape.count == 2 else {
            return nil
        }
        return StagedTensor(type: entry.type, rows: entry.shape[0], columns: entry.shape[1], offset: offset)
    }

    private func writePrefix(_ digest: String, _ workplace: Workplace) throws(QuantizationError) {
        var texts: [[UInt8]] = []
        for (tensor, encoded) in zip(layout.tensors, encoded) {
            guard case .nf4(let placement) = tensor else { continue }
            texts.append(layout.states[placement.state].contents.json(offset: encoded.nestedOffset))
        }
        try workplace.write(layout.prefix(stateTexts: texts, digest: digest).span, at: 0)
    }

    private func result(_ memory: MemoryShare?) -> SessionResult {
        var builder = ReportBuilder(warnings: layout.warnings)
        for (index, entry) in input.entries.enumerated() {
            builder.add(
                entry, layout.tensors[index], encoded[index], layout.recipe(of: index),
                isVaried: layout.isVaried(index))
        }
        return SessionResult(
            input: input, artifactBytes: layout.fileBytes, report: builder.report(),
            skippedModules: builder.skippedModules, variedModules: builder.variedModules, memory: memory)
    }
}
