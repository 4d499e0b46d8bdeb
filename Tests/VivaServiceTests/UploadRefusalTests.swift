import Catalogue
import Foundation
import HTTPServer
import Testing

@testable import VivaService

/// What a refused request leaves of an upload, and what its answer says.
@Suite struct UploadRefusalTests {
    private let folder = DataFolder()

    private func send(
        _ service: KeyedService, _ request: String, _ key: String, _ fields: [String], _ body: [UInt8] = []
    ) throws -> KeyedService.Reply {
        let parts = request.split(separator: " ").map(String.init)
        let all = ["Tus-Resumable: 1.0.0", "Content-Type: application/offset+octet-stream"] + fields
        return try service.send(parts[0], parts[1], key: key, fields: all, body: body)
    }

    private func begin(_ life: TestLife, _ query: String = "") throws -> String {
        try #require(try life.tus("POST /v1/uploads\(query)", ["Upload-Defer-Length: 1"]).fields["location"])
    }

    @Test func aLateLengthThatContradictsTheHeaderEndsTheUpload() throws {
        let life = try TestLife(folder.path)
        let bytes = SampleInput.safetensors(64)
        let path = try begin(life, "?method=nf4")
        #expect(try life.tus("PATCH \(path)", ["Upload-Offset: 0"], Array(bytes[..<1000])).status == 204)
        let late = ["Upload-Offset: 1000", "Upload-Length: \(1 << 40)"]
        let refused = try life.tus("PATCH \(path)", late, Array(bytes[1000...]))
        #expect(refused.status == 400)
        #expect(refused.code == "safetensors.tail_bytes")
        #expect(try life.tus("HEAD \(path)").status == 404)
        #expect(folder.entries("work").isEmpty)
    }

    @Test func aLateLengthThatHasNoRoomIsNotNoted() throws {
        let life = try TestLife(folder.path)
        let bytes = SampleInput.safetensors(64)
        let path = try begin(life)
        #expect(try life.tus("PATCH \(path)", ["Upload-Offset: 0"], Array(bytes[..<4])).status == 204)
        let late = ["Upload-Offset: 4", "Upload-Length: \(1 << 44)"]
        #expect(try life.tus("PATCH \(path)", late, Array(bytes[4...])).status == 507)
        let head = try life.tus("HEAD \(path)")
        #expect(head.fields["upload-offset"] == "4")
        #expect(head.fields["upload-defer-length"] == "1")
        let right = ["Upload-Offset: 4", "Upload-Length: \(bytes.count)"]
        #expect(try life.tus("PATCH \(path)", right, Array(bytes[4...])).fields["content-location"] != nil)
    }

    /// The artifact does not fit, which its header shows: the quota is named, and the upload waits for room.
    @Test(arguments: [1000, 16_000, .max]) func aQuotaIsNamedAsWhatIsFull(_ count: Int) throws {
        try KeyedService.with { (service) throws in
            let key = try service.key("narrow", bytes: 2000).key
            let bytes = SampleInput.safetensors(64)
            let length = ["Upload-Length: \(bytes.count)"]
            let begun = try send(service, "POST /v1/uploads?method=int8", key, length)
            let path = try #require(begun.field("Location"))
            let body = Array(bytes.prefix(count))
            let refused = try send(service, "PATCH \(path)", key, ["Upload-Offset: 0"], body)
            #expect(refused.status == 403 && refused.code == "quota.bytes", "\(refused.text)")
            let head = try send(service, "HEAD \(path)", key, [])
            #expect(head.status == 200 && head.field("Upload-Offset") == "0")
        }
    }

    @Test func aNewUploadCountsOnce() throws {
        try KeyedService.with { (service) throws in
            let (key, id) = try service.key("k", bytes: 15_000)
            let length = ["Upload-Length: 10000"]
            #expect(try send(service, "POST /v1/uploads", key, length).status == 201)
            #expect(try service.catalogue.usage(of: id).bytes == 10_000)
            let refused = try send(service, "POST /v1/uploads", key, length)
            #expect(refused.code == "quota.bytes" && refused.json["used"] as? Int == 10_000)
            #expect(try send(service, "POST /v1/uploads", key, ["Upload-Length: 5000"]).status == 201)
        }
    }

    /// Where the length is unknown, room is taken in steps; the last bytes do not need room for a whole one.
    @Test func aQuotaIsUsedToItsEnd() throws {
        try KeyedService.with { (service) throws in
            let bytes = SampleInput.safetensors(64)
            let (key, id) = try service.key("k", bytes: bytes.count + 100)
            let begun = try send(service, "POST /v1/uploads", key, ["Upload-Defer-Length: 1"])
            let path = try #require(begun.field("Location"))
            let first = Array(bytes[..<10_000])
            #expect(try send(service, "PATCH \(path)", key, ["Upload-Offset: 0"], first).status == 204)
            #expect(try service.catalogue.usage(of: id).bytes == 10_000)
            let late = ["Upload-Offset: 10000", "Upload-Length: \(bytes.count)"]
            #expect(try send(service, "PATCH \(path)", key, late, Array(bytes[10_000...])).status == 204)
            #expect(try service.catalogue.usage(of: id).bytes == bytes.count)
            let second = try send(service, "POST /v1/uploads", key, ["Upload-Defer-Length: 1"])
            let other = try #require(second.field("Location"))
            #expect(try send(service, "PATCH \(other)", key, ["Upload-Offset: 0"], first).code == "quota.bytes")
        }
    }
}
