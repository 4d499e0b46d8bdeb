import ArtifactStore
import Observability
import OpenSSL
import Quantization

/// `viva quantize`: the same session without a server, from a file to a file.
package struct CommandLineQuantizer {
    private let options: [RecipeOption]
    private let dtype: String?
    private let shape: String?

    /// Options by their names in the contract; `dtype` and `shape` describe raw bytes.
    package init(options: [(String, String)], dtype: String?, shape: String?) {
        self.options = options.map { RecipeOption($0.0, $0.1) }
        self.dtype = dtype
        self.shape = shape
    }

    /// Quantizes `input` (`-` is standard input) into `output`, which appears whole or not at all; returns the report
    /// for people, and writes it as JSON to `reportPath` if there is one.
    package func run(input: String, output: String, reportPath: String?) throws(ServiceError) -> String {
        let staged: StagedFile
        let outcome: InputPump.Outcome
        let recipe: Recipe
        do {
            recipe = try Recipe(options: options)
            let declaration = try QuantizeRequest.declaration(dtype: dtype, shape: shape)
            let file = try InputFile(path: input)
            staged = try StagedFile.beside(path: output)
            let session = try QuantizingSession(
                recipe: recipe, declaration: declaration, declaredBytes: file.length, engine: Engine.name,
                output: StagedStorage(staged),
                scratch: StagedStorage(try StagedFile.anonymous(in: Self.folder(of: output))))
            let pump = try InputPump(sessions: [session], inputBytes: file.length, pool: BufferPool())
            outcome = try pump.run { (span) throws(StoreError) in try file.read(into: &span) }
        } catch {
            throw Self.explain(error)
        }
        let description = ArtifactDescription(
            id: outcome.inputDigest.hex, name: nil, recipe: recipe, inputDigest: "sha256:\(outcome.inputDigest.hex)",
            inputBytes: outcome.inputBytes, result: outcome.results[0])
        do {
            try staged.commit(to: output)
            if let reportPath {
                let report = try StagedFile.beside(path: reportPath)
                try report.write(description.report().bytes())
                try report.commit(to: reportPath)
            }
        } catch {
            throw Self.explain(error)
        }
        return ReportText(result: outcome.results[0], inputBytes: outcome.inputBytes).text
    }

    private static func folder(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    private static func explain(_ error: any Error) -> ServiceError {
        switch error {
        case let error as InputPump.Failure<StoreError>:
            switch error {
            case .receive(let error): .failed("\(error)")
            case .session(let error): .failed(ProblemText.detail(error))
            }
        case let error as QuantizationError: .failed(ProblemText.detail(error))
        default: .failed(ProblemText.detail(any: error))
        }
    }
}
