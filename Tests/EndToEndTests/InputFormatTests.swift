import Foundation
import Testing

/// Inputs as numpy and torch write them, sent with curl: the artifact does not tell what they came as.
@Suite struct InputFormatTests {
    /// Bytes of the artifact's tensors, by name: the digest of the input in the header differs.
    private func tensors(_ artifact: Data) throws -> [String: Data] {
        let length = artifact.prefix(8).enumerated().reduce(0) { $0 | Int($1.element) << (8 * $1.offset) }
        let text = artifact.subdata(in: 8..<8 + length)
        let header = try #require(try JSONSerialization.jsonObject(with: text) as? [String: [String: Any]])
        var tensors: [String: Data] = [:]
        for (name, fields) in header where name != "__metadata__" {
            let range = try #require(fields["data_offsets"] as? [Int])
            tensors[name] = artifact.subdata(in: 8 + length + range[0]..<8 + length + range[1])
        }
        return tensors
    }

    @Test(arguments: ["stored.npz", "deflated.npz", "mixed.npz", "streamed_deflated.npz", "zip64.npz"])
    func anArchiveGivesTheArtifactOfItsArrays(_ name: String) throws {
        let service = try LiveService()
        let folder = try TemporaryFolder()
        let query = "method=nf4&include=*weight&download=1"
        let arrays = try service.post(Repository.inputs.appending(path: "arrays.safetensors"), query)
        let expected = try tensors(arrays.body)
        #expect(expected.count == 3 * 6 + 3)

        let archive = Repository.inputs.appending(path: name)
        let sent = try service.post(archive, query)
        #expect(sent.status == 201, "\(String(decoding: sent.body, as: UTF8.self))")
        #expect(try tensors(sent.body) == expected)
        let chunked = try service.curl("/v1/quantize?\(query)", ["-X", "POST", "-T", "-"], input: archive)
        #expect(chunked.status == 200 && chunked.body == sent.body)
        let packed = try folder.file("packed", Data(contentsOf: archive))
        try run("/usr/bin/env", ["gzip", "-k", packed.path])
        let coded = try service.post(packed.appendingPathExtension("gz"), query, ["-H", "Content-Encoding: gzip"])
        #expect(coded.status == 200 && coded.body == sent.body)

        let made = try service.post(archive, "method=nf4&include=*weight").json()
        let input = try #require(made["input"] as? [String: Any])
        #expect(input["digest"] as? String == "sha256:\(try sha256(Data(contentsOf: archive)))")
        #expect(service.filesOnDisk().staging.isEmpty)

        let output = folder.url.appending(path: "out.safetensors")
        for source in [archive.path, "-"] {
            let outcome = try run(
                Repository.viva.path,
                ["quantize", source, "--method", "nf4", "--include", "*weight", "-o", output.path],
                input: source == "-" ? archive : nil)
            #expect(outcome.status == 0, "\(outcome.errorText)")
            #expect(try Data(contentsOf: output) == sent.body)
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path).count == 3)
    }

    @Test func severalFormatsComeFromOneArchive() throws {
        let service = try LiveService()
        let made = try service.post(
            Repository.inputs.appending(path: "deflated.npz"), "method=int8&format=bitsandbytes,mlx&include=*weight")
        #expect(made.status == 201, "\(String(decoding: made.body, as: UTF8.self))")
        #expect((try made.json()["items"] as? [Any])?.count == 2)
    }

    @Test(arguments: ["e4m3", "e5m2"])
    func anFP8CheckpointGivesTheArtifactOfTheRestoredOne(_ type: String) throws {
        let service = try LiveService()
        for method in ["nf4", "int8", "fp8", "int4&group_size=32"] {
            let query = "method=\(method)&download=1"
            let stored = try service.post(Repository.inputs.appending(path: "fp8_\(type).safetensors"), query)
            let restored = try service.post(Repository.inputs.appending(path: "fp8_\(type)_bf16.safetensors"), query)
            #expect(stored.status == 201, "\(String(decoding: stored.body, as: UTF8.self))")
            #expect(try tensors(stored.body) == tensors(restored.body))
        }
    }
}
