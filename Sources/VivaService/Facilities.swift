import ArtifactStore
import Catalogue
import Quantization

/// What the handlers share: one of each in a running service.
struct Facilities: Sendable {
    let store: ArtifactStore
    let catalogue: Catalogue
    let access: Access
    /// What owners may have at once and in all.
    let quotas: Quotas
    let metrics: ServiceMetrics
    /// Transfer buffers of all sessions.
    let pool: BufferPool
    /// The memory that all sessions and headers share.
    let memory: MemoryBudget
    let limits: SessionLimits
    /// How long what clients send is kept, and how much of it.
    let intake: IntakeLimits
    /// Bytes of the disk that stay free.
    let freeBytesFloor: Int

    /// What the work of a permit may take of the disk and of its owner's room.
    func reservation(_ permit: WorkPermit) -> DiskReservation {
        DiskReservation(store: store, floor: freeBytesFloor, permit: permit)
    }
}
