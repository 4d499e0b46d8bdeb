/// Holds the tensors of one file to the rule that they cover the data buffer: no hole, no overlap, no tail.
struct SafetensorsLayout {
    /// Where the data buffer begins, in bytes from the start of the input.
    let dataOffset: Int
    /// The length of the input, where it is known.
    let totalBytes: Int?

    /// Sorts the entries by position and checks that each begins where the one before it ends.
    ///
    /// - Returns: the sorted entries and the length of the data buffer.
    func order(_ entries: [TensorEntry]) throws(TensorFormatError) -> (entries: [TensorEntry], dataBytes: Int) {
        // A zero-size tensor lies before the one that begins at its place; the header's order decides between two.
        let order = entries.indices.sorted { left, right in
            let (a, b) = (entries[left].bytes, entries[right].bytes)
            return (a.lowerBound, a.upperBound, left) < (b.lowerBound, b.upperBound, right)
        }
        var sorted: [TensorEntry] = []
        sorted.reserveCapacity(entries.count)
        var covered = 0
        for index in order {
            let entry = entries[index]
            guard entry.bytes.lowerBound <= covered else {
                let detail = "no tensor covers bytes \(covered) to \(entry.bytes.lowerBound) of the data"
                throw error("hole", detail, at: covered, tensor: entry.name)
            }
            guard entry.bytes.lowerBound == covered else {
                let detail = "it begins at byte \(entry.bytes.lowerBound) of the data, inside the tensor before it"
                throw error("overlap", detail, at: entry.bytes.lowerBound, tensor: entry.name)
            }
            covered = entry.bytes.upperBound
            guard !dataOffset.addingReportingOverflow(covered).overflow else {
                throw error("data_too_large", "the end of the data does not fit 64 bits", at: nil, tensor: entry.name)
            }
            sorted.append(entry)
        }
        try checkLength(covered: covered)
        return (sorted, covered)
    }

    private func checkLength(covered: Int) throws(TensorFormatError) {
        guard let totalBytes else { return }
        let present = totalBytes - dataOffset
        guard covered <= present else {
            let detail = "the tensors need \(covered) bytes of data, the input has \(present)"
            throw error("data_truncated", detail, at: present, tensor: nil)
        }
        guard covered == present else {
            throw error("tail_bytes", "\(present - covered) bytes follow the last tensor", at: covered, tensor: nil)
        }
    }

    /// An error at a place in the data buffer.
    private func error(_ code: String, _ detail: String, at place: Int?, tensor: String?) -> TensorFormatError {
        let sum = place.map { dataOffset.addingReportingOverflow($0) }
        let offset = sum.flatMap { $0.overflow ? nil : $0.partialValue }
        return TensorFormatError(code: "safetensors.\(code)", detail: detail, offset: offset, tensor: tensor)
    }
}
