import ArgumentParser
import VivaService

/// `viva key`.
struct Key: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make, list and revoke the keys that open a service.",
        discussion: """
            Works beside a running server. A client sends its key with each request:
              KEY=$(viva key add ci --scopes read,write --data ./viva-data)
              curl -H "Authorization: Bearer $KEY" localhost:8080/v1/artifacts
            """,
        subcommands: [Add.self, List.self, Revoke.self])

    /// `viva key add`.
    struct Add: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a key and print it, once: only its digest is kept.")

        @Argument(help: "What you call it.")
        var name: String

        @Option(help: "What it may do: read, write, admin, joined by commas.")
        var scopes = "read,write"

        @Option(help: "The most bytes that its owner may keep.")
        var maxBytes: Int?

        @Option(help: "The most requests that quantize and jobs of its owner at once.")
        var maxConcurrent: Int?

        @OptionGroup var folder: DataFolderOption

        func run() throws {
            let made = try KeyCommand(data: folder.data, creating: true)
                .add(name: name, scopes: scopes, maximumBytes: maxBytes, maximumWork: maxConcurrent)
            print(made.key)
        }
    }

    /// `viva key list`.
    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Print all keys and what their owners have.")

        @OptionGroup var folder: DataFolderOption

        func run() throws { print(try KeyCommand(data: folder.data, creating: false).list()) }
    }

    /// `viva key revoke`.
    struct Revoke: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "End a key, from the next request on; what was made with it stays.")

        @Argument(help: "The key's name.")
        var name: String

        @OptionGroup var folder: DataFolderOption

        func run() throws { try KeyCommand(data: folder.data, creating: false).revoke(name: name) }
    }
}

/// The data folder that a command works on.
struct DataFolderOption: ParsableArguments {
    @Option(help: "The data folder.")
    var data = Environment.text("DATA") ?? "./viva-data"
}
