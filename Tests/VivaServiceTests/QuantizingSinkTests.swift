import ArtifactStore
import Catalogue
import Foundation
import HTTPServer
import HTTPTypes
import Logging
import Quantization
import Tensors
import Testing

@testable import VivaService

/// An upload that is quantized while it arrives, over any number of requests and lives of the service.
@Suite final class QuantizingSinkTests {
    private let folder = FileManager.default.temporaryDirectory.appending(path: "viva-sink-\(UUID().uuidString)")

    deinit {
        // Left to the system's own sweep where it fails.
        try? FileManager.default.removeItem(at: folder)
    }

    /// A service's life: everything that is opened, on the same data folder.
    private func life(_ name: String = "a") throws -> Facilities {
        let path = folder.appending(path: name).path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return try Facilities.test(path)
    }

    private func sink(
        _ life: Facilities, _ id: String, _ options: [(String, String)]
    ) throws -> QuantizingSink {
        let record = try #require(try life.catalogue.upload(id, owner: "local"))
        return try QuantizingSink(
            life, record, QuantizeRequest(options, accept: nil), state: life.catalogue.uploadState(id),
            permit: life.quotas.permit(.anybody(OwnerLimits())))
    }

    private func begin(_ life: Facilities, _ id: String, length: Int?) throws {
        try life.catalogue.insert(
            UploadRecord(
                id: id, owner: "local", length: length, metadata: "", query: "", createdAt: 0, expiresAt: 1 << 60))
    }

    /// Gives `sink` the bytes of a range in pieces.
    private func feed(_ sink: QuantizingSink, _ input: [UInt8], upTo end: Int, piece: Int = .max) throws {
        while sink.offset < end {
            let start = sink.offset
            let count = try sink.take { (span) throws(Problem) in
                let count = min(span.byteCount, piece, end - start)
                for index in 0..<count {
                    span.storeBytes(of: input[start + index], toByteOffset: index, as: UInt8.self)
                }
                return count
            }
            #expect(count > 0 && sink.offset == start + count)
        }
    }

    private func checkpoint(_ sink: QuantizingSink, _ life: Facilities, _ id: String) throws {
        let state = try sink.checkpoint()
        let isAdvanced = try life.catalogue.advanceUpload(
            id, to: sink.offset, reserved: sink.reservedBytes, state: state, expiresAt: 1 << 60)
        #expect(isAdvanced)
    }

    private func published(_ location: String, _ name: String) throws -> (content: Data, report: Data) {
        let place = folder.appending(path: "\(name)/artifacts/\(location.dropFirst("/v1/artifacts/".count))")
        return (
            try Data(contentsOf: place.appending(path: "content")),
            try Data(contentsOf: place.appending(path: "report.json"))
        )
    }

    private func weights(_ rows: Int, seed: Int) -> [UInt8] {
        (0..<rows * 64).flatMap { index in
            let bits = Float((index &* 7919 &+ seed) % 1000 - 500).bitPattern
            return (0..<4).map { UInt8(truncatingIfNeeded: bits >> (8 * $0)) }
        }
    }

    /// Two weights; the second one's rows are no multiple of 8, which AWQ's layout cannot hold.
    private func input(rows: Int = 300) -> [UInt8] {
        let (first, second) = (weights(rows, seed: 1), weights(77, seed: 2))
        let entries = [
            TensorEntry(
                name: "a.weight", type: .f32, shape: [rows, 64], elementCount: rows * 64, bytes: 0..<first.count),
            TensorEntry(
                name: "b.weight", type: .f32, shape: [77, 64], elementCount: 4928,
                bytes: first.count..<first.count + second.count),
        ]
        let json = SafetensorsHeader.serialize(entries: entries, metadata: [])
        return SafetensorsHeader.file(prefixing: json, paddedTo: (json.count + 7) / 8 * 8) + first + second
    }

    /// What the sink makes of the input in one go.
    private func whole(_ input: [UInt8], _ options: [(String, String)]) throws -> (content: Data, report: Data) {
        let life = try life("whole")
        try begin(life, "w", length: input.count)
        let sink = try sink(life, "w", options)
        try feed(sink, input, upTo: input.count)
        return try published(try sink.seal(expiresAt: 1 << 60), "whole")
    }

    @Test(arguments: [
        [("method", "nf4")], [("method", "nf4"), ("mode", "reference")], [("method", "int8")],
        [("method", "int4"), ("group_size", "32")], [("method", "fp8")],
        [("method", "int4"), ("format", "awq"), ("group_size", "32")],
        [("method", "awq"), ("calibration", "none"), ("group_size", "-1"), ("mode", "reference")],
    ])
    func livesDoNotShow(_ options: [(String, String)]) throws {
        let input = input(rows: options.contains { $0.1 == "awq" } ? 304 : 300)
        let expected = try whole(input, options)
        do {
            let life = try life()
            try begin(life, "u", length: input.count)
        }
        // In the header, between the tensors, twice at one place; after each some bytes more that nobody acknowledged.
        for cut in [5, 40, 3000, 3000, 77_100, 90_000, input.count] {
            let life = try life()
            let sink = try sink(life, "u", options)
            try feed(sink, input, upTo: cut, piece: 20_011)
            try checkpoint(sink, life, "u")
            try feed(sink, input, upTo: min(input.count, cut + 9000), piece: 4001)
        }
        let life = try life()
        let sink = try sink(life, "u", options)
        #expect(sink.offset == input.count && sink.reservedBytes > 0)
        let location = try sink.seal(expiresAt: 5)
        let made = try published(location, "a")
        #expect(made.content == expected.content)
        #expect(made.report == expected.report)
        let record = try #require(try life.catalogue.upload("u", owner: "local"))
        #expect(record.location == location && record.reserved == 0 && record.expiresAt == 5)
        let id = String(location.dropFirst("/v1/artifacts/".count))
        #expect(try life.catalogue.artifact(id, owner: "local")?.inputBytes == input.count)
        #expect(!FileManager.default.fileExists(atPath: folder.appending(path: "a/work/u").path))
    }

    /// A service that dies while it seals has acknowledged nothing of it, and the artifact is what it was to be.
    @Test func aSealThatDiedIsDoneAgain() throws {
        let input = input()
        let expected = try whole(input, [("method", "nf4")])
        do {
            let life = try life()
            try begin(life, "u", length: nil)
            let sink = try sink(life, "u", [("method", "nf4")])
            try feed(sink, input, upTo: 80_000)
            try checkpoint(sink, life, "u")
            try feed(sink, input, upTo: input.count)
            // Its row goes away under it, as if the process had died before it was written.
            let other = try Catalogue(path: folder.appending(path: "a/catalogue.sqlite").path)
            _ = try other.removeUpload("u", owner: "local")
            _ = try? sink.seal(expiresAt: 5)
            try? begin(life, "u", length: nil)
        }
        // The artifact stands, and the same bytes again find it.
        let life = try life()
        let sink = try sink(life, "u", [("method", "nf4")])
        try feed(sink, input, upTo: input.count)
        #expect(try published(try sink.seal(expiresAt: 5), "a").content == expected.content)
    }

    /// A header that was never acknowledged may be another one the next time.
    @Test func whatWasNotAcknowledgedMayChange() throws {
        let input = input()
        let long = weights(400, seed: 3)
        var other = SafetensorsHeader.file(
            prefixing: SafetensorsHeader.serialize(
                entries: [
                    TensorEntry(
                        name: "c.weight", type: .f32, shape: [400, 64], elementCount: 25_600, bytes: 0..<long.count)
                ], metadata: []), paddedTo: 96)
        other += long
        let expected = try whole(input, [("method", "int8")])
        do {
            let life = try life()
            try begin(life, "u", length: nil)
            let sink = try sink(life, "u", [("method", "int8")])
            try feed(sink, other, upTo: other.count)
        }
        let life = try life()
        let sink = try sink(life, "u", [("method", "int8")])
        #expect(sink.offset == 0)
        try feed(sink, input, upTo: input.count)
        #expect(try published(try sink.seal(expiresAt: 5), "a").content == expected.content)
    }

    @Test func aConnectionThatBreaksLosesNothing() throws {
        let input = input()
        let life = try life()
        try begin(life, "u", length: input.count)
        do {
            let sink = try sink(life, "u", [("method", "nf4")])
            try feed(sink, input, upTo: 50_000, piece: 10_000)
            #expect(throws: TransferError<Problem>.self) {
                try sink.take { (_) throws(Problem) in throw Problem(.badRequest, code: "body.broken", detail: "gone") }
            }
            try checkpoint(sink, life, "u")
        }
        let sink = try sink(life, "u", [("method", "nf4")])
        #expect(sink.offset == 50_000)
        try feed(sink, input, upTo: input.count)
        let expected = try whole(input, [("method", "nf4")])
        #expect(try published(try sink.seal(expiresAt: 5), "a").content == expected.content)
    }

    private func code(_ body: () throws -> Void) -> String? {
        do {
            try body()
            return nil
        } catch let problem as Problem {
            return problem.code
        } catch let error as TransferError<Problem> {
            return Problem(error).code
        } catch {
            return "\(error)"
        }
    }

    @Test(arguments: [
        [("method", "awq")], [("method", "int4"), ("format", "awq"), ("calibration", "data")],
        [("method", "int8"), ("format", "bitsandbytes,mlx")], [("budget_bytes", "100000")],
    ])
    func whatDoesNotStreamIsRefused(_ options: [(String, String)]) throws {
        let life = try life()
        try begin(life, "u", length: 100)
        #expect(code { _ = try sink(life, "u", options) } == "upload.not_streaming")
        #expect(!FileManager.default.fileExists(atPath: folder.appending(path: "a/work/u").path))
    }

    @Test func anArchiveIsRefusedWithItsFirstBytes() throws {
        let life = try life()
        try begin(life, "u", length: nil)
        let sink = try sink(life, "u", [("method", "nf4")])
        #expect(code { try feed(sink, [0x50, 0x4B, 3, 4, 0, 0, 0], upTo: 7) } == "upload.not_streaming")
    }

    @Test func whatIsWrongWithTheWeightsIsTold() throws {
        var input = input()
        input.replaceSubrange(60_000..<60_004, with: [0, 0, 0xC0, 0x7F])
        let life = try life()
        try begin(life, "u", length: nil)
        let sink = try sink(life, "u", [("method", "nf4")])
        #expect(
            code {
                try feed(sink, input, upTo: input.count)
                _ = try sink.checkpoint()
            } == "tensor.non_finite")
    }

    /// In the last bytes of a piece behind which more come: found as they are taken, or while they are made durable.
    @Test func whatIsFoundLateEndsTheUploadToo() throws {
        let life = try TestLife(folder.appending(path: "routes").path)
        var bytes = SampleInput.safetensors(5000)
        bytes.replaceSubrange(bytes.count - 2000..<bytes.count - 1996, with: [0, 0, 0xC0, 0x7F])
        let begun = try life.tus("POST /v1/uploads?method=int8", ["Upload-Length: \(bytes.count)"])
        let path = try #require(begun.fields["location"])
        #expect(try life.tus("PATCH \(path)", ["Upload-Offset: 0"], Array(bytes[..<700_000])).status == 204)
        let refused = try life.tus("PATCH \(path)", ["Upload-Offset: 700000"], Array(bytes[700_000...].dropLast(300)))
        #expect(refused.code == "tensor.non_finite")
        #expect(try life.tus("HEAD \(path)").status == 404)
    }

    @Test func aStateThatDoesNotFitIsRefused() throws {
        let input = input()
        let life = try life()
        try begin(life, "u", length: input.count)
        do {
            let sink = try sink(life, "u", [("method", "nf4")])
            try feed(sink, input, upTo: 50_000)
            try checkpoint(sink, life, "u")
        }
        #expect(code { _ = try sink(life, "u", [("method", "int8")]) } == "snapshot.foreign")
        let record = try #require(try life.catalogue.upload("u", owner: "local"))
        let state = try #require(try life.catalogue.uploadState("u"))
        let wanted = try QuantizeRequest([("method", "nf4")], accept: nil)
        let permit = try life.quotas.permit(.anybody(OwnerLimits()))
        func refusal(_ record: UploadRecord, _ state: [UInt8]?) -> String? {
            code { _ = try QuantizingSink(life, record, wanted, state: state, permit: permit) }
        }
        for place in [0, 1, 8, 9, 10, 50, state.count - 1] {
            var other = state
            other[place] ^= 1
            #expect(refusal(record, other) == "snapshot.damaged")
        }
        for count in [0, 1, 41, 42, state.count - 1] {
            #expect(refusal(record, Array(state.prefix(count))) == "snapshot.damaged")
        }
        var elsewhere = record
        elsewhere.offset += 1
        #expect(refusal(elsewhere, state) == "snapshot.contradiction")
        #expect(refusal(record, nil) == "snapshot.contradiction")
    }
}
