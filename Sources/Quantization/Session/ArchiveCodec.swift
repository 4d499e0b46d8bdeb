/// What the members of an archive need of zlib, which this module may not import.
package protocol ArchiveCodec: Sendable {
    /// An inflater for one member: a bare deflate stream (RFC 1951).
    func inflater() throws(InflateFailure) -> any MemberInflater

    /// The CRC-32 of bytes that follow those whose CRC-32 is `previous`; 0 before the first.
    func checksum(_ bytes: RawSpan, following previous: UInt32) -> UInt32
}

/// Inflates one member, in order.
package protocol MemberInflater: AnyObject {
    /// Uses as much of `input` as `output`, which has room, can take; returns the bytes used, the bytes made, and
    /// whether the stream has ended.
    func inflate(
        _ input: RawSpan, into output: inout MutableRawSpan
    ) throws(InflateFailure) -> (consumed: Int, produced: Int, isFinished: Bool)
}

/// Why a member does not inflate.
package enum InflateFailure: Error, Sendable, Equatable {
    /// The bytes are no deflate stream.
    case malformed(detail: String)
    /// There is no memory for the window.
    case noMemory
}
