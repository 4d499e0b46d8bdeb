import ArtifactStore
import Catalogue
import HTTPServer
import HTTPTypes
import OpenSSL
import Processes
import Quantization
import Sockets
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
    /// Bytes of the input that are worked on between two looks at the channel.
    static let pieceBytes = 1 << 20

    private let channel: Channel
    private let order: WorkOrder
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
        guard making.input.length == order.inputBytes else {
            throw failure(
                Problem(
                    .internalServerError, code: "input.changed",
                    detail: "The stored input has \(making.input.length) bytes; \(order.inputBytes) were recorded."))
        }
        guard let result = try make(making) else {
            try channel.send(Frame(kind: WorkAnswer.stopped.rawValue))
            return
        }
        try tell(result, making)
    }

    private func inherited() throws(WorkFailure) -> Making {
        do throws(StoreError) {
            return try Making.inherited()
        } catch {
            throw failure(Problem(error), isOutside: true)
        }
    }

    /// Sends the report and what the catalogue is to remember.
    private func tell(_ result: SessionResult, _ making: borrowing Making) throws {
        let description = ArtifactDescription(
            id: order.artifact, name: order.request.name, recipe: try recipe(), inputDigest: order.input,
            inputBytes: order.inputBytes, result: result)
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

    private func failure(_ problem: Problem, isOutside: Bool = false) -> WorkFailure {
        WorkFailure(
            isOutside: isOutside,
            problem: String(decoding: problem.render(traceID: order.request.trace), as: UTF8.self))
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
    private struct Making: ~Copyable {
        let content: StagedFile
        let scratch: StagedFile
        let input: OpenedFile

        /// The files that this process was born with.
        static func inherited() throws(StoreError) -> Making {
            let content = try StagedFile.inherited(WorkDescriptor.content, isKept: true)
            let scratch = try StagedFile.inherited(WorkDescriptor.scratch, isKept: true)
            return Making(
                content: content, scratch: scratch, input: try OpenedFile.inherited(WorkDescriptor.input))
        }
    }

    /// A session and how far it has come.
    private final class Pass {
        let session: QuantizingSession
        let intake: ArchiveIntake?
        let plan: PlannedInput
        /// Of all that was consumed: bytes that are not those of the input's name make no artifact.
        var hash: InputHash
        var position = 0

        init(
            _ session: QuantizingSession, _ intake: ArchiveIntake?, _ plan: PlannedInput
        ) throws(OpenSSLError) {
            self.session = session
            self.intake = intake
            self.plan = plan
            hash = try InputHash()
        }

        /// An archive is unpacked when it is whole, by what no snapshot holds.
        var canBePutAside: Bool { intake?.holdsArchive != true }

        func consume(_ bytes: RawSpan) throws(QuantizationError) {
            if let intake {
                try intake.consume(bytes, for: [session])
            } else {
                try session.consume(bytes)
            }
            hash.update(bytes)
            position += bytes.byteCount
        }
    }

    /// What a session's plan said: where the tensors of the input end.
    private final class PlannedInput {
        var ends: [Int] = []

        /// Tensors whose bytes lie before `position`.
        func finished(by position: Int) -> Int {
            var (low, high) = (0, ends.count)
            while low < high {
                let middle = (low + high) / 2
                if ends[middle] <= position { low = middle + 1 } else { high = middle }
            }
            return low
        }
    }

    /// Works through the input; nil when the server wants this process to end.
    private func make(_ making: borrowing Making) throws -> SessionResult? {
        do {
            let pass = try resumed(making) ?? begun(making)
            var buffer = [UInt8](repeating: 0, count: Self.pieceBytes)
            let clock = ContinuousClock()
            var (told, kept) = (clock.now, clock.now)
            while pass.position < order.inputBytes {
                let count = min(Self.pieceBytes, order.inputBytes - pass.position)
                try read(count, at: pass.position, making, into: &buffer)
                try pass.consume(unsafe buffer.span.bytes.extracting(first: count))
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
            try tell(pass)
            guard "sha256:\(pass.hash.finish().hex)" == order.input else {
                throw failure(
                    Problem(
                        .internalServerError, code: "input.changed", title: "The stored input is damaged",
                        detail: "The bytes on the disk are not those of \(order.input): run viva fsck, send them again."
                    ))
            }
            try pass.intake?.finish(for: [pass.session])
            return try pass.session.finish(inputDigest: order.input)
        } catch let error as QuantizationError {
            throw failure(error)
        }
    }

    private func begun(_ making: borrowing Making) throws -> Pass {
        var limits = SessionLimits()
        limits.maximumThreads = order.threads
        let memory = MemoryBudget(bytes: order.workingBytes)
        let declaration: InputDeclaration
        do {
            declaration = try order.request.declaration()
        } catch {
            throw failure(error)
        }
        let plan = PlannedInput()
        let session = try QuantizingSession(
            recipe: try recipe(), declaration: declaration, declaredBytes: order.inputBytes, engine: Engine.name,
            limits: limits, output: StagedStorage(making.content), scratch: StagedStorage(making.scratch),
            memory: memory,
            onPlan: { [content = making.content, scratch = making.scratch] (layout) throws(QuantizationError) in
                plan.ends = layout.input.entries.map { layout.input.dataOffset + $0.bytes.upperBound }.sorted()
                do throws(StoreError) {
                    try content.reserve(layout.fileBytes)
                    try scratch.reserve(layout.scratchBytes)
                } catch {
                    throw .storage(StagedStorage.failure("reserve", error))
                }
            })
        guard declaration == .recognise else { return try Pass(session, nil, plan) }
        let intake = ArchiveIntake(
            codec: ZlibArchiveCodec(), declaredBytes: order.inputBytes, limits: limits, memory: memory,
            openScratch: { () throws(StorageFailure) in
                try StagedStorage.opening { () throws(StoreError) in
                    try StagedFile.inherited(WorkDescriptor.archive, isKept: false)
                }
            })
        return try Pass(session, intake, plan)
    }

    /// Goes on where an earlier worker stood; nil when it left nothing that fits, and all is made anew.
    private func resumed(_ making: borrowing Making) throws -> Pass? {
        guard let place = WorkPlace(checkpoint), place.headBytes <= order.inputBytes else { return nil }
        let pass = try begun(making)
        var buffer = [UInt8](repeating: 0, count: Self.pieceBytes)
        do {
            while pass.position < place.headBytes {
                let count = min(Self.pieceBytes, place.headBytes - pass.position)
                try read(count, at: pass.position, making, into: &buffer)
                try pass.consume(unsafe buffer.span.bytes.extracting(first: count))
            }
            try pass.session.resume(place.state)
            pass.hash = try InputHash(state: place.hash)
        } catch QuantizationError.snapshot {
            return nil
        } catch is SHA256StateError {
            return nil
        }
        pass.position = pass.session.consumedBytes
        return pass
    }

    private func read(
        _ count: Int, at position: Int, _ making: borrowing Making, into buffer: inout [UInt8]
    ) throws(QuantizationError) {
        var span = buffer.mutableSpan
        var all = unsafe span.mutableBytes
        var bytes = all._mutatingExtracting(first: count)
        do throws(StoreError) {
            try making.input.read(into: &bytes, at: position)
        } catch {
            throw .storage(StagedStorage.failure("read", error))
        }
    }

    private func tell(_ pass: Pass) throws(ProcessError) {
        let progress = WorkProgress(
            bytes: pass.position, tensors: pass.plan.finished(by: pass.position), totalTensors: pass.plan.ends.count)
        try channel.send(progress.frame)
    }

    /// Makes durable what was written, and then tells where another worker can go on; false where there is none.
    private func keep(_ pass: Pass, _ making: borrowing Making) throws -> Bool {
        guard pass.canBePutAside else { return false }
        let place = WorkPlace(
            headBytes: pass.session.headBytes, hash: pass.hash.state, state: try pass.session.snapshot())
        do throws(StoreError) {
            try making.content.synchronize()
            try making.scratch.synchronize()
        } catch {
            throw failure(Problem(error), isOutside: true)
        }
        try channel.send(Frame(kind: WorkAnswer.checkpoint.rawValue, payload: place.bytes))
        return true
    }

    /// Waits until the checkpoint is recorded: what a session writes next may take the place of what only an older
    /// checkpoint needs. False when this process is to end instead.
    private func isRecorded() throws(ProcessError) -> Bool {
        var goesOn = true
        while let frame = try channel.receive(atMost: 0) {
            if frame.kind == WorkCommand.recorded.rawValue { return goesOn }
            goesOn = false
        }
        return false
    }
}

/// From where a session can go on: how much of the input it must see first, the hash of what it saw, and its state.
struct WorkPlace: Equatable {
    let headBytes: Int
    let hash: [UInt8]
    let state: [UInt8]

    init(headBytes: Int, hash: [UInt8], state: [UInt8]) {
        self.headBytes = headBytes
        self.hash = hash
        self.state = state
    }

    /// Reads `bytes`; nil when there is nothing to go on from.
    init?(_ bytes: [UInt8]) {
        guard bytes.count > 9, bytes.count > 9 + Int(bytes[8]) else { return nil }
        headBytes = bytes.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
        hash = Array(bytes[9..<9 + Int(bytes[8])])
        state = Array(bytes.dropFirst(9 + hash.count))
        if headBytes < 0 { return nil }
    }

    /// Eight bytes, the least significant first; the hash behind its length; the state.
    var bytes: [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: headBytes >> (8 * $0)) } + [UInt8(hash.count)] + hash + state
    }
}
