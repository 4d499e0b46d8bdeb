import ArtifactStore
import Catalogue
import Observability
import OpenSSL

/// `viva key`: makes, lists and ends keys; beside a running server too, which sees the change at its next request.
package struct KeyCommand {
    /// The most characters of a key's name.
    package static let maximumNameLength = 64

    private let catalogue: Catalogue

    /// Opens the catalogue of a data folder, which is made where there is none yet and `creating` says so.
    package init(data folder: String, creating: Bool) throws(ServiceError) {
        catalogue = try OpenDataFolder(folder, creating: creating).catalogue
    }

    /// Makes a key; answers the key, which cannot be had again, and its identifier.
    package func add(
        name: String, scopes: String, maximumBytes: Int?, maximumWork: Int?
    ) throws(ServiceError) -> (key: String, id: String) {
        guard (1...Self.maximumNameLength).contains(name.count), !name.unicodeScalars.contains(where: \.isControl)
        else {
            throw .failed("a name has 1 to \(Self.maximumNameLength) characters, none of them a control character")
        }
        guard let granted = Scopes(scopes) else { throw .failed("scopes are read, write and admin, not '\(scopes)'") }
        guard [maximumBytes, maximumWork].allSatisfy({ ($0 ?? 0) >= 0 }) else {
            throw .failed("limits are not negative")
        }
        do {
            let key = try AccessKey()
            let record = KeyRecord(
                id: key.id, name: name, hash: try key.hash().hex, scopes: granted.text, maximumBytes: maximumBytes,
                maximumWork: maximumWork, createdAt: Clock.milliseconds())
            guard try catalogue.insert(record) else {
                throw ServiceError.failed("there is a key '\(name)' already; a revoked key keeps its name too")
            }
            try note("key.add", of: record)
            return (key.text, key.id)
        } catch {
            throw CommandLineQuantizer.explain(error)
        }
    }

    /// All keys with what their owners have, as a table.
    package func list() throws(ServiceError) -> String {
        do {
            var rows = [["name", "id", "scopes", "bytes", "of", "jobs", "of", "created", "revoked"]]
            for key in try catalogue.keys() {
                let usage = try catalogue.usage(of: key.id)
                rows.append([
                    key.name, key.id, key.scopes, "\(usage.bytes)", key.maximumBytes.map(String.init) ?? "-",
                    "\(usage.jobs)", key.maximumWork.map(String.init) ?? "-",
                    rfc3339(milliseconds: key.createdAt), key.revokedAt.map(rfc3339(milliseconds:)) ?? "-",
                ])
            }
            return rows.count == 1 ? "no keys" : ReportText.aligned(rows).joined(separator: "\n")
        } catch {
            throw CommandLineQuantizer.explain(error)
        }
    }

    /// Ends a key. What was made with it stays.
    package func revoke(name: String) throws(ServiceError) {
        do {
            let key = try catalogue.keys().first { $0.name == name }
            guard let key, try catalogue.revokeKey(named: name, at: Clock.milliseconds()) else {
                throw ServiceError.failed("there is no key '\(name)' that holds")
            }
            try note("key.revoke", of: key)
        } catch {
            throw CommandLineQuantizer.explain(error)
        }
    }

    private func note(_ action: String, of key: KeyRecord) throws(CatalogueError) {
        try catalogue.note(.byOperator(action, of: key.id))
    }
}

extension Unicode.Scalar {
    fileprivate var isControl: Bool { properties.generalCategory == .control }
}

/// A data folder, opened beside the server that may be running.
struct OpenDataFolder {
    let store: ArtifactStore
    let catalogue: Catalogue

    init(_ folder: String, creating: Bool = false) throws(ServiceError) {
        do {
            store = try ArtifactStore(beside: folder, creating: creating)
            catalogue = try Catalogue(path: "\(folder)/catalogue.sqlite")
        } catch {
            throw CommandLineQuantizer.explain(error)
        }
    }
}
