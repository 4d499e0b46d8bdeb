import HTTPTypes
import Testing

@testable import HTTPWire

@Suite struct NegotiationTests {
    private static let offered = ["application/json", "application/x-ndjson", "text/html"]

    @Test(
        arguments: [
            ("9110 12.5.1 no field", nil, "application/json"),
            ("9110 12.5.1 anything", "*/*", "application/json"),
            ("9110 12.5.1 empty", "", "application/json"),
            ("9110 12.5.1 exact", "text/html", "text/html"),
            ("9110 12.5.1 case", "TEXT/HTML", "text/html"),
            ("9110 12.5.1 range", "text/*", "text/html"),
            ("9110 12.5.1 weights", "application/json;q=0.5, text/html;q=0.501", "text/html"),
            (
                "9110 12.5.1 the exact range decides", "text/*;q=1, text/html;q=0.1, application/json;q=0.2",
                "application/json"
            ),
            ("9110 12.5.1 excluded", "*/*, application/json;q=0", "application/x-ndjson"),
            ("9110 12.5.1 named wins over wildcard", "*/*, text/html", "text/html"),
            ("9110 12.5.1 browser", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
            ("9110 12.5.1 equal weights: our order", "text/html, application/x-ndjson", "application/x-ndjson"),
            ("9110 12.5.1 none", "image/png", nil),
            ("9110 12.5.1 all excluded", "*/*;q=0", nil),
            (
                "9110 12.4.2 malformed weight is dropped", "text/html;q=2, application/x-ndjson;q=0.1",
                "application/x-ndjson"
            ),
            ("9110 12.5.1 malformed range is dropped", "text, */html, application/x-ndjson", "application/x-ndjson"),
            ("9110 12.5.1 nothing well-formed", "text", "application/json"),
            (
                "9110 5.6.4 quoted comma", "text/html;a=\"b,c\";q=0.1, application/x-ndjson;q=0.2",
                "application/x-ndjson"
            ),
            (
                "9110 12.5.1 parameters must fit", "text/html;level=1, application/x-ndjson;q=0.1",
                "application/x-ndjson"
            ),
            ("9110 12.4.2 q of three digits", "text/html;q=0.999, */*;q=0.998", "text/html"),
            ("9110 12.4.2 white space", " text/html ; q=0.4 , application/json ; Q=0.3", "text/html"),
        ] as [(String, String?, String?)])
    func prefers(_ section: String, _ accept: String?, _ type: String?) {
        #expect(preferredMediaType(accept: accept, offered: Self.offered) == type)
    }

    @Test func parametersOfTheOfferAreMatched() {
        let offered = ["text/plain; version=0.0.4", "application/openmetrics-text; version=1.0.0"]
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        #expect(preferredMediaType(accept: prometheus, offered: offered) == offered[1])
        #expect(preferredMediaType(accept: "text/plain", offered: offered) == offered[0])
        #expect(preferredMediaType(accept: "text/plain;version=1.0.0", offered: offered) == nil)
        #expect(preferredMediaType(accept: nil, offered: []) == nil)
    }

    @Test(
        arguments: [
            (nil, false), ("gzip", true), ("GZIP", true), ("x-gzip", true), ("gzip;q=0", false), ("gzip;q=0.0", false),
            ("gzip;q=0.001", true), ("*", true), ("*;q=0", false), ("gzip, *;q=0", true), ("gzip;q=0, *", false),
            ("identity", false), ("identity, gzip;q=0.5", false), ("gzip, identity;q=0.5", true),
            ("br, deflate", false),
            ("br;q=1.0, gzip;q=0.8, *;q=0.1", true), ("", false), ("gzipped", false), ("identity;q=0, *", true),
            ("gzip;q=x", false), ("deflate, gzip;q=1.000", true), ("gzip;q=1.001", false),
        ] as [(String?, Bool)])
    func gzip(_ value: String?, _ accepted: Bool) {
        #expect(acceptsGzip(value.map { [.acceptEncoding: $0] } ?? [:]) == accepted)
    }

    @Test func gzipOverSeveralFields() {
        var fields = HTTPFields()
        fields.append(HTTPField(name: .acceptEncoding, value: "br"))
        fields.append(HTTPField(name: .acceptEncoding, value: "gzip"))
        #expect(acceptsGzip(fields))
    }
}

@Suite struct ResponseHeadTests {
    @Test func writesStatusFieldsAndEmptyLine() throws {
        var output = Array("x".utf8)
        var fields = HTTPFields()
        fields.append(HTTPField(name: .contentType, value: "text/plain"))
        fields.append(HTTPField(name: .setCookie, value: "a"))
        fields.append(HTTPField(name: .setCookie, value: "b"))
        ResponseHead.serialize(status: .notFound, fields: fields, into: &output)
        let text = "xHTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n"
        #expect(String(decoding: output, as: UTF8.self) == text)
    }

    @Test func theReasonMayBeEmptyButItsSpaceStays() {
        var output: [UInt8] = []
        ResponseHead.serialize(status: HTTPResponse.Status(code: 460), fields: [:], into: &output)
        #expect(String(decoding: output, as: UTF8.self) == "HTTP/1.1 460 \r\n\r\n")
        output = []
        ResponseHead.serialize(status: .continue, fields: [:], into: &output)
        #expect(String(decoding: output, as: UTF8.self) == "HTTP/1.1 100 Continue\r\n\r\n")
    }

    @Test func lineEndsCannotBeInjected() {
        var output: [UInt8] = []
        let fields: HTTPFields = [.location: "/a\r\nSet-Cookie: evil\r\n\r\n<html>\u{0}"]
        let status = HTTPResponse.Status(code: 200, reasonPhrase: "OK\r\nX: y")
        ResponseHead.serialize(status: status, fields: fields, into: &output)
        #expect(output.filter { $0 == 10 }.count == 3)
        #expect(output.filter { $0 == 13 }.count == 3)
        #expect(!output.contains(0))
    }
}
