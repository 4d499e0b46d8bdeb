import Tensors

/// Calibration data by the module that it was captured for.
struct CalibrationIndex {
    private var modules: [ExactName: [CalibrationLeaf: CalibrationTensor]] = [:]
    /// Modules whose inputs are those of another one: from a module to the one that lends its data.
    private var aliases: [ExactName: String] = [:]
    private let limits: SessionLimits

    /// The data of an input itself and of a second one; names that are none of calibration data are passed over.
    ///
    /// `sharing` lists modules that see the very same tokens, each as `""` or ending in a dot: those without data use
    /// that of the first that has some.
    /// Throws `calibration.doubled` when both hold the same, or one holds bare names beside those of modules.
    init(
        _ tensors: [CalibrationTensor], sharing: [[String]] = [], limits: SessionLimits = SessionLimits()
    ) throws(QuantizationError) {
        self.limits = limits
        for tensor in tensors {
            guard let (module, leaf) = tensor.subject else { continue }
            guard modules[ExactName(module), default: [:]].updateValue(tensor, forKey: leaf) == nil else {
                throw .calibration(
                    code: "calibration.doubled", detail: "'\(tensor.name)' is given twice, by the input and beside it.")
            }
        }
        if modules.count > 1, let bare = modules[ExactName("")]?.values.first {
            throw .calibration(
                code: "calibration.doubled",
                detail: "'\(bare.name)' names no module, but there is data of modules beside it.")
        }
        for modules in sharing {
            guard let lender = modules.first(where: { place(of: $0) != nil }) else { continue }
            for module in modules where module != lender { aliases[ExactName(module)] = lender }
        }
    }

    /// The data for the Linear whose weight has this name and so many input columns; nil when there is none.
    ///
    /// `isLone` for the only weight of an input, which bare names mean. Throws what `LayerCalibration` finds wrong.
    func layer(
        ofWeight name: String, columns: Int, isLone: Bool = false
    ) throws(QuantizationError) -> LayerCalibration? {
        guard let (module, tensors) = data(ofWeight: name, isLone: isLone) else { return nil }
        return try LayerCalibration(module: module, columns: columns, tensors: tensors, limits: limits)
    }

    private func data(
        ofWeight name: String, isLone: Bool
    ) -> (module: String, tensors: [CalibrationLeaf: CalibrationTensor])? {
        if let module = name.module(ofLeaf: "weight") {
            let lent = aliases[ExactName(module)].flatMap { place(of: $0) }
            if let place = place(of: module) ?? lent, let tensors = modules[ExactName(place)] {
                return (place, tensors)
            }
        }
        return isLone ? modules[ExactName("")].map { ("", $0) } : nil
    }

    /// The name under which there is data of a module: its own, or that of llama.cpp.
    private func place(of module: String) -> String? {
        ([module] + ImatrixNames.modules(of: module)).first { modules[ExactName($0)] != nil }
    }
}
