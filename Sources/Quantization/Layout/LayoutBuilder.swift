import Tensors

/// Collects the parts of an artifact tensor by tensor, then gives each its place.
struct LayoutBuilder {
    private(set) var states: [ArtifactLayout.State] = []
    private(set) var warnings: [String] = []
    private var parts: [ArtifactLayout.Part] = []
    /// For every input tensor the indices of its parts.
    private var planned: [(kind: Kind, parts: [Int])] = []

    private enum Kind {
        case copy, castToF16, calibration, int8
        case nf4(state: Int)
        case awq
        case grouped(GroupedCode)
    }

    /// Adds the parts of one tensor; `recipe` is that of its variant.
    mutating func add(_ entry: TensorEntry, _ treatment: Treatment, _ recipe: Recipe) {
        switch treatment {
        case .calibration: planned.append((.calibration, []))
        case .copy: planned.append((.copy, [append(entry.name, entry.type, entry.shape, bytes: entry.bytes.count)]))
        case .castToF16:
            planned.append((.castToF16, [append(entry.name, .f16, entry.shape, bytes: entry.elementCount * 2)]))
        case .quantize:
            if let code = recipe.groupedCode { return addGrouped(entry, code, recipe) }
            switch recipe.method {
            case .nf4: addNF4(entry, recipe)
            case .int8, .fp8: addInt8(entry)
            case .awq, .int4: addAWQ(entry, recipe)
            }
        }
    }

    private mutating func append(_ name: String, _ type: ElementType, _ shape: [Int], bytes: Int) -> Int {
        let count = bytes * 8 / type.bitWidth
        parts.append(
            .init(name: name, type: type, shape: shape, elementCount: count, place: Place(offset: 0, bytes: bytes)))
        return parts.count - 1
    }

    private mutating func addNF4(_ entry: TensorEntry, _ recipe: Recipe) {
        let count = entry.elementCount
        let blocks = (count + recipe.blockSize - 1) / recipe.blockSize
        let name = entry.name
        var indices = [
            append(name, .u8, [(count + 1) / 2, 1], bytes: (count + 1) / 2),
            append(
                "\(name).absmax", recipe.doubleQuant ? .u8 : .f32, [blocks],
                bytes: blocks * (recipe.doubleQuant ? 1 : 4)),
            append("\(name).quant_map", .f32, [16], bytes: 64),
        ]
        if recipe.doubleQuant {
            let nested = (blocks + NestedQuantizer.blockSize - 1) / NestedQuantizer.blockSize
            indices.append(append("\(name).nested_absmax", .f32, [nested], bytes: nested * 4))
            indices.append(append("\(name).nested_quant_map", .f32, [256], bytes: 1024))
        }
        let contents = QuantState(
            blockSize: recipe.blockSize, restored: RestoredType(of: entry.type), rows: entry.shape[0],
            columns: entry.shape[1], isNested: recipe.doubleQuant)
        planned.append((.nf4(state: states.count), indices))
        states.append(.init(name: "\(name).quant_state.bitsandbytes__nf4", contents: contents))
        if entry.shape[1] % recipe.blockSize != 0 {
            warnings.append(
                "\(name): rows of \(entry.shape[1]) are no multiple of the block size \(recipe.blockSize); "
                    + "bitsandbytes 0.50.2 misreads such weights on CPUs with AVX-512 (CUDA reads them right).")
        }
    }

    private mutating func addInt8(_ entry: TensorEntry) {
        let module = entry.name.before(suffix: "weight") ?? entry.name + "."
        let indices = [
            append(entry.name, .i8, entry.shape, bytes: entry.elementCount),
            append("\(module)SCB", .f32, [entry.shape[0]], bytes: entry.shape[0] * 4),
            append("\(module)weight_format", .u8, [], bytes: 1),
        ]
        planned.append((.int8, indices))
    }

    private mutating func addAWQ(_ entry: TensorEntry, _ recipe: Recipe) {
        let module = entry.name.before(suffix: "weight") ?? entry.name + "."
        let (rows, columns) = (entry.shape[0], entry.shape[1])
        var indices = GroupedParts(entry, .zeroPoint, groupSize: recipe.groupSize).parts.map {
            append($0.name, $0.type, $0.shape, bytes: $0.bytes)
        }
        if recipe.coding.scaling == .keep {
            indices.append(append("\(module)input_scales", .f32, [columns], bytes: columns * 4))
        }
        planned.append((.awq, indices))
        if rows % 32 != 0 {
            warnings.append(
                "\(entry.name): \(rows) rows are no multiple of 32; AutoAWQ's own packer refuses that, readers do not.")
        }
    }

    private mutating func addGrouped(_ entry: TensorEntry, _ code: GroupedCode, _ recipe: Recipe) {
        let grouped = GroupedParts(entry, code, groupSize: recipe.groupSize)
        planned.append((.grouped(code), grouped.parts.map { append($0.name, $0.type, $0.shape, bytes: $0.bytes) }))
    }

    /// The first name that two parts or states share, or nil.
    var firstRepeatedName: String? {
        var seen: Set<ExactName> = []
        return (parts.map(\.name) + states.map(\.name)).first { !seen.insert(ExactName($0)).inserted }
    }

    /// The parts in file order, offsets counted from 0, and where each input tensor's parts went.
    func placed() -> (parts: [ArtifactLayout.Part], tensors: [PlannedTensor]) {
        // Wide elements first: with an aligned start every part is aligned for readers that map the file.
        let order = parts.indices.sorted { left, right in
            let (a, b) = (parts[left].type.bitWidth, parts[right].type.bitWidth)
            return a == b ? left < right : a > b
        }
        var places = parts.map(\.place)
        var offset = 0
        for index in order {
            places[index].offset = offset
            offset += places[index].bytes
        }
        let sorted = order.map { index in
            var part = parts[index]
            part.place = places[index]
            return part
        }
        return (sorted, planned.map { assemble($0.kind, $0.parts.map { places[$0] }) })
    }

    private func assemble(_ kind: Kind, _ places: [Place]) -> PlannedTensor {
        switch kind {
        case .calibration: .calibration
        case .copy: .copy(places[0])
        case .castToF16: .castToF16(places[0])
        case .int8: .int8(codes: places[0], scales: places[1], format: places[2])
        case .nf4(let state):
            .nf4(
                NF4Placement(
                    codes: places[0], absmax: places[1], quantMap: places[2],
                    nestedAbsmax: places.count > 3 ? places[3] : nil,
                    nestedQuantMap: places.count > 4 ? places[4] : nil, state: state))
        case .awq:
            .awq(
                AWQPlacement(
                    qweight: places[0].offset, qzeros: places[1].offset, scales: places[2].offset,
                    inputScales: places.count > 3 ? places[3].offset : nil),
                bytes: places.reduce(0) { $0 + $1.bytes })
        case .grouped(let code): .grouped(GroupPlacement(places, code))
        }
    }
}

extension PlannedTensor {
    /// Whether the tensor is written as it came.
    var isCopy: Bool {
        if case .copy = self { return true }
        return false
    }

    /// Whether the tensor is written in a floating type, without codes.
    var isWrittenPlain: Bool {
        switch self {
        case .copy, .castToF16, .folded: true
        case .calibration, .nf4, .int8, .awq, .grouped: false
        }
    }

    /// The same place for a copied tensor of `type` into which scales are folded; others stay what they are.
    func folded(_ type: ElementType) -> PlannedTensor {
        switch self {
        case .copy(let place): .folded(place, type)
        case .castToF16(let place): .folded(place, .f16)
        default: self
        }
    }

    /// The same places, `distance` bytes further into the file.
    func moved(by distance: Int) -> PlannedTensor {
        func move(_ place: Place) -> Place { Place(offset: place.offset + distance, bytes: place.bytes) }
        switch self {
        case .calibration: return .calibration
        case .copy(let place): return .copy(move(place))
        case .castToF16(let place): return .castToF16(move(place))
        case .folded(let place, let type): return .folded(move(place), type)
        case .int8(let codes, let scales, let format):
            return .int8(codes: move(codes), scales: move(scales), format: move(format))
        case .nf4(var parts):
            parts.codes = move(parts.codes)
            parts.absmax = move(parts.absmax)
            parts.quantMap = move(parts.quantMap)
            parts.nestedAbsmax = parts.nestedAbsmax.map(move)
            parts.nestedQuantMap = parts.nestedQuantMap.map(move)
            return .nf4(parts)
        case .awq(let parts, let bytes):
            return .awq(
                AWQPlacement(
                    qweight: parts.qweight + distance, qzeros: parts.qzeros + distance,
                    scales: parts.scales + distance, inputScales: parts.inputScales.map { $0 + distance }),
                bytes: bytes)
        case .grouped(let parts): return .grouped(parts.moved(by: distance))
        }
    }
}
