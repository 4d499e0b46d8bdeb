@testable import Quantization

/// A zip archive made by hand, with the places of its headers, so that a test can spoil any field.
struct ForgedArchive {
    struct Member {
        var name: [UInt8]
        var data: [UInt8]
        var flags: UInt64 = 0

        init(_ name: String, _ data: [UInt8]) {
            self.name = Array(name.utf8)
            self.data = data
        }

        /// An npy member.
        static func array(
            _ name: String, _ descr: String, fortran: Bool, _ shape: [Int], _ data: [UInt8]
        ) -> Member {
            let tuple = "(" + shape.map { "\($0), " }.joined() + ")"
            let order = fortran ? "True" : "False"
            var header = "{'descr': '\(descr)', 'fortran_order': \(order), 'shape': \(tuple), }"
            header += String(repeating: " ", count: 117 - header.utf8.count) + "\n"
            return Member("\(name).npy", [0x93] + Array("NUMPY".utf8) + [1, 0, 118, 0] + Array(header.utf8) + data)
        }
    }

    private(set) var bytes: [UInt8] = []
    /// Where the local headers, the directory entries and the end record begin.
    private(set) var locals: [Int] = []
    private(set) var entries: [Int] = []
    private(set) var end = 0

    /// All members stored; `gap` bytes of nothing before each.
    init(_ members: [Member], gap: Int = 0) {
        for member in members {
            bytes += [UInt8](repeating: 0, count: gap)
            locals.append(bytes.count)
            bytes += Self.number(0x0403_4B50, 4) + Self.number(20, 2) + Self.fields(member)
            bytes += member.name + member.data
        }
        let directory = bytes.count
        for (member, local) in zip(members, locals) {
            entries.append(bytes.count)
            bytes += Self.number(0x0201_4B50, 4) + Self.number(20, 2) + Self.number(20, 2) + Self.fields(member)
            bytes += [UInt8](repeating: 0, count: 10) + Self.number(UInt64(local), 4) + member.name
        }
        end = bytes.count
        bytes += Self.number(0x0605_4B50, 4) + Self.number(0, 4)
        bytes += Self.number(UInt64(members.count), 2) + Self.number(UInt64(members.count), 2)
        bytes += Self.number(UInt64(end - directory), 4) + Self.number(UInt64(directory), 4) + Self.number(0, 2)
    }

    /// Flags, method, time, date, CRC, both sizes and the lengths of name and extra fields.
    private static func fields(_ member: Member) -> [UInt8] {
        let checksum = unsafe ZlibCodec().checksum(member.data.span.bytes, following: 0)
        return number(member.flags, 2) + number(0, 2) + number(0, 4) + number(UInt64(checksum), 4)
            + number(UInt64(member.data.count), 4) + number(UInt64(member.data.count), 4)
            + number(UInt64(member.name.count), 2) + number(0, 2)
    }

    static func number(_ value: UInt64, _ width: Int) -> [UInt8] {
        (0..<width).map { UInt8(truncatingIfNeeded: value >> (8 * UInt64($0))) }
    }

    /// Puts a number at a place.
    mutating func set(_ place: Int, _ value: UInt64, _ width: Int) {
        bytes.replaceSubrange(place..<place + width, with: Self.number(value, width))
    }

    /// Puts bytes at a place; the places of the headers are then those of before.
    mutating func insert(_ added: [UInt8], at place: Int) { bytes.insert(contentsOf: added, at: place) }

    /// Puts a number in the local header and in the directory entry of a member.
    mutating func set(_ member: Int, local: Int, entry: Int, _ value: UInt64, _ width: Int) {
        set(locals[member] + local, value, width)
        set(entries[member] + entry, value, width)
    }

    /// Puts extra fields behind the name of a directory entry.
    mutating func insert(extra: [UInt8], entry member: Int) {
        let place = entries[member]
        let nameBytes = Int(bytes[place + 28]) | Int(bytes[place + 29]) << 8
        bytes.insert(contentsOf: extra, at: place + 46 + nameBytes)
        set(place + 30, UInt64(extra.count), 2)
        for later in entries.indices where later > member { entries[later] += extra.count }
        end += extra.count
        let size = end - entries[0]
        set(end + 12, UInt64(size), 4)
    }
}
