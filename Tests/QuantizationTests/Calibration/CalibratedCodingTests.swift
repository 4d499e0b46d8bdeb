import Tensors
import Testing

@testable import Quantization

/// Calibrated coding from end to end: what is written, reported and refused.
struct CalibratedCodingTests {
    @Test("the figures are those of what a reader restores", arguments: calibratedRecipes)
    func figures(options: [(String, String)]) throws {
        let fixture = LinearFixture(rows: 24, columns: 96, tokens: 150)
        let run = try CalibratedRun(fixture.file, options)
        let output = try #require(run.report.outputError)
        let held = fixture.outputError(of: run.restored, tokens: fixture.calibrated..<fixture.tokens)
        #expect(abs(output.relative / held - 1) < 1e-3)
        #expect(output.isHeldOut && output.tokens == 30)
        let sums = try #require(run.report.quality).sums
        let squared = zip(fixture.weights, run.restored).reduce(0.0) {
            $0 + (Double($1.0) - Double($1.1)) * (Double($1.0) - Double($1.1))
        }
        #expect(abs(sums.squaredError / squared - 1) < 1e-4 && sums.count == fixture.weights.count)
        // What is known of the inputs helps where it was not taken from.
        #expect(output.relative < (output.roundToNearest ?? 0))
    }

    @Test("the error of rounding to nearest is that of the reference", arguments: ["awq", "int4"])
    func nearest(method: String) throws {
        let fixture = LinearFixture(rows: 16, columns: 64, tokens: 100)
        let format = method == "awq" ? "awq" : "compressed-tensors"
        let plain = try CalibratedRun(
            safetensors([fixture.weightPart]),
            [("method", "int4"), ("format", format), ("group_size", "32"), ("mode", "reference")])
        let run = try CalibratedRun(
            fixture.file, [("method", method), ("format", format), ("group_size", "32"), ("calibration", "data")])
        let error = fixture.outputError(of: plain.restored, tokens: fixture.calibrated..<fixture.tokens)
        let reported = try #require(run.report.outputError?.roundToNearest)
        #expect(abs(reported / error - 1) < 0.02)
    }

    @Test("AWQ beside which a layer is reported does what the reference does")
    func plainAWQ() throws {
        let fixture = LinearFixture(rows: 32, columns: 64, tokens: 200)
        let options = [("method", "awq"), ("group_size", "32"), ("scaling", "keep")]
        let run = try CalibratedRun(fixture.file, options)
        let reference = try SessionRun(fixture.file, options + [("mode", "reference")])
        let tensors = try RestoreRun(reference.output.bytes).tensors()
        var restored = try #require(tensors["l.weight"]).bytes.floats
        if let scales = tensors["l.input_scales"]?.bytes.floats {
            for index in restored.indices { restored[index] /= scales[index % fixture.columns] }
        }
        let error = fixture.outputError(of: restored, tokens: fixture.calibrated..<fixture.tokens)
        let output = try #require(run.report.outputError)
        #expect(abs((output.plainAWQ ?? 0) / error - 1) < 0.15)
        #expect(output.relative < error)
    }

    @Test("any number of threads writes the same bytes", arguments: calibratedRecipes)
    func threads(options: [(String, String)]) throws {
        let fixture = LinearFixture(rows: 136, columns: 32, tokens: 40)
        let alone = try CalibratedRun(fixture.file, options).session
        for threads in [2, 8] {
            let run = try CalibratedRun(fixture.file, options, threads: threads).session
            #expect(run.output.bytes == alone.output.bytes)
            #expect(run.result.report.tensors.first?.outputError == alone.result.report.tensors.first?.outputError)
        }
    }

    @Test("a Gram matrix does nearly what the activations do that it was taken from, and tells the error on them")
    func gram() throws {
        let fixture = LinearFixture(rows: 32, columns: 64, tokens: 400)
        let options = [("method", "awq"), ("group_size", "32"), ("scaling", "none"), ("damping", "0.2")]
        let run = try CalibratedRun(fixture.gramFile, options)
        let output = try #require(run.report.outputError)
        #expect(!output.isHeldOut)
        let error = fixture.outputError(of: run.restored, tokens: 0..<fixture.calibrated)
        #expect(abs(output.relative / error - 1) < 1e-3)
        // How far the squares scatter is known of the activations, and taken for that of normal ones of a Gram matrix.
        let known = try CalibratedRun(fixture.file, options)
        let best = fixture.outputError(of: known.restored, tokens: 0..<fixture.calibrated)
        #expect(abs(error / best - 1) < 0.05)
    }

    @Test("less is known, more is lost")
    func knowledge() throws {
        let fixture = LinearFixture(rows: 16, columns: 128, tokens: 500)
        let gram = fixture.gram
        let squares = (0..<128).map { Float(gram[$0 * 129]) }
        var blocks: [Float] = []
        for i in 0..<128 { for j in 0..<64 { blocks.append(Float(gram[i * 128 + i / 64 * 64 + j])) } }
        let files = [
            safetensors([fixture.weightPart, ("l.square_mean", .f32, [128], bytes(of: squares))]),
            safetensors([fixture.weightPart, ("l.gram", .f32, [2, 64, 64], bytes(of: blocks))]), fixture.gramFile,
        ]
        let options = [("method", "awq"), ("group_size", "64"), ("scaling", "none")]
        var last = fixture.outputError(
            of: try CalibratedRun(safetensors([fixture.weightPart]), options + [("calibration", "none")]).restored,
            tokens: fixture.calibrated..<500)
        for file in files {
            let run = try CalibratedRun(file, options)
            let error = fixture.outputError(of: run.restored, tokens: fixture.calibrated..<500)
            #expect(error < last)
            last = error
        }
    }
}

/// Inputs and weights at the edges of what there is.
struct CalibratedEdgeTests {
    private static let recipes = calibratedRecipes.map { options in
        options.filter { $0.0 != "group_size" && $0.0 != "block_size" }
            + [options[0].1 == "nf4" ? ("block_size", "32") : ("group_size", "32")]
    }

    @Test("dead columns, zero rows, fewer tokens than columns, odd widths: every weight comes back", arguments: recipes)
    func edges(options: [(String, String)]) throws {
        var fixture = LinearFixture(rows: 24, columns: 160, tokens: 20)
        for token in 0..<20 { for column in [0, 7, 33] { fixture.inputs[token * 160 + column] = 0 } }
        for column in 0..<160 { fixture.weights[3 * 160 + column] = 0 }
        for column in 0..<160 { fixture.weights[4 * 160 + column] = abs(fixture.weights[4 * 160 + column]) }
        // A group without weights, and one of a single one.
        for column in 32..<64 { fixture.weights[5 * 160 + column] = 0 }
        fixture.weights[5 * 160 + 40] = 0.5
        let run = try CalibratedRun(fixture.file, options)
        #expect(!run.restored.contains { !$0.isFinite })
        for column in 0..<160 { #expect(run.restored[3 * 160 + column] == 0) }
        #expect(abs(run.restored[5 * 160 + 40] - 0.5) < 0.05)
        let output = try #require(run.report.outputError)
        #expect(output.relative < 0.1)
    }

    @Test("weights of any magnitude that the format holds", arguments: [1e-30, 1e-6, 2000] as [Float])
    func magnitudes(scale: Float) throws {
        var fixture = LinearFixture(rows: 8, columns: 64, tokens: 40)
        for index in fixture.weights.indices { fixture.weights[index] *= scale }
        for options in [
            [("method", "int4"), ("calibration", "data"), ("group_size", "32")],
            [("method", "nf4"), ("calibration", "data"), ("block_size", "32"), ("double_quant", "false")],
        ] {
            let run = try CalibratedRun(fixture.file, options)
            #expect(fixture.outputError(of: run.restored, tokens: 32..<40) < 0.05)
        }
    }

    @Test("inputs of any magnitude whose squares are floats", arguments: [0x1p-50, 0x1p50] as [Float])
    func inputs(scale: Float) throws {
        var fixture = LinearFixture(rows: 8, columns: 64, tokens: 40)
        let plain = try CalibratedRun(fixture.file, [("method", "nf4"), ("calibration", "data")])
        for index in fixture.inputs.indices { fixture.inputs[index] *= scale }
        let run = try CalibratedRun(fixture.file, [("method", "nf4"), ("calibration", "data")])
        #expect(plain.restored == run.restored)
    }

    @Test("a layer that never sees an input is coded as without data")
    func silence() throws {
        var fixture = LinearFixture(rows: 8, columns: 64, tokens: 40)
        for index in fixture.inputs.indices { fixture.inputs[index] = 0 }
        let run = try CalibratedRun(fixture.file, [("method", "nf4"), ("calibration", "data")])
        let quality = try #require(run.report.quality)
        #expect(quality.sums.squaredError > 0)
        #expect(run.report.outputError == nil)
    }

    /// The code with which a file is refused.
    private static func refusal(_ file: [UInt8], _ options: [(String, String)]) -> String? {
        do {
            _ = try SessionRun(file, options)
            return nil
        } catch QuantizationError.calibration(let code, _), QuantizationError.recipe(let code, _) {
            return code
        } catch {
            return "\(error)"
        }
    }

    private static let awq = [("method", "awq"), ("group_size", "32"), ("scaling", "none")]

    @Test("inputs that are no numbers, or too large, are refused", arguments: [Float.nan, .infinity, 1e30])
    func notFinite(value: Float) {
        var fixture = LinearFixture(rows: 8, columns: 32, tokens: 20)
        fixture.inputs[5] = value
        let code = value.isFinite ? "calibration.range" : "calibration.non_finite"
        #expect(Self.refusal(fixture.file, Self.awq) == code)
    }

    @Test("a Gram matrix that none can be is refused")
    func falseGram() {
        let fixture = LinearFixture(rows: 8, columns: 32, tokens: 50)
        func refusal(_ change: (inout [Float]) -> Void) -> String? {
            var gram = fixture.gram.map { Float($0) }
            change(&gram)
            let part: LinearFixture.Part = ("l.gram", .f32, [32, 32], bytes(of: gram))
            return Self.refusal(safetensors([fixture.weightPart, part]), Self.awq)
        }
        #expect(refusal { _ in } == nil)
        #expect(refusal { $0[33] = -1 } == "calibration.not_positive")
        #expect(refusal { $0[1] += 5 } == "calibration.not_positive")
        #expect(refusal { $0[1] = .nan } == "calibration.non_finite")
        #expect(
            refusal { gram in
                for i in 0..<32 {
                    for j in 0..<32 where i != j {
                        gram[i * 32 + j] = -0.9 * (gram[i * 33] * gram[j * 33]).squareRoot()
                    }
                }
            } == "calibration.not_positive")
    }
}
