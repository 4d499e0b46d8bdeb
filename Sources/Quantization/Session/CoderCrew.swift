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
    private let turns: Turns
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
        turns = Turns(threads: size.threads, places: size.places)
    }

    /// Codes `head`, which is one unit or empty, and the units of `whole` behind it, on all threads; the first of them
    /// is unit `first` of the weight. `take` gets what was made of each share and how many units it had, in order and
    /// one after the other, though not always on the caller's thread. The first refusal in the order of the units is
    /// thrown.
    func work(
        _ head: RawSpan, _ whole: RawSpan, unitBytes: Int, from first: Int, _ workplace: Workplace,
        _ take: (Coder.Made, Int) throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        let heads = head.byteCount / unitBytes
        let units = whole.byteCount / unitBytes
        let bodies = (units + shareUnits - 1) / shareUnits
        turns.begin(count: heads + bodies)
        workplace.threads.share(among: min(coders.count, heads + bodies)) { thread in
            while let (share, place) = turns.next(for: thread) {
                let range =
                    share < heads ? 0..<1 : units * (share - heads) / bodies..<units * (share - heads + 1) / bodies
                let stored = (share < heads ? head : whole).extracting(
                    range.lowerBound * unitBytes..<range.upperBound * unitBytes)
                shares[place].fill(
                    coders[thread], stored, units: range.count,
                    from: first + (share < heads ? 0 : heads) + range.lowerBound, workplace.kernels)
                var ready = turns.isDone(share, at: place, by: thread)
                while let taken = ready {
                    ready = turns.isTaken(by: thread, failure: shares[taken].hand(to: take))
                }
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

    init(_ made: Made) { self.made = made }

    func fill<Coder: UnitCoder>(
        _ coder: Coder, _ stored: RawSpan, units: Int, from first: Int, _ kernels: Kernels
    ) where Coder.Made == Made {
        (self.units, failure) = (units, nil)
        do throws(QuantizationError) {
            try coder.code(stored, units: units, from: first, into: &made, kernels)
        } catch { failure = error }
    }

    /// Why it was not taken, if it was not.
    func hand(to take: (Made, Int) throws(QuantizationError) -> Void) -> QuantizationError? {
        if let failure { return failure }
        do throws(QuantizationError) { try take(made, units) } catch { return error }
        return nil
    }
}

/// Who codes which share of a batch at which place, and who takes it: each share once, in order, by one thread at a
/// time.
///
/// A line of memory that goes from one core to another takes 50 ns, and 180 where they have no cache in common
/// (docs/PERFORMANCE.md). Each thread therefore has places of its own, and takes what it has coded; what others have
/// coded only when nothing is left to code.
private final class Turns: Sendable {
    private let state: Mutex<State>

    private struct State {
        /// For each share that is coded its place.
        var places: [Int?] = []
        var given = 0
        var taken = 0
        var isTaking = false
        var failure: QuantizationError?
        /// For each thread the free ones of its places.
        var free: [[Int]]

        /// The place of the next share to take, if it is there and for this thread.
        mutating func ready(_ thread: Int) -> Int? {
            isTaking = false
            guard failure == nil, taken < places.count, let place = places[taken],
                place % free.count == thread || given == places.count
            else { return nil }
            isTaking = true
            return place
        }
    }

    init(threads: Int, places: Int) {
        state = Mutex(State(free: (0..<threads).map { Array(stride(from: $0, to: places, by: threads)) }))
    }

    /// Begins a batch of `count` shares.
    func begin(count: Int) { state.withLock { $0 = State(places: Array(repeating: nil, count: count), free: $0.free) } }

    /// The next share to code, and where; nil when all are given out, or one was refused.
    func next(for thread: Int) -> (share: Int, place: Int)? {
        state.withLock { state in
            let share = state.given
            let owner = state.free[thread].isEmpty ? state.free.firstIndex { !$0.isEmpty } : thread
            guard share < state.places.count, state.failure == nil, let owner, let place = state.free[owner].popLast()
            else { return nil }
            state.given += 1
            return (share, place)
        }
    }

    /// Says that a share is coded, and returns the place of the share that the caller is to take; nil where there is
    /// none, or another thread is taking already or will.
    func isDone(_ share: Int, at place: Int, by thread: Int) -> Int? {
        state.withLock { state in
            state.places[share] = place
            return state.isTaking ? nil : state.ready(thread)
        }
    }

    /// Says that the share to take is taken, and returns the place of the next one; behind a refusal nothing is taken.
    func isTaken(by thread: Int, failure: QuantizationError?) -> Int? {
        state.withLock { state in
            if let place = state.places[state.taken] { state.free[place % state.free.count].append(place) }
            state.taken += 1
            state.failure = failure
            return state.ready(thread)
        }
    }

    var failure: QuantizationError? { state.withLock { $0.failure } }
}
