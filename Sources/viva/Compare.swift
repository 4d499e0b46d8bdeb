import ArgumentParser
import VivaService

/// `viva compare`.
struct Compare: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Quantize a file's weights in every way and say what each costs and loses.",
        discussion: """
            Of a large file a sample is measured; the bytes are always those of the
            whole file. An asterisk marks the Pareto front of size and loss.
              viva compare model.safetensors --methods nf4,int4
              viva compare w.bin --dtype float32 --shape 4096,4096
            """)

    @Argument(help: "A safetensors or npy file, raw bytes with --dtype and --shape, or - for standard input.")
    var input: String

    @OptionGroup var recipes: RecipeChoice

    @Option(help: "Only the tensors of this glob (repeatable).")
    var include: [String] = []

    @Option(help: "Not the tensors of this glob (repeatable).")
    var exclude: [String] = []

    @Option(help: "Most weights that are measured (default 16).")
    var sampleTensors: Int?

    @Option(help: "Most bytes that are measured (default 67108864).")
    var sampleBytes: Int?

    @Option(help: "Element type of raw bytes: float64, float32, float16, bfloat16, float8_e4m3fn or float8_e5m2.")
    var dtype: String?

    @Option(help: "Shape of raw bytes, for instance 4096,4096.")
    var shape: String?

    @Flag(help: "Print the answer of POST /v1/compare.")
    var json = false

    func run() throws {
        let given: [(String, String?)] = [
            ("sample_tensors", sampleTensors.map(String.init)), ("sample_bytes", sampleBytes.map(String.init)),
            ("dtype", dtype), ("shape", shape),
        ]
        var options = given.compactMap { name, value in value.map { (name, $0) } } + (try recipes.items)
        options += include.map { ("include", $0) } + exclude.map { ("exclude", $0) }
        print(try CompareCommand(path: input, options: options, isJSON: json).run())
    }
}
