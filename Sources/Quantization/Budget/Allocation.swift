/// One option for each of several groups, with the least error within a budget: the multiple-choice knapsack.
///
/// A greedy walk along the lower convex hulls gives a first solution and, from the slope where it stops, a Lagrangian
/// bound; then sums are extended group by group, and those dropped that another sum dominates or that the bound shows
/// to be no better (Nemhauser and Ullmann 1969, with reduced-cost pruning as in Dyer 1984).
struct Allocation: Equatable {
    /// What choosing an option takes and loses.
    struct Option: Equatable {
        let bytes: Int
        let error: Double
    }

    /// The option of each group.
    private(set) var choices: [Int]
    private(set) var bytes: Int
    private(set) var error: Double
    /// Whether no other choice has less error; false where there were too many sums to look at.
    private(set) var isOptimal = false

    /// Sums that are kept at a time, and over all groups.
    static let maximumStates = 1 << 15
    private static let maximumSteps = 1 << 22

    /// The best choice for `groups`, each with one option at least; nil where none is within `budget`.
    static func best(
        of groups: [[Option]], budget: Int, maximumStates: Int = Allocation.maximumStates
    ) -> Allocation? {
        guard let (first, slope) = greedy(groups, budget) else { return nil }
        return improved(first, groups, budget, slope, maximumStates)
    }

    private init(choices: [Int], groups: [[Option]]) {
        self.choices = choices
        bytes = zip(choices, groups).reduce(0) { $0 + $1.1[$1.0].bytes }
        error = zip(choices, groups).reduce(0) { $0 + $1.1[$1.0].error }
    }

    /// A step along the hull of one group.
    private struct Step {
        let group: Int
        let option: Int
        let bytes: Int
        /// Error saved by a byte.
        let slope: Double
    }

    private static func greedy(_ groups: [[Option]], _ budget: Int) -> (Allocation, slope: Double)? {
        var choices: [Int] = []
        var steps: [Step] = []
        for (index, options) in groups.enumerated() {
            let hull = hull(options)
            guard let start = hull.first else { return nil }
            choices.append(start)
            for (from, to) in zip(hull, hull.dropFirst()) {
                let bytes = options[to].bytes - options[from].bytes
                let slope = (options[from].error - options[to].error) / Double(bytes)
                steps.append(Step(group: index, option: to, bytes: bytes, slope: slope))
            }
        }
        var used = zip(choices, groups).reduce(0) { $0 + $1.1[$1.0].bytes }
        guard used <= budget else { return nil }
        // Equal slopes keep their order, so that the same input gives the same choice.
        let order = steps.indices.sorted {
            steps[$0].slope == steps[$1].slope ? $0 < $1 : steps[$0].slope > steps[$1].slope
        }
        var isStopped = [Bool](repeating: false, count: groups.count)
        var slope = 0.0
        for step in order.map({ steps[$0] }) where !isStopped[step.group] {
            if step.bytes <= budget - used {
                choices[step.group] = step.option
                used += step.bytes
            } else {
                isStopped[step.group] = true
                slope = max(slope, step.slope)
            }
        }
        fill(&choices, groups, room: budget - used)
        return (Allocation(choices: choices, groups: groups), slope)
    }

    /// What is left goes to the groups that gain most, options above the hull included.
    private static func fill(_ choices: inout [Int], _ groups: [[Option]], room: Int) {
        var room = room
        func best(_ group: Int, _ room: Int) -> (option: Int, gain: Double)? {
            let now = groups[group][choices[group]]
            var best: (option: Int, gain: Double)?
            for (index, option) in groups[group].enumerated() where option.bytes - now.bytes <= room {
                let gain = now.error - option.error
                if gain > (best?.gain ?? 0) { best = (index, gain) }
            }
            return best
        }
        let gains = groups.indices.compactMap { group in best(group, room).map { (group: group, gain: $0.gain) } }
        for (group, _) in gains.sorted(by: { $0.gain == $1.gain ? $0.group < $1.group : $0.gain > $1.gain }) {
            guard let better = best(group, room) else { continue }
            room -= groups[group][better.option].bytes - groups[group][choices[group]].bytes
            choices[group] = better.option
        }
    }

    /// The options on the lower convex hull, bytes rising and error falling.
    private static func hull(_ options: [Option]) -> [Int] {
        let order = options.indices.sorted {
            (options[$0].bytes, options[$0].error) < (options[$1].bytes, options[$1].error)
        }
        var hull: [Int] = []
        for index in order {
            if let last = hull.last, options[index].error >= options[last].error { continue }
            while hull.count > 1 {
                let (a, b) = (options[hull[hull.count - 2]], options[hull[hull.count - 1]])
                let first = (a.error - b.error) * Double(options[index].bytes - b.bytes)
                let second = (b.error - options[index].error) * Double(b.bytes - a.bytes)
                guard second >= first else { break }
                hull.removeLast()
            }
            hull.append(index)
        }
        return hull
    }

    private struct State {
        let bytes: Int
        let error: Double
        let parent: Int32
        let option: Int32
    }

    private static func improved(
        _ first: Allocation, _ groups: [[Option]], _ budget: Int, _ slope: Double, _ maximumStates: Int
    ) -> Allocation {
        var restLeast = [Int](repeating: 0, count: groups.count + 1)
        var restBound = [Double](repeating: 0, count: groups.count + 1)
        for (index, options) in groups.enumerated().reversed() {
            restLeast[index] = restLeast[index + 1] + (options.map(\.bytes).min() ?? 0)
            let bound = options.map { $0.error + slope * Double($0.bytes) }.min() ?? 0
            restBound[index] = restBound[index + 1] + bound
        }
        // A gain that rounding could have made is none.
        let goal = first.error * (1 - 1e-12)
        var stages: [[State]] = [[State(bytes: 0, error: 0, parent: 0, option: 0)]]
        var steps = 0
        var best = first
        for (index, options) in groups.enumerated() {
            let last = stages[index]
            var next: [State] = []
            for (parent, state) in last.enumerated() {
                for (number, option) in options.enumerated() {
                    let bytes = state.bytes + option.bytes
                    let error = state.error + option.error
                    guard bytes + restLeast[index + 1] <= budget,
                        error + slope * (Double(bytes) - Double(budget)) + restBound[index + 1] < goal
                    else { continue }
                    next.append(
                        State(
                            bytes: bytes, error: error, parent: Int32(truncatingIfNeeded: parent),
                            option: Int32(truncatingIfNeeded: number)))
                }
            }
            next = undominated(next)
            steps += next.count
            guard next.count <= maximumStates, steps <= maximumSteps else { return first }
            stages.append(next)
            if next.isEmpty {
                best.isOptimal = true
                return best
            }
        }
        if let end = stages[groups.count].indices.min(by: {
            stages[groups.count][$0].error < stages[groups.count][$1].error
        }) {
            best = Allocation(choices: path(to: end, stages), groups: groups)
            if best.error > first.error { best = first }
        }
        best.isOptimal = true
        return best
    }

    private static func undominated(_ states: [State]) -> [State] {
        var least = Double.infinity
        return states.sorted { ($0.bytes, $0.error) < ($1.bytes, $1.error) }.filter { state in
            guard state.error < least else { return false }
            least = state.error
            return true
        }
    }

    private static func path(to end: Int, _ stages: [[State]]) -> [Int] {
        var choices: [Int] = []
        var place = end
        for stage in stages.dropFirst().reversed() {
            choices.append(Int(stage[place].option))
            place = Int(stage[place].parent)
        }
        return choices.reversed()
    }
}
