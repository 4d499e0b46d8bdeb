import Catalogue
import HTTPServer
import HTTPTypes
import Synchronization

/// Holds owners to their limits.
///
/// For handlers: `let permit = try facilities.quotas.permit(principal)`, `defer { permit.end() }`, and
/// `try permit.reserve(bytes)` for what will be kept, before it is received and until a row says so.
final class Quotas: Sendable {
    fileprivate struct Use {
        var requests = 0
        var bytes = 0
    }

    private let catalogue: Catalogue
    /// What the requests in flight have of their owners' limits; owners without any are left out.
    private let uses = Mutex<[String: Use]>([:])

    init(_ catalogue: Catalogue) {
        self.catalogue = catalogue
    }

    /// Counts a piece of work until the permit ends; 429 `quota.concurrent` when its owner has too many.
    func permit(_ principal: Principal) throws(Problem) -> WorkPermit {
        let permit = WorkPermit(self, principal)
        guard let limit = principal.limits.work else { return permit }
        // Counted first and looked up then: of a request and a job that begin at once, one sees the other.
        let requests = change(principal.owner) { $0.requests += 1 }.requests
        permit.holdsTurn()
        let used = try usage(principal.owner).jobs + requests - 1
        guard used < limit else {
            permit.end()
            throw .tooMuchWork(limit: limit, used: used)
        }
        return permit
    }

    /// Jobs that are not finished, and bytes kept, as the catalogue has them.
    fileprivate func usage(_ owner: String) throws(Problem) -> (bytes: Int, jobs: Int) {
        do throws(CatalogueError) {
            return try catalogue.usage(of: owner)
        } catch {
            throw Problem(error)
        }
    }

    @discardableResult
    fileprivate func change(_ owner: String, _ body: (inout Use) -> Void) -> Use {
        uses.withLock { uses in
            var use = uses[owner] ?? Use()
            body(&use)
            uses[owner] = use.requests > 0 || use.bytes > 0 ? use : nil
            return use
        }
    }
}

/// One piece of work of an owner, with the bytes that it may come to keep; ends at the latest when it is released.
final class WorkPermit: Sendable {
    private struct Held {
        var requests = 0
        var bytes = 0
    }

    private let quotas: Quotas
    private let principal: Principal
    private let held = Mutex(Held())

    fileprivate init(_ quotas: Quotas, _ principal: Principal) {
        self.quotas = quotas
        self.principal = principal
    }

    deinit { end() }

    fileprivate func holdsTurn() {
        held.withLock { $0.requests += 1 }
    }

    /// Counts bytes that will be kept; 403 `quota.bytes` when the owner's limit does not hold them.
    func reserve(_ bytes: Int) throws(Problem) {
        guard let limit = principal.limits.bytes else { return }
        try check(bytes)
        // Counted first and looked up then, as above.
        let inFlight = quotas.change(principal.owner) { $0.bytes += bytes }.bytes
        held.withLock { $0.bytes += bytes }
        let kept = try quotas.usage(principal.owner).bytes
        guard inFlight <= limit - kept else {
            throw .tooManyBytes(limit: limit, used: kept + inFlight - bytes, wanted: bytes)
        }
    }

    /// The same for bytes that are not counted yet: those that a later `reserve` will be about.
    func check(_ bytes: Int) throws(Problem) {
        guard let limit = principal.limits.bytes else { return }
        let used = try quotas.usage(principal.owner).bytes + quotas.change(principal.owner) { _ in }.bytes
        guard bytes <= limit - used else { throw .tooManyBytes(limit: limit, used: used, wanted: bytes) }
    }

    /// Gives the bytes back that were reserved: a row says so by now, and more of them may be asked for.
    func keep() {
        let bytes = held.withLock { held in
            defer { held.bytes = 0 }
            return held.bytes
        }
        if bytes > 0 { quotas.change(principal.owner) { $0.bytes -= bytes } }
    }

    /// Gives everything back; what was kept stands in rows by now.
    func end() {
        let given = held.withLock { held in
            defer { held = Held() }
            return held
        }
        guard given.requests > 0 || given.bytes > 0 else { return }
        quotas.change(principal.owner) { use in
            use.requests -= given.requests
            use.bytes -= given.bytes
        }
    }
}

extension Problem {
    fileprivate static func tooMuchWork(limit: Int, used: Int) -> Problem {
        Problem(
            .tooManyRequests, code: "quota.concurrent", title: "Too much work at once",
            detail: "The owner has \(used) requests and jobs in work; the limit is \(limit).",
            members: [("limit", .integer(limit)), ("used", .integer(used)), ("wanted", .integer(1))],
            fields: [.retryAfter: "5"])
    }

    fileprivate static func tooManyBytes(limit: Int, used: Int, wanted: Int) -> Problem {
        Problem(
            .forbidden, code: "quota.bytes", title: "The owner's room is used up",
            detail: "This needs \(wanted) bytes; of \(limit), \(used) are used. Delete what is not needed any more.",
            members: [("limit", .integer(limit)), ("used", .integer(used)), ("wanted", .integer(wanted))])
    }
}
