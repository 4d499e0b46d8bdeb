/// The size of one tensor, computed from its type and shape without overflow.
struct TensorExtent: Equatable {
    /// The number of elements.
    let elements: Int
    /// The number of bytes that hold them.
    let bytes: Int

    /// Why a type and shape have no size.
    enum Failure: Error {
        case negativeDimension
        case overflow
        case partialByte
    }

    /// Multiplies the dimensions and the bit width.
    ///
    /// The dimensions other than 0 must multiply without overflow even when another is 0: a reader that computes
    /// strides would overflow all the same.
    init(type: ElementType, shape: [Int]) throws(Failure) {
        var product = 1
        var isEmpty = false
        for dimension in shape {
            guard dimension >= 0 else { throw .negativeDimension }
            guard dimension > 0 else {
                isEmpty = true
                continue
            }
            let (value, overflow) = product.multipliedReportingOverflow(by: dimension)
            guard !overflow else { throw .overflow }
            product = value
        }
        let (bits, overflow) = product.multipliedReportingOverflow(by: type.bitWidth)
        guard !overflow else { throw .overflow }
        guard isEmpty || bits.isMultiple(of: 8) else { throw .partialByte }
        elements = isEmpty ? 0 : product
        bytes = isEmpty ? 0 : bits / 8
    }

    /// The same, a failure told as an error of one container.
    init(
        type: ElementType, shape: [Int], container: Container, offset: Int? = nil, tensor: String
    ) throws(TensorFormatError) {
        do throws(Failure) {
            try self.init(type: type, shape: shape)
        } catch {
            let (code, detail) =
                switch error {
                case .negativeDimension: ("negative_dimension", "a dimension of the shape is negative")
                case .overflow: ("shape_overflow", "the size of the shape does not fit 64 bits")
                case .partialByte: ("partial_byte", "the elements of type \(type.rawValue) do not fill whole bytes")
                }
            throw TensorFormatError(code: "\(container).\(code)", detail: detail, offset: offset, tensor: tensor)
        }
    }
}
