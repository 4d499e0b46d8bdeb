import Catalogue
import Observability
import Tensors

/// Inputs as JSON.
enum InputJSON {
    /// What the list says of an input.
    static func members(_ input: InputRecord, expiresAt: Int64) -> [(String, JSON)] {
        [
            ("id", .string(input.digest)), ("bytes", .integer(input.bytes)), ("format", .string(input.container)),
            ("dtype", .optional(input.dtype)), ("shape", .optional(input.shape)),
            ("created_at", .string(rfc3339(milliseconds: input.createdAt))),
            ("expires_at", .string(rfc3339(milliseconds: expiresAt))),
            ("links", .object([("self", .string(InputName.location(input.digest)))])),
        ]
    }

    /// An input with a page of its tensors.
    static func described(
        _ input: InputRecord, _ description: InputDescription, tensors page: TensorPage, expiresAt: Int64
    ) -> JSON {
        let entries = description.entries
        let first = min(page.start, entries.count)
        let end = first + min(page.limit, entries.count - first)
        return .object(
            members(input, expiresAt: expiresAt) + [
                ("tensor_count", .integer(entries.count)),
                ("tensors", .list(count: end - first) { tensor(entries[first + $0]) }),
                ("next", .optional(end < entries.count ? String(end) : nil)),
            ])
    }

    private static func tensor(_ entry: TensorEntry) -> JSON {
        .object([
            ("name", .string(entry.name)), ("dtype", .string(entry.type.rawValue)),
            ("shape", .array(entry.shape.map { .integer($0) })), ("bytes", .integer(entry.bytes.count)),
        ])
    }
}

/// Which tensors of an input are described: `limit` of them from the one at `start`.
struct TensorPage {
    var start = 0
    var limit = 100
}
