import Catalogue
import Jobs

/// The catalogue as the queue of a runner.
struct CatalogueQueue: JobQueue {
    let catalogue: Catalogue

    func nextJob(after owner: String, memory: Int, now: Int64) throws(JobQueueError) -> JobRecord? {
        do throws(CatalogueError) {
            return try catalogue.claimJob(after: owner, memory: memory, now: now)
        } catch {
            throw JobQueueError("\(error)")
        }
    }

    func move(_ job: JobRecord, from state: JobState) throws(JobQueueError) -> Bool {
        do throws(CatalogueError) {
            return try catalogue.moveJob(job, from: state)
        } catch {
            throw JobQueueError("\(error)")
        }
    }
}
