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

extension String {
    /// The text in front of a suffix of ASCII, nil when the bytes do not end in it.
    ///
    /// `hasSuffix` and `dropLast` count characters, which for a name of combining marks costs the time of finding them.
    package func before(suffix: String) -> String? {
        guard utf8.count >= suffix.utf8.count, utf8.suffix(suffix.utf8.count).elementsEqual(suffix.utf8) else {
            return nil
        }
        return String(Substring(utf8.dropLast(suffix.utf8.count)))
    }

    /// The module of a tensor called `leaf` or `<module>.leaf`: `""` or `<module>.`; nil for every other name.
    package func module(ofLeaf leaf: String) -> String? {
        guard let module = before(suffix: leaf), module.isEmpty || module.utf8.last == UInt8(ascii: ".") else {
            return nil
        }
        return module
    }
}
