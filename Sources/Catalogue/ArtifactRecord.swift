/// What the catalogue remembers of one artifact; its bytes and its report live in the artifact store.
package struct ArtifactRecord: Sendable, Equatable {
    /// The identifier, unique over all owners.
    package let id: String
    /// Whose it is: nobody else sees it.
    package let owner: String
    /// What its sender calls it.
    package let name: String?
    /// The method of its recipe, as in the contract.
    package let method: String
    /// The format of its recipe, as in the contract.
    package let format: String
    /// The mode of its recipe, as in the contract.
    package let mode: String
    /// The digest of the received bytes, as `sha256:<hex>`.
    package let inputDigest: String
    /// The length of the received bytes.
    package let inputBytes: Int
    /// The length of the artifact's content.
    package let bytes: Int
    /// The digest of the artifact's content, as `sha256:<hex>`.
    package let digest: String
    /// The artifact's description as JSON text; the catalogue does not read it.
    package let manifest: String
    /// Milliseconds since 1970-01-01T00:00:00Z.
    package let createdAt: Int64

    /// Takes every field as it is.
    package init(
        id: String, owner: String, name: String?, method: String, format: String, mode: String, inputDigest: String,
        inputBytes: Int, bytes: Int, digest: String, manifest: String, createdAt: Int64
    ) {
        self.id = id
        self.owner = owner
        self.name = name
        self.method = method
        self.format = format
        self.mode = mode
        self.inputDigest = inputDigest
        self.inputBytes = inputBytes
        self.bytes = bytes
        self.digest = digest
        self.manifest = manifest
        self.createdAt = createdAt
    }
}
