import CKernels

// The kernels of grouped scales over spans: bounds are checked once for each call.

/// What a group's weights span.
struct GroupRange: Sendable, Equatable {
    /// The largest magnitude; not finite exactly when a weight is not.
    var absmax: Float = 0
    /// The least weight.
    var least: Float = 0
    /// The greatest weight.
    var greatest: Float = 0
}

/// A candidate for the codes c of a group: x · `inverse` + `shift`, held between `low` and `high`, rounded to nearest.
struct CodeGrid: Sendable, Equatable {
    /// Codes for each unit of weight.
    var inverse: Float = 0
    /// What is added before rounding; affine codes only, else 0.
    var shift: Float = 0
    /// The lowest code.
    var low: Float = 0
    /// The highest code.
    var high: Float = 0
}

/// Sums over a group's codes c on a grid, with v = x · `inverse`.
struct GridSums: Sendable, Equatable {
    /// Σvc.
    var product: Float = 0
    /// Σc².
    var codeSquared: Float = 0
    /// Σc; affine codes only, else 0.
    var code: Float = 0
    /// Σv; affine codes only, else 0.
    var weight: Float = 0
}

extension Kernels {
    /// Codes `groups` groups of `elements` float32 each, with the scales from `firstScale` on, and measures the error.
    ///
    /// At most 4096 elements in a group keep its sums precise; a larger one goes in pieces. `codes` receives
    /// `groupBytes` for each group from `position` on, `sums` one value for each; affine groups are multiples of 16
    /// elements. An empty `histogram` counts nothing.
    func groups(
        _ x: RawSpan, groups: Int, elements: Int, code: GroupedCode, scales: [GroupScale], firstScale: Int,
        restored: RestoredType, codes: inout [UInt8], at position: Int, groupBytes: Int, sums: inout [ErrorSums],
        histogram: inout [UInt32]
    ) {
        precondition(x.byteCount >= groups * elements * 4 && codes.count >= position + groups * groupBytes)
        precondition(scales.count >= firstScale + groups)
        precondition(histogram.isEmpty || histogram.count == ErrorHistogram.bins)
        precondition(sums.count >= groups, "the caller sizes the buffer by the groups of one call")
        precondition(elements <= 4096 && groupBytes * 8 >= elements * code.bits, "a group's codes fit its bytes")
        let isCounted = !histogram.isEmpty
        unsafe x.withUnsafeBytes { x in
            unsafe codes.withUnsafeMutableBufferPointer { codes in
                unsafe scales.withUnsafeBufferPointer { scales in
                    unsafe sums.withUnsafeMutableBufferPointer { sums in
                        unsafe histogram.withUnsafeMutableBufferPointer { histogram in
                            guard let x = x.baseAddress, let codes = codes.baseAddress,
                                let scales = scales.baseAddress, let sums = sums.baseAddress
                            else { return }
                            unsafe quantize(
                                x, groups: groups, elements: elements, code: code, scales: scales + firstScale,
                                restored: restored, codes: codes + position, groupBytes: groupBytes, sums: sums,
                                histogram: isCounted ? histogram.baseAddress : nil)
                        }
                    }
                }
            }
        }
    }

    private func quantize(
        _ x: UnsafeRawPointer, groups: Int, elements: Int, code: GroupedCode, scales: UnsafePointer<GroupScale>,
        restored: RestoredType, codes: UnsafeMutablePointer<UInt8>, groupBytes: Int,
        sums: UnsafeMutablePointer<ErrorSums>, histogram: UnsafeMutablePointer<UInt32>?
    ) {
        guard let table = unsafe Self.table(of: level) else {
            return unsafe PortableGroups.quantize(
                x, groups: groups, elements: elements, code: code, scales: scales, restored: restored, codes: codes,
                groupBytes: groupBytes, sums: sums, histogram: histogram)
        }
        // A scale is 4 floats, the sums are 5, in the order of the fields of `GroupScale` and `ErrorSums`.
        let scales = unsafe UnsafeRawPointer(scales).assumingMemoryBound(to: Float.self)
        let lanes = unsafe UnsafeMutableRawPointer(sums).assumingMemoryBound(to: Float.self)
        unsafe table.pointee.groups(
            x, groups, elements, code.kernelCode, Int32(truncatingIfNeeded: restored.rawValue), scales, codes,
            groupBytes, lanes, histogram)
    }

    /// What each of `groups` groups of `elements` float32 spans.
    func ranges(_ x: RawSpan, groups: Int, elements: Int, into ranges: inout [GroupRange]) {
        precondition(x.byteCount >= groups * elements * 4 && ranges.count >= groups && elements > 0)
        unsafe x.withUnsafeBytes { x in
            unsafe ranges.withUnsafeMutableBufferPointer { ranges in
                guard let x = x.baseAddress, let ranges = ranges.baseAddress else { return }
                guard let table = unsafe Self.table(of: level) else {
                    for group in 0..<groups {
                        unsafe ranges[group] = PortableGroups.range(x + group * elements * 4, count: elements)
                    }
                    return
                }
                // A range is 3 floats in the order of the fields of `GroupRange`.
                let lanes = unsafe UnsafeMutableRawPointer(ranges).assumingMemoryBound(to: Float.self)
                unsafe table.pointee.ranges(x, groups, elements, lanes)
            }
        }
    }

    /// The sums of each of `candidates` grids for each of `groups` groups of at most 4096 float32, group by group; the
    /// grids are those from `firstGroup` on.
    func grids(
        _ x: RawSpan, groups: Int, elements: Int, code: GroupedCode, candidates: Int, grids: [CodeGrid],
        firstGroup: Int, sums: inout [GridSums]
    ) {
        precondition(x.byteCount >= groups * elements * 4 && elements <= 4096)
        precondition(grids.count >= (firstGroup + groups) * candidates && sums.count >= groups * candidates)
        unsafe x.withUnsafeBytes { x in
            unsafe grids.withUnsafeBufferPointer { grids in
                unsafe sums.withUnsafeMutableBufferPointer { sums in
                    guard let x = x.baseAddress, let all = grids.baseAddress, let sums = sums.baseAddress
                    else { return }
                    let grids = unsafe all + firstGroup * candidates
                    guard let table = unsafe Self.table(of: level) else {
                        for index in 0..<groups * candidates {
                            unsafe sums[index] = PortableGroups.explain(
                                x + index / candidates * elements * 4, count: elements, code: code,
                                grid: grids[index])
                        }
                        return
                    }
                    // A grid and its sums are 4 floats each, in the order of the fields.
                    let from = unsafe UnsafeRawPointer(grids).assumingMemoryBound(to: Float.self)
                    let lanes = unsafe UnsafeMutableRawPointer(sums).assumingMemoryBound(to: Float.self)
                    unsafe table.pointee.grids(x, groups, elements, code.kernelCode, candidates, from, lanes)
                }
            }
        }
    }
}

extension GroupedCode {
    /// The number by which the C kernels know it.
    fileprivate var kernelCode: Int32 {
        let code =
            switch self {
            case .packed(let bits): bits == 4 ? ck_packed4 : ck_packed8
            case .int8: ck_int8
            case .e4m3: ck_e4m3
            case .affine(let bits): bits == 4 ? ck_affine4 : ck_affine8
            case .zeroPoint: ck_zero_point
            }
        return Int32(truncatingIfNeeded: code)
    }
}
