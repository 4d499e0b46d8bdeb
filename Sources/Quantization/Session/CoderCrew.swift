import Dispatch

/// Coders of one kind that work on a batch together, each on a contiguous share of its units and in memory of its own.
///
/// How many there are does not show in the artifact: what a coder makes of a unit depends on that unit alone, and the
/// caller takes what they made in the order of the units.
struct CoderCrew<Coder: AnyObject & Sendable> {
    private let coders: [Coder]
    /// Most units of one share.
    private let shareUnits: Int

    /// About this many elements are one coder's share: 128 KiB as float32, which stays in a core's L2 cache, and work
    /// for some ten times as long as another thread takes to wake.
    private static var shareElements: Int { 1 << 15 }

    /// At most `threads` coders for units of a tensor of `elements`, each made for the most units that it is given.
    ///
    /// No more and no larger than the tensor needs, for a file may hold many tiny ones; and one alone where a unit is
    /// larger than a share, so that memory does not grow with the threads.
    init(unitElements: Int, elements: Int, threads: Int, make: (_ units: Int) -> Coder) {
        let all = (elements - 1) / unitElements + 1
        let shareUnits = max(1, min(Self.shareElements / unitElements, all))
        let count = unitElements > Self.shareElements ? 1 : max(1, min(threads, (all - 1) / shareUnits + 1))
        self.shareUnits = shareUnits
        coders = (0..<count).map { _ in make(shareUnits) }
    }

    /// Most units of one batch.
    var batchUnits: Int { coders.count * shareUnits }

    /// Calls `body` for each share of `units`, on all cores, and returns the coders that had one, in the order of the
    /// units. A single share is worked on by the caller alone.
    func work(on units: Int, _ body: @Sendable (Coder, Range<Int>) -> Void) -> ArraySlice<Coder> {
        let shares = (units - 1) / shareUnits + 1
        if shares == 1 {
            body(coders[0], 0..<units)
        } else {
            DispatchQueue.concurrentPerform(iterations: shares) { share in
                body(coders[share], units * share / shares..<units * (share + 1) / shares)
            }
        }
        return coders[..<shares]
    }

    /// The coder that goes on with what another crew's coders have counted.
    var first: Coder { coders[0] }

    /// Every coder, for what they have counted.
    func forEach(_ body: (Coder) -> Void) { coders.forEach(body) }
}
