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

    func callAsFunction(_ request: inout Request) throws(Problem) -> Response {
        try QuantizeRequest.refuseMultipart(request.head)
        let (query, recipes) = try Query.withRecipes(
            Query.items(request.head), known: Self.names, varied: Recipe.sizeOptions)
        let gpus = try GPU.asked(query)
        let need = try CacheNeed(query, known: nil)
        let declaration = try QuantizeRequest.declaration(dtype: query.text("dtype"), shape: query.text("shape"))
        let share = MemoryShare(memory)
        let input = try input(&request, declaration, share)
        let plan = FilePlan(inputs: [input], recipes: recipes, engine: Engine.name, limits: limits)
        return .json(PlanJSON.file(plan, gpus: gpus, cache: need).bytes())
    }

    /// The header's description; of raw values no byte is read, and of a file none behind its header.
    private func input(
        _ request: inout Request, _ declaration: InputDeclaration, _ share: MemoryShare
    ) throws(Problem) -> InputDescription {
        do {
            if let input = try declaration.described(limits: limits) { return input }
        } catch {
            throw Problem(error)
        }
        do throws(TransferError<Problem>) {
            return try InputDescription.reading(limits: limits.container, memory: share) {
                (span) throws(Problem) in try request.body.read(into: &span)
            }
        } catch {
            if case .session(.truncated(let expected, let received)) = error {
                throw .headerTooShort(expected, received)
            }
            throw Problem(error)
        }
    }
}

extension Problem {
    /// A plan's body that ends within the header: how many bytes would be enough.
    fileprivate static func headerTooShort(_ expected: Int, _ received: Int) -> Problem {
        .truncated(
            expected, received, title: "The header is not whole",
            detail: "A plan needs the first \(expected) bytes at least, \(received) arrived: head -c \(expected) FILE.")
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
