import ArtifactStore
import OpenSSL
import Quantization
import Tensors

/// `viva quantize MODEL_DIR`: a folder as transformers saves it becomes a folder that its target library loads.
///
/// The new folder has shards of the same names, a new index, `config.json` with the `quantization_config`, the report,
/// and whatever else the model needs. It is made under a hidden name beside its place and renamed when all of it is on
/// the disk: it appears whole, or not at all.
struct FolderQuantizer {
    let options: [RecipeOption]
    /// A file of calibration data.
    var calibration: String?
    let interruption: Interruption

    /// The report's name in the new folder.
    static let reportFile = "viva_report.json"

    /// What one shard became.
    private struct Shard {
        let digest: Digest
        let result: SessionResult
        let tensors: InputDescription
    }

    /// Quantizes the folder `input` into the new folder `output`; returns the summary for people.
    func run(input: String, output: String, reportPath: String? = nil) throws(ServiceError) -> String {
        do {
            let source = try SourceFolder(opening: input)
            let checkpoint = try Checkpoint(source)
            let given = Set(options.map(\.name))
            let recipe = try Recipe(options: options + checkpoint.config.options.filter { !given.contains($0.name) })
            // Refuses what the headers show to be wrong, and finds what there is to say about the model as a whole.
            let plan = try ArtifactLayout(
                input: checkpoint.input, recipe: recipe, engine: Engine.name,
                calibrationFile: try LocalRun.open(calibration))
            if let tensor = plan.copiedFP8 {
                throw CheckpointError.staysFP8(tensor: tensor, reader: recipe.reader.rawValue)
            }
            let target = try StagedFolder.beside(path: output, outside: source)
            try Self.checkRoom(plan, checkpoint, target)
            let run = try LocalRun(
                recipe: recipe, calibration: calibration,
                totalBytes: checkpoint.shards.reduce(0) { $0 + $1.bytes }, interruption: interruption)
            defer { run.progress.finish() }
            let shards = try checkpoint.shards.map { shard in
                try Self.quantize(shard, Self.neighbours(of: shard, checkpoint, source, recipe), source, target, run)
            }
            let result = SessionResult.joined(
                shards.map(\.result), model: checkpoint.input, warnings: plan.warnings)
            try Self.writeIndex(checkpoint, shards, target)
            try target.write(
                checkpoint.config.quantized(recipe, result), to: ModelConfig.name)
            for (name, _) in checkpoint.others where name != Self.reportFile {
                let copy = try target.file(name)
                try run.copy(source.file(name), into: copy)
                try target.finish(copy)
            }
            let description = try Self.describe(checkpoint, shards, result, recipe, calibration)
            try target.write(description.report().bytes(), to: Self.reportFile)
            if interruption.isWanted { throw ServiceError.interrupted }
            try target.commit()
            if let reportPath { try CommandLineQuantizer.write(description, "", to: reportPath) }
            return ModelText(output: output, checkpoint: checkpoint, recipe: recipe, result: result).text
        } catch {
            throw CommandLineQuantizer.explain(error)
        }
    }

    private static func checkRoom(
        _ plan: ArtifactLayout, _ checkpoint: Checkpoint, _ target: StagedFolder
    ) throws {
        let others = checkpoint.others.reduce(0) { $0 + $1.bytes }
        let needed = plan.fileBytes + plan.scratchBytes + others
        let free = try target.freeBytes()
        guard needed <= free else { throw CheckpointError.noRoom(needed: needed, free: free) }
    }

    /// The other shards: a norm may lie in one and the Linears that read it in the next.
    private static func neighbours(
        of shard: Checkpoint.Shard, _ checkpoint: Checkpoint, _ source: borrowing SourceFolder, _ recipe: Recipe
    ) throws -> sending Neighbours? {
        guard checkpoint.shards.count > 1, recipe.coding.scaling == .fold else { return nil }
        return Neighbours(
            try checkpoint.shards.filter { $0.name != shard.name }.map { other in
                Neighbours.File(
                    name: other.name, input: other.input, bytes: OpenedSource(try source.opened(other.name)))
            })
    }

    private static func quantize(
        _ shard: Checkpoint.Shard, _ neighbours: sending Neighbours?, _ source: borrowing SourceFolder,
        _ target: StagedFolder, _ run: LocalRun
    ) throws -> Shard {
        run.progress.subject = shard.name
        let staged = try target.file(shard.name)
        let outcome = try run.quantize(
            source.file(shard.name), .recognise, isShard: true, into: staged, scratch: target.scratch(),
            neighbours: neighbours)
        let tensors = try header(of: staged, named: shard.name)
        try target.finish(staged)
        return Shard(digest: outcome.digest, result: outcome.result, tensors: tensors)
    }

    /// What stands in the new shard: read back from the file, so that the index says what a reader will find.
    private static func header(of file: StagedFile, named name: String) throws -> InputDescription {
        let length = try file.length()
        var wanted = 9
        while true {
            var bytes = [UInt8](repeating: 0, count: min(wanted, length))
            var span = bytes.mutableSpan
            var raw = unsafe span.mutableBytes
            try file.read(into: &raw, at: 0)
            switch try parseHeader(unsafe bytes.span.bytes, totalBytes: length) {
            case .complete(let input): return input
            case .needsMore(let more): wanted = max(more, wanted + 1)
            }
        }
    }

    /// The index of the new tensors; the old one's other members are kept.
    private static func writeIndex(
        _ checkpoint: Checkpoint, _ shards: [Shard], _ target: StagedFolder
    ) throws {
        guard let index = checkpoint.index else { return }
        var places: [(String, JSON)] = []
        var total = 0
        for (shard, made) in zip(checkpoint.shards, shards) {
            for entry in made.tensors.entries {
                places.append((entry.name, .string(shard.name)))
                total += entry.bytes.count
            }
        }
        places.sort { $0.0 < $1.0 }
        let metadata = try JSONObjectText(index.text("metadata") ?? Array("{}".utf8))
        let sized = metadata.setting("total_size", to: Array("\(total)".utf8))
        var limits = JSONValue.Limits()
        limits.maximumValues = Checkpoint.maximumIndexValues
        let changed = try JSONObjectText(index.setting("metadata", to: sized), limits: limits)
        let map = JSON.object(places).text(indentedBy: 2)
        try target.write(changed.setting("weight_map", to: Array(map.utf8)), to: Checkpoint.indexFile)
    }

    /// The report of the whole model, named after the digests of its shards.
    private static func describe(
        _ checkpoint: Checkpoint, _ shards: [Shard], _ result: SessionResult, _ recipe: Recipe,
        _ calibration: String?
    ) throws -> ArtifactDescription {
        let names = zip(checkpoint.shards, shards).map { "\($0.name) \($1.digest.hex)\n" }.joined()
        let identity = try SHA256.digest(of: Array(names.utf8)).hex
        return ArtifactDescription(
            id: identity, name: nil, recipe: recipe, inputDigest: "sha256:\(identity)",
            inputBytes: checkpoint.shards.reduce(0) { $0 + $1.bytes }, result: result,
            calibration: try LocalRun.digest(calibration))
    }
}
