import HTTPServer
import HTTPTypes
import HTTPWire
import Quantization
import Tensors

/// What `POST /v1/jobs` asks for, read from its JSON.
struct JobOrder {
    /// The input, as `sha256:<hex>`.
    let input: String
    /// A second input with calibration data.
    let calibration: String?
    let request: JobRequest

    private static let known = ["input", "method", "options", "calibration", "name", "dtype", "shape"]

    /// Reads the document of a request whose trace is `trace`.
    init(_ root: JSONValue, trace: String) throws(Problem) {
        guard case .object(let members) = root else { throw Self.invalid("The body is no JSON object.") }
        if let member = members.first(where: { !Self.known.contains($0.name) }) {
            throw Self.invalid("There is no member '\(member.name)'; known: \(Self.known.joined(separator: ", ")).")
        }
        input = try Self.text("input", of: root, isNeeded: true) ?? ""
        let method = try Self.text("method", of: root, isNeeded: true) ?? ""
        calibration = try Self.text("calibration", of: root)
        let name = try Self.text("name", of: root)
        if let name, name.isEmpty || name.utf8.count > QuantizeRequest.maximumNameBytes {
            throw Self.invalid("name has 1 to \(QuantizeRequest.maximumNameBytes) bytes.")
        }
        var options = [RecipeOption("method", method)] + (try Self.options(root["options"]))
        if calibration != nil { try Self.useData(&options) }
        self.request = JobRequest(
            options: options, name: name,
            dtype: try Self.text("dtype", of: root), shape: try Self.shape(root["shape"]), trace: trace)
        try Self.refuse(self.request.options)
    }

    /// Options that a job does not have: what they ask for is made by another way.
    static func refuse(_ options: [RecipeOption]) throws(Problem) {
        if let option = options.first(where: { Budget.names.contains($0.name) }) {
            throw Problem(
                .unprocessableContent, code: "job.budget", title: "A job makes what its recipe says",
                detail: "'\(option.name)' compares many recipes: send the bytes to /v1/quantize?\(option.name)=….")
        }
        if let format = options.first(where: { $0.name == "format" }), format.text.contains(",") {
            throw Problem(
                .unprocessableContent, code: "job.several_formats", title: "A job makes one artifact",
                detail: "format='\(format.text)' names several: make one job for each of them.")
        }
    }

    /// Who names calibration data wants it used.
    private static func useData(_ options: inout [RecipeOption]) throws(Problem) {
        guard let option = options.first(where: { $0.name == "calibration" }) else {
            return options.append(RecipeOption("calibration", "data"))
        }
        guard option.text == "data" else {
            throw Problem(
                .unprocessableContent, code: "job.calibration", title: "The calibration data would not be used",
                detail: "The job names calibration data and says calibration=\(option.text): leave one of them out.")
        }
    }

    private static func text(
        _ name: String, of root: JSONValue, isNeeded: Bool = false
    ) throws(Problem) -> String? {
        switch root[name] {
        case .string(let text)?: return text
        case .null? where !isNeeded: return nil
        case nil where !isNeeded: return nil
        case nil: throw invalid("The member '\(name)' is missing.")
        default: throw invalid("'\(name)' is no string.")
        }
    }

    /// `"4096,4096"` or `[4096, 4096]`.
    private static func shape(_ value: JSONValue?) throws(Problem) -> String? {
        switch value {
        case nil, .null?: return nil
        case .string(let text)?: return text
        case .array(let items)?:
            var dimensions: [String] = []
            for item in items {
                guard let dimension = item.integer else { throw invalid("'shape' holds something else than numbers.") }
                dimensions.append("\(dimension)")
            }
            return dimensions.joined(separator: ",")
        default: throw invalid("'shape' is neither a list of numbers nor a text like 4096,4096.")
        }
    }

    /// The members of `options` as they would stand in a query; a list gives an option several times.
    private static func options(_ value: JSONValue?) throws(Problem) -> [RecipeOption] {
        let members: [JSONValue.Member]
        switch value {
        case nil, .null?: return []
        case .object(let found)?: members = found
        default: throw invalid("'options' is no object.")
        }
        var options: [RecipeOption] = []
        for member in members {
            guard member.name != "method" else { throw invalid("'method' stands beside 'options', not in it.") }
            // What is JSON within a query is itself here.
            if member.name == "overrides", case .array = member.value {
                options.append(RecipeOption(member.name, JSON(member.value).text()))
                continue
            }
            let values: [JSONValue] = if case .array(let items) = member.value { items } else { [member.value] }
            for value in values {
                switch value {
                case .string(let text), .number(let text): options.append(RecipeOption(member.name, text))
                case .bool(let flag): options.append(RecipeOption(member.name, flag ? "true" : "false"))
                default: throw invalid("The option '\(member.name)' is neither text, a number nor true or false.")
                }
            }
        }
        return options
    }

    private static func invalid(_ detail: String) -> Problem { .invalidBody(detail) }
}
