import ArgumentParser
import VivaService

/// `viva worker`: what `viva serve` starts for each job. Nothing for people.
struct Worker: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Work on one job; started by 'viva serve'.", shouldDisplay: false)

    func run() throws {
        let code = WorkerProcess.run()
        if code != 0 { throw ExitCode(code) }
    }
}
