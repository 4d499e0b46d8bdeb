/// Why bytes are not the container that they claim to be.
package struct TensorFormatError: Error, Sendable, Equatable {
    /// A stable code in the form `safetensors.overlap` or `npy.object_type`.
    package let code: String
    /// One sentence for a person: what was found, and where.
    package let detail: String
    /// The offset in bytes from the start of the input, where it is known.
    package let offset: Int?
    /// The tensor concerned, where there is one.
    package let tensor: String?

    /// Collects the evidence of one malformed place.
    package init(code: String, detail: String, offset: Int? = nil, tensor: String? = nil) {
        self.code = code
        self.detail = detail
        self.offset = offset
        self.tensor = tensor
    }
}
