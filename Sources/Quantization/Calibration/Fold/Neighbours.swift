package import Tensors

/// The other files of a model of which a session gets one: what a Linear of one file reads may be made in another.
///
/// Each session searches the scales that touch its own tensors, those of Linears that lie apart once in each; it reads
/// the same bytes each time, and so finds the same.
package struct Neighbours {
    /// One file of the model.
    package struct File {
        /// Its name, for errors.
        package let name: String
        /// What its header says.
        package let input: InputDescription
        /// All of its bytes.
        package let bytes: any StoredBytes

        /// Names a file and lends its bytes.
        package init(name: String, input: InputDescription, bytes: any StoredBytes) {
            self.name = name
            self.input = input
            self.bytes = bytes
        }
    }

    private let files: [File]
    /// The tensors of all files, in their order.
    let entries: [TensorEntry]
    /// For each entry its file.
    private let homes: [Int]

    /// All files of the model but the session's own.
    package init(_ files: [File]) {
        self.files = files
        entries = files.flatMap(\.input.entries)
        homes = files.enumerated().flatMap { [Int](repeating: $0.offset, count: $0.element.input.entries.count) }
    }

    /// The file that holds an entry.
    func fileName(of index: Int) -> String { files[homes[index]].name }

    /// Where an entry lies.
    func tensor(_ index: Int) -> CalibrationTensor {
        let file = files[homes[index]]
        return CalibrationTensor(entries[index], base: file.input.dataOffset, storage: file.bytes)
    }
}

/// What becomes of the tensors of a model's other files.
struct NeighbourTreatments {
    let entries: [TensorEntry]
    let treatments: [Treatment]
    private let neighbours: Neighbours?

    /// Sorts the tensors of `neighbours` as their own sessions will.
    init(_ neighbours: Neighbours?, _ selection: TensorSelection, limits: SessionLimits) throws(QuantizationError) {
        self.neighbours = neighbours
        entries = neighbours?.entries ?? []
        treatments = entries.isEmpty ? [] : try selection.treatments(of: entries, limits: limits).treatments
    }

    /// Refuses what a session cannot read from another file: FP8 weights, whose values need scales.
    func check(_ plan: FoldPlan?, local: Int) throws(QuantizationError) {
        for group in plan?.groups ?? [] {
            guard let far = group.tensors.first(where: { $0 >= local && entries[$0 - local].isFP8 }) else { continue }
            let file = neighbours?.fileName(of: far - local) ?? ""
            throw FoldLayer.incomplete(
                "'\(entries[far - local].name)' is FP8 and lies in \(file), what it is scaled with in another file; "
                    + "put them into one")
        }
    }
}
