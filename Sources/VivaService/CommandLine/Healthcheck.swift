package import Sockets

/// `viva healthcheck`: one request to `/readyz`, so that an image needs no curl.
package enum Healthcheck {
    /// How long the service may take to answer.
    private static let patience: Duration = .seconds(5)

    /// The status that `/readyz` answers with.
    package static func status(at place: SocketPlace) throws(ServiceError) -> Int {
        let request = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        do {
            let answer = try PlainClient.exchange(
                at: place, request: Array(request.utf8), limit: 64 << 10, patience: patience)
            let line = String(decoding: answer.prefix { $0 != UInt8(ascii: "\r") }, as: UTF8.self)
            guard line.hasPrefix("HTTP/1.1 "), let status = Int(line.dropFirst(9).prefix(3)) else {
                throw ServiceError.failed("no HTTP answer from \(place)")
            }
            return status
        } catch let error as SocketError {
            throw ServiceError(error, at: place)
        } catch let error as ServiceError {
            throw error
        } catch {
            throw .failed("no answer from \(place): \(error)")
        }
    }
}
