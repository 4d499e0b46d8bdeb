import FoundationEssentials

/// A stored report as the page reads it: the same JSON that clients read is its one source.
struct ReportDocument: Decodable, Sendable {
    let totals: Totals
    /// Reports of earlier versions have none.
    let errorHistogram: Histogram?
    let worstTensors: [WorstTensor]
    let warnings: [String]
    /// In file order; none where the report was too long to be read whole.
    let tensors: [Tensor]

    enum CodingKeys: String, CodingKey {
        case totals, warnings, tensors
        case errorHistogram = "error_histogram"
        case worstTensors = "worst_tensors"
    }

    struct Figures: Decodable, Sendable {
        let sqnr: Double?
        let isExact: Bool?
        let rmse: Double?
        let mae: Double?
        let maximumError: Double?
        let limit: Double?
        let uniformLimit: Double?

        enum CodingKeys: String, CodingKey {
            case rmse, mae
            case sqnr = "sqnr_db"
            case isExact = "exact"
            case maximumError = "max_abs_error"
            case limit = "sqnr_limit_db"
            case uniformLimit = "uniform_limit_db"
        }

        /// SQNR in dB, or why there is none.
        var sqnrText: String { sqnr.map { Quantity.decibels($0) } ?? (isExact == true ? "exact" : "–") }
    }

    struct Totals: Decodable, Sendable {
        let tensors: Int
        let quantizedTensors: Int
        let weights: Int
        let quantizedWeights: Int
        let inputBytes: Int
        let artifactBytes: Int
        let bitsPerWeight: Double
        let compressionAgainstFloat32: Double
        let figures: Figures

        private enum CodingKeys: String, CodingKey {
            case tensors, weights
            case quantizedTensors = "quantized_tensors"
            case quantizedWeights = "quantized_weights"
            case inputBytes = "input_bytes"
            case artifactBytes = "artifact_bytes"
            case bitsPerWeight = "bits_per_weight"
            case compressionAgainstFloat32 = "compression_ratio_fp32"
        }

        init(from decoder: any Decoder) throws {
            let members = try decoder.container(keyedBy: CodingKeys.self)
            tensors = try members.decode(Int.self, forKey: .tensors)
            quantizedTensors = try members.decode(Int.self, forKey: .quantizedTensors)
            weights = try members.decode(Int.self, forKey: .weights)
            quantizedWeights = try members.decode(Int.self, forKey: .quantizedWeights)
            inputBytes = try members.decode(Int.self, forKey: .inputBytes)
            artifactBytes = try members.decode(Int.self, forKey: .artifactBytes)
            bitsPerWeight = try members.decode(Double.self, forKey: .bitsPerWeight)
            compressionAgainstFloat32 = try members.decode(Double.self, forKey: .compressionAgainstFloat32)
            figures = try Figures(from: decoder)
        }
    }

    struct Histogram: Decodable, Sendable {
        let unchanged: Int
        let edges: [Double]
        let counts: [Int]
        let isBeforeDoubleQuantization: Bool?

        enum CodingKeys: String, CodingKey {
            case unchanged, edges, counts
            case isBeforeDoubleQuantization = "before_double_quantization"
        }
    }

    struct WorstTensor: Decodable, Sendable {
        let name: String
        let sqnr: Double

        enum CodingKeys: String, CodingKey {
            case name
            case sqnr = "sqnr_db"
        }
    }

    struct Tensor: Decodable, Sendable {
        let name: String
        let shape: [Int]
        let type: String
        let bytesBefore: Int
        let bytesAfter: Int
        let isQuantized: Bool
        /// The method of an override; nil where the tensor went by the artifact's own.
        let method: String?
        let upperBounds: [String]
        let calibration: Calibration?
        let outputError: OutputError?
        let figures: Figures

        private enum CodingKeys: String, CodingKey {
            case name, shape, method, calibration
            case type = "dtype"
            case bytesBefore = "bytes_before"
            case bytesAfter = "bytes_after"
            case isQuantized = "quantized"
            case upperBounds = "upper_bounds"
            case outputError = "output_error"
        }

        init(from decoder: any Decoder) throws {
            let members = try decoder.container(keyedBy: CodingKeys.self)
            name = try members.decode(String.self, forKey: .name)
            shape = try members.decode([Int].self, forKey: .shape)
            type = try members.decode(String.self, forKey: .type)
            bytesBefore = try members.decode(Int.self, forKey: .bytesBefore)
            bytesAfter = try members.decode(Int.self, forKey: .bytesAfter)
            isQuantized = try members.decode(Bool.self, forKey: .isQuantized)
            method = try members.decodeIfPresent(String.self, forKey: .method)
            upperBounds = try members.decodeIfPresent([String].self, forKey: .upperBounds) ?? []
            calibration = try members.decodeIfPresent(Calibration.self, forKey: .calibration)
            outputError = try members.decodeIfPresent(OutputError.self, forKey: .outputError)
            figures = try Figures(from: decoder)
        }
    }
}

extension ReportDocument {
    /// The data that a tensor's codes were chosen by.
    struct Calibration: Decodable, Sendable {
        let knowledge: String
        let coverage: Double?
    }

    /// What became of a layer's output.
    struct OutputError: Decodable, Sendable {
        let sqnr: Double?
        let gainOverNearest: Double?
        let gainOverAWQ: Double?
        let isHeldOut: Bool

        enum CodingKeys: String, CodingKey {
            case sqnr = "sqnr_db"
            case gainOverNearest = "versus_round_to_nearest_db"
            case gainOverAWQ = "versus_awq_db"
            case isHeldOut = "held_out"
        }
    }

    /// The most bytes of a report that a page is made from; of a longer one the tensors are left out.
    static let maximumBytes = 8 << 20
    /// Memory that a byte of a report or a manifest costs while a page is made of it: 8.5 were measured.
    static let memoryForByte = 10
    /// What stands before the list of tensors, and nowhere else: JSON has no line ends inside of texts.
    private static let tensorsBegin = Array("\n  \"tensors\": [".utf8)

    /// Reads the first `maximumBytes` of a report of `length` bytes.
    init(_ bytes: [UInt8], length: Int) throws {
        guard bytes.count < length else {
            self = try JSONDecoder().decode(Self.self, from: Data(bytes))
            return
        }
        var head = bytes
        if let end = bytes.firstRange(of: Self.tensorsBegin)?.upperBound { head.removeSubrange(end...) }
        self = try JSONDecoder().decode(Self.self, from: Data(head + Array("]}".utf8)))
    }
}
