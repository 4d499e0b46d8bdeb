import Quantization
import Tensors

/// Whole sessions in memory: everything but receiving, hashing and writing to disk, the report included.
enum SessionCases {
    private static let recipes: [(title: String, options: [(String, String)])] = [
        ("nf4, double quantization", [("method", "nf4")]),
        ("nf4", [("method", "nf4"), ("double_quant", "false")]),
        ("nf4, reference, double quantization", [("method", "nf4"), ("mode", "reference")]),
        ("nf4, reference", [("method", "nf4"), ("mode", "reference"), ("double_quant", "false")]),
        ("int8", [("method", "int8")]),
        ("int8, compressed-tensors", [("method", "int8"), ("format", "compressed-tensors")]),
        ("int4 g128", [("method", "int4")]),
        ("int4 g128, reference", [("method", "int4"), ("mode", "reference")]),
        ("int4 MLX g64", [("method", "int4"), ("format", "mlx")]),
        ("int4 MLX g64, reference", [("method", "int4"), ("format", "mlx"), ("mode", "reference")]),
        ("int4 AWQ g128", [("method", "int4"), ("format", "awq")]),
        ("int4 AWQ g128, reference", [("method", "int4"), ("format", "awq"), ("mode", "reference")]),
        ("fp8", [("method", "fp8")]),
        ("fp8, reference", [("method", "fp8"), ("mode", "reference")]),
    ]
    /// Columns of the weight, and rows: 16 MiB of float32, and 64 where threads share the work.
    private static let (rows, manyRows, columns) = (1024, 4096, 4096)
    /// The bytes of a piece, as a server's transfer buffer hands them over.
    private static let pieceBytes = 512 << 10
    /// The same where threads share the work: waking one takes as long as coding some 64 KiB.
    private static let threadPieces = [("512 KiB", 512 << 10), ("2 MiB", 2 << 20)]

    static func all(_ weights: Weights) -> [Case] {
        let wide = bytes(weights.values, rows)
        let half = bytes(weights.halves, rows)
        // Written again by every run: an artifact's first pages are not what is measured.
        let (output, scratch) = (Memory(), Memory())
        var cases: [Case] = []
        for level in Level.all {
            for recipe in recipes {
                cases.append(
                    Case("session, float32", recipe.title, level) {
                        run(recipe.options, .f32, wide, level, output, scratch)
                    })
            }
            for recipe in recipes where recipe.title.hasPrefix("nf4") || recipe.title.hasPrefix("int4 g128") {
                cases.append(
                    Case("session, bfloat16 (GB/s of bfloat16)", recipe.title, level) {
                        run(recipe.options, .bf16, half, level, output, scratch)
                    })
            }
        }
        return cases + threadCases(bytes(weights.values, manyRows), output, scratch)
    }

    /// One and two threads at the highest level.
    private static func threadCases(_ input: [UInt8], _ output: Memory, _ scratch: Memory) -> [Case] {
        guard let level = Level.all.last else { return [] }
        var cases: [Case] = []
        for (size, bytes) in threadPieces {
            for recipe in recipes {
                for threads in [1, 2] {
                    cases.append(
                        Case("threads, pieces of \(size)", recipe.title, threads: threads) {
                            run(
                                recipe.options, .f32, input, level, output, scratch, threads: threads,
                                pieceBytes: bytes)
                        })
                }
            }
        }
        return cases
    }

    private static func bytes<Element: BitwiseCopyable>(_ values: [Element], _ rows: Int) -> [UInt8] {
        let span = values.span.extracting(first: rows * columns)
        let raw = span.bytes
        return raw.withUnsafeBytes { Array($0) }
    }

    private static func run(
        _ options: [(String, String)], _ type: ElementType, _ input: [UInt8], _ level: Level, _ output: Memory,
        _ scratch: Memory, threads: Int = 1, pieceBytes: Int = pieceBytes
    ) -> Int {
        do {
            var limits = SessionLimits()
            limits.maximumThreads = threads
            let session = try QuantizingSession(
                recipe: Recipe(options: options.map { RecipeOption($0.0, $0.1) }),
                declaration: .raw(type: type, shape: [input.count * 8 / type.bitWidth / columns, columns]),
                declaredBytes: input.count, engine: "bench", limits: limits, output: output, scratch: scratch,
                level: level.session)
            let span = input.span
            let all = span.bytes
            for start in stride(from: 0, to: input.count, by: pieceBytes) {
                try session.consume(all.extracting(start..<min(start + pieceBytes, input.count)))
            }
            _ = try session.finish(inputDigest: "sha256:" + String(repeating: "0", count: 64))
        } catch {
            print("failed: \(options): \(error)")
        }
        return input.count
    }
}

/// Storage that keeps what is written.
final class Memory: ScratchStorage {
    private var bytes: [UInt8] = []

    func write(_ bytes: RawSpan, at offset: Int) {
        let end = offset + bytes.byteCount
        if self.bytes.count < end { self.bytes += [UInt8](repeating: 0, count: end - self.bytes.count) }
        bytes.withUnsafeBytes { source in
            self.bytes.withUnsafeMutableBytes { target in
                let place = UnsafeMutableRawBufferPointer(rebasing: target[offset..<end])
                place.copyMemory(from: source)
            }
        }
    }

    func read(into bytes: inout MutableRawSpan, at offset: Int) throws(StorageFailure) {
        guard offset + bytes.byteCount <= self.bytes.count else { throw StorageFailure(operation: "read", code: 0) }
        let count = bytes.byteCount
        bytes.withUnsafeMutableBytes { target in
            self.bytes.withUnsafeBytes { source in
                target.copyMemory(from: UnsafeRawBufferPointer(rebasing: source[offset..<offset + count]))
            }
        }
    }
}
