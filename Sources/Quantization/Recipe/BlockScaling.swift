import Tensors

/// Which tensors hold the scales of FP8 weights.
///
/// DeepSeek-V3 and the models after it ship a weight `x` of F8_E4M3 with `x_scale_inv` beside it: a factor for each
/// block of 128×128 weights. Source: `fp8_cast_bf16.py` of DeepSeek-V3, `FineGrainedFP8Config` of transformers 5.23.
struct BlockScaling: Sendable, Equatable {
    /// Rows and columns of one block.
    static let side = 128
    /// What follows the weight's name in that of its scales.
    private static let suffix = "_scale_inv"
    /// Names that other writers give the scales of an FP8 weight, in place of `weight`: what they mean differs, and
    /// without them the weights are garbage.
    private static let foreignNames = ["weight_scale", "scale_weight", "scale"]

    /// For the index of a weight that of its scales.
    let scalesOfWeights: [Int: Int]
    private let scales: Set<Int>

    /// Pairs the FP8 weights that are quantized with their scales, which are then read and not written; the scales of
    /// others are copied with them.
    ///
    /// - Throws: `scales` for scales of another writer, of a type that is not F32 or BF16, or of a wrong shape, and for
    ///   a weight without any among others that have them.
    init(_ entries: [TensorEntry], _ treatments: inout [Treatment]) throws(QuantizationError) {
        var pairs: [Int: Int] = [:]
        let isFP8 = zip(entries, treatments).map { $0.isFP8 && $1.variant != nil }
        if isFP8.contains(true) {
            let places = Dictionary(
                entries.enumerated().map { (ExactName($1.name), $0) }, uniquingKeysWith: { first, _ in first })
            for (index, entry) in entries.enumerated() where isFP8[index] {
                try Self.refuseForeign(entry, places)
                guard let scales = places[ExactName(entry.name + Self.suffix)] else { continue }
                try Self.check(entries[scales], of: entry)
                pairs[index] = scales
                treatments[scales] = .calibration
            }
            try Self.refuseMissing(
                zip(entries.indices, isFP8).filter { $1 && pairs[$0] == nil }.map { entries[$0.0] }, pairs)
        }
        scalesOfWeights = pairs
        scales = Set(pairs.values)
    }

    /// Whether the tensor at `index` holds the scales of a weight that is quantized.
    func holdsScales(_ index: Int) -> Bool { scales.contains(index) }

    /// The names of all tensors that hold the scales of an FP8 weight; they are no weights themselves.
    static func names(in entries: [TensorEntry]) -> Set<ExactName> {
        Set(entries.lazy.filter(\.isFP8).map { ExactName(scalesName(of: $0)) })
    }

    /// The name that the scales of an FP8 weight have.
    static func scalesName(of weight: TensorEntry) -> String { weight.name + suffix }

    /// Without scales a weight is what its codes say; but where others have them it once had its own.
    private static func refuseMissing(_ bare: [TensorEntry], _ pairs: [Int: Int]) throws(QuantizationError) {
        guard let entry = bare.first, !pairs.isEmpty else { return }
        throw .scales(
            code: "fp8.scale_missing", tensor: entry.name,
            detail: "There is no '\(entry.name)\(suffix)', and other FP8 weights beside '\(entry.name)' have scales: "
                + "they may be in another shard.")
    }

    private static func refuseForeign(_ entry: TensorEntry, _ places: [ExactName: Int]) throws(QuantizationError) {
        guard let module = entry.name.module(ofLeaf: "weight") else { return }
        for leaf in foreignNames where places[ExactName(module + leaf)] != nil {
            throw .scales(
                code: "fp8.scale_unknown", tensor: module + leaf,
                detail: "'\(module)\(leaf)' scales '\(entry.name)' in a way that is not read; known are scales of "
                    + "128x128 blocks called '\(entry.name)\(suffix)'. Restore the checkpoint to BF16 first.")
        }
    }

    private static func check(_ scales: TensorEntry, of weight: TensorEntry) throws(QuantizationError) {
        guard scales.type == .f32 || scales.type == .bf16 else {
            throw .scales(
                code: "fp8.scale_type", tensor: scales.name,
                detail: "'\(scales.name)' is \(scales.type.rawValue), expected F32 or BF16.")
        }
        let shape = weight.shape.map { ($0 - 1) / side + 1 }
        guard scales.shape == shape else {
            throw .scales(
                code: "fp8.scale_shape", tensor: scales.name,
                detail: "'\(scales.name)' is \(scales.shape), expected \(shape): a scale for each block of 128x128 of "
                    + "'\(weight.name)' \(weight.shape).")
        }
    }
}

extension TensorEntry {
    /// Whether the elements are of one of the two 8-bit types that weights have.
    var isFP8: Bool { type == .f8E4M3 || type == .f8E5M2 }

    /// The tensor as encoders see it: FP8 is widened to BF16 before it reaches them.
    var widened: TensorEntry {
        guard isFP8 else { return self }
        return TensorEntry(
            name: name, type: .bf16, shape: shape, elementCount: elementCount,
            bytes: bytes.lowerBound..<bytes.lowerBound + elementCount * 2, isFortranOrder: isFortranOrder,
            isBigEndian: isBigEndian)
    }
}
