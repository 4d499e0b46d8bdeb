/// The library that will read the artifact, for people who do not know formats.
package enum Target: String, Sendable, Hashable, CaseIterable {
    /// transformers 5.23 with bitsandbytes, compressed-tensors or gptqmodel.
    case transformers
    /// vLLM.
    case vllm
    /// mlx-lm.
    case mlx
}

extension Method {
    /// The formats in which `target` reads the method, the best first; empty where it reads none.
    package func formats(for target: Target) -> [ArtifactFormat] {
        switch (target, self) {
        case (.transformers, .int8): [.bitsandbytes, .compressedTensors]
        case (.vllm, .int8): [.compressedTensors, .bitsandbytes]
        case (.transformers, .int4), (.vllm, .int4): [.compressedTensors, .awq]
        case (.mlx, .int8), (.mlx, .int4): [.mlx]
        case (.mlx, _): []
        case (_, .nf4), (_, .fp8), (_, .awq): formats
        }
    }
}

extension Target {
    /// The methods that the library reads in some format.
    package var methods: [Method] { Method.allCases.filter { !$0.formats(for: self).isEmpty } }

    /// The format that a request means: the one it names, the target's, or the method's own.
    static func format(
        of method: Method, named format: ArtifactFormat?, for target: Target?
    ) throws(QuantizationError) -> ArtifactFormat {
        guard let target else { return format ?? method.formats[0] }
        let formats = method.formats(for: target)
        let name = target.rawValue
        guard let best = formats.first else {
            let known = target.methods.map { "method=\($0.rawValue)" }.joined(separator: " or ")
            throw .recipe(
                code: "recipe.target_mismatch",
                detail: "target=\(name) does not read method \(method.rawValue); it reads \(known).")
        }
        guard let format else { return best }
        guard formats.contains(format) else {
            let known = formats.map(\.rawValue).joined(separator: " or ")
            throw .recipe(
                code: "recipe.target_mismatch",
                detail: "target=\(name) does not read \(method.rawValue) as \(format.rawValue); it reads \(known).")
        }
        return format
    }
}

extension ArtifactFormat {
    /// Who reads the format where nobody was named.
    var usualReader: Target {
        switch self {
        case .bitsandbytes: .transformers
        case .compressedTensors, .awq: .vllm
        case .mlx: .mlx
        }
    }
}

extension Recipe {
    /// Who reads the artifact: the target that was named, or the format's usual reader.
    package var reader: Target { target ?? format.usualReader }

    /// The architecture's part of the canonical form; without an architecture the reader chooses nothing.
    var architectureMembers: [(String, String)] {
        guard let architecture else { return [] }
        var members = [("model_type", quoted(architecture.modelType)), ("target", quoted(reader.rawValue))]
        if let isTied = architecture.isTied { members.append(("tied", "\(isTied)")) }
        return members
    }
}
