import HTTPServer
import HTTPTypes
import Quantization

/// `GET /v1/plan`, `GET /v1/methods`: what could be made, before anything is sent.
enum PlanHandlers {
    static func plan(_ request: inout Request) throws(Problem) -> Response {
        let query = try Query(request.head, known: ["parameters", "gpu"])
        guard let text = query.text("parameters") else {
            throw Query.invalid("Say parameters=7B, LLaMA-13B or any number of weights.")
        }
        return .json(try plan(parameters: text, gpu: query.text("gpu")).bytes())
    }

    /// The plan as JSON; also what `viva plan` prints from.
    static func plan(parameters text: String, gpu name: String?) throws(Problem) -> JSON {
        guard let model = ModelShape.parse(text) else {
            throw Query.invalid("parameters='\(text)' is not a size like 7B, 350M, LLaMA-13B or 6738415616.")
        }
        var gpus = GPU.all
        if let name {
            gpus = gpus.filter { $0.name == name.lowercased() }
            guard !gpus.isEmpty else {
                throw Query.invalid(
                    "gpu='\(name)' is not known; known: \(GPU.all.map(\.name).joined(separator: ", ")).")
            }
        }
        let full = Double(model.parameters) * 4
        return .object([
            ("model", .optional(model.name)), ("parameters", .integer(model.parameters)),
            ("quantized_parameters", .integer(model.linearParameters)),
            (
                "basis",
                .string(
                    model.name == nil
                        ? "every parameter counted as a Linear weight"
                        : "published shapes; embeddings, head and norms stay in F16")
            ),
            ("usable_fraction", .number(GPU.usableFraction)),
            (
                "methods",
                .array(
                    model.sizes.map { size in
                        .object([
                            ("method", .string(size.label)), ("bytes", .integer(size.bytes)),
                            ("bits_per_weight", .number(size.bitsPerWeight)),
                            ("compression_ratio_fp32", .number(full / Double(size.bytes))),
                            ("fits", .strings(gpus.filter { $0.fits(size.bytes) }.map(\.name))),
                        ])
                    })
            ),
            (
                "gpus",
                .array(
                    gpus.map { .object([("name", .string($0.name)), ("memory_bytes", .integer($0.memory))]) })
            ),
        ])
    }

    static func methods(_ request: inout Request) throws(Problem) -> Response {
        _ = try Query(request.head, known: [])
        return .json(methodList().bytes())
    }

    /// Every method with its formats and options.
    static func methodList() -> JSON {
        let items = Method.allCases.map { method in
            JSON.object([
                ("method", .string(method.rawValue)), ("formats", .strings(method.formats.map(\.rawValue))),
                ("modes", .strings(method.modes.map(\.rawValue))), ("streaming", .bool(method.streams)),
                ("bits_per_weight", .number(method.nominalBits)), ("targets", targets(of: method)),
                ("options", options(of: method)),
            ])
        }
        return .object([("items", .array(items)), ("next", .null)])
    }

    /// The format that each target gets, null where it reads none.
    private static func targets(of method: Method) -> JSON {
        .object(Target.allCases.map { ($0.rawValue, .optional(method.formats(for: $0).first?.rawValue)) })
    }

    private static func options(of method: Method) -> JSON {
        func option(_ name: String, _ values: [JSON], _ standard: JSON) -> JSON {
            .object([("name", .string(name)), ("values", .array(values)), ("default", standard)])
        }
        switch method {
        case .int8, .int4, .fp8: return .array(method.formats.flatMap { formatOptions(of: method, $0) })
        case .nf4:
            return .array([
                option("block_size", Recipe.blockSizes.map { .integer($0) }, .integer(64)),
                option("double_quant", [.bool(true), .bool(false)], .bool(true)),
            ])
        case .awq:
            return .array([
                option("group_size", Recipe.groupSizes.map { .integer($0) }, .integer(128)),
                option("scaling", Scaling.allCases.map { .string($0.rawValue) }, .string("none")),
                option("calibration", Calibration.allCases.map { .string($0.rawValue) }, .string("activations")),
            ])
        }
    }

    /// The options that one format of a method has.
    private static func formatOptions(of method: Method, _ format: ArtifactFormat) -> [JSON] {
        var options: [(String, [JSON], JSON)] = []
        if method.takesScheme(in: format) {
            options.append(("scheme", Scheme.allCases.map { .string($0.rawValue) }, .string(Scheme.w8a16.rawValue)))
        }
        if let sizes = method.groupSizes(in: format) {
            options.append(("group_size", sizes.allowed.map { .integer($0) }, .integer(sizes.standard)))
        }
        return options.map { name, values, standard in
            .object([
                ("name", .string(name)), ("values", .array(values)), ("default", standard),
                ("format", .string(format.rawValue)),
            ])
        }
    }
}

extension Method {
    /// Bits a weight with the default options, for large F16 tensors with rows of 4096.
    fileprivate var nominalBits: Double {
        switch self {
        case .int8: 8 + 32.0 / 4096
        case .nf4: 4 + 8.0 / 64 + 32.0 / (64 * 256)
        case .int4: 4 + 16.0 / 128
        case .fp8: 8 + 16.0 / 4096
        case .awq: 4 + 20.0 / 128
        }
    }
}
