import ArtifactStore
import Catalogue
import HTTPServer
import HTTPTypes
import OpenSSL
import Processes
import Quantization
import Sockets
import Synchronization
import Tensors

/// The other side of a job: this program started as `viva worker`, which makes one artifact and ends.
///
/// It opens no file: it reads and writes the descriptors that it was born with. Whatever happens to it, a trap, a kill,
/// memory that is not there, happens to this job alone.
package final class WorkerProcess {
    /// The exit code of a worker that nobody gave an order (EX_USAGE of sysexits.h).
    package static let withoutOrder: Int32 = 64
    /// How often progress is told.
    static let progressInterval: Duration = .milliseconds(250)
    /// How often a place to go on from is made durable.
    static let checkpointInterval: Duration = .seconds(4)

    let channel: Channel
    let order: WorkOrder
    private let checkpoint: [UInt8]

    /// Receives the order.
    private init(_ channel: consuming Channel) throws {
        order = try WorkOrder(channel.receive(atMost: WorkOrder.maximumBytes))
        guard let resume = try channel.receive(atMost: Channel.maximumPayload),
            resume.kind == WorkCommand.resume.rawValue
        else { throw WorkError.unreadable("a checkpoint") }
        checkpoint = resume.payload
        self.channel = channel
    }

    /// Does the one order of this process; answers its exit code.
    package static func run() -> Int32 {
        Process.name("viva-worker")
        do {
            let worker = try WorkerProcess(Channel(owning: WorkDescriptor.channel))
            do {
                try worker.work()
            } catch let failure as WorkFailure {
                try worker.channel.send(failure.frame)
            }
            return 0
        } catch {
            // Without a channel there is nobody to tell but the exit code: the server sees the worker end.
            return withoutOrder
        }
    }

    private func work() throws {
        let making = try inherited()
        guard making.input.byteCount == order.inputBytes else {
            throw failure(
                Problem(
                    .internalServerError, code: "input.changed",
                    detail: "The stored input has \(making.input.byteCount) bytes; \(order.inputBytes) were recorded."))
        }
        guard let result = try make(making) else {
            try channel.send(Frame(kind: WorkAnswer.stopped.rawValue))
            return
        }
        try tell(result, making)
    }

    private func inherited() throws(WorkFailure) -> Making {
        do throws(StoreError) {
            return try Making.inherited(calibration: order.calibration != nil)
        } catch {
            throw failure(Problem(error), isOutside: true)
        }
    }

    /// Sends the report and what the catalogue is to remember.
    private func tell(_ result: SessionResult, _ making: borrowing Making) throws {
        let description = ArtifactDescription(
            id: order.artifact, name: order.request.name, recipe: try recipe(), inputDigest: order.input,
            inputBytes: order.inputBytes, result: result, calibration: order.calibration)
        try channel.send(Frame(kind: WorkAnswer.report.rawValue, payload: description.report().bytes()))
        do {
            let digest = try making.content.digest()
            let record = description.record(
                digest: "sha256:\(digest.hex)", owner: order.owner, createdAt: Clock.milliseconds())
            try channel.send(record.frame)
        } catch let error as StoreError {
            throw failure(Problem(error), isOutside: true)
        }
    }

    private func recipe() throws(WorkFailure) -> Recipe {
        do throws(Problem) {
            return try order.request.recipe()
        } catch {
            throw failure(error)
        }
    }

    func failure(_ problem: Problem, isOutside: Bool = false) -> WorkFailure {
        WorkFailure(isOutside: isOutside, problem, trace: order.request.trace)
    }

    private func failure(_ error: QuantizationError) -> WorkFailure {
        switch error {
        case .storage, .busy: failure(Problem(error), isOutside: true)
        default: failure(Problem(error))
        }
    }
}

// The pass over the input.
extension WorkerProcess {
    /// The files of one order.
    struct Making: ~Copyable {
        let content: StagedFile
        let scratch: StagedFile
        let input: OpenedSource
        /// Calibration data that came as an input of its own.
        let calibration: OpenedSource?

        /// The files that this process was born with.
        static func inherited(calibration: Bool) throws(StoreError) -> Making {
            let content = try StagedFile.inherited(WorkDescriptor.content, isKept: true)
            let scratch = try StagedFile.inherited(WorkDescriptor.scratch, isKept: true)
            return Making(
                content: content, scratch: scratch, input: OpenedSource(try .inherited(WorkDescriptor.input)),
                calibration: calibration ? OpenedSource(try .inherited(WorkDescriptor.calibration)) : nil)
        }
    }

    /// The pump of an order and how far it was filled.
    struct Pass: ~Copyable {
        let pump: InputPump
        let plan: PlannedInput
        /// Bytes of the input that an earlier worker has worked on or that were handed to the pump.
        var position: Int
    }

    /// What a session's plan said: where the tensors of the input end that are finished when their last byte has come.
    final class PlannedInput: Sendable {
        private let plan = Mutex<(ends: [Int], total: Int)>(([], 0))

        /// Called once, by the session.
        func take(_ layout: ArtifactLayout) {
            let input = layout.input
            let streamed = input.entries.indices.filter { !layout.isLayer($0) }
            let ends = streamed.map { input.dataOffset + input.entries[$0].bytes.upperBound }.sorted()
            plan.withLock { $0 = (ends, input.entries.count) }
        }

        /// Whether some are coded behind the last byte.
        var hasLayers: Bool { plan.withLock { $0.ends.count < $0.total } }

        /// How many tensors are finished before `position`, `layers` of those coded behind the last byte among them.
        func progress(at position: Int, layers: Int = 0) -> WorkProgress {
            plan.withLock { plan in
                var (low, high) = (0, plan.ends.count)
                while low < high {
                    let middle = (low + high) / 2
                    if plan.ends[middle] <= position { low = middle + 1 } else { high = middle }
                }
                return WorkProgress(bytes: position, tensors: low + layers, totalTensors: plan.total)
            }
        }
    }

    /// Works through the input; nil when the server wants this process to end.
    private func make(_ making: borrowing Making) throws -> SessionResult? {
        do {
            var pass: Pass
            if let place = try resumed(making) { pass = place } else { pass = try begun(making) }
            let clock = ContinuousClock()
            var (told, kept) = (clock.now, clock.now)
            while pass.position < order.inputBytes {
                try fill(&pass, making)
                // Looked at behind a piece, so that every worker comes further.
                if channel.hasInput() {
                    // The wish to end, which alone comes unasked for.
                    _ = try channel.receive(atMost: 0)
                    if try keep(pass, making) { _ = try isRecorded() }
                    return nil
                }
                if clock.now - told >= Self.progressInterval {
                    try tell(pass)
                    told = clock.now
                }
                if clock.now - kept >= Self.checkpointInterval {
                    if try keep(pass, making), try !isRecorded() { return nil }
                    kept = clock.now
                }
            }
            let pump = pass.pump
            let hash = try pump.settled { (_) throws(QuantizationError) in pump.hashState }
            let digest = pump.digest()
            // Layers tell themselves how many of them are finished.
            if !pass.plan.hasLayers { try tell(pass) }
            guard InputName.of(digest) == order.input else { throw damaged(order.input) }
            guard try isWhole(making.calibration) else { return nil }
            return try finish(pass, making, digest: digest, hash: hash)
        } catch let error as QuantizationError {
            throw failure(error)
        }
    }

    /// Hands the next piece of the input to the pump, which works on it while the one behind it is read.
    private func fill(_ pass: inout Pass, _ making: borrowing Making) throws(QuantizationError) {
        let (input, position, end) = (making.input, pass.position, order.inputBytes)
        do throws(TransferError<QuantizationError>) {
            pass.position += try pass.pump.take { (span) throws(QuantizationError) in
                try input.read(into: &span, at: position, until: end)
            }
        } catch {
            switch error {
            case .receive(let error), .session(let error): throw error
            }
        }
    }

    private func begun(_ making: borrowing Making) throws -> Pass {
        let (plan, memory) = (PlannedInput(), MemoryBudget(bytes: order.workingBytes))
        return Pass(
            pump: InputPump(
                sessions: [try session(making, plan, memory)], intake: try intake(memory),
                inputBytes: order.inputBytes, pool: BufferPool(), hash: try InputHash()),
            plan: plan, position: 0)
    }

    /// Goes on where an earlier worker stood; nil when it left nothing that fits, and all is made anew.
    private func resumed(_ making: borrowing Making) throws -> Pass? {
        guard let place = WorkPlace(checkpoint), place.headBytes <= order.inputBytes else { return nil }
        let plan = PlannedInput()
        let session = try session(making, plan, MemoryBudget(bytes: order.workingBytes))
        do {
            try making.input.readAll(first: place.headBytes) { (piece) throws(QuantizationError) in
                try session.consume(piece)
            }
            try session.resume(place.state)
            let position = session.consumedBytes
            // No intake: an archive leaves no place to go on from.
            return Pass(
                pump: InputPump(
                    sessions: [session], inputBytes: order.inputBytes - position, pool: BufferPool(),
                    hash: try InputHash(state: place.hash)),
                plan: plan, position: position)
        } catch QuantizationError.snapshot {
            return nil
        } catch is SHA256StateError {
            return nil
        }
    }

    private var limits: SessionLimits {
        var limits = SessionLimits()
        limits.maximumThreads = order.threads
        return limits
    }

    private func declaration() throws(WorkFailure) -> InputDeclaration {
        do throws(Problem) {
            return try order.request.declaration()
        } catch {
            throw failure(error)
        }
    }

    private func session(
        _ making: borrowing Making, _ plan: PlannedInput, _ memory: MemoryBudget
    ) throws -> sending QuantizingSession {
        let limits = limits
        let calibration = try making.calibration.map { (source) throws(QuantizationError) in
            try CalibrationFile(source: source, limits: limits, memory: MemoryShare(memory))
        }
        return try QuantizingSession(
            recipe: try recipe(), declaration: try declaration(), declaredBytes: order.inputBytes,
            engine: Engine.name, limits: limits, calibrationFile: calibration,
            output: StagedStorage(making.content), scratch: StagedStorage(making.scratch), memory: memory,
            onPlan: { [content = making.content, scratch = making.scratch] (layout) throws(QuantizationError) in
                plan.take(layout)
                do throws(StoreError) {
                    try content.reserve(layout.fileBytes)
                    try scratch.reserve(layout.scratchBytes)
                } catch {
                    throw .storage(StagedStorage.failure("reserve", error))
                }
            })
    }

    /// What keeps an archive until it is whole; nil for bytes that were described.
    private func intake(_ memory: MemoryBudget) throws(WorkFailure) -> sending ArchiveIntake? {
        guard try declaration() == .recognise else { return nil }
        let place = WorkDescriptor.archive(besideCalibration: order.calibration != nil)
        return ArchiveIntake(
            codec: ZlibArchiveCodec(), declaredBytes: order.inputBytes, limits: limits, memory: memory,
            openScratch: { () throws(StorageFailure) in
                try StagedStorage.opening { () throws(StoreError) in
                    try StagedFile.inherited(place, isKept: false)
                }
            })
    }

    private func tell(_ pass: borrowing Pass) throws(ProcessError) {
        try channel.send(pass.plan.progress(at: pass.position).frame)
    }

    /// Makes durable what was written, and then tells where another worker can go on; false where there is none.
    private func keep(_ pass: borrowing Pass, _ making: borrowing Making) throws -> Bool {
        let pump = pass.pump
        let kept = try pump.settled { (sessions) throws(QuantizationError) -> WorkPlace? in
            // An archive is unpacked when it is whole, by what no snapshot holds.
            if pump.holdsArchive { return nil }
            return WorkPlace(
                headBytes: sessions[0].headBytes, hash: pump.hashState, state: try sessions[0].snapshot())
        }
        guard let place = kept else { return false }
        try keep(place, making.content, making.scratch)
        return true
    }

    /// The same from a place that is known.
    func keep(_ place: WorkPlace, _ content: StagedFile, _ scratch: StagedFile) throws {
        do throws(StoreError) {
            try content.synchronize()
            try scratch.synchronize()
        } catch {
            throw failure(Problem(error), isOutside: true)
        }
        try channel.send(Frame(kind: WorkAnswer.checkpoint.rawValue, payload: place.bytes))
    }

    /// Waits until the checkpoint is recorded: what a session writes next may take the place of what only an older
    /// checkpoint needs. False when this process is to end instead.
    func isRecorded() throws(ProcessError) -> Bool {
        var goesOn = true
        while let frame = try channel.receive(atMost: 0) {
            if frame.kind == WorkCommand.recorded.rawValue { return goesOn }
            goesOn = false
        }
        return false
    }
}
