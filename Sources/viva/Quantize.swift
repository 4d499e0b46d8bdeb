import ArgumentParser
import VivaService

/// `viva quantize`: the same session without a server.
struct Quantize: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Quantize a file or a model's folder without a server.",
        discussion: """
            Reads safetensors, npy or npz; raw bytes with --dtype and --shape; '-' is
            standard input. From a folder with a config.json it makes a new folder that
            the target library loads.
              viva quantize ./Llama-3.2-1B --method nf4 -o ./Llama-3.2-1B-nf4
              viva quantize ./Llama-3.2-1B --method int4 --target vllm -o ./Llama-w4a16
              viva quantize ./Llama-3.2-1B --method awq --calibration imatrix.gguf -o ./awq
              viva quantize model.safetensors --method nf4 -o model.nf4.safetensors
              viva quantize w.bin --dtype float32 --shape 512,512 --method int8 -o w.int8
            """)

    @Argument(help: "The input file, a model's folder, or - for standard input.")
    var input: String

    @Option(help: "int8, nf4, int4, fp8 or awq; with a budget it is chosen for each tensor.")
    var method: String?

    @Option(help: "bitsandbytes, compressed-tensors, awq or mlx; the method's own by default.")
    var format: String?

    @Option(help: "Who will read it, instead of a format: transformers, vllm or mlx.")
    var target: String?

    @Option(help: "A file's architecture as config.json names it, llama for instance; a folder says it itself.")
    var modelType: String?

    @Option(help: "With --model-type: whether the output head is the embedding, true or false.")
    var tied: String?

    @Option(help: "INT8 as compressed-tensors: W8A16, or W8A8, the default with --target vllm.")
    var scheme: String?

    @Option(name: .shortAndLong, help: "The file or folder to write; it appears whole or not at all.")
    var output: String

    @Option(
        help: "NF4, INT4, FP8, AWQ: best (default, less error in the same format) or reference (the library's bytes).")
    var mode: String?

    @Option(help: "NF4: weights that share a scale, 32 to 4096 (default 64).")
    var blockSize: Int?

    @Option(help: "NF4: quantize the scales too, true or false (default true).")
    var doubleQuant: String?

    @Option(
        parsing: .unconditional,
        help: "AWQ, INT4, INT8: columns that share a scale, 32, 64, 128 or -1 for a row (default 128; MLX 64; INT8 -1)."
    )
    var groupSize: Int?

    @Option(help: "AWQ with data: fold (default where the architecture is known), none, or keep: store them.")
    var scaling: String?

    @Option(
        help:
            "What is known of the layers' inputs: a safetensors file or an imatrix.gguf; data for what the input holds."
    )
    var calibration: String?

    @Option(help: "AWQ with data: search the range of each group, true or false (default true).")
    var clip: String?

    @Option(help: "AWQ with scaling: weigh activations against weights, true (default) or false, as llm-awq does.")
    var duoScaling: String?

    @Option(help: "With data: gptq (default where activations or a whole Gram matrix are given) or nearest.")
    var rounding: String?

    @Option(help: "With gptq: the share of the mean diagonal that is added to it (default 0.1; 0.3 for few tokens).")
    var damping: String?

    @Option(help: "Quantize only the tensors of this glob (repeatable).")
    var include: [String] = []

    @Option(help: "Leave the tensors of this glob as they are (repeatable).")
    var exclude: [String] = []

    @Option(
        help: "Tensors with options of their own, as JSON: '[{\"match\": \"*.down_proj.weight\", \"group_size\": 32}]'."
    )
    var overrides: String?

    @Option(help: "Fail if a tensor keeps less signal to quantization noise than this, in dB.")
    var minSqnrDb: String?

    @Option(help: "Fail if a tensor's largest error is more than this share of its largest weight.")
    var maxRelError: String?

    @Option(
        help: "Choose INT4 or INT8 and the group size of each tensor so that a file has at most these bytes."
    )
    var budgetBytes: Int?

    @Option(help: "The same for this many bits of each weight, for instance 5.")
    var budgetBitsPerWeight: String?

    @Option(help: "Element type of raw bytes: float64, float32, float16, bfloat16, float8_e4m3fn or float8_e5m2.")
    var dtype: String?

    @Option(help: "Shape of raw bytes, for instance 4096,4096.")
    var shape: String?

    @Option(help: "Write the report to this file too: a page for people if it ends in .html, else JSON.")
    var report: String?

    /// The path in `--calibration`; a file called data or none is ./data or ./none.
    private var calibrationFile: String? {
        calibration.flatMap { ["data", "none"].contains($0) ? nil : $0 }
    }

    func run() throws {
        var options: [(String, String)] = []
        let given: [(String, String?)] = [
            ("method", method), ("budget_bytes", budgetBytes.map(String.init)),
            ("budget_bits_per_weight", budgetBitsPerWeight),
            ("format", format), ("target", target), ("model_type", modelType), ("tied", tied), ("scheme", scheme),
            ("mode", mode), ("block_size", blockSize.map(String.init)),
            ("double_quant", doubleQuant),
            ("group_size", groupSize.map(String.init)), ("scaling", scaling),
            ("calibration", calibrationFile == nil ? calibration : "data"),
            ("clip", clip), ("duo_scaling", duoScaling), ("rounding", rounding), ("damping", damping),
            ("overrides", overrides), ("min_sqnr_db", minSqnrDb), ("max_rel_error", maxRelError),
        ]
        options += given.compactMap { name, value in value.map { (name, $0) } }
        options += include.map { ("include", $0) } + exclude.map { ("exclude", $0) }
        let quantizer = CommandLineQuantizer(
            options: options, dtype: dtype, shape: shape, calibration: calibrationFile)
        let text: String
        do throws(ServiceError) {
            text = try quantizer.run(input: input, output: output, reportPath: report)
        } catch {
            // What a shell expects after SIGINT.
            if case .interrupted = error { throw ExitCode(130) }
            throw error
        }
        print(text)
    }
}
