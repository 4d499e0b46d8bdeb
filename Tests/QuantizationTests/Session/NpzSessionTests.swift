import Foundation
import Tensors
import Testing

@testable import Quantization

/// Archives that numpy and zipfile wrote give the artifact of the same arrays as safetensors.
@Suite struct NpzSessionTests {
    static let archives = [
        "stored.npz", "deflated.npz", "mixed.npz", "streamed_stored.npz", "streamed_deflated.npz", "zip64.npz",
    ]
    static let recipes: [[(String, String)]] = [
        [("method", "nf4"), ("include", "*weight")], [("method", "int8"), ("include", "*weight")],
        [("method", "int4"), ("group_size", "32"), ("include", "*weight")],
    ]

    /// `arrays.safetensors` in the order in which the archives hold the arrays.
    private func arrays() throws -> [UInt8] {
        let file = try FP8SessionTests.fixture("arrays.safetensors")
        let description = try SessionRun.description(of: file)
        let order = ["layer.0/q.weight", "layer.0/k.weight", "größe.weight", "norm", "steps", "empty"]
        return try safetensors(
            order.map { name in
                let entry = try #require(description.entries.first { $0.name == name })
                let start = description.dataOffset
                let bytes = Array(file[start + entry.bytes.lowerBound..<start + entry.bytes.upperBound])
                return (name, entry.type, entry.shape, bytes)
            })
    }

    @Test(arguments: archives)
    func theArtifactIsThatOfTheArraysAsSafetensors(_ archive: String) throws {
        let input = try FP8SessionTests.fixture(archive)
        for options in Self.recipes {
            let expected = try SessionRun(try arrays(), options)
            for (pieceBytes, declared) in [(Int.max, true), (Int.max, false), (1, true), (777, false)] {
                let run = try SessionRun(input, options, pieceBytes: pieceBytes, declared: declared)
                #expect(run.output.bytes == expected.output.bytes, "\(options) \(pieceBytes)")
                #expect(run.output.gaps == 0 && run.output.overwritten == 0)
                #expect(run.result.input.container == .npz)
            }
        }
    }

    /// Column-major weights and activations, for a method that stages both.
    @Test(arguments: ["best", "reference"])
    func activationsMayLieInAnyOrder(_ mode: String) throws {
        let weight = gaussian(16 * 64, seed: 1)
        let activations = gaussian(40 * 64, seed: 2)
        let options = [("method", "awq"), ("mode", mode), ("group_size", "32")]
        let plain = safetensors([
            ("m.weight", .f32, [16, 64], bytes(of: weight)), ("m.activations", .f32, [40, 64], bytes(of: activations)),
            ("m.bias", .f32, [2, 8], bytes(of: Array(weight[..<16]))),
        ])
        func turned(_ values: [Float], _ rows: Int, _ columns: Int) -> [Float] {
            (0..<columns).flatMap { column in (0..<rows).map { values[$0 * columns + column] } }
        }
        let archive = ForgedArchive([
            .array("m.weight", "<f4", fortran: true, [16, 64], bytes(of: turned(weight, 16, 64))),
            .array("m.activations", "<f4", fortran: true, [40, 64], bytes(of: turned(activations, 40, 64))),
            .array("m.bias", "<f4", fortran: true, [2, 8], bytes(of: turned(Array(weight[..<16]), 2, 8))),
        ])
        #expect(try SessionRun(archive.bytes, options).output.bytes == SessionRun(plain, options).output.bytes)
    }

    @Test func dimensionsOfOneDoNotTurnAnything() throws {
        let values = gaussian(4 * 6, seed: 3)
        let turned = (0..<6).flatMap { column in (0..<4).map { values[$0 * 6 + column] } }
        let archive = ForgedArchive([
            .array("kept", "<f4", fortran: true, [1, 4, 1, 6], bytes(of: turned)),
            .array("weight", "<f4", fortran: false, [2, 64], bytes(of: gaussian(128, seed: 4))),
        ])
        #expect(try SessionRun(archive.bytes, [("method", "nf4")]).tensors()["kept"] == bytes(of: values))
    }

    @Test func complexNumbersAreSwappedByParts() throws {
        let archive = ForgedArchive([
            .array("kept", ">c8", fortran: false, [1], [0x3F, 0x80, 0, 0, 0x40, 0, 0, 0]),
            .array("weight", "<f4", fortran: false, [2, 64], bytes(of: gaussian(128, seed: 4))),
        ])
        #expect(try SessionRun(archive.bytes, [("method", "nf4")]).tensors()["kept"] == bytes(of: [1, 2]))
    }

    @Test func aLoneArrayKeepsItsName() throws {
        let made = try SessionRun(FP8SessionTests.fixture("lone.npz"), [("method", "int8")]).tensors()
        #expect(Set(made.keys) == ["kernel", "kernel.SCB", "kernel.weight_format"])
    }

    @Test func whatIsNoArchivePassesAsItComes() throws {
        // The first three bytes of an archive, as the length of a header.
        let padding = String(repeating: " ", count: 0x034B50 - 64)
        #expect(throws: QuantizationError.self) { try SessionRun([0x50, 0x4B, 3], [("method", "nf4")]) }
        #expect(throws: QuantizationError.self) {
            try SessionRun([0x50, 0x4B, 3, 0] + Array(padding.utf8), [("method", "nf4")], pieceBytes: 1000)
        }
    }

    /// A single changed byte is refused, or changes nothing: dates, versions and attributes are not read.
    @Test(arguments: ["npz_stored.npz", "npz_deflate.npz"])
    func noChangedByteChangesAWeight(_ name: String) throws {
        let folder = GoldenCase.folder.deletingLastPathComponent().appending(path: "containers")
        let archive = Array(try Data(contentsOf: folder.appending(path: name)))
        let options = [("method", "nf4"), ("include", "*")]
        let expected = try SessionRun(archive, options).output.bytes
        var accepted = 0
        for index in archive.indices.dropFirst(4) {
            for change: UInt8 in [1, 0x80, 0xFF] {
                var changed = archive
                changed[index] ^= change
                guard let run = try? SessionRun(changed, options) else { continue }
                accepted += 1
                #expect(run.output.bytes == expected, "byte \(index)")
            }
        }
        // Of two members: version, time and date of the local header, the same and attributes in the directory. A
        // deflate stream has some bits of padding besides.
        let unread = 2 * 3 * (6 + 14)
        #expect(name.contains("stored") ? accepted == unread : (unread...unread + 16).contains(accepted))
    }

    @Test func everyCutIsRefused() throws {
        let archive = try FP8SessionTests.fixture("streamed_deflated.npz")
        for count in stride(from: 4, to: archive.count, by: 41) {
            #expect(throws: QuantizationError.self) { try SessionRun(Array(archive[..<count]), [("method", "nf4")]) }
        }
    }

    @Test func archivesOfNoiseAreRefused() {
        var state: UInt64 = 7
        func next(below bound: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % bound
        }
        let whole = ForgedArchive([
            .array("a", "<f4", fortran: false, [2, 2], bytes(of: [1, 2, 3, 4])),
            .array("b.weight", "<f4", fortran: false, [1, 2], bytes(of: [1, 2])),
        ]).bytes
        for _ in 0..<2000 {
            var bytes = whole
            for _ in 0...next(below: 6) {
                // Mostly whole fields of directory and end record.
                let place = next(below: 4) == 0 ? next(below: bytes.count) : bytes.count - 1 - next(below: 170)
                let width = [1, 2, 4, 8][next(below: 4)]
                let value = [0, 1, Int.max, 0xFFFF, 0xFFFF_FFFF, next(below: 1 << 16)][next(below: 6)]
                for index in 0..<width where place + index < bytes.count {
                    bytes[place + index] = UInt8(truncatingIfNeeded: value >> (8 * index))
                }
            }
            _ = try? SessionRun(bytes, [("method", "nf4")])
        }
    }
}
