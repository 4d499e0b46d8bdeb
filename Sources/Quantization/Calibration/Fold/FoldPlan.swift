import Tensors

/// How a tensor of the model reaches the artifact, as far as folding is concerned.
enum FoldCoding: Sendable, Equatable {
    /// Coded from weights whose rows and columns may be scaled first; whether anything is known of their inputs.
    case scalable(hasData: Bool)
    /// Written in its own type, scaled or not.
    case copied
    /// Coded otherwise: it cannot be scaled.
    case fixed
    /// No part of the model: calibration data, the scales of an FP8 weight.
    case absent
}

/// An operation whose output is divided by scales, and the Linears that read it, whose columns are multiplied by them.
///
/// Numbers are positions in the model's list of tensors.
struct FoldGroup: Sendable, Equatable {
    /// What is divided.
    enum Previous: Sendable, Equatable {
        /// All of a norm's weight; one is added to it first where the model does so.
        case norm(addsOne: Bool)
        /// The last rows of a Linear, as many as there are scales.
        case rows
    }

    let previous: Previous
    /// The weight in front of the readers.
    let before: Int
    /// Its bias, if it has one.
    let bias: Int?
    /// The weights of the Linears, coded or not.
    let readers: [Int]
    /// Those of them that are coded and of whose inputs something is known: the scales are searched for them.
    let searched: [Int]
    /// Input columns of the readers: there are as many scales.
    let columns: Int

    /// All tensors that its scales touch.
    var tensors: [Int] { readers + [before] + (bias.map { [$0] } ?? []) }
}

/// Which scales of which groups touch one tensor.
struct FoldUse: Sendable, Equatable {
    /// The group that the tensor reads: its columns are multiplied.
    var reads: Int?
    /// The group that it stands in front of: its last rows, or all of a norm or a bias, are divided.
    var before: Int?
}

/// Where the channel scales of a model's Linears can go: into the operation in front of them, so that the scaled model
/// computes what the original does and needs no operation of its own for the scales.
///
/// Made from names and shapes alone. Source: FoldFamily; Lin et al. 2024, §3.2.
struct FoldPlan: Sendable {
    /// In the order of the layers; without data for any of their Linears they have no scales, and are not here.
    let groups: [FoldGroup]
    /// By position in the model's list of tensors; what no scale touches is not there.
    let uses: [Int: FoldUse]

    /// The plan for tensors of `architecture`, each with its coding.
    ///
    /// Groups without a Linear to code are left out, and those that touch none of the first `local` tensors, which are
    /// the session's own. Throws `calibration.fold_unknown` for an architecture whose layers
    /// are not known and for layers that hold what its layers should not, `calibration.fold_incomplete` where a part is
    /// missing or of the wrong size.
    init(
        _ entries: [TensorEntry], _ coding: [FoldCoding], architecture: Architecture?, local: Int? = nil
    ) throws(QuantizationError) {
        guard let architecture, let family = FoldFamily.of(architecture.modelType) else {
            throw FoldLayer.unknown(
                architecture.map { "The layers of model_type '\($0.modelType)' are not known" }
                    ?? "Without model_type nobody knows what stands in front of a Linear",
                "known are \(FoldFamily.knownTypes.joined(separator: ", "))")
        }
        var groups: [FoldGroup] = []
        for layer in FoldLayer.all(of: entries, coding) { groups += try layer.groups(family) }
        guard !groups.isEmpty else {
            throw FoldLayer.incomplete("No decoder layer has a Linear to scale and the operation in front of it")
        }
        let end = local ?? entries.count
        groups.removeAll { group in
            group.searched.isEmpty || !group.tensors.contains { $0 < end }
        }
        self.groups = groups
        uses = try Self.uses(of: groups, entries)
    }

    /// The groups that touch each tensor.
    private static func uses(
        of groups: [FoldGroup], _ entries: [TensorEntry]
    ) throws(QuantizationError) -> [Int: FoldUse] {
        var uses: [Int: FoldUse] = [:]
        for (index, group) in groups.enumerated() {
            for position in [group.before, group.bias] {
                guard let position else { continue }
                guard uses[position, default: FoldUse()].before == nil else {
                    throw FoldLayer.unknown("'\(entries[position].name)' stands in front of two kinds of Linears")
                }
                uses[position, default: FoldUse()].before = index
            }
            for position in group.readers {
                guard uses[position, default: FoldUse()].reads == nil else {
                    throw FoldLayer.unknown("'\(entries[position].name)' has two operations in front of it")
                }
                uses[position, default: FoldUse()].reads = index
            }
        }
        return uses
    }

    /// Sets of weights that see the very same tokens, so that data captured for one is true of all: positions in
    /// `entries`. Empty for an architecture whose layers are not known.
    static func sharedInputs(
        _ entries: [TensorEntry], _ coding: [FoldCoding], architecture: Architecture?
    ) -> [[Int]] {
        guard let family = architecture.flatMap({ FoldFamily.of($0.modelType) }) else { return [] }
        return FoldLayer.all(of: entries, coding).flatMap { layer in
            family.rules.flatMap { rule in layer.sharedInputs(rule) }
        }
    }
}
