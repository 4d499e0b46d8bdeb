/// What this build is: the version joins the identity of every artifact, for another version may write other bytes.
package enum Engine {
    /// The version of the service and its quantizers.
    package static let version = "0.2.0"
    /// Name and version, as it stands in an artifact's metadata.
    package static let name = "viva-tensor \(version)"
}
