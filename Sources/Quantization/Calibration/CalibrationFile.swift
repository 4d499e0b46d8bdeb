package import Tensors

/// Calibration data that came as an input of its own: a safetensors file.
///
/// Its header is read once; the data is read by position, when its layer's turn comes.
package final class CalibrationFile {
    /// What the file's header says.
    package let input: InputDescription
    private let source: any ArtifactSource
    /// The memory that the header holds.
    private let memory: MemoryShare?

    /// Reads the header of `source`.
    ///
    /// Throws `container` for a malformed file, `limit` for one that is too large, and `calibration.missing` when it
    /// holds no calibration data at all.
    package init(
        source: any ArtifactSource, limits: SessionLimits, memory: MemoryShare?
    ) throws(QuantizationError) {
        guard source.byteCount <= limits.maximumCalibrationBytes else {
            throw .limit(
                name: "calibration_bytes", value: source.byteCount, limit: limits.maximumCalibrationBytes, tensor: nil)
        }
        self.source = source
        self.memory = memory
        input = try InputDescription.header(of: source, limits: limits, memory: memory)
        guard input.entries.contains(where: { CalibrationLeaf.isNamed(by: $0.name) }) else {
            let leaves = CalibrationLeaf.allCases.map { "<module>.\($0.rawValue)" }.joined(separator: ", ")
            throw .calibration(
                code: "calibration.missing", detail: "None of the file's tensors is called \(leaves).")
        }
    }

    /// The tensors of the file.
    var entries: [CalibrationTensor] {
        input.entries.map { CalibrationTensor($0, base: input.dataOffset, storage: source) }
    }
}
