import Catalogue
import Observability

/// `viva gc`: removes what nobody needs any more, beside a running server too.
package enum GarbageCommand {
    /// Collects, or says what it would collect; answers a table, or JSON.
    package static func run(
        data folder: String, isDryRun: Bool, inputTimeToLive: Duration, isJSON: Bool
    ) throws(ServiceError) -> String {
        let opened = try OpenDataFolder(folder)
        do {
            let collected = try GarbageCollector(
                store: opened.store, catalogue: opened.catalogue, inputTimeToLive: inputTimeToLive, isDryRun: isDryRun
            ).run()
            if !isDryRun {
                let count = collected.reduce(0) { $0 + $1.count }
                try opened.catalogue.note(.byOperator("gc", of: "\(count) things"))
            }
            if isJSON { return String(decoding: collected.json(isDryRun: isDryRun).bytes().dropLast(), as: UTF8.self) }
            let rows = collected.map { [$0.kind.rawValue, "\($0.count)", "\($0.bytes)"] }
            return ReportText.aligned([[isDryRun ? "would remove" : "removed", "count", "bytes"]] + rows)
                .joined(separator: "\n")
        } catch {
            throw CommandLineQuantizer.explain(error)
        }
    }
}

/// `viva fsck`: compares all files with what is recorded of them, beside a running server too.
package enum CheckCommand {
    /// Looks at everything; answers what was found, as lines or as JSON, and whether that is nothing.
    package static func run(data folder: String, isJSON: Bool) throws(ServiceError) -> (text: String, isClean: Bool) {
        let opened = try OpenDataFolder(folder)
        do {
            let outcome = try StoreCheck(store: opened.store, catalogue: opened.catalogue).run()
            for finding in outcome.findings where !finding.code.hasSuffix(".stray") {
                try opened.catalogue.note(.byOperator("fsck.\(finding.code)", of: finding.id))
            }
            let text = isJSON ? String(decoding: outcome.json.bytes().dropLast(), as: UTF8.self) : outcome.text
            return (text, outcome.findings.isEmpty)
        } catch {
            throw CommandLineQuantizer.explain(error)
        }
    }
}

/// `viva audit`: the audit log as JSON lines.
package enum AuditCommand {
    /// Prints the lines behind a place in the log, the oldest first.
    package static func run(
        data folder: String, after sequence: Int64, print: (String) -> Void
    ) throws(ServiceError) {
        let opened = try OpenDataFolder(folder)
        var last = sequence
        do {
            while true {
                let page = try opened.catalogue.auditRecords(after: last)
                for record in page { print(line(record)) }
                guard let end = page.last?.sequence, page.count == Catalogue.maximumPageSize else { return }
                last = end
            }
        } catch {
            throw CommandLineQuantizer.explain(error)
        }
    }

    private static func line(_ record: AuditRecord) -> String {
        JSON.object([
            ("sequence", .integer(Int(record.sequence))), ("at", .string(rfc3339(milliseconds: record.at))),
            ("owner", .string(record.owner)), ("action", .string(record.action)), ("target", .string(record.target)),
            ("trace_id", .optional(record.trace)),
        ]).text()
    }
}

extension AuditRecord {
    /// What somebody did who has the data folder in hand, and needs no key.
    static func byOperator(_ action: String, of target: String) -> AuditRecord {
        AuditRecord(at: Clock.milliseconds(), owner: "local", action: action, target: target, trace: nil)
    }
}
