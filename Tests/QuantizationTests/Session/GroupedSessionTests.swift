import Tensors
import Testing

@testable import Quantization

/// What a session does with the formats of grouped scales beside the plain case.
@Suite struct GroupedSessionTests {
    static let recipes: [[(String, String)]] = [
        [("method", "int4")], [("method", "int4"), ("group_size", "-1")], [("method", "int4"), ("format", "mlx")],
        [("method", "int8"), ("format", "mlx"), ("group_size", "32")],
        [("method", "int8"), ("format", "compressed-tensors")],
        [("method", "int8"), ("format", "compressed-tensors"), ("scheme", "W8A8")], [("method", "fp8")],
        [("method", "int4"), ("mode", "reference")],
        [("method", "int4"), ("format", "mlx"), ("mode", "reference")], [("method", "fp8"), ("mode", "reference")],
    ]

    private func weight(
        _ values: [Float], _ shape: [Int], type: ElementType = .f32, name: String = "weight"
    ) -> [UInt8] {
        let data: [UInt8]
        switch type {
        case .f16: data = little(values.map { Float16($0).bitPattern })
        case .bf16: data = little(values.map { UInt16(truncatingIfNeeded: $0.bitPattern >> 16) })
        case .f64: data = little(values.map { Double($0).bitPattern })
        default: data = bytes(of: values)
        }
        return safetensors([(name, type, shape, data)])
    }

    private func little<Word: FixedWidthInteger>(_ words: [Word]) -> [UInt8] {
        words.flatMap { word in (0..<Word.bitWidth / 8).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }
    }

    private func npy(_ data: [UInt8], _ description: String, fortran: Bool, _ shape: String) -> [UInt8] {
        var header = "{'descr': '\(description)', 'fortran_order': \(fortran ? "True" : "False"), 'shape': \(shape), }"
        header += String(repeating: " ", count: 117 - header.utf8.count) + "\n"
        return [0x93] + Array("NUMPY".utf8) + [1, 0, 118, 0] + Array(header.utf8) + data
    }

    /// Rows shorter than a group's batch, longer than a piece of sums, and of no whole words.
    @Test(arguments: recipes, [(3, 128), (2, 4096 + 128), (70, 1152), (5, 20), (1, 8203)])
    func piecesDoNotShow(_ options: [(String, String)], _ shape: (Int, Int)) throws {
        let input = weight(gaussian(shape.0 * shape.1, seed: 21), [shape.0, shape.1])
        let recipe = try Recipe(options: options.map { RecipeOption($0.0, $0.1) })
        guard recipe.groupSize == -1 || shape.1 % recipe.groupSize == 0 else {
            #expect(throws: QuantizationError.self) { try SessionRun(input, options) }
            return
        }
        let whole = try SessionRun(input, options)
        let cut = try SessionRun(input, options, pieceBytes: 1021)
        #expect(cut.output.bytes == whole.output.bytes)
        #expect(cut.result.report.pooled == whole.result.report.pooled)
        #expect(whole.output.gaps == 0 && whole.output.overwritten == 0)
        #expect(cut.output.gaps == 0 && cut.output.overwritten == 0)
    }

    @Test(arguments: recipes)
    func columnOrderByteOrderAndWidthDoNotShow(_ options: [(String, String)]) throws {
        let (rows, columns) = (6, 128)
        let values = gaussian(rows * columns, seed: 22)
        let expected = try SessionRun(weight(values, [rows, columns]), options).tensors()
        let turned = (0..<columns).flatMap { column in (0..<rows).map { values[$0 * columns + column] } }
        let shape = "(\(rows), \(columns))"
        let inputs = [
            npy(bytes(of: turned), "<f4", fortran: true, shape),
            npy(values.flatMap { little([$0.bitPattern]).reversed() }, ">f4", fortran: false, shape),
            weight(values, [rows, columns], type: .f64),
        ]
        for input in inputs {
            let run = try SessionRun(input, options, pieceBytes: 777)
            #expect(try run.tensors() == expected)
            #expect(run.output.gaps == 0 && run.output.overwritten == 0)
        }
    }

    @Test(arguments: recipes, [ElementType.f32, .f16, .bf16])
    func zerosAndTinyWeightsAreRestoredFinite(_ options: [(String, String)], _ type: ElementType) throws {
        var values = [Float](repeating: 0, count: 4 * 128)
        for index in 128..<256 { values[index] = index % 2 == 0 ? 0x1p-126 : -0x1p-24 }
        for index in 256..<384 { values[index] = 0.25 }
        let run = try SessionRun(weight(values, [4, 128], type: type), options)
        let sums = run.result.report.pooled
        #expect(sums.restoredSquared.isFinite && sums.maximumError <= 0.25 / 14)
    }

    @Test(arguments: recipes, [0, 127, 128, 511])
    func nonFiniteWeightIsNamed(_ options: [(String, String)], _ index: Int) {
        for value in [Float.nan, .infinity, -.infinity] {
            var values = gaussian(512, seed: 23)
            values[index] = value
            let input = weight(values, [4, 128])
            #expect(throws: QuantizationError.nonFinite(tensor: "weight", index: index)) {
                try SessionRun(input, options, pieceBytes: 100)
            }
        }
    }

    @Test func halfWeightsThatNoReaderRestoresAreRefused() throws {
        func refusal(_ values: [Float], _ options: [(String, String)]) -> QuantizationError? {
            do {
                _ = try SessionRun(weight(values, [2, 128], type: .f16), options)
                return nil
            } catch {
                return error as? QuantizationError
            }
        }
        var values = [Float](repeating: 1, count: 256)
        values[200] = -61440  // scale 8192, code -8: -65536
        #expect(
            refusal(values, [("method", "int4"), ("mode", "reference")])
                == .outOfRange(tensor: "weight", index: 200, value: -61440, limit: 61_376))
        values[200] = 61440  // the largest code is 7
        #expect(refusal(values, [("method", "int4"), ("mode", "reference")]) == nil)
        values[201] = -40000  // 15 times the scale is beyond 65504
        #expect(
            refusal(values, [("method", "int4"), ("format", "mlx"), ("mode", "reference")])
                == .outOfRange(tensor: "weight", index: 200, value: 61440, limit: 32_752))
        for options in Self.recipes {
            let recipe = try Recipe(options: options.map { RecipeOption($0.0, $0.1) })
            let limit = try #require(recipe.groupedCode).largestFloat16
            for (sign, other) in [(Float(1), Float(-1)), (-1, 1), (1, 1)] {
                values[200] = sign * Float(Float16(limit))
                values[201] = other * Float(Float16(limit))
                #expect(refusal(values, options) == nil, "\(options) \(sign) \(other)")
            }
        }
    }

    /// Values and codes by the OCP 8-bit floating point specification 1.0, table 1; the largest makes the scale 1.
    @Test func e4m3RoundsToNearestEven() throws {
        let step: Float = 0x1p-9
        let expected: [(Float, UInt8)] = [
            (448, 0x7E), (-448, 0xFE), (1, 0x38), (-1, 0xB8), (17, 0x58), (19, 0x5A), (17.001, 0x59), (-19, 0xDA),
            (432, 0x7E), (431.9, 0x7D), (0x1p-6, 0x08), (7.5 * step, 0x08), (7.49 * step, 0x07), (step, 0x01),
            (1.5 * step, 0x02), (2.5 * step, 0x02), (0.5 * step, 0x00), (0.51 * step, 0x01), (-0.5 * step, 0x80),
            (0, 0x00), (-0.0, 0x00), (0x1p-6 * 1.0625, 0x08), (0x1p-6 * 1.1875, 0x0A),
        ]
        let input = weight(expected.map(\.0), [1, expected.count])
        let made = try SessionRun(input, [("method", "fp8"), ("mode", "reference")]).tensors()
        #expect(made["weight_scale"] == bytes(of: [1]))
        #expect(made["weight"] == expected.map(\.1))
    }

    @Test func rowsThatGroupsDoNotDividePassThrough() throws {
        let values = bytes(of: gaussian(4 * 96, seed: 24))
        let input = safetensors([
            ("a.weight", .f32, [3, 128], bytes(of: gaussian(3 * 128, seed: 25))), ("b.weight", .f32, [4, 96], values),
            ("a.bias", .f32, [3], bytes(of: [1, 2, 3])),
        ])
        for options in [[("method", "int4")], [("method", "int4"), ("format", "mlx")]] {
            let run = try SessionRun(input, options)
            let tensors = try run.tensors()
            #expect(tensors["b.weight"] == values)
            #expect(tensors["a.bias"] == bytes(of: [1, 2, 3]))
            #expect(run.result.skippedModules == ["b"])
            #expect(run.result.report.warnings.contains { $0.contains("b.weight") && $0.contains("group size") })
        }
        #expect(try SessionRun(input, [("method", "int4"), ("group_size", "32")]).result.skippedModules == [])
    }

    @Test func namesFollowTheParameterOrTheModule() throws {
        let input = weight(gaussian(2 * 128, seed: 26), [2, 128], name: "codebook")
        #expect(
            Set(try SessionRun(input, [("method", "int4")]).tensors().keys)
                == ["codebook_packed", "codebook_scale", "codebook_shape"])
        #expect(
            Set(try SessionRun(input, [("method", "int4"), ("format", "mlx")]).tensors().keys)
                == ["codebook", "codebook.scales", "codebook.biases"])
        let layer = weight(gaussian(2 * 128, seed: 27), [2, 128], name: "a.weight")
        #expect(
            Set(try SessionRun(layer, [("method", "int8"), ("format", "mlx")]).tensors().keys)
                == ["a.weight", "a.scales", "a.biases"])
    }

    @Test func rowsThatShareAScaleAreLimited() throws {
        var limits = SessionLimits()
        limits.maximumRowElements = 127
        let input = weight(gaussian(2 * 128, seed: 28), [2, 128])
        for options in Self.recipes {
            let recipe = try Recipe(options: options.map { RecipeOption($0.0, $0.1) })
            guard recipe.groupSize == -1 else {
                _ = try SessionRun(input, options, limits: limits)
                continue
            }
            #expect(
                throws: QuantizationError.limit(name: "row_elements", value: 128, limit: 127, tensor: "weight")
            ) { try SessionRun(input, options, limits: limits) }
        }
    }

    /// What each thread holds is counted, beyond what any session may use.
    @Test func memoryFollowsTheThreads() throws {
        for (threads, isCounted) in [(1, false), (2, false), (8, true)] {
            var limits = SessionLimits()
            limits.maximumThreads = threads
            let budget = MemoryBudget(bytes: 1 << 30)
            let session = try QuantizingSession(
                recipe: Recipe(options: [RecipeOption("method", "int8")]),
                declaration: .raw(type: .f32, shape: [64, 1 << 16]), declaredBytes: nil, engine: "test",
                limits: limits, output: MemoryStorage(), scratch: MemoryStorage(), memory: budget)
            #expect((budget.takenBytes > 8 << 18) == isCounted)
            withExtendedLifetime(session) {}
        }
    }

    /// A row that shares a scale is held whole and counted; groups are small whatever the row.
    @Test func memoryFollowsTheGroup() throws {
        let columns = 1 << 19
        for (options, taken) in [([("method", "fp8")], columns * 11 + 320 << 10), ([("method", "int4")], 0)] {
            let budget = MemoryBudget(bytes: 1 << 30)
            let session = try QuantizingSession(
                recipe: Recipe(options: options.map { RecipeOption($0.0, $0.1) }),
                declaration: .raw(type: .f32, shape: [1, columns]), declaredBytes: nil, engine: "test",
                output: MemoryStorage(), scratch: MemoryStorage(), memory: budget)
            #expect(budget.takenBytes == taken)
            let zeros = [UInt8](repeating: 0, count: columns * 4)
            try unsafe session.consume(zeros.span.bytes)
            #expect(try session.finish(inputDigest: SessionRun.digest).report.quantizedWeights == columns)
        }
    }
}

/// What a recipe of these methods accepts, and how it is written down.
@Suite struct GroupedRecipeTests {
    private func canonical(_ options: [(String, String)]) throws -> String {
        try Recipe(options: options.map { RecipeOption($0.0, $0.1) }).canonical
    }

    private func code(_ options: [(String, String)]) -> String? {
        do {
            _ = try canonical(options)
            return nil
        } catch {
            if case .recipe(let code, _)? = error as? QuantizationError { return code }
            return "other"
        }
    }

    @Test func defaultsAreSpelledOut() throws {
        #expect(
            try canonical([("method", "int4")])
                == #"{"format":"compressed-tensors","group_size":128,"method":"int4","mode":"best"}"#)
        #expect(
            try canonical([("method", "int4"), ("format", "mlx")])
                == #"{"format":"mlx","group_size":64,"method":"int4","mode":"best"}"#)
        #expect(
            try canonical([("method", "int4"), ("format", "awq"), ("symmetric", "false")])
                == #"{"format":"awq","group_size":128,"method":"int4","mode":"best"}"#)
        #expect(
            try canonical([("method", "int8"), ("format", "compressed-tensors")])
                == #"{"format":"compressed-tensors","group_size":-1,"method":"int8","mode":"reference","#
                + #""scheme":"W8A16"}"#)
        #expect(
            try canonical([("method", "int8"), ("format", "compressed-tensors"), ("scheme", "W8A8")])
                == #"{"format":"compressed-tensors","method":"int8","mode":"reference","scheme":"W8A8"}"#)
        #expect(
            try canonical([("method", "fp8")])
                == #"{"format":"compressed-tensors","method":"fp8","mode":"best"}"#)
        #expect(
            try canonical([("method", "int8")]) == #"{"format":"bitsandbytes","method":"int8","mode":"reference"}"#)
    }

    @Test func refusesWhatDoesNotFit() {
        let tensors = ("format", "compressed-tensors")
        #expect(code([("method", "fp8"), ("format", "bitsandbytes")]) == "recipe.format_mismatch")
        #expect(code([("method", "int4"), ("format", "bitsandbytes")]) == "recipe.format_mismatch")
        #expect(code([("method", "nf4"), tensors]) == "recipe.format_mismatch")
        #expect(code([("method", "awq"), ("format", "mlx")]) == "recipe.format_mismatch")
        #expect(code([("method", "int4"), ("format", "gguf")]) == "recipe.invalid_option")
        #expect(code([("method", "int4"), ("group_size", "48")]) == "recipe.invalid_option")
        #expect(code([("method", "int4"), ("format", "mlx"), ("group_size", "-1")]) == "recipe.invalid_option")
        #expect(code([("method", "int4"), ("symmetric", "false")]) == "recipe.symmetry_mismatch")
        #expect(code([("method", "int4"), ("format", "awq"), ("symmetric", "true")]) == "recipe.symmetry_mismatch")
        #expect(code([("method", "int8"), ("symmetric", "false")]) == "recipe.symmetry_mismatch")
        #expect(code([("method", "int8"), ("symmetric", "maybe")]) == "recipe.invalid_option")
        #expect(code([("method", "int8"), ("symmetric", "true")]) == nil)
        #expect(code([("method", "int8"), ("group_size", "64")]) == "recipe.unknown_option")
        #expect(code([("method", "int8"), ("scheme", "W8A8")]) == "recipe.unknown_option")
        #expect(code([("method", "int8"), tensors, ("scheme", "W4A16")]) == "recipe.invalid_option")
        #expect(
            code([("method", "int8"), tensors, ("scheme", "W8A8"), ("group_size", "64")]) == "recipe.scheme_mismatch")
        #expect(code([("method", "fp8"), ("group_size", "64")]) == "recipe.unknown_option")
        #expect(code([("method", "fp8"), ("scheme", "W8A8")]) == "recipe.unknown_option")
        #expect(code([("method", "int4"), ("format", "mlx"), ("calibration", "none")]) == "recipe.unknown_option")
        #expect(code([("method", "int8"), ("mode", "best")]) == "recipe.mode_unavailable")
    }
}
