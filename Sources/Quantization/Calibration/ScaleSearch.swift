import LinearAlgebra

/// One Linear's part in the search for the scales of its input columns: AWQ's statistics and losses.
///
/// Several Linears that share their input add up their sums and losses.
struct ScaleSearch {
    /// What errors call the weight.
    let name: String
    let weight: StagedTensor
    let storage: any StoredBytes
    /// What would be written.
    let code: CalibratedCode
    /// Columns that share a scale; -1 is the whole row.
    let groupSize: Int
    /// What the rows of the weight are divided by.
    var rowDivisors: [Float]?
    var threads = 1

    /// Sums over all rows of |weight| / (largest magnitude of its group + 1e-6), for each column.
    func magnitudeSums(
        progress: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> [Double] {
        throw .nothingToQuantize(detail: "")
    }

    /// For each of `candidates`, scales of the columns, the mean over tokens of the squared change of the outputs, summed
    /// over all rows.
    ///
    /// Throws `calibration.range` where the outputs overflow.
    func losses(
        of candidates: [[Float]], over inputs: SearchInputs, progress: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> [Double] {
        throw .nothingToQuantize(detail: "")
    }
}

/// What a search for scales knows of the inputs: some tokens, or their second moments.
struct SearchInputs {
    /// The mean magnitude of each column; its root mean square where nothing else is known.
    let magnitudes: [Float]

    /// Reads the calibration data; at most 512 tokens are kept of activations.
    init(_ calibration: LayerCalibration, threads: Int) throws(QuantizationError) {
        throw .nothingToQuantize(detail: "")
    }
}
