import Catalogue
import HTTPServer
import Logging
import Sockets

/// Ends what has lain unused for too long: uploads, inputs and rows of what is over, on a thread of its own.
final class Retention: Sendable {
    private let uploads: Uploads
    private let logger: Logger
    private let stopping: Semaphore

    init(uploads: Uploads, logger: Logger) throws(SocketError) {
        self.uploads = uploads
        self.logger = logger
        stopping = try Semaphore()
    }

    /// Looks now, and then at each interval until `stop`.
    func start() throws(SocketError) {
        try Thread.start(name: "viva-retention") { [self] in
            repeat { sweep() } while !stopping.wait(until: .now + uploads.facilities.intake.sweepInterval)
        }
    }

    func stop() { stopping.signal() }

    private func sweep() {
        do throws(Problem) {
            let now = Clock.milliseconds()
            let ended = try uploads.sweep(at: now)
            let removed = try sweepInputs(at: now)
            let rows = try forget(at: now)
            guard ended + removed + rows.jobs + rows.keys + rows.notes > 0 else { return }
            logger.notice(
                "expired",
                metadata: [
                    "uploads": "\(ended)", "inputs": "\(removed)", "jobs": "\(rows.jobs)",
                    "idempotency_keys": "\(rows.keys)", "audit_lines": "\(rows.notes)",
                ])
        } catch {
            // The next sweep finds what this one has left.
            logger.warning("sweep failed", metadata: ["error": "\(error.detail)"])
        }
    }

    private func forget(at now: Int64) throws(Problem) -> RetainedRows {
        do throws(CatalogueError) {
            return try uploads.facilities.catalogue.forget(.kept(at: now))
        } catch {
            throw Problem(error)
        }
    }

    /// Removes inputs that were not used for their time to live; answers how many.
    private func sweepInputs(at now: Int64) throws(Problem) -> Int {
        let facilities = uploads.facilities
        let publisher = InputPublisher(store: facilities.store, catalogue: facilities.catalogue)
        let since = now - facilities.intake.inputTimeToLive.milliseconds
        var removed = 0
        let unused: [InputRecord]
        do throws(CatalogueError) {
            unused = try facilities.catalogue.inputsUnused(since: since)
        } catch {
            throw Problem(error)
        }
        for input in unused {
            switch try publisher.remove(input.digest, owner: input.owner, unusedSince: since) {
            case .removed: removed += 1
            case .absent: continue
            case .needed:
                // A job uses it: it counts anew from now.
                do throws(CatalogueError) {
                    try facilities.catalogue.useInput(input.digest, owner: input.owner, at: now)
                } catch {
                    throw Problem(error)
                }
            }
        }
        return removed
    }
}
