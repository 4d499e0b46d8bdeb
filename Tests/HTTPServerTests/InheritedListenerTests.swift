import Glibc
import HTTPServer
import Logging
import Sockets
import Testing

/// Listening sockets that another process has bound.
@Suite struct InheritedListenerTests {
    @Test func whatDoesNotListenIsRefused() throws {
        let file = dup(STDERR_FILENO)
        let stream = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer {
            close(file)
            close(stream)
        }
        #expect(throws: SocketError.system(call: "adopt listener", errno: ENOTSOCK)) {
            _ = try Listener(inheriting: file)
        }
        #expect(throws: SocketError.system(call: "adopt listener", errno: EINVAL)) {
            _ = try Listener(inheriting: stream)
        }
        #expect(throws: SocketError.system(call: "adopt listener", errno: EBADF)) {
            _ = try Listener(inheriting: 1 << 20)
        }
    }

    @Test func whoWaitedInTheBacklogIsServed() throws {
        let bound = try Listener(at: .network(host: "127.0.0.1", port: 0))
        let port = bound.address.port
        let early = try Client(port)
        try early.send(ExchangeTests.get)
        let inherited = dup(bound.descriptor.number)
        try TestServer.with(inherited: [inherited]) { (test: TestServer) throws in
            #expect(test.port == port)
            #expect(try early.answer().text == "hello")
            #expect(fcntl(inherited, F_GETFD) == FD_CLOEXEC)
        }
    }
}
