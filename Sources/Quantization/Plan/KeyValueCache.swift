/// What the attention layers of a model keep of each token while it generates.
package struct KeyValueCache: Sendable, Equatable {
    /// Layers that keep the same of each token.
    package struct Layers: Sendable, Equatable {
        /// How many layers.
        package let count: Int
        /// Values of one token in one layer: keys and values of all heads, or the one latent vector of MLA.
        package let valuesPerToken: Int
        /// Tokens that the layer looks back at most; nil for all.
        package let window: Int?

        /// Describes `count` layers.
        package init(count: Int, valuesPerToken: Int, window: Int? = nil) {
            self.count = count
            self.valuesPerToken = valuesPerToken
            self.window = window
        }
    }

    /// How a value is stored.
    package enum Element: String, Sendable, CaseIterable {
        case float16, bfloat16, float32, fp8

        /// Bytes of one value.
        package var width: Int {
            switch self {
            case .float16, .bfloat16: 2
            case .float32: 4
            case .fp8: 1
            }
        }
    }

    /// What a plan counts with.
    package struct Use: Sendable, Equatable {
        /// Tokens of one sequence.
        package let context: Int
        /// Sequences at once.
        package let batch: Int
        /// The stored type.
        package let element: Element

        /// The longest context and the largest batch that a plan counts with.
        package static let maximum = 1 << 30

        /// `batch` sequences of `context` tokens.
        package init(context: Int, batch: Int = 1, element: Element = .float16) {
            self.context = context
            self.batch = batch
            self.element = element
        }
    }

    /// The layers, those with the same needs together.
    package let layers: [Layers]

    /// A cache of these layers.
    package init(layers: [Layers]) {
        self.layers = layers
    }

    /// A cache whose layers are all alike.
    package init(layers: Int, valuesPerToken: Int, window: Int? = nil) {
        self.init(layers: [Layers(count: layers, valuesPerToken: valuesPerToken, window: window)])
    }

    /// Σ layers · values · tokens · batch · width, the tokens of a layer bounded by its window; nil beyond 63 bits.
    package func bytes(_ use: Use) -> Int? {
        var total = 0
        for group in layers {
            var bytes = group.count
            for factor in [group.valuesPerToken, min(use.context, group.window ?? .max), use.batch, use.element.width] {
                let (product, overflow) = bytes.multipliedReportingOverflow(by: factor)
                guard !overflow else { return nil }
                bytes = product
            }
            let (sum, overflow) = total.addingReportingOverflow(bytes)
            guard !overflow else { return nil }
            total = sum
        }
        return total
    }
}
