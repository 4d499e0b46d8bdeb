import ArtifactStore
import FoundationEssentials
import HTTPServer
import Quantization
import Tensors

/// The files of a model on this machine.
struct Checkpoint {
    /// The files with weights, in the order of their names.
    let files: [String]
    /// The model's `config.json`; nil where there is none.
    let configuration: String?

    /// The most bytes of a `config.json` or of an index.
    static let maximumTextBytes = 64 << 20

    /// The file at `path`, or the weights of the folder; nil where there is nothing.
    ///
    /// Of a folder those that its index names count; then `model.safetensors`; then every safetensors file.
    init?(path: String) throws(Problem) {
        var isFolder = false
        if path != "-" {
            guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else { return nil }
        }
        let folder = isFolder ? path : path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
        let beside = "\(folder)/config.json"
        configuration = FileManager.default.fileExists(atPath: beside) ? beside : nil
        guard isFolder else {
            files = [path]
            return
        }
        do {
            files = try Self.shards(of: path).map { "\(path)/\($0)" }
        } catch let error as Problem {
            throw error
        } catch {
            throw Query.invalid("'\(path)' cannot be listed: \(error)")
        }
        guard !files.isEmpty else { throw Query.invalid("'\(path)' holds no safetensors file.") }
    }

    private struct Index: Decodable {
        let weight_map: [String: String]
    }

    private static func shards(of folder: String) throws -> [String] {
        let names = try FileManager.default.contentsOfDirectory(atPath: folder)
        let index = "model.safetensors.index.json"
        if names.contains(index) {
            let json = try bytes(of: "\(folder)/\(index)")
            let shards = Set(try JSONDecoder().decode(Index.self, from: Data(json)).weight_map.values)
            if let stray = shards.first(where: { $0.contains("/") || !$0.hasSuffix(".safetensors") }) {
                throw Query.invalid("\(index) names '\(stray)', which is no file of the folder.")
            }
            return shards.sorted()
        }
        if names.contains("model.safetensors") { return ["model.safetensors"] }
        return names.filter { $0.hasSuffix(".safetensors") }.sorted()
    }

    /// The headers of all files; nothing behind them is read.
    func headers(_ declaration: InputDeclaration, limits: SessionLimits) throws(Problem) -> [InputDescription] {
        var headers: [InputDescription] = []
        for path in files {
            do throws(TransferError<StoreError>) {
                headers.append(try Self.header(of: path, declaration, limits))
            } catch {
                switch error {
                case .receive(let error): throw Problem(error)
                case .session(let error): throw Problem(error)
                }
            }
        }
        return headers
    }

    private static func header(
        of path: String, _ declaration: InputDeclaration, _ limits: SessionLimits
    ) throws(TransferError<StoreError>) -> InputDescription {
        let file = try open(path)
        do throws(QuantizationError) {
            if let input = try declaration.described(totalBytes: file.length, limits: limits) { return input }
        } catch {
            throw .session(error)
        }
        return try InputDescription.reading(limits: limits.container, memory: nil) {
            (span) throws(StoreError) in try file.read(into: &span)
        }
    }

    private static func open(_ path: String) throws(TransferError<StoreError>) -> InputFile {
        do throws(StoreError) {
            return try InputFile(path: path)
        } catch {
            throw .receive(error)
        }
    }

    /// A small file, whole.
    static func bytes(of path: String) throws(ServiceError) -> [UInt8] {
        do {
            let size = try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int ?? 0
            guard size <= maximumTextBytes else { throw ServiceError.failed("\(path) has \(size) bytes") }
            return Array(try Data(contentsOf: URL(filePath: path)))
        } catch let error as ServiceError {
            throw error
        } catch {
            throw .failed("\(path) cannot be read: \(error)")
        }
    }
}
