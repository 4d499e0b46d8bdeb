import ArtifactStore
import Catalogue
import OpenSSL

/// Compares every file with what is recorded of it, beside a running server too, with one MiB of memory for content.
///
/// What is damaged is moved to `quarantine/` and its row removed, so that the service answers 404 rather than wrong
/// bytes. Rows whose files are lost are removed. Files without a row are told and left to `gc`.
struct StoreCheck {
    /// Something that is not as it should be.
    struct Finding: Equatable {
        /// `artifact.damaged`, `input.lost`, `catalogue.damaged` …
        let code: String
        let id: String
        /// What was found.
        let detail: String
        /// What was done about it.
        let remedy: String
    }

    /// What was looked at, and what was found.
    struct Outcome: Equatable {
        var artifacts = 0
        var inputs = 0
        var bytes = 0
        var findings: [Finding] = []
    }

    /// What a look at a file can show.
    enum Condition: Equatable {
        case whole(bytes: Int)
        case damaged(String)
        case lost

        var isWhole: Bool { if case .whole = self { true } else { false } }
    }

    let store: ArtifactStore
    let catalogue: Catalogue

    /// Looks at everything.
    func run() throws -> Outcome {
        var outcome = Outcome()
        for text in try catalogue.damages() {
            outcome.findings.append(
                Finding(
                    code: "catalogue.damaged", id: "catalogue.sqlite", detail: text,
                    remedy: "restore the folder from a backup"))
        }
        try checkArtifacts(&outcome)
        try checkInputs(&outcome)
        try checkUploads(&outcome)
        try findStrays(&outcome)
        return outcome
    }

    private func checkArtifacts(_ outcome: inout Outcome) throws {
        var last = ""
        while true {
            let page = try catalogue.allArtifacts(after: last)
            for record in page {
                outcome.artifacts += 1
                switch try condition(of: record) {
                case .whole(let bytes): outcome.bytes += bytes
                case let condition:
                    if let finding = try settle(record, condition) { outcome.findings.append(finding) }
                }
            }
            guard let end = page.last?.id, page.count == Catalogue.maximumPageSize else { return }
            last = end
        }
    }

    private func condition(of record: ArtifactRecord) throws -> Condition {
        let content = try look { () throws(StoreError) in
            let file = try store.open(record.id, .content)
            let digest = InputName.of(try file.digest())
            guard digest == record.digest else { return .damaged("its digest is \(digest), recorded \(record.digest)") }
            return .whole(bytes: file.length)
        }
        guard case .whole = content else { return content }
        let report = try look { () throws(StoreError) in
            let file = try store.open(record.id, .report)
            // Read to its end: nothing is recorded of it, but the disk must give it back.
            _ = try file.digest()
            return file.length > 0 ? .whole(bytes: file.length) : .damaged("its report is empty")
        }
        return report == .lost ? .damaged("its report is lost") : report.isWhole ? content : report
    }

    /// Takes an artifact that is not whole out of service, unless it was removed or made anew since it was looked at.
    private func settle(_ record: ArtifactRecord, _ condition: Condition) throws -> Finding? {
        try store.exclusively {
            guard try catalogue.artifact(record.id, owner: record.owner) == record else { return nil }
            _ = try catalogue.remove(record.id, owner: record.owner)
            return try finding("artifact", .artifact, record.id, condition)
        }
    }

    private func checkInputs(_ outcome: inout Outcome) throws {
        var last = ""
        while true {
            let page = try catalogue.inputDigests(after: last)
            for digest in page {
                outcome.inputs += 1
                let hex = String(digest.dropFirst(InputName.prefix.count))
                switch try condition(ofInput: hex) {
                case .whole(let bytes): outcome.bytes += bytes
                case let condition:
                    if let finding = try settle(input: hex, condition) { outcome.findings.append(finding) }
                }
            }
            guard let end = page.last, page.count == Catalogue.maximumPageSize else { return }
            last = end
        }
    }

    func condition(ofInput hex: String, hashing: Bool = true) throws(StoreError) -> Condition {
        try look { () throws(StoreError) in
            let file = try store.openInput(hex)
            guard hashing else { return .whole(bytes: file.length) }
            let found = try file.digest().hex
            return found == hex ? .whole(bytes: file.length) : .damaged("its digest is \(found)")
        }
    }

    /// Takes an input that is not whole out of service, unless it was removed or made anew since it was `seen`.
    func settle(input hex: String, _ seen: Condition) throws -> Finding? {
        try store.exclusively {
            // An input made anew has the same digest, hence the same row: only its file tells. To hash takes long, and
            // everybody waits: only what was damaged is hashed again.
            let now = try condition(ofInput: hex, hashing: seen != .lost)
            guard !now.isWhole, try catalogue.removeLostInput(InputName.prefix + hex) > 0 else { return nil }
            return try finding("input", .input, hex, now)
        }
    }

    /// What happens to the files of a thing whose row is removed.
    private func finding(
        _ name: String, _ kind: StoredKind, _ id: String, _ condition: Condition
    ) throws -> Finding {
        guard case .damaged(let detail) = condition else {
            return Finding(code: "\(name).lost", id: id, detail: "its files are gone", remedy: "its row was removed")
        }
        let place = try store.quarantine(kind, id)
        return Finding(
            code: "\(name).damaged", id: id, detail: detail,
            remedy: "moved to quarantine/\(place), and its row was removed")
    }

    /// Acknowledged bytes of an upload lie in its work folder.
    private func checkUploads(_ outcome: inout Outcome) throws {
        var last = ""
        while true {
            let page = try catalogue.begunUploads(after: last)
            for upload in page where try !has(.work, upload.id) {
                // Sealed meanwhile, it needs the folder no more.
                guard try catalogue.needsWork(upload.id),
                    try catalogue.removeUpload(upload.id, owner: upload.owner)
                else { continue }
                outcome.findings.append(
                    Finding(
                        code: "upload.lost", id: upload.id, detail: "its \(upload.offset) bytes are gone",
                        remedy: "its row was removed"))
            }
            guard let end = page.last?.id, page.count == Catalogue.maximumPageSize else { return }
            last = end
        }
    }

    private func findStrays(_ outcome: inout Outcome) throws {
        func look(_ kind: StoredKind, isNeeded: (String) throws -> Bool) throws {
            for id in try store.identifiers(of: kind) where try !isNeeded(id) {
                // Its row may have been on its way.
                let isStray = try store.exclusively { try !isNeeded(id) && has(kind, id) }
                guard isStray else { continue }
                outcome.findings.append(
                    Finding(
                        code: "\(kind.rawValue).stray", id: id, detail: "no row names it",
                        remedy: "left to 'viva gc'"))
            }
        }
        try look(.artifact) { try catalogue.contains($0) }
        try look(.input) { try catalogue.containsInput(InputName.prefix + $0) }
        try look(.work) { try catalogue.needsWork($0) }
    }

    private func has(_ kind: StoredKind, _ id: String) throws(StoreError) -> Bool {
        do {
            _ = try store.allocatedBytes(of: kind, id)
            return true
        } catch {
            guard case .notFound = error else { throw error }
            return false
        }
    }

    /// What reading a file shows; throws what is no fault of the file.
    private func look(_ body: () throws(StoreError) -> Condition) throws(StoreError) -> Condition {
        do {
            return try body()
        } catch {
            if case .notFound = error { return .lost }
            guard error.isDamage else { throw error }
            return .damaged("it cannot be read: \(error)")
        }
    }
}

extension StoreCheck.Outcome {
    /// `viva fsck --json`.
    var json: JSON {
        .object([
            ("artifacts", .integer(artifacts)), ("inputs", .integer(inputs)), ("bytes", .integer(bytes)),
            (
                "findings",
                .array(
                    findings.map {
                        .object([
                            ("code", .string($0.code)), ("id", .string($0.id)), ("detail", .string($0.detail)),
                            ("remedy", .string($0.remedy)),
                        ])
                    })
            ),
        ])
    }

    /// `viva fsck`: a line for each finding, and one for all.
    var text: String {
        (findings.map { "\($0.code) \($0.id): \($0.detail); \($0.remedy)" }
            + ["\(artifacts) artifacts, \(inputs) inputs, \(bytes) bytes looked at; \(findings.count) findings"])
            .joined(separator: "\n")
    }
}
