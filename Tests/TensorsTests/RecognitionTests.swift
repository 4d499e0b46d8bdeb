import Tensors
import Testing

/// Inputs that are no container of ours, and bare elements.
struct RecognitionTests {
    @Test(
        arguments: [
            ([0x50, 0x4B, 3, 4, 0x14, 0, 0, 0, 8], "zip"), ([0x50, 0x4B, 5, 6, 0, 0, 0, 0, 0], "empty zip"),
            (Array("GGUF".utf8) + [3, 0, 0, 0, 0x7B], "GGUF"),
            ([0x89, 0x48, 0x44, 0x46, 0x0D, 0x0A, 0x1A, 0x0A, 0], "HDF5"),
            ([0x80, 0x02, 0x8A, 0x0A, 0x6C, 0xFC, 0x9C, 0x46, 0xF9], "pickle"),
            ([0x80, 0x04, 0x95, 0x02, 0, 0, 0, 0, 0, 0, 0], "pickle"),
            ([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0], "gzip"), ([0x28, 0xB5, 0x2F, 0xFD, 0, 0, 0, 0, 1], "Zstandard"),
            (Array("version https://git-lfs.github.com/spec/v1".utf8), "LFS"),
            (Array("<!DOCTYPE html><html>".utf8), "HTML"), (Array("------WebKitFormBoundary".utf8), "multipart"),
            (Array(#"{"error": "not found"}"#.utf8), "JSON"), (Array("just some text".utf8), "neither"),
            ([UInt8](repeating: 0xFF, count: 64), "neither"),
        ] as [([UInt8], String)])
    func foreignFormatsAreNamed(_ bytes: [UInt8], _ name: String) {
        for totalBytes in [nil, bytes.count] {
            let error = refusal { _ = try parse(prefix: bytes, totalBytes: totalBytes) }
            #expect(error?.code == "container.unknown")
            #expect(error?.detail.contains(name) == true)
        }
    }

    @Test func shortInputsAreTold() {
        #expect(refusal(of: [])?.code == "container.empty")
        #expect(refusal(of: [UInt8](repeating: 0, count: 7))?.code == "container.too_short")
        #expect(refusal(of: [UInt8](repeating: 0, count: 8))?.code == "safetensors.header_empty")
        #expect(refusal(of: [2, 0, 0, 0, 0, 0, 0, 0])?.code == "safetensors.header_past_end")
        #expect(refusal(of: [UInt8](repeating: 0xFF, count: 8))?.code == "container.unknown")
        #expect(refusal(of: [0x93] + Array("NUMPY".utf8))?.code == "npy.header_past_end")
        #expect(refusal(of: [UInt8](repeating: 0, count: 4096))?.code == "safetensors.header_empty")
    }

    @Test func aHeaderLengthThatLooksLikeAPickleIsALength() throws {
        // 640 is 0x80 0x02: the first bytes of a pickle, and of a small safetensors file.
        let header = "{}" + String(repeating: " ", count: 638)
        #expect(try parse(safetensors(header)).dataOffset == 648)
    }

    @Test func rawIsOneTensorCalledWeight() throws {
        for totalBytes in [nil, 24] {
            let description = try describeRaw(type: .f32, shape: [2, 3], totalBytes: totalBytes)
            #expect(description.container == .raw)
            #expect(
                description.entries
                    == [TensorEntry(name: "weight", type: .f32, shape: [2, 3], elementCount: 6, bytes: 0..<24)])
            #expect(description.dataOffset == 0 && description.totalBytes == 24)
            #expect(description.entries.allSatisfy { !$0.isFortranOrder && !$0.isBigEndian })
        }
    }

    @Test(
        arguments: [
            (.f32, [2, 3], 23, "data_truncated"), (.f32, [2, 3], 25, "tail_bytes"),
            (.f32, [2, -3], nil, "negative_dimension"),
            (.u8, [Int.max, 2], nil, "shape_overflow"), (.u8, [1 << 60], nil, "shape_overflow"),
            (.f64, [1 << 31, 1 << 31], nil, "shape_overflow"), (.f4, [3], nil, "partial_byte"),
            (.f6E2M3, [6], nil, "partial_byte"), (.f32, [0, Int.min], nil, "negative_dimension"),
            (.f32, [1], 0, "data_truncated"),
        ] as [(ElementType, [Int], Int?, String)])
    func malformedRawInputs(_ type: ElementType, _ shape: [Int], _ totalBytes: Int?, _ code: String) {
        let error = refusal { _ = try describeRaw(type: type, shape: shape, totalBytes: totalBytes) }
        #expect(error?.code == "raw.\(code)")
        #expect(error?.tensor == "weight")
    }

    @Test func rawCountsPackedElementsInBits() throws {
        #expect(try describeRaw(type: .f4, shape: [3, 2], totalBytes: 3).dataBytes == 3)
        #expect(try describeRaw(type: .f6E3M2, shape: [4], totalBytes: 3).dataBytes == 3)
        #expect(try describeRaw(type: .f64, shape: [], totalBytes: 8).entries.first?.elementCount == 1)
        #expect(try describeRaw(type: .f64, shape: [0], totalBytes: 0).entries.first?.elementCount == 0)
    }
}
