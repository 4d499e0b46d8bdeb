/// The 8-bit form of one nested group of block scales, chosen for the least error of the weights.
///
/// Where `NestedQuantizer` repeats bitsandbytes, this one is free in what the format leaves free: the nested absmax. A
/// reader restores `map[code] · nestedAbsmax + offset` whatever the value is. It matters where the offset, which is the
/// same for the whole tensor, lies far from the scales of this group.
struct NestedFit {
    /// One code a block.
    private(set) var codes = [UInt8](repeating: 0, count: NestedQuantizer.blockSize)
    /// What the codes are multiplied by.
    private(set) var nestedAbsmax: Float = 0
    /// The scales that a reader restores: finite, and positive where the wanted scale is.
    private(set) var restored = [Float](repeating: 0, count: NestedQuantizer.blockSize)
    private var other = [UInt8](repeating: 0, count: NestedQuantizer.blockSize)

    private let values = DynamicMap.values
    private let table = DynamicMap.codes

    /// Less than the 1.4 % between codes, they shift where the codes fall.
    private static let enlargements: [Float] = [
        1.001953125, 1.00390625, 1.005859375, 1.0078125, 1.009765625, 1.01171875,
    ]

    /// Fits the first `count` of `scales`; `weights` says what the square of a change of each costs.
    ///
    /// A cost beyond `tolerance` makes the fit try more than the largest difference as the nested absmax.
    mutating func fit(_ scales: [Float], weights: [Float], count: Int, offset: Float, tolerance: Double) {
        var largest: Float = 0
        var extreme: Float = 0
        for index in 0..<count {
            let difference = scales[index] - offset
            if difference.magnitude > largest { (largest, extreme) = (difference.magnitude, difference) }
        }
        nestedAbsmax = largest
        var cost = assign(scales, weights: weights, count: count, offset: offset, largest)
        if cost > tolerance {
            var candidates = Self.enlargements.map { largest * $0 }
            if extreme < 0 { candidates += endings(scales, weights: weights, count: count, offset: offset, largest) }
            for candidate in candidates where candidate.isFinite && candidate > 0 {
                swap(&codes, &other)
                let found = assign(scales, weights: weights, count: count, offset: offset, candidate)
                if found < cost {
                    (cost, nestedAbsmax) = (found, candidate)
                } else {
                    swap(&codes, &other)
                }
            }
        }
        for index in 0..<count { restored[index] = value(codes[index], offset, nestedAbsmax) }
    }

    /// The map ends at -0.993: so that its end means the smallest scale, or the mean of all.
    private func endings(
        _ scales: [Float], weights: [Float], count: Int, offset: Float, _ largest: Float
    ) -> [Float] {
        var (sum, total) = (0.0, 0.0)
        for index in 0..<count {
            sum += Double(weights[index]) * Double(scales[index])
            total += Double(weights[index])
        }
        let mean = total > 0 ? Float(sum / total) : offset
        return [largest / -values[0], (offset - mean) / -values[0]]
    }

    /// Fills `codes` for one nested absmax and returns the cost.
    private mutating func assign(
        _ scales: [Float], weights: [Float], count: Int, offset: Float, _ nestedAbsmax: Float
    ) -> Double {
        guard nestedAbsmax > 0 else {
            for index in 0..<count { codes[index] = 0 }
            return 0
        }
        let scale = 1 / nestedAbsmax
        var cost = 0.0
        for index in 0..<count {
            let difference = scales[index] - offset
            // A nested absmax below 2^-128 has an infinite reciprocal, and zero times that would be NaN.
            let v = difference == 0 ? 0 : min(max(difference * scale, -1), 1)
            var code = table[Int(((v + 1) * 0.5) * 65535 + 0.5)]
            var found = value(code, offset, nestedAbsmax)
            while found <= 0, scales[index] > 0, code < 255 {
                code += 1
                found = value(code, offset, nestedAbsmax)
            }
            while !found.isFinite, code > 0 {
                code -= 1
                found = value(code, offset, nestedAbsmax)
            }
            codes[index] = code
            let shift = Double(found) - Double(scales[index])
            cost += shift * shift * Double(weights[index])
        }
        return cost
    }

    private func value(_ code: UInt8, _ offset: Float, _ nestedAbsmax: Float) -> Float {
        values[Int(code)] * nestedAbsmax + offset
    }
}
