/// One raw request, or several in a row, with what a server may answer; read from `Tests/Fixtures/http`.
package struct AttackCase: Sendable, CustomStringConvertible {
    /// What may come back to one of the requests.
    package struct Answer: Sendable {
        /// What becomes of the connection afterwards.
        package enum Afterwards: String, Sendable {
            case keep, close, any
        }

        /// The statuses that the section allows.
        package let statuses: Set<Int>
        /// Whether the connection serves the next request.
        package let afterwards: Afterwards
        /// Whether the bytes themselves are refused, rather than what they ask for.
        package let isRefusal: Bool
        /// Whether the request was HEAD.
        package var isToHead = false
        /// Texts that the answer holds.
        package var says: [String] = []
        /// Texts that the answer must not hold.
        package var never: [String] = []
    }

    /// What is tried.
    package let name: String
    /// The RFC and its section: `9112 6.3`.
    package let section: String
    /// The bytes to be sent.
    package internal(set) var bytes: [UInt8] = []
    /// What is answered, in order; empty when nothing may be.
    package internal(set) var answers: [Answer] = []
    /// Whether the client ends its half behind the bytes.
    package internal(set) var endsItsHalf = false

    package var description: String { "\(section) \(name)" }

    /// A request behind every case: it is answered where the connection is kept, and nowhere else.
    package static let canary = Array(
        "GET /canary HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".utf8)

    /// What bytes of a case ask for that are no request there: no answer may name it.
    package static let contraband = "/smuggled"

    /// What is sent: the bytes, and the canary unless the client has said all it has to say.
    package var transmission: [UInt8] { endsItsHalf ? bytes : bytes + Self.canary }

    init(name: String, section: String) {
        self.name = name
        self.section = section
    }
}

/// A line of the corpus that says nothing.
package struct CorpusError: Error, CustomStringConvertible {
    package let description: String
}
