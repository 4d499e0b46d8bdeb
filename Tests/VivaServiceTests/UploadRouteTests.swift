import ArtifactStore
import Catalogue
import Foundation
import HTTPServer
import Quantization
import Tensors
import Testing

@testable import VivaService

/// Resumable uploads over real sockets, as tus 1.0.0 tells them.
@Suite struct UploadRouteTests {
    private let folder = DataFolder()

    /// Begins an upload; answers its path.
    private func begin(
        _ life: TestLife, length: Int?, query: String = "", _ fields: [String] = []
    ) throws -> String {
        let size = length.map { "Upload-Length: \($0)" } ?? "Upload-Defer-Length: 1"
        let answer = try life.tus("POST /v1/uploads\(query)", [size] + fields)
        #expect(answer.status == 201)
        #expect(answer.fields["tus-resumable"] == "1.0.0")
        #expect(answer.fields["upload-expires"]?.hasSuffix(" GMT") == true)
        return try #require(answer.fields["location"])
    }

    private func patch(
        _ life: TestLife, _ path: String, at offset: Int, _ bytes: [UInt8], _ fields: [String] = []
    ) throws -> TestAnswer {
        try life.tus("PATCH \(path)", ["Upload-Offset: \(offset)"] + fields, bytes)
    }

    private func offset(_ life: TestLife, _ path: String) throws -> Int? {
        let answer = try life.tus("HEAD \(path)")
        #expect(answer.status == 200)
        #expect(answer.fields["cache-control"] == "no-store")
        return answer.fields["upload-offset"].flatMap { Int($0) }
    }

    @Test func whatIsOfferedIsSaid() throws {
        let life = try TestLife(folder.path)
        let answer = try life.send("OPTIONS /v1/uploads")
        #expect(answer.status == 204)
        #expect(answer.fields["tus-version"] == "1.0.0")
        let offered = Set(try #require(answer.fields["tus-extension"]).split(separator: ","))
        #expect(
            offered == [
                "creation", "creation-with-upload", "creation-defer-length", "termination", "checksum", "expiration",
            ])
        #expect(answer.fields["tus-checksum-algorithm"] == "sha1,sha256")
        #expect(answer.fields["tus-max-size"] == String(1 << 44))
    }

    @Test func piecesBecomeAnInput() throws {
        let life = try TestLife(folder.path)
        let bytes = SampleInput.safetensors(100)
        let name = "sha256:\(try SampleInput.sha256(bytes))"
        let path = try begin(life, length: bytes.count, ["Upload-Metadata: filename dy5zYWZldGVuc29ycw==,empty"])
        // In the length of the header, in the header, in the data.
        for range in [0..<3, 3..<50, 50..<9000] {
            let answer = try patch(life, path, at: range.lowerBound, Array(bytes[range]))
            #expect(answer.status == 204)
            #expect(answer.fields["upload-offset"] == String(range.upperBound))
            #expect(answer.fields["content-location"] == nil)
            #expect(try offset(life, path) == range.upperBound)
        }
        let last = try patch(life, path, at: 9000, Array(bytes[9000...]))
        #expect(last.status == 204)
        #expect(last.fields["content-location"] == "/v1/inputs/\(name)")
        let head = try life.tus("HEAD \(path)")
        #expect(head.fields["upload-offset"] == String(bytes.count))
        #expect(head.fields["upload-length"] == String(bytes.count))
        #expect(head.fields["upload-metadata"] == "filename dy5zYWZldGVuc29ycw==,empty")
        #expect(head.fields["content-location"] == "/v1/inputs/\(name)")
        let json = try life.send("GET \(path)").json
        #expect(json["is_complete"] as? Bool == true)
        #expect(json["offset"] as? Int == bytes.count)
        #expect(try life.send("GET /v1/inputs/\(name)").json["bytes"] as? Int == bytes.count)
        #expect(
            try Data(contentsOf: URL(filePath: "\(folder.path)/inputs/\(name.dropFirst(7))/content")) == Data(bytes))
        #expect(folder.entries("work").isEmpty && folder.entries("staging").isEmpty)
        // Said again, for the answer may have been lost.
        #expect(try patch(life, path, at: bytes.count, []).fields["content-location"] == "/v1/inputs/\(name)")
        #expect(try patch(life, path, at: bytes.count, [1]).code == "upload.too_long")
        #expect(try life.tus("DELETE \(path)").status == 204)
        #expect(try life.tus("HEAD \(path)").status == 404)
        #expect(try life.send("GET /v1/inputs/\(name)").status == 200)
    }

    @Test(arguments: [true, false]) func aLengthMayBeSaidLate(withLastBytes: Bool) throws {
        let life = try TestLife(folder.path)
        let bytes = SampleInput.safetensors(30)
        let path = try begin(life, length: nil)
        #expect(try life.tus("HEAD \(path)").fields["upload-defer-length"] == "1")
        let cut = withLastBytes ? 400 : bytes.count
        #expect(try patch(life, path, at: 0, Array(bytes[..<cut])).status == 204)
        #expect(try patch(life, path, at: cut, [], ["Upload-Length: \(cut - 1)"]).code == "upload.malformed_field")
        let last = try patch(life, path, at: cut, Array(bytes[cut...]), ["Upload-Length: \(bytes.count)"])
        #expect(last.status == 204)
        #expect(last.fields["content-location"]?.hasPrefix("/v1/inputs/sha256:") == true)
        #expect(try life.tus("HEAD \(path)").fields["upload-length"] == String(bytes.count))
    }

    @Test func bytesMayComeWithTheCreation() throws {
        let life = try TestLife(folder.path)
        let bytes = SampleInput.raw(4)
        let part = try life.tus(
            "POST /v1/uploads?dtype=float32&shape=4,64", ["Upload-Length: 1024"], Array(bytes[..<100]))
        #expect(part.status == 201)
        #expect(part.fields["upload-offset"] == "100")
        let path = try #require(part.fields["location"])
        #expect(try patch(life, path, at: 100, Array(bytes[100...])).status == 204)
        let whole = try life.tus("POST /v1/uploads?dtype=float32&shape=4,64", ["Upload-Length: 1024"], bytes)
        #expect(whole.status == 201)
        #expect(whole.fields["content-location"] == "/v1/inputs/sha256:\(try SampleInput.sha256(bytes))")
        // Nobody was told of one that fails.
        let broken = try life.tus("POST /v1/uploads", ["Upload-Length: 100"], Array("%PDF-1.7 and more".utf8))
        #expect(broken.code == "container.unknown")
        #expect(folder.entries("work").isEmpty)
    }

    @Test func aMethodMakesAnArtifact() throws {
        let life = try TestLife(folder.path)
        let bytes = SampleInput.safetensors(64)
        let oneShot = try life.send("POST /v1/quantize?method=nf4", [], bytes)
        let artifact = try #require(oneShot.fields["location"])
        let digest = oneShot.json["digest"] as? String
        #expect(try life.send("DELETE \(artifact)").status == 204)
        let path = try begin(life, length: bytes.count, query: "?method=nf4&name=late")
        #expect(try patch(life, path, at: 0, Array(bytes[..<5000])).status == 204)
        let last = try patch(life, path, at: 5000, Array(bytes[5000...]))
        #expect(last.fields["content-location"] == artifact)
        let made = try life.send("GET \(artifact)").json
        #expect(made["digest"] as? String == digest)
        #expect(made["name"] as? String == "late")
        #expect(folder.entries("inputs").isEmpty && folder.entries("work").isEmpty)
    }

    @Test(arguments: [
        ("?method=nf9", "recipe."), ("?method=nf4&block_size=7", "recipe."), ("?dtype=float32", "request."),
        ("?method=nf4&download=1", "request."), ("?method=awq", "upload.not_streaming"), ("?what=1", "recipe."),
        ("?budget_bits_per_weight=5", "upload.not_streaming"), ("?dtype=float32&shape=3,3", "raw."),
    ])
    func whatCannotBecomeAnythingIsNotBegun(_ query: String, _ code: String) throws {
        let life = try TestLife(folder.path)
        let answer = try life.tus("POST /v1/uploads\(query)", ["Upload-Length: 1000"])
        #expect((400..<500).contains(answer.status))
        #expect(answer.code?.hasPrefix(code) == true, "\(answer.code ?? "")")
        #expect(folder.entries("work").isEmpty)
    }

    @Test func fieldsAreReadStrictly() throws {
        let life = try TestLife(folder.path)
        for fields in [
            [], ["Upload-Length: 1", "Upload-Defer-Length: 1"], ["Upload-Length: +1"], ["Upload-Length: -1"],
            ["Upload-Defer-Length: 2"], ["Upload-Length: 99999999999999999999"],
            ["Upload-Length: 9", "Upload-Metadata: a $$"], ["Upload-Length: 9", "Upload-Metadata: a YQ==,a YQ=="],
            ["Upload-Length: 9", "Upload-Metadata: ,"],
        ] {
            #expect(try life.tus("POST /v1/uploads", fields).code == "upload.malformed_field", "\(fields)")
        }
        #expect(try life.tus("POST /v1/uploads", ["Upload-Length: 9", "Upload-Metadata:"]).status == 201)
        let large = "Upload-Metadata: a " + String(repeating: "YWFh", count: 2000)
        #expect(try life.tus("POST /v1/uploads", ["Upload-Length: 9", large]).code == "limit.metadata_bytes")
        for length in [1 << 50, Int.max] {
            #expect(try life.tus("POST /v1/uploads", ["Upload-Length: \(length)"]).code == "limit.input_bytes")
        }
        for version in [[], ["Tus-Resumable: 0.2.2"]] {
            let answer = try life.send("POST /v1/uploads", version + ["Upload-Length: 9"])
            #expect(answer.status == 412 && answer.code == "upload.version")
            #expect(answer.fields["tus-version"] == "1.0.0")
        }
    }

    @Test func refusalsLeaveTheOffsetWhereItIs() throws {
        let life = try TestLife(folder.path)
        let bytes = SampleInput.safetensors(30)
        let path = try begin(life, length: bytes.count)
        #expect(try patch(life, path, at: 0, Array(bytes[..<1000])).status == 204)
        let early = try patch(life, path, at: 0, bytes)
        #expect(early.status == 409 && early.code == "upload.offset_mismatch")
        #expect(early.fields["upload-offset"] == "1000")
        #expect(early.json["expected_offset"] as? Int == 1000)
        #expect(try patch(life, path, at: 2000, [1]).status == 409)
        #expect(try patch(life, path, at: 1000, bytes).code == "upload.too_long")
        let type = ["Tus-Resumable: 1.0.0", "Upload-Offset: 1000"]
        #expect(try life.send("PATCH \(path)", type, [1]).code == "upload.media_type")
        let coded = ["Content-Encoding: gzip"]
        #expect(try patch(life, path, at: 1000, [1], coded).code == "body.unsupported_coding")
        #expect(try life.tus("PATCH \(path)", [], [1]).code == "upload.malformed_field")
        #expect(try patch(life, path, at: 1000, [1], ["Upload-Length: 5"]).code == "upload.malformed_field")
        #expect(try patch(life, "/v1/uploads/none", at: 0, [1]).code == "upload.not_found")
        #expect(try life.send("HEAD \(path)").status == 412)
        #expect(try life.send("GET \(path)").json["offset"] as? Int == 1000)
        #expect(try life.send("POST \(path)").status == 405)
        // RFC 9110 section 8.4.1: identity is no coding.
        let plain = ["Content-Encoding: Identity"]
        #expect(try patch(life, path, at: 1000, Array(bytes[1000...]), plain).status == 204)
    }

    @Test func aChecksumCountsForTheWholeBodyOrNothing() throws {
        let life = try TestLife(folder.path)
        let bytes = SampleInput.safetensors(30)
        let path = try begin(life, length: bytes.count)
        let first = Array(bytes[..<1000])
        let wrong = try patch(life, path, at: 0, first, ["Upload-Checksum: sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA="])
        #expect(wrong.status == 460 && wrong.code == "upload.checksum_mismatch")
        #expect(try offset(life, path) == 0)
        for field in ["Upload-Checksum: md5 AAAA", "Upload-Checksum: sha1", "Upload-Checksum: sha1 ?"] {
            #expect(try patch(life, path, at: 0, first, [field]).code == "upload.malformed_field")
        }
        let hex = try SampleInput.sha256(first)
        let digest = stride(from: 0, to: 64, by: 2).compactMap { index in
            UInt8(hex.dropFirst(index).prefix(2), radix: 16)
        }
        let base64 = Data(digest).base64EncodedString()
        #expect(try patch(life, path, at: 0, first, ["Upload-Checksum: sha256 \(base64)"]).status == 204)
        // RFC 9530's promise is one too.
        let lie = try patch(life, path, at: 1000, [1, 2], ["Content-Digest: sha-256=:\(base64):"])
        #expect(lie.code == "digest.mismatch")
        // A body that breaks off keeps no promise.
        let broken = try life.tus(
            "PATCH \(path)", ["Upload-Offset: 1000", "Upload-Checksum: sha256 \(base64)"], Array(bytes[1000..<1500]),
            length: 2000)
        #expect(broken.code == "body.incomplete")
        #expect(try offset(life, path) == 1000)
        #expect(try patch(life, path, at: 1000, Array(bytes[1000...])).fields["content-location"] != nil)
    }

    @Test(arguments: ["", "?method=int8"]) func whatCameBeforeABreakIsKept(_ query: String) throws {
        let life = try TestLife(folder.path)
        let bytes = SampleInput.safetensors(1000)
        let path = try begin(life, length: bytes.count, query: query)
        let broken = try life.tus(
            "PATCH \(path)", ["Upload-Offset: 0"], Array(bytes[..<200_000]), length: bytes.count)
        #expect(broken.code == "body.incomplete")
        #expect(try offset(life, path) == 200_000)
        #expect(try patch(life, path, at: 200_000, Array(bytes[200_000...])).fields["content-location"] != nil)
    }

    @Test func oneRequestAtATime() throws {
        let life = try TestLife(folder.path)
        let bytes = SampleInput.safetensors(30)
        let path = try begin(life, length: bytes.count)
        let slow = try TestConnection(life.port)
        try slow.write(
            "PATCH \(path)",
            [
                "Tus-Resumable: 1.0.0", "Content-Type: application/offset+octet-stream", "Upload-Offset: 0",
                "Content-Length: \(bytes.count)", "Expect: 100-continue", "Connection: close",
            ])
        // 100 Continue says that the upload is in its hands.
        #expect(try slow.interim().hasPrefix("HTTP/1.1 100"))
        for line in ["PATCH \(path)", "DELETE \(path)"] {
            let answer = try life.tus(line, ["Upload-Offset: 0"])
            #expect(answer.status == 423 && answer.code == "upload.locked")
            #expect(answer.fields["retry-after"] == "1")
        }
        #expect(try offset(life, path) == 0)
        try slow.write(bytes)
        #expect(try slow.answer().fields["content-location"] != nil)
    }

    @Test func bytesThatCannotBecomeAnInputEndTheUpload() throws {
        let life = try TestLife(folder.path)
        for (bytes, length, code) in [
            (Array("%PDF-1.7 and more of it".utf8), 23, "container.unknown"),
            (Array(SampleInput.safetensors().prefix(500)), 3000, "safetensors."),
            ([UInt8](repeating: 0, count: 100), nil, "safetensors."),
        ] {
            let path = try begin(life, length: length)
            let refused = try patch(life, path, at: 0, bytes)
            #expect(refused.status == 400)
            #expect(refused.code?.hasPrefix(code) == true, "\(refused.code ?? "")")
            #expect(try life.tus("HEAD \(path)").status == 404)
        }
        let nan = SampleInput.safetensors(8).dropLast(4) + [0, 0, 0xC0, 0x7F]
        let path = try begin(life, length: nan.count, query: "?method=nf4")
        #expect(try patch(life, path, at: 0, Array(nan)).code == "tensor.non_finite")
        #expect(try patch(life, path, at: 0, Array(nan)).code == "upload.not_found")
        #expect(folder.entries("work").isEmpty && folder.entries("inputs").isEmpty)
    }

    @Test func aChunkedBodyMayNotGoBeyondTheLength() throws {
        let life = try TestLife(folder.path)
        let bytes = SampleInput.safetensors(30)
        let path = try begin(life, length: bytes.count)
        func chunked(_ body: [UInt8]) throws -> TestAnswer {
            let connection = try TestConnection(life.port)
            let chunk = Array("\(String(body.count, radix: 16))\r\n".utf8) + body + Array("\r\n0\r\n\r\n".utf8)
            try connection.write(
                "PATCH \(path)",
                [
                    "Tus-Resumable: 1.0.0", "Content-Type: application/offset+octet-stream", "Upload-Offset: 0",
                    "Transfer-Encoding: chunked", "Connection: close",
                ], chunk)
            return try connection.answer()
        }
        #expect(try chunked(bytes + [0]).code == "upload.too_long")
        #expect(try offset(life, path) == 0)
        #expect(try chunked(bytes).fields["content-location"] != nil)
    }

    @Test func theNumberOfUnfinishedUploadsIsLimited() throws {
        var intake = IntakeLimits()
        intake.maximumUploads = 2
        let life = try TestLife(folder.path, intake: intake)
        let first = try begin(life, length: 10)
        _ = try begin(life, length: 10)
        let refused = try life.tus("POST /v1/uploads", ["Upload-Length: 10"])
        #expect(refused.status == 429)
        #expect(refused.code == "limit.uploads")
        #expect(refused.fields["retry-after"] != nil)
        #expect(try life.tus("DELETE \(first)").status == 204)
        _ = try begin(life, length: 10)
        #expect(folder.entries("work").count == 2)
    }

    @Test func aFullDiskRefusesTheUploadAndKeepsNothing() throws {
        let life = try TestLife(folder.path, freeBytesFloor: 1 << 60)
        #expect(try life.tus("POST /v1/uploads", ["Upload-Length: 10"]).status == 507)
        #expect(folder.entries("work").isEmpty)
    }

    /// What is acknowledged while more comes, and what a later life finds of it.
    @Test func bytesAreAcknowledgedOnTheWay() throws {
        var intake = IntakeLimits()
        intake.acknowledgeBytes = 4096
        let bytes = SampleInput.safetensors(3000)
        let path: String
        do {
            let life = try TestLife(folder.path, intake: intake)
            path = try begin(life, length: bytes.count)
            let slow = try TestConnection(life.port)
            try slow.write(
                "PATCH \(path)",
                [
                    "Tus-Resumable: 1.0.0", "Content-Type: application/offset+octet-stream", "Upload-Offset: 0",
                    "Content-Length: \(bytes.count)",
                ], Array(bytes[..<600_000]))
            var seen = 0
            for _ in 0..<400 where seen < 4096 {
                seen = try offset(life, path) ?? 0
                usleep(10_000)
            }
            #expect(seen >= 4096)
        }
        let life = try TestLife(folder.path, intake: intake)
        let kept = try #require(try offset(life, path))
        #expect(kept >= 4096 && kept <= 600_000)
        #expect(try patch(life, path, at: kept, Array(bytes[kept...])).fields["content-location"] != nil)
    }

    @Test func timeEndsUploadsAndInputs() throws {
        var intake = IntakeLimits()
        intake.uploadTimeToLive = .milliseconds(1)
        let life = try TestLife(folder.path, intake: intake)
        let path = try begin(life, length: 10)
        usleep(5000)
        #expect(try life.tus("HEAD \(path)").status == 410)
        #expect(try patch(life, path, at: 0, [1]).code == "upload.expired")
        #expect(try life.uploads.sweep(at: Clock.milliseconds()) == 1)
        #expect(try life.tus("HEAD \(path)").status == 404)
        #expect(folder.entries("work").isEmpty)
        let bytes = SampleInput.safetensors()
        let name = try #require(try life.send("POST /v1/inputs", [], bytes).json["id"] as? String)
        let publisher = InputPublisher(store: life.facilities.store, catalogue: life.facilities.catalogue)
        let now = Clock.milliseconds()
        #expect(try publisher.remove(name, owner: "local", unusedSince: now - 60_000) == .absent)
        #expect(try publisher.remove(name, owner: "local", unusedSince: now + 60_000) == .removed)
        #expect(folder.entries("inputs").isEmpty)
    }

    /// What a crash leaves between two steps is gone after the start; what was acknowledged stays.
    @Test func aStartRemovesWhatNoRowNames() throws {
        let path: String
        do {
            let life = try TestLife(folder.path)
            path = try begin(life, length: 5000)
            #expect(try patch(life, path, at: 0, Array(SampleInput.safetensors(20).prefix(100))).status == 400)
            let second = try begin(life, length: nil)
            #expect(try patch(life, second, at: 0, Array(SampleInput.safetensors(20).prefix(100))).status == 204)
            let store = life.facilities.store
            _ = try store.createWork("orphan")
            let staged = try store.stage()
            try store.publishInput(staged, as: String(repeating: "0", count: 64))
            #expect(folder.entries("work").count == 2)
        }
        let life = try Facilities.test(folder.path)
        let swept = try Recovery(store: life.store, catalogue: life.catalogue).run()
        #expect(swept.map(\.count) == [0, 1, 1])
        #expect(folder.entries("work").count == 1)
        #expect(folder.entries("inputs").isEmpty)
    }
}
