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
    /// One tensor of the input and how much of it is kept: evenly spread bands of rows, mostly of one row each.
    struct Piece: Sendable {
        /// Its place among the input's entries.
        let index: Int
        let rows: Int
        let rowBytes: Int
        /// Rows of one band: 128 where blocks of 128x128 share a scale.
        let bandRows: Int
        /// Bands in all and kept; the last band may be short, and is kept.
        let bands: Int
        let kept: Int

        init(_ index: Int, _ entry: TensorEntry, bandRows: Int = 1, kept: Int? = nil) {
            self.index = index
            rows = entry.shape[0]
            rowBytes = entry.bytes.count / entry.shape[0]
            self.bandRows = bandRows
            bands = (rows - 1) / bandRows + 1
            self.kept = min(bands, kept ?? bands)
        }

        /// Rows that are kept.
        var keptRows: Int { kept * bandRows - (bands * bandRows - rows) }

        /// Whether a band is one of the kept ones.
        func keeps(_ band: Int) -> Bool { keptBefore(band + 1) > keptBefore(band) }

        /// ⌊band · kept / bands⌋, in full width: both factors come from a client.
        private func keptBefore(_ band: Int) -> Int {
            bands.dividingFullWidth(band.multipliedFullWidth(by: kept)).quotient
        }

        /// The row of the input that became row `sampled`.
        func original(_ sampled: Int) -> Int {
            let place = sampled / bandRows + 1
            let (quotient, remainder) = kept.dividingFullWidth(place.multipliedFullWidth(by: bands))
            return (quotient - (remainder == 0 ? 1 : 0)) * bandRows + sampled % bandRows
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
            let selection = recipes.first.map { TensorSelection($0) }
            throw .nothingToQuantize(
                detail: selection?.reasonForNothing(whole.entries, []) ?? "There is no recipe to compare.")
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
        isWhole = count == candidates.count && pieces.allSatisfy { $0.kept == $0.bands }
        pieces += Self.scales(of: pieces, in: whole)
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
        if entry.bytes.count <= share { return Piece(index, entry) }
        let bandRows = entry.isFortranOrder ? entry.shape[0] : entry.isFP8 ? BlockScaling.side : 1
        let bandBytes = min(entry.shape[0], bandRows) * (entry.bytes.count / entry.shape[0])
        guard bandBytes <= share else {
            throw .limit(name: "sample_bytes", value: bandBytes, limit: share, tensor: entry.name)
        }
        var kept = share / bandBytes
        // Formats pack rows by eights, kernels tile them by 64.
        for step in [64, 8] where kept * bandRows >= step {
            kept = kept / step * step == 0 ? kept : kept / step * step
            break
        }
        return Piece(index, entry, bandRows: bandRows, kept: kept)
    }

    /// The block scales of FP8 weights: one row of them for each band of the weight.
    private static func scales(of pieces: [Piece], in whole: InputDescription) -> [Piece] {
        let names = BlockScaling.names(in: whole.entries)
        var kept: [ExactName: Int] = [:]
        for piece in pieces {
            let entry = whole.entries[piece.index]
            guard entry.isFP8 else { continue }
            kept[ExactName(BlockScaling.scalesName(of: entry))] = piece.bandRows == 1 ? .max : piece.kept
        }
        return whole.entries.enumerated().compactMap { index, entry in
            let name = ExactName(entry.name)
            guard names.contains(name), let kept = kept[name], entry.shape.count == 2, entry.elementCount > 0 else {
                return nil
            }
            return Piece(index, entry, kept: kept)
        }
    }

    private static func activations(
        of weights: [TensorEntry], in whole: InputDescription, _ limits: SampleLimits
    ) -> [Piece] {
        let wanted = Set(weights.map { ExactName(($0.name.before(suffix: "weight") ?? $0.name) + "activations") })
        return whole.entries.enumerated().compactMap { index, entry in
            guard wanted.contains(ExactName(entry.name)), entry.shape.count == 2, entry.elementCount > 0 else {
                return nil
            }
            return Piece(index, entry, kept: entry.isFortranOrder ? nil : limits.maximumTokens)
        }
    }

    private static func describe(_ whole: InputDescription, _ pieces: [Piece]) -> InputDescription {
        var position = 0
        let entries = pieces.map { piece in
            let entry = whole.entries[piece.index]
            let bytes = piece.keptRows * piece.rowBytes
            defer { position += bytes }
            return TensorEntry(
                name: entry.name, type: entry.type, shape: [piece.keptRows, entry.shape[1]],
                elementCount: piece.keptRows * entry.shape[1], bytes: position..<position + bytes,
                isFortranOrder: entry.isFortranOrder, isBigEndian: entry.isBigEndian)
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
        if piece.kept == piece.bands { return try append(bytes.extracting(local(overlap))) }
        let bandBytes = piece.bandRows * piece.rowBytes
        let first = (overlap.lowerBound - range.lowerBound) / bandBytes
        let last = (overlap.upperBound - 1 - range.lowerBound) / bandBytes
        for band in first...last where piece.keeps(band) {
            let start = range.lowerBound + band * bandBytes
            try append(bytes.extracting(local((start..<start + bandBytes).clamped(to: overlap))))
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
