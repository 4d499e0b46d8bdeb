import Catalogue
import HTTPServer
import OpenSSL
import Synchronization

/// The keys of the catalogue, by their identifiers.
final class KeyRing: Sendable {
    /// A key's row, read into what is asked of it.
    private struct Known: Sendable {
        let hash: Digest?
        let principal: Principal
        let isRevoked: Bool
    }

    private let catalogue: Catalogue
    private let defaults: OwnerLimits
    /// What the rows said last; as many as there are keys, for other identifiers are not kept.
    private let seen = Mutex<[String: Known]>([:])

    /// `defaults` are the limits of keys that have none of their own.
    init(_ catalogue: Catalogue, defaults: OwnerLimits) {
        self.catalogue = catalogue
        self.defaults = defaults
    }

    /// Whose key this is. The row is read each time: a key that was revoked, by whatever process, opens nothing any
    /// more.
    func holder(of key: AccessKey) throws(Problem) -> Principal {
        try verify(key, try read(key.id))
    }

    /// The same by what the row said when the request was admitted.
    func admittedHolder(of key: AccessKey) throws(Problem) -> Principal {
        guard let known = seen.withLock({ $0[key.id] }) else { return try holder(of: key) }
        return try verify(key, known)
    }

    private func read(_ id: String) throws(Problem) -> Known? {
        let record: KeyRecord?
        do throws(CatalogueError) {
            record = try catalogue.key(id)
        } catch {
            throw Problem(error)
        }
        guard let record else { return nil }
        let known = Known(
            hash: Digest(hex: record.hash),
            principal: Principal(
                owner: record.id, scopes: Scopes(record.scopes) ?? [],
                limits: OwnerLimits(
                    bytes: record.maximumBytes ?? defaults.bytes, work: record.maximumWork ?? defaults.work)),
            isRevoked: record.revokedAt != nil)
        seen.withLock { $0[id] = known }
        return known
    }

    /// Hashes and compares for an unknown identifier too, so that the time tells nothing.
    private func verify(_ key: AccessKey, _ known: Known?) throws(Problem) -> Principal {
        let given: Digest
        do throws(OpenSSLError) {
            given = try key.hash()
        } catch {
            throw Problem(error)
        }
        let isRight = given.matches(known?.hash ?? given)
        guard isRight, let known, known.hash != nil else { throw .invalidKey("The key is not known.") }
        // Told only to who has the secret.
        guard !known.isRevoked else { throw .invalidKey("The key '\(key.id)' was revoked.") }
        return known.principal
    }
}
