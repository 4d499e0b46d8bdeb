import Tensors
import Testing

@testable import Quantization

/// Calibration data of few tokens, and of columns that none of them reached: codes chosen by it are never worse than
/// those chosen without, by more than rounding.
@Suite struct FewTokensTests {
    private static let (rows, columns, heldOut) = (8, 64, 100)

    /// What the inputs are like.
    enum Inputs: CaseIterable {
        /// All columns alike, each on its own: nothing can be learned.
        case white
        /// One of eight is heard, as behind a ReLU, and some of them for one token in twenty alone.
        case sparse
        /// Some columns are far louder.
        case loud

        func values(_ tokens: Int, seed: UInt64) -> [Float] {
            let noise = gaussian(tokens * columns, seed: seed)
            let chance = gaussian(tokens * columns, seed: seed + 1)
            return noise.indices.map { index in
                let column = index % columns
                switch self {
                case .white: return noise[index]
                case .sparse: return chance[index] > (column % 5 == 0 ? 1.65 : 1.15) ? noise[index] : 0
                case .loud: return noise[index] * (column % 12 == 5 ? 20 : 1)
                }
            }
        }
    }

    private static let recipes: [[(String, String)]] = [
        [("method", "awq"), ("group_size", "32"), ("scaling", "none")],
        [("method", "awq"), ("group_size", "32"), ("scaling", "keep")],
        [("method", "int4"), ("group_size", "32")], [("method", "nf4"), ("block_size", "32")],
    ]

    private let weights = gaussian(rows * columns, seed: 5, scale: 0.03)

    /// ‖X(W − Ŵ)ᵀ‖² of what a session makes of the weights.
    private func error(_ parts: [DataForm.Part], _ options: [(String, String)], over x: [Float]) throws -> Double {
        let weight: DataForm.Part = ("l.weight", .f32, [Self.rows, Self.columns], bytes(of: weights))
        let kept = parts.isEmpty ? options.filter { $0.0 != "scaling" } : options
        let run = try SessionRun(
            safetensors([weight] + parts), kept + [("calibration", parts.isEmpty ? "none" : "data")])
        let tensors = try RestoreRun(run.output.bytes).tensors()
        var restored = try #require(tensors["l.weight"]).bytes.floats
        if let scales = tensors["l.input_scales"]?.bytes.floats {
            for index in restored.indices { restored[index] /= scales[index % Self.columns] }
        }
        let isWhole = restored.allSatisfy { $0.isFinite }
        #expect(isWhole)
        var sum = 0.0
        for token in 0..<x.count / Self.columns {
            for row in 0..<Self.rows {
                var change = 0.0
                for column in 0..<Self.columns {
                    let at = row * Self.columns + column
                    change += Double(x[token * Self.columns + column]) * Double(weights[at] - restored[at])
                }
                sum += change * change
            }
        }
        return sum
    }

    @Test(arguments: [(Inputs.sparse, 0), (.sparse, 1), (.sparse, 2), (.sparse, 3), (.white, 1), (.loud, 1)])
    func nothingIsLost(_ inputs: Inputs, _ index: Int) throws {
        let options = Self.recipes[index]
        let others = inputs.values(Self.heldOut, seed: 77)
        let without = try error([], options, over: others)
        let all = inputs == .sparse && index == 1
        for tokens in all ? [1, 9] : [9] {
            let seen = inputs.values(tokens, seed: 3)
            for form in all ? DataForm.allCases : [.channels, .activations] {
                let parts = form.parts("l.", seen, columns: Self.columns)
                let with = try error(parts, options, over: others)
                #expect(with < without * 1.3, "\(tokens) tokens as \(form): \(with / without)")
            }
        }
    }

    /// Of white inputs nothing is left but chance, of unequal ones next to nothing is; few loud tokens count as few.
    @Test func chanceIsKnown() {
        func scatter(_ x: [Float], _ squares: [Float]) -> TokenScatter {
            var scatter = TokenScatter(squares: squares)
            scatter.add(x, tokens: x.count / Self.columns)
            return scatter
        }
        func squares(_ x: [Float]) -> [Float] {
            (0..<Self.columns).map { column in
                let sum = stride(from: column, to: x.count, by: Self.columns).reduce(0.0) {
                    $0 + Double(x[$1]) * Double(x[$1])
                }
                return Float(sum / Double(x.count / Self.columns))
            }
        }
        let white = Inputs.white.values(64, seed: 9)
        #expect(scatter(white, squares(white)).share(ofSquares: squares(white)) > 0.6)
        let loud = Inputs.loud.values(64, seed: 9)
        #expect(scatter(loud, squares(loud)).share(ofSquares: squares(loud)) < 0.1)
        let count = Self.columns * (Self.columns - 1)
        // As much correlation as 64 tokens of independent columns have by chance.
        let chance = Double(count) / 64
        #expect(scatter(white, squares(white)).share(ofCorrelations: chance, count: count) > 0.9)
        #expect(scatter(white, squares(white)).share(ofCorrelations: 50 * chance, count: count) < 0.03)
        var sudden = white
        for index in 0..<Self.columns { sudden[index] *= 100 }
        #expect(scatter(sudden, squares(sudden)).share(ofCorrelations: 50 * chance, count: count) > 0.5)
        let known = TokenScatter(tokens: 64, magnitudes: nil, squares: squares(white))
        #expect(known.share(ofSquares: squares(white)) > 0.6 && known.share(ofSquares: squares(loud)) < 0.1)
    }
}

/// Every form of data with every code.
@Suite struct DataFormTests {
    private static let recipes: [[(String, String)]] = [
        [("method", "awq"), ("group_size", "32"), ("scaling", "none")],
        [("method", "awq"), ("group_size", "32"), ("scaling", "keep")],
        [("method", "int4"), ("group_size", "32"), ("calibration", "data")],
        [("method", "nf4"), ("block_size", "32"), ("calibration", "data")],
    ]

    @Test("any number of threads writes the same bytes", arguments: recipes.indices, DataForm.allCases)
    func threads(_ index: Int, _ form: DataForm) throws {
        let fixture = LinearFixture(rows: 144, columns: 32, tokens: 20)
        let parts = form.parts("l.", fixture.inputs, columns: 32)
        let file = safetensors([fixture.weightPart] + parts)
        let alone = try CalibratedRun(file, Self.recipes[index]).session
        for threads in [2, 3] {
            let run = try CalibratedRun(file, Self.recipes[index], threads: threads).session
            let isSame = run.output.bytes == alone.output.bytes
            #expect(isSame)
            #expect(run.result.report.tensors.first?.outputError == alone.result.report.tensors.first?.outputError)
        }
    }

    @Test("magnitudes are not negative")
    func negativeMagnitudes() throws {
        let fixture = LinearFixture(rows: 8, columns: 32, tokens: 30)
        for form in [DataForm.gram, .channels] {
            var parts = form.parts("l.", fixture.inputs, columns: 32).filter { !$0.name.hasSuffix("abs_mean") }
            parts.append(("l.abs_mean", .f32, [32], bytes(of: [-1] + [Float](repeating: 1, count: 31))))
            for options in Self.recipes {
                let error = #expect(throws: QuantizationError.self) {
                    try SessionRun(safetensors([fixture.weightPart] + parts), options)
                }
                guard case .calibration(code: "calibration.not_positive", _)? = error else {
                    Issue.record("\(String(describing: error))")
                    continue
                }
            }
        }
    }
}
