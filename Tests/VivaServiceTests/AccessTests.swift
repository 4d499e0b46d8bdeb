import Catalogue
import Foundation
import HTTPServer
import HTTPTypes
import Testing

@testable import VivaService

/// Who gets in: on every route that there is, taken from the route table itself.
@Suite struct AccessTests {
    /// What the contract says is open to everybody.
    private static let open: Set<String> = [
        "GET /", "GET /livez", "GET /readyz", "GET /healthz", "GET /openapi.yaml", "GET /v1/methods", "GET /v1/plan",
    ]
    private static let reading: Set<String> = [
        "POST /v1/plan", "PUT /v1/plan", "POST /v1/compare", "PUT /v1/compare",
    ]
    private static let administrative: Set<String> = [
        "GET /metrics", "GET /v1/metrics", "POST /v1/gc", "GET /v1/requests",
    ]

    private static func scope(_ route: Route) -> String? {
        let name = "\(route.method.rawValue) \(route.template)"
        if open.contains(name) || route.method == .options { return nil }
        if administrative.contains(name) { return "admin" }
        return route.method == .get || reading.contains(name) ? "read" : "write"
    }

    private static func target(_ route: Route) -> String {
        let collection = route.template.split(separator: "/").dropFirst().first.map(String.init) ?? ""
        return route.template.replacing("{id}", with: Belongings.unknown[collection] ?? "x")
    }

    @Test func everyRouteAsksForItsKey() throws {
        try KeyedService.with { (service) throws in
            let good = try service.key("good", "read,write,admin").key
            let revoked = try service.key("revoked", "read,write,admin").key
            try KeyCommand(data: service.folder, creating: false).revoke(name: "revoked")
            let wrong = good.dropLast() + (good.hasSuffix("0") ? "1" : "0")
            let stranger = "viva_\(String(repeating: "0", count: 16))_\(String(repeating: "0", count: 64))"
            let others = ["read": "write,admin", "write": "read,admin", "admin": "read,write"]
            let lacking = try others.mapValues { try service.key("without \($0)", $0).key }
            for route in service.service.table.routes {
                let (method, target) = (route.method.rawValue, Self.target(route))
                let place: Comment = "\(method) \(target)"
                guard let scope = Self.scope(route) else {
                    #expect(try ![401, 403].contains(service.send(method, target).status), place)
                    continue
                }
                let missing = try service.send(method, target)
                #expect(missing.status == 401 && missing.code == "key.missing", place)
                #expect(missing.field("WWW-Authenticate") == "Bearer realm=\"viva\"", place)
                for bad in ["nonsense", String(wrong), stranger, revoked] {
                    let refused = try service.send(method, target, key: bad)
                    #expect(refused.status == 401 && refused.code == "key.invalid", place)
                    #expect(refused.field("WWW-Authenticate")?.contains("error=\"invalid_token\"") == true, place)
                }
                let narrow = try service.send(method, target, key: lacking[scope])
                #expect(narrow.status == 403 && narrow.code == "key.scope", place)
                #expect(narrow.json["needed_scope"] as? String == scope, place)
                #expect(narrow.field("WWW-Authenticate")?.hasSuffix("scope=\"\(scope)\"") == true, place)
                let admitted = try service.send(method, target, key: good)
                #expect(admitted.status != 401 && admitted.code != "key.scope", place)
            }
        }
    }

    @Test func theHeadOfAnAnswerAsksToo() throws {
        try KeyedService.with { (service) throws in
            #expect(try service.send("HEAD", "/v1/artifacts").status == 401)
            #expect(try service.send("HEAD", "/livez").status == 200)
        }
    }

    @Test(arguments: ["Basic dTpw", "Bearer", "viva_x", "Digest a=b"])
    func anotherSchemeIsNoKey(_ field: String) throws {
        try KeyedService.with { (service) throws in
            let reply = try service.send("GET", "/v1/artifacts", fields: ["Authorization: \(field)"])
            #expect(reply.status == 401 && reply.code == "key.missing")
        }
    }

    @Test func aSchemeHasNoCase() throws {
        try KeyedService.with { (service) throws in
            let key = try service.key("k").key
            let reply = try service.send("GET", "/v1/artifacts", fields: ["Authorization: bEARER  \(key)"])
            #expect(reply.status == 200)
            let tabbed = try service.send("GET", "/v1/artifacts", fields: ["Authorization: Bearer\t\(key)"])
            #expect(tabbed.status == 200)
        }
    }

    @Test func aRevocationHoldsAtTheNextRequest() throws {
        try KeyedService.with { (service) throws in
            let key = try service.key("k").key
            #expect(try service.send("GET", "/v1/artifacts", key: key).status == 200)
            try KeyCommand(data: service.folder, creating: false).revoke(name: "k")
            let reply = try service.send("GET", "/v1/artifacts", key: key)
            #expect(reply.status == 401 && reply.text.contains("revoked"))
        }
    }

    @Test func onLoopbackAKeyIsNotNeededButMustHold() throws {
        try KeyedService.with(.auto) { (service) throws in
            let key = try service.key("k").key
            #expect(try service.quantize(nil).status == 201)
            #expect(try service.quantize(key).status == 201)
            #expect(try service.send("GET", "/v1/artifacts", key: "nonsense").status == 401)
            let everybodys = try service.send("GET", "/v1/artifacts").json["items"] as? [Any]
            #expect(everybodys?.count == 1)
            #expect(try service.send("GET", "/metrics").status == 200)
            // A page on a foreign site reaches loopback, but has no key.
            let foreign = ["Origin: http://evil.example"]
            #expect(try service.quantize(nil, fields: foreign).code == "origin.foreign")
            #expect(try service.quantize(key, fields: foreign).status == 200)
        }
    }

    @Test func withoutAuthenticationKeysAreNotLookedAt() throws {
        try KeyedService.with(.none) { (service) throws in
            #expect(try service.send("GET", "/v1/artifacts", key: "nonsense").status == 200)
        }
    }

    @Test func metricsOpenByTheirOwnScope() throws {
        try KeyedService.with(metricsScope: .read) { (service) throws in
            #expect(try service.send("GET", "/metrics", key: try service.key("k", "read").key).status == 200)
            #expect(try service.send("GET", "/metrics").status == 401)
        }
        try KeyedService.with(metricsScope: []) { (service) throws in
            #expect(try service.send("GET", "/v1/metrics").status == 200)
        }
    }

    @Test func exceptionsNameRoutesThatExist() throws {
        let templates = Set(try TestService().table.routes.map(\.template))
        let exceptions = [AccessPolicy.open, AccessPolicy.reading, AccessPolicy.metricsPaths, AccessPolicy.healthPaths]
        for template in exceptions.joined() { #expect(templates.contains(template), "\(template)") }
    }

    /// What the contract tells people is what the routes ask for.
    @Test func theContractNamesTheScopes() throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "openapi.yaml")
        var told: [String: String] = [:]
        var (path, name) = ("", "")
        for line in try String(contentsOf: file, encoding: .utf8).components(separatedBy: "\n") {
            if line == "components:" { break }
            if line.hasPrefix("  /") { path = String(line.dropFirst(2).dropLast()) }
            let isVerb = line.hasPrefix("    ") && !line.hasPrefix("     ") && line.hasSuffix(":")
            if isVerb {
                name = "\(line.dropFirst(4).dropLast().uppercased()) \(path)"
                told[name] = "read"
            }
            guard line.hasPrefix("      security: ") else { continue }
            told[name] = ["read", "write", "admin"].first { line.contains("[\($0)]") } ?? "nothing"
        }
        for route in try TestService().table.routes {
            let name = "\(route.method.rawValue) \(route.template)"
            #expect(told[name] == Self.scope(route) ?? "nothing", "\(name)")
        }
    }

    @Test func aKeyIsKeptAsItsDigestOnly() throws {
        try KeyedService.with { (service) throws in
            let (key, id) = try service.key("k", "admin,read", bytes: 10, work: 2)
            let parts = key.split(separator: "_")
            #expect(parts.count == 3 && parts[0] == "viva" && parts[1] == id && parts[2].count == 64)
            let record = try #require(try service.catalogue.key(id))
            // sha256sum of coreutils over the 64 digits says the same.
            #expect(try record.hash == sha256sum(String(parts[2])))
            #expect(record.scopes == "read,admin" && record.maximumBytes == 10 && record.maximumWork == 2)
            let secret = Data(parts[2].utf8)
            for file in try FileManager.default.contentsOfDirectory(atPath: service.folder)
            where file.hasPrefix("catalogue") {
                let bytes = try Data(contentsOf: URL(filePath: "\(service.folder)/\(file)"))
                #expect(bytes.range(of: secret) == nil, "\(file)")
            }
        }
    }

    @Test(arguments: ["", "read,", "root", "read write", "READ"])
    func otherScopesAreRefused(_ scopes: String) throws {
        try KeyedService.with { (service) throws in
            #expect(throws: ServiceError.self) { try service.key("k", scopes) }
        }
    }

    @Test func namesAreTakenOnce() throws {
        try KeyedService.with { (service) throws in
            _ = try service.key("k")
            #expect(throws: ServiceError.self) { try service.key("k") }
            for name in ["", "a\nb", String(repeating: "x", count: 65)] {
                #expect(throws: ServiceError.self) { try service.key(name) }
            }
            let command = try KeyCommand(data: service.folder, creating: false)
            try command.revoke(name: "k")
            #expect(throws: ServiceError.self) { try command.revoke(name: "k") }
            #expect(try command.list().contains("read,write"))
        }
    }

    private func sha256sum(_ text: String) throws -> String {
        let process = Process()
        let (input, output) = (Pipe(), Pipe())
        process.executableURL = URL(filePath: "/usr/bin/sha256sum")
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        try input.fileHandleForWriting.write(contentsOf: Data(text.utf8))
        try input.fileHandleForWriting.close()
        process.waitUntilExit()
        let said = output.fileHandleForReading.readDataToEndOfFile()
        return String(String(decoding: said, as: UTF8.self).prefix(64))
    }
}
