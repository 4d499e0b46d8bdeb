import Tensors

/// An importance matrix of llama.cpp: sums of squares of the inputs of every Linear, as `llama-imatrix` writes them.
///
/// `<name>.in_sum2` is F32 [matrices, columns], Σx² over the tokens that went through each matrix, and `<name>.counts`
/// F32 [matrices, 1] the number of those; there is one matrix for a Linear and one for each expert of a mixture.
/// Source: `IMatrixCollector::save_imatrix` in tools/imatrix/imatrix.cpp.
struct ImportanceMatrix {
    /// The mean squares, named `<module>.square_mean` and `<module>.count` by llama.cpp's names for modules.
    private(set) var entries: [CalibrationTensor] = []
    /// Matrices that no token went through.
    private(set) var empty = 0
    /// How many chunks of how many tokens it was made from; nil when the file does not say.
    let chunks: (count: UInt64, tokens: UInt64)?

    /// Describes the file that `header` begins; reads the counts.
    init(
        _ header: GGUFHeader, _ source: any ArtifactSource, limits: SessionLimits
    ) throws(QuantizationError) {
        chunks =
            if case .unsigned(let count)? = header.value(of: "imatrix.chunk_count"),
                case .unsigned(let tokens)? = header.value(of: "imatrix.chunk_size")
            { (count, tokens) } else { nil }
        var counts: [ExactName: TensorEntry] = [:]
        for entry in header.entries {
            if let name = entry.name.before(suffix: ".counts") { counts[ExactName(name)] = entry }
        }
        for sums in header.entries {
            guard let name = sums.name.before(suffix: ".in_sum2") else { continue }
            guard let tokens = counts.removeValue(forKey: ExactName(name)) else {
                throw Self.unfit(sums, "there is no '\(name).counts' beside it")
            }
            try add(name, sums, tokens, header.dataOffset, source, limits)
        }
        if let left = counts.values.min(by: { $0.bytes.lowerBound < $1.bytes.lowerBound }) {
            throw Self.unfit(left, "there is no '.in_sum2' beside it")
        }
    }

    /// Adds every matrix that some token went through.
    private mutating func add(
        _ name: String, _ sums: TensorEntry, _ tokens: TensorEntry, _ base: Int, _ source: any ArtifactSource,
        _ limits: SessionLimits
    ) throws(QuantizationError) {
        guard sums.type == .f32, tokens.type == .f32, let columns = sums.shape.last, columns > 0,
            tokens.elementCount == sums.elementCount / columns, tokens.shape.last == 1
        else { throw Self.unfit(sums, "with counts \(tokens.type.rawValue) \(tokens.shape)") }
        guard entries.count + 2 * tokens.elementCount <= 2 * limits.container.maxTensors else {
            throw .limit(
                name: "calibration_matrices", value: entries.count / 2 + tokens.elementCount,
                limit: limits.container.maxTensors, tensor: sums.name)
        }
        var counts = [Float](repeating: 0, count: tokens.elementCount)
        try source.unstage(into: &counts, count: counts.count, at: base + tokens.bytes.lowerBound)
        let module = name.before(suffix: ".weight") ?? name
        for (index, count) in counts.enumerated() {
            guard count >= 0, count <= Float(1 << 53) else {
                throw .calibration(
                    code: "calibration.not_positive", detail: "'\(tokens.name)' holds \(count) as a number of tokens.")
            }
            guard count > 0 else {
                empty += 1
                continue
            }
            let place = ImatrixNames.module(module, matrix: counts.count > 1 ? index : nil)
            let means = MeanSquares(source: source, offset: base + sums.bytes.lowerBound, count: count)
            entries.append(
                CalibrationTensor(
                    name: place + CalibrationLeaf.squareMean.rawValue, type: .f32, shape: [columns],
                    offset: index * columns * 4, storage: means))
            entries.append(
                CalibrationTensor(
                    name: place + CalibrationLeaf.count.rawValue, type: .f32, shape: [1],
                    offset: base + tokens.bytes.lowerBound + 4 * index, storage: source))
        }
    }

    private static func unfit(_ entry: TensorEntry, _ detail: String) -> QuantizationError {
        .calibration(
            code: "calibration.shape", detail: "'\(entry.name)' is \(entry.type.rawValue) \(entry.shape): \(detail).")
    }

    /// What a report says of such data.
    var notes: [String] {
        var notes = [
            "The calibration is an importance matrix of llama.cpp: it knows only the mean square of each input, so "
                + "that columns are weighed one by one (a diagonal approximation), and its root stands in for the mean "
                + "magnitude from which AWQ's scales are made."
        ]
        if empty > 0 { notes.append("No token went through \(empty) of the importance matrix's matrices.") }
        return notes
    }
}

/// Sums of squares, read as means.
final class MeanSquares: StoredBytes {
    private let source: any StoredBytes
    /// Where the sums begin, in bytes from the start of `source`.
    private let offset: Int
    private let count: Float

    init(source: any StoredBytes, offset: Int, count: Float) {
        self.source = source
        self.offset = offset
        self.count = count
    }

    /// Whole elements only: the failure of anything else is EINVAL.
    func read(into bytes: inout MutableRawSpan, at offset: Int) throws(StorageFailure) {
        guard offset % 4 == 0, bytes.byteCount % 4 == 0 else { throw StorageFailure(operation: "read", code: 22) }
        var sums = [Float](repeating: 0, count: bytes.byteCount / 4)
        var span = sums.mutableSpan
        var raw = unsafe span.mutableBytes
        try source.read(into: &raw, at: self.offset + offset)
        for index in sums.indices {
            bytes.storeBytes(
                of: (sums[index] / count).bitPattern.littleEndian, toByteOffset: 4 * index, as: UInt32.self)
        }
    }
}
