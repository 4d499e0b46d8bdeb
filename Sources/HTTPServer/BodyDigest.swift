import HTTPTypes
import HTTPWire
import OpenSSL

/// Compares a body with the digest its request promises (RFC 9530); both fields cover the coded bytes.
struct BodyDigest {
    private let expected: [[UInt8]]
    private let running: SHA256

    private static let names = [HTTPField.Name("Content-Digest"), HTTPField.Name("Repr-Digest")]

    /// Starts to hash when `fields` state a sha-256 digest; nil otherwise.
    static func start(for fields: HTTPFields) throws(Problem) -> BodyDigest? {
        let expected = try expected(by: fields)
        if expected.isEmpty { return nil }
        do {
            return BodyDigest(expected: expected, running: try SHA256())
        } catch {
            throw .failure(
                code: "digest.unavailable",
                evidence: "SHA-256 could not start: \(error.reasons.joined(separator: "; ")).")
        }
    }

    /// The sha-256 digests that `fields` state; throws 400 for a malformed field.
    static func expected(by fields: HTTPFields) throws(Problem) -> [[UInt8]] {
        var expected = [[UInt8]]()
        for case let name? in names {
            switch ContentDigest.parse(fields[name]) {
            case .absent: continue
            case .sha256(let bytes): expected.append(bytes)
            case .malformed:
                throw Problem(
                    .badRequest, code: "digest.malformed",
                    detail: "\(name.rawName) is not `sha-256=:<base64 of 32 bytes>:`.")
            }
        }
        return expected
    }

    /// Takes the next bytes as coded.
    func update(_ bytes: RawSpan) {
        running.update(bytes)
    }

    /// Throws 400 `digest.mismatch` unless all promises hold.
    func verify() throws(Problem) {
        let found = running.finish()
        for bytes in expected where bytes != found.bytes {
            throw Problem(
                .badRequest, code: "digest.mismatch", detail: "The body's sha-256 is not what the request states.",
                members: [("found", .string(found.hex))])
        }
    }
}
