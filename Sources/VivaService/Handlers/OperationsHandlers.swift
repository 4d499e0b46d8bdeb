import ArtifactStore
import Catalogue
import HTTPServer
import HTTPTypes
import HTTPWire
import Observability
import Synchronization

/// Health, metrics, the contract and the page for people.
struct OperationsHandlers: Sendable {
    let facilities: Facilities
    let server: ServerState

    func live(_ request: inout Request) throws(Problem) -> Response {
        _ = try Query(request.head, known: Self.healthOptions)
        return Self.alive
    }

    /// What probes of Kubernetes say; all of it is always told.
    private static let healthOptions: Set<String> = ["verbose"]

    /// Asked for more than anything else, and always the same.
    private static let alive = health([HealthReport.Check(name: "process", ok: true, detail: "answering")])

    func ready(_ request: inout Request) throws(Problem) -> Response {
        _ = try Query(request.head, known: Self.healthOptions)
        return Self.health(readiness)
    }

    private static func health(_ checks: [HealthReport.Check]) -> Response {
        let report = HealthReport(checks: checks)
        return .json(
            report.json(), status: report.ok ? .ok : .serviceUnavailable, fields: [.cacheControl: "no-store"])
    }

    private var readiness: [HealthReport.Check] {
        let draining = server.isDraining
        var checks = [
            HealthReport.Check(name: "accepting", ok: !draining, detail: draining ? "draining" : "accepting requests")
        ]
        do {
            let free = try facilities.store.space().free
            checks.append(
                HealthReport.Check(
                    name: "disk", ok: free >= facilities.freeBytesFloor,
                    detail: "\(free) bytes free, the floor is \(facilities.freeBytesFloor)"))
        } catch {
            checks.append(failed("disk", error))
        }
        do {
            try facilities.catalogue.check()
            checks.append(HealthReport.Check(name: "catalogue", ok: true, detail: "readable"))
        } catch {
            checks.append(failed("catalogue", error))
        }
        return checks
    }

    /// A check that got no answer. Anybody may ask: what went wrong is for the log.
    private func failed(_ name: String, _ error: any Error) -> HealthReport.Check {
        facilities.metrics.unready(name, error)
        return HealthReport.Check(name: name, ok: false, detail: "does not answer, the log says why")
    }

    /// `POST /v1/gc`: what `viva gc` does, while the server runs.
    func collectGarbage(_ request: inout Request) throws(Problem) -> Response {
        let query = try Query(request.head, known: ["dry_run"])
        let isDryRun = try query.integer("dry_run", in: 0...1) == 1
        do {
            let collected = try GarbageCollector(
                store: facilities.store, catalogue: facilities.catalogue,
                inputTimeToLive: facilities.intake.inputTimeToLive, isDryRun: isDryRun
            ).run()
            return .json(collected.json(isDryRun: isDryRun).bytes())
        } catch let error as StoreError {
            throw Problem(error)
        } catch let error as CatalogueError {
            throw Problem(error)
        } catch {
            throw Problem(unexpected: error)
        }
    }

    /// `GET /v1/requests`: what is under way now, the oldest first; this request is among it.
    func requests(_ request: inout Request) throws(Problem) -> Response {
        _ = try Query(request.head, known: [])
        let now = ContinuousClock.now
        let items = server.flights.map { flight in
            JSON.object([
                ("id", .string(flight.id)), ("trace_id", .string(flight.traceID)),
                ("method", .optional(flight.method?.rawValue)), ("route", .optional(flight.route)),
                ("peer", .string(flight.peer)), ("phase", .string(flight.phase.rawValue)),
                ("age_seconds", .number(flight.started.duration(to: now).seconds)),
                ("client_wait_seconds", .number(flight.waitedForClient.seconds)),
                ("request_bytes", .integer(flight.bytesReceived)), ("response_bytes", .integer(flight.bytesSent)),
            ])
        }
        return .json(
            JSON.object([("items", .array(items))]).bytes(), fields: [.cacheControl: "no-store"])
    }

    func metricsText(_ request: inout Request) throws(Problem) -> Response {
        _ = try Query(request.head, known: [])
        // Scrapers name versions, and how names are escaped: ours need no escapes, whatever they say.
        let open = MetricsRegistry.openMetricsContentType + "; escaping=allow-utf-8"
        let offered = [MetricsRegistry.prometheusContentType, open]
        let isOpen = preferredMediaType(accept: request.head.fields[.accept], offered: offered) == open
        let registry = facilities.metrics.registry
        return Response(
            status: .ok,
            fields: [
                .contentType: isOpen ? MetricsRegistry.openMetricsContentType : MetricsRegistry.prometheusContentType,
                .vary: "Accept",
            ], body: .bytes(isOpen ? registry.openMetricsText() : registry.prometheusText()))
    }

    func metricsJSON(_ request: inout Request) throws(Problem) -> Response {
        _ = try Query(request.head, known: [])
        return .json(facilities.metrics.registry.json())
    }

    static func contract(_ request: inout Request) throws(Problem) -> Response {
        _ = try Query(request.head, known: [])
        return Response(
            status: .ok, fields: [.contentType: "application/yaml"], body: .bytes(PackageResources.openapi_yaml))
    }

    static func page(_ request: inout Request) throws(Problem) -> Response {
        _ = try Query(request.head, known: [])
        return try IndexPage.page.response()
    }
}
