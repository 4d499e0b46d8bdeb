import Tensors

/// The architectures whose choice of tensors is known.
enum ArchitectureTable {
    /// Weights that the generic rule would get wrong.
    struct Exception: Sendable {
        let glob: Glob
        let isQuantized: Bool
    }

    static func exceptions(of modelType: String, in format: ArtifactFormat) -> [Exception]? {
        modelType == "llama" ? [] : nil
    }
    static func isTiedByDefault(_ modelType: String) -> Bool { false }
    static func stacksQuantizedExperts(_ modelType: String) -> Bool { false }
}
