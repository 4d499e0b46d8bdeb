import ArtifactStore
import Catalogue
import HTTPServer
import HTTPTypes
import HTTPWire
import Quantization
import Synchronization

/// The uploads of a service: begun, continued, ended.
///
/// Nothing of an upload lives in memory between two requests. Its row is the truth: what it acknowledges is durable,
/// and a row whose offset has reached its length has its result. A request with the last bytes therefore acknowledges
/// them by the result, in one commit.
final class Uploads: Sendable {
    let facilities: Facilities
    private let sinks: UploadSinks
    /// Uploads that a request, or the sweep, has in its hands.
    private let taken = Mutex<Set<String>>([])

    init(facilities: Facilities) {
        self.facilities = facilities
        sinks = UploadSinks(facilities: facilities)
    }

    private var catalogue: Catalogue { facilities.catalogue }

    /// Begins an upload: what can be refused before its bytes come is refused here.
    func begin(
        _ principal: Principal, length: Int?, metadata: String, query: String?
    ) throws(Problem) -> UploadRecord {
        let now = Clock.milliseconds()
        var record = UploadRecord(
            id: try JobPlanner.freshIdentifier(), owner: principal.owner, length: length, metadata: metadata,
            query: query, createdAt: now,
            expiresAt: now + facilities.intake.uploadTimeToLive.milliseconds)
        if case .input = try UploadQuestion(query) { record.reserved = length ?? 0 }
        let permit = try facilities.quotas.permit(principal)
        defer { permit.end() }
        try permit.reserve(max(1, record.reserved))
        let limit = facilities.intake.maximumUploads
        let isBegun = try recording { () throws(CatalogueError) in try catalogue.insert(record, atMost: limit) }
        guard isBegun else {
            throw Problem(
                .tooManyRequests, code: "limit.uploads", title: "Too many uploads are unfinished",
                detail: "There may be \(limit) at once; finish or delete others first.",
                members: [("limit", .integer(limit))], fields: [.retryAfter: "60"])
        }
        // The row counts them now.
        permit.keep()
        do throws(Problem) {
            // Takes the room on the disk.
            _ = try sinks.open(record, state: nil, permit: permit)
        } catch {
            try end(record)
            throw error
        }
        return record
    }

    /// The owner's upload of this identifier.
    func find(_ id: String, owner: String) throws(Problem) -> UploadRecord {
        guard let record = try recording({ () throws(CatalogueError) in try catalogue.upload(id, owner: owner) }) else {
            throw Problem(.notFound, code: "upload.not_found", detail: "There is no upload '\(id)'.")
        }
        guard record.expiresAt > Clock.milliseconds() else {
            throw Problem(
                .gone, code: "upload.expired", title: "The upload has expired",
                detail: "Nothing came for too long; begin a new upload.")
        }
        return record
    }

    /// Continues an upload with the body of a request; answers how it stands then.
    func append(
        _ delivery: UploadDelivery, to id: String, of principal: Principal, from request: inout Request
    ) throws(Problem) -> UploadRecord {
        let owner = principal.owner
        // Its owner is asked before anybody learns that it is busy.
        _ = try find(id, owner: owner)
        try take(id)
        defer { release(id) }
        var record = try find(id, owner: owner)
        try delivery.check(record)
        if record.location != nil { return record }
        let permit = try facilities.quotas.permit(principal)
        defer { permit.end() }
        let isLengthNew = record.length == nil
        record.length = record.length ?? delivery.length
        let state = try recording { () throws(CatalogueError) in try catalogue.uploadState(id) }
        let sink = try open(record, state, permit)
        // A length that the sink refuses is not noted.
        if isLengthNew { try noteLength(record) }
        var reception = UploadReception(
            record: record, sink: sink, checksum: delivery.checksum,
            isWhole: delivery.isWhole, permit: permit, uploads: self)
        do throws(UploadRefusal) {
            return try reception.run(&request)
        } catch {
            if error.endsUpload { try end(record) }
            throw error.problem
        }
    }

    /// Gives a new upload its first bytes; one that nobody was told of goes when that fails.
    func fill(
        _ record: UploadRecord, _ delivery: UploadDelivery, of principal: Principal, from request: inout Request
    ) throws(Problem) -> UploadRecord {
        do throws(Problem) {
            return try append(delivery, to: record.id, of: principal, from: &request)
        } catch {
            try end(record)
            throw error
        }
    }

    /// Removes an upload and what it has taken of the disk.
    func remove(_ id: String, owner: String) throws(Problem) {
        _ = try find(id, owner: owner)
        try take(id)
        defer { release(id) }
        try end(try find(id, owner: owner))
    }

    /// Ends uploads whose time is over; answers how many.
    func sweep(at now: Int64) throws(Problem) -> Int {
        var swept = 0
        for record in try recording({ () throws(CatalogueError) in try catalogue.expiredUploads(at: now) }) {
            // Who has it in his hands keeps it alive, or will leave it to the next sweep.
            guard taken.withLock({ $0.insert(record.id).inserted }) else { continue }
            defer { release(record.id) }
            let current = try recording { () throws(CatalogueError) in
                try catalogue.upload(record.id, owner: record.owner)
            }
            guard let current, current.expiresAt <= now else { continue }
            try end(current)
            swept += 1
        }
        return swept
    }

    /// Acknowledges what a sink has made durable.
    func acknowledge(_ record: UploadRecord, offset: Int, reserved: Int, state: [UInt8]?) throws(Problem) -> Int64 {
        let expiresAt = Clock.milliseconds() + facilities.intake.uploadTimeToLive.milliseconds
        let isNoted = try recording { () throws(CatalogueError) in
            try catalogue.advanceUpload(
                record.id, to: offset, reserved: reserved, state: state, expiresAt: expiresAt)
        }
        guard isNoted else {
            throw Problem(
                .conflict, code: "upload.gone", detail: "The upload was ended while its bytes came; begin a new one.")
        }
        return expiresAt
    }

    /// Row first: files without a row are swept at the next start, a row without files would be a lie.
    private func end(_ record: UploadRecord) throws(Problem) {
        _ = try recording { () throws(CatalogueError) in try catalogue.removeUpload(record.id, owner: record.owner) }
        do throws(StoreError) {
            try facilities.store.removeWork(record.id)
        } catch {
            throw Problem(error)
        }
    }

    private func open(
        _ record: UploadRecord, _ state: [UInt8]?, _ permit: WorkPermit
    ) throws(Problem) -> any UploadSink {
        do throws(Problem) {
            return try sinks.open(record, state: state, permit: permit)
        } catch {
            // What the client only says now, the length for one, may contradict what it sent before.
            if UploadRefusal(content: error).endsUpload { try end(record) }
            throw error
        }
    }

    /// Notes a length that is said late. One that is reached already is noted by the result.
    private func noteLength(_ record: UploadRecord) throws(Problem) {
        guard let length = record.length, length > record.offset else { return }
        let (id, reserved) = (record.id, record.reserved)
        _ = try recording { () throws(CatalogueError) in
            try catalogue.setUploadLength(id, length, reserved: reserved)
        }
    }

    private func take(_ id: String) throws(Problem) {
        guard taken.withLock({ $0.insert(id).inserted }) else {
            throw Problem(
                HTTPResponse.Status(code: 423, reasonPhrase: "Locked"), code: "upload.locked",
                title: "Another request has the upload",
                detail: "One request at a time adds to an upload; ask for its offset when that has ended.",
                fields: [.retryAfter: "1"])
        }
    }

    private func release(_ id: String) {
        taken.withLock { _ = $0.remove(id) }
    }

    private func recording<Outcome>(_ body: () throws(CatalogueError) -> Outcome) throws(Problem) -> Outcome {
        do throws(CatalogueError) {
            return try body()
        } catch {
            throw Problem(error)
        }
    }
}
