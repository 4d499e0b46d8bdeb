/// A pattern for tensor names: `*` stands for any characters, `?` for one, everything else for itself.
///
/// The whole name must match. A `.` is a character like any other. Characters are Unicode scalars, compared without
/// normalization.
package struct Glob: Sendable, Hashable {
    /// The pattern as it was given.
    package let pattern: String
    private let scalars: [Unicode.Scalar]

    /// Takes any text as a pattern.
    package init(_ pattern: String) {
        self.pattern = pattern
        var scalars: [Unicode.Scalar] = []
        for scalar in pattern.unicodeScalars where scalar != "*" || scalars.last != "*" {
            scalars.append(scalar)
        }
        self.scalars = scalars
    }

    /// Whether the pattern covers the whole name.
    package func matches(_ name: String) -> Bool {
        var steps = 0
        return matches(name, steps: &steps)
    }

    /// Whether the pattern covers the whole name; adds the comparisons that it took to `steps`.
    ///
    /// A mismatch returns to the last `*` alone, and that only moves forward: at most name × pattern steps.
    package func matches(_ name: String, steps: inout Int) -> Bool {
        let name = name.unicodeScalars
        var (place, next) = (name.startIndex, 0)
        var retry: (place: String.Index, next: Int)?
        while place < name.endIndex {
            steps += 1
            if next < scalars.count, scalars[next] == "*" {
                next += 1
                if next == scalars.count { return true }
                retry = (place, next)
            } else if next < scalars.count, scalars[next] == "?" || scalars[next] == name[place] {
                next += 1
                name.formIndex(after: &place)
            } else if let last = retry {
                let after = name.index(after: last.place)
                retry = (after, last.next)
                (place, next) = (after, last.next)
            } else {
                return false
            }
        }
        return scalars[next...].allSatisfy { $0 == "*" }
    }
}
