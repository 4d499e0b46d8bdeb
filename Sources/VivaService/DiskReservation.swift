import ArtifactStore
import HTTPServer
import Quantization
import Synchronization

/// What the artifacts of one request need, held against the free disk and the owner's quota before a weight arrives.
final class DiskReservation: Sendable {
    private let store: ArtifactStore
    private let floor: Int
    private let permit: WorkPermit
    private let wanted = Mutex(0)
    /// Why the quota has no room: a session carries errors of its own kind only.
    private let refused = Mutex<Problem?>(nil)

    /// A reservation that leaves `floor` bytes of the disk free.
    init(store: ArtifactStore, floor: Int, permit: WorkPermit) {
        self.store = store
        self.floor = floor
        self.permit = permit
    }

    /// The answer to a session that failed.
    func problem(_ error: QuantizationError) -> Problem { refused.withLock { $0 } ?? Problem(error) }

    /// The same for one that was being fed.
    func problem(_ error: TransferError<Problem>) -> Problem { refused.withLock { $0 } ?? Problem(error) }

    /// The same for one whose caller goes on: a quota without room is no fault of the bytes.
    func transferred(_ error: TransferError<Problem>) -> TransferError<Problem> {
        refused.withLock { $0 }.map { .receive($0) } ?? error
    }

    /// Adds `quota` bytes to what the owner has, of which `disk` bytes are not on the disk yet.
    func extend(quota: Int, disk: Int) throws(QuantizationError) {
        try asking { () throws(Problem) in try permit.reserve(quota) }
        try checkDisk(disk)
    }

    /// Whether `extend` would find room for more than is needed at once.
    func isFree(quota: Int, disk: Int) -> Bool {
        do {
            try permit.check(quota)
            try checkDisk(disk)
            return true
        } catch {
            // Nothing is lost: what is needed is asked for next, and answered with what is wrong.
            return false
        }
    }

    /// Adds `bytes`; throws `storage` when the disk has no room for all that was added.
    func add(_ bytes: Int) throws(QuantizationError) {
        try asking { () throws(Problem) in try permit.reserve(bytes) }
        try checkDisk(
            wanted.withLock { wanted in
                wanted += bytes
                return wanted
            })
    }

    /// Throws `storage` when the disk has no room for `bytes`: for what is written before anything else is asked for.
    func check(_ bytes: Int) throws(QuantizationError) {
        try asking { () throws(Problem) in try permit.check(bytes) }
        try checkDisk(bytes)
    }

    private func asking(_ question: () throws(Problem) -> Void) throws(QuantizationError) {
        do throws(Problem) {
            try question()
        } catch {
            refused.withLock { $0 = error }
            throw .storage(StorageFailure(operation: "quota", code: StagedStorage.diskFull))
        }
    }

    private func checkDisk(_ bytes: Int) throws(QuantizationError) { try store.checkRoom(for: bytes, above: floor) }
}

extension ArtifactStore {
    /// Throws `storage` when fewer than `floor` bytes of the disk would stay free beside `bytes`.
    func checkRoom(for bytes: Int, above floor: Int) throws(QuantizationError) {
        let free: Int
        do throws(StoreError) {
            free = try space().free
        } catch {
            throw .storage(StorageFailure(operation: "statvfs", code: StagedStorage.deviceFailed))
        }
        guard bytes <= free - floor else {
            throw .storage(StorageFailure(operation: "reserve", code: StagedStorage.diskFull))
        }
    }
}
