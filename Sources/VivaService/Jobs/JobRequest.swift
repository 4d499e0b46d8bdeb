import HTTPServer
import Quantization
import Tensors

/// What a job is to do, beside its input: kept in its row as JSON text, and handed to its worker.
struct JobRequest: Sendable, Equatable {
    /// The options of the recipe as the client wrote them, `method` among them.
    var options: [RecipeOption]
    /// What the artifact is called.
    var name: String?
    /// Element type and shape of raw bytes; both or neither.
    var dtype: String?
    var shape: String?
    /// The trace of the request that made the job, for its problem.
    var trace: String

    /// Takes every field as it is.
    init(options: [RecipeOption], name: String?, dtype: String?, shape: String?, trace: String) {
        self.options = options
        self.name = name
        self.dtype = dtype
        self.shape = shape
        self.trace = trace
    }

    /// Reads what `json` wrote.
    init(_ value: JSONValue?) throws(WorkError) {
        guard let value, case .array(let pairs)? = value["options"], let trace = value["trace"]?.string else {
            throw .unreadable("a job's request")
        }
        options = []
        for pair in pairs {
            guard case .array(let texts) = pair, texts.count == 2, let name = texts[0].string,
                let text = texts[1].string
            else { throw .unreadable("a job's options") }
            options.append(RecipeOption(name, text))
        }
        name = value["name"]?.string
        dtype = value["dtype"]?.string
        shape = value["shape"]?.string
        self.trace = trace
    }

    /// Reads the text of a row.
    init(text: String) throws(WorkError) {
        try self.init(WorkError.reading("a job's request") { () throws(TensorFormatError) in try .parse(text: text) })
    }

    var json: JSON {
        .object([
            ("options", .array(options.map { .array([.string($0.name), .string($0.text)]) })),
            ("name", .optional(name)), ("dtype", .optional(dtype)), ("shape", .optional(shape)),
            ("trace", .string(trace)),
        ])
    }

    /// The recipe; one that was accepted once is accepted again by the same version.
    func recipe() throws(Problem) -> Recipe {
        do throws(QuantizationError) {
            return try Recipe(options: options)
        } catch {
            throw Problem(error)
        }
    }

    /// What the client said about bytes that do not describe themselves.
    func declaration() throws(Problem) -> InputDeclaration {
        try QuantizeRequest.declaration(dtype: dtype, shape: shape)
    }
}

/// Server and worker did not understand each other, which two processes of one program do.
enum WorkError: Error, Equatable {
    /// What was to be read is not what this version writes.
    case unreadable(String)

    static func reading(
        _ what: String, _ read: () throws(TensorFormatError) -> JSONValue
    ) throws(WorkError) -> JSONValue {
        do throws(TensorFormatError) {
            return try read()
        } catch {
            throw .unreadable("\(what): \(error.detail)")
        }
    }
}
