import Glibc

/// libFuzzer, which is linked in, asked to run one reader: `FUZZ_TARGET` says which.
@main
enum Main {
    private static let targets: [String: @Sendable ([UInt8]) -> Void] = [
        "head": readHead, "chunks": readChunks, "fields": readFields, "safetensors": readSafetensors,
        "npy": readNumpy, "zip": readZip, "gguf": readGGUF, "json": readJSON, "job": readJob,
    ]

    /// Reads one input; a promise that is not kept ends the run.
    private static let target: @Sendable ([UInt8]) -> Void = {
        guard let name = getenv("FUZZ_TARGET"), let target = targets[String(cString: name)] else {
            fatalError("FUZZ_TARGET is one of \(targets.keys.sorted().joined(separator: ", "))")
        }
        return target
    }()

    static func main() {
        var count = CommandLine.argc
        var arguments = CommandLine.unsafeArgv
        let status = runDriver(&count, &arguments) { start, count in
            Main.target(Array(UnsafeBufferPointer(start: start, count: count)))
            return 0
        }
        exit(status)
    }
}

/// libFuzzer's own entry (llvm.org/docs/LibFuzzer.html, "Using libFuzzer as a library").
@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
    _ callback: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt
