import ArtifactStore
import HTTPServer
import HTTPTypes
import OpenSSL
import Processes
import Quantization

// What a worker does behind the last byte of the input: the layers that are coded by what is known of their inputs.
extension WorkerProcess {
    /// How often a place to go on from, behind a finished layer, is made durable.
    static let layerInterval: Duration = .seconds(1)
    /// Bytes of calibration data that are hashed between two looks at the channel.
    private static let hashedPiece = 16 << 20

    /// Ends the pump: codes the layers that wait. nil when the server wants this process to end.
    ///
    /// `hash` is the state of the input's hash behind its last byte.
    func finish(
        _ pass: borrowing Pass, _ making: borrowing Making, digest: Digest, hash: [UInt8]
    ) throws -> SessionResult? {
        let watch = LayerWatch(self, making.content, making.scratch, pass.plan, pass.position, hash)
        // An archive is unpacked when it is whole, by what no snapshot holds.
        watch.canBePutAside = !pass.pump.holdsArchive
        do throws(QuantizationError) {
            let made = try pass.pump.finish(inputBytes: pass.position, digest: digest) {
                (session, layer) throws(QuantizationError) in
                try watch.look(at: layer, of: session)
            }
            return made.results[0]
        } catch {
            if let failure = watch.failure { throw failure }
            if error == .interrupted { return nil }
            throw error
        }
    }

    /// Whether calibration data beside the input has been looked at in whole; false when the server wants this process
    /// to end. Throws when it is not what its name says: such bytes make no artifact.
    func isWhole(_ calibration: OpenedSource?) throws -> Bool {
        guard let calibration, let name = order.calibration else { return true }
        let hash = try SHA256()
        var unseen = 0
        do throws(QuantizationError) {
            try calibration.readAll { (piece) throws(QuantizationError) in
                hash.update(piece)
                unseen += piece.byteCount
                guard unseen >= Self.hashedPiece else { return }
                unseen = 0
                if channel.hasInput() { throw .interrupted }
            }
        } catch {
            guard error == .interrupted else { throw error }
            _ = try channel.receive(atMost: 0)
            return false
        }
        guard InputName.of(hash.finish()) == name else { throw damaged(name) }
        return true
    }
}

extension WorkerProcess {
    /// Why nothing is made of bytes that are not those of their name.
    func damaged(_ name: String) -> WorkFailure {
        failure(
            Problem(
                .internalServerError, code: "input.changed", title: "The stored input is damaged",
                detail: "The bytes on the disk are not those of \(name): run viva fsck, send them again."))
    }
}

/// Tells how far the layers have come, keeps places to go on from, and hears the wish to end.
private final class LayerWatch {
    private let worker: WorkerProcess
    private let content: StagedFile
    private let scratch: StagedFile
    private let plan: WorkerProcess.PlannedInput
    private let position: Int
    private let hash: [UInt8]
    private var told = ContinuousClock.now
    private var kept = ContinuousClock.now
    /// Layers that were finished when a place was kept last.
    private var keptLayers = 0
    var canBePutAside = true
    /// What ended the session, where it was not the server's wish.
    private(set) var failure: (any Error)?

    init(
        _ worker: WorkerProcess, _ content: StagedFile, _ scratch: StagedFile, _ plan: WorkerProcess.PlannedInput,
        _ position: Int, _ hash: [UInt8]
    ) {
        self.worker = worker
        self.content = content
        self.scratch = scratch
        self.plan = plan
        self.position = position
        self.hash = hash
    }

    /// Called between the blocks of a layer and behind it; throws `interrupted` to end the session.
    func look(at layer: LayerProgress, of session: QuantizingSession) throws(QuantizationError) {
        do {
            try answer(layer, session)
        } catch let error as QuantizationError {
            throw error
        } catch {
            failure = error
            throw .interrupted
        }
    }

    private func answer(_ layer: LayerProgress, _ session: QuantizingSession) throws {
        let now = ContinuousClock.now
        if worker.channel.hasInput() {
            // The wish to end, which alone comes unasked for.
            _ = try worker.channel.receive(atMost: 0)
            if try keep(session) { _ = try worker.isRecorded() }
            throw QuantizationError.interrupted
        }
        if now - told >= WorkerProcess.progressInterval {
            try worker.channel.send(plan.progress(at: position, layers: layer.finished).frame)
            told = now
        }
        if layer.finished > keptLayers, now - kept >= WorkerProcess.layerInterval {
            if try keep(session), try !worker.isRecorded() { throw QuantizationError.interrupted }
            (keptLayers, kept) = (layer.finished, .now)
        }
    }

    /// Makes durable what lies behind the last finished layer; false where nothing can be put aside.
    private func keep(_ session: QuantizingSession) throws -> Bool {
        guard canBePutAside else { return false }
        let place = WorkPlace(headBytes: session.headBytes, hash: hash, state: try session.snapshot())
        try worker.keep(place, content, scratch)
        return true
    }
}
