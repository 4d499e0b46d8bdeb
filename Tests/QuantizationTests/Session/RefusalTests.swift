import Tensors
import Testing

@testable import Quantization

/// Everything that a session refuses, with its evidence.
@Suite struct RefusalTests {
    private func weights(_ values: [Float], _ shape: [Int], name: String = "weight") -> [UInt8] {
        safetensors([(name, .f32, shape, bytes(of: values))])
    }

    private func refusal(
        _ input: [UInt8], _ options: [(String, String)], declaration: InputDeclaration = .recognise,
        declared: Bool = true, limits: SessionLimits = SessionLimits()
    ) -> QuantizationError? {
        do {
            _ = try SessionRun(
                input, options, declaration: declaration, pieceBytes: 333, limits: limits, declared: declared)
            return nil
        } catch {
            return error as? QuantizationError
        }
    }

    @Test(arguments: [0, 63, 64, 4095, 8191], [Float.nan, .infinity, -.infinity])
    func nonFiniteWeightIsNamed(_ index: Int, _ value: Float) {
        var values = gaussian(8192, seed: 1)
        values[index] = value
        let input = weights(values, [64, 128])
        #expect(refusal(input, [("method", "nf4")]) == .nonFinite(tensor: "weight", index: index))
        #expect(refusal(input, [("method", "int8")]) == .nonFinite(tensor: "weight", index: index))
        #expect(
            refusal(input, [("method", "awq"), ("calibration", "none")]) == .nonFinite(tensor: "weight", index: index))
    }

    @Test func nonFiniteInTheShortLastBlockIsNamed() {
        var values = gaussian(65, seed: 2)
        values[64] = .nan
        #expect(refusal(weights(values, [1, 65]), [("method", "nf4")]) == .nonFinite(tensor: "weight", index: 64))
    }

    @Test func weightBeyondFloat16IsRefusedWhereTheFormatIsFloat16() {
        var values = gaussian(8192, seed: 3)
        values[300] = -65536
        let input = weights(values, [64, 128])
        let expected = QuantizationError.outOfRange(tensor: "weight", index: 300, value: -65536, limit: 65504)
        #expect(refusal(input, [("method", "int8")]) == expected)
        #expect(refusal(input, [("method", "awq"), ("calibration", "none")]) == expected)
        #expect(refusal(input, [("method", "nf4")]) == nil)
    }

    @Test(arguments: [true, false])
    func everyTruncationIsRefused(_ declared: Bool) {
        let input = weights(gaussian(256, seed: 4), [2, 128])
        for length in 0..<input.count {
            let error = refusal(Array(input[..<length]), [("method", "nf4")], declared: declared)
            switch error {
            case .truncated, .container: break
            default: Issue.record("length \(length): \(String(describing: error))")
            }
        }
    }

    @Test func bytesBehindTheLastTensorAreRefused() {
        let input = weights(gaussian(256, seed: 5), [2, 128])
        let error = refusal(input + [0], [("method", "nf4")], declared: false)
        #expect(error == .trailingBytes(expected: input.count))
    }

    @Test func rawBytesMustMatchTheirShape() {
        let raw = bytes(of: gaussian(256, seed: 6))
        let shape = InputDeclaration.raw(type: .f32, shape: [2, 128])
        #expect(refusal(raw, [("method", "nf4")], declaration: shape) == nil)
        guard case .container = refusal(raw + [1], [("method", "nf4")], declaration: shape) else {
            Issue.record("a longer body was accepted")
            return
        }
        #expect(
            refusal(raw + [1], [("method", "nf4")], declaration: shape, declared: false)
                == .trailingBytes(expected: raw.count))
        let huge = InputDeclaration.raw(type: .f32, shape: [Int.max, Int.max])
        guard case .container = refusal(raw, [("method", "nf4")], declaration: huge) else {
            Issue.record("an overflowing shape was accepted")
            return
        }
    }

    /// Where nothing is quantized the answer says what the rule makes of a tensor, and what would take it.
    @Test(arguments: [
        ("norm.weight", [4], [], "'norm.weight' for instance is F32 [4]."),
        ("a", [2, 2], [], "'a' for instance is left out by its name"),
        ("a", [2, 2], [], "include=* takes every matrix"),
        ("a.weight", [2, 2], [("exclude", "a*")], "exclude leaves out 'a.weight'"),
        ("a.weight", [2, 2], [("include", "b*")], "'b*' matches no tensor."),
    ])
    func nothingToQuantizeIsSaid(_ name: String, _ shape: [Int], _ options: [(String, String)], _ reason: String) {
        // Beside a second tensor, for a lone one is quantized whatever its name is.
        let other = ("z.bias", ElementType.f32, [4], bytes(of: [1, 2, 3, 4]))
        let input = safetensors([(name, .f32, shape, bytes(of: [1, 2, 3, 4])), other])
        guard case .nothingToQuantize(let detail) = refusal(input, [("method", "nf4")] + options) else {
            Issue.record("an input without weights was accepted")
            return
        }
        #expect(detail.contains(reason) && detail.hasPrefix("None of the 2 tensors"), "\(detail)")
    }

    @Test func awqSaysWhatCalibrationItNeeds() {
        let weight = bytes(of: gaussian(64 * 128, seed: 7))
        func calibrated(_ shape: [Int], _ values: [Float]) -> [UInt8] {
            safetensors([("weight", .f32, [64, 128], weight), ("activations", .f32, shape, bytes(of: values))])
        }
        let awq = [("method", "awq"), ("mode", "reference")]
        func code(_ input: [UInt8]) -> String? {
            if case .calibration(let code, _) = refusal(input, awq) { return code }
            return nil
        }
        #expect(code(safetensors([("weight", .f32, [64, 128], weight)])) == "calibration.missing")
        #expect(code(calibrated([2, 64], gaussian(128, seed: 8))) == "calibration.width")
        #expect(code(calibrated([0, 128], [])) == "calibration.empty")
        var poisoned = gaussian(4 * 128, seed: 9)
        poisoned[200] = .nan
        #expect(refusal(calibrated([4, 128], poisoned), awq) == .nonFinite(tensor: "activations", index: 200))
    }

    @Test func limitsAreKept() {
        var limits = SessionLimits()
        #expect(limits.maximumInputBytes == 1 << 44)
        #expect(limits.maximumRowElements == 8 << 20)
        #expect(limits.maximumAWQColumns == 1 << 16)
        let input = weights(gaussian(256, seed: 10), [2, 128])
        limits.maximumRowElements = 127
        #expect(
            refusal(input, [("method", "int8")], limits: limits)
                == .limit(name: "row_elements", value: 128, limit: 127, tensor: "weight"))
        limits = SessionLimits()
        limits.maximumInputBytes = 1023
        #expect(
            refusal(input, [("method", "nf4")], limits: limits)
                == .limit(name: "input_bytes", value: 1024, limit: 1023, tensor: nil))
        limits = SessionLimits()
        limits.maximumAWQColumns = 127
        #expect(
            refusal(
                weights(gaussian(8 * 128, seed: 11), [8, 128]), [("method", "awq"), ("calibration", "none")],
                limits: limits)
                == .limit(name: "awq_columns", value: 128, limit: 127, tensor: "weight"))
    }

    /// A write that nothing follows waits for the end; what is more than that fails on the way.
    @Test(arguments: [(2, true), (4096, false)])
    func failedStorageEndsTheSession(_ rows: Int, _ isHeld: Bool) throws {
        let recipe = try Recipe(options: [RecipeOption("method", "nf4")])
        let input = weights(gaussian(rows * 128, seed: 12), [rows, 128])
        let session = try QuantizingSession(
            recipe: recipe, declaration: .recognise, declaredBytes: nil, engine: "test", output: FullStorage(),
            scratch: FullStorage())
        if isHeld { try unsafe session.consume(input.span.bytes) }
        #expect(throws: QuantizationError.storage(StorageFailure(operation: "write", code: 28))) {
            if isHeld { _ = try session.finish(inputDigest: "") } else { try unsafe session.consume(input.span.bytes) }
        }
    }

    @Test func collidingNamesAreRefused() {
        let values = bytes(of: gaussian(128, seed: 13))
        let input = safetensors([("a.weight", .f32, [2, 64], values), ("a.weight.absmax", .f32, [128], values)])
        guard case .container(let error) = refusal(input, [("method", "nf4")]) else {
            Issue.record("two tensors of one name were written")
            return
        }
        #expect(error.code == "tensor.name_conflict")
    }
}

/// What a recipe accepts.
@Suite struct RecipeTests {
    private func code(_ options: [(String, String)]) -> String? {
        do {
            _ = try Recipe(options: options.map { RecipeOption($0.0, $0.1) })
            return nil
        } catch {
            if case .recipe(let code, _) = error { return code }
            return "other"
        }
    }

    @Test func refusesWhatItDoesNotKnow() {
        #expect(code([]) == "recipe.method_missing")
        #expect(code([("method", "int3")]) == "recipe.unknown_method")
        #expect(code([("method", "nf4"), ("blocksize", "64")]) == "recipe.unknown_option")
        #expect(code([("method", "nf4"), ("group_size", "64")]) == "recipe.unknown_option")
        #expect(code([("method", "int8"), ("block_size", "64")]) == "recipe.unknown_option")
        #expect(code([("method", "nf4"), ("block_size", "48")]) == "recipe.invalid_option")
        #expect(code([("method", "nf4"), ("block_size", "8192")]) == "recipe.invalid_option")
        #expect(code([("method", "nf4"), ("double_quant", "maybe")]) == "recipe.invalid_option")
        #expect(code([("method", "int8"), ("mode", "best")]) == "recipe.mode_unavailable")
        #expect(code([("method", "nf4"), ("mode", "worst")]) == "recipe.invalid_option")
        #expect(code([("method", "nf4"), ("method", "nf4")]) == "recipe.duplicate_option")
        #expect(code([("method", "nf4"), ("format", "awq")]) == "recipe.format_mismatch")
        #expect(code([("method", "awq"), ("scaling", "keep"), ("calibration", "none")]) == "recipe.option_mismatch")
        #expect(code((0...256).map { _ in ("include", "*") } + [("method", "nf4")]) == "other")
    }

    /// A slip of the finger is answered with what there is, by formats joined where several are asked for.
    @Test(arguments: [
        ([("method", "nf4"), ("blocksize", "64")], ["'blocksize'; known: block_size, calibration,", "double_quant"]),
        (
            [("method", "int8"), ("groupsize", "64")],
            ["'groupsize' in format bitsandbytes; known: ", "mode, model_type"]
        ),
        (
            [("method", "int4"), ("format", "mlx,awq"), ("x", "1")],
            ["format mlx or awq; known: ", "group_size, include"]
        ),
        ([("method", "int4"), ("format", "bitsandbytes")], ["only as: compressed-tensors, awq, mlx."]),
        ([("methd", "nf4")], ["Say method=int8", "What was said: methd."]),
    ])
    func refusalsSayWhatThereIs(_ options: [(String, String)], _ parts: [String]) {
        #expect {
            try Recipe.list(options: options.map { RecipeOption($0.0, $0.1) })
        } throws: { error in
            guard case .recipe(_, let detail) = error as? QuantizationError else { return false }
            return parts.allSatisfy { detail.contains($0) }
        }
    }

    @Test func equalRecipesHaveEqualText() throws {
        let one = try Recipe(options: [RecipeOption("method", "nf4"), RecipeOption("block_size", "64")])
        let other = try Recipe(options: [RecipeOption("double_quant", "true"), RecipeOption("method", "nf4")])
        #expect(one.canonical == other.canonical)
        #expect(
            one.canonical
                == #"{"block_size":64,"double_quant":true,"format":"bitsandbytes","method":"nf4","mode":"best"}"#)
        let third = try Recipe(options: [RecipeOption("method", "nf4"), RecipeOption("exclude", "a\"b")])
        #expect(third.canonical.contains(#""exclude":["a\"b"]"#))
    }
}
