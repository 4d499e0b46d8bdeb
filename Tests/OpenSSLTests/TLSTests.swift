import Foundation
import Synchronization
import Testing

@testable import OpenSSL

/// Shows the time that it is set to.
private final class SetClock: Sendable {
    let now = Mutex(ContinuousClock.now)
}

@Suite struct TLSTests {
    private let fixture: TLSFixture

    init() throws {
        fixture = try TLSFixture()
    }

    @Test(arguments: [true, false], ["TLSv1_2", "TLSv1_3"])
    func echoesAgainstPython(_ isBlocking: Bool, _ version: String) throws {
        let size = 1_500_000
        let peer = try TLSPeer(
            fixture, context: fixture.context(), isBlocking: isBlocking,
            """
            context.maximum_version = ssl.TLSVersion.\(version)
            tls = connect()
            data = bytes(i * i % 251 for i in range(\(size)))
            tls.sendall(data)
            echo = b""
            while len(echo) < len(data): echo += tls.recv(1 << 16)
            print(tls.version(), tls.selected_alpn_protocol(), tls.compression(), echo == data, tls.cipher()[0])
            """)
        #expect(try peer.handshake() == .bytes(0))
        let bytes = try peer.read(size)
        #expect(bytes.count == size)
        try peer.write(bytes)
        let name = version.replacingOccurrences(of: "_", with: ".")
        #expect(peer.session.protocolVersion == name)
        let printed = try peer.printed()
        #expect(printed.hasPrefix("\(name) http/1.1 None True"))
        #expect(printed.contains("GCM") || printed.contains("CHACHA20"))
    }

    /// Bytes that are decrypted already are seen by `pending`, not by polling.
    @Test func pendingCountsDecryptedBytes() throws {
        let peer = try TLSPeer(
            fixture, context: fixture.context(), isBlocking: false, "connect().sendall(bytes(1000)); raw.recv(1)")
        #expect(try peer.handshake() == .bytes(0))
        var bytes: [UInt8] = []
        #expect(try peer.readSome(300, into: &bytes) == .bytes(300))
        #expect(peer.session.pending == 700)
        #expect(try peer.readSome(1000, into: &bytes) == .bytes(700))
        #expect(peer.session.pending == 0)
    }

    @Test func aQuietClientIsWaitedFor() throws {
        let peer = try TLSPeer(
            fixture, context: fixture.context(), isBlocking: false, "raw.recv(1)")
        #expect(peer.session.handshake() == .wantRead)
        var buffer = [UInt8](repeating: 0, count: 8)
        var span = buffer.mutableSpan
        var output = unsafe span.mutableBytes
        #expect(peer.session.read(into: &output) == .wantRead)
    }

    @Test func aClientThatDoesNotReadIsWaitedFor() throws {
        let peer = try TLSPeer(
            fixture, context: fixture.context(), isBlocking: false,
            "tls = connect(); tls.send(b'x'); sys.stdin.read(1)")
        #expect(try peer.handshake() == .bytes(0))
        #expect(try peer.read(1) == Array("x".utf8))
        let chunk = [UInt8](repeating: 7, count: 100_000)
        var written = 0
        var outcome = TLSSession.Outcome.bytes(0)
        while case .bytes(let count) = outcome, written < 100 << 20 {
            written += count
            outcome = unsafe peer.session.write(chunk.span.bytes)
        }
        #expect(outcome == .wantWrite)
    }

    @Test(arguments: ["tls.unwrap()", "raw.close(); tls.close()"])
    func bothKindsOfEndAreClosed(_ end: String) throws {
        let peer = try TLSPeer(
            fixture, context: fixture.context(), isBlocking: true, "tls = connect(); tls.sendall(b'hi'); \(end)")
        #expect(try peer.handshake() == .bytes(0))
        #expect(try peer.read(2) == Array("hi".utf8))
        var bytes: [UInt8] = []
        #expect(try peer.readSome(10, into: &bytes) == .closed)
        #expect(try peer.readSome(10, into: &bytes) == .closed)
        peer.session.sendCloseNotify()
    }

    @Test func anEndDuringTheHandshakeIsClosed() throws {
        let peer = try TLSPeer(fixture, context: fixture.context(), isBlocking: true, "raw.close()")
        #expect(try peer.handshake() == .closed)
        peer.session.sendCloseNotify()
        #expect(try peer.handshake() == .closed)
    }

    /// Python raises SSLEOFError for an end of file that no close_notify announced.
    @Test(arguments: [true, false])
    func closeNotifyReachesTheClient(_ announced: Bool) throws {
        let peer = try TLSPeer(
            fixture, context: fixture.context(), isBlocking: true,
            """
            tls = connect()
            try: print("end", tls.recv(10))
            except ssl.SSLError as error: print(type(error).__name__)
            """)
        #expect(try peer.handshake() == .bytes(0))
        if announced {
            peer.session.sendCloseNotify()
            peer.session.sendCloseNotify()
        }
        peer.hangUp()
        #expect(try peer.printed() == (announced ? "end b''" : "SSLEOFError"))
    }

    @Test(arguments: [
        ("context.set_alpn_protocols(['h2', 'http/1.0'])", "no application protocol"),
        (
            "context.set_ciphers('ALL:@SECLEVEL=0'); context.minimum_version = ssl.TLSVersion.TLSv1;"
                + "context.maximum_version = ssl.TLSVersion.TLSv1_1", "unsupported protocol"
        ),
        (
            "context.maximum_version = ssl.TLSVersion.TLSv1_2; context.set_ciphers('ECDHE-ECDSA-AES128-SHA')",
            "no shared cipher"
        ),
        ("raw.sendall(b'GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n'); raw.recv(9); sys.exit()", "plain"),
        ("raw.sendall(bytes(100)); raw.recv(9); sys.exit()", ""),
    ])
    func refuses(_ policy: String, _ reason: String) throws {
        let peer = try TLSPeer(
            fixture, context: fixture.context(), isBlocking: true,
            """
            \(policy)
            try: connect()
            except ssl.SSLError: print("refused")
            """)
        switch try peer.handshake() {
        case .failed(let error): #expect(reason.isEmpty || error.reasons.contains(reason))
        case .plainHTTP: #expect(reason == "plain")
        case let other: Issue.record("no refusal: \(other)")
        }
        // After a fatal error the session answers no call but its end.
        #expect(peer.session.handshake() == .closed)
        peer.hangUp()
        #expect(try ["refused", ""].contains(peer.printed()))
    }

    @Test func clientsWithoutALPNAreServed() throws {
        let peer = try TLSPeer(
            fixture, context: fixture.context(), isBlocking: true,
            """
            context = ssl.create_default_context(cafile=folder + "/cert.pem")
            print(connect().selected_alpn_protocol())
            """
        )
        #expect(try peer.handshake() == .bytes(0))
        #expect(try peer.printed() == "None")
    }

    /// Tickets need no memory on this side; one socket carries both connections, one after the other.
    @Test func ticketsResumeASession() throws {
        let context = try fixture.context()
        let peer = try TLSPeer(
            fixture, context: context, isBlocking: true,
            """
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            def memory(session):
                incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost", session=session)
                return tls, incoming, outgoing
            def handshake(tls, incoming, outgoing):
                while True:
                    try: tls.do_handshake(); done = True
                    except ssl.SSLWantReadError: done = False
                    raw.sendall(outgoing.read())
                    if done: return tls
                    incoming.write(raw.recv(1 << 16))
            first = handshake(*memory(None))
            second = handshake(*memory(first.session))
            print(first.session_reused, second.session_reused)
            """)
        #expect(try peer.handshake() == .bytes(0))
        let again = try TLSSession(context: context, descriptor: peer.descriptor)
        #expect(try peer.drive { again.handshake() } == .bytes(0))
        #expect(try peer.printed() == "False True")
    }

    /// A ticket holds under the key it was sealed with and under the next; what such a one opens is sealed anew.
    @Test func ticketsGoWithTheirKeys() throws {
        let clock = SetClock()
        let keys = try TicketKeys(period: .seconds(100)) { clock.now.withLock { $0 } }
        let context = try TLSContext(
            certificateFile: fixture.certificate, keyFile: fixture.key, ticketKeys: keys)
        // Seconds before each handshake, and whether it is spared the whole of it. The session is the last that was
        // given, so that the third opens a ticket of the second key.
        let turns = [(0, false), (99, true), (100, true), (99, true), (100, true), (200, false), (0, true)]
        let peer = try TLSPeer(
            fixture, context: context, isBlocking: true,
            """
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            session = None
            for turn in range(\(turns.count)):
                incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost", session=session)
                done = False
                while not done:
                    try: tls.do_handshake(); done = True
                    except ssl.SSLWantReadError: pass
                    raw.sendall(outgoing.read())
                    if not done: incoming.write(raw.recv(1 << 16))
                session = tls.session
                print(tls.session_reused)
            """)
        for (seconds, _) in turns {
            clock.now.withLock { $0 += .seconds(seconds) }
            let session = try TLSSession(context: context, descriptor: peer.descriptor)
            #expect(try peer.drive { session.handshake() } == .bytes(0))
        }
        let expected = turns.map { $0.1 ? "True" : "False" }.joined(separator: "\n")
        #expect(try peer.printed() == expected)
    }

    /// A session that has not shaken hands yet when another certificate is presented still seals a ticket.
    @Test func aSessionKeepsTheKeysOfItsTickets() throws {
        weak var keys: TicketKeys?
        let session: TLSSession
        do {
            let made = try TicketKeys(period: .seconds(1)) { .now }
            keys = made
            let context = try TLSContext(
                certificateFile: fixture.certificate, keyFile: fixture.key, ticketKeys: made)
            session = try TLSSession(context: context, descriptor: 0)
        }
        #expect(keys != nil)
        withExtendedLifetime(session) {}
    }

    @Test func badFilesAreNamed() throws {
        let other = try TLSFixture()
        let sealed = fixture.folder.appendingPathComponent("sealed.pem").path
        try fixture.openssl(["ec", "-in", fixture.key, "-aes256", "-passout", "pass:secret", "-out", sealed])
        let missing = fixture.folder.appendingPathComponent("missing.pem").path
        let cases = [
            (missing, fixture.key, "SSL_CTX_use_certificate_chain_file"),
            (fixture.key, fixture.key, "SSL_CTX_use_certificate_chain_file"),
            (fixture.certificate, missing, "SSL_CTX_use_PrivateKey_file"),
            (fixture.certificate, fixture.certificate, "SSL_CTX_use_PrivateKey_file"),
            (fixture.certificate, sealed, "SSL_CTX_use_PrivateKey_file"),
            (fixture.certificate, other.key, "SSL_CTX_use_PrivateKey_file"),
        ]
        for (certificate, key, operation) in cases {
            do {
                _ = try TLSContext(certificateFile: certificate, keyFile: key)
                Issue.record("loaded \(key)")
            } catch {
                #expect(error.operation == operation)
                #expect(!error.reasons.isEmpty)
            }
        }
    }
}
