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
        return .page(items, next: nil)
    }

    /// The format that each target gets, null where it reads none.
    private static func targets(of method: Method) -> JSON {
        .object(Target.allCases.map { ($0.rawValue, .optional(method.formats(for: $0).first?.rawValue)) })
    }

    private static func options(of method: Method) -> JSON {
        let own: [JSON] =
            method == .nf4
            ? [
                option("block_size", Recipe.blockSizes.map { .integer($0) }, .integer(64)),
                option("double_quant", flags, .bool(true)),
            ] : method.formats.flatMap { formatOptions(of: method, $0) }
        return .array(own + calibrationOptions(of: method))
    }

    private static let flags: [JSON] = [.bool(true), .bool(false)]

    private static func option(
        _ name: String, _ values: [JSON], _ standard: JSON, in format: ArtifactFormat? = nil
    ) -> JSON {
        let place = format.map { [("format", JSON.string($0.rawValue))] } ?? []
        return .object([("name", .string(name)), ("values", .array(values)), ("default", standard)] + place)
    }

    private static func option<Choice: RawRepresentable<String> & CaseIterable>(
        _ name: String, _: Choice.Type, _ standard: Choice, in format: ArtifactFormat? = nil
    ) -> JSON {
        option(name, Choice.allCases.map { .string($0.rawValue) }, .string(standard.rawValue), in: format)
    }

    /// What a method can do with calibration data; the damping is chosen by the number of tokens where none is named.
    private static func calibrationOptions(of method: Method) -> [JSON] {
        let formats = method.formats.filter { method.takesCalibration(in: $0) }
        guard !formats.isEmpty else { return [] }
        // Named where not every format of the method has the option.
        let places: [ArtifactFormat?] = formats.count < method.formats.count ? formats : [nil]
        return places.flatMap { format in
            var options = [option("calibration", Calibration.self, method.defaultCalibration, in: format)]
            if method == .awq {
                options += [
                    option("bits", [.integer(4)], .integer(4)), option("scaling", Scaling.self, Scaling.none),
                    option("clip", flags, .bool(true)), option("duo_scaling", flags, .bool(true)),
                ]
            }
            let damping: [(String, JSON)] = [
                ("name", .string("damping")), ("range", .array([.number(0), .number(1)])), ("default", .null),
            ]
            return options + [
                option("rounding", Rounding.self, .auto, in: format),
                .object(damping + (format.map { [("format", .string($0.rawValue))] } ?? [])),
            ]
        }
    }

    /// The options that one format of a method has.
    private static func formatOptions(of method: Method, _ format: ArtifactFormat) -> [JSON] {
        let place = method.formats.count > 1 ? format : nil
        var options: [JSON] = []
        if method.takesScheme(in: format) { options.append(option("scheme", Scheme.self, .w8a16, in: place)) }
        if let sizes = method.groupSizes(in: format) {
            options.append(
                option("group_size", sizes.allowed.map { .integer($0) }, .integer(sizes.standard), in: place))
        }
        return options
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
