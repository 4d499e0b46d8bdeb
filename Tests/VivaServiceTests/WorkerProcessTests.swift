import ArtifactStore
import Catalogue
import Foundation
import HTTPServer
import OpenSSL
import Processes
import Quantization
import Tensors
import Testing

@testable import VivaService

/// `viva worker` as the server sees it.
@Suite struct WorkerProcessTests {
    /// A worker with its files, and the near end of its channel.
    private struct Life: ~Copyable {
        let child: ChildProcess
        let channel: Channel
    }

    private let folder = DataFolder()
    private let input: [UInt8]
    private let order: WorkOrder
    private let store: ArtifactStore

    init() throws {
        input = Self.fivePieces()
        store = try ArtifactStore(folder: folder.path)
        try Data(input).write(to: URL(filePath: folder.path + "/input"))
        order = WorkOrder(
            request: JobRequest(
                options: [RecipeOption("method", "nf4"), RecipeOption("mode", "reference")], name: nil, dtype: nil,
                shape: nil, trace: "0123456789abcdef0123456789abcdef"),
            artifact: "x", owner: "ann", input: "sha256:\(try SampleInput.sha256(input))", inputBytes: input.count,
            threads: 1, workingBytes: 1 << 30)
    }

    /// One tensor of five pieces and a bit.
    private static func fivePieces() -> [UInt8] {
        let block = SampleInput.raw(100)
        let blocks = BufferPool.bufferBytes * 5 / block.count + 1
        let entry = TensorEntry(
            name: "a.weight", type: .f32, shape: [blocks * 100, 64], elementCount: blocks * 6_400,
            bytes: 0..<blocks * block.count)
        let json = SafetensorsHeader.serialize(entries: [entry], metadata: [])
        var bytes = SafetensorsHeader.file(prefixing: json, paddedTo: (json.count + 7) / 8 * 8)
        for _ in 0..<blocks { bytes += block }
        return bytes
    }

    private func start(_ work: WorkFolder, _ order: WorkOrder, from place: [UInt8] = []) throws -> Life {
        let file = try FileHandle(forReadingFrom: URL(filePath: folder.path + "/input"))
        defer { try? file.close() }
        var plan = ChildPlan.builtWorker
        var child: ChildProcess?
        let channel = try Channel.connected { (far) throws(ProcessError) in
            guard let scratch = try? work.scratch() else { throw .timedOut }
            plan.descriptors = [far.number, file.fileDescriptor, work.content.descriptor, scratch.descriptor]
            child = try ChildProcess(plan)
        }
        try channel.send(order.frame)
        try channel.send(Frame(kind: WorkCommand.resume.rawValue, payload: place))
        return Life(child: try #require(child), channel: channel)
    }

    /// All that a worker says until it ends, by kind; `stopping` tells it at once to stop.
    private func hear(_ life: borrowing Life, stopping: Bool = false) throws -> [WorkAnswer: Frame] {
        if stopping { try life.channel.send(Frame(kind: WorkCommand.stop.rawValue)) }
        var said: [WorkAnswer: Frame] = [:]
        while let frame = try next(life.channel) {
            let kind = try #require(WorkAnswer(rawValue: frame.kind))
            said[kind] = frame
            if kind == .checkpoint { try? life.channel.send(Frame(kind: WorkCommand.recorded.rawValue)) }
        }
        #expect(life.child.wait() == .code(0))
        return said
    }

    /// The next frame; nil when the worker has ended, with or without having read what it was told last.
    private func next(_ channel: borrowing Channel) throws -> Frame? {
        do throws(ProcessError) {
            return try channel.receive(atMost: Channel.maximumPayload, milliseconds: 30_000)
        } catch {
            guard error.isDisconnection else { throw error }
            return nil
        }
    }

    private func record(_ frame: Frame?) throws -> ArtifactRecord { try ArtifactRecord(try #require(frame)) }

    @Test func aSuccessorGoesOnWhereAWorkerWasStopped() throws {
        let whole = try store.createWork("whole")
        let uninterrupted = try hear(try start(whole, order))
        let work = try store.createWork("parts")
        var place: [UInt8] = []
        var lives = 0
        var said: [WorkAnswer: Frame] = [:]
        while said[.finished] == nil {
            lives += 1
            try #require(lives < 50)
            said = try hear(try start(work, order, from: place), stopping: true)
            guard said[.stopped] != nil else { continue }
            let next = try #require(said[.checkpoint]).payload
            #expect(next != place)
            place = next
        }
        // Each works on one piece; when all are worked on, the next one ends.
        #expect(lives == 7)
        let (one, other) = (try record(uninterrupted[.finished]), try record(said[.finished]))
        #expect(one.digest == other.digest)
        #expect(uninterrupted[.report] == said[.report])
        #expect(try work.content.digest().hex == String(one.digest.dropFirst("sha256:".count)))
        #expect(one.owner == "ann")
        #expect(one.inputDigest == order.input)
    }

    @Test(arguments: [[1], [UInt8](repeating: 7, count: 100), [0, 0, 0, 0, 0, 0, 0, 0, 1]] as [[UInt8]])
    func aPlaceThatDoesNotFitIsForgotten(_ place: [UInt8]) throws {
        let said = try hear(try start(try store.createWork("a"), order, from: place))
        #expect(try record(said[.finished]).inputBytes == input.count)
    }

    @Test func refusalsComeBackAsProblems() throws {
        var changed = order
        changed.inputBytes += 1
        let failure = try WorkFailure(
            try #require(try hear(try start(try store.createWork("a"), changed))[.failed]))
        #expect(!failure.isOutside)
        let problem = try #require(
            try JSONSerialization.jsonObject(with: Data(failure.problem.utf8)) as? [String: Any])
        #expect(problem["code"] as? String == "input.changed")
        #expect(problem["trace_id"] as? String == order.request.trace)
    }

    /// The disk gave back other bytes than were sent: no artifact may come of them.
    @Test func changedBytesMakeNoArtifact() throws {
        var changed = input
        changed[changed.count - 3] ^= 1
        try Data(changed).write(to: URL(filePath: folder.path + "/input"))
        let said = try hear(try start(try store.createWork("a"), order))
        #expect(said[.finished] == nil)
        let problem = try WorkFailure(try #require(said[.failed])).problem
        #expect(problem.contains(#""code":"input.changed""#))
    }

    /// A worker that nobody gave an order waits for ever, and uses no time.
    @Test func aWorkerThatStandsStillIsEnded() throws {
        let link = try WorkerLink(
            .builtWorker, memoryBytes: 1 << 30, descriptors: [], silence: .milliseconds(300))
        #expect(try link.next(lookMilliseconds: 50) == nil)
        #expect(link.end() == .signal(ChildProcess.kill))
    }

    @Test func aWorkerWithoutAnOrderEnds() throws {
        var plan = ChildPlan.builtWorker
        plan.isSilent = true
        #expect(try ChildProcess(plan).wait() == .code(WorkerProcess.withoutOrder))
    }

    @Test func aWorkerEndsWithItsServer() throws {
        let life = try start(try store.createWork("a"), order)
        let child = life.child
        _ = consume life
        // It cannot tell anybody how far it is.
        #expect(child.wait(milliseconds: 20_000) == .code(WorkerProcess.withoutOrder))
    }
}

/// Messages between two versions of the same program, or a broken one.
@Suite struct WorkMessageTests {
    private let order = WorkOrder(
        request: JobRequest(
            options: [RecipeOption("method", "nf4"), RecipeOption("include", "a\"\\\n")], name: "é", dtype: "float32",
            shape: "1,2", trace: ""), artifact: "a", owner: "o", input: "i", inputBytes: 5, calibration: "sha256:c",
        threads: 2, workingBytes: 9)

    @Test func whatIsWrittenIsRead() throws {
        #expect(try WorkOrder(order.frame) == order)
        #expect(try JobRequest(text: order.request.json.text()) == order.request)
        let progress = WorkProgress(bytes: 1 << 40, tensors: 3, totalTensors: 300)
        #expect(try WorkProgress(progress.frame) == progress)
        for problem in [Problem.failure(code: "a", evidence: "open /data: \"5\""), .notFound("a")] {
            let failure = WorkFailure(isOutside: true, problem, trace: "t")
            #expect(try WorkFailure(failure.frame) == failure)
            #expect(!failure.problem.contains("/data") && failure.evidence == problem.evidence)
        }
        let place = WorkPlace(headBytes: 77, hash: [9, 8, 7], state: [1, 2])
        #expect(WorkPlace(place.bytes) == place)
        let record = ArtifactRecord(
            id: "a", owner: "o", name: nil, method: "m", format: "f", mode: "b", inputDigest: "i", inputBytes: 1,
            bytes: 2, digest: "d", manifest: "{\n}\n", createdAt: 3)
        #expect(try ArtifactRecord(record.frame) == record)
    }

    @Test(arguments: [[], Array("{}".utf8), Array("{\"options\":[[1]],\"trace\":\"\"}".utf8), [255]] as [[UInt8]])
    func whatNobodyWroteIsRefused(_ payload: [UInt8]) {
        #expect(throws: WorkError.self) { try WorkOrder(Frame(kind: WorkCommand.order.rawValue, payload: payload)) }
        #expect(throws: WorkError.self) { try WorkProgress(Frame(kind: 1, payload: payload)) }
        #expect(throws: WorkError.self) { try ArtifactRecord(Frame(kind: 1, payload: payload)) }
        #expect(throws: WorkError.self) { try WorkFailure(Frame(kind: 1, payload: payload)) }
        #expect(throws: WorkError.self) { try JobRequest(text: String(decoding: payload, as: UTF8.self)) }
        #expect(throws: WorkError.self) { try WorkOrder(nil) }
    }
}
