package import Compression
package import HTTPWire
package import Sockets

/// What connections and requests may cost; each limit ends one way of holding the server up.
package struct ServerLimits: Sendable {
    /// The most connections; further ones wait in the listener's backlog.
    package var maxConnections = 16_384
    /// From the first byte of a request (or the opening of the connection) to the end of its head; then 408.
    package var headDeadline: Duration = .seconds(30)
    /// How long a connection may rest between two requests.
    package var keepAliveIdle: Duration = .seconds(75)
    /// How long a body may pause; then 408.
    package var bodyIdle: Duration = .seconds(30)
    /// The least bytes a second of a body, counted over the time the server waited for it; then 408.
    package var bodyMinimumRate = 1024
    /// Waiting time of a body that is free of the minimum rate.
    package var bodyGrace: Duration = .seconds(30)
    /// How long a client may take no byte of an answer.
    package var writeStall: Duration = .seconds(30)
    /// The longest silence of a stream; then its heartbeat is sent.
    package var streamHeartbeat: Duration = .seconds(10)
    /// From the opening of the connection to the end of the TLS handshake.
    package var tlsHandshake: Duration = .seconds(10)
    /// How long, in all, unread bytes are discarded after a closing answer, so that the client can read it.
    package var lingerTotal: Duration = .seconds(30)
    /// How long a discarded body may pause.
    package var lingerIdle: Duration = .seconds(5)
    /// How long requests may go on after `Server.drain`.
    package var drainDeadline: Duration = .seconds(30)
    /// Limits of a request's head.
    package var head = HeadLimits()
    /// Limits of the framing of a chunked body.
    package var chunks = ChunkLimits()
    /// The most bytes of a body as sent; a route may state less. The disk plan is the real bound.
    package var maxBodyBytes = Int.max / 2
    /// Limits of a gzip-coded body.
    package var inflate = InflateLimits(maxBytes: Int.max / 2)
    /// The most bytes of a body that are collected in epoll before it takes a thread.
    package var bodyHeadStart = 64 << 10
    /// The most requests of one connection that are answered before the answers are sent.
    package var maxPipelinedRequests = 64
    /// The most requests of one connection.
    package var maxRequestsPerConnection = 1_000_000
    /// The longest answer, in bytes, that is written by the loop; longer ones take a thread.
    package var inlineResponseBytes = 64 << 10
    /// The bytes that a stream's source is asked for at once.
    package var streamedPieceBytes = 32 << 10
    /// How often a source is asked before other connections have their turn.
    package var streamedPieces = 8
    /// The threads that run `epoll`.
    package var eventLoops = 1
    /// The most threads that run `worker` routes, bodies, files and TLS.
    package var workerThreads = max(16, 4 * Process.cores)
    /// Threads that bodies and long answers leave to requests that wait for no client.
    package var reservedThreads = 4
    /// The most requests with a body to come that wait for a thread, and the most others; further ones get 503.
    package var workerQueue = 64
    /// The most bytes of requests that are not whole, in a loop; further ones get 503.
    package var maxWaitingBytes = 128 << 20

    /// The defaults.
    package init() {}

    /// How often deadlines are looked at: a quarter of the shortest one, a second at most.
    var sweepInterval: Duration {
        let deadlines = [
            headDeadline, keepAliveIdle, bodyIdle, bodyGrace, writeStall, streamHeartbeat, tlsHandshake, lingerIdle,
            lingerTotal,
        ]
        return max(.milliseconds(10), min(.seconds(1), (deadlines.min() ?? .seconds(1)) / 4))
    }
}

/// Where and how to serve.
package struct ServerConfiguration: Sendable {
    /// A name or numeric address: `127.0.0.1`, `::1`, `0.0.0.0`.
    package var host: String
    /// The port; 0 takes a free one.
    package var port: UInt16
    /// The certificate and key; nil serves plain HTTP.
    package var tls: TLSContext?
    /// What connections and requests may cost.
    package var limits: ServerLimits
    /// A listening socket that this process was given, instead of host and port; the server takes it over.
    package var inheritedListener: Int32?

    /// Sets where and how to serve.
    package init(
        host: String = "127.0.0.1", port: UInt16 = 8080, tls: TLSContext? = nil, limits: ServerLimits = ServerLimits(),
        inheritedListener: Int32? = nil
    ) {
        self.host = host
        self.port = port
        self.tls = tls
        self.limits = limits
        self.inheritedListener = inheritedListener
    }
}
