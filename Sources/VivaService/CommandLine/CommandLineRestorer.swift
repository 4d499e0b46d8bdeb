import ArtifactStore
import HTTPServer
import Quantization

/// `viva dequantize`: the same session without a server, from a file to a file.
package struct CommandLineRestorer {
    private let dtype: String?
    private let bits: Int?

    /// The bytes that are made and written at once.
    private static let pieceBytes = 1 << 20

    /// `dtype` is one of the contract's; `bits` says how wide MLX's codes are where the file does not.
    package init(dtype: String?, bits: Int?) {
        self.dtype = dtype
        self.bits = bits
    }

    /// Restores the artifact `input` into `output`, which appears whole or not at all; says what was written.
    package func run(input: String, output: String) throws(ServiceError) -> String {
        try CommandLineQuantizer.refuseFolder(input)
        try CommandLineQuantizer.keep([input], from: [output])
        do {
            let session = try RestoringSession(
                source: OpenedSource(try OpenedFile(path: input)), elements: RestoredArtifact.elements(dtype),
                bits: bits)
            let staged = try StagedFile.beside(path: output)
            var buffer = [UInt8](repeating: 0, count: Self.pieceBytes)
            var written = 0
            while written < session.byteCount {
                var span = buffer.mutableSpan
                var bytes = unsafe span.mutableBytes
                let count = try session.read(into: &bytes)
                try staged.write(bytes.bytes.extracting(first: count), at: written)
                written += count
            }
            try staged.commit(to: output)
            return "\(written) bytes"
        } catch {
            throw CommandLineQuantizer.explain(error)
        }
    }
}
