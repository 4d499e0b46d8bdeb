import HTTPServer
import HTTPTypes
import HTTPWire
import OpenSSL

/// The fields of tus 1.0.0 (tus.io/protocols/resumable-upload), read strictly.
enum UploadFields {
    static let version = "1.0.0"
    /// What is offered beyond the core protocol.
    static let extensions = "creation,creation-with-upload,creation-defer-length,termination,checksum,expiration"
    static let contentType = "application/offset+octet-stream"

    /// A number of bytes; nil when the field is missing.
    static func bytes(_ name: HTTPField.Name, _ fields: HTTPFields) throws(Problem) -> Int? {
        guard let text = fields[name] else { return nil }
        guard !text.isEmpty, text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let value = Int(text)
        else { throw malformed("\(name.rawName) is '\(text)', not a number of bytes.") }
        return value
    }

    /// The length of an upload: nil when the client says it later (`Upload-Defer-Length: 1`).
    static func length(_ fields: HTTPFields) throws(Problem) -> Int? {
        let length = try bytes(.uploadLength, fields)
        switch (length, fields[.uploadDeferLength]) {
        case (let length?, nil): return length
        case (nil, "1"): return nil
        case (nil, nil): throw malformed("Upload-Length is missing; Upload-Defer-Length: 1 says it later.")
        case (nil, let text?): throw malformed("Upload-Defer-Length is '\(text)', not 1.")
        case (_?, _?): throw malformed("Upload-Length and Upload-Defer-Length exclude each other.")
        }
    }

    /// `Upload-Metadata` as it came: pairs of a name and its value in base64, separated by commas.
    static func metadata(_ fields: HTTPFields, atMost limit: Int) throws(Problem) -> String {
        let text = fields[.uploadMetadata] ?? ""
        guard text.utf8.count <= limit else {
            throw Problem(
                .contentTooLarge, code: "limit.metadata_bytes", title: "A limit is exceeded",
                detail: "Upload-Metadata has \(text.utf8.count) bytes, the limit is \(limit).",
                members: [("value", .integer(text.utf8.count)), ("limit", .integer(limit))])
        }
        var names: Set<Substring> = []
        for pair in text.split(separator: ",", omittingEmptySubsequences: false) where !text.isEmpty {
            let parts = pair.split(separator: " ", omittingEmptySubsequences: true)
            guard let name = parts.first, parts.count <= 2, names.insert(name).inserted,
                parts.count == 1 || decodeBase64(Array(parts[1].utf8)[...]) != nil
            else { throw malformed("Upload-Metadata is not a list of different names, each with its value in base64.") }
        }
        return text
    }

    static func malformed(_ detail: String) -> Problem {
        Problem(
            .badRequest, code: "upload.malformed_field", title: "A field of the upload is not valid", detail: detail)
    }
}

/// What `Upload-Checksum` promises of the body of one request.
final class UploadChecksum {
    private enum Running {
        case sha1(SHA1)
        case sha256(SHA256)
    }

    private let running: Running
    private let expected: [UInt8]

    private init(_ running: Running, expected: [UInt8]) {
        self.running = running
        self.expected = expected
    }

    /// Reads the field; nil when it is missing.
    static func of(_ fields: HTTPFields) throws(Problem) -> UploadChecksum? {
        guard let text = fields[.uploadChecksum] else { return nil }
        let parts = text.split(separator: " ", omittingEmptySubsequences: true)
        guard parts.count == 2, let expected = decodeBase64(Array(parts[1].utf8)[...]) else {
            throw UploadFields.malformed("Upload-Checksum is not an algorithm and a digest in base64.")
        }
        do throws(OpenSSLError) {
            switch parts[0].lowercased() {
            case "sha1": return UploadChecksum(.sha1(try SHA1()), expected: expected)
            case "sha256": return UploadChecksum(.sha256(try SHA256()), expected: expected)
            default: break
            }
        } catch {
            throw Problem(error)
        }
        throw UploadFields.malformed("Upload-Checksum knows sha1 and sha256, not '\(parts[0])'.")
    }

    func update(_ bytes: RawSpan) {
        switch running {
        case .sha1(let hash): hash.update(bytes)
        case .sha256(let hash): hash.update(bytes)
        }
    }

    /// Throws 460 unless the promise holds.
    func verify() throws(Problem) {
        let found =
            switch running {
            case .sha1(let hash): hash.finish()
            case .sha256(let hash): hash.finish().bytes
            }
        guard found == expected else {
            throw Problem(
                HTTPResponse.Status(code: 460, reasonPhrase: "Checksum Mismatch"), code: "upload.checksum_mismatch",
                title: "The bytes are not those that were promised",
                detail: "The body's digest is not that of Upload-Checksum; nothing of the body was kept.")
        }
    }
}

extension HTTPField.Name {
    static let tusResumable = tus("Tus-Resumable")
    static let tusVersion = tus("Tus-Version")
    static let tusExtension = tus("Tus-Extension")
    static let tusMaxSize = tus("Tus-Max-Size")
    static let tusChecksumAlgorithm = tus("Tus-Checksum-Algorithm")
    static let uploadOffset = tus("Upload-Offset")
    static let uploadLength = tus("Upload-Length")
    static let uploadDeferLength = tus("Upload-Defer-Length")
    static let uploadMetadata = tus("Upload-Metadata")
    static let uploadExpires = tus("Upload-Expires")
    static let uploadChecksum = tus("Upload-Checksum")
    static let contentDigest = tus("Content-Digest")
    static let reprDigest = tus("Repr-Digest")

    /// All of these are tokens, so that the second name is never needed.
    private static func tus(_ name: String) -> HTTPField.Name { HTTPField.Name(name) ?? .server }
}
