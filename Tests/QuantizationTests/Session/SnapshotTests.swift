import Tensors
import Testing

@testable import Quantization

/// A session that dies and is taken up again makes the artifact and the report of one that was left alone.
@Suite struct SnapshotTests {
    static let recipes: [[(String, String)]] = [
        [("method", "nf4")], [("method", "nf4"), ("double_quant", "false")],
        [("method", "nf4"), ("mode", "reference")],
        [("method", "nf4"), ("mode", "reference"), ("double_quant", "false"), ("block_size", "32")],
        [("method", "nf4"), ("block_size", "256")], [("method", "int8")],
        [("method", "int8"), ("format", "compressed-tensors")],
        [("method", "int8"), ("format", "compressed-tensors"), ("scheme", "W8A8")],
        [("method", "int4"), ("group_size", "32")],
        [("method", "int4"), ("group_size", "-1"), ("mode", "reference")],
        [("method", "int4"), ("format", "mlx"), ("group_size", "32")],
        [("method", "int8"), ("format", "mlx"), ("group_size", "32")],
        [("method", "fp8")], [("method", "fp8"), ("mode", "reference")],
        [("method", "awq"), ("calibration", "none"), ("group_size", "32")],
        [("method", "int4"), ("format", "awq"), ("group_size", "32")],
        [
            ("method", "nf4"),
            ("overrides", #"[{"match": "b*", "method": "int8"}, {"match": "c*", "mode": "reference"}]"#),
        ],
    ]

    private static func halves(_ values: [Float], _ type: ElementType) -> [UInt8] {
        values.flatMap { value in
            let bits = type == .f16 ? Float16(value).bitPattern : UInt16(truncatingIfNeeded: value.bitPattern >> 16)
            return [UInt8(truncatingIfNeeded: bits), UInt8(truncatingIfNeeded: bits >> 8)]
        }
    }

    /// Weights of three types, some that end in a part of a block, empty ones at both ends and in between, biases.
    static let several = safetensors([
        ("aa.empty", .f32, [0, 64], []),
        ("a.weight", .f32, [24, 64], bytes(of: gaussian(24 * 64, seed: 1, scale: 0.02))),
        ("a.bias", .f32, [24], bytes(of: gaussian(24, seed: 2))),
        ("b.weight", .bf16, [17, 96], halves(gaussian(17 * 96, seed: 3), .bf16)),
        ("bb.empty", .f16, [3, 0], []),
        ("c.weight", .f16, [8, 160], halves(gaussian(8 * 160, seed: 4), .f16)),
        ("d.weight", .f32, [33, 35], bytes(of: gaussian(33 * 35, seed: 5))),
        ("z.empty", .f32, [0], []),
    ])

    private static func npy(_ descr: String, fortran: Bool, _ data: [UInt8]) -> [UInt8] {
        var header = "{'descr': '\(descr)', 'fortran_order': \(fortran ? "True" : "False"), 'shape': (40, 64), }"
        header += String(repeating: " ", count: 117 - header.utf8.count) + "\n"
        return [0x93] + Array("NUMPY".utf8) + [1, 0, 118, 0] + Array(header.utf8) + data
    }

    /// Four cuts at a time, each place once.
    private func check(_ subject: Resumable, seed: UInt64) throws {
        var generator = FuzzGenerator(state: seed)
        let whole = try subject.whole()
        let places = try subject.places(&generator).shuffled(using: &generator)
        for start in stride(from: 0, to: places.count, by: 4) {
            let cuts = places[start..<min(start + 4, places.count)].sorted()
            try subject.expectSame(as: whole, cuts: cuts, seed: seed &+ UInt64(start))
        }
    }

    @Test(arguments: recipes.indices)
    func severalTensors(_ index: Int) throws {
        try check(Resumable(input: Self.several, options: Self.recipes[index]), seed: 100 + UInt64(index))
    }

    /// Big-endian, column by column, both, doubles, and elements that do not describe themselves.
    @Test(arguments: recipes.indices)
    func oneTensor(_ index: Int) throws {
        let values = gaussian(40 * 64, seed: 6)
        let data = bytes(of: values)
        let big = stride(from: 0, to: data.count, by: 4).flatMap { Array(data[$0..<$0 + 4].reversed()) }
        let doubles = values.flatMap { value in
            (0..<8).map { UInt8(truncatingIfNeeded: Double(value).bitPattern >> (8 * $0)) }
        }
        let inputs = [
            Self.npy(">f4", fortran: false, big), Self.npy("<f4", fortran: true, data),
            Self.npy(">f4", fortran: true, big), Self.npy("<f8", fortran: false, doubles),
        ]
        let subject = Resumable(input: inputs[index % 4], options: Self.recipes[index])
        try check(subject, seed: 200 + UInt64(index))
        let raw = Resumable(
            input: Self.halves(values, .bf16), options: Self.recipes[index],
            declaration: .raw(type: .bf16, shape: [40, 64]))
        try check(raw, seed: 300 + UInt64(index))
    }

    /// FP8 weights behind their scales, and in front of them: these wait on scratch storage.
    @Test(arguments: [0, 2, 5, 8, 10, 12, 14], [false, true])
    func scaledWeights(_ index: Int, _ reversed: Bool) throws {
        var generator = FuzzGenerator(state: UInt64(index))
        let weight = (0..<130 * 32).map { _ in generator.pick([0x30, 0x38, 0x3C, 0xB4, 0xBA, 0x00]) as UInt8 }
        let tensors: [FP8SessionTests.Tensor] = [
            ("m.weight_scale_inv", .f32, [2, 1], bytes(of: [0.5, 0.03125])),
            ("m.weight", .f8E4M3, [130, 32], weight),
            ("n.weight_scale_inv", .f32, [1, 1], bytes(of: [2])),
            ("n.weight", .f8E4M3, [16, 32], Array(weight[..<512])),
        ]
        let input = safetensors(reversed ? tensors.reversed() : tensors)
        try check(Resumable(input: input, options: Self.recipes[index]), seed: 400 + UInt64(index))
    }

    /// Weights, activations and biases wait for AWQ.
    @Test(arguments: ["best", "reference"])
    func activations(_ mode: String) throws {
        let input = safetensors([
            ("m.weight", .f32, [16, 64], bytes(of: gaussian(16 * 64, seed: 7))),
            ("m.activations", .f32, [10, 64], bytes(of: gaussian(10 * 64, seed: 8))),
            ("m.bias", .f32, [16], bytes(of: gaussian(16, seed: 9))),
        ])
        let options = [("method", "awq"), ("mode", mode), ("group_size", "32")]
        try check(Resumable(input: input, options: options), seed: 500)
    }

    /// The slow plain kernels take up what the fast ones began, and the other way round.
    @Test(arguments: [0, 2, 5, 6, 10, 12])
    func plainKernelsGoOn(_ index: Int) throws {
        let input = safetensors([
            ("a.weight", .f32, [4, 64], bytes(of: gaussian(256, seed: 10))),
            ("b.weight", .f32, [2, 64], bytes(of: gaussian(128, seed: 11))),
        ])
        let subject = Resumable(input: input, options: Self.recipes[index], levels: KernelLevel.allCases)
        try check(subject, seed: 600 + UInt64(index))
    }

    /// More than the opening of a tensor, from which NF4 chooses its offset, and more than a batch of blocks, beyond
    /// which the reference's double quantization stages them: there a later tensor must not disturb an earlier one.
    /// Weights that were NF4 before become the reference's behind the opening.
    @Test(arguments: [
        (Weights.gaussian, [("method", "nf4")]), (.gridOfManyScales, [("method", "nf4")]),
        (.gaussian, [("method", "nf4"), ("mode", "reference"), ("block_size", "32")]),
    ])
    func largeTensors(_ weights: Weights, _ options: [(String, String)]) throws {
        let values = Self.halves(weights.values(550 * 1024, seed: 12), .bf16)
        let input = safetensors([
            ("a.weight", .bf16, [550, 1024], values),
            ("b.weight", .bf16, [540, 1024], Array(values.suffix(540 * 2048))),
        ])
        let subject = Resumable(input: input, options: options)
        let whole = try subject.whole()
        let first = 550 * 2048
        for (seed, cuts) in [[first - 2100], [1 << 20 | 77, first + (1 << 20) + 3001]].enumerated() {
            try subject.expectSame(as: whole, cuts: cuts, seed: 700 + UInt64(seed), toTheEnd: true)
        }
    }

    /// What a state holds: the unfinished unit, sums, some hundred bytes of counts, 150 bytes for each finished weight.
    @Test func statesAreSmall() throws {
        let (output, scratch) = (CrashingStorage(), CrashingStorage())
        for options in Self.recipes {
            let subject = Resumable(input: Self.several, options: options)
            let (state, head) = try subject.state(at: Self.several.count - 1500, output, scratch)
            #expect(state.count < 8 << 10, "\(options)")
            #expect(head == Self.several.count - (24 * 64 + 24 + 33 * 35) * 4 - (17 * 96 + 8 * 160) * 2)
        }
    }
}
