import ArtifactStore
import HTTPServer
import OpenSSL
import Quantization

extension QuantizeHandler {
    /// `POST /v1/quantize` with a budget: the input is staged, every candidate measured on the way, and the artifact
    /// of least error within the budget made of what was staged.
    func within(
        _ budget: Budget, _ candidates: [BudgetCandidate], _ request: inout Request, _ wanted: QuantizeRequest,
        _ principal: Principal, _ permit: WorkPermit
    ) throws(Problem) -> Response {
        let staged: StagedContent
        let input: StagedFile
        do throws(StoreError) {
            staged = try facilities.store.stage()
            input = try facilities.store.scratch()
        } catch {
            throw Problem(error)
        }
        let reservation = facilities.reservation(permit)
        let session: BudgetSession
        do throws(QuantizationError) {
            session = try BudgetSession(
                budget: budget, candidates: candidates, declaration: wanted.declaration,
                declaredBytes: request.body.declaredLength, engine: Engine.name, limits: facilities.limits,
                output: StagedStorage(staged.content), staged: StagedStorage(input),
                openScratch: { [store = facilities.store] () throws(StorageFailure) in
                    try StagedStorage.opening { () throws(StoreError) in try store.scratch() }
                }, memory: facilities.memory,
                reserve: { (bytes) throws(QuantizationError) in try reservation.add(bytes) })
        } catch {
            throw reservation.problem(error)
        }
        let run: BudgetRun
        do throws(OpenSSLError) {
            run = try BudgetRun(session)
        } catch {
            throw Problem(error)
        }
        let made: BudgetRun.Made
        do throws(TransferError<Problem>) {
            made = try run.run { (span) throws(Problem) in try request.body.read(into: &span) }
        } catch {
            throw reservation.problem(error)
        }
        let making = Making(recipe: made.recipe, staged: staged, scratch: input)
        return try conclude(made.pumped, wanted, [making], principal, budget: made.outcome)
    }
}

/// Moves an input to a budget session and hashes it on the way.
struct BudgetRun {
    /// What came of it.
    struct Made {
        let recipe: Recipe
        let outcome: BudgetOutcome
        let pumped: InputPump.Outcome
    }

    private let session: BudgetSession
    private let hash: SHA256

    init(_ session: BudgetSession) throws(OpenSSLError) {
        self.session = session
        hash = try SHA256()
    }

    /// Calls `receive` until it returns 0, then makes the artifact.
    func run<Receive: Error>(
        _ receive: (inout MutableRawSpan) throws(Receive) -> Int
    ) throws(TransferError<Receive>) -> Made {
        let clock = ContinuousClock()
        let start = clock.now
        var total = 0
        try transfer(receive) { (bytes) throws(QuantizationError) in
            hash.update(bytes)
            try session.consume(bytes)
            total += bytes.byteCount
            return true
        }
        let received = clock.now
        let digest = hash.finish()
        do throws(QuantizationError) {
            let made = try session.finish(inputDigest: "sha256:\(digest.hex)")
            return Made(
                recipe: made.recipe, outcome: made.outcome,
                pumped: InputPump.Outcome(
                    results: [made.result], inputDigest: digest, inputBytes: total, receiving: received - start,
                    finishing: clock.now - received))
        } catch {
            throw .session(error)
        }
    }
}
