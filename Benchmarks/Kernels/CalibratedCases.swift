import Glibc
import Quantization
import Tensors

/// Times calibrated coding of one Linear: `kernel-bench awq [rows] [columns] [tokens] [threads]`.
///
/// Prints a line for each recipe: CPU seconds, and what it leaves of the output error over held-out tokens in dB below
/// the outputs, beside rounding to nearest and AutoAWQ's searches.
enum CalibratedCases {
    private static let recipes: [(title: String, options: [(String, String)])] = [
        ("awq, gptq", [("method", "awq"), ("scaling", "none")]),
        ("awq, gptq, keep", [("method", "awq"), ("scaling", "keep")]),
        ("awq, nearest", [("method", "awq"), ("scaling", "none"), ("rounding", "nearest")]),
        ("int4 compressed-tensors, gptq", [("method", "int4"), ("calibration", "data")]),
        ("nf4, gptq, double quantization", [("method", "nf4"), ("calibration", "data")]),
    ]

    static func run(_ arguments: [Int]) {
        let (rows, columns) = (arguments.first ?? 4096, arguments.dropFirst().first ?? 4096)
        let (tokens, threads) = (arguments.dropFirst(2).first ?? 2048, arguments.dropFirst(3).first ?? 1)
        let file = file(rows: rows, columns: columns, tokens: tokens)
        for recipe in recipes {
            let start = seconds()
            guard let error = code(recipe.options, file, threads: threads) else { continue }
            let taken = seconds() - start
            print(
                "[\(rows), \(columns)], \(tokens) tokens", recipe.title, "\((taken * 100).rounded() / 100) s",
                "\(decibels(error.relative)) dB", error.roundToNearest.map { "nearest \(decibels($0))" } ?? "",
                error.plainAWQ.map { "AutoAWQ \(decibels($0))" } ?? "", separator: "\t")
        }
    }

    private static func decibels(_ share: Double) -> Double { (-1000 * log10(share)).rounded() / 100 }

    private static func seconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }

    /// A safetensors file of a weight N(0, 0.02) and inputs in which columns go together and some are loud.
    private static func file(rows: Int, columns: Int, tokens: Int) -> [UInt8] {
        var state: UInt64 = 1
        func normal() -> Float {
            // The sum of three uniform numbers is near enough.
            var sum: Float = 0
            for _ in 0..<3 {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                sum += Float(state >> 40) * 0x1p-23 - 1
            }
            return sum
        }
        var inputs = [Float](repeating: 0, count: tokens * columns)
        let rank = 32
        let factors = (0..<rank * columns).map { _ in normal() / 6 }
        let loudness = (0..<columns).map { column in exp(0.5 * normal()) * (column % 97 == 5 ? 8 : 1) }
        for token in 0..<tokens {
            let hidden = (0..<rank).map { _ in normal() }
            for column in 0..<columns {
                var value = normal() * 0.5
                for index in 0..<rank { value += hidden[index] * factors[index * columns + column] }
                inputs[token * columns + column] = value * loudness[column]
            }
        }
        let weights = (0..<rows * columns).map { _ in normal() * 0.02 }
        let (a, b) = (weights.count * 4, inputs.count * 4)
        var header = "{\"l.weight\":{\"dtype\":\"F32\",\"shape\":[\(rows),\(columns)],\"data_offsets\":[0,\(a)]},"
        header += "\"l.activations\":{\"dtype\":\"F32\",\"shape\":[\(tokens),\(columns)],"
        header += "\"data_offsets\":[\(a),\(a + b)]}}"
        var file: [UInt8] = (0..<8).map { UInt8(truncatingIfNeeded: header.utf8.count >> ($0 * 8)) }
        file += Array(header.utf8)
        for values in [weights, inputs] { values.withUnsafeBytes { file += Array($0) } }
        return file
    }

    private static func code(_ options: [(String, String)], _ file: [UInt8], threads: Int) -> OutputError? {
        do {
            var limits = SessionLimits()
            limits.maximumThreads = threads
            let session = try QuantizingSession(
                recipe: Recipe(options: options.map { RecipeOption($0.0, $0.1) }), declaration: .recognise,
                declaredBytes: file.count, engine: "bench", limits: limits, output: Memory(), scratch: Memory())
            let span = file.span
            let all = span.bytes
            for start in stride(from: 0, to: file.count, by: 1 << 20) {
                try session.consume(all.extracting(start..<min(start + 1 << 20, file.count)))
            }
            let result = try session.finish(inputDigest: "sha256:" + String(repeating: "0", count: 64))
            return result.report.tensors.lazy.compactMap(\.outputError).first
        } catch {
            print("failed: \(options): \(error)")
            return nil
        }
    }
}
