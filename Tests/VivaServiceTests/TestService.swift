import ArtifactStore
import Catalogue
import Foundation
import Logging
import Quantization

@testable import VivaService

/// The route table over a real store and catalogue in a temporary folder.
struct TestService {
    let table: RouteTable

    init() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "viva-service-\(UUID().uuidString)").path
        let store = try ArtifactStore(folder: folder)
        let catalogue = try Catalogue(path: "\(folder)/catalogue.sqlite")
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let metrics = ServiceMetrics(logger: Logger(label: "test"))
        let facilities = Facilities(
            store: store, catalogue: catalogue, access: Access(), metrics: metrics, pool: BufferPool(),
            memory: MemoryBudget(bytes: 1 << 30), limits: SessionLimits(), intake: IntakeLimits(), freeBytesFloor: 0)
        table = RouteTable(facilities: facilities, isDraining: { false })
    }
}
