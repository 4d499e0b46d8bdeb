import Compression
import Quantization

/// zlib for the archives of these tests, as the service gives it to its sessions.
struct ZlibCodec: ArchiveCodec {
    func inflater() throws(InflateFailure) -> any MemberInflater {
        do throws(CompressionError) { return Inflater(try RawInflater()) } catch { throw .noMemory }
    }

    func checksum(_ bytes: RawSpan, following previous: UInt32) -> UInt32 {
        Compression.checksum(bytes, following: previous)
    }

    private final class Inflater: MemberInflater {
        private let inflater: RawInflater

        init(_ inflater: RawInflater) {
            self.inflater = inflater
        }

        func inflate(
            _ input: RawSpan, into output: inout MutableRawSpan
        ) throws(InflateFailure) -> (consumed: Int, produced: Int, isFinished: Bool) {
            do throws(CompressionError) {
                let progress = try inflater.inflate(input, into: &output)
                return (progress.consumed, progress.produced, progress.finished)
            } catch {
                throw .malformed(detail: "\(error)")
            }
        }
    }
}
