import Foundation
import FoundationXML
import Testing

/// The report as a browser gets it from the release executable.
@Suite struct PageTests {
    /// What a browser sends (Firefox 140).
    private static let browser = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

    private func path(_ made: Answer) throws -> String {
        #expect([200, 201].contains(made.status), "\(made.head)")
        return "\(try #require(made.field("Location")))/report"
    }

    @Test(arguments: [
        (nil, false), ("Accept: */*", false), ("Accept: application/json", false), (browser, true),
        ("Accept: text/html", true), ("Accept: text/html;q=0.4, application/json;q=0.5", false),
        ("Accept: image/png", false),
    ])
    func whoAsksForAPageGetsOne(_ accept: String?, _ isPage: Bool) throws {
        let service = try LiveService()
        let report = try path(service.post(Repository.example, "method=int8"))
        let arguments = ["-H", accept ?? "Accept:"]
        let answer = try service.curl(report, arguments)
        #expect(answer.status == 200)
        #expect(answer.field("Content-Type") == (isPage ? "text/html; charset=utf-8" : "application/json"))
        #expect(answer.field("Vary")?.contains("Accept,") == true)
        let head = try service.curl(report, arguments + ["-I"])
        #expect(head.field("Content-Type") == answer.field("Content-Type"))
        #expect(head.field("Content-Length") == "\(answer.body.count)")
        guard isPage else {
            let histogram = try #require(try answer.json()["error_histogram"] as? [String: Any])
            let totals = try #require(try answer.json()["totals"] as? [String: Any])
            let counts = try #require(histogram["counts"] as? [Int])
            let unchanged = try #require(histogram["unchanged"] as? Int)
            #expect(unchanged + counts.reduce(0, +) == totals["quantized_weights"] as? Int)
            return
        }
        #expect(XMLParser(data: answer.body).parse())
    }

    @Test func theStylesheetIsTheOneThatThePolicyNames() throws {
        let service = try LiveService()
        for path in ["/", try path(service.post(Repository.example, "method=nf4"))] {
            let answer = try service.curl(path, ["-H", Self.browser])
            let page = String(decoding: answer.body, as: UTF8.self)
            let begin = try #require(page.range(of: "<style>")).upperBound
            let end = try #require(page.range(of: "</style>")).lowerBound
            let digest = try sha256(Data(page[begin..<end].utf8))
            let base64 = try run("/usr/bin/env", ["sh", "-c", "printf \(digest) | xxd -r -p | base64"]).text
            let source = "style-src 'sha256-\(base64.trimmingCharacters(in: .newlines))'"
            let policy = try #require(answer.field("Content-Security-Policy"))
            #expect(policy.contains("default-src 'none'; \(source);"))
            #expect(policy.contains("frame-ancestors 'none'"))
            #expect(!page.contains("<script") && !page.contains("<img") && !page.contains("<link"))
        }
    }

    @Test func aPageComparesTheArtifactsOfItsInputAlone() throws {
        let service = try LiveService()
        let folder = try TemporaryFolder()
        let other = try folder.file(
            "w.safetensors", Inputs.safetensors([("<script>.weight", [64, 64], Inputs.gaussian(4096, seed: 2))]))
        let first = try path(service.post(Repository.example, "method=nf4"))
        let second = try path(service.post(Repository.example, "method=int8"))
        let foreign = try path(service.post(other, "method=nf4"))
        let page = String(decoding: try service.curl(first, ["-H", Self.browser]).body, as: UTF8.self)
        #expect(page.contains("href=\"\(second)\"") && !page.contains(foreign))
        #expect(page.components(separatedBy: "<circle class=\"other\"").count == 2)
        let hostile = String(decoding: try service.curl(foreign, ["-H", Self.browser]).body, as: UTF8.self)
        #expect(hostile.contains("&lt;script&gt;.weight") && !hostile.contains("<script"))
        // What is removed is no longer compared with.
        let removed = try service.curl(String(second.dropLast("/report".count)), ["-X", "DELETE"])
        #expect(removed.status == 204)
        let after = String(decoding: try service.curl(first, ["-H", Self.browser]).body, as: UTF8.self)
        #expect(!after.contains(second))
        #expect(try service.curl(second, ["-H", Self.browser]).status == 404)
    }

    @Test func aComparisonIsAPageToo() throws {
        let service = try LiveService()
        let arguments = ["-X", "POST", "-T", Repository.example.path]
        let path = "/v1/compare?sample_bytes=200000"
        let json = try service.curl(path, arguments)
        #expect(json.field("Content-Type") == "application/json" && json.field("Vary")?.contains("Accept,") == true)
        let points = try #require(try json.json()["points"] as? [[String: Any]])
        let page = try service.curl(path, arguments + ["-H", Self.browser])
        #expect(page.status == 200 && page.field("Content-Type") == "text/html; charset=utf-8")
        #expect(XMLParser(data: page.body).parse())
        let text = String(decoding: page.body, as: UTF8.self)
        #expect(text.components(separatedBy: "<circle ").count == points.count + 1)
    }

    @Test func theCommandLineWritesAPage() throws {
        let folder = try TemporaryFolder()
        let output = folder.url.appending(path: "out.safetensors")
        let report = folder.url.appending(path: "report.html")
        let outcome = try run(
            Repository.viva.path,
            [
                "quantize", Repository.example.path, "--method", "nf4", "-o", output.path, "--report", report.path,
            ])
        #expect(outcome.status == 0, "\(outcome.errorText)")
        let page = try Data(contentsOf: report)
        #expect(XMLParser(data: page).parse())
        let text = String(decoding: page, as: UTF8.self)
        #expect(text.contains(try sha256(Data(contentsOf: output))))
        #expect(text.contains("&quot;quant_method&quot;: &quot;bitsandbytes&quot;") && !text.contains("<a "))
    }
}
