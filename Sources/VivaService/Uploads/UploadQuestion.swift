import HTTPServer
import HTTPTypes
import HTTPWire

/// What an upload is to become, read from the query of the request that began it.
enum UploadQuestion {
    /// An input, with what is said of raw bytes.
    case input(InputQuestion)
    /// An artifact, made while the bytes arrive.
    case quantization(QuantizeRequest)

    /// Reads a query as `recorded(_:)` wrote it.
    init(_ query: String?) throws(Problem) {
        let items: [QueryItem]
        do throws(WireError) {
            items = try queryItems(of: query ?? "")
        } catch {
            throw Query.invalid("The query is malformed: \(error.detail)")
        }
        try self.init(items: items.map { ($0.name, $0.value) })
    }

    private init(items: [Query.Item]) throws(Problem) {
        guard items.contains(where: { !InputQuestion.names.contains($0.name) }) else {
            self = .input(try InputQuestion(items))
            return
        }
        if items.contains(where: { $0.name == "download" }) {
            throw Query.invalid("The answer to an upload says where the artifact is; it is not the artifact.")
        }
        self = .quantization(try QuantizeRequest(items, accept: nil))
    }

    /// The query of a request as it stands in the row of an upload; nil when there is none.
    static func recorded(_ head: RequestHead) -> String? {
        guard let mark = head.target.firstIndex(of: "?") else { return nil }
        let query = head.target[head.target.index(after: mark)...]
        return query.isEmpty ? nil : String(query)
    }
}
