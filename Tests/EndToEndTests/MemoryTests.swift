import Foundation
import Testing

/// Gibibytes through the release executable: memory stays constant, disk holds output and scratch alone.
@Suite(.serialized) struct MemoryTests {
    /// Columns of the weight.
    static let columns = 1 << 12

    /// Bytes of the artifact and, in the reference's double quantization, of a 20-byte record for each block of 64.
    private static func outputAndScratch(_ recipe: String, _ rows: Int) -> Int {
        let weights = rows * columns
        switch recipe {
        case "int8": return weights + rows * 4 + (1 << 20)
        case "nf4": return weights / 2 + weights / 64 + (4 << 20)
        case "nf4&mode=reference": return weights / 2 + weights / 64 * (1 + 20) + (4 << 20)
        default: return weights / 2 + weights / 64 * 4 + (1 << 20)
        }
    }

    /// The variants of NF4 share its way in; a gibibyte is sixteen times the memory that they may take.
    @Test(arguments: [("nf4", 4), ("nf4&mode=reference", 1), ("nf4&double_quant=false", 1), ("int8", 4)])
    func gibibytesInConstantMemory(_ recipe: String, _ gibibytes: Int) throws {
        let rows = gibibytes << 16
        let service = try LiveService()
        let query = "method=\(recipe)&dtype=float32&shape=\(rows),\(Self.columns)"
        let block = Inputs.bytes(Inputs.gaussian(1 << 20, seed: 9))
        let curl = Process()
        let feed = Pipe()
        let folder = try TemporaryFolder()
        let answer = folder.url.appending(path: "answer")
        curl.executableURL = URL(filePath: "/usr/bin/curl")
        curl.arguments = [
            "-sS", "-X", "POST", "-T", "-", "-o", answer.path, service.url("/v1/quantize?\(query)"),
        ]
        curl.standardInput = feed
        try curl.run()
        let writer = feed.fileHandleForWriting
        for _ in 0..<(rows * Self.columns * 4 / block.count) { try writer.write(contentsOf: block) }
        // Nearly all of it has arrived: what lies on disk now is the artifact so far and the scratch, not the input.
        let most = try service.diskInUse()
        #expect(most < Self.outputAndScratch(recipe, rows), "\(most) bytes on disk during the upload")
        try writer.close()
        curl.waitUntilExit()
        #expect(curl.terminationStatus == 0)

        let artifact = try #require(
            try JSONSerialization.jsonObject(with: Data(contentsOf: answer)) as? [String: Any])
        let bytes = try #require(artifact["bytes"] as? Int)
        let expected = recipe == "int8" ? 4.0 : recipe.contains("double_quant=false") ? 7.1 : 7.75
        #expect(abs((artifact["compression_ratio"] as? Double ?? 0) - expected) < 0.1)
        #expect(try service.memory("VmHWM") <= 64 << 10, "peak KiB")
        // Scratch is gone with the request; what is left is the artifact and the catalogue.
        let used = try run("/usr/bin/du", ["-sb", service.data.path]).text
        let onDisk = try #require(used.split(separator: "\t").first.flatMap { Int($0) })
        #expect(onDisk < bytes + (1 << 20))
        #expect(service.filesOnDisk().staging.isEmpty)
        guard recipe == "nf4" else { return }
        let id = try #require(artifact["id"] as? String)
        let back = try run(
            "/usr/bin/curl",
            ["-sS", "-o", "/dev/null", "-w", "%{size_download}", service.url("/v1/artifacts/\(id)/dequantized")])
        #expect((Int(back.text) ?? 0) > rows * Self.columns * 4)
        #expect(try service.memory("VmHWM") <= 64 << 10, "peak KiB with the way back")
    }
}
