import ArtifactStore
import Catalogue
import HTTPServer
import Quantization

/// Where the bytes of an upload go while one request carries them: into an input, or into a quantization.
///
/// A sink lives as long as one request; what a later one needs to go on stands in the row of the upload and in its
/// work folder. The protocol of its owner (`UploadReception`): `take` until the request ends; `checkpoint`, then the
/// row is written with `offset`, `reservedBytes` and the state, then the client is told. What was taken since the last
/// checkpoint is forgotten with the sink: the next one begins at the row's offset and writes anew what lies behind it.
protocol UploadSink: AnyObject {
    /// Bytes taken, counted from the start of the upload: it begins at the row's `offset`.
    var offset: Int { get }
    /// Bytes of disk that the upload may take until it is sealed, as far as is known now.
    var reservedBytes: Int { get }

    /// Lets `receive` fill the start of a buffer and takes what it filled; answers how much, 0 at the end.
    ///
    /// Throws `receive` for a failure of the client or its connection: what was taken before counts. Throws `session`
    /// when the bytes are refused, or cannot be kept.
    func take(
        _ receive: (inout MutableRawSpan) throws(Problem) -> Int
    ) throws(TransferError<Problem>) -> Int

    /// Makes all that was taken durable, and answers the state that is recorded with `offset`.
    func checkpoint() throws(Problem) -> [UInt8]?

    /// Ends an upload whose bytes were all taken: publishes the result, records it and the end of the upload in one
    /// step (`Catalogue.sealUpload`) with `expiresAt`, removes the work, and answers where the result is.
    ///
    /// Called once, without a checkpoint before it; `offset` is not acknowledged before it has returned. A problem of
    /// the client's making (4xx) ends the upload; after any other the client goes on from the last checkpoint, so that
    /// nothing of the work that it needs may be changed before the result is published.
    func seal(expiresAt: Int64) throws(Problem) -> String
}

/// Opens the sink of an upload by what its row says.
struct UploadSinks: Sendable {
    let facilities: Facilities

    /// The sink of `record`, which goes on at its offset with the `state` that was recorded with it.
    ///
    /// What it takes of its owner's room is reserved with `permit`, until a row counts it.
    func open(
        _ record: UploadRecord, state: [UInt8]?, permit: WorkPermit
    ) throws(Problem) -> any UploadSink {
        switch try UploadQuestion(record.query) {
        case .input(let wanted): try InputSink(facilities, record, wanted, state: state, permit: permit)
        case .quantization(let wanted): try QuantizingSink(facilities, record, wanted, state: state, permit: permit)
        }
    }
}

extension ArtifactStore {
    /// The work of an upload, made if nothing of it was acknowledged.
    func work(of record: UploadRecord) throws(StoreError) -> WorkFolder {
        do {
            return try work(record.id)
        } catch {
            guard case .notFound = error, record.offset == 0 else { throw error }
            // A folder without content is what a crash in the middle of its making leaves.
            try removeWork(record.id)
            return try createWork(record.id)
        }
    }
}
