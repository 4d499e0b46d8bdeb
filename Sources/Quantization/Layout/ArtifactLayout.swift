package import Tensors

/// A run of bytes in the artifact: absolute offset and length.
struct Place: Sendable, Equatable {
    var offset: Int
    var bytes: Int
}

/// Where the parts of one input tensor go in the artifact.
enum PlannedTensor: Sendable, Equatable {
    case copy(Place)
    case castToF16(Place)
    /// Written as an element type with scales folded into it.
    case folded(Place, ElementType)
    case calibration
    case nf4(NF4Placement)
    case int8(codes: Place, scales: Place, format: Place)
    case awq(AWQPlacement, bytes: Int)
    case grouped(GroupPlacement)
}

/// The places of a bitsandbytes 4-bit weight; `state` is the index of its quant_state among the layout's states.
struct NF4Placement: Sendable, Equatable {
    var codes: Place
    var absmax: Place
    var quantMap: Place
    var nestedAbsmax: Place?
    var nestedQuantMap: Place?
    var state: Int
}

/// The whole artifact computed from the input's header: every part's place and the file's size before a weight arrives.
///
/// ```
/// 8 bytes | header JSON, spaces | quant_state JSONs | F32 parts, I32, F16, U8 … in input order
///                                                   ^ dataStart: fixed, a multiple of 64
/// ```
/// The text of a quant_state depends on the mean of absmax, which only the end knows. These tensors lie directly
/// behind the header, and the header's padding absorbs the difference, so that everything from `dataStart` on stays.
package struct ArtifactLayout: Sendable {
    /// One tensor of the artifact from `dataStart` on.
    struct Part: Sendable {
        let name: String
        let type: ElementType
        let shape: [Int]
        let elementCount: Int
        var place: Place
    }
    /// A quant_state tensor in front of `dataStart`.
    struct State: Sendable {
        let name: String
        let contents: QuantState
    }

    /// What comes in; weights that are stored as [in, out] say so.
    package let input: InputDescription
    /// Bytes of the finished artifact.
    package let fileBytes: Int
    /// Where the parts of known length begin.
    let dataStart: Int
    let parts: [Part]
    let states: [State]
    /// For every entry of the input, in its order.
    let tensors: [PlannedTensor]
    /// Where the scales of FP8 weights are.
    let scaling: BlockScaling
    /// What is known of the inputs of each weight.
    let calibration: CalibrationPlan
    /// The recipe's variants, and which of them codes each entry of the input (0 for what is not quantized).
    private let variants: [Recipe]
    private let chosen: [UInt16]
    /// The same for the tensors of the model's other files.
    private let neighbourVariants: [UInt16]
    let metadata: [MetadataItem]
    /// What the shape rules left out, for people.
    package let warnings: [String]
    /// Bytes of scratch storage that the session needs beside the artifact.
    package let scratchBytes: Int

    /// Alignment of `dataStart`; with parts sorted by element size every tensor is naturally aligned.
    static let alignment = 64
    /// The stand-in for the input's digest until the end of the input is known.
    static let unknownDigest = "sha256:" + String(repeating: "0", count: 64)

    /// Places every tensor of `input`; one that has nothing to quantize is refused unless it is a shard of a model.
    /// `calibrationFile` says what is known of its layers beside what the input itself says, `neighbours` are the
    /// model's other files.
    package init(
        input: InputDescription, recipe: Recipe, engine: String, limits: SessionLimits = SessionLimits(),
        isShard: Bool = false, calibrationFile: CalibrationFile? = nil, neighbours: Neighbours? = nil
    ) throws(QuantizationError) {
        guard input.dataBytes <= limits.maximumInputBytes else {
            throw .limit(
                name: "input_bytes", value: input.dataBytes, limit: limits.maximumInputBytes, tensor: nil)
        }
        let selection = TensorSelection(recipe)
        var selected = try selection.treatments(of: input.entries, limits: limits)
        if !isShard { selected.warnings += selection.idleGlobs(input.entries, limits: limits) }
        scaling = try BlockScaling(input.entries, &selected.treatments)
        guard isShard || selected.treatments.contains(where: { $0.variant != nil }) else {
            throw .nothingToQuantize(detail: selection.reasonForNothing(input.entries, selected.warnings))
        }
        let input = selection.oriented(input, selected.treatments)
        self.input = input
        let variants = recipe.variants
        self.variants = variants
        let used = Set(selected.treatments.compactMap(\.variant)).sorted()
        let mix = Recipe.warning(ofMixing: used.map { variants[$0] }).map { [$0] } ?? []
        chosen = selected.treatments.map { UInt16(truncatingIfNeeded: $0.variant ?? 0) }
        let neighbours = try NeighbourTreatments(neighbours, selection, limits: limits)
        neighbourVariants = neighbours.treatments.map { UInt16(truncatingIfNeeded: $0.variant ?? 0) }
        let calibration = try CalibrationPlan(
            input.entries, selected.treatments, variants, file: calibrationFile, neighbours: neighbours,
            limits: limits, isShard: isShard)
        self.calibration = calibration
        var builder = LayoutBuilder()
        for (entry, treatment) in zip(input.entries, selected.treatments) {
            let recipe = variants[treatment.variant ?? 0]
            let entry = treatment == .copy ? entry : entry.widened
            try limits.check(entry, treatment, recipe)
            builder.add(entry, treatment, recipe)
        }
        let (parts, tensors) = builder.placed()
        if let name = builder.firstRepeatedName {
            throw .container(
                TensorFormatError(
                    code: "tensor.name_conflict",
                    detail: "Two tensors of the artifact would be called '\(name)'.", tensor: name))
        }
        states = builder.states
        let notes = calibrationFile?.notes ?? []
        let isScaled = tensors.indices.contains { calibration.fold?.uses[$0] != nil && tensors[$0].isWrittenPlain }
        let folding = isScaled ? [FoldPlan.note] : []
        let found = notes + mix + calibration.warnings + folding + selected.warnings + builder.warnings
        warnings = Self.told(found, atMost: limits.maximumWarnings)
        metadata = Self.metadata(of: input, recipe: recipe, engine: engine)
        let start = try Self.dataStart(parts, states, metadata, limits)
        dataStart = start
        self.parts = parts.map { part in
            var part = part
            part.place.offset += start
            return part
        }
        self.tensors = zip(tensors, input.entries).enumerated().map { index, tensor in
            let moved = tensor.0.moved(by: start)
            return calibration.fold?.uses[index] == nil ? moved : moved.folded(tensor.1.type)
        }
        fileBytes = start + (parts.last.map { $0.place.offset + $0.place.bytes } ?? 0)
        let chosen = chosen
        scratchBytes =
            ScratchPlan(
                input: input, tensors: self.tensors, scaling: scaling, calibration: calibration,
                recipe: { variants[Int(chosen[$0])] }
            ).bytes
    }

    /// The recipe that codes the tensor at `index` of the input, or behind it, of the model's other files.
    func recipe(of index: Int) -> Recipe {
        variants[Int(index < chosen.count ? chosen[index] : neighbourVariants[index - chosen.count])]
    }

    /// Whether the tensor at `index` is coded when the last byte has come.
    package func isLayer(_ index: Int) -> Bool {
        if case .awq = tensors[index] { return !calibration.arrivesAsAWQ(index) }
        return calibrated(index) != nil
    }

    /// What the codes of the tensor at `index` are chosen by; nil where they depend on its weights alone, or the
    /// library's own searches run.
    func calibrated(_ index: Int) -> Knowledge? { calibration.calibrated(index, recipe(of: index)) }

    /// Whether an override codes the tensor at `index`.
    func isVaried(_ index: Int) -> Bool { chosen[index] != 0 }

    /// The first FP8 weight that is copied, if there is one: outside of its own checkpoint it means nothing.
    package var copiedFP8: String? {
        zip(input.entries, tensors).first { entry, tensor in
            guard case .copy = tensor else { return false }
            return entry.isFP8
        }?.0.name
    }

    /// The 8 length bytes, the header padded with spaces, and the quant_state texts: exactly `dataStart` bytes.
    func prefix(stateTexts: [[UInt8]], digest: String) -> [UInt8] {
        let stateBytes = stateTexts.reduce(0) { $0 + $1.count }
        let json = Self.serialize(
            parts: parts, states: states, stateBytes: stateTexts.map(\.count), metadata: metadata, digest: digest,
            base: dataStart - stateBytes)
        let header = SafetensorsHeader.file(prefixing: json, paddedTo: dataStart - 8 - stateBytes)
        return header + stateTexts.joined()
    }

    /// Where the data begins: behind the header and every state at its longest.
    private static func dataStart(
        _ parts: [Part], _ states: [State], _ metadata: [MetadataItem], _ limits: SessionLimits
    ) throws(QuantizationError) -> Int {
        let stateBytes = states.reduce(0) { $0 + $1.contents.maximumBytes }
        let header = serialize(
            parts: parts, states: states, stateBytes: states.map(\.contents.maximumBytes), metadata: metadata,
            digest: unknownDigest, base: -stateBytes)
        let start = (8 + header.count + stateBytes + alignment - 1) / alignment * alignment
        guard start - 8 <= limits.maximumArtifactHeaderBytes else {
            throw .limit(
                name: "artifact_header_bytes", value: start - 8, limit: limits.maximumArtifactHeaderBytes, tensor: nil)
        }
        return start
    }

    /// The header's JSON; `base` is the absolute offset of the data buffer's start.
    private static func serialize(
        parts: [Part], states: [State], stateBytes: [Int], metadata: [MetadataItem], digest: String, base: Int
    ) -> [UInt8] {
        var entries: [TensorEntry] = []
        entries.reserveCapacity(parts.count + states.count)
        var position = 0
        for (state, bytes) in zip(states, stateBytes) {
            entries.append(
                TensorEntry(
                    name: state.name, type: .u8, shape: [bytes], elementCount: bytes,
                    bytes: position..<position + bytes))
            position += bytes
        }
        for part in parts {
            let begin = part.place.offset - base
            entries.append(
                TensorEntry(
                    name: part.name, type: part.type, shape: part.shape, elementCount: part.elementCount,
                    bytes: begin..<begin + part.place.bytes))
        }
        let items = metadata.map { item in
            item.name == provenanceKey
                ? MetadataItem(name: item.name, value: item.value + ",\"input\":\"\(digest)\"}") : item
        }
        return SafetensorsHeader.serialize(entries: entries, metadata: items)
    }

    private static let provenanceKey = "viva"

    /// `format` is `pt`, for transformers refuses files without it, and `mlx` where mlx-lm says so; the input's other
    /// items are kept.
    private static func metadata(of input: InputDescription, recipe: Recipe, engine: String) -> [MetadataItem] {
        let kept = input.metadata.filter { $0.name != "format" && $0.name != provenanceKey }
        let provenance = "{\"engine\":\"\(jsonEscaped(engine))\",\"recipe\":\(recipe.canonical)"
        return [MetadataItem(name: "format", value: recipe.format == .mlx ? "mlx" : "pt")] + kept
            + [MetadataItem(name: provenanceKey, value: provenance)]
    }

    /// The first warnings, and how many more there are: a file of many tensors must not fill the catalogue with them.
    private static func told(_ warnings: [String], atMost limit: Int) -> [String] {
        guard warnings.count > limit else { return warnings }
        return warnings.prefix(limit) + ["\(warnings.count - limit) more tensors have such warnings."]
    }
}
