package import Compression
package import HTTPWire
package import Sockets

/// What connections and requests may cost; each limit ends one way of holding the server up.
package struct ServerLimits: Sendable {
    /// The most connections; further ones get 503, under TLS nothing.
    package var maxConnections = 16_384
    /// The most connections of one IPv4 address or IPv6 network of 64 bits, loopback and local sockets apart; further
    /// ones get 503. 0: no bound.
    package var maxConnectionsPerAddress = 4_096
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
    /// The same while other bodies and answers wait for a thread, and the waiting time that is free of it: where more
    /// wait than there are threads, so much less that one grace is enough for all of them.
    package var crowdedBodyRate = 64 << 10
    package var crowdedGrace: Duration = .seconds(2)
    /// The least bytes a second of an answer, counted over the time the server waited for the client to take it, and
    /// the waiting time that is free of it; then the connection is closed.
    package var answerMinimumRate = 1024
    package var answerGrace: Duration = .seconds(30)
    /// How long a long answer keeps its thread while the client takes nothing.
    package var threadPatience: Duration = .seconds(1)
    /// How long the server may work on one request, its client's time not counted: waiting for a thread, reading the
    /// body, computing; then 503.
    package var requestDeadline: Duration = .seconds(3600)
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

    /// The most threads that wait for clients.
    var longThreads: Int { max(1, workerThreads - reservedThreads) }

    /// How often deadlines are looked at: a quarter of the shortest one, a second at most.
    var sweepInterval: Duration {
        let deadlines = [
            headDeadline, keepAliveIdle, bodyIdle, bodyGrace, writeStall, answerGrace, streamHeartbeat, tlsHandshake,
            lingerIdle, lingerTotal,
        ]
        return max(.milliseconds(10), min(.seconds(1), (deadlines.min() ?? .seconds(1)) / 4))
    }
}

/// One of the addresses that a server listens on.
package struct Endpoint: Sendable {
    /// Where it is reached.
    package var place: SocketPlace
    /// Whether it speaks TLS.
    package var isSecure: Bool
    /// Listening sockets that this process was given, instead of a place to bind; the server takes them over.
    package var inherited: [Int32]

    /// Describes an address.
    package init(_ place: SocketPlace, isSecure: Bool = false, inherited: [Int32] = []) {
        self.place = place
        self.isSecure = isSecure
        self.inherited = inherited
    }
}

/// Where and how to serve.
package struct ServerConfiguration: Sendable {
    /// The addresses; at least one.
    package var endpoints: [Endpoint]
    /// The certificate and key of those that speak TLS.
    package var tls: TLSContext?
    /// What connections and requests may cost.
    package var limits: ServerLimits

    /// Sets where and how to serve.
    package init(endpoints: [Endpoint], tls: TLSContext? = nil, limits: ServerLimits = ServerLimits()) {
        self.endpoints = endpoints
        self.tls = tls
        self.limits = limits
    }
}
