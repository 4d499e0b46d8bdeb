import Tensors

/// Which inputs are staged on scratch storage, and where the room for second passes begins.
struct ScratchPlan: Sendable {
    /// For every input tensor its offset in scratch, nil when it streams.
    let staged: [Int?]
    /// Where a column-major tensor goes once it is transposed, nil when nothing needs it twice.
    let transposed: [Int?]
    /// The first byte behind everything staged.
    let base: Int
    /// All of the scratch that the session may touch.
    let bytes: Int

    /// The scratch for `tensors` of `input`; `recipe` gives the recipe of the tensor at an index.
    init(input: InputDescription, tensors: [PlannedTensor], recipe: (Int) -> Recipe) {
        var position = 0
        var needed = 0
        let usesActivations = tensors.indices.contains { recipe($0).needsActivations }
        staged = input.entries.indices.map { index in
            let (entry, tensor, recipe) = (input.entries[index], tensors[index], recipe(index))
            let stages: Bool
            switch tensor {
            case .awq: stages = true
            case .calibration: stages = usesActivations
            case .nf4, .int8, .grouped, .copy: stages = input.isColumnMajor(index)
            case .castToF16: stages = false
            }
            switch tensor {
            case .nf4 where recipe.doubleQuant && recipe.mode == .reference:
                let blocks = (entry.elementCount + recipe.blockSize - 1) / recipe.blockSize
                needed = max(needed, blocks * NestedPass.recordBytes)
            case .awq(let placement, _):
                let weight = StagedTensor(type: entry.type, rows: entry.shape[0], columns: entry.shape[1], offset: 0)
                let layer = AWQLayer(
                    name: entry.name, weight: weight, activations: nil, options: AWQOptions(recipe),
                    placement: placement, scratchBase: 0)
                needed = max(needed, layer.scratchByteCount)
            default: break
            }
            guard stages else { return nil }
            // Aligned, so that a page of scratch never belongs to two tensors.
            defer { position += (entry.bytes.count + 4095) / 4096 * 4096 }
            return position
        }
        transposed = input.entries.indices.map { index in
            guard input.isColumnMajor(index), case .awq = tensors[index] else { return nil }
            defer { position += (input.entries[index].bytes.count + 4095) / 4096 * 4096 }
            return position
        }
        base = position
        bytes = position + needed
    }
}
