import Foundation
import Sockets
import Testing

@testable import VivaService

/// What commands must not do to a person's files, and how they say what is wrong.
@Suite struct CommandLineTests {
    private let folder = DataFolder()

    init() throws {
        try FileManager.default.createDirectory(atPath: folder.path, withIntermediateDirectories: true)
    }

    private func place(_ name: String) -> String { "\(folder.path)/\(name)" }

    private func write(_ bytes: [UInt8], _ name: String) throws -> String {
        try Data(bytes).write(to: URL(filePath: place(name)))
        return place(name)
    }

    private func quantize(
        _ input: String, _ output: String, report: String? = nil, calibration: String? = nil, budget: Bool = false
    ) throws(ServiceError) {
        let options = budget ? [("budget_bits_per_weight", "9")] : [("method", "nf4")]
        let data = calibration == nil ? [] : [("calibration", "data")]
        _ = try CommandLineQuantizer(options: options + data, dtype: nil, shape: nil, calibration: calibration)
            .run(input: input, output: output, reportPath: report)
    }

    /// The only copy of the weights may be the one that is read.
    @Test(arguments: ["in", "hard", "soft", "./../%/in"])
    func whatIsReadIsNotWrittenOver(_ name: String) throws {
        let bytes = SampleInput.safetensors()
        let input = try write(bytes, "in")
        try FileManager.default.linkItem(atPath: input, toPath: place("hard"))
        try FileManager.default.createSymbolicLink(atPath: place("soft"), withDestinationPath: input)
        let other = place(name.replacing("%", with: URL(filePath: folder.path).lastPathComponent))
        #expect(throws: ServiceError.self) { try quantize(input, other) }
        #expect(throws: ServiceError.self) { try quantize(input, other, budget: true) }
        #expect(throws: ServiceError.self) { try quantize(input, place("out"), report: other) }
        #expect(throws: ServiceError.self) { try quantize(place("missing"), other, calibration: input) }
        #expect(try Array(Data(contentsOf: URL(filePath: input))) == bytes)
        #expect(!FileManager.default.fileExists(atPath: place("out")))
    }

    @Test func anArtifactIsNotWrittenOverByWhatIsRestoredOfIt() throws {
        let artifact = place("out")
        try quantize(try write(SampleInput.safetensors(), "in"), artifact)
        let bytes = try Data(contentsOf: URL(filePath: artifact))
        #expect(throws: ServiceError.self) {
            _ = try CommandLineRestorer(dtype: nil, bits: nil).run(input: artifact, output: artifact)
        }
        #expect(try Data(contentsOf: URL(filePath: artifact)) == bytes)
        // Something else may be replaced, as by any command with an output.
        _ = try CommandLineRestorer(dtype: nil, bits: nil).run(input: artifact, output: place("in"))
    }

    /// Said before the work, and nothing is made.
    @Test func whatIsNoPlainFileIsNotReplaced() throws {
        let input = try write(SampleInput.safetensors(), "in")
        let pipe = place("pipe")
        #expect(unsafe mkfifo(pipe, 0o600) == 0)
        for (output, report) in [(pipe, nil), (place("out"), pipe), (place("out"), folder.path)] {
            #expect {
                try quantize(input, output, report: report)
            } throws: {
                "\($0)".contains("is no plain file: it is not replaced")
            }
        }
        #expect(!FileManager.default.fileExists(atPath: place("out")))
    }

    @Test func commandsOfOneFileSayThatAFolderIsNone() throws {
        let isSaid = { (error: any Error) in "\(error)".contains("is a folder; this command reads one file") }
        #expect {
            try CommandLineRestorer(dtype: nil, bits: nil).run(input: folder.path, output: place("out"))
        } throws: {
            isSaid($0)
        }
        #expect { try CompareCommand(path: folder.path, options: [], isJSON: false).run() } throws: { isSaid($0) }
    }

    @Test func oneFileIsNotTwoResults() throws {
        let input = try write(SampleInput.safetensors(), "in")
        #expect(throws: ServiceError.self) { try quantize(input, place("out"), report: place("out")) }
        #expect(!FileManager.default.fileExists(atPath: place("out")))
    }

    @Test func aSocketsFailureIsSaidInWords() {
        let place = SocketPlace.network(host: "127.0.0.1", port: 80)
        let taken = ServiceError(.system(call: "bind", errno: 98), at: place)
        #expect("\(taken)" == "bind 127.0.0.1:80: Address already in use")
        #expect("\(ServiceError(.lookup(host: "nowhere", code: -2), at: place))" == "'nowhere' has no address")
        #expect("\(ServiceError(.timedOut, at: place))" == "127.0.0.1:80 does not answer in time")
    }
}
