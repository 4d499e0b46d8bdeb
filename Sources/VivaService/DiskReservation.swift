import ArtifactStore
import Quantization
import Synchronization

/// What the artifacts of one request need of the disk, held against what is free before a weight is received.
final class DiskReservation: Sendable {
    private let store: ArtifactStore
    private let floor: Int
    private let wanted = Mutex(0)

    /// A reservation that leaves `floor` bytes of the disk free.
    init(store: ArtifactStore, floor: Int) {
        self.store = store
        self.floor = floor
    }

    /// Adds `bytes`; throws `storage` when the disk has no room for all that was added.
    func add(_ bytes: Int) throws(QuantizationError) {
        try check(
            wanted.withLock { wanted in
                wanted += bytes
                return wanted
            })
    }

    /// Throws `storage` when the disk has no room for `bytes`: for what is written before anything else is asked for.
    func check(_ bytes: Int) throws(QuantizationError) {
        let free: Int
        do throws(StoreError) {
            free = try store.space().free
        } catch {
            throw .storage(StorageFailure(operation: "statvfs", code: StagedStorage.deviceFailed))
        }
        guard bytes <= free - floor else {
            throw .storage(StorageFailure(operation: "reserve", code: StagedStorage.diskFull))
        }
    }
}
