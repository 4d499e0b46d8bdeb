import ArtifactStore
import Catalogue
import HTTPServer
import HTTPTypes
import Quantization

extension ArtifactHandlers {
    /// The artifact's weights as plain floating point again, made while they are sent.
    func dequantized(_ request: inout Request) throws(Problem) -> Response {
        let query = try Query(request.head, known: ["dtype"])
        let elements = try RestoredArtifact.elements(query.text("dtype"))
        let principal = try facilities.access.principal(request)
        let record = try record(request, checkingQuery: false)
        var fields = HTTPFields()
        fields[.contentDisposition] = Self.attachment(record, as: ".\(elements.rawValue)")
        // The bytes follow from the artifact, the type, and the engine that restores.
        let digest = record.digest.dropFirst("sha256:".count)
        let etag = "\"sha256-\(digest)-\(elements.rawValue)-\(Engine.version)\""
        return try .produced(
            request.head, contentType: QuantizeRequest.safetensors, etag: etag, fields: fields
        ) { () throws(Problem) in
            do {
                let permit = try facilities.quotas.permit(principal)
                let artifact = OpenedSource(try facilities.store.open(record.id, .content))
                return RestoredArtifact(
                    try RestoringSession(source: artifact, elements: elements, memory: facilities.memory),
                    permit: permit)
            } catch let problem as Problem {
                throw problem
            } catch let error as StoreError {
                throw Self.unopened(record, error, facilities.catalogue)
            } catch let error as QuantizationError {
                throw Problem(error)
            } catch {
                throw Problem(unexpected: error)
            }
        }
    }
}

/// A restored artifact as the body of an answer.
final class RestoredArtifact: BodyProducer, @unchecked Sendable {
    // Invariant: the handler hands the session over with the answer; from then on the thread that sends has it alone.
    private let session: RestoringSession
    /// Ends with the answer.
    private let permit: WorkPermit

    init(_ session: RestoringSession, permit: WorkPermit) {
        self.session = session
        self.permit = permit
    }

    var byteCount: Int { session.byteCount }

    func produce(into bytes: inout MutableRawSpan) throws(ProductionFailure) -> Int {
        do throws(QuantizationError) {
            return try session.read(into: &bytes)
        } catch {
            let problem = Problem(error)
            throw ProductionFailure(code: problem.code, detail: problem.evidence ?? problem.detail)
        }
    }

    /// The type by its name in the contract; float32 when none is said.
    static func elements(_ name: String?) throws(Problem) -> RestoredElements {
        try Query.choice("dtype", name) ?? .float32
    }
}
