import HTTPTypes
import Testing

@testable import HTTPWire

extension HTTPField.Name {
    /// A name that no RFC defines.
    fileprivate static let x = HTTPField.Name("X") ?? .from
}

/// A raw request and what must be read from it.
struct AcceptedRequest: Sendable, CustomTestStringConvertible {
    let section: String
    let raw: [UInt8]
    let check: @Sendable (RequestHead) -> Bool

    var testDescription: String { section }

    init(_ section: String, _ raw: String, _ check: @escaping @Sendable (RequestHead) -> Bool) {
        self.section = section
        self.raw = Array(raw.utf8)
        self.check = check
    }

    init(_ section: String, bytes: [UInt8], _ check: @escaping @Sendable (RequestHead) -> Bool) {
        self.section = section
        raw = bytes
        self.check = check
    }

    static func target(
        _ section: String, _ target: String, method: String = "GET",
        _ check: @escaping @Sendable (RequestHead) -> Bool
    ) -> AcceptedRequest {
        AcceptedRequest(section, "\(method) \(target) HTTP/1.1\r\nHost: a\r\n\r\n", check)
    }

    static func fields(
        _ section: String, _ lines: String, _ check: @escaping @Sendable (RequestHead) -> Bool
    ) -> AcceptedRequest {
        AcceptedRequest(section, "POST / HTTP/1.1\r\nHost: a\r\n\(lines)\r\n\r\n", check)
    }

    static let all = lines + targets + fieldLines + framing + connections

    static let lines: [AcceptedRequest] = [
        AcceptedRequest("9112 2.1 smallest request", "GET / HTTP/1.1\r\nHost: a\r\n\r\n") {
            $0.method == .get && $0.target == "/" && $0.rawPath == "/" && $0.path.isEmpty && $0.query.isEmpty
                && $0.authority == "a" && $0.version == .http11 && $0.framing == .none && $0.keepAlive
                && !$0.expectsContinue && !$0.isAsterisk
        },
        AcceptedRequest("9112 2.2 one empty line first", "\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n") {
            $0.path == ["x"] && $0.authority == "a"
        },
        AcceptedRequest("9112 2.3 a later minor version is 1.1", "GET / HTTP/1.9\r\nHost: a\r\n\r\n") {
            $0.version == .http11
        },
        AcceptedRequest("9112 2.3 HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n") {
            $0.version == .http10 && $0.authority == nil && !$0.keepAlive
        },
        AcceptedRequest("9110 9.1 any token is a method", "M-SEARCH!~ / HTTP/1.1\r\nHost: a\r\n\r\n") {
            $0.method.rawValue == "M-SEARCH!~"
        },
        AcceptedRequest("9110 9.1 methods keep their case", "get / HTTP/1.1\r\nHost: a\r\n\r\n") {
            $0.method.rawValue == "get" && $0.method != .get
        },
    ]

    static let targets: [AcceptedRequest] = [
        .target("9112 3.2.1 path and query", "/v1/jobs/7?limit=10&cursor=a") {
            $0.path == ["v1", "jobs", "7"] && $0.rawPath == "/v1/jobs/7"
                && $0.query == [QueryItem(name: "limit", value: "10"), QueryItem(name: "cursor", value: "a")]
        },
        .target("9112 3.2.2 absolute-form wins over Host", "http://b:8080/x?y=1") {
            $0.authority == "b:8080" && $0.path == ["x"] && $0.rawPath == "/x"
                && $0.target == "http://b:8080/x?y=1"
        },
        .target("9112 3.2.2 absolute-form without a path", "HTTP://b") {
            $0.authority == "b" && $0.rawPath == "/" && $0.path.isEmpty && !$0.isAsterisk
        },
        .target("9112 3.2.2 absolute-form with a query alone", "https://b?x") {
            $0.authority == "b" && $0.rawPath == "/" && $0.query == [QueryItem(name: "x", value: "")]
        },
        .target("9112 3.2.4 asterisk-form", "*", method: "OPTIONS") {
            $0.isAsterisk && $0.rawPath == "*" && $0.path.isEmpty && $0.authority == "a"
        },
        .target("9112 3.2.4 absolute asterisk", "http://b", method: "OPTIONS") {
            $0.isAsterisk && $0.authority == "b"
        },
        .target("9112 3.2.4 OPTIONS of a path", "/x", method: "OPTIONS") { !$0.isAsterisk && $0.path == ["x"] },
        .target("3986 2.1 escapes are decoded once", "/a%20b/%252e/%e2%82%ac") {
            $0.path == ["a b", "%2e", "\u{20AC}"] && $0.rawPath == "/a%20b/%252e/%e2%82%ac"
        },
        .target("3986 3.3 empty segments stay", "/a//b/") { $0.path == ["a", "", "b", ""] },
        .target("3986 3.3 two slashes are no authority", "//evil/x") {
            $0.path == ["", "evil", "x"] && $0.authority == "a"
        },
        .target("3986 3.3 dots inside names", "/a..b/...") { $0.path == ["a..b", "..."] },
        .target("3986 3.3 plus is plus in a path", "/a+b;c=d,e@f:g") { $0.path == ["a+b;c=d,e@f:g"] },
        .target("3986 3.3 digest in a path", "/v1/inputs/sha256:00ff") {
            $0.path == ["v1", "inputs", "sha256:00ff"]
        },
        .target("WHATWG URL 5.1 form decoding", "/?a=b+c&d=%2B&e=f=g&&h&=i&%26=%3d") {
            $0.query == [
                QueryItem(name: "a", value: "b c"), QueryItem(name: "d", value: "+"),
                QueryItem(name: "e", value: "f=g"), QueryItem(name: "h", value: ""),
                QueryItem(name: "", value: "i"), QueryItem(name: "&", value: "="),
            ]
        },
        .target("WHATWG URL 1.3 brackets in a query", "/?a[0]={x}|y") {
            $0.query == [QueryItem(name: "a[0]", value: "{x}|y")]
        },
        .target("3986 3.4 slash, question mark and dots in a query", "/?../?=/..") {
            $0.query == [QueryItem(name: "../?", value: "/..")]
        },
        .target("3986 3.4 empty query", "/a?") { $0.query.isEmpty && $0.rawPath == "/a" },
    ]

    static let fieldLines: [AcceptedRequest] =
        [
            .fields("9112 5.1 white space around a value", "X: \t a b \t ") {
                $0.fields[.x] == "a b"
            },
            .fields("9112 5.1 no white space", "X:a") { $0.fields[.x] == "a" },
            .fields("9110 5.5 empty value", "X:") { $0.fields[.x] == "" },
            .fields("9110 5.5 colon and tab in a value", "X: a:\tb") { $0.fields[.x] == "a:\tb" },
            .fields("9110 5.5 UTF-8 in a value", "X: \u{E9}\u{20AC}") {
                $0.fields[.x] == "\u{E9}\u{20AC}"
            },
            AcceptedRequest(
                "9110 5.5 obs-text that is not UTF-8",
                bytes: Array("GET / HTTP/1.1\r\nHost: a\r\nX: ".utf8) + [0xFF, 0x80] + Array("\r\n\r\n".utf8)
            ) { $0.fields.contains(.x) },
            .fields("9110 5.3 repeated fields keep their order", "X: a\r\nY: b\r\nx: c") {
                $0.fields[values: .x] == ["a", "c"]
            },
            .fields("9110 5.1 names of every token character", "!#$%&'*+-.^_`|~09azAZ: a") { $0.fields.count == 2 },
        ]
        + [
            "a", "a.b-c_d", "a:", "a:80", "127.0.0.1:65535", "[::1]", "[2001:db8::7]:443", "[::ffff:1.2.3.4]", "a%2db",
        ].map { (host: String) -> AcceptedRequest in
            AcceptedRequest("9110 7.2 Host: \(host)", "GET / HTTP/1.1\r\nHost: \(host)\r\n\r\n") {
                $0.authority == host
            }
        }

    static let framing: [AcceptedRequest] = [
        .fields("9112 6.2 length", "Content-Length: 5") { $0.framing == .length(5) },
        .fields("9112 6.2 length zero", "Content-Length: 0") { $0.framing == .length(0) },
        .fields("9110 8.6 leading zeros", "Content-Length: 0005") { $0.framing == .length(5) },
        .fields("9110 8.6 2^63 - 1", "Content-Length: 9223372036854775807") { $0.framing == .length(.max) },
        .fields("9110 8.6 white space around", "CONTENT-LENGTH: \t5 ") { $0.framing == .length(5) },
        .fields("9112 6.1 chunked", "Transfer-Encoding: chunked") { $0.framing == .chunked },
        .fields("9112 7 codings ignore case", "transfer-encoding:  CHUNKED ") { $0.framing == .chunked },
        .fields("9110 10.1.1 100-continue", "Content-Length: 5\r\nExpect: 100-Continue") { $0.expectsContinue },
        .fields("9110 10.1.1 100-continue before chunks", "Expect: 100-continue\r\nTransfer-Encoding: chunked") {
            $0.expectsContinue
        },
        .fields("9110 10.1.1 100-continue without content", "Expect: 100-continue") { !$0.expectsContinue },
        AcceptedRequest(
            "9110 10.1.1 HTTP/1.0 never gets 100",
            "POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        ) { !$0.expectsContinue && $0.framing == .length(5) },
    ]

    static let connections: [AcceptedRequest] = [
        .fields("9112 9.3 close", "Connection: close") { !$0.keepAlive },
        .fields("9110 7.6.1 close in a list", "Connection: x , CLOSE") { !$0.keepAlive },
        .fields("9110 7.6.1 close in a second field", "Connection: keep-alive\r\nConnection: close") { !$0.keepAlive },
        .fields("9110 7.6.1 a name that holds close", "Connection: closed") { $0.keepAlive },
        AcceptedRequest("9112 9.3 HTTP/1.0 keep-alive", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n") {
            $0.keepAlive
        },
        AcceptedRequest("9112 9.3 close wins", "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n") {
            !$0.keepAlive
        },
    ]
}
