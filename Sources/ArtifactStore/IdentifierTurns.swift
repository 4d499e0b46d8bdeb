import Synchronization

/// Lets one request at a time change what a set of identifiers means.
///
/// Files and rows are two steps. Unless they are one to every other request, a removal may fall between the files and
/// the row of a publish, and the row then names files that are gone.
final class IdentifierTurns: Sendable {
    /// A lock that an array can hold.
    private final class Turn: Sendable {
        let mutex = Mutex(())
    }

    /// Identifiers share locks by their hash: more locks than threads, so that strangers seldom wait.
    private let turns = (0..<256).map { _ in Turn() }

    /// Calls `body` while nobody else is in the turn of one of `ids`.
    func take<Outcome: Sendable, Failure: Error>(
        _ ids: [String], _ body: () throws(Failure) -> Outcome
    ) throws(Failure) -> Outcome {
        // In ascending order and each once, so that no two callers wait for each other.
        let places = Set(ids.map { id in id.utf8.reduce(0) { ($0 &* 31 &+ Int($1)) & 255 } }).sorted()
        return try take(places[...], body)
    }

    private func take<Outcome: Sendable, Failure: Error>(
        _ places: ArraySlice<Int>, _ body: () throws(Failure) -> Outcome
    ) throws(Failure) -> Outcome {
        guard let first = places.first else { return try body() }
        return try turns[first].mutex.withLock { (_) throws(Failure) in try take(places.dropFirst(), body) }
    }
}
