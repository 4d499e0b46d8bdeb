package import Tensors

/// The element type in which restored weights leave.
package enum RestoredElements: String, Sendable, Hashable, CaseIterable {
    case float32
    case float16
    case bfloat16
    /// For each weight the type that its library returns: the type that was sent, float32 for LLM.int8(), float16 for
    /// AWQ, but float32 where `input_scales` are divided out.
    case original

    /// The type of a weight whose library returns `returned`.
    func type(returned: RestoredType) -> RestoredType {
        switch self {
        case .float32: .f32
        case .float16: .f16
        case .bfloat16: .bf16
        case .original: returned
        }
    }
}

extension RestoredType {
    /// The type as safetensors names it.
    var elementType: ElementType {
        switch self {
        case .f32: .f32
        case .f16: .f16
        case .bf16: .bf16
        }
    }

    /// The type of scales that are stored in a weight's own type; nil for others.
    init?(exactly type: ElementType) {
        switch type {
        case .f32: self = .f32
        case .f16: self = .f16
        case .bf16: self = .bf16
        default: return nil
        }
    }
}

/// What a restoring session refuses to hold, each with its default.
package struct RestoreLimits: Sendable, Equatable {
    /// Limits of the artifact's header: the format's own for its length, since artifacts have more tensors than inputs.
    package var container = ContainerLimits()
    /// Bytes of the artifact: 16 TiB, so that every later sum fits an `Int`.
    package var maximumArtifactBytes = 1 << 44
    /// Bytes of one quant_state text; bitsandbytes writes about 170.
    package var maximumStateBytes = 4096
    /// Input columns of an AWQ weight, of which eight rows are held.
    package var maximumAWQColumns = 1 << 16
    /// Bytes of AWQ's transposed words, zeros and scales that are held at once, or those of eight rows.
    package var maximumBandBytes = 4 << 20
    /// Comparisons of characters that finding the widths of codes may take over all names.
    package var maximumGlobSteps = 1 << 28

    /// The defaults.
    package init() {
        container.maxHeaderBytes = 100_000_000
        container.maxTensors = 1_200_000
    }
}
