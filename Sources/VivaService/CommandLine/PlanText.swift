import ArtifactStore
import FoundationEssentials
import HTTPServer
import Quantization
import Tensors

/// `viva plan`: the plans of `GET` and `POST /v1/plan`, as tables.
package struct PlanCommand {
    private let target: String
    private let items: [Query.Item]
    private let configuration: String?
    private let isJSON: Bool

    /// Plans `target`: a size like `13B`, a file, or the folder of a model. `options` are those of the contract by
    /// name; `configuration` is the path of a `config.json`, that beside the weights without it.
    package init(target: String, options: [(String, String)], configuration: String?, isJSON: Bool) {
        self.target = target
        items = options.map { ($0.0, $0.1) }
        self.configuration = configuration
        self.isJSON = isJSON
    }

    /// The answer, as a table or as JSON.
    package func run() throws(ServiceError) -> String {
        do {
            // The index of shards stands for its folder.
            let folder =
                target.hasSuffix(Checkpoint.indexFile) ? "\(target.dropLast(Checkpoint.indexFile.count))." : target
            if InputFile.isFolder(folder) {
                let checkpoint = try Checkpoint(SourceFolder(opening: folder))
                return try plan(inputs: checkpoint.shards.map(\.input), of: checkpoint.config)
            }
            guard target == "-" || FileManager.default.fileExists(atPath: target) else { return try planSize() }
            return try plan(inputs: [Self.header(of: target, items)], of: nil)
        } catch {
            throw CommandLineQuantizer.explain(error)
        }
    }

    private func planSize() throws -> String {
        let query = try Query(items, known: PlanHandlers.names)
        guard let model = ModelShape.parse(target) else {
            throw Query.invalid(
                "'\(target)' is neither a file nor a folder, nor a size like 7B, 350M, LLaMA-13B or 6738415616.")
        }
        let gpus = try GPU.asked(query)
        let need = try CacheNeed(query, known: try cache(nil) ?? model.cache)
        if isJSON { return Self.text(PlanJSON.model(model, gpus: gpus, cache: need)) }
        var rows = [["method", "GB", "bits/weight", "vs FP32", "fits"]]
        for size in model.sizes {
            rows.append([
                size.label, ReportText.fixed(Double(size.bytes) / 1e9, 2), ReportText.fixed(size.bitsPerWeight, 3),
                ReportText.fixed(32 / size.bitsPerWeight, 2) + "x", Self.fits(size.bytes, gpus, need),
            ])
        }
        let title = "\(model.name ?? "model") with \(model.parameters) parameters"
        return ([title] + Self.line(need) + ReportText.aligned(rows)).joined(separator: "\n")
    }

    /// Plans a file, or the shards of the model that `config` describes.
    private func plan(inputs: [InputDescription], of config: ModelConfig?) throws -> String {
        let (query, recipes) = try Query.withRecipes(
            config?.completing(items) ?? items, known: FilePlanHandler.names, varied: Recipe.sizeOptions)
        let gpus = try GPU.asked(query)
        let need = try CacheNeed(query, known: query.text("context") == nil ? nil : try cache(config))
        let plan = FilePlan(
            inputs: inputs, isModel: config != nil, recipes: recipes, engine: Engine.name, limits: SessionLimits())
        if isJSON { return Self.text(PlanJSON.file(plan, gpus: gpus, cache: need)) }
        return PlanTable(plan: plan, name: target, gpus: gpus, need: need).text
    }

    /// The cache of the configuration that was named, or of the model's own.
    private func cache(_ config: ModelConfig?) throws -> KeyValueCache? {
        guard let configuration else { return try config?.cache() }
        let text = try InputFile(path: configuration).next(ModelConfig.maximumBytes)
        return try CacheConfiguration(ModelConfig.parse(text).root).cache()
    }

    /// The header of a file; nothing behind it is read.
    private static func header(of path: String, _ items: [Query.Item]) throws -> InputDescription {
        func value(_ name: String) -> String? { items.first { $0.name == name }?.value }
        let limits = SessionLimits()
        let declaration = try QuantizeRequest.declaration(dtype: value("dtype"), shape: value("shape"))
        let file = try InputFile(path: path)
        if let input = try declaration.described(totalBytes: file.length, limits: limits) { return input }
        return try InputDescription.reading(limits: limits.container, memory: nil) {
            (span) throws(StoreError) in try file.read(into: &span)
        }
    }

    private static func text(_ json: JSON) -> String { String(decoding: json.bytes().dropLast(), as: UTF8.self) }

    fileprivate static func line(_ need: CacheNeed?) -> [String] {
        guard let need else { return [] }
        let sequences = need.use.batch == 1 ? "" : "\(need.use.batch) sequences of "
        return [
            "KV cache for \(sequences)\(need.use.context) tokens as \(need.use.element.rawValue): "
                + "\(ReportText.fixed(Double(need.bytes) / 1e9, 2)) GB"
        ]
    }

    fileprivate static func fits(_ bytes: Int, _ gpus: [GPU], _ need: CacheNeed?) -> String {
        let fitting = gpus.filter { $0.fits(bytes, need) }.map(\.name)
        if fitting.isEmpty { return "none" }
        return fitting.count == gpus.count && gpus.count > 1 ? "all" : fitting.joined(separator: " ")
    }
}

/// A file's plan for a terminal.
private struct PlanTable {
    let plan: FilePlan
    let name: String
    let gpus: [GPU]
    let need: CacheNeed?

    var text: String {
        let files = plan.inputs.count == 1 ? "" : " in \(plan.inputs.count) files"
        let tensors = plan.inputs.reduce(0) { $0 + $1.entries.count }
        var lines = ["\(TerminalText.plain(name)): \(plan.inputBytes) bytes, \(tensors) tensors\(files)"]
        lines += PlanCommand.line(need)
        var rows = [["recipe", "bytes", "bits/weight", "vs input", "quantized", "fits"]]
        rows.append(["as it is", "\(plan.inputBytes)", "", "", "", PlanCommand.fits(plan.inputBytes, gpus, need)])
        var refused: [String] = []
        var warnings: [(text: String, labels: [String])] = []
        for choice in plan.choices {
            switch choice.outcome {
            case .success(let artifact):
                rows.append(row(artifact))
                for text in artifact.allWarnings {
                    if let index = warnings.firstIndex(where: { $0.text == text }) {
                        warnings[index].labels.append(choice.recipe.label)
                    } else {
                        warnings.append((text, [choice.recipe.label]))
                    }
                }
            case .failure(let error): refused.append("\(choice.recipe.label): \(ProblemText.detail(error))")
            }
        }
        lines += ReportText.aligned(rows) + refused
        lines += warnings.prefix(Self.warnings).map { warning in
            let labels = warning.labels.count == 1 ? warning.labels[0] : "\(warning.labels.count) recipes"
            return "warning (\(labels)): \(TerminalText.plain(warning.text))"
        }
        if warnings.count > Self.warnings { lines.append("and \(warnings.count - Self.warnings) more warnings") }
        return lines.joined(separator: "\n")
    }

    /// How many different warnings are told.
    private static let warnings = 10

    private func row(_ artifact: PlannedArtifact) -> [String] {
        [
            artifact.recipe.label, "\(artifact.bytes)", ReportText.fixed(artifact.bitsPerWeight, 3),
            ReportText.fixed(Double(plan.inputBytes) / Double(max(1, artifact.bytes)), 2) + "x",
            ReportText.fixed(artifact.quantizedFraction * 100, 1) + " %",
            PlanCommand.fits(artifact.bytes, gpus, need),
        ]
    }
}
