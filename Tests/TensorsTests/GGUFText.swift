/// Builds GGUF files byte by byte, well formed or not.
struct GGUFText {
    var version: UInt32 = 3
    var pairs: [[UInt8]] = []
    var infos: [[UInt8]] = []
    /// Counts other than the true ones.
    var claimedPairs: UInt64?
    var claimedInfos: UInt64?
    var data: [UInt8] = []
    var alignment = 32

    static func little<Number: FixedWidthInteger>(_ value: Number) -> [UInt8] {
        (0..<Number.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }

    static func string(_ text: String) -> [UInt8] { little(UInt64(text.utf8.count)) + Array(text.utf8) }

    mutating func add(_ key: String, kind: UInt32, _ value: [UInt8]) {
        pairs.append(Self.string(key) + Self.little(kind) + value)
    }

    /// A tensor of the given ggml type, dimensions fastest first.
    mutating func add(_ name: String, _ dimensions: [UInt64], type: UInt32 = 0, offset: UInt64) {
        infos.append(
            Self.string(name) + Self.little(UInt32(dimensions.count)) + dimensions.flatMap { Self.little($0) }
                + Self.little(type) + Self.little(offset))
    }

    /// The length and padding of the header are made to fit; the data stands as it is.
    var bytes: [UInt8] {
        var bytes = Array("GGUF".utf8) + Self.little(version)
        bytes += Self.little(claimedInfos ?? UInt64(infos.count)) + Self.little(claimedPairs ?? UInt64(pairs.count))
        bytes += Array(pairs.joined()) + Array(infos.joined())
        bytes += [UInt8](repeating: 0, count: (alignment - bytes.count % alignment) % alignment)
        return bytes + data
    }
}
