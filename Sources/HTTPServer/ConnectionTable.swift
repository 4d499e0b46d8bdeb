/// The connections that wait in one loop, each in its slot, with the moments at which the loop must act on them.
struct ConnectionTable: ~Copyable {
    /// A place for a connection. Its generation tells a late event from one of the present connection.
    private final class Slot {
        var connection: Connection?
        var generation: UInt32 = 0
    }

    private var slots: [Slot] = []
    private var free: [Int] = []
    private var deadlines: [ContinuousClock.Instant] = []
    /// Slots in use; their connections are here or with a thread.
    private(set) var open = 0
    /// Bytes that connections hold while they wait here.
    private(set) var held = 0

    /// All slots, free ones too.
    var indices: Range<Int> { slots.indices }

    /// Takes a free slot.
    mutating func occupy(_ now: ContinuousClock.Instant) -> Int {
        let index = free.popLast() ?? slots.count
        if index == slots.count {
            slots.append(Slot())
            deadlines.append(now)
        }
        open += 1
        return index
    }

    /// Frees a slot; tokens of its connection name nobody from now on.
    mutating func release(_ index: Int) {
        slots[index].generation &+= 1
        free.append(index)
        open -= 1
    }

    /// What names the present connection of a slot in a poller: a value, never an address.
    func token(_ index: Int) -> UInt64 { UInt64(slots[index].generation) << 32 | UInt64(index) }

    /// The connection of a slot, unless it is with a thread.
    mutating func take(_ index: Int) -> Connection? {
        guard let connection = slots[index].connection.take() else { return nil }
        held -= connection.heldBytes
        return connection
    }

    /// The connection of a token, unless it is gone or with a thread.
    mutating func take(token: UInt64) -> Connection? {
        let index = Int(token & 0xFFFF_FFFF)
        return slots[index].generation == UInt32(token >> 32) ? take(index) : nil
    }

    /// Lets a connection wait in its slot.
    mutating func store(_ connection: consuming Connection, _ limits: ServerLimits) {
        let index = connection.slot
        held += connection.heldBytes
        deadlines[index] = connection.deadline(limits)
        slots[index].connection = consume connection
    }

    /// The connection of a slot whose deadline has passed.
    mutating func takeExpired(_ index: Int, _ now: ContinuousClock.Instant) -> Connection? {
        deadlines[index] <= now ? take(index) : nil
    }
}
