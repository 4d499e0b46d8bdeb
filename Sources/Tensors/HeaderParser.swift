/// Recognises a container by its first bytes and parses its header; archives have none, see `ZipArchive`.
///
/// Safe to call again with every longer prefix: until the header is whole a call only looks at the first few bytes.
/// When a stream ends while more is wanted, call once more with `totalBytes` set to what arrived: the error says what
/// is missing.
///
/// - Parameters:
///   - prefix: the input from its first byte; bytes behind the header are not looked at.
///   - totalBytes: the length of the whole input where it is known. A header that disagrees with it is refused here;
///     otherwise the caller compares the end of the stream with `InputDescription.totalBytes`.
/// - Throws: `container.*`, `safetensors.*` and `npy.*`; `container.unknown` names what the bytes look like.
package func parseHeader(
    _ prefix: RawSpan, totalBytes: Int?, limits: ContainerLimits = ContainerLimits()
) throws(TensorFormatError) -> HeaderParse {
    if prefix.starts(with: NumpyParser.magic) {
        return try NumpyParser.parse(prefix, totalBytes: totalBytes, limits: limits)
    }
    let lengthBytes = SafetensorsParser.lengthBytes
    if let totalBytes, totalBytes < lengthBytes {
        let detail = totalBytes == 0 ? "the input is empty" : "\(totalBytes) bytes are too few for any container"
        throw TensorFormatError(code: totalBytes == 0 ? "container.empty" : "container.too_short", detail: detail)
    }
    // The byte behind the length decides: a safetensors header begins with a brace.
    let isWhole = prefix.byteCount == lengthBytes && totalBytes == lengthBytes
    guard prefix.byteCount > lengthBytes || isWhole else { return .needsMore(atLeast: lengthBytes + 1) }
    let opens = prefix.byteCount > lengthBytes && prefix.byte(at: lengthBytes) == UInt8(ascii: "{")
    let length = prefix.littleEndian(at: 0, width: lengthBytes)
    let isPlausible = length <= UInt64(SafetensorsParser.formatMaxHeaderBytes)
    if !isPlausible || !opens, let foreign = ForeignFormat.recognise(prefix) {
        throw TensorFormatError(code: "container.unknown", detail: foreign.detail, offset: 0)
    }
    guard isPlausible || opens else {
        let detail = "neither safetensors, npy nor npz; \(adviceForRaw)"
        throw TensorFormatError(code: "container.unknown", detail: detail, offset: 0)
    }
    guard opens || isWhole || length == 0 else {
        let detail = "a safetensors header must begin with '{'; \(adviceForRaw)"
        throw safetensorsError("header_start", detail, at: lengthBytes)
    }
    return try SafetensorsParser.parse(prefix, totalBytes: totalBytes, limits: limits)
}

/// What to say beside values without a header.
private let adviceForRaw = "of raw values say dtype and shape, float32 and 4096,4096 for instance"

/// Parses the header of an input that is wholly in memory, and holds it to the input's length.
package func parseFile(
    _ whole: RawSpan, limits: ContainerLimits = ContainerLimits()
) throws(TensorFormatError) -> InputDescription {
    switch try parseHeader(whole, totalBytes: whole.byteCount, limits: limits) {
    case .complete(let description): return description
    case .needsMore(let wanted):
        let detail = "\(whole.byteCount) bytes, at least \(wanted) are needed"
        throw TensorFormatError(code: "container.too_short", detail: detail)
    }
}

/// A format that people send and this module does not read.
enum ForeignFormat: CaseIterable {
    case zip, emptyZip, gguf, imatrix, hdf5, pickle, gzip, zstandard, lfsPointer, markup, form, json

    /// The format whose first bytes these are.
    static func recognise(_ prefix: RawSpan) -> ForeignFormat? {
        if isImatrix(prefix) { return .imatrix }
        return allCases.first { format in
            for magic in format.magics where prefix.starts(with: magic) { return true }
            return false
        }
    }

    /// Whether the bytes begin like llama.cpp's old importance matrices: a number of entries, the length of the first
    /// one's name, and that name, 'blk.…' or 'output.…'.
    private static func isImatrix(_ prefix: RawSpan) -> Bool {
        guard prefix.byteCount > 8, (1...1 << 20).contains(prefix.littleEndian(at: 0, width: 4)),
            (6...64).contains(prefix.littleEndian(at: 4, width: 4))
        else { return false }
        return prefix.byte(at: 8) == UInt8(ascii: "b") || prefix.byte(at: 8) == UInt8(ascii: "o")
    }

    private var magics: [[UInt8]] {
        switch self {
        case .imatrix: []
        case .zip: [ZipArchive.magic]
        case .emptyZip: [Array("PK".utf8) + [5, 6]]
        case .gguf: [GGUFParser.magic]
        case .hdf5: [[0x89] + Array("HDF\r\n".utf8)]
        case .pickle: (2...5).map { [0x80, $0] }
        case .gzip: [[0x1F, 0x8B]]
        case .zstandard: [[0x28, 0xB5, 0x2F, 0xFD]]
        case .lfsPointer: [Array("version ".utf8)]
        case .markup: ["<!", "<h", "<H", "<?"].map { Array($0.utf8) }
        case .form: [Array("--".utf8)]
        case .json: ["{\"", "{ ", "{\n", "{\r"].map { Array($0.utf8) }
        }
    }

    /// What the bytes are, and what to send instead.
    var detail: String {
        switch self {
        case .zip: "a zip archive, perhaps npz: only its end says what is in it; send safetensors or a single npy"
        case .emptyZip: "an empty zip archive"
        case .gguf: "a GGUF file, read only as calibration; send the model before it was quantized, as safetensors"
        case .imatrix:
            "the old form of llama.cpp's importance matrices: llama-imatrix --in-file FILE -o imatrix.gguf converts it"
        case .hdf5: "an HDF5 file (Keras); send safetensors or npy"
        case .pickle: "a Python pickle (PyTorch), which is never loaded; send safetensors"
        case .gzip: "gzip data; send it unpacked, or declare the encoding"
        case .zstandard: "Zstandard data; send it unpacked"
        case .lfsPointer: "text, perhaps a Git LFS pointer in place of the file; fetch the file itself"
        case .markup: "an HTML or XML page, perhaps an error in place of the file"
        case .form: "a multipart form; send the file itself as the body"
        case .json: "JSON without the 8-byte length of safetensors; an index holds no shapes: send what it names"
        }
    }
}
