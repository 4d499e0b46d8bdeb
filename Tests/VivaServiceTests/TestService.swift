import ArtifactStore
import Catalogue
import Foundation
import Logging
import Quantization

@testable import VivaService

/// The route table over a real store and catalogue in a temporary folder.
struct TestService {
    let facilities: Facilities
    let table: RouteTable

    /// In a folder that is gone when this returns: for what touches no file.
    init() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "viva-service-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try self.init(folder: folder)
    }

    /// In a folder that is the caller's to remove.
    init(
        folder: String, authentication: Authentication = .auto, metricsScope: Scopes? = nil,
        limits: OwnerLimits = OwnerLimits()
    ) throws {
        let store = try ArtifactStore(folder: folder)
        let catalogue = try Catalogue(path: "\(folder)/catalogue.sqlite")
        let access = Access(
            policy: AccessPolicy(authentication, isLoopback: true, metrics: metricsScope),
            admission: Admission(isLoopback: true), keys: KeyRing(catalogue, defaults: limits), limits: limits)
        facilities = Facilities(
            store: store, catalogue: catalogue, access: access, quotas: Quotas(catalogue),
            metrics: ServiceMetrics(logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }),
            pool: BufferPool(), memory: MemoryBudget(bytes: 1 << 30), limits: SessionLimits(),
            intake: IntakeLimits(), freeBytesFloor: 0)
        table = RouteTable(facilities: facilities, isDraining: { false })
    }
}
