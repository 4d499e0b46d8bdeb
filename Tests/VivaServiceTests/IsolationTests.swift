import Foundation
import HTTPServer
import HTTPTypes
import Testing

@testable import VivaService

/// What is another's does not exist: on every route that there is, taken from the route table itself.
@Suite struct IsolationTests {
    /// What a route of a collection needs beside the identifier, so that it comes to look for the thing at all.
    private static let fields = [
        "uploads": ["Tus-Resumable: 1.0.0", "Upload-Offset: 0", "Content-Type: application/offset+octet-stream"]
    ]

    @Test func foreignThingsAnswerAsUnknownOnes() throws {
        try KeyedService.with { (service) throws in
            let (mine, me) = try service.key("me")
            let other = try service.key("other").key
            let things = try Belongings(of: me, key: mine, in: service)
            var driven = 0
            for route in service.service.table.routes where route.template.contains("{") {
                let place: Comment = "\(route.method.rawValue) \(route.template)"
                let collection = String(route.template.split(separator: "/")[1])
                let foreign = try #require(things.name(in: collection), "Belongings knows nothing of \(collection)")
                let unknown = try #require(Belongings.unknown[collection])
                let answers = try [foreign, unknown].map { name in
                    let target = route.template.replacing("{id}", with: name)
                    try #require(!target.contains("{"), place)
                    let body = route.method == .get || route.method == .delete ? [] : Array("abc".utf8)
                    return Self.shape(
                        try service.send(
                            route.method.rawValue, target, key: other, fields: Self.fields[collection] ?? [],
                            body: body), without: name)
                }
                #expect(answers[0] == answers[1], place)
                #expect(answers[0].hasPrefix("4"), place)
                driven += 1
            }
            #expect(driven >= 6)
            #expect(try things.areWhole(for: me, in: service.catalogue))
        }
    }

    /// Bodies name things too.
    @Test func aJobOfForeignBytesIsOneOfUnknownBytes() throws {
        try KeyedService.with { (service) throws in
            let (mine, me) = try service.key("me")
            let other = try service.key("other").key
            let things = try Belongings(of: me, key: mine, in: service)
            let own = try service.send("POST", "/v1/inputs?dtype=float32&shape=2", key: other, body: Array(1...8))
            let known = try #require(own.json["id"] as? String ?? own.json["digest"] as? String)
            for member in ["input", "calibration"] {
                let answers = try [things.input, try #require(Belongings.unknown["inputs"])].map { name in
                    let input = member == "input" ? name : known
                    let calibration = member == "calibration" ? ", \"calibration\": \"\(name)\"" : ""
                    return Self.shape(
                        try service.send(
                            "POST", "/v1/jobs", key: other, fields: ["Content-Type: application/json"],
                            body: Array("{\"input\": \"\(input)\", \"method\": \"awq\"\(calibration)}".utf8)),
                        without: name)
                }
                #expect(answers[0] == answers[1] && answers[0].hasPrefix("4"), "\(member)")
            }
        }
    }

    @Test func listsShowWhatIsOnesOwn() throws {
        try KeyedService.with { (service) throws in
            let (mine, me) = try service.key("me")
            let other = try service.key("other").key
            _ = try Belongings(of: me, key: mine, in: service)
            for route in service.service.table.routes where route.method == .get {
                let collection = route.template.split(separator: "/").last.map(String.init) ?? ""
                guard route.template == "/v1/\(collection)", Belongings.unknown[collection] != nil else { continue }
                let counts = try [mine, other].map { key in
                    (try service.send("GET", route.template, key: key).json["items"] as? [Any])?.count
                }
                #expect(counts == [1, 0], "\(route.template)")
            }
        }
    }

    @Test func theSameBytesAreTwoThingsForTwoOwners() throws {
        try KeyedService.with { (service) throws in
            let keys = try ["a", "b"].map { try service.key($0).key }
            let replies = try keys.map { try service.quantize($0) }
            // 200 to the second would say that somebody else had these bytes.
            #expect(replies.map(\.status) == [201, 201])
            let ids = replies.compactMap { $0.json["id"] as? String }
            #expect(Set(ids).count == 2)
            #expect(try service.send("DELETE", "/v1/artifacts/\(ids[0])", key: keys[1]).status == 404)
            #expect(try service.send("GET", "/v1/artifacts/\(ids[0])/content", key: keys[0]).status == 200)
        }
    }

    @Test func pagesOfARelativeAreItsOwners() throws {
        try KeyedService.with { (service) throws in
            let keys = try ["a", "b"].map { try service.key($0).key }
            _ = try service.quantize(keys[0], "method=nf4&name=secret")
            let made = try service.quantize(keys[1])
            let page = try service.send(
                "GET", "/v1/artifacts/\(made.json["id"] as? String ?? "")/report", key: keys[1],
                fields: ["Accept: text/html"])
            // The page names what else was made of the same bytes: of this owner's only.
            #expect(page.status == 200 && !page.text.contains("secret"))
        }
    }

    /// Status, fields and problem, without what differs between any two requests.
    private static func shape(_ reply: KeyedService.Reply, without name: String) -> String {
        var json = reply.json
        json["trace_id"] = nil
        let names = reply.head.components(separatedBy: "\r\n").dropFirst().map { $0.prefix { $0 != ":" } }.sorted()
        let members = json.map { "\($0)=\($1)" }.sorted()
        return (["\(reply.status)"] + names.map(String.init) + members).joined(separator: "\n")
            .replacing(name, with: "NAME")
    }
}
