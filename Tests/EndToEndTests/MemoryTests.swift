import Foundation
import Testing

/// 4 GiB through the release executable: memory stays constant, disk holds output and scratch alone.
@Suite(.serialized) struct MemoryTests {
    /// Rows and columns of 4 GiB of float32.
    static let rows = 1 << 18
    static let columns = 1 << 12

    /// Bytes of the artifact and, in the reference's double quantization, of a 20-byte record for each block of 64.
    private static func outputAndScratch(_ recipe: String) -> Int {
        let weights = rows * columns
        switch recipe {
        case "int8": return weights + rows * 4 + (1 << 20)
        case "nf4": return weights / 2 + weights / 64 + (4 << 20)
        case "nf4&mode=reference": return weights / 2 + weights / 64 * (1 + 20) + (4 << 20)
        default: return weights / 2 + weights / 64 * 4 + (1 << 20)
        }
    }

    @Test(arguments: ["nf4", "nf4&mode=reference", "nf4&double_quant=false", "int8"])
    func fourGibibytesInConstantMemory(_ recipe: String) throws {
        let service = try LiveService()
        let query = "method=\(recipe)&dtype=float32&shape=\(Self.rows),\(Self.columns)"
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
        for _ in 0..<(Self.rows * Self.columns * 4 / block.count) { try writer.write(contentsOf: block) }
        // Nearly all of it has arrived: what lies on disk now is the artifact so far and the scratch, not the input.
        let most = try service.diskInUse()
        #expect(most < Self.outputAndScratch(recipe), "\(most) bytes on disk during the upload")
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
        #expect((Int(back.text) ?? 0) > Self.rows * Self.columns * 4)
        #expect(try service.memory("VmHWM") <= 64 << 10, "peak KiB with the way back")
    }
}
