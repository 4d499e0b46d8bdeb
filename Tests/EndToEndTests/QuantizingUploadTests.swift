import Foundation
import Testing

/// Uploads that become artifacts while they arrive, through kill -9: nothing acknowledged is lost or sent again, and
/// the artifact is that of one request without a break.
@Suite(.serialized) struct QuantizingUploadTests {
    private static let tus = ["-H", "Tus-Resumable: 1.0.0"]

    /// 64 MiB of float32: three weights, one of them in front of everything else of another size.
    private func input() -> Data {
        let block = Inputs.bytes(Inputs.gaussian(1 << 17, seed: 31))
        let entries = [
            "\"a.weight\":{\"dtype\":\"F32\",\"shape\":[4096,2048],\"data_offsets\":[0,33554432]}",
            "\"a.bias\":{\"dtype\":\"F32\",\"shape\":[2048],\"data_offsets\":[33554432,33562624]}",
            "\"b.weight\":{\"dtype\":\"F32\",\"shape\":[4095,2048],\"data_offsets\":[33562624,67108864]}",
        ]
        var data = Data(capacity: 1 << 26)
        while data.count < 1 << 26 { data.append(block) }
        return Inputs.safetensors(header: "{" + entries.joined(separator: ",") + "}", data: data)
    }

    private func begin(_ service: LiveService, _ query: String, length: Int) throws -> String {
        let answer = try service.curl(
            "/v1/uploads?\(query)", ["-X", "POST", "-H", "Upload-Length: \(length)"] + Self.tus)
        #expect(answer.status == 201, "\(String(decoding: answer.body, as: UTF8.self))")
        return try #require(answer.field("Location"))
    }

    private func offset(_ service: LiveService, _ upload: String) throws -> Int {
        let answer = try service.curl(upload, ["--head"] + Self.tus)
        #expect(answer.status == 200)
        return try #require(answer.field("Upload-Offset").flatMap { Int($0) })
    }

    /// curl that sends a file to an upload, in the background.
    private func patch(
        _ service: LiveService, _ upload: String, at offset: Int, _ file: URL, _ answer: URL, pace: String
    ) throws -> Process {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/curl")
        process.arguments =
            [
                "-sS", "-X", "PATCH", "-T", file.path, "-o", "/dev/null", "-D", answer.path, "--limit-rate", pace,
                "-H", "Upload-Offset: \(offset)", "-H", "Content-Type: application/offset+octet-stream", "-H",
                "Expect:",
            ] + Self.tus + [service.url(upload)]
        process.standardError = FileHandle.nullDevice
        try process.run()
        return process
    }

    @Test(arguments: [
        "method=nf4", "method=nf4&mode=reference", "method=int4&group_size=64", "method=int4&format=awq",
    ])
    func killedOnTheWay(_ query: String) throws {
        let folder = try TemporaryFolder()
        let data = folder.url.appending(path: "data")
        let input = input()
        let whole = try folder.file("input", input)
        let expected = try LiveService().post(whole, query).json()
        var random = SystemRandomNumberGenerator()
        var service = try LiveService(data: data)
        let upload = try begin(service, query, length: input.count)
        var (position, kills, peak) = (0, 0, 0)
        var location: String?
        while location == nil {
            let piece = min(input.count - position, Int.random(in: 5 << 20...14 << 20, using: &random))
            let file = try folder.file("piece", input[position..<position + piece])
            let answer = folder.url.appending(path: "answer")
            let isKilled = kills < 5 && position + piece < input.count
            let curl = try patch(service, upload, at: position, file, answer, pace: isKilled ? "20M" : "1G")
            if isKilled {
                Thread.sleep(forTimeInterval: Double.random(in: 0.02...0.4, using: &random))
                peak = max(peak, try service.memory("VmHWM"))
                service.kill()
                kills += 1
            }
            curl.waitUntilExit()
            if isKilled {
                service = try LiveService(data: data)
                let reached = try offset(service, upload)
                #expect(position <= reached && reached <= position + piece)
                position = reached
            } else {
                let head = try String(contentsOf: answer, encoding: .utf8)
                let said = Answer(status: 0, body: Data(), head: head, curlStatus: curl.terminationStatus)
                #expect(said.field("Upload-Offset") == "\(position + piece)")
                position += piece
                #expect(try offset(service, upload) == position)
                location = said.field("Content-Location")
            }
        }
        #expect(kills == 5 && position == input.count)
        peak = max(peak, try service.memory("VmHWM"))
        #expect(peak <= 64 << 10, "peak KiB")
        let made = try service.curl(try #require(location)).json()
        #expect(made["id"] as? String == expected["id"] as? String)
        #expect(made["digest"] as? String == expected["digest"] as? String)
        // The input was never kept: what lies on disk is the artifact, its report and the catalogue.
        let used = try run("/usr/bin/du", ["-sb", data.path]).text
        let onDisk = try #require(used.split(separator: "\t").first.flatMap { Int($0) })
        #expect(onDisk < (made["bytes"] as? Int ?? 0) + (4 << 20))
    }

    @Test func whatDoesNotStreamIsRefusedBeforeItsBytes() throws {
        let service = try LiveService()
        for query in ["method=awq", "method=int4&format=awq&calibration=data", "budget_bytes=100000"] {
            let answer = try service.curl(
                "/v1/uploads?\(query)", ["-X", "POST", "-H", "Upload-Length: 100"] + Self.tus)
            #expect(answer.status == 422)
            #expect(try answer.json()["code"] as? String == "upload.not_streaming")
        }
        let left = try FileManager.default.contentsOfDirectory(atPath: service.data.appending(path: "work").path)
        #expect(left.isEmpty)
    }
}
