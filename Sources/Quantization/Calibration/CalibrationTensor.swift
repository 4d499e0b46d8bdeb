import Tensors

/// What calibration data says about the inputs of a Linear; the raw value is the last part of its tensor's name.
enum CalibrationLeaf: String, CaseIterable {
    /// The inputs themselves, [tokens, columns].
    case activations
    /// The mean over tokens of xxᵀ, [columns, columns] or in blocks on its diagonal [columns / g, g, g].
    case gram
    /// The mean over tokens of |x|, [columns].
    case absMean = "abs_mean"
    /// The mean over tokens of x², [columns].
    case squareMean = "square_mean"
    /// How many tokens the means were taken over, a scalar or [1].
    case count

    /// Whether a tensor of that name holds calibration data.
    static func isNamed(by name: String) -> Bool { allCases.contains { name.module(ofLeaf: $0.rawValue) != nil } }
}

/// A tensor of calibration data and where its elements lie: row-major, little-endian.
struct CalibrationTensor {
    /// Its name where it came from, for errors: `<module>.<leaf>`.
    let name: String
    let type: ElementType
    /// Slowest dimension first; empty for a scalar.
    let shape: [Int]
    /// Bytes from the start of `storage`.
    let offset: Int
    let storage: any StoredBytes

    init(name: String, type: ElementType, shape: [Int], offset: Int, storage: any StoredBytes) {
        self.name = name
        self.type = type
        self.shape = shape
        self.offset = offset
        self.storage = storage
    }

    /// The tensor that an entry of a header describes, `base` bytes in front of the data of that header's tensors.
    init(_ entry: TensorEntry, base: Int, storage: any StoredBytes) {
        self.init(
            name: entry.name, type: entry.type, shape: entry.shape, offset: base + entry.bytes.lowerBound,
            storage: storage)
    }

    /// The tensor as rows and columns; nil for one that is no matrix.
    var matrix: StagedTensor? {
        shape.count == 2 ? StagedTensor(type: type, rows: shape[0], columns: shape[1], offset: offset) : nil
    }

    /// The module, `""` or ending in a dot, and what is said of it; nil for a name that is none of calibration data.
    var subject: (module: String, leaf: CalibrationLeaf)? {
        for leaf in CalibrationLeaf.allCases {
            if let module = name.module(ofLeaf: leaf.rawValue) { return (module, leaf) }
        }
        return nil
    }
}

/// How much is known of a Linear's inputs, ascending.
enum Knowledge: Hashable, Comparable {
    /// Nothing: codes are rounded to nearest.
    case none
    /// The mean square, or the mean magnitude, of each column alone.
    case channels
    /// Products of columns within blocks of so many on the diagonal.
    case blocks(Int)
    /// Products of all columns.
    case gram
    /// The inputs of single tokens.
    case activations
}
