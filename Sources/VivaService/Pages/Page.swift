import HTTPServer
import HTTPTypes
import HTTPWire
import OpenSSL

/// A whole document: one file without scripts, pictures or anything else from elsewhere.
struct Page {
    let title: String
    let body: HTML

    private static let mediaType = "text/html"

    /// Whether a client asks for a page where JSON is to be had as well; who does not care gets JSON.
    static func isWanted(_ head: RequestHead) -> Bool {
        preferredMediaType(accept: head.fields[.accept], offered: ["application/json", mediaType]) == mediaType
    }

    /// The document; every page has the same head and the same stylesheet.
    func markup() throws(OpenSSLError) -> HTML {
        let policy = try Self.policy()
        return """
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8"/>
            <meta name="viewport" content="width=device-width, initial-scale=1"/>
            <meta name="color-scheme" content="light dark"/>
            <meta http-equiv="Content-Security-Policy" content="\(policy)"/>
            <title>\(HTML.shortened(title)) · viva-tensor</title>
            <style>\(HTML.stylesheet)</style>
            </head>
            <body>
            \(body)
            </body>
            </html>

            """
    }

    /// The document as an answer that a browser lets do nothing but show it.
    func response() throws(Problem) -> Response {
        do {
            let fields: HTTPFields = [
                .contentType: "\(Self.mediaType); charset=utf-8",
                .contentSecurityPolicy: "\(try Self.policy()); frame-ancestors 'none'",
            ]
            return Response(status: .ok, fields: fields, body: .bytes(Array(try markup().text.utf8)))
        } catch {
            throw Problem(error)
        }
    }

    /// Nothing may be loaded or run, and the one stylesheet is known by its digest (CSP 3 section 2.3.1).
    private static func policy() throws(OpenSSLError) -> String {
        let digest = try SHA256.digest(of: Array(HTML.stylesheet.text.utf8)).base64
        return "default-src 'none'; style-src 'sha256-\(digest)'; base-uri 'none'; form-action 'none'"
    }
}
