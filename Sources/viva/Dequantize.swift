import ArgumentParser
import VivaService

/// `viva dequantize`.
struct Dequantize: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Turn an artifact back into plain weights.",
        discussion: """
            Reads safetensors of bitsandbytes (NF4, FP4, LLM.int8), AWQ,
            compressed-tensors or MLX, whoever wrote them, and writes the weights that
            those libraries compute with.
              viva dequantize model.nf4.safetensors -o model.safetensors --dtype bfloat16
            """)

    @Argument(help: "The artifact.")
    var input: String

    @Option(name: .shortAndLong, help: "The file to write; it appears whole or not at all.")
    var output: String

    @Option(help: "float32 (default), float16, bfloat16, or original: for each weight what its library returns.")
    var dtype: String?

    @Option(help: "4 or 8: the width of MLX's codes, for files whose metadata does not say how they were made.")
    var bits: Int?

    func validate() throws {
        guard bits == nil || bits == 4 || bits == 8 else { throw ValidationError("--bits is 4 or 8") }
    }

    func run() throws {
        print(try CommandLineRestorer(dtype: dtype, bits: bits).run(input: input, output: output))
    }
}
