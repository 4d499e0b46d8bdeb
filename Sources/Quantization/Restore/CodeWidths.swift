import Tensors

/// How many bits a code has where the shapes of the parts leave it open: MLX's words of 4 bits in groups of 64 look
/// like words of 8 bits in groups of 32. Its own readers ask config.json.
struct CodeWidths {
    /// What the caller said of all weights.
    let stated: Int?
    /// The recipe in the metadata of an artifact that this engine made.
    private let recipe: JSONValue?
    private let limits: RestoreLimits

    init(stated: Int?, metadata: [MetadataItem], limits: RestoreLimits) {
        self.stated = stated
        self.limits = limits
        let provenance = metadata.first { $0.name == "viva" }.flatMap { try? JSONValue.parse(text: $0.value) }
        recipe = provenance?["recipe"]
    }

    /// The width of the codes of `name` among those that its shapes allow.
    func bits(of name: String, among fitting: [Int], supported: [Int]) throws(QuantizationError) -> Int {
        var said = stated
        if said == nil { said = try recipeBits(of: name) }
        if let said {
            guard fitting.contains(said), supported.contains(said) else {
                throw .artifact(
                    code: "artifact.part_mismatch",
                    detail: "'\(name)' is said to have codes of \(said) bits; its shapes allow \(fitting).",
                    tensor: name)
            }
            return said
        }
        guard let only = fitting.first, fitting.count == 1, supported.contains(only) else {
            throw .artifact(
                code: "artifact.width_unknown",
                detail: "The shapes of '\(name)' allow codes of \(fitting.map(String.init).joined(separator: " or ")) "
                    + "bits, and nothing in the file says which; say bits=4 or bits=8.",
                tensor: name)
        }
        return only
    }

    /// What the recipe made of a tensor: the method of the first override that matches it, or its own.
    private func recipeBits(of name: String) throws(QuantizationError) -> Int? {
        guard let recipe else { return nil }
        var steps = 0
        if case .array(let overrides)? = recipe["overrides"] {
            for override in overrides {
                guard let match = override["match"]?.string else { continue }
                let isMatch = Glob(match).matches(name, steps: &steps)
                guard steps <= limits.maximumGlobSteps else {
                    throw .limit(name: "glob_steps", value: steps, limit: limits.maximumGlobSteps, tensor: name)
                }
                if isMatch { return Self.bits(override["recipe"]?["method"]?.string) }
            }
        }
        return Self.bits(recipe["method"]?.string)
    }

    private static func bits(_ method: String?) -> Int? { method.flatMap { Method(rawValue: $0)?.codeBits } }
}
