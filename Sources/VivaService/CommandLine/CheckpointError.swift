import ArtifactStore
import Tensors

/// Why a folder is not a model that can be quantized, with the evidence.
enum CheckpointError: Error, CustomStringConvertible {
    /// There is no `config.json`.
    case noConfig(folder: String)
    /// There is neither `model.safetensors` nor an index of shards.
    case noWeights(folder: String)
    /// A JSON file or a shard's header is not what it should be.
    case malformed(file: String, TensorFormatError)
    /// The configuration says that the weights are quantized already.
    case alreadyQuantized(key: String)
    /// A file is longer than what is read of its kind.
    case tooLong(file: String, bytes: Int, limit: Int)
    /// The index names a file that is not a plain `*.safetensors` name.
    case shardName(String)
    /// The index names a file that the folder does not have.
    case shardMissing(String)
    /// The index looks for a tensor in a shard that does not hold it.
    case tensorMissing(tensor: String, shard: String)
    /// Two shards hold a tensor of the same name.
    case tensorTwice(tensor: String, shards: [String])
    /// The scales of an FP8 weight are in another shard than the weight, which is read without them.
    case scalesApart(tensor: String, shards: [String])
    /// An FP8 weight would stay one beside weights of another format, and no library reads such a mixture.
    case staysFP8(tensor: String, reader: String)
    /// The disk has less room than the result needs.
    case noRoom(needed: Int, free: Int)
    /// A file could not be read or written.
    case store(StoreError)

    /// One sentence for the terminal.
    var description: String {
        switch self {
        case .noConfig(let folder):
            "\(folder) has no config.json, which says what the model is; without one quantize the file itself"
        case .noWeights(let folder):
            "\(folder) has neither model.safetensors nor model.safetensors.index.json; other kinds of weights are "
                + "not read"
        case .malformed(let file, let error):
            "\(file): \(error.detail)\(error.offset.map { " at byte \($0)" } ?? "") (\(error.code))"
        case .alreadyQuantized(let key): "config.json has a \(key): the weights are quantized already"
        case .tooLong(let file, let bytes, let limit): "\(file) has \(bytes) bytes; at most \(limit) are read"
        case .shardName(let name): "the index names '\(name)', which is no *.safetensors file in the same folder"
        case .shardMissing(let name): "the index names '\(name)', which is not there"
        case .tensorMissing(let tensor, let shard):
            "the index looks for tensor '\(tensor)' in \(shard), which does not hold it"
        case .tensorTwice(let tensor, let shards):
            "tensor '\(tensor)' is in \(shards.joined(separator: " and in "))"
        case .scalesApart(let tensor, let shards):
            "the FP8 weight '\(tensor)' is in \(shards[0]), its scales are in \(shards[1]); put them into one file"
        case .staysFP8(let tensor, let reader):
            "'\(tensor)' is FP8 and would not be quantized for \(reader), which cannot read FP8 beside another format; "
                + "try --target vllm, or restore the model to BF16 first"
        case .noRoom(let needed, let free): "the result needs \(needed) bytes, the disk has \(free)"
        case .store(let error): "\(error)"
        }
    }
}
