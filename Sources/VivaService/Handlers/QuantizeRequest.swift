import HTTPServer
import HTTPTypes
import HTTPWire
import Quantization
import Tensors

/// What `POST /v1/quantize` asks for, read from the head alone.
struct QuantizeRequest {
    /// One for each format; with a budget the first candidate.
    let recipes: [Recipe]
    /// The options of the recipes as the client wrote them.
    let options: [RecipeOption]
    /// The budget, and what it chooses among.
    let budget: (limit: Budget, candidates: [BudgetCandidate])?
    let declaration: InputDeclaration
    let name: String?
    /// Whether the answer's body is the artifact itself.
    let isInline: Bool

    /// What the route takes beside the options of recipes.
    private static let ownNames = Set(["name", "dtype", "shape", "download"] + Budget.names)
    /// The longest `name`.
    static let maximumNameBytes = 200
    static let safetensors = "application/vnd.safetensors"

    init(_ head: RequestHead) throws(Problem) {
        try Self.refuseMultipart(head)
        try self.init(Query.items(head), accept: head.fields[.accept])
    }

    /// What the items of a query ask for, and the `Accept` beside them.
    init(_ items: [Query.Item], accept: String?) throws(Problem) {
        let (own, options) = try Query.split(items, own: Self.ownNames)
        self.options = options
        do throws(QuantizationError) {
            if let limit = try Budget.read({ own.text($0) }) {
                budget = (limit, try BudgetCandidate.list(options: options))
            } else {
                budget = nil
            }
            recipes = if let budget { [budget.candidates[0].whole] } else { try Recipe.list(options: options) }
        } catch {
            throw Problem(error)
        }
        declaration = try Self.declaration(dtype: own.text("dtype"), shape: own.text("shape"))
        name = try own.artifactName()
        switch own.text("download") {
        case nil:
            let offered = ["application/json", Self.safetensors, "application/octet-stream"]
            let preferred = preferredMediaType(accept: accept, offered: offered)
            isInline = preferred == Self.safetensors || preferred == "application/octet-stream"
        case "1", "true": isInline = true
        case "0", "false": isInline = false
        case let text?: throw Query.invalid("download='\(text)' is neither 1 nor 0.")
        }
        guard recipes.count == 1 || !isInline else {
            throw Query.invalid("Several formats are answered with a list; download each from its link.")
        }
    }

    static func refuseMultipart(_ head: RequestHead) throws(Problem) {
        guard let type = head.fields[.contentType], type.lowercased().hasPrefix("multipart/") else { return }
        throw Problem(
            .unsupportedMediaType, code: "input.multipart", title: "Send the bytes themselves",
            detail: "Multipart forms are not read; send the file as the body: curl -T FILE 'URL'.")
    }

    static func declaration(dtype: String?, shape: String?) throws(Problem) -> InputDeclaration {
        switch (dtype, shape) {
        case (nil, nil): return .recognise
        case (let dtype?, let shape?):
            guard let type = elementType(dtype) else {
                throw Query.invalid("dtype='\(dtype)' is not one of \(Self.elementTypes).")
            }
            var dimensions: [Int] = []
            for part in shape.split(separator: ",", omittingEmptySubsequences: false) {
                guard let dimension = Int(part), dimension >= 0, part.first != "+" else {
                    throw Query.invalid("shape='\(shape)' is not a list of dimensions like 4096,4096.")
                }
                dimensions.append(dimension)
            }
            return .raw(type: type, shape: dimensions)
        default: throw Query.invalid("Raw bytes need both dtype and shape.")
        }
    }

    /// What `dtype` may be, as torch names it.
    private static let elementTypes = "float64, float32, float16, bfloat16, float8_e4m3fn, float8_e5m2"

    private static func elementType(_ name: String) -> ElementType? {
        switch name.lowercased() {
        case "float64", "f64": .f64
        case "float32", "f32": .f32
        case "float16", "f16": .f16
        case "bfloat16", "bf16": .bf16
        case "float8_e4m3fn", "f8_e4m3": .f8E4M3
        case "float8_e5m2", "f8_e5m2": .f8E5M2
        default: nil
        }
    }
}
