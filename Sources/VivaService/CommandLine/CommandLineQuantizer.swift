import ArtifactStore
import Catalogue
import Observability
import OpenSSL
import Quantization

/// `viva quantize`: the same session without a server, from a file to a file or from a folder to a folder.
package struct CommandLineQuantizer {
    private let options: [RecipeOption]
    private let dtype: String?
    private let shape: String?
    private let calibration: String?
    private let interruption = Interruption()

    /// Options by their names in the contract; `dtype` and `shape` describe raw bytes, `calibration` is a file of
    /// calibration data.
    package init(options: [(String, String)], dtype: String?, shape: String?, calibration: String? = nil) {
        self.options = options.map { RecipeOption($0.0, $0.1) }
        self.calibration = calibration
        self.dtype = dtype
        self.shape = shape
    }

    /// Quantizes `input` (`-` is standard input) into `output`, which appears whole or not at all; returns the report
    /// for people, and writes it to `reportPath` if there is one: a page where that ends in `.html`, else JSON.
    /// A folder becomes a folder.
    package func run(input: String, output: String, reportPath: String?) throws(ServiceError) -> String {
        if let reportPath { try Self.requireReplaceable(reportPath) }
        guard InputFile.isFolder(input) else { return try runFile(input, output, reportPath) }
        try Self.keep([calibration], from: [reportPath])
        guard dtype == nil, shape == nil else { throw .failed("--dtype and --shape describe raw bytes") }
        guard !hasBudget else {
            throw .failed("a budget is for a file; give each shard of a model one of its own")
        }
        do {
            try interruption.listen()
            return try FolderQuantizer(options: options, calibration: calibration, interruption: interruption)
                .run(input: input, output: output, reportPath: reportPath)
        } catch {
            throw Self.explain(error)
        }
    }

    private var hasBudget: Bool { options.contains { Budget.names.contains($0.name) } }

    private func runFile(_ input: String, _ output: String, _ reportPath: String?) throws(ServiceError) -> String {
        guard calibration == nil || !hasBudget else { throw .failed("a budget compares recipes without data") }
        guard output != reportPath else { throw .failed("--report and --output are the same file") }
        try Self.keep([input, calibration], from: [output, reportPath])
        do {
            if let budget = try Budget.read({ name in options.first { $0.name == name }?.text }) {
                return try run(within: budget, input, output, reportPath)
            }
            let recipe = try Recipe(options: options)
            let declaration = try QuantizeRequest.declaration(dtype: dtype, shape: shape)
            let file = try InputFile(path: input)
            // Nobody can interrupt the wait for a pipe: there Ctrl-C ends the process at once.
            if file.length != nil { try interruption.listen() }
            let staged = try StagedFile.beside(path: output)
            let run = try LocalRun(
                recipe: recipe, calibration: calibration, totalBytes: file.length ?? 0, interruption: interruption)
            defer { run.progress.finish() }
            let outcome = try run.quantize(
                file, declaration, isShard: false, into: staged,
                scratch: StagedFile.anonymous(in: Self.folder(of: output)),
                intake: declaration == .recognise ? Self.intake(file.length, beside: output) : nil)
            let description = ArtifactDescription(
                id: outcome.digest.hex, name: nil, recipe: recipe,
                inputDigest: "sha256:\(outcome.digest.hex)", inputBytes: outcome.bytes,
                result: outcome.result,
                calibration: reportPath == nil ? nil : try LocalRun.digest(calibration))
            try Self.commit(staged, description, output, reportPath)
            return ReportText(result: outcome.result, inputBytes: outcome.bytes).text
        } catch {
            throw Self.explain(error)
        }
    }

    /// The same with a method and options for each tensor, chosen so that the file is within the budget.
    private func run(
        within budget: Budget, _ input: String, _ output: String, _ reportPath: String?
    ) throws -> String {
        let own = options.filter { !Budget.names.contains($0.name) }
        let file = try InputFile(path: input)
        let staged = try StagedFile.beside(path: output)
        let folder = Self.folder(of: output)
        let session = try BudgetSession(
            budget: budget, candidates: BudgetCandidate.list(options: own),
            declaration: QuantizeRequest.declaration(dtype: dtype, shape: shape), declaredBytes: file.length,
            engine: Engine.name, output: StagedStorage(staged),
            staged: StagedStorage(try StagedFile.anonymous(in: folder)),
            openScratch: { () throws(StorageFailure) in
                try StagedStorage.opening { () throws(StoreError) in try StagedFile.anonymous(in: folder) }
            })
        let made = try BudgetRun(session).run { (span) throws(StoreError) in try file.read(into: &span) }
        let digest = made.pumped.inputDigest.hex
        let result = made.pumped.results[0]
        let description = ArtifactDescription(
            id: digest, name: nil, recipe: made.recipe, inputDigest: "sha256:\(digest)",
            inputBytes: made.pumped.inputBytes, result: result, budget: made.outcome)
        try Self.commit(staged, description, output, reportPath)
        let report = ReportText(result: result, inputBytes: made.pumped.inputBytes).text
        return report + "\n\n" + BudgetText(outcome: made.outcome).text
    }

    /// Gives the artifact its name, and writes the report where it is wanted.
    private static func commit(
        _ staged: StagedFile, _ description: ArtifactDescription, _ output: String, _ reportPath: String?
    ) throws {
        let isPage = reportPath?.lowercased().hasSuffix(".html") == true
        let digest = isPage ? "sha256:\(try staged.digest().hex)" : ""
        try staged.commit(to: output)
        if let reportPath { try write(description, digest, to: reportPath) }
    }

    /// Writes the report: a page where the path ends in `.html`, else JSON.
    static func write(_ description: ArtifactDescription, _ digest: String, to path: String) throws {
        let report = try StagedFile.beside(path: path)
        let isPage = path.lowercased().hasSuffix(".html")
        try report.write(isPage ? page(description, digest) : description.report().bytes())
        try report.commit(to: path)
    }

    /// Where an archive waits until it is whole.
    private static func intake(_ declaredBytes: Int?, beside output: String) -> ArchiveIntake {
        ArchiveIntake(
            codec: ZlibArchiveCodec(), declaredBytes: declaredBytes,
            openScratch: { () throws(StorageFailure) in
                try StagedStorage.opening { () throws(StoreError) in try StagedFile.anonymous(in: folder(of: output)) }
            })
    }

    /// The same page as the service's, from the same JSON.
    private static func page(_ description: ArtifactDescription, _ digest: String) throws -> [UInt8] {
        let report = description.report().bytes()
        let manifest = description.record(digest: digest, owner: "", createdAt: Clock.milliseconds()).manifest
        let card = try ArtifactCard(manifest: manifest)
        let page = try ReportPage(
            card: card, report: ReportDocument(report, length: report.count), relatives: [],
            loading: LoadingSteps(
                card: card, config: try ManifestReader.text(of: "quantization_config", in: manifest), isServed: false)
        ).page
        return Array(try page.markup().text.utf8)
    }

    private static func folder(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    /// Refuses to write over a file that is read: the weights would be gone.
    static func keep(_ sources: [String?], from results: [String?]) throws(ServiceError) {
        for source in sources.compactMap({ $0 }) {
            for result in results.compactMap({ $0 }) where InputFile.isSame(source, result) {
                throw .failed("\(result) is read by this command and would be lost: write to another place")
            }
        }
    }

    /// Refuses a place of the report that could not be taken when the work is done.
    private static func requireReplaceable(_ path: String) throws(ServiceError) {
        do {
            _ = try StagedFile.beside(path: path)
        } catch .notReplaced(let path) {
            throw explain(StoreError.notReplaced(path: path))
        } catch {
            // Its folder may be the one that is made: what is wrong then shows when the report is written.
        }
    }

    /// Refuses a folder where a command reads one file.
    static func refuseFolder(_ path: String) throws(ServiceError) {
        guard InputFile.isFolder(path) else { return }
        throw .failed("\(path) is a folder; this command reads one file, a shard of a model for instance")
    }

    /// What a person reads of a failure.
    static func explain(_ error: any Error) -> ServiceError {
        switch error {
        case let error as ServiceError: error
        case let error as QuantizationError: .failed(ProblemText.detail(error))
        case TransferError<StoreError>.receive(let error): .failed("\(error)")
        case TransferError<StoreError>.session(let error): .failed(ProblemText.detail(error))
        default: .failed(ProblemText.detail(any: error))
        }
    }
}
