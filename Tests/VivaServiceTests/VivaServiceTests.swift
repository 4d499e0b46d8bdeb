import Foundation
import HTTPServer
import HTTPTypes
import Quantization
import Testing

@testable import VivaService

/// The route table is the contract: every route is described, and nothing else is.
@Suite struct ContractTests {
    private static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    @Test func openapiDescribesExactlyTheRoutes() throws {
        let routes = Set(try TestService().table.routes.map { "\($0.method.rawValue.lowercased()) \($0.template)" })
        let yaml = try String(contentsOf: Self.root.appending(path: "openapi.yaml"), encoding: .utf8)
        var described: Set<String> = []
        var path: String?
        var inPaths = false
        for line in yaml.split(separator: "\n", omittingEmptySubsequences: true) {
            if !line.hasPrefix(" "), !line.hasPrefix("#") { inPaths = line.hasPrefix("paths:") }
            guard inPaths else { continue }
            if line.hasPrefix("  /"), let colon = line.lastIndex(of: ":") {
                path = String(line[line.index(line.startIndex, offsetBy: 2)..<colon])
            }
            let verbs = ["get", "post", "put", "delete", "patch", "options"]
            if let path, let verb = verbs.first(where: { line.hasPrefix("    \($0):") }) {
                described.insert("\(verb) \(path)")
            }
        }
        #expect(described == routes)
    }

    /// YAML 1.2 section 3.2.1.3 wants the keys of a mapping to differ; most readers refuse a file where they do not.
    @Test func noKeyOfTheContractStandsTwice() throws {
        let yaml = try String(contentsOf: Self.root.appending(path: "openapi.yaml"), encoding: .utf8)
        #expect(Self.repeatedKeys(in: yaml) == [])
        let planted = "a:\n  b: |\n    c: text\n    c: text\n  d:\n    - e: 1\n      f: 2\n    - e: 1\n  'b': 2\na: 3\n"
        #expect(Self.repeatedKeys(in: planted) == ["'b' in line 9", "'a' in line 10"])
    }

    /// The keys that a block mapping has twice; what stands in braces on one line is not looked into.
    private static func repeatedKeys(in yaml: String) -> [String] {
        var repeated: [String] = []
        var open: [(indent: Int, keys: Set<Substring>)] = []
        var textIndent: Int?
        for (number, line) in yaml.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            var rest = line.drop { $0 == " " }
            var indent = line.count - rest.count
            if rest.isEmpty || rest.hasPrefix("#") { continue }
            if let textIndent, indent > textIndent { continue }
            textIndent = nil
            while rest.hasPrefix("- ") {
                open.removeAll { $0.indent > indent }
                indent += 2
                rest = rest.dropFirst(2)
            }
            guard let match = rest.prefixMatch(of: /(?:'([^']*)'|([^\s'"{\[:][^:]*)):(?:\s+(.*))?$/) else { continue }
            let key = match.1 ?? match.2 ?? ""
            open.removeAll { $0.indent > indent }
            if open.last?.indent != indent { open.append((indent, [])) }
            if !open[open.count - 1].keys.insert(key).inserted { repeated.append("'\(key)' in line \(number + 1)") }
            if let value = match.3, value.hasPrefix("|") || value.hasPrefix(">") { textIndent = indent }
        }
        return repeated
    }

    @Test func servedContractIsTheFile() throws {
        let file = try Data(contentsOf: Self.root.appending(path: "openapi.yaml"))
        #expect(Data(PackageResources.openapi_yaml) == file)
    }
}

/// What the plan says, against figures worked out elsewhere.
@Suite struct PlanTests {
    @Test(arguments: [
        ("7B", 6_738_415_616), ("LLaMA-13B", 13_015_864_320), ("30B", 32_528_943_616), ("70B", 68_976_648_192),
    ])
    func llamaHasItsPublishedParameterCount(_ name: String, _ parameters: Int) throws {
        // Counts of the published checkpoints (safetensors metadata on the Hub).
        #expect(ModelShape.parse(name)?.parameters == parameters)
    }

    @Test(arguments: ["", "B", "-7B", "7X", "1e9", "LLaMA-8B", "0", "9999999999T", "7,5B", "nan", "７B"])
    func nonsenseIsNoModel(_ text: String) {
        #expect(ModelShape.parse(text) == nil)
    }

    @Test func anyCountIsPlanned() throws {
        let model = try #require(ModelShape.parse("1.5B"))
        #expect(model.parameters == 1_500_000_000)
        let nf4 = try #require(model.sizes.first { $0.label == "nf4" })
        #expect(abs(nf4.bitsPerWeight - 4.127) < 0.001)
    }
}

/// The pieces of the wire that nothing else tests.
@Suite struct WireTests {
    @Test func aMemberComesOutLetterForLetter() throws {
        let manifest = #"""
            {"name": "a\"}quantization_config\": {", "x": {"quantization_config": {"no": 1}},
              "quantization_config": {"t": 6.0, "s": ["}", {"d": "\\"}]}, "after": {}}
            """#
        let config = try ManifestReader.text(of: "quantization_config", in: manifest)
        #expect(config == #"{"t": 6.0, "s": ["}", {"d": "\\"}]}"#)
        #expect(try ManifestReader.text(of: "missing", in: manifest) == nil)
    }

    @Test func jsonKeepsOrderAndEscapes() throws {
        let json = JSON.object([
            ("b", .string("a\"\\\n\u{1}é")), ("a", .array([.integer(1), .null, .bool(true)])),
            ("n", .number(.nan)), ("o", .object([])),
        ])
        #expect(json.text() == #"{"b": "a\"\\\n\u0001é", "a": [1, null, true], "n": null, "o": {}}"#)
        _ = try JSONSerialization.jsonObject(with: Data(json.bytes()))
    }

    @Test(arguments: [("90s", 90), ("30m", 1800), ("24h", 86_400), ("7d", 604_800)] as [(String, Int)])
    func timesHaveAUnit(_ text: String, _ seconds: Int) {
        #expect(ServiceConfiguration.parseDuration(text) == .seconds(seconds))
    }

    @Test(arguments: ["", "h", "24", "0h", "-1h", "+1h", "1.5h", "1w", "99999999d", "0ms", "+5ms", "ms"])
    func otherTimesAreRefused(_ text: String) {
        #expect(ServiceConfiguration.parseDuration(text) == nil)
    }

    @Test(arguments: [(0.125, 2, "0.13"), (-3.999, 1, "-4.0"), (12, 0, "12"), (1e20, 2, "1e+20")])
    func fixedDecimals(_ value: Double, _ digits: Int, _ text: String) {
        #expect(ReportText.fixed(value, digits) == text)
    }
}
