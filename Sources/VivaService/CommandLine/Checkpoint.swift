import ArtifactStore
import Quantization
import Tensors

/// A model's folder as transformers saves it: its weights, its configuration, and what else lies there.
///
/// Everything that headers and lists can show to be wrong is refused here, before a weight is read.
struct Checkpoint {
    /// One safetensors file of the model.
    struct Shard {
        let name: String
        /// Bytes of the file.
        let bytes: Int
        let input: InputDescription
    }

    let config: ModelConfig
    /// In the order of their names.
    let shards: [Shard]
    /// The index of shards; nil for a model in one file.
    let index: JSONObjectText?
    /// Files that the quantized model needs as well.
    let others: [(name: String, bytes: Int)]
    /// Entries that are not taken along: other kinds of weights, folders, links that lead elsewhere, huge files.
    let leftOut: [String]

    static let singleFile = "model.safetensors"
    static let indexFile = "model.safetensors.index.json"
    /// Bytes of the longest index that is read: some 500,000 tensors.
    static let maximumIndexBytes = 64 << 20
    /// Values of the largest index: its tensors, and a few more.
    static let maximumIndexValues = 1 << 20
    /// Bytes of the longest file that is taken along: vocabularies reach some 40 MB.
    static let maximumOtherBytes = 256 << 20
    /// Endings of files that hold weights of the unquantized model, or point to them.
    private static let weightEndings = [
        ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".onnx_data", ".gguf", ".tflite",
        ".npz", ".npy", ".index.json",
    ]

    init(_ folder: borrowing SourceFolder, limits: SessionLimits = SessionLimits()) throws(CheckpointError) {
        let entries: [(name: String, kind: SourceFolder.Kind)]
        do throws(StoreError) {
            entries = try folder.entries()
        } catch {
            throw .store(error)
        }
        let names = Set(entries.map(\.name))
        guard names.contains(ModelConfig.name) else { throw .noConfig(folder: folder.path) }
        config = try ModelConfig(Self.read(ModelConfig.name, folder, limit: ModelConfig.maximumBytes))
        // transformers prefers the single file where both are there.
        if names.contains(Self.singleFile) {
            index = nil
            shards = [try Self.shard(Self.singleFile, folder, limits)]
        } else if names.contains(Self.indexFile) {
            let bytes = try Self.read(Self.indexFile, folder, limit: Self.maximumIndexBytes)
            (index, shards) = try Self.indexed(bytes, names, folder, limits)
        } else {
            throw .noWeights(folder: folder.path)
        }
        (others, leftOut) = Self.sorted(entries, taken: Set(shards.map(\.name)))
    }

    /// All tensors as those of one file.
    var input: InputDescription { .joined(shards.map(\.input)) }

    private static func indexed(
        _ bytes: [UInt8], _ names: Set<String>, _ folder: borrowing SourceFolder, _ limits: SessionLimits
    ) throws(CheckpointError) -> (JSONObjectText, [Shard]) {
        let index: JSONObjectText
        var places: [ExactName: String] = [:]
        do throws(TensorFormatError) {
            var limits = JSONValue.Limits()
            limits.maximumValues = maximumIndexValues
            index = try JSONObjectText(bytes, limits: limits)
        } catch {
            throw .malformed(file: indexFile, error)
        }
        guard case .object(let map)? = index.root["weight_map"], !map.isEmpty else {
            throw .malformed(
                file: indexFile, TensorFormatError(code: "index.no_weight_map", detail: "there is no weight_map"))
        }
        for member in map {
            guard let file = member.value.string else { throw .shardName("\(member.value)") }
            places[ExactName(member.name)] = file
        }
        let files = Set(places.values).sorted()
        for file in files {
            guard file.hasSuffix(".safetensors"), !file.contains("/"), !file.hasPrefix(".") else {
                throw .shardName(file)
            }
            guard names.contains(file) else { throw .shardMissing(file) }
        }
        var shards: [Shard] = []
        var found: [ExactName: String] = [:]
        for file in files {
            let shard = try shard(file, folder, limits)
            for entry in shard.input.entries {
                if let other = found.updateValue(file, forKey: ExactName(entry.name)) {
                    throw .tensorTwice(tensor: entry.name, shards: [other, file])
                }
            }
            shards.append(shard)
        }
        try checkScales(shards, found)
        for (tensor, file) in places where found[tensor] != file {
            throw .tensorMissing(tensor: tensor.name, shard: file)
        }
        return (index, shards)
    }

    /// A session sees one shard, so the scales of its FP8 weights have to be in it.
    private static func checkScales(_ shards: [Shard], _ found: [ExactName: String]) throws(CheckpointError) {
        for shard in shards {
            for entry in shard.input.entries where entry.type == .f8E4M3 {
                guard let place = found[ExactName(entry.name + "_scale_inv")], place != shard.name else { continue }
                throw .scalesApart(tensor: entry.name, shards: [shard.name, place])
            }
        }
    }

    private static func shard(
        _ name: String, _ folder: borrowing SourceFolder, _ limits: SessionLimits
    ) throws(CheckpointError) -> Shard {
        do {
            let file = try folder.file(name)
            let length = file.length ?? 0
            var header = try file.next(9)
            while true {
                switch try parseHeader(unsafe header.span.bytes, totalBytes: length, limits: limits.container) {
                case .complete(let input): return Shard(name: name, bytes: length, input: input)
                case .needsMore(let wanted):
                    let more = try file.next(max(wanted - header.count, 1))
                    guard !more.isEmpty else {
                        throw TensorFormatError(code: "container.too_short", detail: "the file ends in its header")
                    }
                    header += more
                }
            }
        } catch let error as TensorFormatError {
            throw .malformed(file: name, error)
        } catch let error as StoreError {
            throw .store(error)
        } catch {
            throw .noWeights(folder: folder.path)
        }
    }

    private static func read(
        _ name: String, _ folder: borrowing SourceFolder, limit: Int
    ) throws(CheckpointError) -> [UInt8] {
        let length: Int
        do throws(StoreError) {
            let file = try folder.file(name)
            length = file.length ?? 0
            if length <= limit { return try file.next(length) }
        } catch {
            throw .store(error)
        }
        throw .tooLong(file: name, bytes: length, limit: limit)
    }

    /// What is taken along, and what is not.
    private static func sorted(
        _ entries: [(name: String, kind: SourceFolder.Kind)], taken: Set<String>
    ) -> (others: [(name: String, bytes: Int)], leftOut: [String]) {
        var others: [(String, Int)] = []
        var leftOut: [String] = []
        let rewritten = taken.union([ModelConfig.name, indexFile])
        for (name, kind) in entries where !rewritten.contains(name) {
            if case .file(let bytes) = kind, bytes <= maximumOtherBytes, name.utf8.first != UInt8(ascii: "."),
                !weightEndings.contains(where: { name.hasSuffix($0) })
            {
                others.append((name, bytes))
            } else {
                leftOut.append(name)
            }
        }
        return (others, leftOut)
    }
}
