import Dispatch
internal import Synchronization

/// What one thread does for an encoder: codes whole units of a weight, each by itself.
protocol UnitCoder: AnyObject, Sendable {
    /// What is made of a share of units and waits there for the encoder.
    associatedtype Made
    /// The errors of all calls.
    var histogram: ErrorCounts { get set }
    /// max |x| of all calls.
    var maximumSignal: Double { get }
    /// Codes `units` whole units, the first of which is unit `first` of the weight; `made` is written anew.
    func code(
        _ stored: RawSpan, units: Int, from first: Int, into made: inout Made, _ kernels: Kernels
    ) throws(QuantizationError)
}

/// Coders of one kind that work on a batch together, one a thread, in memory of their own.
///
/// How many there are does not show in the artifact: what is made of a unit depends on that unit alone, and the encoder
/// takes what they made in the order of the units.
struct CoderCrew<Coder: UnitCoder> {
    let coders: [Coder]
    private let shares: [CodedShare<Coder.Made>]
    /// Most units of one share.
    private let shareUnits: Int
    /// Most whole units of one batch.
    let batchUnits: Int

    /// At most `threads` coders for units of a tensor of `elements`; `room` makes the place of a share.
    ///
    /// No more and no larger than the tensor needs, for a file may hold many tiny ones.
    init(_ size: CrewSize, coder: () -> Coder, room: (_ units: Int) -> Coder.Made) {
        shareUnits = size.shareUnits
        batchUnits = size.batchUnits
        coders = (0..<size.threads).map { _ in coder() }
        shares = (0..<size.places).map { _ in CodedShare(room(size.shareUnits)) }
    }

    /// Codes `head`, which is one unit or empty, and the units of `whole` behind it, on all threads; the first of them
    /// is unit `first` of the weight. `take` gets what was made of each share and how many units it had, in order and
    /// one after the other, though not always on the caller's thread. The first refusal in the order of the units is
    /// thrown.
    func work(
        _ head: RawSpan, _ whole: RawSpan, unitBytes: Int, from first: Int, _ kernels: Kernels,
        _ take: (Coder.Made, Int) throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        let heads = head.byteCount / unitBytes
        let units = whole.byteCount / unitBytes
        let bodies = (units + shareUnits - 1) / shareUnits
        @Sendable func code(_ share: Int, _ coder: Coder, _ place: CodedShare<Coder.Made>) {
            guard share >= heads else { return place.fill(coder, head, units: 1, from: first, kernels) }
            let range = units * (share - heads) / bodies..<units * (share - heads + 1) / bodies
            place.fill(
                coder, whole.extracting(range.lowerBound * unitBytes..<range.upperBound * unitBytes),
                units: range.count, from: first + heads + range.lowerBound, kernels)
        }
        guard coders.count > 1, heads + bodies > 1 else {
            for share in 0..<heads + bodies {
                code(share, coders[0], shares[0])
                try shares[0].hand(to: take)
            }
            return
        }
        let turns = Turns(count: heads + bodies)
        withoutActuallyEscaping(take) { take in
            let taking = Taking(take: take)
            DispatchQueue.concurrentPerform(iterations: min(coders.count, heads + bodies)) { thread in
                while let share = turns.next() {
                    code(share, coders[thread], shares[share])
                    var ready = turns.isDone(share)
                    while let taken = ready {
                        do throws(QuantizationError) {
                            try shares[taken].hand(to: taking.take)
                            ready = turns.isTaken()
                        } catch {
                            ready = turns.fail(error)
                        }
                    }
                }
                turns.awaitOthers()
            }
        }
        if let failure = turns.failure { throw failure }
    }

    /// Lets one coder work by itself, and returns what it made.
    func alone(
        _ body: (Coder, inout Coder.Made) throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> Coder.Made {
        try body(coders[0], &shares[0].made)
        return shares[0].made
    }

    /// The errors that all coders have counted; the largest weight that they have seen goes to `sums`.
    func gather(_ sums: inout QualitySums) -> ErrorCounts {
        var histogram = ErrorCounts()
        for coder in coders {
            histogram.add(coder.histogram)
            sums.maximumSignal = max(sums.maximumSignal, coder.maximumSignal)
        }
        return histogram
    }

    /// Adds where an encoder stands whose units come from `feed`: its unfinished unit, its sums, what all coders have
    /// counted.
    func save(_ feed: ElementFeed, _ sums: inout QualitySums, to state: inout StateWriter) {
        feed.save(to: &state)
        let histogram = gather(&sums)
        sums.save(to: &state)
        histogram.save(to: &state)
    }

    /// Takes up what `save` left of an encoder that had taken `taken` bytes, and returns how many units it had done.
    func restore(
        _ feed: ElementFeed, _ sums: inout QualitySums, from state: inout StateReader, taken: Int
    ) throws(QuantizationError) -> Int {
        let units = try feed.restore(from: &state, taken: taken)
        sums = try QualitySums(from: &state, count: units * feed.unitElements)
        coders[0].histogram = try ErrorCounts(from: &state, count: sums.count)
        return units
    }
}

/// How many coders an encoder has, and how much each is given.
struct CrewSize {
    /// Most units of one share, which one coder codes at once.
    let shareUnits: Int
    /// Most whole units of one batch, which all coders work on together.
    let batchUnits: Int
    /// Coders.
    let threads: Int
    /// Places for what is made of a share: all those of a batch and the unit in front of it; a lone coder has one.
    let places: Int
    private let shareElements: Int

    /// About this many elements are one share: 64 KiB as float32, which stays in a core's L2 cache.
    private static let shareElements = 1 << 14
    /// About this many elements are a batch: work for some ten times as long as another thread takes to wake.
    private static let batchElements = 1 << 19
    /// Where a unit is larger one coder works alone, so that memory does not grow with the threads.
    private static let largestUnit = 1 << 16

    /// The crew for units of `unitElements` in a tensor of `elements`, on at most `threads` threads.
    init(unitElements: Int, elements: Int, threads: Int, maximumShareUnits: Int = .max) {
        let unitElements = max(1, unitElements)
        let all = max(1, (elements - 1) / unitElements + 1)
        shareUnits = max(1, min(Self.shareElements / unitElements, all, maximumShareUnits))
        batchUnits = max(1, min(Self.batchElements / unitElements, all))
        let shares = (batchUnits + shareUnits - 1) / shareUnits
        self.threads = unitElements > Self.largestUnit ? 1 : max(1, min(threads, shares))
        places = self.threads > 1 ? shares + 1 : 1
        shareElements = shareUnits * unitElements
    }

    /// Bytes of memory of all coders and places, at most: an element takes 4 as float32, its code and its part of a
    /// scale and of the sums up to 3; a coder's counts and the grids of its search are 0.3 MiB.
    var bytes: Int { threads * (shareElements * 4 + 320 << 10) + places * shareElements * 3 }
}

/// What a coder made of one share, or why it refused to.
private final class CodedShare<Made>: @unchecked Sendable {
    // Invariant: one thread fills it, and only then one reads it: `Turns` hands it from one to the other.
    fileprivate(set) var made: Made
    private var units = 0
    private var failure: QuantizationError?

    init(_ made: Made) {
        self.made = made
    }

    func fill<Coder: UnitCoder>(
        _ coder: Coder, _ stored: RawSpan, units: Int, from first: Int, _ kernels: Kernels
    ) where Coder.Made == Made {
        self.units = units
        do throws(QuantizationError) {
            try coder.code(stored, units: units, from: first, into: &made, kernels)
            failure = nil
        } catch {
            failure = error
        }
    }

    func hand(to take: (Made, Int) throws(QuantizationError) -> Void) throws(QuantizationError) {
        if let failure { throw failure }
        try take(made, units)
    }
}

/// What the encoder does with each share.
private struct Taking<Made>: @unchecked Sendable {
    // Invariant: `Turns` lets one thread at a time call it, and `work` returns after the last call.
    let take: (Made, Int) throws(QuantizationError) -> Void
}

/// Who codes which share of a batch, and who takes it: each share once, in order, by one thread at a time.
private final class Turns: Sendable {
    private let count: Int
    private let given = Atomic(0)
    private let coded = Atomic(0)
    /// How often a thread looks for the others: some 100 µs, in which any codes a share.
    private static let looks = 1 << 17
    private let state: Mutex<State>

    private struct State {
        var done: [Bool]
        var taken = 0
        var isTaking = false
        var failure: QuantizationError?

        /// The next share to take, if it is there.
        mutating func ready() -> Int? {
            isTaking = failure == nil && taken < done.count && done[taken]
            return isTaking ? taken : nil
        }
    }

    init(count: Int) {
        self.count = count
        state = Mutex(State(done: [Bool](repeating: false, count: count)))
    }

    /// The next share to code; nil when all are given out.
    func next() -> Int? {
        let share = given.add(1, ordering: .relaxed).oldValue
        return share < count ? share : nil
    }

    /// Says that a share is coded, and returns the share that the caller is to take; nil where there is none, or
    /// another thread is taking already and will come to it.
    func isDone(_ share: Int) -> Int? {
        coded.add(1, ordering: .relaxed)
        return state.withLock { state in
            state.done[share] = true
            return state.isTaking ? nil : state.ready()
        }
    }

    /// Says that the share to take is taken, and returns the next one.
    func isTaken() -> Int? {
        state.withLock { state in
            state.taken += 1
            return state.ready()
        }
    }

    /// Ends the batch: nothing behind the refusal is taken.
    func fail(_ error: QuantizationError) -> Int? {
        state.withLock { state in
            state.failure = error
            return state.ready()
        }
    }

    /// Waits a while for the last shares without sleeping: a thread that sleeps now wakes later than they take, and is
    /// not at hand when the next batch comes.
    func awaitOthers() {
        var looks = Self.looks
        while looks > 0, coded.load(ordering: .relaxed) < count { looks -= 1 }
    }

    var failure: QuantizationError? { state.withLock { $0.failure } }
}
