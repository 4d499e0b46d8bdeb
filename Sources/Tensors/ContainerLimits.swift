/// How much a header may ask of its reader.
package struct ContainerLimits: Sendable, Equatable {
    /// The length of a safetensors JSON header in bytes; never more than the format's own 100,000,000.
    package var maxHeaderBytes = 16 << 20
    /// The number of tensors in one safetensors header.
    package var maxTensors = 200_000
    /// The number of pairs in `__metadata__`.
    package var maxMetadataItems = 10_000
    /// The number of dimensions of one tensor.
    package var maxRank = 32
    /// The length of a tensor name, or of a metadata key, in bytes of UTF-8 after unescaping.
    package var maxNameBytes = 4096
    /// The length of a text in the metadata of a GGUF file, in bytes.
    package var maxTextBytes = 1 << 20
    /// The number of elements of an array in the metadata of a GGUF file: a vocabulary has 256 thousand.
    package var maxArrayItems = 1 << 20
    /// The length of an npy header literal in bytes; numpy's own `max_header_size`.
    package var maxNumpyHeaderBytes = 10_000
    /// The number of members of a zip archive.
    package var maxMembers = 65_536
    /// The length of a zip archive's central directory in bytes.
    package var maxDirectoryBytes = 16 << 20
    /// The length of one member of a zip archive in bytes, inflated.
    package var maxMemberBytes = 1 << 40
    /// The length of all members of a zip archive together in bytes, inflated.
    package var maxInflatedBytes = 1 << 44
    /// Inflated bytes of a member for each byte that is stored, beyond `inflateRatioFloor`.
    package var maxInflateRatio = 200
    /// Inflated bytes of a member that the ratio does not count against.
    package var inflateRatioFloor = 1 << 20

    /// The default limits.
    package init() {}
}
