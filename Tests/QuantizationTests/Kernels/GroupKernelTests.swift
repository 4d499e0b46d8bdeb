import Testing

@testable import Quantization

/// The kernels of grouped scales: every level writes the bytes, sums and counts of every other.
@Suite struct GroupKernelTests {
    static let codes: [GroupedCode] = [
        .packed(bits: 4), .packed(bits: 8), .int8, .e4m3, .zeroPoint, .affine(bits: 4), .affine(bits: 8),
    ]

    @Test(arguments: codes, RestoredType.allCases)
    func levelsAgree(_ code: GroupedCode, _ restored: RestoredType) throws {
        for input in Adversary.allCases {
            // An encoder refuses NaN and infinity before; float16 and bfloat16 weights are values of their type.
            let all = input.values
            let some = stride(from: 0, to: all.count, by: all.count / 4608 + 1).map { all[$0] }
            let x = some.map { $0.isFinite ? HalfPrecision.rounded($0, to: restored) : 1 }
                .map { $0.isFinite ? $0 : 1 }.map { code == .zeroPoint ? min(max($0, -32736), 32736) : $0 }
            for elements in [32, 128, 4096] where x.count >= elements && (elements != 32 || restored == .f16) {
                let expected = try GroupRun(x, elements: elements, code: code, restored: restored, level: .portable)
                for level in availableLevels where level != .portable {
                    let run = try GroupRun(
                        x, elements: elements, code: code, restored: restored, level: level, misalignment: 3)
                    #expect(run == expected, "\(input) \(code) \(restored) \(elements) \(level)")
                }
            }
        }
    }

    /// Rows that are no whole vectors, and groups that end within a word.
    @Test(arguments: codes.dropLast(2), [1, 5, 15, 17, 20, 100])
    func levelsAgreeOnShortGroups(_ code: GroupedCode, _ elements: Int) throws {
        let x = Array(Adversary.normal.values.prefix(1000))
        let expected = try GroupRun(x, elements: elements, code: code, restored: .bf16, level: .portable)
        for level in availableLevels {
            #expect(try GroupRun(x, elements: elements, code: code, restored: .bf16, level: level) == expected)
        }
        #expect(expected.histogram.reduce(0) { $0 + Int($1) } == x.count / elements * elements)
    }

    @Test func anEmptyHistogramCountsNothing() throws {
        let x = Adversary.normal.values
        for level in availableLevels {
            let run = try GroupRun(x, elements: 128, code: .e4m3, restored: .f32, level: level, counts: false)
            let counted = try GroupRun(x, elements: 128, code: .e4m3, restored: .f32, level: level)
            #expect(run.histogram.isEmpty && run.codes == counted.codes && run.sums == counted.sums)
        }
    }

    /// Ranges by a plain search; the kernels' structures are what the C side takes them for.
    @Test(arguments: availableLevels)
    func rangesAreThoseOfThePlainSearch(_ level: KernelLevel) throws {
        let kernels = try #require(Kernels(level: level))
        for (input, elements) in [(Adversary.normal, 16), (.normal, 48), (.huge, 128), (.subnormal, 32), (.normal, 21)]
        {
            let x = input.values
            let groups = x.count / elements
            var ranges = [GroupRange](repeating: GroupRange(), count: groups)
            let bytes = bytes(of: x)
            kernels.ranges(unsafe bytes.span.bytes, groups: groups, elements: elements, into: &ranges)
            for group in 0..<groups {
                let part = x[group * elements..<(group + 1) * elements]
                #expect(ranges[group].absmax == part.map { abs($0) }.max())
                #expect(ranges[group].least == part.min() && ranges[group].greatest == part.max())
            }
            var broken = x
            for (index, value) in [(elements + 3, Float.nan), (3, .infinity)] { broken[index] = value }
            let spoiled = QuantizationTests.bytes(of: broken)
            kernels.ranges(unsafe spoiled.span.bytes, groups: groups, elements: elements, into: &ranges)
            #expect(!ranges[0].absmax.isFinite && !ranges[1].absmax.isFinite && ranges[2].absmax.isFinite)
        }
        #expect(MemoryLayout<GroupRange>.stride == 12 && MemoryLayout<ErrorSums>.stride == 20)
        #expect(MemoryLayout<CodeGrid>.stride == 16 && MemoryLayout<GridSums>.stride == 16)
        #expect(MemoryLayout<GroupScale>.stride == 16)
    }
}

/// What the kernels of grouped scales wrote for as many whole groups as there are.
struct GroupRun: Equatable {
    var codes: [UInt8]
    var sums: [[UInt32]]
    var explained: [[UInt32]]
    var histogram: [UInt32]

    init(
        _ x: [Float], elements: Int, code: GroupedCode, restored: RestoredType, level: KernelLevel,
        misalignment: Int = 0, counts: Bool = true
    ) throws {
        guard let kernels = Kernels(level: level) else { throw MissingLevel(level: level) }
        let groups = x.count / elements
        let input = [UInt8](repeating: 0, count: misalignment) + bytes(of: x)
        let span = unsafe input.span.bytes.extracting(droppingFirst: misalignment)
        var ranges = [GroupRange](repeating: GroupRange(), count: groups)
        kernels.ranges(span, groups: groups, elements: elements, into: &ranges)
        let scales = ranges.map { GroupScale(code, $0, type: restored) }
        let groupBytes = code.bytes(of: elements)
        codes = [UInt8](repeating: 0xa5, count: groups * groupBytes)
        histogram = counts ? [UInt32](repeating: 0, count: ErrorHistogram.bins) : []
        var errors = [ErrorSums](repeating: ErrorSums(), count: groups)
        kernels.groups(
            span, groups: groups, elements: elements, code: code, scales: scales, firstScale: 0, restored: restored,
            codes: &codes, at: 0, groupBytes: groupBytes, sums: &errors, histogram: &histogram)
        let grids = ranges.flatMap { range in
            [Float(7), 8.4, 11].map { half in
                let inverse = range.absmax > 0x1p-100 ? half / range.absmax : 1
                guard case .affine = code else { return CodeGrid(inverse: inverse, low: -half, high: half) }
                return CodeGrid(inverse: inverse, shift: -0.3, low: -8, high: 7)
            }
        }
        var gridSums = [GridSums](repeating: GridSums(), count: grids.count)
        kernels.grids(
            span, groups: groups, elements: elements, code: code, candidates: 3, grids: grids, firstGroup: 0,
            sums: &gridSums)
        // What overflowed is no number, and has no bits to promise.
        sums = errors.map { $0.bits.map { Float(bitPattern: $0).isFinite ? $0 : 0x7f80_0000 } }
        explained = gridSums.map { sums in
            [sums.product, sums.codeSquared, sums.code, sums.weight].map(\.bitPattern)
        }
    }
}
