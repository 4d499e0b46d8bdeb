import ArtifactStore
import Catalogue

/// Removes what nobody needs any more, beside a running server or in it; or says what it would remove.
///
/// What is being made is never touched: a file without a row is removed only while no process is between a rename and
/// its row (`ArtifactStore.exclusively`), and rows of work come before its folders.
struct GarbageCollector {
    /// What can be removed.
    enum Kind: String, CaseIterable {
        /// Uploads to which nothing came for too long, with what they had.
        case expiredUploads = "expired_uploads"
        /// Inputs that nobody used for too long.
        case unusedInputs = "unused_inputs"
        /// Files that a crash left without their row.
        case strayArtifacts = "stray_artifacts"
        case strayInputs = "stray_inputs"
        case strayWork = "stray_work"
        /// What requests were making when their server died; looked at only while no server runs.
        case strayStaging = "stray_staging"
        case finishedJobs = "finished_jobs"
        case idempotencyKeys = "idempotency_keys"
        case auditLines = "audit_lines"
    }

    /// How much of a kind.
    struct Collected: Equatable {
        let kind: Kind
        var count = 0
        /// Bytes of disk that it has, or had.
        var bytes = 0
    }

    let store: ArtifactStore
    let catalogue: Catalogue
    let inputTimeToLive: Duration
    /// Whether everything stays as it is.
    let isDryRun: Bool
    let now = Clock.milliseconds()

    /// Collects every kind, in the order of `Kind`.
    func run() throws -> [Collected] {
        let stray: [Collected] = [
            try strays(.strayArtifacts, .artifact) { try catalogue.contains($0) },
            try strays(.strayInputs, .input) { try catalogue.containsInput(InputName.prefix + $0) },
            try strays(.strayWork, .work) { try catalogue.needsWork($0) },
            try store.isServed() ? Collected(kind: .strayStaging) : strays(.strayStaging, .staged) { _ in false },
        ]
        // Files are looked for first: what expires below removes its own.
        return [try expiredUploads(), try unusedInputs()] + stray + (try forgotten())
    }

    private func expiredUploads() throws -> Collected {
        var collected = Collected(kind: .expiredUploads)
        repeat {
            let page = try catalogue.expiredUploads(at: now)
            for upload in page {
                let bytes = try size(.work, upload.id)
                if !isDryRun {
                    // Who continues it at this moment finds it gone, or keeps it.
                    guard try catalogue.removeExpiredUpload(upload.id, at: now) else { continue }
                    try store.removeWork(upload.id)
                }
                collected.count += 1
                collected.bytes += bytes
            }
            if isDryRun || page.count < Catalogue.maximumPageSize { return collected }
        } while true
    }

    private func unusedInputs() throws -> Collected {
        var collected = Collected(kind: .unusedInputs)
        let since = now - inputTimeToLive.milliseconds
        let publisher = InputPublisher(store: store, catalogue: catalogue)
        // Bytes are shared: they go with the last owner.
        var others: [String: Int] = [:]
        for input in try catalogue.inputsUnused(since: since) {
            let hex = String(input.digest.dropFirst(InputName.prefix.count))
            let bytes = try size(.input, hex)
            if !isDryRun {
                guard try publisher.remove(input.digest, owner: input.owner, unusedSince: since) == .removed else {
                    continue
                }
                if try !catalogue.containsInput(input.digest) { collected.bytes += bytes }
            } else {
                let left = try (others[input.digest] ?? catalogue.ownersOfInput(input.digest)) - 1
                others[input.digest] = left
                if left == 0 { collected.bytes += bytes }
            }
            collected.count += 1
        }
        return collected
    }

    private func strays(
        _ name: Kind, _ kind: StoredKind, isNeeded: (String) throws -> Bool
    ) throws -> Collected {
        var collected = Collected(kind: name)
        for id in try store.identifiers(of: kind) where try !isNeeded(id) {
            // Each in a turn of its own, so that requests wait for one removal at most.
            let bytes: Int? = try store.exclusively {
                guard try !isNeeded(id) else { return nil }
                let bytes = try size(kind, id)
                if !isDryRun { try remove(kind, id) }
                return bytes
            }
            guard let bytes else { continue }
            collected.count += 1
            collected.bytes += bytes
        }
        return collected
    }

    private func forgotten() throws -> [Collected] {
        let limits = RetentionLimits.kept(at: now)
        var rows = RetainedRows()
        if isDryRun {
            rows = try catalogue.forgettable(limits)
        } else {
            while true {
                let forgotten = try catalogue.forget(limits)
                if forgotten == RetainedRows() { break }
                rows.jobs += forgotten.jobs
                rows.keys += forgotten.keys
                rows.notes += forgotten.notes
            }
        }
        return [
            Collected(kind: .finishedJobs, count: rows.jobs), Collected(kind: .idempotencyKeys, count: rows.keys),
            Collected(kind: .auditLines, count: rows.notes),
        ]
    }

    /// 0 for what is gone, or never had files.
    private func size(_ kind: StoredKind, _ id: String) throws(StoreError) -> Int {
        do {
            return try store.allocatedBytes(of: kind, id)
        } catch {
            guard case .notFound = error else { throw error }
            return 0
        }
    }

    private func remove(_ kind: StoredKind, _ id: String) throws(StoreError) {
        do {
            try store.remove(kind, id)
        } catch {
            // The server's own sweep was first.
            guard case .notFound = error else { throw error }
        }
    }
}

extension RetentionLimits {
    /// Days for which a finished job is kept.
    static let jobDays: Int64 = 30

    /// What is kept at a time, in milliseconds since 1970.
    static func kept(at now: Int64) -> RetentionLimits {
        let day: Int64 = 24 * 3600 * 1000
        return RetentionLimits(
            jobsFinishedBefore: now - jobDays * day, keysExpiredBy: now,
            auditBefore: now - AuditTrail.retentionDays * day)
    }
}

extension [GarbageCollector.Collected] {
    /// The answer of `POST /v1/gc`.
    func json(isDryRun: Bool) -> JSON {
        func figures(_ count: Int, _ bytes: Int) -> [(String, JSON)] {
            [("count", .integer(count)), ("bytes", .integer(bytes))]
        }
        let total = figures(reduce(0) { $0 + $1.count }, reduce(0) { $0 + $1.bytes })
        let items = map { JSON.object([("kind", .string($0.kind.rawValue))] + figures($0.count, $0.bytes)) }
        return .object([("dry_run", .bool(isDryRun)), ("items", .array(items))] + total)
    }
}
