import ArtifactStore
import Catalogue
import HTTPServer
import HTTPTypes
import Jobs
import Logging
import Processes
import Quantization
import Synchronization

/// Has each job done by a process of its own, which it starts, hears and ends.
final class ProcessWorker: JobWorker {
    /// Memory of a process that quantizes nothing: its program, buffers, and the stacks of its threads, which count
    /// although they are hardly touched.
    static let baseBytes = 512 << 20
    /// What such a process really takes, and its job is planned with.
    static let residentBytes = 32 << 20
    /// Descriptors of a worker: what it is given, and what its libraries open.
    static let mostDescriptors = 64
    /// How gladly the kernel kills a worker when memory is gone: before the server, which would take all with it.
    static let killPreference = 500
    /// How long a worker that was told to stop may take to leave a checkpoint; how long one that is done may take to
    /// end.
    static let patience: Duration = .seconds(5)
    /// A worker that says nothing and computes nothing for so long is ended, as one that crashed: it may have been
    /// stopped, or wait for what never comes. One that says nothing but computes may go on.
    static let silence: Duration = .seconds(60)
    /// How often the time is looked at while nothing comes.
    private static let lookMilliseconds = 250

    private let store: ArtifactStore
    private let catalogue: Catalogue
    private let metrics: ServiceMetrics
    private let limits: SessionLimits
    private let board: JobBoard
    private let logger: Logger
    /// The program that is started, with its first arguments.
    private let program: ChildPlan

    init(_ facilities: Facilities, board: JobBoard, logger: Logger, program: ChildPlan = .worker) {
        store = facilities.store
        catalogue = facilities.catalogue
        metrics = facilities.metrics
        limits = facilities.limits
        self.board = board
        self.logger = logger
        self.program = program
    }

    func work(_ job: JobRecord, _ control: JobControl) -> JobEnd {
        do {
            return try run(job, control)
        } catch {
            let failure =
                error as? WorkFailure ?? failure(Self.problem(error), of: job, isOutside: true)
            return end(of: job, by: failure)
        }
    }

    /// What becomes of a job that failed: its row has the problem, the log has the evidence too.
    private func end(of job: JobRecord, by failure: WorkFailure) -> JobEnd {
        var metadata: Logger.Metadata = ["job": "\(job.id)", "problem": "\(failure.problem)"]
        metadata["detail"] = failure.evidence.map { "\($0)" }
        guard failure.isOutside else {
            if failure.evidence != nil { logger.error("job failed", metadata: metadata) }
            return .failed(problem: failure.problem)
        }
        metrics.workerFailed()
        logger.warning("job disturbed", metadata: metadata)
        return .disturbed(problem: failure.problem)
    }

    func discard(_ job: JobRecord) {
        do {
            try store.removeWork(job.id)
        } catch {
            // Nobody needs it any more: the next start sweeps it.
            logger.warning("work not removed", metadata: ["job": "\(job.id)", "error": "\(error)"])
        }
    }

    private func run(_ job: JobRecord, _ control: JobControl) throws -> JobEnd {
        let request = try JobRequest(text: job.recipe)
        try check(request, job)
        guard let record = try catalogue.input(job.input, owner: job.owner) else {
            throw failure(.inputNotFound(job.input), of: job)
        }
        let input = try store.openInput(String(job.input.dropFirst(InputName.prefix.count)))
        let calibration = try job.calibration.map { try self.calibration($0, of: job) }
        let (work, place) = try open(job)
        let archive = record.container == "npz" ? try store.scratch() : nil
        let descriptors = [input.descriptor, work.content.descriptor, try work.scratch().descriptor]
        // The worker makes durable what it writes; that the files have names is the store's to make so.
        try work.synchronize()
        let products =
            try request.recipe().usesMatrices ? MatrixBackend.addressSpace(threads: limits.maximumThreads) : 0
        let link = try WorkerLink(
            program, memoryBytes: Self.baseBytes + 2 * job.memory + products,
            descriptors: descriptors + (calibration.map { [$0.descriptor] } ?? [])
                + (archive.map { [$0.descriptor] } ?? []))
        // What was planned for the job is its own, be it more than all requests of a server may have together.
        let order = WorkOrder(
            request: request, artifact: job.artifact, owner: job.owner, input: job.input, inputBytes: record.bytes,
            calibration: job.calibration, threads: limits.maximumThreads,
            workingBytes: max(limits.maximumWorkingBytes, job.memory))
        try link.begin(order, place)
        control.onWish { wish in link.ask(wish) }
        defer { control.onWish(nil) }
        let outcome = try follow(link, job)
        switch outcome {
        case .stopped: return .stopped
        case .failed(let failure): throw failure
        case .gone(let exit):
            if control.wish != nil { return .stopped }
            throw failure(.workerCrashed(exit), of: job, isOutside: true)
        case .made(let artifact, let report):
            return try publish(artifact, report: report, work, job)
        }
    }

    /// Refuses a job whose artifact was named after another engine, or another library for products of matrices, than
    /// would make it now: its name, and what an earlier worker has left of it, would not be true.
    private func check(_ request: JobRequest, _ job: JobRecord) throws {
        let name = try ArtifactPublisher(store: store, catalogue: catalogue, owner: job.owner).identifier(
            input: job.input, declaration: try request.declaration(), recipe: try request.recipe(),
            calibration: job.calibration)
        guard name != job.artifact else { return }
        let library = try request.recipe().usesMatrices ? ", \(MatrixBackend.name ?? "without OpenBLAS")" : ""
        let problem = Problem(
            .conflict, code: "job.outdated", title: "The service computes otherwise by now",
            detail: "The job was ordered from another version of the service, or from another processor or library "
                + "than \(Engine.name)\(library): order it again.")
        throw failure(problem, of: job)
    }

    private func calibration(_ name: String, of job: JobRecord) throws -> OpenedSource {
        guard try catalogue.input(name, owner: job.owner) != nil else {
            throw failure(.inputNotFound(name), of: job)
        }
        return OpenedSource(try store.openInput(String(name.dropFirst(InputName.prefix.count))))
    }

    /// The work of an earlier worker and where it stood, or new work.
    private func open(_ job: JobRecord) throws -> (WorkFolder, [UInt8]) {
        if let place = try catalogue.jobCheckpoint(job.id) {
            do throws(StoreError) {
                return (try store.work(job.id), place)
            } catch {
                // It was removed, or published without a row: the work begins anew.
                logger.notice("work begins anew", metadata: ["job": "\(job.id)", "error": "\(error)"])
            }
        }
        try store.removeWork(job.id)
        return (try store.createWork(job.id), [])
    }

    private enum Outcome {
        case made(ArtifactRecord, report: [UInt8])
        case failed(WorkFailure)
        case stopped
        case gone(ChildExit?)
    }

    /// Hears the worker until its last word or its end.
    private func follow(_ link: WorkerLink, _ job: JobRecord) throws -> Outcome {
        var report: [UInt8] = []
        while let frame = try link.next(lookMilliseconds: Self.lookMilliseconds) {
            switch WorkAnswer(rawValue: frame.kind) {
            case .progress:
                let progress = try WorkProgress(frame)
                board.note(
                    job.id, bytes: progress.bytes, tensors: progress.tensors, totalTensors: progress.totalTensors,
                    at: Clock.milliseconds())
            case .checkpoint:
                try catalogue.checkpointJob(job.id, frame.payload)
                try link.confirm()
            case .report: report = frame.payload
            case .finished: return .made(try ArtifactRecord(frame), report: report)
            case .failed: return .failed(try WorkFailure(frame))
            case .stopped: return .stopped
            case nil: throw WorkError.unreadable("an answer of kind \(frame.kind)")
            }
        }
        return .gone(link.end())
    }

    private func publish(
        _ artifact: ArtifactRecord, report: [UInt8], _ work: WorkFolder, _ job: JobRecord
    ) throws -> JobEnd {
        let publisher = ArtifactPublisher(store: store, catalogue: catalogue, owner: job.owner)
        guard artifact.id == job.artifact, artifact.owner == job.owner, artifact.inputDigest == job.input,
            try work.content.length() == artifact.bytes
        else { throw WorkError.unreadable("an artifact") }
        guard let done = job.after(.succeeded, at: Clock.milliseconds()) else { return .stopped }
        guard try publisher.publish(work, artifact, report: report, ending: done) else { return .stopped }
        metrics.jobMade(artifact)
        return .succeeded(done)
    }

    private func failure(_ problem: Problem, of job: JobRecord, isOutside: Bool = false) -> WorkFailure {
        // Without its request the trace is lost, not the problem.
        let trace = (try? JobRequest(text: job.recipe))?.trace ?? ""
        return WorkFailure(isOutside: isOutside, problem, trace: trace)
    }

    private static func problem(_ error: any Error) -> Problem {
        switch error {
        case let error as Problem: error
        case let error as StoreError: Problem(error)
        case let error as CatalogueError: Problem(error)
        default:
            .failure(code: "worker.failed", evidence: "The worker could not be used: \(error).")
        }
    }
}

extension ChildPlan {
    /// This program as a worker.
    static var worker: ChildPlan { ChildPlan(arguments: ["viva", "worker"]) }
}

/// A worker process and the channel to it.
final class WorkerLink: Sendable {
    private let child: ChildProcess
    private let channel: Channel
    /// When a worker that was told to stop is ended.
    private let deadline = Mutex<ContinuousClock.Instant?>(nil)
    private let silence: Duration

    init(
        _ program: ChildPlan, memoryBytes: Int, descriptors: [Int32], silence: Duration = ProcessWorker.silence
    ) throws(ProcessError) {
        self.silence = silence
        var plan = program
        plan.isSilent = true
        plan.memoryBytes = memoryBytes
        plan.mostDescriptors = ProcessWorker.mostDescriptors
        plan.killPreference = ProcessWorker.killPreference
        var started: ChildProcess?
        channel = try Channel.connected { (far) throws(ProcessError) in
            plan.descriptors = [far.number] + descriptors
            started = try ChildProcess(plan)
        }
        guard let started else { throw .system(call: "spawn", errno: 0) }
        child = started
    }

    /// Sends what a worker needs to begin. A worker that is gone by now is noticed by who hears it.
    func begin(_ order: WorkOrder, _ place: [UInt8]) throws(ProcessError) {
        do throws(ProcessError) {
            try channel.send(order.frame)
            try channel.send(Frame(kind: WorkCommand.resume.rawValue, payload: place))
        } catch {
            guard error.isDisconnection else { throw error }
        }
    }

    /// Passes on what is wanted of the worker.
    func ask(_ wish: JobControl.Wish) {
        switch wish {
        case .cancel: child.signal(ChildProcess.kill)
        case .interrupt:
            deadline.withLock { $0 = .now + ProcessWorker.patience }
            // One that is gone needs not be told; one that does not listen is ended at the deadline.
            try? channel.send(Frame(kind: WorkCommand.stop.rawValue), milliseconds: 0)
        }
    }

    /// Tells that a checkpoint is recorded. A worker that is gone by now is noticed by who hears it.
    func confirm() throws(ProcessError) {
        do throws(ProcessError) {
            try channel.send(Frame(kind: WorkCommand.recorded.rawValue))
        } catch {
            guard error.isDisconnection else { throw error }
        }
    }

    /// The next answer; nil when the worker is gone, ended by the deadline among other things.
    func next(lookMilliseconds: Int) throws(ProcessError) -> Frame? {
        var (seen, since) = (child.processorTime, ContinuousClock.now)
        while !channel.hasInput(milliseconds: lookMilliseconds) {
            if let end = deadline.withLock({ $0 }), end < .now { child.signal(ChildProcess.kill) }
            let time = child.processorTime
            if time != seen { (seen, since) = (time, .now) }
            if .now - since > silence { child.signal(ChildProcess.kill) }
            // Somebody else may hold the worker's end of the channel; what the worker sent last has arrived by now.
            if child.wait(milliseconds: 0) != nil, !channel.hasInput() { return nil }
        }
        do throws(ProcessError) {
            return try channel.receive(atMost: Channel.maximumPayload)
        } catch {
            guard error.isDisconnection else { throw error }
            return nil
        }
    }

    /// How a worker that closed its channel has ended; it is killed when it does not.
    func end() -> ChildExit? {
        if let exit = child.wait(milliseconds: Int(ProcessWorker.patience.components.seconds) * 1000) { return exit }
        child.signal(ChildProcess.kill)
        return child.wait()
    }
}

extension Problem {
    /// A worker process that ended without a word.
    static func workerCrashed(_ exit: ChildExit?) -> Problem {
        var members: [(String, ProblemValue)] = []
        let how: String
        switch exit {
        case .signal(let number)?:
            members.append(("signal", .integer(Int(number))))
            how = "by signal \(number)"
        case .code(let code)?:
            members.append(("exit_code", .integer(Int(code))))
            how = "with exit code \(code)"
        case nil: how = "in an unknown way"
        }
        return Problem(
            .internalServerError, code: "worker.crashed", title: "The worker process ended",
            detail: "The process that worked on this job ended \(how). Nothing else was affected.", members: members)
    }

    static func inputNotFound(_ name: String) -> Problem {
        Problem(
            .notFound, code: "input.not_found",
            detail: "There is no input '\(name)'; inputs are called sha256:…, as 'curl -T FILE …/v1/inputs' answers.")
    }
}
