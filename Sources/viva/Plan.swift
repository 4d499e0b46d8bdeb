import ArgumentParser
import VivaService

/// `viva plan`.
struct Plan: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say how large a model becomes, and which graphics cards hold it.",
        discussion: """
            Of a file or a folder only the headers are read, and the bytes are exact.
              viva plan 13B --gpu rtx-4090
              viva plan model.safetensors --methods nf4
              viva plan MODEL_DIR --context 8192 --option group_size=64
            """)

    @Argument(
        help: "A safetensors or npy file, a model's folder, or a size: 7B, 13B, 30B, 70B (LLaMA), any number.")
    var target: String

    @Option(help: "Only this card, for instance rtx-4090.")
    var gpu: String?

    @OptionGroup var recipes: RecipeChoice

    @Option(help: "Count the KV cache of this many tokens; the layers come from config.json.")
    var context: Int?

    @Option(help: "Sequences at once in the KV cache (default 1).")
    var batch: Int?

    @Option(help: "Type of the KV cache: float16 (default), bfloat16, float32 or fp8.")
    var kvDtype: String?

    @Option(help: "The model's config.json; that beside the weights without it.")
    var config: String?

    @Flag(help: "Print the answer of POST /v1/plan.")
    var json = false

    func run() throws {
        let given: [(String, String?)] = [
            ("gpu", gpu), ("context", context.map(String.init)), ("batch", batch.map(String.init)),
            ("kv_dtype", kvDtype),
        ]
        let options = given.compactMap { name, value in value.map { (name, $0) } } + (try recipes.items)
        print(try PlanCommand(target: target, options: options, configuration: config, isJSON: json).run())
    }
}

/// Which recipes a plan or a comparison looks at: all that these leave open.
struct RecipeChoice: ParsableArguments {
    // A list; of one method people say `--method`, as they do to quantize.
    @Option(
        name: [.customLong("methods"), .customLong("method")], help: "Only these methods, for instance nf4,int8.")
    var methods: String?

    @Option(help: "Only this format: bitsandbytes, compressed-tensors, awq or mlx.")
    var format: String?

    @Option(help: "Any option of the contract as NAME=VALUE, for instance group_size=64 (repeatable).")
    var option: [String] = []

    /// By the names of the contract.
    var items: [(String, String)] {
        get throws {
            [("methods", methods), ("format", format)].compactMap { name, value in value.map { (name, $0) } }
                + (try NamedOption.parse(option))
        }
    }
}

/// Options of the contract that have no flag of their own.
enum NamedOption {
    /// Splits each `NAME=VALUE`.
    static func parse(_ options: [String]) throws -> [(String, String)] {
        try options.map { option in
            guard let equals = option.firstIndex(of: "="), equals != option.startIndex else {
                throw ValidationError("--option '\(option)' is not NAME=VALUE")
            }
            return (String(option[..<equals]), String(option[option.index(after: equals)...]))
        }
    }
}
