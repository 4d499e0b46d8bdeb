package import Tensors

/// Calibration data that came as an input of its own: a safetensors file, or llama.cpp's `imatrix.gguf`.
///
/// Its header is read once; the data is read by position, when its layer's turn comes.
package final class CalibrationFile {
    /// What the file's header says.
    package let input: InputDescription
    /// The data of the file.
    let entries: [CalibrationTensor]
    /// What a report has to say of the data.
    package let notes: [String]
    /// The memory that the header holds.
    private let memory: MemoryShare?

    /// Reads the header of `source`, and the counts of an importance matrix.
    ///
    /// Throws `container` for a malformed file, `limit` for one that is too large, and `calibration` when it holds no
    /// calibration data at all, or an importance matrix that contradicts itself.
    package init(
        source: any ArtifactSource, limits: SessionLimits, memory: MemoryShare?
    ) throws(QuantizationError) {
        guard source.byteCount <= limits.maximumCalibrationBytes else {
            throw .limit(
                name: "calibration_bytes", value: source.byteCount, limit: limits.maximumCalibrationBytes, tensor: nil)
        }
        self.memory = memory
        let magic = try source.bytes(at: 0..<min(source.byteCount, GGUFParser.magic.count))
        if magic == GGUFParser.magic {
            let header = try GGUFHeader.of(source, limits: limits, memory: memory)
            let matrix = try ImportanceMatrix(header, source, limits: limits)
            (input, entries, notes) = (header.input, matrix.entries, matrix.notes)
        } else {
            let input = try InputDescription.header(of: source, limits: limits, memory: memory)
            let entries = input.entries.map { CalibrationTensor($0, base: input.dataOffset, storage: source) }
            (self.input, self.entries, notes) = (input, entries.filter { $0.subject != nil }, [])
        }
        guard !entries.isEmpty else {
            let leaves = CalibrationLeaf.allCases.map { "<module>.\($0.rawValue)" }.joined(separator: ", ")
            throw .calibration(
                code: "calibration.missing", detail: "None of the file's \(input.entries.count) tensors is \(leaves).")
        }
    }
}
