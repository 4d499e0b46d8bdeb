import HTTPServer
import HTTPTypes
import Quantization
import Tensors

/// `GET /v1/plan`: what could be made of a model of which only the size is known.
enum PlanHandlers {
    /// What a plan takes beside the size itself.
    static let names = CacheNeed.names.union(["gpu"])

    static func plan(_ request: inout Request) throws(Problem) -> Response {
        let query = try Query(request.head, known: names.union(["parameters"]))
        guard let text = query.text("parameters") else {
            throw Query.invalid("Say parameters=7B, LLaMA-13B or any number of weights.")
        }
        guard let model = ModelShape.parse(text) else {
            throw Query.invalid("parameters='\(text)' is not a size like 7B, 350M, LLaMA-13B or 6738415616.")
        }
        let gpus = try GPU.asked(query)
        let need = try CacheNeed(query, known: model.cache)
        return .json(PlanJSON.model(model, gpus: gpus, cache: need).bytes())
    }
}

/// `POST /v1/plan`: what every recipe would make of a file, from the first bytes of it.
struct FilePlanHandler: Sendable {
    let memory: MemoryBudget
    let limits: SessionLimits

    /// What this route takes beside the options of recipes.
    static let names = CacheNeed.names.union(["gpu", "dtype", "shape"])
    /// The most shards of a model; the largest models have some 200.
    static let maximumShards = 1_024

    func callAsFunction(_ request: inout Request) throws(Problem) -> Response {
        try QuantizeRequest.refuseMultipart(request.head)
        let items = Query.items(request.head)
        let config = try Self.configuration(items)
        let (query, recipes) = try Query.withRecipes(
            config?.completing(items) ?? items, known: Self.names.union(["shards", "config"]),
            varied: Recipe.sizeOptions)
        guard recipes.allSatisfy(\.gates.areOpen) else {
            throw Query.invalid("A plan measures no loss: min_sqnr_db and max_rel_error belong to /v1/quantize.")
        }
        let gpus = try GPU.asked(query)
        let cache: KeyValueCache?
        do throws(ServiceError) {
            cache = query.text("context") == nil ? nil : try config?.cache()
        } catch {
            throw Query.invalid("\(error)")
        }
        let need = try CacheNeed(query, known: cache)
        let declaration = try QuantizeRequest.declaration(dtype: query.text("dtype"), shape: query.text("shape"))
        let shards = try query.integer("shards", in: 1...Self.maximumShards)
        let share = MemoryShare(memory)
        let inputs = try inputs(&request, declaration, shards: shards, share)
        let plan = FilePlan(
            inputs: inputs, isModel: shards != nil, recipes: recipes, engine: Engine.name, limits: limits)
        return .json(PlanJSON.file(plan, gpus: gpus, cache: need).bytes())
    }

    /// The model's `config.json`, where `config` holds it.
    private static func configuration(_ items: [Query.Item]) throws(Problem) -> ModelConfig? {
        guard let text = items.first(where: { $0.name == "config" })?.value else { return nil }
        do throws(CheckpointError) { return try ModelConfig(Array(text.utf8)) } catch {
            throw Query.invalid("\(error)")
        }
    }

    /// What the header says, or those of all shards; of raw values no byte is read, and of a file none behind its
    /// header.
    private func inputs(
        _ request: inout Request, _ declaration: InputDeclaration, shards: Int?, _ share: MemoryShare
    ) throws(Problem) -> [InputDescription] {
        let described: InputDescription?
        do throws(QuantizationError) {
            described = try declaration.described(limits: limits)
        } catch {
            throw Problem(error)
        }
        if let described {
            guard shards == nil else { throw Query.invalid("Raw bytes have no header, hence no shards.") }
            return [described]
        }
        let inputs: [InputDescription]
        do throws(TransferError<Problem>) {
            inputs = try InputDescription.reading(headers: shards ?? 1, limits: limits.container, memory: share) {
                (span) throws(Problem) in try request.body.read(into: &span)
            }
        } catch {
            if case .session(.truncated(let expected, let received)) = error {
                throw .headerTooShort(expected, received, shards: shards)
            }
            if let shards, case .session(.container(let error)) = error, error.code == "container.unknown" {
                throw .headersApart(error, shards: shards)
            }
            throw Problem(error)
        }
        var seen: Set<ExactName> = []
        for entry in inputs.lazy.flatMap(\.entries) where !seen.insert(ExactName(entry.name)).inserted {
            throw Problem(
                .badRequest, code: "plan.tensor_twice", title: "Two shards hold the same tensor",
                detail: "'\(entry.name)' stands in two headers.", members: [("tensor", .string(entry.name))])
        }
        return inputs
    }
}

extension Problem {
    /// A plan's body that ends within the header: how many bytes would be enough.
    fileprivate static func headerTooShort(_ expected: Int, _ received: Int, shards: Int?) -> Problem {
        let advice =
            shards.map(wanted)
            ?? "A plan needs the first \(expected) bytes at least, \(received) arrived: head -c \(expected) FILE."
        return .truncated(expected, received, title: "The header is not whole", detail: advice)
    }

    /// What stands behind one header is not the next one: weights, most often.
    fileprivate static func headersApart(_ error: TensorFormatError, shards: Int) -> Problem {
        Problem(
            .badRequest, code: error.code, title: "The headers do not follow each other",
            detail: "\(wanted(shards)) One of them is none: \(error.detail).")
    }

    private static func wanted(_ shards: Int) -> String {
        "Send the headers of all \(shards) shards, one directly behind the other, and nothing else."
    }
}

extension GPU {
    /// The cards that `gpu` names; all without it.
    static func asked(_ query: Query) throws(Problem) -> [GPU] {
        let gpus = GPU.named(query.text("gpu"))
        guard !gpus.isEmpty else {
            throw Query.invalid(
                "gpu='\(query.text("gpu") ?? "")' is not known; known: \(GPU.all.map(\.name).joined(separator: ", ")).")
        }
        return gpus
    }
}
