import ArtifactStore
import Catalogue
import Foundation
import Jobs
import OpenSSL
import Quantization
import Tensors
import Testing

@testable import VivaService

/// A data folder that goes with its owner.
final class DataFolder {
    let path = FileManager.default.temporaryDirectory.appending(path: "viva-data-\(UUID().uuidString)").path

    deinit {
        // Left to the system's own sweep where it fails.
        try? FileManager.default.removeItem(atPath: path)
    }

    /// What lies in one of its folders.
    func entries(_ name: String) -> [String] {
        (try? FileManager.default.contentsOfDirectory(atPath: "\(path)/\(name)")) ?? []
    }
}

/// Small files as their formats want them.
enum SampleInput {
    /// One float32 tensor of `rows` times 64 in safetensors.
    static func safetensors(_ rows: Int = 8, name: String = "a.weight", seed: Int = 1) -> [UInt8] {
        let data = raw(rows, seed: seed)
        let entry = TensorEntry(
            name: name, type: .f32, shape: [rows, 64], elementCount: rows * 64, bytes: 0..<data.count)
        let json = SafetensorsHeader.serialize(entries: [entry], metadata: [])
        return SafetensorsHeader.file(prefixing: json, paddedTo: (json.count + 7) / 8 * 8) + data
    }

    static func raw(_ rows: Int, seed: Int = 1) -> [UInt8] {
        (0..<rows * 64).flatMap { index in
            let bits = Float((index &* 7919 &+ seed) % 1000 - 500).bitPattern
            return (0..<4).map { UInt8(truncatingIfNeeded: bits >> (8 * $0)) }
        }
    }

    /// SHA-256 in hexadecimal by coreutils, which nobody here wrote.
    static func sha256(_ bytes: [UInt8]) throws -> String {
        let file = FileManager.default.temporaryDirectory.appending(path: "viva-hash-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: file) }
        try Data(bytes).write(to: file)
        let process = Process()
        let pipe = Pipe()
        process.executableURL = URL(filePath: "/usr/bin/sha256sum")
        process.arguments = [file.path]
        process.standardOutput = pipe
        try process.run()
        let output = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return String(decoding: output.prefix(64), as: UTF8.self)
    }

    static let npz = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Fixtures/inputs")
}

@Suite struct InputRouteTests {
    private let folder = DataFolder()

    @Test func anInputIsNamedByItsBytesAndDescribed() throws {
        let life = try TestLife(folder.path)
        let bytes = SampleInput.safetensors(5)
        let name = "sha256:\(try SampleInput.sha256(bytes))"
        let made = try life.send("POST /v1/inputs", [], bytes)
        #expect(made.status == 201)
        #expect(made.fields["location"] == "/v1/inputs/\(name)")
        #expect(made.json["id"] as? String == name)
        #expect(made.json["bytes"] as? Int == bytes.count)
        #expect(made.json["format"] as? String == "safetensors")
        let tensors = try #require(made.json["tensors"] as? [[String: Any]])
        #expect(tensors.count == 1)
        #expect(tensors[0]["name"] as? String == "a.weight")
        #expect(tensors[0]["shape"] as? [Int] == [5, 64])
        #expect(tensors[0]["dtype"] as? String == "F32")
        #expect(tensors[0]["bytes"] as? Int == 5 * 64 * 4)
        #expect(try life.send("POST /v1/inputs", [], bytes).status == 200)
        let again = try life.send("GET /v1/inputs/\(name)")
        #expect(again.status == 200)
        #expect(again.json["tensor_count"] as? Int == 1)
        #expect(try life.send("HEAD /v1/inputs/\(name)").body.isEmpty)
        #expect(folder.entries("inputs") == [String(name.dropFirst(7))])
        #expect(folder.entries("staging").isEmpty)
        let listed = try life.send("GET /v1/inputs?limit=1").json
        #expect((listed["items"] as? [[String: Any]])?.map { $0["id"] as? String } == [name])
        #expect(try life.send("DELETE /v1/inputs/\(name)").status == 204)
        #expect(try life.send("GET /v1/inputs/\(name)").code == "input.not_found")
        #expect(try life.send("DELETE /v1/inputs/\(name)").code == "input.not_found")
        #expect(folder.entries("inputs").isEmpty)
    }

    @Test func whoHasItNeedNotSendItAgain() throws {
        let life = try TestLife(folder.path)
        let bytes = SampleInput.safetensors()
        let path = "/v1/inputs/sha256:\(try SampleInput.sha256(bytes))"
        #expect(try life.send("PUT \(path)", [], bytes).status == 201)
        // No byte of the body is sent, and none is asked for.
        let known = try life.send("PUT \(path)", ["Expect: 100-continue"], length: bytes.count)
        #expect(known.status == 200)
        #expect(known.fields["location"] == path)
    }

    /// RFC 9110 section 13.1: the tag of an input is its digest. Other refusals come first (section 13.2.1).
    @Test func anInputChangesOnlyWhereItsConditionsHold() throws {
        let life = try TestLife(folder.path)
        let bytes = SampleInput.safetensors()
        let hex = try SampleInput.sha256(bytes)
        let (path, tag) = ("/v1/inputs/sha256:\(hex)", "\"sha256-\(hex)\"")
        let future = "If-Unmodified-Since: Fri, 01 Jan 2100 00:00:00 GMT"
        let past = "If-Unmodified-Since: Sat, 01 Jan 2000 00:00:00 GMT"
        // Nothing is there: no tag matches, not even any.
        for field in ["If-Match: *", "If-Match: \(tag)"] {
            #expect(try life.send("PUT \(path)", [field, "Expect: 100-continue"], length: bytes.count).status == 412)
            #expect(try life.send("DELETE \(path)", [field]).code == "input.not_found")
        }
        #expect(try life.send("PUT \(path)", ["If-None-Match: *"], bytes).status == 201)
        for field in ["If-None-Match: *", "If-None-Match: W/\(tag)", "If-Match: \"sha256-0\"", past] {
            for method in ["PUT", "DELETE"] {
                let refused = try life.send("\(method) \(path)", [field], method == "PUT" ? bytes : [])
                #expect(refused.status == 412 && refused.code == "precondition.failed", "\(method) \(field)")
            }
        }
        #expect(try life.send("PUT \(path)?dtype=float32", ["If-Match: \"x\""], bytes).status == 400)
        for field in ["If-Match: *", "If-Match: \"x\", \(tag)", "If-None-Match: \"x\"", future] {
            #expect(try life.send("PUT \(path)", [field], bytes).status == 200, "\(field)")
        }
        let order = #"{"input":"sha256:\#(hex)","method":"nf4"}"#
        let job = try life.send("POST /v1/jobs", ["Content-Type: application/json"], Array(order.utf8))
        let id = try #require(job.json["id"] as? String)
        #expect(try life.send("DELETE \(path)", ["If-Match: \"x\""]).code == "input.in_use")
        // Jobs have no tag: any is all that can be asked of them.
        for field in ["If-Match: \"x\"", "If-None-Match: *"] {
            #expect(try life.send("DELETE /v1/jobs/\(id)", [field]).code == "precondition.failed")
            #expect(try life.send("DELETE /v1/jobs/none", [field]).code == "job.not_found")
        }
        #expect(try life.send("GET /v1/jobs/\(id)").json["state"] as? String == "queued")
        #expect(try life.send("DELETE /v1/jobs/\(id)", ["If-Match: *"]).status == 202)
        #expect(try life.send("DELETE \(path)", ["If-Match: \(tag)"]).status == 204)
        #expect(folder.entries("inputs").isEmpty)
    }

    @Test func anUploadHasNoEntityTag() throws {
        let life = try TestLife(folder.path)
        let made = try life.tus("POST /v1/uploads", ["Upload-Length: 8"])
        let path = try #require(made.fields["location"])
        for field in ["If-Match: \"x\"", "If-None-Match: *"] {
            let piece = try life.tus("PATCH \(path)", ["Upload-Offset: 0", field], [1, 2])
            #expect(piece.status == 412 && piece.code == "precondition.failed" && piece.fields["tus-resumable"] != nil)
            #expect(try life.tus("PATCH \(path)", ["Upload-Offset: 1", field], [1]).code == "upload.offset_mismatch")
            #expect(try life.tus("DELETE \(path)", [field]).code == "precondition.failed")
            #expect(try life.tus("DELETE /v1/uploads/none", [field]).code == "upload.not_found")
        }
        #expect(try life.send("GET \(path)").json["offset"] as? Int == 0)
        #expect(try life.tus("PATCH \(path)", ["Upload-Offset: 0", "If-Match: *"], [1, 2]).status == 204)
        #expect(try life.tus("DELETE \(path)", ["If-None-Match: \"x\""]).status == 204)
    }

    @Test func otherBytesThanTheNamedOnesAreNotKept() throws {
        let life = try TestLife(folder.path)
        let bytes = SampleInput.safetensors()
        let other = try SampleInput.sha256(SampleInput.safetensors(seed: 2))
        let answer = try life.send("PUT /v1/inputs/sha256:\(other)", [], bytes)
        #expect(answer.status == 400)
        #expect(answer.code == "digest.mismatch")
        #expect(answer.json["found"] as? String == (try SampleInput.sha256(bytes)))
        #expect(try life.send("PUT /v1/inputs/sha256:AB", [], bytes).code == "input.invalid_digest")
        #expect(folder.entries("inputs").isEmpty && folder.entries("staging").isEmpty)
    }

    @Test(arguments: [
        (Array("%PDF-1.7 and more of it".utf8), "container.unknown"), ([], "input.truncated"),
        (Array("GGUF and more of it, which is no version".utf8), "gguf."),
        (Array(SampleInput.safetensors().dropLast(3)), "safetensors."),
        (SampleInput.safetensors() + [0], "safetensors."),
    ])
    func malformedBytesAreRefused(_ bytes: [UInt8], _ code: String) throws {
        let life = try TestLife(folder.path)
        let answer = try life.send("POST /v1/inputs", [], bytes)
        #expect(answer.status == 400)
        #expect(answer.code?.hasPrefix(code) == true)
        #expect(folder.entries("inputs").isEmpty && folder.entries("staging").isEmpty)
    }

    /// Refused from the header: the rest is never sent, and yet the answer comes.
    @Test func aBrokenHeaderIsRefusedBeforeTheRestIsRead() throws {
        let life = try TestLife(folder.path)
        let connection = try TestConnection(life.port)
        let bytes = Array(SampleInput.safetensors(400).prefix(90_000))
        try connection.write("POST /v1/inputs", ["Content-Length: 1000000"], bytes)
        #expect(try connection.answer().status == 400)
    }

    @Test func aChunkedBodyThatEndsEarlyOrLateIsRefused() throws {
        let life = try TestLife(folder.path)
        for (bytes, code) in [
            (Array(SampleInput.safetensors().dropLast(3)), "input.truncated"),
            (SampleInput.safetensors() + [0], "input.trailing_bytes"),
        ] {
            let connection = try TestConnection(life.port)
            let chunk = Array("\(String(bytes.count, radix: 16))\r\n".utf8) + bytes + Array("\r\n0\r\n\r\n".utf8)
            try connection.write("POST /v1/inputs", ["Transfer-Encoding: chunked", "Connection: close"], chunk)
            #expect(try connection.answer().code == code)
        }
    }

    @Test func rawBytesAreWhatTheirSenderSays() throws {
        let life = try TestLife(folder.path)
        let bytes = SampleInput.raw(4)
        let made = try life.send("POST /v1/inputs?dtype=float32&shape=4,64", [], bytes)
        #expect(made.status == 201)
        #expect(made.json["format"] as? String == "raw")
        let name = try #require(made.json["id"] as? String)
        // Said anew without the bytes.
        let again = try life.send(
            "PUT /v1/inputs/\(name)?dtype=float16&shape=8,64", ["Expect: 100-continue"], length: 1)
        #expect(again.status == 200)
        let tensors = try #require(try life.send("GET /v1/inputs/\(name)").json["tensors"] as? [[String: Any]])
        #expect(tensors[0]["shape"] as? [Int] == [8, 64])
        #expect(try life.send("PUT /v1/inputs/\(name)?dtype=float16&shape=9,64", length: 1).status == 400)
        #expect(try life.send("POST /v1/inputs?dtype=float32&shape=5,64", [], bytes).status == 400)
        #expect(try life.send("POST /v1/inputs?dtype=float32", [], bytes).code == "request.invalid_option")
        #expect(try life.send("POST /v1/inputs?method=nf4", [], bytes).code == "request.invalid_option")
    }

    @Test func tensorsComeInPages() throws {
        let life = try TestLife(folder.path)
        let entries = (0..<5).map {
            TensorEntry(name: "t\($0)", type: .f32, shape: [1], elementCount: 1, bytes: 4 * $0..<4 * $0 + 4)
        }
        let json = SafetensorsHeader.serialize(entries: entries, metadata: [])
        let bytes = SafetensorsHeader.file(prefixing: json, paddedTo: json.count) + [UInt8](repeating: 0, count: 20)
        let name = try #require(try life.send("POST /v1/inputs", [], bytes).json["id"] as? String)
        var names: [String] = []
        var query = "limit=2"
        while true {
            let page = try life.send("GET /v1/inputs/\(name)?\(query)").json
            names += (page["tensors"] as? [[String: Any]] ?? []).compactMap { $0["name"] as? String }
            guard let next = page["next"] as? String else { break }
            query = "limit=2&cursor=\(next)"
        }
        #expect(names == ["t0", "t1", "t2", "t3", "t4"])
        #expect(try life.send("GET /v1/inputs/\(name)?cursor=-1").code == "request.invalid_cursor")
        let beyond = try life.send("GET /v1/inputs/\(name)?cursor=\(Int.max)")
        #expect(beyond.status == 200)
        #expect((beyond.json["tensors"] as? [Any])?.isEmpty == true)
    }

    @Test func anInputThatAJobNeedsStays() throws {
        let life = try TestLife(folder.path)
        let name = try #require(
            try life.send("POST /v1/inputs", [], SampleInput.safetensors()).json["id"] as? String)
        _ = try life.facilities.catalogue.enqueue(
            JobRecord(id: "j", owner: "local", input: name, recipe: "{}", artifact: "x", createdAt: 1))
        let refused = try life.send("DELETE /v1/inputs/\(name)")
        #expect(refused.status == 409)
        #expect(refused.json["job"] as? String == "j")
        #expect(try life.send("GET /v1/inputs/\(name)").status == 200)
    }

    @Test func limitsAndAFullDiskAreNamed() throws {
        var limits = SessionLimits()
        limits.maximumInputBytes = 1000
        let life = try TestLife(folder.path, limits: limits)
        let large = try life.send("POST /v1/inputs", [], SampleInput.safetensors())
        #expect(large.status == 413)
        #expect(large.code == "limit.input_bytes")
        let other = DataFolder()
        let full = try TestLife(other.path, freeBytesFloor: 1 << 60)
        let answer = try full.send("POST /v1/inputs", [], SampleInput.safetensors())
        #expect(answer.status == 507)
        #expect(answer.code == "storage.full")
        #expect(other.entries("staging").isEmpty)
    }

    /// Two owners: bytes are shared underneath, and neither sees, guesses or loses what is the other's.
    @Test func ownersDoNotMeet() throws {
        let life = try TestLife(folder.path, authentication: .required)
        let (ann, bob) = (try key(life, "ann"), try key(life, "bob"))
        let bytes = SampleInput.safetensors()
        let path = "/v1/inputs/sha256:\(try SampleInput.sha256(bytes))"
        #expect(try life.send("PUT \(path)", [ann], bytes).status == 201)
        for line in ["GET \(path)", "DELETE \(path)"] {
            #expect(try life.send(line, [bob]).code == "input.not_found")
        }
        #expect((try life.send("GET /v1/inputs", [bob]).json["items"] as? [Any])?.isEmpty == true)
        // A digest proves nothing: all bytes are wanted, and other ones refused.
        #expect(try life.send("PUT \(path)", [bob], Array(bytes.dropLast(4)), length: bytes.count).status == 400)
        #expect(try life.send("PUT \(path)", [bob], bytes).status == 201)
        #expect(folder.entries("inputs").count == 1)
        #expect(try life.send("DELETE \(path)", [ann]).status == 204)
        #expect(folder.entries("inputs").count == 1)
        #expect(try life.send("GET \(path)", [bob]).status == 200)
        #expect(try life.send("DELETE \(path)", [bob]).status == 204)
        #expect(folder.entries("inputs").isEmpty)
    }

    @Test func anUploadIsItsOwnersAlone() throws {
        let life = try TestLife(folder.path, authentication: .required)
        let (ann, bob) = (try key(life, "ann"), try key(life, "bob"))
        let bytes = SampleInput.safetensors()
        let path = try #require(
            try life.tus("POST /v1/uploads", [ann, "Upload-Length: \(bytes.count)"]).fields["location"])
        for line in ["HEAD \(path)", "DELETE \(path)", "PATCH \(path)"] {
            #expect(try life.tus(line, [bob, "Upload-Offset: 0"]).status == 404, "\(line)")
        }
        #expect(try life.send("GET \(path)", [bob]).code == "upload.not_found")
        #expect(try life.tus("PATCH \(path)", ["Upload-Offset: 0"], bytes).status == 401)
        let last = try life.tus("PATCH \(path)", [ann, "Upload-Offset: 0"], bytes)
        let result = try #require(last.fields["content-location"])
        #expect(try life.send("GET \(result)", [ann]).status == 200)
        #expect(try life.send("GET \(result)", [bob]).status == 404)
    }

    /// The field of a new key.
    private func key(_ life: TestLife, _ name: String) throws -> String {
        let key = try AccessKey()
        let isNew = try life.facilities.catalogue.insert(
            KeyRecord(
                id: key.id, name: name, hash: key.hash().hex, scopes: "read,write", maximumBytes: nil,
                maximumWork: nil, createdAt: 1))
        #expect(isNew)
        return "Authorization: Bearer \(key.text)"
    }
}

/// What is recorded beside the offset of an upload.
@Suite struct InputSinkStateTests {
    @Test func aStateThatWasRecordedComesBack() {
        for finding in [
            nil, InputInspection.Finding(container: .npz, totalBytes: nil),
            .init(container: .safetensors, totalBytes: 77),
        ] as [InputInspection.Finding?] {
            let state = InputSinkState(finding: finding, hash: [1, 2, 3])
            #expect(InputSinkState(state.bytes) == state)
        }
        #expect(InputSinkState([]) == nil)
        #expect(InputSinkState([2] + [UInt8](repeating: 0, count: 20)) == nil)
        #expect(InputSinkState([1] + [UInt8](repeating: 0, count: 8) + [9]) == nil)
    }
}
