import Tensors

/// The tensors of one decoder layer by their modules.
struct FoldLayer {
    /// A module of the layer: its name, `*` for the number of an expert, and that number.
    struct Module: Hashable {
        let name: String
        let expert: Int?
    }

    private let entries: [TensorEntry]
    private let coding: [FoldCoding]
    /// The layer's name with its last dot: `model.layers.7.`.
    private let name: String
    private var weights: [Module: Int] = [:]
    private var biases: [Module: Int] = [:]
    /// Tensors that are neither a module's `weight` nor its `bias`.
    private var parameters: [Module: Int] = [:]
    private var expertNumbers: Set<Int> = []
    /// Numbers of the experts, ascending.
    private var experts: [Int] = []

    /// The decoder layers among the tensors, in the order of their first ones.
    static func all(of entries: [TensorEntry], _ coding: [FoldCoding]) -> [FoldLayer] {
        var layers: [FoldLayer] = []
        var positions: [String: Int] = [:]
        for (index, entry) in entries.enumerated() where coding[index] != .absent {
            guard let (name, rest) = place(of: entry.name) else { continue }
            if positions[name] == nil {
                positions[name] = layers.count
                layers.append(FoldLayer(entries, coding, name))
            }
            if let position = positions[name] { layers[position].add(index, rest) }
        }
        for index in layers.indices { layers[index].experts = layers[index].expertNumbers.sorted() }
        return layers
    }

    private init(_ entries: [TensorEntry], _ coding: [FoldCoding], _ name: String) {
        self.entries = entries
        self.coding = coding
        self.name = name
    }

    /// The layer and what follows in a name like `model.layers.7.mlp.up_proj.weight`; nil for a tensor that belongs to
    /// no layer, or to one of a tower for images or sound.
    private static func place(of name: String) -> (layer: String, rest: [Substring])? {
        guard name.utf8.count <= longestName, name.utf8.allSatisfy({ $0 < 0x80 }), name.towerComponent == nil else {
            return nil
        }
        let parts = name.split(separator: ".", omittingEmptySubsequences: false)
        guard let at = parts.firstIndex(of: "layers"), parts.count > at + 2, Int(parts[at + 1]) != nil else {
            return nil
        }
        return (parts[...(at + 1)].joined(separator: ".") + ".", Array(parts[(at + 2)...]))
    }

    /// Names of the known architectures are far shorter.
    private static let longestName = 512

    private mutating func add(_ index: Int, _ rest: [Substring]) {
        switch rest.last {
        case "weight": weights[module(rest.dropLast())] = index
        case "bias": biases[module(rest.dropLast())] = index
        default: parameters[module(rest[...])] = index
        }
    }

    private mutating func module(_ parts: ArraySlice<Substring>) -> Module {
        guard let at = parts.firstIndex(of: "experts"), at + 1 < parts.endIndex, let number = Int(parts[at + 1]) else {
            return Module(name: parts.joined(separator: "."), expert: nil)
        }
        expertNumbers.insert(number)
        let name = parts[...at] + ["*"] + parts[(at + 2)...]
        return Module(name: name.joined(separator: "."), expert: number)
    }

    // MARK: - Groups

    /// The groups of the layer that have a Linear to code.
    func groups(_ family: FoldFamily) throws(QuantizationError) -> [FoldGroup] {
        var groups: [FoldGroup] = []
        for rule in family.rules where rule.previous != .unfolded {
            let places = rule.isOfEachExpert ? experts.map { Optional($0) } : [nil]
            for expert in places {
                if let group = try group(rule, expert: expert) { groups.append(group) }
            }
        }
        if !groups.isEmpty { try checkModules(family) }
        return groups
    }

    /// The modules that a name of a rule stands for.
    private func modules(_ name: String, expert: Int?) -> [Module] {
        guard name.contains("*") else { return [Module(name: name, expert: nil)] }
        return (expert.map { [$0] } ?? experts).map { Module(name: name, expert: $0) }
    }

    private func group(_ rule: FoldRule, expert: Int?) throws(QuantizationError) -> FoldGroup? {
        let modules = rule.readers.flatMap { self.modules($0, expert: expert) }
        let readers = modules.compactMap { weights[$0] }
        guard !readers.isEmpty, let before = self.modules(rule.before, expert: expert).first else { return nil }
        let missing = (modules + [before]).first { weights[$0] == nil }
        if let missing {
            // Layers with experts and layers without stand side by side: the norm is the same, the readers are not.
            if !readers.contains(where: { coding[$0].isScalable }), weights[before] != nil { return nil }
            throw Self.incomplete(
                "'\(entries[readers[0]].name)' reads what other Linears read, but there is no "
                    + "'\(name)\(spelled(missing)).weight'")
        }
        guard let position = weights[before], readers.contains(where: { coding[$0].isScalable }) else { return nil }
        let columns = try columns(of: readers)
        guard try fits(rule, before: position, columns: columns) else { return nil }
        if let stacked = rule.stacked, let index = parameters[Module(name: stacked, expert: nil)] {
            throw Self.incomplete("'\(entries[index].name)' reads the same input and cannot be scaled")
        }
        let bias = biases[before]
        if let bias, entries[bias].shape != Array(entries[position].shape.prefix(1)) {
            throw Self.incomplete("'\(entries[bias].name)' has shape \(entries[bias].shape)")
        }
        for index in readers + [position] + [bias].compactMap(\.self) { try checkCoding(index) }
        let isNorm = rule.previous == .norm || rule.previous == .normPlusOne
        return FoldGroup(
            previous: isNorm ? .norm(addsOne: rule.previous == .normPlusOne) : .rows, before: position, bias: bias,
            readers: readers, searched: readers.filter { coding[$0] == .scalable(hasData: true) }, columns: columns)
    }

    /// The readers' common width.
    private func columns(of readers: [Int]) throws(QuantizationError) -> Int {
        let first = entries[readers[0]]
        for index in readers where entries[index].shape.count != 2 || entries[index].shape.last != first.shape.last {
            throw Self.incomplete(
                "'\(entries[index].name)' \(entries[index].shape) and '\(first.name)' \(first.shape) should read the "
                    + "same input")
        }
        return first.shape.last ?? 0
    }

    /// Whether the outputs of the tensor in front are the readers' inputs one by one; false where heads of queries
    /// share values, so that no scale of one reader's column belongs to one row.
    private func fits(_ rule: FoldRule, before: Int, columns: Int) throws(QuantizationError) -> Bool {
        let (entry, isNorm) = (entries[before], rule.previous == .norm || rule.previous == .normPlusOne)
        let rows = entry.shape.first ?? 0
        guard entry.shape.count == (isNorm ? 1 : 2) else {
            throw Self.incomplete("'\(entry.name)' has shape \(entry.shape)")
        }
        // Keys and values have the same heads, and fewer of them than queries where these share them.
        let values = rule.previous == .lastOfQueriesKeysValues ? max(0, rows - columns) / 2 : rows
        let isShared = values > 0 && values < columns && columns % values == 0
        let fits =
            switch rule.previous {
            case .norm, .normPlusOne, .linear: rows == columns
            case .values: rows == columns || isShared
            case .lastOfQueriesKeysValues: rows == columns + 2 * values && (values == columns || isShared)
            case .lastHalf: rows % 2 == 0 && rows / 2 == columns
            case .unfolded: false
            }
        guard fits else {
            throw Self.incomplete(
                "'\(entry.name)' \(entry.shape) should make the \(columns) inputs of the Linears behind it")
        }
        return isNorm || values == columns || rule.previous == .lastHalf
    }

    private func checkCoding(_ index: Int) throws(QuantizationError) {
        let entry = entries[index]
        if coding[index] == .fixed {
            throw Self.incomplete("'\(entry.name)' is coded by another method, which cannot scale it")
        }
        if coding[index] == .copied && (entry.isFP8 || !entry.type.isQuantizable) {
            throw Self.incomplete("'\(entry.name)' is \(entry.type.rawValue) and stays it, which cannot be scaled")
        }
    }

    /// A module that the family does not know might read what is about to be scaled.
    private func checkModules(_ family: FoldFamily) throws(QuantizationError) {
        for (module, index) in weights.sorted(by: { $0.value < $1.value }) where !family.knows(module.name) {
            throw Self.unknown("'\(entries[index].name)' is no part of a layer of this model_type")
        }
        for (module, index) in parameters.sorted(by: { $0.value < $1.value }) where entries[index].shape.count > 1 {
            if family.knows(module.name) || family.knows(module.owner) { continue }
            throw Self.unknown("'\(entries[index].name)' is no part of a layer of this model_type")
        }
    }

    private func spelled(_ module: Module) -> String {
        guard let expert = module.expert else { return module.name }
        return module.name.split(separator: "*", omittingEmptySubsequences: false).joined(separator: "\(expert)")
    }

    // MARK: - Shared inputs

    /// The weights that a rule's readers are, those of each expert for themselves: other tokens reach other experts.
    func sharedInputs(_ rule: FoldRule) -> [[Int]] {
        var sets: [Int?: [Int]] = [:]
        for module in rule.readers.flatMap({ modules($0, expert: nil) }) {
            if let index = weights[module] { sets[module.expert, default: []].append(index) }
        }
        let order = [nil] + experts.map { Optional($0) }
        return order.compactMap { sets[$0] }.filter { $0.count > 1 }
    }

    // MARK: - Refusals

    static func unknown(_ what: String, _ more: String? = nil) -> QuantizationError {
        let end = more.map { "; \($0)" } ?? ""
        return .calibration(
            code: "calibration.fold_unknown", detail: "\(what)\(end). Say scaling=none to quantize without scales.")
    }

    static func incomplete(_ what: String) -> QuantizationError {
        .calibration(
            code: "calibration.fold_incomplete", detail: "\(what). Say scaling=none to quantize without scales.")
    }
}

extension FoldCoding {
    fileprivate var isScalable: Bool {
        if case .scalable = self { return true }
        return false
    }
}

extension FoldLayer.Module {
    /// The module that a parameter belongs to.
    fileprivate var owner: String {
        name.split(separator: ".").dropLast().joined(separator: ".")
    }
}
