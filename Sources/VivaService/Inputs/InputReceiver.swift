import ArtifactStore
import HTTPServer
import OpenSSL
import Quantization

/// Takes the bytes of an input: looked at and written by the thread that receives them, hashed beside it.
///
/// Room on the disk is taken before the bytes: for all of them where their number is known, else in steps.
final class InputReceiver {
    /// Room is taken in steps of so many bytes where the length is unknown, and so many are free.
    static let reserveStep = 64 << 20

    /// Bytes from the start of the input that were taken.
    private(set) var offset: Int
    /// Bytes from the start of the file for which room was taken.
    private(set) var reserved = 0
    private let file: StagedFile
    private var inspection: InputInspection
    private let reservation: DiskReservation
    /// What was there before: bytes of the disk that the file has, and bytes that a row counts against its owner.
    private let before: (held: Int, counted: Int)
    private let hash: InputHash
    private let queue: QuantizingQueue

    /// A receiver that writes behind the first `offset` bytes of `file`, which `hash` and `inspection` have seen. The
    /// file may hold bytes of the disk already, and a row count bytes for it.
    init(
        _ facilities: Facilities, file: StagedFile, offset: Int = 0, length: Int?,
        before: (held: Int, counted: Int) = (0, 0), inspection: consuming InputInspection, hash: InputHash,
        reservation: DiskReservation
    ) throws(QuantizationError) {
        self.offset = offset
        self.file = file
        self.inspection = inspection
        self.hash = hash
        self.before = before
        self.reservation = reservation
        queue = QuantizingQueue(
            sessions: [], inputBytes: length.map { $0 - offset }, pool: facilities.pool,
            alongside: { hash.update($0) })
        reserved = offset
        if let length { try reserve(length) }
    }

    /// What the first bytes have told.
    var finding: InputInspection.Finding? { inspection.finding }

    /// Lets `receive` fill the start of a buffer and takes what it filled; answers how much, 0 at the end.
    func take(
        _ receive: (inout MutableRawSpan) throws(Problem) -> Int
    ) throws(TransferError<Problem>) -> Int {
        do throws(TransferError<TransferError<Problem>>) {
            return try queue.take { (span) throws(TransferError<Problem>) in
                let count: Int
                do throws(Problem) {
                    count = try receive(&span)
                } catch {
                    throw .receive(error)
                }
                do throws(QuantizationError) {
                    try keep(span.bytes.extracting(first: count))
                } catch {
                    throw reservation.transferred(.session(error))
                }
                return count
            }
        } catch {
            switch error {
            case .receive(let inner): throw inner
            case .session(let inner): throw .session(inner)
            }
        }
    }

    /// Waits until everything taken is hashed.
    func settle() { queue.settle() }

    /// The state of the hash, to be asked for when all is settled.
    var hashState: [UInt8] { hash.state }

    /// Ends the input: refuses one that is not whole.
    func finish() throws(QuantizationError) -> (finding: InputInspection.Finding, digest: Digest) {
        let finding = try inspection.ended()
        queue.settle()
        return (finding, hash.finish())
    }

    private func keep(_ bytes: RawSpan) throws(QuantizationError) {
        guard bytes.byteCount > 0 else { return }
        try inspection.take(bytes)
        let end = offset + bytes.byteCount
        if end > reserved {
            let step = max(end, reserved + Self.reserveStep)
            let isStepFree = reservation.isFree(
                quota: missing(before.counted, of: step), disk: missing(before.held, of: step))
            try reserve(isStepFree ? step : end)
        }
        do throws(StoreError) {
            try file.write(bytes, at: offset)
        } catch {
            throw .storage(StagedStorage.failure("write", error))
        }
        offset = end
    }

    /// Of `count` bytes those for which no room was taken, neither here nor `before`.
    private func missing(_ before: Int, of count: Int) -> Int { count - max(reserved, min(before, count)) }

    private func reserve(_ count: Int) throws(QuantizationError) {
        try reservation.extend(quota: missing(before.counted, of: count), disk: missing(before.held, of: count))
        do throws(StoreError) {
            try file.reserve(count)
        } catch {
            throw .storage(StagedStorage.failure("reserve", error))
        }
        reserved = count
    }
}
