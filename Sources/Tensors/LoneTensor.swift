/// Describes bare elements whose type and shape were given beside them, as one tensor called `weight`.
///
/// - Parameters:
///   - totalBytes: the length of the input in bytes where it is known; it must then be that of the tensor.
/// - Throws: `raw.negative_dimension`, `raw.rank_too_large`, `raw.shape_overflow`, `raw.partial_byte`,
///   `raw.data_truncated`, `raw.tail_bytes`.
package func describeRaw(
    type: ElementType, shape: [Int], totalBytes: Int?, limits: ContainerLimits = ContainerLimits()
) throws(TensorFormatError) -> InputDescription {
    guard shape.count <= limits.maxRank else {
        let detail = "\(shape.count) dimensions; the limit is \(limits.maxRank)"
        throw TensorFormatError(code: "raw.rank_too_large", detail: detail)
    }
    return try loneTensor(in: .raw, type: type, shape: shape, dataOffset: 0, totalBytes: totalBytes)
}

/// The description of an input, or of a member of an archive, that holds one tensor without a name.
func loneTensor(
    in container: Container, type: ElementType, shape: [Int], dataOffset: Int, totalBytes: Int?,
    isFortranOrder: Bool = false, isBigEndian: Bool = false
) throws(TensorFormatError) -> InputDescription {
    let name = NumpyParser.tensorName
    let extent = try TensorExtent(type: type, shape: shape, container: container, tensor: name)
    let (end, overflow) = dataOffset.addingReportingOverflow(extent.bytes)
    guard !overflow else {
        let detail = "the end of the data does not fit 64 bits"
        throw TensorFormatError(code: "\(container).shape_overflow", detail: detail, tensor: name)
    }
    if let totalBytes, totalBytes != end {
        let detail = "shape and type need \(extent.bytes) bytes of data, the input has \(totalBytes - dataOffset)"
        let code = totalBytes < end ? "data_truncated" : "tail_bytes"
        throw TensorFormatError(
            code: "\(container).\(code)", detail: detail, offset: min(totalBytes, end), tensor: name)
    }
    let entry = TensorEntry(
        name: name, type: type, shape: shape, elementCount: extent.elements, bytes: 0..<extent.bytes,
        isFortranOrder: isFortranOrder, isBigEndian: isBigEndian)
    return InputDescription(
        container: container, entries: [entry], metadata: [], dataOffset: dataOffset, dataBytes: extent.bytes)
}
