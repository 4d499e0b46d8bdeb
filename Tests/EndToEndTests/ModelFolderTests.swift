import Foundation
import Testing

/// `viva quantize MODEL_DIR` as people run it.
@Suite struct ModelFolderTests {
    private let home: TemporaryFolder

    init() throws {
        home = try TemporaryFolder()
        let model = home.url.appending(path: "model")
        try FileManager.default.createDirectory(at: model, withIntermediateDirectories: true)
        try Data("{\"model_type\": \"bert\"}\n".utf8).write(to: model.appending(path: "config.json"))
    }

    private func quantize(_ arguments: [String]) throws -> Outcome {
        try run(
            Repository.viva.path,
            ["quantize", home.url.appending(path: "model").path, "-o", home.url.appending(path: "made").path]
                + arguments)
    }

    private func left() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: home.url.path).filter { $0 != "model" }.sorted()
    }

    @Test func aFolderBecomesAFolder() throws {
        try FileManager.default.copyItem(
            at: Repository.example, to: home.url.appending(path: "model/model.safetensors"))
        let made = try quantize(["--method", "int4", "--target", "vllm"])
        #expect(made.status == 0, "\(made.errorText)")
        #expect(made.text.contains("bert as int4 in format compressed-tensors, for vllm"))
        #expect(made.errorText.isEmpty, "no progress bar where nobody looks")
        #expect(try left() == ["made"])
        let config = try Data(contentsOf: home.url.appending(path: "made/config.json"))
        let json = try #require(try JSONSerialization.jsonObject(with: config) as? [String: Any])
        #expect((json["quantization_config"] as? [String: Any])?["format"] as? String == "pack-quantized")
        let again = try quantize(["--method", "int4"])
        #expect(again.status != 0)
        #expect(again.errorText.contains("is there already"))
    }

    /// A GiB of zeros takes long enough to press Ctrl-C.
    @Test func ctrlCLeavesNothing() throws {
        let (rows, columns) = (32_768, 8192)
        let bytes = rows * columns * 4
        var header = Data(
            "{\"encoder.layer.0.output.dense.weight\":{\"dtype\":\"F32\",\"shape\":[\(rows),\(columns)],".utf8)
        header += Data("\"data_offsets\":[0,\(bytes)]}}".utf8)
        let file = home.url.appending(path: "model/model.safetensors")
        var start = Data((0..<8).map { UInt8(truncatingIfNeeded: header.count >> (8 * $0)) })
        start += header
        try start.write(to: file)
        let handle = try FileHandle(forWritingTo: file)
        try handle.truncate(atOffset: UInt64(start.count + bytes))
        try handle.close()

        let process = Process()
        process.executableURL = Repository.viva
        process.arguments = [
            "quantize", home.url.appending(path: "model").path, "--method", "nf4", "-o",
            home.url.appending(path: "made").path,
        ]
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        for _ in 0..<500 where try left().isEmpty { usleep(10_000) }
        process.interrupt()
        process.waitUntilExit()
        #expect(process.terminationStatus == 130)
        #expect(try left().isEmpty)
    }
}
