import Tensors

/// The places of a weight with grouped scales.
struct GroupPlacement: Sendable, Equatable {
    var codes: Place
    var scales: Place
    /// MLX: the value of code 0 of each group.
    var biases: Place?
    /// compressed-tensors, packed: the shape [rows, columns] of the weight as two I64.
    var shape: Place?

    /// The places of the parts in the order of `GroupedParts`.
    init(_ places: [Place], _ code: GroupedCode) {
        codes = places[0]
        scales = places[1]
        switch code {
        case .packed: shape = places[2]
        case .affine: biases = places[2]
        case .int8, .e4m3, .zeroPoint: break
        }
    }

    /// The same places, `distance` bytes further into the file.
    func moved(by distance: Int) -> GroupPlacement {
        func move(_ place: Place) -> Place { Place(offset: place.offset + distance, bytes: place.bytes) }
        var moved = self
        moved.codes = move(codes)
        moved.scales = move(scales)
        moved.biases = biases.map(move)
        moved.shape = shape.map(move)
        return moved
    }

    /// Bytes of codes, scales and biases.
    var codedBytes: Int { codes.bytes + scales.bytes + (biases?.bytes ?? 0) }

    /// Bytes of all parts.
    var bytes: Int { codedBytes + (shape?.bytes ?? 0) }
}

/// The tensors that compressed-tensors 0.20.0, MLX 0.32 and AutoAWQ 0.2.9 hold for one weight.
struct GroupedParts {
    /// One tensor: its name, type and shape, and its bytes.
    typealias Part = (name: String, type: ElementType, shape: [Int], bytes: Int)

    let parts: [Part]

    /// The parts of `entry`, [rows, columns], with `groupSize` columns for each scale (-1: the row).
    init(_ entry: TensorEntry, _ code: GroupedCode, groupSize: Int) {
        let (rows, columns) = (entry.shape[0], entry.shape[1])
        let groups = groupSize == -1 ? 1 : columns / groupSize
        let rowBytes = groups * code.bytes(of: columns / groups)
        let restored = RestoredType(of: entry.type)
        let type: ElementType = restored == .f32 ? .f32 : entry.type
        let scaleBytes = rows * groups * restored.width
        let name = entry.name
        func scales(_ name: String) -> Part { (name, type, [rows, groups], scaleBytes) }
        switch code {
        case .packed:
            parts = [
                ("\(name)_packed", .i32, [rows, rowBytes / 4], rows * rowBytes), scales("\(name)_scale"),
                ("\(name)_shape", .i64, [2], 16),
            ]
        case .int8: parts = [(name, .i8, [rows, columns], rows * rowBytes), scales("\(name)_scale")]
        case .e4m3: parts = [(name, .f8E4M3, [rows, columns], rows * rowBytes), scales("\(name)_scale")]
        case .affine:
            let module = name.module(ofLeaf: "weight") ?? name + "."
            parts = [
                (name, .u32, [rows, rowBytes / 4], rows * rowBytes), scales("\(module)scales"),
                scales("\(module)biases"),
            ]
        case .zeroPoint:
            let module = name.before(suffix: "weight") ?? name + "."
            parts = [
                ("\(module)qweight", .i32, [columns, rows / 8], columns * (rows / 8) * 4),
                ("\(module)qzeros", .i32, [groups, rows / 8], groups * (rows / 8) * 4),
                ("\(module)scales", .f16, [groups, rows], groups * rows * 2),
            ]
        }
    }

    /// Why the format cannot hold a weight of so many columns; nil if it can.
    static func shapeProblem(columns: Int, groupSize: Int) -> String? {
        guard groupSize != -1, columns % groupSize != 0 else { return nil }
        return "rows of \(columns) are no multiple of the group size \(groupSize)."
    }
}
