/// A name that equals another only when their UTF-8 bytes are equal.
///
/// `String` compares by canonical equivalence: it would take distinct names for one, and its normalization takes
/// time in the square of a run of combining marks, which a sender could choose.
package struct ExactName: Hashable {
    /// The name.
    package let name: String

    /// Wraps a name for comparison by bytes.
    package init(_ name: String) {
        self.name = name
    }

    /// Whether the bytes are equal.
    package static func == (left: ExactName, right: ExactName) -> Bool {
        left.name.utf8.elementsEqual(right.name.utf8)
    }

    /// Hashes the bytes.
    package func hash(into hasher: inout Hasher) {
        // Normalization leaves ASCII as it is, and String hashes it without a copy.
        if name.utf8.allSatisfy({ $0 < 0x80 }) {
            hasher.combine(name)
        } else {
            hasher.combine(Array(name.utf8))
        }
    }
}
