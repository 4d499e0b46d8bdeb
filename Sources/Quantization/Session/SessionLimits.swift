package import Tensors

/// What a quantizing session refuses to hold or to begin, each with its default.
package struct SessionLimits: Sendable, Equatable {
    /// Limits of the container's header.
    package var container = ContainerLimits()
    /// Bytes of all tensors of one input: 16 TiB, so that every later sum fits an `Int`.
    package var maximumInputBytes = 1 << 44
    /// Bytes of an archive, which is staged whole on scratch storage; a disk without room refuses earlier.
    package var maximumArchiveBytes = 1 << 40
    /// Elements of one row where a row shares a scale: 32 MiB as float32, the largest thing held whole.
    package var maximumRowElements = 8 << 20
    /// Input columns of a Linear that AWQ searches, or that is coded with calibration data.
    package var maximumAWQColumns = 1 << 16
    /// Products of one pass of AWQ's scale search over a Linear, tokens · rows · columns: half an hour for two cores
    /// and 20 candidates. Unlike all other work this grows with the square of the input.
    package var maximumSearchProducts = 1 << 40
    /// Tokens of one layer's activations.
    package var maximumCalibrationTokens = 1 << 20
    /// Bytes of a file of calibration data: the whole Gram matrices of an 8B model are 39 GB.
    package var maximumCalibrationBytes = 1 << 40
    /// Bytes of one bias that AWQ casts to F16; it is held whole.
    package var maximumBiasBytes = 8 << 20
    /// Comparisons of characters that `include` and `exclude` may take over all names: about two seconds.
    package var maximumGlobSteps = 1 << 30
    /// Bytes of the artifact's own header: the format's limit, beyond which no reader opens the file.
    package var maximumArtifactHeaderBytes = 100_000_000
    /// Warnings about single tensors that a report tells in full.
    package var maximumWarnings = 100
    /// Threads that one session codes a tensor on. The artifact does not depend on their number; the memory that each
    /// has of its own (`CrewSize`) is counted.
    package var maximumThreads = 1
    /// Bytes of memory that all sessions of a service share; see `MemoryBudget`.
    package var maximumWorkingBytes = 1 << 30

    /// The defaults.
    package init() {}

    /// Refuses a tensor that its treatment could not hold.
    func check(_ entry: TensorEntry, _ treatment: Treatment, _ recipe: Recipe) throws(QuantizationError) {
        switch treatment {
        case .quantize: try check(entry, recipe)
        case .castToF16: try check(entry.bytes.count, maximumBiasBytes, "bias_bytes", entry)
        case .copy, .calibration: return
        }
    }

    /// Refuses a scale search that would go on for days.
    func checkSearch(_ entry: TensorEntry, tokens: Int) throws(QuantizationError) {
        let (products, overflow) = entry.elementCount.multipliedReportingOverflow(by: tokens)
        try check(overflow ? Int.max : products, maximumSearchProducts, "awq_products", entry)
    }

    /// Refuses a Linear whose moments would be beyond any memory.
    func checkCalibrated(_ entry: TensorEntry) throws(QuantizationError) {
        try check(entry.shape[1], maximumAWQColumns, "awq_columns", entry)
    }

    private func check(_ entry: TensorEntry, _ recipe: Recipe) throws(QuantizationError) {
        guard entry.shape.count == 2 else { return }
        switch recipe.format {
        case .awq: try check(entry.shape[1], maximumAWQColumns, "awq_columns", entry)
        case .bitsandbytes where recipe.method != .int8: return
        case .bitsandbytes, .compressedTensors, .mlx:
            if recipe.groupSize == -1 { try check(entry.shape[1], maximumRowElements, "row_elements", entry) }
        }
    }

    private func check(
        _ value: Int, _ limit: Int, _ name: String, _ entry: TensorEntry
    ) throws(QuantizationError) {
        guard value <= limit else { throw .limit(name: name, value: value, limit: limit, tensor: entry.name) }
    }
}
