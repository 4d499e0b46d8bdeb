import Tensors

/// Why a recorded state cannot be taken up again.
package enum SnapshotFlaw: String, Sendable, Equatable {
    /// Another version of this code wrote it, or something else.
    case version
    /// Bytes of it are missing or changed.
    case damaged
    /// It belongs to another recipe, engine or input.
    case foreign
    /// It says what no session says, or lies elsewhere in the input than the one that is to go on.
    case contradiction
    /// The session is over: it has failed or finished.
    case over
}

/// Writes a session's state: little-endian, integers as LEB128, sealed by a checksum.
///
/// ```
/// version | identity of recipe, engine and input, 8 bytes | what the parts of the session add | checksum, 8 bytes
/// ```
struct StateWriter {
    /// Changed with everything that any part of a session writes.
    static let version: UInt8 = 4
    private var bytes: [UInt8]

    /// A state of the session that `identity` names.
    init(identity: Fingerprint) {
        bytes = [Self.version]
        add(fixed: identity.value)
    }

    /// Adds a number that is not negative.
    mutating func add(_ value: Int) {
        var rest = UInt64(truncatingIfNeeded: value)
        while rest > 0x7F {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(truncatingIfNeeded: rest))
    }

    mutating func add(_ value: Float) { add(fixed: value.bitPattern) }
    mutating func add(_ value: Double) { add(fixed: value.bitPattern) }

    /// Adds whether there is a number, and the number.
    mutating func add(optional value: Double?) {
        add(value == nil ? 0 : 1)
        if let value { add(value) }
    }

    /// Adds bytes whose number the reader knows.
    mutating func add(_ raw: [UInt8]) { bytes += raw }

    private mutating func add<Value: FixedWidthInteger>(fixed value: Value) {
        for shift in stride(from: 0, to: Value.bitWidth, by: 8) {
            bytes.append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }

    /// The state, sealed.
    consuming func sealed() -> [UInt8] {
        var checksum = Fingerprint()
        checksum.add(bytes[...])
        add(fixed: checksum.value)
        return bytes
    }
}

/// Reads what a `StateWriter` wrote; bytes that it did not write end in `QuantizationError.snapshot`.
struct StateReader {
    private let bytes: ArraySlice<UInt8>
    private var position: Int

    /// The parts in `state`, which must be whole and of the session that `identity` names.
    init(_ state: [UInt8], identity: Fingerprint) throws(QuantizationError) {
        guard state.first == StateWriter.version else { throw .snapshot(.version) }
        guard state.count >= 17 else { throw .snapshot(.damaged) }
        bytes = state[..<(state.count - 8)]
        position = 1
        var checksum = Fingerprint()
        checksum.add(bytes)
        var sealed = StateReader(unsealed: state.suffix(8))
        guard try sealed.fixed(UInt64.self) == checksum.value else { throw .snapshot(.damaged) }
        guard try fixed(UInt64.self) == identity.value else { throw .snapshot(.foreign) }
    }

    private init(unsealed bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        position = bytes.startIndex
    }

    /// The next number, which is at most `limit`.
    mutating func integer(atMost limit: Int) throws(QuantizationError) -> Int {
        var value: UInt64 = 0
        for shift in stride(from: 0, to: 63, by: 7) {
            let byte = try fixed(UInt8.self)
            value |= UInt64(byte & 0x7F) << shift
            guard byte < 0x80 else { continue }
            // One number has one form.
            guard value <= UInt64(limit), byte > 0 || shift == 0 else { break }
            return Int(value)
        }
        throw .snapshot(.contradiction)
    }

    mutating func float() throws(QuantizationError) -> Float { Float(bitPattern: try fixed(UInt32.self)) }
    /// The next float, which is neither NaN nor infinite.
    mutating func finiteFloat() throws(QuantizationError) -> Float {
        let value = try float()
        guard value.isFinite else { throw .snapshot(.contradiction) }
        return value
    }

    mutating func double() throws(QuantizationError) -> Double { Double(bitPattern: try fixed(UInt64.self)) }
    mutating func flag() throws(QuantizationError) -> Bool { try integer(atMost: 1) > 0 }
    mutating func optionalDouble() throws(QuantizationError) -> Double? { try flag() ? try double() : nil }

    /// The next `count` bytes.
    mutating func raw(_ count: Int) throws(QuantizationError) -> [UInt8] {
        guard count <= bytes.endIndex - position else { throw .snapshot(.contradiction) }
        defer { position += count }
        return Array(bytes[position..<position + count])
    }

    private mutating func fixed<Value: FixedWidthInteger>(_ type: Value.Type) throws(QuantizationError) -> Value {
        try raw(Value.bitWidth / 8).reversed().reduce(0) { $0 << 8 | Value(truncatingIfNeeded: $1) }
    }

    /// Refuses bytes behind the last part.
    func end() throws(QuantizationError) {
        guard position == bytes.endIndex else { throw .snapshot(.contradiction) }
    }
}

/// A number of 64 bits that tells apart what differs by accident; every change of one byte changes it.
///
/// Source: FNV-1a, draft-eastlake-fnv.
struct Fingerprint: Equatable {
    private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325

    mutating func add(_ bytes: some Sequence<UInt8>) {
        for byte in bytes { value = (value ^ UInt64(byte)) &* 0x100_0000_01B3 }
    }

    /// Adds a text and its end.
    mutating func add(_ text: String) {
        add(text.utf8)
        add(CollectionOfOne(0xFF))
    }

    mutating func add(_ number: Int) {
        add((0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) })
    }

    /// Adds all that a header says.
    mutating func add(_ input: InputDescription) {
        add(input.container.rawValue)
        add(input.dataOffset)
        add(input.metadata.count)
        for item in input.metadata {
            add(item.name)
            add(item.value)
        }
        for entry in input.entries {
            add(entry.name)
            add(entry.type.rawValue)
            add(entry.shape.count)
            for extent in entry.shape { add(extent) }
            add((entry.isFortranOrder ? 1 : 0) + (entry.isBigEndian ? 2 : 0))
        }
    }
}
