import LinearAlgebra
import Tensors

/// Codes one Linear by what is known of its inputs, from staged storage into its places in the artifact.
struct CalibratedLayer {
    /// What errors call the weight.
    let name: String
    /// [rows = outputs, columns = inputs].
    let weight: StagedTensor
    /// Where the weight lies.
    let storage: any StoredBytes
    /// nil: rounded to nearest.
    let calibration: LayerCalibration?
    let options: CalibratedOptions
    /// `.awq`, `.grouped` (packed) or `.nf4`.
    let placement: PlannedTensor
    /// The first byte of scratch storage that nobody else uses.
    let scratchBase: Int
    /// What the columns of the weight are multiplied by; its inputs come divided by them.
    var columnScales: [Float]?
    /// What the rows of the weight are divided by.
    var rowDivisors: [Float]?

    /// Codes the layer and writes all its parts; `progress` is called now and then and may throw to end the work.
    func run(
        scratch: any ScratchStorage, output: any ArtifactOutput, kernels: Kernels,
        progress: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> CalibratedResult {
        throw .nothingToQuantize(detail: "")
    }

    /// Bytes of memory that a run holds, address space that is not touched left out.
    static func workingBytes(
        rows: Int, columns: Int, knowledge: Knowledge, options: CalibratedOptions, threads: Int
    ) -> Int {
        let gram = knowledge == .gram || knowledge == .activations ? columns * columns * 4 : columns * 128 * 4
        return gram + 96 << 20
    }

    /// Bytes of scratch storage that a run uses from `scratchBase` on.
    static func scratchBytes(
        rows: Int, columns: Int, knowledge: Knowledge, options: CalibratedOptions
    ) -> Int {
        guard options.code == .affine else { return 0 }
        let groups = options.groupSize == -1 ? 1 : columns / options.groupSize
        return rows / 8 * (columns * 4 + groups * 20)
    }
}
