import Foundation
import HTTPServer
import HTTPWire
import Observability
import Sockets
import Testing

@testable import VivaService

/// What a person may say of addresses and limits, and the page that lists them.
@Suite struct ConfigurationTests {
    @Test(
        arguments: [
            ("127.0.0.1:8080", "127.0.0.1", 8080, nil), ("[::1]:1", "::1", 1, nil),
            ("localhost:0", "localhost", 0, nil),
            ("http://0.0.0.0:80", "0.0.0.0", 80, false), ("https://[::]:443", "::", 443, true),
        ] as [(String, String, UInt16, Bool?)])
    func anAddressIsHostAndPort(_ text: String, _ host: String, _ port: UInt16, _ isSecure: Bool?) {
        #expect(ListenAddress(text) == ListenAddress(.network(host: host, port: port), isSecure: isSecure))
    }

    @Test func orAFile() {
        #expect(ListenAddress("unix:/run/viva.sock") == ListenAddress(.local(path: "/run/viva.sock"), isSecure: false))
    }

    @Test(
        arguments: [
            "8080", ":8080", "localhost", "localhost:99999", "localhost:-1", "", "unix:", "::1:80", "http://",
            "ftp://a:1",
            "http://a:1/", "https://a",
        ])
    func otherAddressesAreRefused(_ text: String) {
        #expect(ListenAddress(text) == nil)
    }

    @Test func onlyAllLoopbackIsLoopback() throws {
        var configuration = ServiceConfiguration()
        #expect(configuration.openAddress == nil)
        configuration.listeners.append(try #require(ListenAddress("unix:/run/a")))
        #expect(configuration.openAddress == nil)
        #expect(!configuration.hasTLS)
        let open = try #require(ListenAddress("https://[::]:443"))
        configuration.listeners.append(open)
        #expect(configuration.openAddress == open)
        #expect(configuration.hasTLS)
        configuration.listeners = [ListenAddress(.network(host: "127.0.0.1", port: 1))]
        configuration.tlsCertificate = "a"
        #expect(configuration.hasTLS)
    }

    /// A limit's default as `--limit` takes it.
    private static func standard(_ place: NamedLimits.Place) -> String {
        switch place {
        case .count(let path, _, _): return "\(ServerLimits()[keyPath: path])"
        case .time(let path):
            let (seconds, attoseconds) = ServerLimits()[keyPath: path].components
            return attoseconds == 0 ? "\(seconds)s" : "\(seconds * 1000 + attoseconds / 1_000_000_000_000_000)ms"
        }
    }

    @Test func limitsAreSetByName() {
        var configuration = ServiceConfiguration()
        #expect(NamedLimits.set("head-deadline=250ms", in: &configuration) == nil)
        #expect(configuration.serverLimits.headDeadline == .milliseconds(250))
        #expect(NamedLimits.set("connections-per-address=0", in: &configuration) == nil)
        #expect(configuration.serverLimits.maxConnectionsPerAddress == 0)
        for (name, place) in NamedLimits.all {
            let text = Self.standard(place)
            #expect(NamedLimits.set("\(name)=\(text)", in: &configuration) == nil, "\(name)")
        }
        #expect(configuration.serverLimits.headDeadline == ServerLimits().headDeadline)
    }

    @Test(
        arguments: [
            "head-deadline", "head-deadline=", "head-deadline=10", "head-deadline=0s", "worker-threads=0",
            "worker-threads=+1", "head-bytes=1023", "head-bytes=16777217", "worker-threads=1e3", "worker-threads=10s",
            "no-such=1", "=1", "",
        ])
    func otherLimitsAreRefused(_ text: String) {
        var configuration = ServiceConfiguration()
        #expect(NamedLimits.set(text, in: &configuration) != nil)
    }

    private static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// `| name | default | ... | figure | test |`
    @Test func thePageListsEveryLimitWithItsDefaultItsFigureAndItsTest() throws {
        let page = try String(contentsOf: Self.root.appending(path: "docs/OPERATIONS.md"), encoding: .utf8)
        var rows: [String: [String]] = [:]
        for line in page.split(separator: "\n") where line.hasPrefix("| `") {
            let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            if cells.count == 6 { rows[cells[0].trimmingCharacters(in: ["`"])] = cells }
        }
        let folder = Self.root.appending(path: "Tests/HTTPServerTests")
        let tests = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            .map { try String(contentsOf: $0, encoding: .utf8) }.joined()
        let figures = Set(LimitName.allCases.map(\.rawValue))
        for (name, place) in NamedLimits.all {
            let row = try #require(rows[name], "\(name) has no row")
            let text = Self.standard(place)
            if name != "worker-threads" { #expect(row[1].hasPrefix("`\(text)`"), "\(name): \(text)") }
            #expect(figures.contains(row[4].trimmingCharacters(in: ["`"])), "\(name): \(row[4])")
            #expect(tests.contains("func \(row[5].trimmingCharacters(in: ["`"]))("), "\(name): \(row[5])")
        }
        let named = Set(rows.values.map { $0[4].trimmingCharacters(in: ["`"]) })
        #expect(figures.subtracting(named).isEmpty)
    }

    @Test func thePageListsEveryFigure() throws {
        let page = try String(contentsOf: Self.root.appending(path: "docs/OPERATIONS.md"), encoding: .utf8)
        let text = String(decoding: try TestService().facilities.metrics.registry.prometheusText(), as: UTF8.self)
        let names = text.split(separator: "\n").filter { $0.hasPrefix("# TYPE ") }.map { $0.split(separator: " ")[2] }
        #expect(names.count > 10)
        for name in names { #expect(page.contains("| `\(name)`"), "\(name)") }
    }
}
