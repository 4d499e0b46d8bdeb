/// One recipe applied to one input, as it is remembered: what a job is and where it stands.
package struct JobRecord: Sendable, Equatable {
    /// The identifier, unique over all owners.
    package var id: String
    /// Whose it is: nobody else sees it.
    package var owner: String
    /// The place in the order of all jobs; set when the job is recorded.
    package var sequence: Int64 = 0
    /// The input, as `sha256:<hex>`.
    package var input: String
    /// The recipe and its options as JSON text; who made the job reads it again.
    package var recipe: String
    /// A second input with calibration data, as `sha256:<hex>`.
    package var calibration: String?
    /// The identifier that the artifact will have: it follows from owner, input and recipe.
    package var artifact: String
    /// Where it stands.
    package var state = JobState.queued
    /// How often a worker has taken it.
    package var attempts = 0
    /// Bytes of memory that its work needs.
    package var memory = 0
    /// Bytes of disk that its work may take, counted against its owner until it ends.
    package var reserved = 0
    /// Bytes of the input.
    package var totalBytes = 0
    /// Whether its owner wants it to end.
    package var isCancelWanted = false
    /// The problem it ended with, as JSON text.
    package var problem: String?
    /// Milliseconds since 1970-01-01T00:00:00Z.
    package var createdAt: Int64
    /// When a worker took it last.
    package var startedAt: Int64?
    /// When it came to its final state.
    package var finishedAt: Int64?
    /// No worker takes it before.
    package var notBefore: Int64 = 0

    /// A job that waits.
    package init(id: String, owner: String, input: String, recipe: String, artifact: String, createdAt: Int64) {
        self.id = id
        self.owner = owner
        self.input = input
        self.recipe = recipe
        self.artifact = artifact
        self.createdAt = createdAt
    }
}
