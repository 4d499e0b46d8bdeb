import Foundation
import Testing

/// Every bad input has a clear answer, leaves nothing behind, and the service lives on.
@Suite struct BadInputTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let query: String
        let body: @Sendable () -> Data
        let status: Int
        let code: String
        var arguments: [String] = []

        var testDescription: String { name }
    }

    private static func poisoned(_ index: Int, _ value: Float) -> Data {
        var values = Inputs.gaussian(64 * 128, seed: 1)
        values[index] = value
        return Inputs.safetensors([("layer.weight", [64, 128], values)])
    }

    private static func input(_ name: String) -> Data {
        // A missing file is seen: nothing is answered with another code.
        (try? Data(contentsOf: Repository.inputs.appending(path: name))) ?? Data()
    }

    private static let archive = input("stored.npz")
    private static let good = Inputs.safetensors([("weight", [64, 128], Inputs.gaussian(64 * 128, seed: 2))])

    static let cases: [Case] = [
        Case(
            name: "truncated", query: "method=nf4", body: { good.dropLast(10) }, status: 400, code: "input.truncated",
            arguments: ["-H", "Transfer-Encoding: chunked"]),
        Case(
            name: "trailing", query: "method=nf4", body: { good + Data([1]) }, status: 400,
            code: "input.trailing_bytes",
            arguments: ["-H", "Transfer-Encoding: chunked"]),
        Case(name: "NaN", query: "method=nf4", body: { poisoned(77, .nan) }, status: 422, code: "tensor.non_finite"),
        Case(
            name: "Inf", query: "method=int8", body: { poisoned(78, .infinity) }, status: 422, code: "tensor.non_finite"
        ),
        Case(
            name: "large for int8", query: "method=int8", body: { poisoned(5, 70000) }, status: 422,
            code: "tensor.out_of_range"),
        Case(
            name: "large for awq", query: "method=awq&calibration=none", body: { poisoned(5, -70000) }, status: 422,
            code: "tensor.out_of_range"),
        Case(
            name: "cut archive", query: "method=nf4", body: { archive.dropLast() }, status: 400, code: "npz.end_record"
        ),
        Case(
            name: "archive and more", query: "method=nf4", body: { archive + Data([0]) }, status: 400,
            code: "npz.end_record", arguments: ["-H", "Transfer-Encoding: chunked"]),
        Case(
            name: "changed archive", query: "method=nf4",
            body: {
                var changed = archive
                changed[changed.startIndex + 3000] ^= 1
                return changed
            }, status: 400, code: "npz.crc_mismatch"),
        Case(
            name: "bomb", query: "method=nf4", body: { input("bomb.npz") }, status: 413, code: "npz.ratio_too_large"),
        Case(
            name: "pickled array", query: "method=nf4", body: { input("pickled.npz") }, status: 400,
            code: "npy.object_type"),
        Case(
            name: "FP8 NaN", query: "method=int8&dtype=float8_e4m3fn&shape=2,64",
            body: { Data(repeating: 0x38, count: 100) + Data(repeating: 0x7F, count: 28) }, status: 422,
            code: "tensor.non_finite"),
        Case(
            name: "FP8 with a scale for all", query: "method=nf4",
            body: {
                Inputs.safetensors(
                    header: "{\"m.weight\":{\"dtype\":\"F8_E4M3\",\"shape\":[2,64],\"data_offsets\":[4,132]},"
                        + "\"m.weight_scale\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
                    data: Inputs.bytes([0.5]) + Data(repeating: 0x38, count: 128))
            }, status: 422, code: "fp8.scale_unknown"),
        Case(name: "no calibration", query: "method=awq", body: { good }, status: 422, code: "calibration.missing"),
        Case(name: "no method", query: "", body: { good }, status: 400, code: "recipe.method_missing"),
        Case(name: "unknown method", query: "method=int3", body: { good }, status: 400, code: "recipe.unknown_method"),
        Case(
            name: "unknown option", query: "method=nf4&blocksize=64", body: { good }, status: 400,
            code: "recipe.unknown_option"),
        Case(
            name: "best", query: "method=int8&mode=best", body: { good }, status: 422, code: "recipe.mode_unavailable"),
        Case(
            name: "dtype alone", query: "method=nf4&dtype=float32", body: { good }, status: 400,
            code: "request.invalid_option"),
        Case(
            name: "not tensors", query: "method=nf4", body: { Data("hello, this is plain text, not weights".utf8) },
            status: 400, code: ""),
        Case(name: "empty", query: "method=nf4", body: { Data() }, status: 400, code: "input.truncated"),
        Case(
            name: "header over the limit", query: "method=nf4",
            body: { Data([0, 0, 0, 2, 0, 0, 0, 0]) + Data("{".utf8) + Data(repeating: 0x20, count: 1000) },
            status: 413, code: ""),
        Case(
            name: "rank overflow", query: "method=nf4",
            body: {
                let ones = Array(repeating: "1", count: 99).joined(separator: ",")
                return Inputs.safetensors(
                    header: "{\"weight\":{\"dtype\":\"F32\",\"shape\":[\(ones)],\"data_offsets\":[0,4]}}",
                    data: Data(count: 4))
            },
            status: 413, code: ""),
        Case(
            name: "size overflow", query: "method=nf4",
            body: {
                Inputs.safetensors(
                    header: "{\"weight\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807,9223372036854775807],"
                        + "\"data_offsets\":[0,4]}}",
                    data: Data(count: 4))
            },
            status: 400, code: ""),
        Case(
            name: "raw too long", query: "method=nf4&dtype=float32&shape=2,2", body: { Data(count: 17) }, status: 400,
            code: ""),
        Case(
            name: "multipart", query: "method=nf4", body: { good }, status: 415, code: "input.multipart",
            arguments: ["-H", "Content-Type: multipart/form-data; boundary=x"]),
        Case(
            name: "foreign origin", query: "method=nf4", body: { good }, status: 403, code: "origin.foreign",
            arguments: ["-H", "Origin: http://evil.example"]),
        Case(
            name: "rebound host", query: "method=nf4", body: { good }, status: 403, code: "host.not_loopback",
            arguments: ["-H", "Host: evil.example"]),
        Case(
            name: "unknown coding", query: "method=nf4", body: { good }, status: 415, code: "",
            arguments: ["-H", "Content-Encoding: br"]),
        Case(
            name: "damaged gzip", query: "method=nf4", body: { good }, status: 400, code: "",
            arguments: ["-H", "Content-Encoding: gzip"]),
        Case(
            name: "digest mismatch", query: "method=nf4", body: { good }, status: 400, code: "",
            arguments: ["-H", "Repr-Digest: sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"]),
    ]

    @Test func eachIsRefusedAndLeavesNothing() throws {
        let service = try LiveService()
        let folder = try TemporaryFolder()
        for bad in Self.cases {
            let file = try folder.file("body", bad.body())
            let answer = try service.post(file, bad.query, bad.arguments)
            #expect(answer.status == bad.status, "\(bad.name): \(String(decoding: answer.body, as: UTF8.self))")
            #expect(answer.field("Content-Type") == "application/problem+json", "\(bad.name)")
            let problem = try answer.json()
            if !bad.code.isEmpty { #expect(problem["code"] as? String == bad.code, "\(bad.name)") }
            for member in ["type", "title", "detail", "code", "trace_id"] {
                #expect((problem[member] as? String)?.isEmpty == false, "\(bad.name) \(member)")
            }
            #expect(service.filesOnDisk().staging.isEmpty, "\(bad.name)")
            #expect(service.filesOnDisk().artifacts.isEmpty, "\(bad.name)")
        }
        let file = try folder.file("good", Self.good)
        #expect(try service.post(file, "method=nf4").status == 201)
    }

    @Test func theNonFiniteWeightIsNamed() throws {
        let service = try LiveService()
        let folder = try TemporaryFolder()
        let file = try folder.file("body", Self.poisoned(77, .nan))
        let problem = try service.post(file, "method=nf4").json()
        #expect(problem["tensor"] as? String == "layer.weight")
        #expect(problem["index"] as? Int == 77)
    }

    @Test func aClientThatGoesAwayLeavesNothing() throws {
        let service = try LiveService()
        let folder = try TemporaryFolder()
        let half = try folder.file("half", Self.good.prefix(20_000))
        // The head promises more than the client sends before it leaves.
        let answer = try service.post(
            half, "method=nf4", ["-H", "Content-Length: \(Self.good.count)", "--max-time", "1"])
        #expect(answer.curlStatus != 0)
        let deadline = Date(timeIntervalSinceNow: 20)
        while !service.filesOnDisk().staging.isEmpty, Date() < deadline { Thread.sleep(forTimeInterval: 0.05) }
        #expect(service.filesOnDisk().staging.isEmpty)
        #expect(service.filesOnDisk().artifacts.isEmpty)
    }

    @Test func unknownPlacesAndMethodsAreProblems() throws {
        let service = try LiveService()
        for (path, arguments, status) in [
            ("/nowhere", [], 404), ("/v1/artifacts/none", [], 404), ("/v1/artifacts/none/content", [], 404),
            ("/v1/quantize", ["-X", "DELETE"], 405), ("/livez", ["-X", "POST", "-d", "x"], 405),
            ("/v1/artifacts?limit=0", [], 400), ("/v1/artifacts?cursor=nonsense", [], 400),
            ("/v1/artifacts?unknown=1", [], 400), ("/v1/artifacts/none?unknown=1", [], 400), ("/v1/plan", [], 400),
            ("/v1/plan?parameters=x", [], 400),
            ("/v1/methods", ["-X", "QUERY"], 405),
            ("/v1/plan?parameters=7B&gpu=none", [], 400), ("/v1/quantize?method=nf4", ["-X", "BREW"], 501),
        ] as [(String, [String], Int)] {
            let answer = try service.curl(path, arguments)
            #expect(answer.status == status, "\(path) \(arguments)")
            #expect(answer.field("Content-Type") == "application/problem+json", "\(path)")
            if status == 405 { #expect(answer.field("Allow") != nil) }
        }
    }

    /// The floor comes from the environment, as every flag can.
    @Test func aFullDiskIsSaidBeforeTheWeights() throws {
        let service = try LiveService(environment: ["VIVA_FREE_BYTES_FLOOR": "4611686018427387904"])
        let answer = try service.post(Repository.example, "method=nf4")
        #expect(answer.status == 507)
        #expect(try answer.json()["code"] as? String == "storage.full")
        #expect(service.filesOnDisk().staging.isEmpty)
        let ready = try service.curl("/readyz")
        #expect(ready.status == 503)
        #expect(String(decoding: ready.body, as: UTF8.self).contains("disk"))
        #expect(try service.curl("/livez").status == 200)
    }
}
