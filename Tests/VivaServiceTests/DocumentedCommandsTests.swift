import Foundation
import HTTPServer
import HTTPTypes
import Testing

@testable import VivaService

/// What pages, problems and help tell people to type: each `curl` asks for a route that there is, by a method it has.
@Suite struct DocumentedCommandsTests {
    private static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    private static let pages = [
        "README.md", "docs/CALIBRATION.md", "docs/OPERATIONS.md", "docs/PLANNING.md", "openapi.yaml",
        "Sources/VivaService/Pages/IndexPage.swift", "Sources/VivaService/Jobs/ProcessWorker.swift",
        "Sources/viva/Viva.swift", "Sources/viva/Key.swift",
    ]

    struct Command: Equatable {
        let method: String
        let path: String
    }

    /// The commands of a text, as far as their address is written out.
    static func commands(in text: String) -> [Command] {
        let lines = text.replacing("\\\n", with: " ").replacing("\\(", with: "(").split(separator: "\n")
        return lines.flatMap { line in
            line.split(separator: "curl ", omittingEmptySubsequences: false).dropFirst().compactMap { command($0) }
        }
    }

    private static func command(_ text: Substring) -> Command? {
        let words = text.prefix { $0 != "|" && $0 != "`" }.split(separator: " ").map {
            $0.trimmingCharacters(in: CharacterSet(charactersIn: "'\")."))
        }
        guard let address = words.compactMap({ path(in: $0) }).first else { return nil }
        func has(_ letter: Character) -> Bool {
            words.contains { $0.hasPrefix("-") && !$0.hasPrefix("--") && $0.contains(letter) }
        }
        let named = words.firstIndex { $0 == "-X" }.flatMap { words.indices.contains($0 + 1) ? words[$0 + 1] : nil }
        return Command(
            method: named ?? (has("T") ? "PUT" : has("d") ? "POST" : has("I") ? "HEAD" : "GET"), path: address)
    }

    private static func path(in word: String) -> String? {
        for host in ["localhost:8080", "viva.example", "…"] {
            guard let place = word.range(of: host) else { continue }
            let path = word[place.upperBound...].prefix { $0 != "?" && $0 != "'" && $0 != "\"" }
            return path.hasPrefix("/") ? String(path) : nil
        }
        return word.hasPrefix("/v1/") ? String(word.prefix { $0 != "?" }) : nil
    }

    private static func isServed(_ command: Command, by route: Route) -> Bool {
        let method = route.method.rawValue
        guard method == command.method || command.method == "HEAD" && method == "GET" else { return false }
        let (wanted, given) = (route.template.split(separator: "/"), command.path.split(separator: "/"))
        return wanted.count == given.count && zip(wanted, given).allSatisfy { $0 == "{id}" || $0 == $1 }
    }

    @Test func everyCommandAsksForARoute() throws {
        let routes = try TestService().table.routes
        var count = 0
        for page in Self.pages {
            let text = try String(contentsOf: Self.root.appending(path: page), encoding: .utf8)
            let commands = Self.commands(in: text)
            #expect(!commands.isEmpty, "\(page)")
            count += commands.count
            for command in commands {
                #expect(routes.contains { Self.isServed(command, by: $0) }, "\(page): \(command)")
            }
        }
        #expect(count >= 40)
    }

    @Test func commandsAreReadAsCurlReadsThem() {
        let text = """
            curl -X POST -T f 'localhost:8080/v1/quantize?method=nf4' | tee x
            id=$(curl -sT f localhost:8080/v1/inputs | jq -r .id); curl -I "localhost:8080$upload"
            head f | curl -T - \\
                'localhost:8080/v1/plan?a=b' and `curl -d "{}" localhost:8080/v1/jobs`
            """
        #expect(
            Self.commands(in: text) == [
                Command(method: "POST", path: "/v1/quantize"), Command(method: "PUT", path: "/v1/inputs"),
                Command(method: "PUT", path: "/v1/plan"), Command(method: "POST", path: "/v1/jobs"),
            ])
    }
}
