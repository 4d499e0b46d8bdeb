import Tensors

/// The calibration data of one Linear, its shapes and types checked; the values are checked by who reads them.
struct LayerCalibration {
    /// The module that the data was captured for: `""` or ending in a dot. Linears that share an input share the data.
    let module: String
    /// Input columns of the Linear.
    let columns: Int
    var activations: CalibrationTensor?
    var gram: CalibrationTensor?
    var absMean: CalibrationTensor?
    var squareMean: CalibrationTensor?
    var count: CalibrationTensor?

    /// The most that the data says.
    var knowledge: Knowledge {
        if activations != nil { return .activations }
        if let gram {
            if gram.shape.count == 2 || gram.shape[0] == 1 { return .gram }
            return .blocks(gram.shape[1])
        }
        return squareMean != nil || absMean != nil ? .channels : .none
    }
}

extension LayerCalibration {
    /// Checks everything that headers say of the data of a Linear with `columns` inputs.
    ///
    /// Throws `calibration.width`, `calibration.empty`, `calibration.type`, `calibration.shape`,
    /// `calibration.gram_shape`, and the limit `calibration_tokens`.
    init(
        module: String, columns: Int, tensors: [CalibrationLeaf: CalibrationTensor], limits: SessionLimits
    ) throws(QuantizationError) {
        self.module = module
        self.columns = columns
        activations = tensors[.activations]
        gram = tensors[.gram]
        absMean = tensors[.absMean]
        squareMean = tensors[.squareMean]
        count = tensors[.count]
        for tensor in [activations, gram, absMean, squareMean] {
            if let tensor { try Self.check(tensor, isOneOf: [.f64, .f32, .f16, .bf16]) }
        }
        if let activations { try check(activations: activations, limits) }
        if let gram { try check(gram: gram) }
        for mean in [absMean, squareMean] {
            guard let mean else { continue }
            try Self.check(mean, mean.shape.count == 1, "shape", "expected [\(columns)], one mean for each input")
            try checkWidth(mean.shape[0], of: mean)
        }
        if let count {
            try Self.check(count, isOneOf: [.f64, .f32, .i64, .i32])
            try Self.check(count, count.shape.isEmpty || count.shape == [1], "shape", "expected a scalar or [1]")
        }
    }

    private func check(activations: CalibrationTensor, _ limits: SessionLimits) throws(QuantizationError) {
        let shape = activations.shape
        try Self.check(activations, shape.count == 2, "shape", "expected [tokens, \(columns)]")
        try checkWidth(shape[1], of: activations)
        try Self.check(activations, shape[0] > 0, "empty", "there is no token in it")
        guard shape[0] <= limits.maximumCalibrationTokens else {
            throw .limit(
                name: "calibration_tokens", value: shape[0], limit: limits.maximumCalibrationTokens,
                tensor: activations.name)
        }
    }

    private func check(gram: CalibrationTensor) throws(QuantizationError) {
        let wanted = "expected [\(columns), \(columns)], or blocks of g inputs [\(columns) / g, g, g]"
        let shape = gram.shape
        guard shape.count == 2 || shape.count == 3 else {
            return try Self.check(gram, false, "gram_shape", wanted)
        }
        let size = shape[shape.count - 1]
        try Self.check(gram, size == shape[shape.count - 2], "gram_shape", wanted)
        if shape.count == 2 { return try checkWidth(size, of: gram) }
        let (width, overflow) = shape[0].multipliedReportingOverflow(by: size)
        try checkWidth(overflow ? .max : width, of: gram)
    }

    private func checkWidth(_ width: Int, of tensor: CalibrationTensor) throws(QuantizationError) {
        let detail = "it is about \(width) inputs, the weight has \(columns)"
        try Self.check(tensor, width == columns, "width", detail)
    }

    private static func check(
        _ tensor: CalibrationTensor, isOneOf types: [ElementType]
    ) throws(QuantizationError) {
        let names = types.map(\.rawValue).joined(separator: ", ")
        try check(tensor, types.contains(tensor.type), "type", "its elements must be one of \(names)")
    }

    private static func check(
        _ tensor: CalibrationTensor, _ isRight: Bool, _ code: String, _ detail: String
    ) throws(QuantizationError) {
        if isRight { return }
        let found = "'\(tensor.name)' is \(tensor.type.rawValue) \(tensor.shape)"
        throw .calibration(code: "calibration.\(code)", detail: "\(found): \(detail).")
    }
}
