import Catalogue
import Foundation
import HTTPServer
import HTTPTypes
import Testing

@testable import VivaService

/// The audit log: what was changed, by whom, and nothing else.
@Suite struct AuditTests {
    @Test func changesLeaveALineAndRefusalsNone() throws {
        try KeyedService.with { (service) throws in
            let (key, id) = try service.key("k")
            let trace = "0af7651916cd43dd8448eb211c80319c"
            let fields = ["traceparent: 00-\(trace)-b7ad6b7169203331-01"]
            let made = try service.quantize(key, fields: fields)
            let artifact = try #require(made.json["id"] as? String)
            // None of these changes anything: there already, foreign scope, unknown, malformed, only read.
            #expect(try service.quantize(key).status == 200)
            #expect(try service.quantize(try service.key("r", "read").key).status == 403)
            #expect(try service.send("DELETE", "/v1/artifacts/none", key: key).status == 404)
            #expect(try service.send("POST", "/v1/quantize?method=none", key: key).status == 400)
            #expect(try service.send("GET", "/v1/artifacts/\(artifact)/content", key: key).status == 200)
            #expect(try service.send("DELETE", "/v1/artifacts/\(artifact)", key: key).status == 204)
            try KeyCommand(data: service.folder, creating: false).revoke(name: "r")
            let lines = try service.catalogue.auditRecords(after: 0)
            #expect(
                lines.map(\.action) == ["key.add", "quantize", "key.add", "artifact.delete", "key.revoke"])
            let place = "/v1/artifacts/\(artifact)"
            #expect(lines.filter { $0.owner == id }.map(\.target) == [place, place])
            #expect(lines[1].trace == trace)
            #expect(lines.map(\.sequence) == lines.map(\.sequence).sorted())
        }
    }

    /// Each route that changes something is among those that leave a line: a new one cannot be forgotten.
    @Test func everyRouteThatChangesSomethingHasAnActionOfItsOwn() throws {
        let routes = try TestService().table.routes.filter { ![.get, .options].contains($0.method) }
        let actions = Dictionary(grouping: routes) { AuditTrail.action($0.method, $0.template) }
        for (action, routes) in actions {
            // POST and PUT may be the same thing; two templates are not.
            #expect(Set(routes.map(\.template)).count == 1, "\(action)")
        }
    }
}
