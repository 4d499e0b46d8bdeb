package import Tensors

/// How much of an input a comparison measures, each bound with its default.
package struct SampleLimits: Sendable, Equatable {
    /// Weights that are measured.
    package var maximumTensors = 16
    /// Bytes of these weights as they were sent; a weight over its share is measured on evenly spread rows.
    package var maximumBytes = 64 << 20
    /// Rows of activations beside one weight.
    package var maximumTokens = 512
    /// What a request may raise the first two to.
    package static let mostTensors = 1024
    /// As above.
    package static let mostBytes = 256 << 20
    /// Products of one pass of AWQ's scale search over a sampled weight: about half a minute.
    package static let searchProducts = 1 << 34

    /// The defaults.
    package init() {}
}

/// The weights of an input on which recipes are compared, and which of their rows.
package struct Sample: Sendable {
    /// One tensor of the input and how many of its rows are kept.
    struct Piece: Sendable {
        /// Its place among the input's entries.
        let index: Int
        let rows: Int
        let kept: Int
        let rowBytes: Int

        /// Whether row `row` is one of the kept ones, which are spread evenly.
        func keeps(_ row: Int) -> Bool {
            kept == rows || (row + 1) * kept / rows > row * kept / rows
        }

        /// The row of the input that became row `sampled`.
        func original(_ sampled: Int) -> Int {
            kept == rows ? sampled : ((sampled + 1) * rows + kept - 1) / kept - 1
        }
    }

    /// The sample as an input of its own, without a header: the kept rows of its tensors, one behind the other.
    package let input: InputDescription
    /// Rows and columns of the measured weights as they were sent, in input order.
    package let weights: [TensorEntry]
    /// Whether all weights are measured, each with all of its rows.
    package let isWhole: Bool
    /// In input order, activations included.
    let pieces: [Piece]

    /// Elements of the measured weights.
    package var weightCount: Int {
        let names = Set(weights.map { ExactName($0.name) })
        return input.entries.filter { names.contains(ExactName($0.name)) }.reduce(0) { $0 + $1.elementCount }
    }

    /// Chooses from `whole` among the weights that one of `recipes` quantizes.
    ///
    /// - Throws: `nothingToQuantize`, and `limit` where not even one row, or no tensor in column-major order, is within
    ///   its share of the bytes.
    package init(
        of whole: InputDescription, recipes: [Recipe], limits: SampleLimits, sessionLimits: SessionLimits
    ) throws(QuantizationError) {
        var sessionLimits = sessionLimits
        sessionLimits.maximumGlobSteps /= max(1, recipes.count)
        let candidates = try Self.candidates(whole, recipes, sessionLimits)
        guard !candidates.isEmpty else {
            throw .nothingToQuantize(
                detail: "None of the \(whole.entries.count) tensors is a 2-D floating point weight to compare.")
        }
        let count = min(candidates.count, max(1, limits.maximumTensors))
        let total = candidates.reduce(0) { $0 + whole.entries[$1].bytes.count }
        let fits = count == candidates.count && total <= limits.maximumBytes
        let chosen = (0..<count).map { candidates[(2 * $0 + 1) * candidates.count / (2 * count)] }
        var pieces: [Piece] = []
        for index in chosen {
            let share = fits ? whole.entries[index].bytes.count : limits.maximumBytes / count
            pieces.append(try Self.piece(whole, index, share: share))
        }
        weights = chosen.map { whole.entries[$0] }
        isWhole = count == candidates.count && pieces.allSatisfy { $0.kept == $0.rows }
        if recipes.contains(where: \.needsActivations) {
            pieces += Self.activations(of: weights, in: whole, limits)
        }
        self.pieces = pieces.sorted { $0.index < $1.index }
        input = Self.describe(whole, self.pieces)
    }

    private static func candidates(
        _ whole: InputDescription, _ recipes: [Recipe], _ limits: SessionLimits
    ) throws(QuantizationError) -> [Int] {
        var wanted = [Bool](repeating: false, count: whole.entries.count)
        for recipe in recipes {
            let treatments = try TensorSelection(recipe).treatments(of: whole.entries, limits: limits).treatments
            for (index, treatment) in treatments.enumerated() where treatment.variant != nil { wanted[index] = true }
        }
        return wanted.indices.filter { wanted[$0] }
    }

    private static func piece(
        _ whole: InputDescription, _ index: Int, share: Int
    ) throws(QuantizationError) -> Piece {
        let entry = whole.entries[index]
        let rows = entry.shape[0]
        let rowBytes = entry.bytes.count / rows
        if entry.bytes.count <= share { return Piece(index: index, rows: rows, kept: rows, rowBytes: rowBytes) }
        let least = whole.isFortranOrder ? entry.bytes.count : rowBytes
        guard least <= share else {
            throw .limit(name: "sample_bytes", value: least, limit: share, tensor: entry.name)
        }
        var kept = share / rowBytes
        // Formats pack rows by eights, kernels tile them by 64.
        for step in [64, 8] where kept >= step {
            kept = kept / step * step
            break
        }
        return Piece(index: index, rows: rows, kept: kept, rowBytes: rowBytes)
    }

    private static func activations(
        of weights: [TensorEntry], in whole: InputDescription, _ limits: SampleLimits
    ) -> [Piece] {
        let wanted = Set(weights.map { ExactName(($0.name.before(suffix: "weight") ?? $0.name) + "activations") })
        return whole.entries.enumerated().compactMap { index, entry in
            guard wanted.contains(ExactName(entry.name)), entry.shape.count == 2, entry.elementCount > 0 else {
                return nil
            }
            let rows = entry.shape[0]
            return Piece(
                index: index, rows: rows, kept: min(rows, limits.maximumTokens), rowBytes: entry.bytes.count / rows)
        }
    }

    private static func describe(_ whole: InputDescription, _ pieces: [Piece]) -> InputDescription {
        var position = 0
        let entries = pieces.map { piece in
            let entry = whole.entries[piece.index]
            let bytes = piece.kept * piece.rowBytes
            defer { position += bytes }
            return TensorEntry(
                name: entry.name, type: entry.type, shape: [piece.kept, entry.shape[1]],
                elementCount: piece.kept * entry.shape[1], bytes: position..<position + bytes)
        }
        return whole.holding(only: entries)
    }

    /// The refusal of the sample as one of the input: an index counts the elements that were sent.
    func translated(_ error: QuantizationError, whole: InputDescription) -> QuantizationError {
        switch error {
        case .nonFinite(let tensor, let index): .nonFinite(tensor: tensor, index: original(index, tensor, whole))
        case .outOfRange(let tensor, let index, let value, let limit):
            .outOfRange(tensor: tensor, index: original(index, tensor, whole), value: value, limit: limit)
        default: error
        }
    }

    private func original(_ index: Int, _ tensor: String, _ whole: InputDescription) -> Int {
        guard let piece = pieces.first(where: { ExactName(whole.entries[$0.index].name) == ExactName(tensor) }) else {
            return index
        }
        let columns = max(1, whole.entries[piece.index].shape[1])
        return piece.original(index / columns) * columns + index % columns
    }
}

/// Keeps the bytes of a sample as those of the whole input pass.
struct SampleStage {
    private let sample: Sample
    private let whole: InputDescription
    private let storage: any ScratchStorage
    private var held: [UInt8] = []
    private var written = 0
    /// Bytes of the data buffer that have passed.
    private var position = 0
    private var next = 0

    /// How many bytes are written at once.
    private static let blockBytes = 1 << 20

    init(sample: Sample, whole: InputDescription, storage: any ScratchStorage) {
        self.sample = sample
        self.whole = whole
        self.storage = storage
    }

    mutating func consume(_ bytes: RawSpan) throws(QuantizationError) {
        guard bytes.byteCount <= whole.dataBytes - position else {
            throw .trailingBytes(expected: whole.totalBytes)
        }
        let end = position + bytes.byteCount
        while next < sample.pieces.count {
            let piece = sample.pieces[next]
            let range = whole.entries[piece.index].bytes
            let overlap = range.clamped(to: position..<end)
            if !overlap.isEmpty { try keep(piece, range, overlap, bytes) }
            guard range.upperBound <= end else { break }
            next += 1
        }
        position = end
    }

    private mutating func keep(
        _ piece: Sample.Piece, _ range: Range<Int>, _ overlap: Range<Int>, _ bytes: RawSpan
    ) throws(QuantizationError) {
        if piece.kept == piece.rows { return try append(bytes.extracting(local(overlap))) }
        let first = (overlap.lowerBound - range.lowerBound) / piece.rowBytes
        let last = (overlap.upperBound - 1 - range.lowerBound) / piece.rowBytes
        for row in first...last where piece.keeps(row) {
            let start = range.lowerBound + row * piece.rowBytes
            try append(bytes.extracting(local((start..<start + piece.rowBytes).clamped(to: overlap))))
        }
    }

    private func local(_ range: Range<Int>) -> Range<Int> { range.lowerBound - position..<range.upperBound - position }

    private mutating func append(_ bytes: RawSpan) throws(QuantizationError) {
        held.append(bytes)
        if held.count >= Self.blockBytes { try flush() }
    }

    private mutating func flush() throws(QuantizationError) {
        do {
            try storage.write(unsafe held.span.bytes, at: written)
        } catch {
            throw .storage(error)
        }
        written += held.count
        held.removeAll(keepingCapacity: true)
    }

    mutating func finish() throws(QuantizationError) {
        guard position == whole.dataBytes else {
            throw .truncated(expected: whole.totalBytes, received: whole.dataOffset + position)
        }
        try flush()
    }
}
