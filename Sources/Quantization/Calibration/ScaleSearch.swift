import LinearAlgebra

/// The search for the scales of the input columns that several Linears share: AWQ's candidates, the loss by products.
struct ScaleSearch {
    /// A Linear whose inputs are those of the others.
    struct Member {
        /// What errors call the weight.
        let name: String
        let weight: StagedTensor
        let storage: any StoredBytes
        /// Columns that share a scale; -1 is the whole row.
        let groupSize: Int
        /// What the rows of the weight are divided by.
        var rowDivisors: [Float]?
    }

    /// Linears with the same columns.
    let members: [Member]
    /// What is known of their inputs.
    let calibration: LayerCalibration
    var duoScaling = true
    var threads = 1

    /// The exponent, 0 to 0.95, and the scales whose codes change the outputs least.
    ///
    /// Throws `calibration.missing` without means of |x| or x², `calibration.range` where the outputs overflow.
    func run(
        progress: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> (ratio: Double, scales: [Float]) {
        throw .nothingToQuantize(detail: "")
    }
}
