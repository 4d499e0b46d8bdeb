import Tensors
import Testing

/// Every limit: its default, and that one beyond it is refused.
struct ContainerLimitsTests {
    @Test func defaults() {
        let limits = ContainerLimits()
        #expect(limits.maxHeaderBytes == 16_777_216)
        #expect(limits.maxTensors == 200_000)
        #expect(limits.maxMetadataItems == 10_000)
        #expect(limits.maxRank == 32)
        #expect(limits.maxNameBytes == 4096)
        #expect(limits.maxNumpyHeaderBytes == 10_000)
        #expect(limits.maxMembers == 65_536)
        #expect(limits.maxDirectoryBytes == 16_777_216)
        #expect(limits.maxMemberBytes == 1 << 40)
        #expect(limits.maxInflatedBytes == 1 << 44)
        #expect(limits.maxInflateRatio == 200)
        #expect(limits.inflateRatioFloor == 1 << 20)
    }

    @Test func headerBytes() throws {
        var limits = ContainerLimits()
        limits.maxHeaderBytes = 40
        let full = "{}" + String(repeating: " ", count: 38)
        #expect(try parse(safetensors(full), limits: limits).dataOffset == 48)
        let error = refusal(of: safetensors(full + " "), limits: limits)
        #expect(error?.code == "safetensors.header_too_large")
        // Refused from the first nine bytes: nothing is to be buffered.
        let prefix = safetensors(full + " ").prefix(9)
        let early = refusal { _ = try parse(prefix: prefix, totalBytes: nil, limits: limits) }
        #expect(early?.code == "safetensors.header_too_large")
    }

    @Test(arguments: [100_000_001, 1 << 40, Int.max])
    func theFormatsOwnLimitCannotBeRaised(_ length: Int) {
        var limits = ContainerLimits()
        limits.maxHeaderBytes = Int.max
        let prefix = (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) } + Array("{".utf8)
        let error = refusal { _ = try parse(prefix: prefix, totalBytes: nil, limits: limits) }
        #expect(error?.code == "safetensors.header_too_large")
    }

    @Test func tensors() throws {
        var limits = ContainerLimits()
        limits.maxTensors = 3
        let entries = (0..<4).map { #""t\#($0)":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"# }
        let three = safetensors("{\(entries[..<3].joined(separator: ","))}")
        #expect(try parse(three, limits: limits).entries.count == 3)
        let four = safetensors("{\(entries.joined(separator: ","))}")
        #expect(refusal(of: four, limits: limits)?.code == "safetensors.too_many_tensors")
    }

    @Test func metadataItems() throws {
        var limits = ContainerLimits()
        limits.maxMetadataItems = 1
        #expect(try parse(safetensors(#"{"__metadata__":{"a":"b"}}"#), limits: limits).metadata.count == 1)
        let two = safetensors(#"{"__metadata__":{"a":"b","c":"d"}}"#)
        #expect(refusal(of: two, limits: limits)?.code == "safetensors.too_many_metadata")
    }

    @Test func rank() throws {
        let most = [Int](repeating: 1, count: 32)
        let text = most.map(String.init).joined(separator: ", ")
        let header = { (shape: String) in #"{"a":{"dtype":"U8","shape":[\#(shape)],"data_offsets":[0,1]}}"# }
        #expect(try parse(safetensors(header(text), dataBytes: 1)).entries.first?.shape == most)
        let error = refusal(of: safetensors(header(text + ",1"), dataBytes: 1))
        #expect(error?.code == "safetensors.rank_too_large")
        #expect(error?.tensor == "a")

        let array = { (shape: String) in npy(NumpyParserTests.header(descr: "'|u1'", shape: shape), dataBytes: 1) }
        #expect(try parse(array("(\(text))")).entries.first?.shape == most)
        #expect(refusal(of: array("(\(text), 1)"))?.code == "npy.rank_too_large")

        #expect(try describeRaw(type: .u8, shape: most, totalBytes: 1).entries.first?.shape == most)
        let raw = refusal { _ = try describeRaw(type: .u8, shape: most + [1], totalBytes: 1) }
        #expect(raw?.code == "raw.rank_too_large")
    }

    @Test func nameBytes() throws {
        // Counted in UTF-8 after unescaping: each "\u00e9" is six bytes of header and two of name.
        let most = String(repeating: #"\u00e9"#, count: 2048)
        let header = { (name: String) in #"{"\#(name)":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}"# }
        #expect(try parse(safetensors(header(most), dataBytes: 1)).entries.first?.name.utf8.count == 4096)
        #expect(refusal(of: safetensors(header(most + "a"), dataBytes: 1))?.code == "safetensors.name_too_long")
        let key = safetensors(#"{"__metadata__":{"\#(most)a":""}}"#)
        #expect(refusal(of: key)?.code == "safetensors.name_too_long")
    }

    @Test func numpyHeaderBytes() throws {
        let header = NumpyParserTests.header(shape: "()")
        let full = header + String(repeating: " ", count: 10_000 - header.utf8.count)
        for major: UInt8 in [1, 2] {
            #expect(try parse(npy(full, major: major, dataBytes: 4)).dataBytes == 4)
            let error = refusal(of: npy(full + " ", major: major, dataBytes: 4))
            #expect(error?.code == "npy.header_too_large")
        }
        var limits = ContainerLimits()
        limits.maxNumpyHeaderBytes = -1
        #expect(refusal(of: npy(full, dataBytes: 4), limits: limits)?.code == "npy.header_too_large")
    }

    @Test func aHeaderAtEveryLimitIsRead() throws {
        let entries = (0..<200_000).map { #""\#($0)":{"dtype":"U8","shape":[1],"data_offsets":[\#($0),\#($0 + 1)]}"# }
        let json = "{\(entries.reversed().joined(separator: ","))}"
        let padded = json + String(repeating: " ", count: ContainerLimits().maxHeaderBytes - json.utf8.count)
        let description = try parse(safetensors(padded, dataBytes: 200_000))
        #expect(description.entries.count == 200_000)
        #expect(description.entries.first?.name == "0")
        #expect(description.entries.last?.name == "199999")
    }
}
