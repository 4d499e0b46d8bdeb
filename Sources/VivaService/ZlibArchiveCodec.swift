import Compression
import Quantization

/// zlib for the members of archives: the quantizer may not know it, and the compressor knows no archives.
struct ZlibArchiveCodec: ArchiveCodec {
    func inflater() throws(InflateFailure) -> any MemberInflater {
        do throws(CompressionError) {
            return Inflater(try RawInflater())
        } catch {
            throw Self.failure(error)
        }
    }

    func checksum(_ bytes: RawSpan, following previous: UInt32) -> UInt32 {
        Compression.checksum(bytes, following: previous)
    }

    private static func failure(_ error: CompressionError) -> InflateFailure {
        switch error {
        case .malformed(let detail): .malformed(detail: detail)
        case .zlib: .noMemory
        // Those of the gzip wrapper, which is not there.
        case .trailingGarbage, .tooLong, .ratio: .malformed(detail: "\(error)")
        }
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
                throw ZlibArchiveCodec.failure(error)
            }
        }
    }
}
