import Testing

/// A raw request and the refusal that the named section asks for.
struct RefusedRequest: Sendable, CustomTestStringConvertible {
    let section: String
    let raw: [UInt8]
    let status: Int
    let code: String

    var testDescription: String { section }

    init(_ section: String, _ raw: String, _ code: String, status: Int = 400) {
        self.init(section, bytes: Array(raw.utf8), code, status: status)
    }

    init(_ section: String, bytes: [UInt8], _ code: String, status: Int = 400) {
        self.section = section
        raw = bytes
        self.status = status
        self.code = "http.\(code)"
    }

    /// A GET of `/` with extra field lines.
    static func fields(_ section: String, _ lines: String, _ code: String, status: Int = 400) -> RefusedRequest {
        RefusedRequest(section, "POST / HTTP/1.1\r\nHost: a\r\n\(lines)\r\n\r\n", code, status: status)
    }

    /// A GET of `target`.
    static func target(_ section: String, _ target: String, _ code: String, status: Int = 400) -> RefusedRequest {
        RefusedRequest(section, "GET \(target) HTTP/1.1\r\nHost: a\r\n\r\n", code, status: status)
    }

    /// A request line of its own.
    static func line(_ section: String, _ line: String, _ code: String, status: Int = 400) -> RefusedRequest {
        RefusedRequest(section, "\(line)\r\nHost: a\r\n\r\n", code, status: status)
    }

    static let all = lines + targets + fieldLines + framing + hosts + expectations

    static let lines: [RefusedRequest] = [
        RefusedRequest("9112 2.2 bare LF ends the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", "bare_line_feed"),
        RefusedRequest("9112 2.2 bare LF ends a field", "GET / HTTP/1.1\r\nHost: a\n\r\n", "bare_line_feed"),
        RefusedRequest("9112 2.2 bare LF as the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\n", "bare_line_feed"),
        RefusedRequest("9112 2.2 LF before the request line", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "bare_line_feed"),
        RefusedRequest(
            "9112 2.2 bare CR in the request line", "GET /\rx HTTP/1.1\r\nHost: a\r\n\r\n", "bare_carriage_return"),
        RefusedRequest(
            "9112 2.2 bare CR in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", "bare_carriage_return"),
        RefusedRequest("9112 2.2 CR CR LF", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", "bare_carriage_return"),
        RefusedRequest(
            "9112 2.2 CR before the empty line's CRLF", "GET / HTTP/1.1\r\nHost: a\r\n\r\r\n", "bare_carriage_return"),
        RefusedRequest(
            "9112 2.2 two empty lines first", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "empty_request_line"),
        .line("9112 3 no version (HTTP/0.9)", "GET /", "request_line"),
        .line("9112 3 method alone", "GET", "request_line"),
        .line("9112 3 empty target", "GET  HTTP/1.1", "target"),
        .line("9112 3 leading space", " GET / HTTP/1.1", "method"),
        .line("9112 3 two spaces before the target", "GET  / HTTP/1.1", "version"),
        .line("9112 3 two spaces before the version", "GET /  HTTP/1.1", "version"),
        .line("9112 3 trailing space", "GET / HTTP/1.1 ", "version"),
        .line("9112 3 tab as separator", "GET\t/ HTTP/1.1", "request_line"),
        .line("9112 3.2 space in the target", "GET /a b HTTP/1.1", "version"),
        .line("9110 9.1 method is not a token: slash", "G/T / HTTP/1.1", "method"),
        .line("9110 9.1 method is not a token: colon", "GET: / HTTP/1.1", "method"),
        .line("9110 9.1 method is not a token: braces", "{GET} / HTTP/1.1", "method"),
        .line("9110 9.1 method is not a token: beyond ASCII", "G\u{C9}T / HTTP/1.1", "method"),
        .line("9112 2.3 small letters in the version", "GET / http/1.1", "version"),
        .line("9112 2.3 version without minor", "GET / HTTP/1", "version"),
        .line("9112 2.3 version with two digits", "GET / HTTP/1.10", "version"),
        .line("9112 2.3 version with a sign", "GET / HTTP/+1.1", "version"),
        .line("9112 2.3 version with a comma", "GET / HTTP/1,1", "version"),
        .line("9112 2.3 another protocol", "GET / RTSP/1.0", "version"),
        .line("9110 15.6.6 HTTP/2.0", "GET / HTTP/2.0", "version", status: 505),
        .line("9110 15.6.6 HTTP/0.9", "GET / HTTP/0.9", "version", status: 505),
        .line("9110 15.6.6 HTTP/3.1", "GET / HTTP/3.1", "version", status: 505),
        RefusedRequest("9113 3.4 HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "version", status: 505),
        .line("9110 9.3.6 CONNECT authority-form", "CONNECT a:443 HTTP/1.1", "connect", status: 501),
        .line("9110 9.3.6 CONNECT origin-form", "CONNECT / HTTP/1.1", "connect", status: 501),
        RefusedRequest(
            "8446 4.1.2 a TLS ClientHello", bytes: [0x16, 0x03, 0x01, 0x02, 0x00, 0x01], "control_character"),
    ]

    static let targets: [RefusedRequest] = [
        .target("9112 3.2.3 authority-form with GET", "a:80", "target"),
        .target("9112 3.2.4 asterisk-form with GET", "*", "target"),
        .line("9112 3.2.4 asterisk with a path", "OPTIONS */a HTTP/1.1", "target"),
        .target("9112 3.2.1 path without a slash", "a/b", "target"),
        .target("9112 3.2.2 another scheme", "ftp://a/", "target"),
        .target("9112 3.2.2 scheme without authority", "http:///a", "host"),
        .target("9110 4.2.4 user information in the target", "http://u:p@a/", "host"),
        .target("9112 3.2.2 bad port in the target", "http://a:b/", "host"),
        .target("3986 3.5 fragment", "/a#b", "target"),
        .target("3986 3.5 fragment in the query", "/a?b#c", "target"),
        .target("3986 2 quote in the path", "/a\"b", "target"),
        .target("3986 2 angle bracket in the path", "/<a>", "target"),
        .target("3986 2 backslash in the path", "/a\\b", "target"),
        .target("3986 2 caret in the path", "/a^b", "target"),
        .target("3986 2 brace in the path", "/{a}", "target"),
        .target("3986 2 quote in the query", "/?a=\"", "target"),
        .target("3986 2 raw UTF-8 in the path", "/\u{E9}", "target"),
        .target("3986 2 raw UTF-8 in the query", "/?\u{E9}", "target"),
        .target("3986 2.1 percent at the end", "/a%", "percent_encoding"),
        .target("3986 2.1 one digit", "/a%4", "percent_encoding"),
        .target("3986 2.1 digits are not hexadecimal", "/a%4g", "percent_encoding"),
        .target("3986 2.1 an escape across a slash", "/a%4/1", "percent_encoding"),
        .target("3986 2.1 bad escape in the query", "/?a=%zz", "percent_encoding"),
        .target("3986 7.3 %00 in the path", "/a%00b", "nul_escape"),
        .target("3986 7.3 %00 in the query", "/?a=%00", "nul_escape"),
        .target("3986 7.3 escaped line feed in the path", "/a%0Ab", "path_escape"),
        .target("3986 7.3 escaped DEL in the path", "/a%7f", "path_escape"),
        .target("3629 3 overlong UTF-8 in the path", "/%c0%af", "target_encoding"),
        .target("3629 3 lone continuation byte in the query", "/?a=%80", "target_encoding"),
        .target("3986 6.2.2.3 dot segment", "/a/./b", "dot_segment"),
        .target("3986 6.2.2.3 two dots", "/a/../b", "dot_segment"),
        .target("3986 6.2.2.3 two dots at the end", "/a/..", "dot_segment"),
        .target("3986 6.2.2.3 escaped dots", "/a/%2e%2e/b", "dot_segment"),
        .target("3986 6.2.2.3 half escaped dots", "/.%2E/b", "dot_segment"),
        .target("3986 6.2.2.3 escaped dot", "/%2e", "dot_segment"),
        .target("3986 6.2.2.3 dots in absolute-form", "http://a/../b", "dot_segment"),
        .target("3986 2.2 escaped slash", "/a%2Fb", "path_escape"),
        .target("3986 2.2 escaped slash after dots", "/..%2fb", "path_escape"),
    ]

    static let fieldLines: [RefusedRequest] = [
        .fields("9112 5.1 space before the colon", "X : a", "space_before_colon"),
        .fields("9112 5.1 tab before the colon", "X\t: a", "space_before_colon"),
        .fields("9112 5.1 space before the colon of Content-Length", "Content-Length : 5", "space_before_colon"),
        .fields("9112 5.1 space inside the name", "X Y: a", "space_before_colon"),
        .fields("9112 5 no colon", "X", "field_line"),
        .fields("9112 5 empty name", ": a", "field_name"),
        .fields("9110 5.1 name is not a token", "X(a): b", "field_name"),
        .fields("9110 5.1 name beyond ASCII", "X\u{E9}: b", "field_name"),
        .fields("9112 5.2 obs-fold with a space", "X: a\r\n b", "obsolete_fold"),
        .fields("9112 5.2 obs-fold with a tab", "X: a\r\n\tb", "obsolete_fold"),
        .fields("9112 5.2 obs-fold hides a Content-Length", "X: a\r\n Content-Length: 5", "obsolete_fold"),
        RefusedRequest(
            "9112 2.2 white space before the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", "obsolete_fold"),
        .fields("9110 5.5 NUL in a value", "X: a\u{0}b", "control_character"),
        .fields("9110 5.5 escape in a value", "X: a\u{1B}b", "control_character"),
        .fields("9110 5.5 DEL in a value", "X: a\u{7F}b", "control_character"),
        .fields("9110 5.5 form feed before a value", "X:\u{C}a", "control_character"),
        .fields("9110 5.1 NUL in a name", "X\u{0}: b", "control_character"),
        RefusedRequest("9112 3 NUL in the target", "GET /\u{0} HTTP/1.1\r\nHost: a\r\n\r\n", "control_character"),
    ]

    static let framing: [RefusedRequest] = [
        .fields(
            "9112 6.1 both lengths, CL first", "Content-Length: 5\r\nTransfer-Encoding: chunked", "ambiguous_length"),
        .fields(
            "9112 6.1 both lengths, TE first", "transfer-encoding: chunked\r\ncontent-length: 0", "ambiguous_length"),
        .fields(
            "9112 6.1 both lengths, TE unknown", "Transfer-Encoding: x\r\nContent-Length: 5", "ambiguous_length"),
        .fields("9112 6.3 unequal lengths", "Content-Length: 5\r\nContent-Length: 6", "several_content_lengths"),
        .fields("9112 6.3 equal lengths", "Content-Length: 5\r\nContent-Length: 5", "several_content_lengths"),
        .fields("9112 6.3 unequal list", "Content-Length: 5, 6", "content_length"),
        .fields("9110 8.6 equal list", "Content-Length: 5, 5", "content_length"),
        .fields("9110 8.6 empty length", "Content-Length:", "content_length"),
        .fields("9110 8.6 plus sign", "Content-Length: +5", "content_length"),
        .fields("9110 8.6 minus sign", "Content-Length: -5", "content_length"),
        .fields("9110 8.6 hexadecimal", "Content-Length: 0x5", "content_length"),
        .fields("9110 8.6 space inside", "Content-Length: 1 0", "content_length"),
        .fields("9110 8.6 fraction", "Content-Length: 5.0", "content_length"),
        .fields("9110 8.6 exponent", "Content-Length: 1e3", "content_length"),
        .fields("9110 8.6 underscore", "Content-Length: 1_0", "content_length"),
        .fields("9110 8.6 quoted", "Content-Length: \"5\"", "content_length"),
        .fields("9110 8.6 digits beyond ASCII", "Content-Length: \u{0665}", "content_length"),
        .fields("9110 8.6 2^63", "Content-Length: 9223372036854775808", "content_length_overflow"),
        .fields("9110 8.6 2^64 + 5", "Content-Length: 18446744073709551621", "content_length_overflow"),
        .fields(
            "9110 8.6 forty digits", "Content-Length: 9999999999999999999999999999999999999999",
            "content_length_overflow"),
        .fields("9112 6.3 final coding is not chunked", "Transfer-Encoding: gzip", "transfer_encoding"),
        .fields("9112 6.3 identity", "Transfer-Encoding: identity", "transfer_encoding"),
        .fields("9112 6.3 chunked is not final", "Transfer-Encoding: chunked, gzip", "transfer_encoding"),
        .fields("9112 6.1 chunked twice", "Transfer-Encoding: chunked, chunked", "transfer_encoding"),
        .fields(
            "9112 6.1 chunked in two fields", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "transfer_encoding"),
        .fields("9112 7.1 chunked with a parameter", "Transfer-Encoding: chunked;q=1", "transfer_encoding"),
        .fields("9112 6.1 a name like chunked", "Transfer-Encoding: xchunked", "transfer_encoding"),
        .fields("9112 6.1 quoted", "Transfer-Encoding: \"chunked\"", "transfer_encoding"),
        .fields("9112 6.1 trailing comma", "Transfer-Encoding: chunked,", "transfer_encoding"),
        .fields("9112 6.1 empty", "Transfer-Encoding:", "transfer_encoding"),
        .fields("9110 5.5 vertical tab", "Transfer-Encoding:\u{B}chunked", "control_character"),
        .fields("9112 6.1 gzip and chunked", "Transfer-Encoding: gzip, chunked", "transfer_coding", status: 501),
        .fields("9112 6.1 an unknown coding", "Transfer-Encoding: br , chunked", "transfer_coding", status: 501),
        RefusedRequest(
            "9112 6.1 Transfer-Encoding in HTTP/1.0",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "transfer_encoding_version"),
    ]

    static let hosts: [RefusedRequest] =
        [
            RefusedRequest("9112 3.2 no Host", "GET / HTTP/1.1\r\nX: a\r\n\r\n", "missing_host"),
            RefusedRequest("9112 3.2 no field at all", "GET / HTTP/1.1\r\n\r\n", "missing_host"),
            RefusedRequest("9112 3.2.2 no Host with absolute-form", "GET http://a/ HTTP/1.1\r\n\r\n", "missing_host"),
            .fields("9112 3.2 two Hosts", "Host: b", "several_hosts"),
            .fields("9112 3.2 two equal Hosts", "host: a", "several_hosts"),
            RefusedRequest(
                "9112 3.2 two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "several_hosts"),
        ]
        + [
            ("empty", ""), ("user information", "u@a"), ("list", "a, b"), ("space", "a b"), ("path", "a/b"),
            ("port is no number", "a:x"), ("port has a sign", "a:-1"), ("port beyond 65535", "a:65536"),
            ("two ports", "a:1:2"), ("port alone", ":80"), ("open bracket", "[::1"), ("empty bracket", "[]"),
            ("bracket holds a name", "[ab]"), ("text after the bracket", "[::1]a"), ("zone", "[fe80::1%25eth0]"),
            ("bad escape", "a%2"), ("beyond ASCII", "\u{E9}"), ("backslash", "a\\b"), ("question mark", "a?b"),
        ].map { (what: String, host: String) -> RefusedRequest in
            RefusedRequest("9110 7.2 Host: \(what)", "GET / HTTP/1.1\r\nHost: \(host)\r\n\r\n", "host")
        }

    static let expectations: [RefusedRequest] = [
        .fields("9110 10.1.1 another expectation", "Expect: 200-ok", "expectation", status: 417),
        .fields("9110 10.1.1 a list", "Expect: 100-continue, x", "expectation", status: 417),
        .fields("9110 10.1.1 empty", "Expect:", "expectation", status: 417),
    ]
}
