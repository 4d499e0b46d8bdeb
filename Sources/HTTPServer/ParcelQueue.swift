/// Parcels in the order they came, but that clients take turns: what is one's first here goes before another's second.
struct ParcelQueue {
    /// The most parcels that a new one is compared with.
    private static let mostCompared = 64

    private var parcels: [Parcel] = []
    private var taken = 0

    var count: Int { parcels.count - taken }

    mutating func append(_ parcel: Parcel) {
        let front = parcels[taken...].prefix(Self.mostCompared)
        let own = front.count { $0.origin.client == parcel.origin.client }
        var counts: [String: Int] = [:]
        let place = front.indices.first { index in
            guard parcel.origin.client != nil, let other = front[index].origin.client else { return false }
            counts[other, default: 0] += 1
            return counts[other, default: 0] > own + 1
        }
        parcels.insert(parcel, at: place ?? parcels.count)
    }

    mutating func takeFirst() -> Parcel? {
        guard taken < parcels.count else { return nil }
        let parcel = parcels[taken]
        taken += 1
        if taken == parcels.count {
            parcels.removeAll(keepingCapacity: true)
            taken = 0
        } else if taken > 1024 {
            parcels.removeFirst(taken)
            taken = 0
        }
        return parcel
    }

    /// Takes out the last one of the client that has the most here, if that is more than who comes would have then.
    mutating func makeRoom(for parcel: Parcel) -> Parcel? {
        guard let client = parcel.origin.client else { return nil }
        let back = parcels[taken...].suffix(Self.mostCompared)
        var counts: [String: Int] = [:]
        for waiting in back where !waiting.next.isAnswer {
            if let client = waiting.origin.client { counts[client, default: 0] += 1 }
        }
        guard let most = counts.max(by: { $0.value < $1.value }), most.value > counts[client, default: 0] + 1,
            let index = back.lastIndex(where: { $0.origin.client == most.key && !$0.next.isAnswer })
        else { return nil }
        return parcels.remove(at: index)
    }

    /// Takes out those that are meant.
    mutating func take(where isMeant: (Parcel) -> Bool) -> [Parcel] {
        let waiting = parcels[taken...]
        parcels = waiting.filter { !isMeant($0) }
        taken = 0
        return waiting.filter(isMeant)
    }
}
