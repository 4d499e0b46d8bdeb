import HTTPServer
import HTTPTypes
import Quantization

/// `GET /v1/methods`: what the engine can make.
enum MethodHandlers {
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
