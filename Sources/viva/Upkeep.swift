import ArgumentParser
import VivaService

/// `viva gc`.
struct GarbageCollection: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gc",
        abstract: "Remove what nobody needs any more, also beside a running server.",
        discussion: """
            Expired uploads, inputs unused for too long, files that a crash left without a
            row, jobs finished 30 days ago, audit lines of 90 days ago.
              viva gc --data ./viva-data --dry-run
            """)

    @OptionGroup var folder: DataFolderOption

    @Flag(help: "Only say what would be removed.")
    var dryRun = false

    @Option(help: "How long an unused input is kept; say what the server was told.")
    var inputTtl = Environment.text("INPUT_TTL") ?? "7d"

    @Flag(help: "Print the answer of POST /v1/gc.")
    var json = false

    func run() throws {
        guard let timeToLive = ServiceConfiguration.parseDuration(inputTtl) else {
            throw ValidationError("--input-ttl '\(inputTtl)' is not a time like 90s, 30m, 24h or 7d")
        }
        print(
            try GarbageCommand.run(
                data: folder.data, isDryRun: dryRun, inputTimeToLive: timeToLive, isJSON: json))
    }
}

/// `viva fsck`.
struct FileCheck: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fsck",
        abstract: "Compare every artifact and input with its digest, also beside a running server.",
        discussion: """
            What is damaged is moved to quarantine/ and its row removed; rows without
            files are removed; files without rows are told. Exit status 1 when anything
            was found.
              viva fsck --data ./viva-data
            """)

    @OptionGroup var folder: DataFolderOption

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        let (text, isClean) = try CheckCommand.run(data: folder.data, isJSON: json)
        print(text)
        if !isClean { throw ExitCode.failure }
    }
}

/// `viva audit`.
struct Audit: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print who changed what, one JSON object a line, the oldest first.")

    @OptionGroup var folder: DataFolderOption

    @Option(help: "Begin behind the line of this sequence number.")
    var after: Int64 = 0

    func run() throws { try AuditCommand.run(data: folder.data, after: after) { print($0) } }
}
