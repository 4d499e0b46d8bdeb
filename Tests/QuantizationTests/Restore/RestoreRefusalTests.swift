import Foundation
import Tensors
import Testing

@testable import Quantization

/// Artifacts that contradict themselves, are half there, or are something else.
@Suite struct RestoreRefusalTests {
    typealias Part = (name: String, type: ElementType, shape: [Int], bytes: [UInt8])

    private static func made(_ options: [(String, String)], rows: Int = 8, columns: Int = 128) throws -> [Part] {
        let input = safetensors([("weight", .f32, [rows, columns], bytes(of: gaussian(rows * columns, seed: 1)))])
        let file = try SessionRun(input, options).output.bytes
        let contents = try SessionRun.tensors(of: file)
        return try SessionRun.description(of: file).entries.map {
            ($0.name, $0.type, $0.shape, contents[$0.name] ?? [])
        }
    }

    private static func code(_ parts: [Part], bits: Int? = nil, limits: RestoreLimits = RestoreLimits()) -> String? {
        RestoreRun.refusal(safetensors(parts), bits: bits, limits: limits)?.restoreCode
    }

    /// The parts with one of them changed.
    private static func change(_ parts: [Part], _ name: String, _ body: (inout Part) -> Void) -> [Part] {
        parts.map { part in
            var part = part
            if part.name == name { body(&part) }
            return part
        }
    }

    private static func dropping(_ parts: [Part], _ name: String) -> [Part] { parts.filter { $0.name != name } }

    private static let recipes: [[(String, String)]] = [
        [("method", "nf4")], [("method", "nf4"), ("double_quant", "false")], [("method", "int8")],
        [("method", "int8"), ("format", "compressed-tensors")],
        [("method", "int8"), ("format", "compressed-tensors"), ("scheme", "W8A8")], [("method", "fp8")],
        [("method", "int4")], [("method", "int4"), ("format", "awq")],
    ]

    @Test func noPartMayBeMissing() throws {
        for recipe in Self.recipes {
            let parts = try Self.made(recipe)
            #expect(Self.code(parts) == nil, "\(recipe)")
            for part in parts where part.name != "weight_format" {
                let code = Self.code(Self.dropping(parts, part.name))
                #expect(["artifact.missing_part", "artifact.not_quantized"].contains(code), "\(recipe) \(part.name)")
            }
        }
    }

    @Test func noPartMayHaveAnotherTypeOrShape() throws {
        for recipe in Self.recipes {
            let parts = try Self.made(recipe)
            for part in parts where part.name != "weight_format" && !part.name.contains("quant_state") {
                let other = Self.change(parts, part.name) { part in
                    part.type = .bool
                    part.shape = [part.bytes.count]
                }
                #expect(Self.code(other) != nil, "\(recipe) \(part.name)")
                let longer = Self.change(parts, part.name) { part in
                    part.shape = [part.bytes.count / (part.type.bitWidth / 8) + 1]
                    part.bytes += [UInt8](repeating: 0, count: part.type.bitWidth / 8)
                }
                #expect(Self.code(longer) != nil, "\(recipe) \(part.name)")
            }
        }
    }

    @Test(
        arguments: [
            #"{"quant_type": "nf4"}"#, "", "{", "[]", #"{"quant_type": "nf4", "quant_type": "nf4"}"#,
            #"{"quant_type": "fp4", "blocksize": 64, "dtype": "float32", "shape": [8, 128]}"#,
            #"{"quant_type": "nf4", "blocksize": 65, "dtype": "float32", "shape": [8, 128]}"#,
            #"{"quant_type": "nf4", "blocksize": 64.0, "dtype": "float32", "shape": [8, 128]}"#,
            #"{"quant_type": "nf4", "blocksize": 64, "dtype": "float64", "shape": [8, 128]}"#,
            #"{"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": []}"#,
            #"{"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [-8, 128]}"#,
            #"{"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [9223372036854775807, 2]}"#,
            #"{"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [0, 9223372036854775807, 9]}"#,
            #"{"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": "8, 128"}"#,
            #"{"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [8, 128], "more": 1}"#,
            #"{"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [8, 128], "nested_offset": 1}"#,
        ]) func aQuantStateIsReadStrictly(_ text: String) throws
    {
        let parts = try Self.made([("method", "nf4"), ("double_quant", "false")])
        let name = "weight.quant_state.bitsandbytes__nf4"
        let changed = Self.change(parts, name) { part in
            part.bytes = Array(text.utf8)
            part.shape = [part.bytes.count]
        }
        #expect(Self.code(changed) == "artifact.quant_state")
    }

    @Test func aStateThatContradictsThePartsIsRefused() throws {
        let name = "weight.quant_state.bitsandbytes__nf4"
        let nested = #", "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": "#
        for (options, text) in [
            ([("method", "nf4"), ("double_quant", "false")], #""shape": [8, 130]}"#),
            ([("method", "nf4"), ("double_quant", "false")], #""shape": [8, 128]\#(nested)0.5}"#),
            ([("method", "nf4")], #""shape": [8, 128]}"#),
        ] {
            let changed = Self.change(try Self.made(options), name) { part in
                part.bytes = Array((#"{"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "# + text).utf8)
                part.shape = [part.bytes.count]
            }
            #expect(Self.code(changed) == "artifact.part_mismatch", "\(text)")
        }
        for offset in ["1e400", "1e39", "-1e39"] {
            let changed = Self.change(try Self.made([("method", "nf4")]), name) { part in
                let start = #"{"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [8, 128]"#
                part.bytes = Array((start + nested + offset + "}").utf8)
                part.shape = [part.bytes.count]
            }
            #expect(Self.code(changed) == "artifact.quant_state", "\(offset)")
        }
        var limits = RestoreLimits()
        limits.maximumStateBytes = 20
        #expect(Self.code(try Self.made([("method", "nf4")]), limits: limits) == "artifact.part_mismatch")
    }

    @Test func scalesAndWeightsMustBeFinite() throws {
        let parts = try Self.made([("method", "nf4"), ("double_quant", "false")])
        for (name, bits) in [("weight.absmax", Float.nan), ("weight.quant_map", -.infinity)] {
            let changed = Self.change(parts, name) { $0.bytes.replaceSubrange(4..<8, with: bytes(of: [bits])) }
            #expect(Self.code(changed) == "non_finite")
        }
        // A scale that float32 holds and float16 does not.
        let large = Self.change(parts, "weight.absmax") { $0.bytes.replaceSubrange(4..<8, with: bytes(of: [70000])) }
        #expect(Self.code(large) == nil)
        let refusal = RestoreRun.refusal(safetensors(large), .float16)
        guard case .outOfRange("weight", let index, let value, 65504)? = refusal else {
            Issue.record("\(String(describing: refusal))")
            return
        }
        #expect((64..<128).contains(index))
        #expect(value.magnitude == 70000)
        // A scale that overflows with codes that nothing stands for is no harm.
        let unused = Self.change(large, "weight") {
            $0.bytes.replaceSubrange(32..<64, with: [UInt8](repeating: 0x77, count: 32))
        }
        #expect(RestoreRun.refusal(safetensors(unused), .float16) == nil)
        let fp8 = Self.change(try Self.made([("method", "fp8")]), "weight") { $0.bytes[3] = 0x7f }
        #expect(Self.code(fp8) == "non_finite")
        let awq = Self.change(try Self.made([("method", "int4"), ("format", "awq")]), "scales") {
            $0.bytes.replaceSubrange(2..<4, with: [0x00, 0x7c])
        }
        #expect(Self.code(awq) == "non_finite")
    }

    @Test func whatIsRecognisedButNotRestoredIsNamed() throws {
        let awq = try Self.made([("method", "int4"), ("format", "awq")])
        #expect(Self.code(awq + [("g_idx", .i32, [128], [UInt8](repeating: 0, count: 512))]) == "artifact.unsupported")
        let gptq: [Part] = [
            ("a.qweight", .i32, [16, 8], [UInt8](repeating: 0, count: 512)), ("a.qzeros", .i32, [1, 1], [0, 0, 0, 0]),
            ("a.scales", .f16, [1, 8], [UInt8](repeating: 0, count: 16)),
        ]
        #expect(Self.code(gptq) == "artifact.unsupported")
        let plain: [Part] = [("weight", .f32, [8, 128], bytes(of: gaussian(1024, seed: 1)))]
        #expect(Self.code(plain) == "artifact.not_quantized")
        #expect(Self.code([]) == "artifact.not_quantized")
        let deepSeek: [Part] = [
            ("a.weight", .f8E4M3, [2, 2], [0, 0, 0, 0]), ("a.weight_scale_inv", .f32, [1, 1], [0, 0, 0, 0]),
        ]
        #expect(Self.code(deepSeek) == "artifact.missing_part")
        let mxfp4: [Part] = [("a.weight", .u32, [1, 1], [0, 0, 0, 0]), ("a.scales", .u8, [1, 1], [0])]
        #expect(Self.code(mxfp4) == "artifact.unsupported")
        let packed = try Self.made([("method", "int4")])
        #expect(Self.code(packed + [("weight_g_idx", .i32, [1], [0, 0, 0, 0])]) == "artifact.unsupported")
        #expect(Self.code(packed + [("weight", .f32, [1], [0, 0, 0, 0])]) == "artifact.name_conflict")
        let format = Self.change(try Self.made([("method", "int8")]), "weight_format") { $0.bytes = [1] }
        #expect(Self.code(format) == "artifact.unsupported")
    }

    @Test func widthsThatShapesLeaveOpenMustBeSaid() throws {
        let apple = try Self.made([("method", "int4"), ("format", "mlx")])
        #expect(Self.code(apple) == "artifact.width_unknown")
        #expect(Self.code(apple, bits: 4) == nil)
        #expect(Self.code(apple, bits: 8) == nil)
        // Eight-bit words in groups of 128 can be nothing else.
        let wide = try Self.made([("method", "int8"), ("format", "mlx"), ("group_size", "128")])
        #expect(Self.code(wide) == nil)
        #expect(Self.code(wide, bits: 4) == "artifact.part_mismatch")
        let narrow = try Self.made([("method", "int4"), ("group_size", "-1")], columns: 4)
        #expect(Self.code(narrow) == "artifact.width_unknown")
    }

    @Test func limits() throws {
        let standard = RestoreLimits()
        #expect(standard.container.maxHeaderBytes == 100_000_000)
        #expect(standard.container.maxTensors == 1_200_000)
        #expect(standard.maximumArtifactBytes == 1 << 44)
        #expect(standard.maximumStateBytes == 4096)
        #expect(standard.maximumAWQColumns == 1 << 16)
        #expect(standard.maximumBandBytes == 4 << 20)
        #expect(standard.maximumGlobSteps == 1 << 28)
        var limits = standard
        limits.maximumArtifactBytes = 100
        #expect(Self.code(try Self.made([("method", "int8")]), limits: limits) == "limit.artifact_bytes")
        limits = standard
        limits.maximumAWQColumns = 127
        #expect(
            Self.code(try Self.made([("method", "int4"), ("format", "awq")]), limits: limits) == "limit.awq_columns")
        limits = standard
        limits.maximumGlobSteps = 3
        let run = try SessionRun(
            safetensors([("weight", .f32, [8, 128], bytes(of: gaussian(1024, seed: 1)))]),
            [("method", "int4"), ("format", "mlx"), ("overrides", #"[{"match": "*a*b*", "method": "int8"}]"#)])
        #expect(RestoreRun.refusal(run.output.bytes, limits: limits)?.restoreCode == "limit.glob_steps")
        #expect(RestoreRun.refusal(run.output.bytes) == nil)
    }

    @Test func aHeaderIsCountedAgainstTheMemory() throws {
        let parts = try Self.made([("method", "int8")])
        let padding: Part = (String(repeating: "x", count: 4000), .u8, [0], [])
        let many = (0..<40).map { (padding.name + "\($0)", padding.type, padding.shape, padding.bytes) }
        let source = MemoryArtifact(safetensors(parts + many))
        let budget = MemoryBudget(bytes: 8 << 20)
        #expect(throws: QuantizationError.self) {
            _ = try RestoringSession(source: source, elements: .float32, memory: budget)
        }
        _ = try RestoringSession(source: source, elements: .float32, memory: MemoryBudget(bytes: 16 << 20))
        #expect(budget.takenBytes == 0)
    }

    /// Damage anywhere is an error or a restored file, never a trap.
    @Test(arguments: recipes.indices) func damageNeverStopsTheProcess(_ index: Int) throws {
        let file = safetensors(try Self.made(Self.recipes[index]))
        var random = SplitMix(state: UInt64(index))
        for _ in 0..<60 {
            var damaged = file
            for _ in 0...random.next32() % 3 {
                let place = Int(random.next32()) % damaged.count
                damaged[place] = UInt8(truncatingIfNeeded: random.next32())
            }
            if random.next32() % 8 == 0 { damaged.removeLast(Int(random.next32()) % damaged.count) }
            for elements in [RestoredElements.original, .float16] { _ = RestoreRun.refusal(damaged, elements) }
        }
    }

    @Test func aFailingDiskIsToldAndEndsTheSession() throws {
        let source = MemoryArtifact(safetensors(try Self.made([("method", "int8")])))
        let session = try RestoringSession(source: source, elements: .float32)
        source.failsFrom = 100
        var piece = [UInt8](repeating: 0, count: 1 << 16)
        #expect(throws: QuantizationError.storage(StorageFailure(operation: "read", code: 5))) {
            var span = piece.mutableSpan
            var room = unsafe span.mutableBytes
            _ = try session.read(into: &room)
        }
    }
}
