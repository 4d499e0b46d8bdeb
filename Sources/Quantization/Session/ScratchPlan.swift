import Tensors

/// Which inputs are staged on scratch storage, and where the room for second passes begins.
struct ScratchPlan: Sendable {
    /// For every input tensor its offset in scratch, nil when it streams.
    let staged: [Int?]
    /// Whether a staged tensor lies there as it came and is encoded at the end: it is column-major, or an FP8 weight
    /// whose scales follow it.
    let isDeferred: [Bool]
    /// Where a deferred tensor goes then if its encoder needs all of it, nil otherwise.
    let restaged: [Int?]
    /// Where the scales of each group that are folded wait for the tensors that they touch.
    let foldedScales: [Int]
    /// The first byte behind everything staged.
    let base: Int
    /// Bytes of one nested pass's place behind `base`. There are two where several tensors need one: the records of
    /// the tensor in which a snapshot was taken must outlast the passes of those that follow it.
    private let passBytes: Int
    /// Where the layers that are coded at the end work, behind those places.
    let layerBase: Int
    /// All of the scratch that the session may touch.
    let bytes: Int

    /// The scratch for `tensors` of `input`; `recipe` gives the recipe of the tensor at an index.
    init(
        input: InputDescription, tensors: [PlannedTensor], scaling: BlockScaling, calibration: CalibrationPlan,
        recipe: (Int) -> Recipe
    ) {
        var position = 0
        var layerBytes = 0
        var (passes, passBytes) = (0, 0)
        // Aligned, so that a page of scratch never belongs to two tensors.
        func pages(_ bytes: Int) -> Int { (bytes + 4095) / 4096 * 4096 }
        func place(_ bytes: Int) -> Int {
            defer { position += pages(bytes) }
            return position
        }
        var (staged, restaged): ([Int?], [Int?]) = ([], [])
        var isDeferred: [Bool] = []
        for (index, entry) in input.entries.enumerated() {
            let knowledge = calibration.calibrated(index, recipe(index))
            let arrives = calibration.arrivesAsAWQ(index)
            let working = Self.workingBytes(
                entry.widened, tensors[index], recipe(index), knowledge, arrives: arrives)
            if tensors[index].hasPass(arrives), knowledge == nil {
                passes += working > 0 ? 1 : 0
                passBytes = max(passBytes, pages(working))
            } else {
                layerBytes = max(layerBytes, working)
            }
            let needsAll: Bool
            switch tensors[index] {
            case .awq: needsAll = !arrives
            case .calibration: needsAll = calibration.isUsed && CalibrationLeaf.isNamed(by: entry.name)
            case .nf4, .grouped: needsAll = knowledge != nil
            case .folded: needsAll = true
            case .int8, .copy, .castToF16: needsAll = false
            }
            let isRead = needsAll || tensors[index] != .calibration
            let waits = isRead && (entry.isFortranOrder || scaling.scalesOfWeights[index].map { $0 > index } ?? false)
            if scaling.holdsScales(index) {
                staged.append(place(entry.elementCount * 4))
            } else if waits {
                staged.append(place(entry.bytes.count))
            } else {
                staged.append(needsAll ? place(entry.widened.bytes.count) : nil)
            }
            isDeferred.append(waits)
            restaged.append(waits && needsAll ? place(entry.widened.bytes.count) : nil)
        }
        foldedScales = (calibration.fold?.groups ?? []).map { place(FoldedScales.bytes(columns: $0.columns)) }
        self.staged = staged
        self.restaged = restaged
        self.isDeferred = isDeferred
        base = position
        self.passBytes = passes > 1 ? passBytes : 0
        layerBase = position + min(passes, 2) * passBytes
        bytes = layerBase + layerBytes
    }

    /// Where the nested pass of a tensor lies; `isSecond` for the place that a snapshot does not hold.
    func passBase(isSecond: Bool) -> Int { base + (isSecond ? passBytes : 0) }

    /// Bytes that the passes of one tensor use from `base` on.
    private static func workingBytes(
        _ entry: TensorEntry, _ tensor: PlannedTensor, _ recipe: Recipe, _ knowledge: Knowledge?, arrives: Bool
    ) -> Int {
        if let knowledge {
            return CalibratedLayer.scratchBytes(
                rows: entry.shape[0], columns: entry.shape[1], knowledge: knowledge, options: CalibratedOptions(recipe))
        }
        switch tensor {
        case .nf4 where recipe.doubleQuant:
            if recipe.mode == .best, !NF4OpeningEncoder.mayNeedScratch(entry, blockSize: recipe.blockSize) { return 0 }
            let blocks = (entry.elementCount + recipe.blockSize - 1) / recipe.blockSize
            return blocks * NestedPass.recordBytes
        case .awq(let placement, _):
            let weight = StagedTensor(type: entry.type, rows: entry.shape[0], columns: entry.shape[1], offset: 0)
            let layer = AWQLayer(
                name: entry.name, weight: weight, activations: nil, options: AWQOptions(recipe),
                placement: placement, scratchBase: 0)
            return arrives ? layer.planeBytes : layer.scratchByteCount
        default: return 0
        }
    }
}

extension PlannedTensor {
    /// Whether encoding the tensor as it arrives leaves something on scratch until its last byte has come.
    fileprivate func hasPass(_ arrivesAsAWQ: Bool) -> Bool {
        switch self {
        case .nf4: true
        case .awq: arrivesAsAWQ
        case .copy, .castToF16, .folded, .calibration, .int8, .grouped: false
        }
    }
}
