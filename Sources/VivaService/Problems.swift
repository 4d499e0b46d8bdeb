import ArtifactStore
import Catalogue
import HTTPServer
import HTTPTypes
import OpenSSL
import Quantization
import Tensors

// The one table from errors of the modules to what a client reads.

extension Problem {
    /// The answer to a session that refused its input.
    init(_ error: QuantizationError) {
        switch error {
        case .recipe(let code, let detail):
            let isAbsent = code == "recipe.mode_unavailable" || code == "recipe.bits_unavailable"
            self.init(
                isAbsent ? .unprocessableContent : .badRequest, code: code, title: "The recipe is not valid",
                detail: detail)
        case .container(let error): self.init(error)
        case .truncated(let expected, let received):
            self = .truncated(
                expected, received, title: "The input ends too early",
                detail: received == 0 && expected <= 8
                    ? "The input is empty." : "It has \(expected) bytes at least, \(received) arrived.")
        case .trailingBytes(let expected):
            self.init(
                .badRequest, code: "input.trailing_bytes", title: "The input goes on after its last tensor",
                detail: "It has \(expected) bytes, more arrived.",
                members: [("expected_bytes", .integer(expected))])
        case .nonFinite(let tensor, let index):
            self.init(
                .unprocessableContent, code: "tensor.non_finite", title: "A weight is not a finite number",
                detail: "Element \(index) of '\(tensor)' is NaN or infinite, or a float64 beyond float32.",
                members: [("tensor", .string(tensor)), ("index", .integer(index))])
        case .outOfRange(let tensor, let index, let value, let limit):
            self.init(
                .unprocessableContent, code: "tensor.out_of_range", title: "A weight is too large for the format",
                detail: "Element \(index) of '\(tensor)' is \(value); the format holds magnitudes up to \(limit).",
                members: [
                    ("tensor", .string(tensor)), ("index", .integer(index)), ("value", .double(Double(value))),
                    ("limit", .double(Double(limit))),
                ])
        case .limit(let name, let value, let limit, let tensor):
            self = .exceeded(name, value: value, limit: limit, tensor: tensor)
        case .busy(let wanted):
            self.init(
                .serviceUnavailable, code: "server.memory", title: "Other inputs hold the memory",
                detail: "This input needs \(wanted) bytes of memory; send it again later.", fields: [.retryAfter: "5"])
        case .nothingToQuantize(let detail):
            self.init(
                .unprocessableContent, code: "input.nothing_to_quantize", title: "Nothing to quantize", detail: detail)
        case .budget(let name, let value, let smallest):
            self = .tooSmall(name, budget: value, smallest: smallest)
        case .gate(let name, let value, let bound, let tensor):
            self.init(
                .unprocessableContent, code: "gate.\(name)", title: "A tensor loses more than the request allows",
                detail: "\(name) is \(bound); '\(tensor)' has \(Self.rounded(value)), "
                    + "\(Self.rounded((value - bound).magnitude)) too \(value < bound ? "little" : "much").",
                members: [
                    ("tensor", .string(tensor)), ("value", .double(value)), ("bound", .double(bound)),
                ])
        case .calibration(let code, let detail):
            // The one that is the machine's fault.
            let status: HTTPResponse.Status =
                code == "calibration.unavailable" ? .notImplemented : .unprocessableContent
            let isFolding = code.utf8.starts(with: "calibration.fold".utf8)
            let title = isFolding ? "Scales have nowhere to go" : "Calibration data is missing or unfit"
            self.init(status, code: code, title: title, detail: detail)
        case .scales(let code, let tensor, let detail):
            self.init(
                .unprocessableContent, code: code, title: "The scales of an FP8 weight cannot be used", detail: detail,
                members: [("tensor", .string(tensor))])
        case .artifact(let code, let detail, let tensor):
            self.init(
                .unprocessableContent, code: code, title: "The artifact cannot be restored", detail: detail,
                members: [("tensor", tensor.map { .string($0) } ?? .null)])
        case .snapshot(let flaw):
            self.init(
                .gone, code: "snapshot.\(flaw)", title: "What was begun cannot go on",
                detail: "The recorded state is of no use any more (\(flaw)); begin again with the first byte.")
        case .interrupted:
            self.init(.serviceUnavailable, code: "session.interrupted", detail: "The work was interrupted.")
        case .storage(let failure): self.init(storage: failure.code, failure.operation)
        }
    }

    /// The answer to a body that did not arrive, or that its session refused.
    init(_ error: TransferError<Problem>) {
        switch error {
        case .receive(let problem): self = problem
        case .session(let error): self.init(error)
        }
    }

    /// Four digits behind the point, for people.
    private static func rounded(_ figure: Double) -> Double { (figure * 10_000).rounded() / 10_000 }

    private init(_ error: TensorFormatError) {
        var members: [(String, ProblemValue)] = []
        if let offset = error.offset { members.append(("offset", .integer(offset))) }
        if let tensor = error.tensor { members.append(("tensor", .string(tensor))) }
        let isLimit = Self.containerLimits.contains { error.code.hasSuffix(".\($0)") }
        self.init(
            isLimit ? .contentTooLarge : .badRequest, code: error.code, title: "The input is malformed",
            detail: error.detail, members: members)
    }

    /// An input of which `expected` bytes were needed.
    static func truncated(_ expected: Int, _ received: Int, title: String, detail: String) -> Problem {
        Problem(
            .badRequest, code: "input.truncated", title: title, detail: detail,
            members: [("expected_bytes", .integer(expected)), ("received_bytes", .integer(received))])
    }

    private static func exceeded(_ name: String, value: Int, limit: Int, tensor: String?) -> Problem {
        Problem(
            .contentTooLarge, code: "limit.\(name)", title: "A limit is exceeded",
            detail: "\(name) is \(value), the limit is \(limit).",
            members: [
                ("limit_name", .string(name)), ("value", .integer(value)), ("limit", .integer(limit)),
                ("tensor", tensor.map { .string($0) } ?? .null),
            ])
    }

    private static func tooSmall(_ name: String, budget: Double, smallest: Double) -> Problem {
        Problem(
            .unprocessableContent, code: "budget.too_small", title: "The budget is too small",
            detail: "\(name) is \(plain(budget)); the smallest artifact has \(plain(smallest)), "
                + "\(plain(smallest - budget)) more.",
            members: [
                ("budget", .double(budget)), ("smallest", .double(smallest)), ("missing", .double(smallest - budget)),
            ])
    }

    /// Codes that mean a named limit rather than malformed bytes.
    private static let containerLimits = [
        "header_too_large", "rank_too_large", "too_many_tensors", "too_many_metadata", "name_too_long",
        "too_many_members", "directory_too_large", "member_too_large", "inflated_too_large", "ratio_too_large",
        "too_many_elements", "text_too_long",
    ]

    /// A number as people write it: 1234, not 1234.0.
    private static func plain(_ value: Double) -> String {
        Int(exactly: value).map { "\($0)" } ?? "\(value)"
    }

    /// The answer to a failure of the disk.
    init(_ error: StoreError) {
        if error.isDiskFull {
            self = .diskFull
        } else if error.isOutOfDescriptors {
            self.init(
                .serviceUnavailable, code: "server.descriptors", title: "Too many files are open",
                detail: "The server has no file descriptor left; send it again later.", fields: [.retryAfter: "5"])
        } else {
            self = .failure(code: "storage.failed", evidence: "The disk refused: \(error).")
        }
    }

    /// The answer to a failure of the catalogue.
    init(_ error: CatalogueError) {
        if error.isDiskFull {
            self = .diskFull
        } else if case .invalidCursor = error {
            self.init(
                .badRequest, code: "request.invalid_cursor", title: "The cursor is not valid",
                detail: "A cursor is the `next` of an earlier page, unchanged.")
        } else {
            self = .failure(code: "catalogue.failed", evidence: "The catalogue refused: \(error).")
        }
    }

    /// The answer to a failure of the crypto library.
    init(_ error: OpenSSLError) {
        self = .failure(code: "crypto.failed", evidence: "\(error).")
    }

    private init(storage code: Int32, _ operation: String) {
        if code == StagedStorage.diskFull {
            self = .diskFull
        } else {
            self = .failure(code: "storage.failed", evidence: "\(operation) failed with errno \(code).")
        }
    }

    /// The answer when JSON of our own does not read as what it should be.
    init(unreadable error: any Error) {
        self = .failure(code: "report.unreadable", evidence: "The stored report cannot be read: \(error).")
    }

    /// The answer to an error that no module is known to throw here.
    init(unexpected error: any Error) {
        self = .failure(code: "server.failed", evidence: "An error of no known kind: \(error).")
    }

    static let diskFull = Problem(
        HTTPResponse.Status(code: 507, reasonPhrase: "Insufficient Storage"), code: "storage.full",
        title: "The disk is full", detail: "The server's disk has no room for what this request would keep.")

    static func notFound(_ id: String) -> Problem {
        Problem(.notFound, code: "artifact.not_found", detail: "There is no artifact '\(id)'.")
    }
}
