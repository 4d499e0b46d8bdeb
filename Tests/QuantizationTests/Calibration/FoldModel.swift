import Foundation
import Tensors
import Testing

@testable import Quantization

/// A decoder layer small enough to compute by hand: what it holds, what its Linears were given, and what it computes.
///
/// Attention is left out, each token sees itself alone, and so are the residuals: values feed the output projection,
/// gate and up feed down.
struct FoldModel {
    struct Tensor {
        let shape: [Int]
        var values: [Float]
    }

    static let (width, inner, tokens) = (64, 96, 48)
    static let layer = "model.layers.0."
    let modelType: String
    var tensors: [String: Tensor] = [:]
    /// What comes out of the norms before their weights.
    let (before, between): ([Float], [Float])

    private var isGemma: Bool { modelType.hasPrefix("gemma") }
    private var hasExperts: Bool { modelType == "mixtral" }
    private var isFused: Bool { modelType == "phi3" }
    private var secondNorm: String { modelType == "gemma2" ? "pre_feedforward_layernorm" : "post_attention_layernorm" }

    init(_ modelType: String) {
        self.modelType = modelType
        // A few channels are far louder than the others, which is what scales are for.
        func loud(_ seed: UInt64) -> [Float] {
            gaussian(Self.tokens * Self.width, seed: seed).enumerated().map { index, value in
                (index % Self.width) % 11 == 3 ? value * 20 : value
            }
        }
        (before, between) = (loud(1), loud(2))
        let (d, m) = (Self.width, Self.inner)
        for (index, norm) in ["input_layernorm", secondNorm].enumerated() {
            let values = gaussian(d, seed: UInt64(index + 3), scale: 0.2).map { isGemma ? $0 : $0 + 1 }
            tensors[norm + ".weight"] = Tensor(shape: [d], values: values)
        }
        var linears: [(String, Int, Int)] = [("self_attn.o_proj", d, d)]
        linears +=
            isFused ? [("self_attn.qkv_proj", 3 * d, d)] : ["q", "k", "v"].map { ("self_attn.\($0)_proj", d, d) }
        if hasExperts {
            for expert in 0..<2 {
                let name = "block_sparse_moe.experts.\(expert)."
                linears += [(name + "w1", m, d), (name + "w3", m, d), (name + "w2", d, m)]
            }
            linears.append(("block_sparse_moe.gate", 2, d))
        } else {
            linears += isFused ? [("mlp.gate_up_proj", 2 * m, d)] : [("mlp.gate_proj", m, d), ("mlp.up_proj", m, d)]
            linears.append(("mlp.down_proj", d, m))
        }
        for (index, (name, rows, columns)) in linears.enumerated() {
            let values = gaussian(rows * columns, seed: UInt64(index + 10), scale: 0.1)
            tensors[name + ".weight"] = Tensor(shape: [rows, columns], values: values)
        }
        if modelType == "qwen2" {
            for name in ["q", "k", "v"] {
                tensors["self_attn.\(name)_proj.bias"] = Tensor(shape: [d], values: gaussian(d, seed: 40, scale: 0.5))
            }
        }
    }

    /// The weights of all Linears that AWQ codes.
    var linears: [String] {
        tensors.keys.filter { tensors[$0]?.shape.count == 2 && !$0.hasSuffix("gate.weight") }.sorted()
    }

    // MARK: - What it computes

    /// Every output of a Linear, and of the router, by name, with these tensors instead of its own.
    func outputs(_ tensors: [String: Tensor]) -> [String: [Float]] {
        var found: [String: [Float]] = [:]
        func apply(_ name: String, _ x: [Float]) -> [Float] {
            guard let weight = tensors[name + ".weight"] else { return [] }
            var y = Self.product(x, weight)
            if let bias = tensors[name + ".bias"] { for i in y.indices { y[i] += bias.values[i % bias.values.count] } }
            found[name] = y
            return y
        }
        func norm(_ x: [Float], _ name: String) -> [Float] {
            let weight = tensors[name + ".weight"]?.values ?? []
            return x.enumerated().map { $1 * (weight[$0 % weight.count] + (isGemma ? 1 : 0)) }
        }
        func gated(_ gate: [Float], _ up: [Float]) -> [Float] { zip(gate, up).map { $0 / (1 + exp(-$0)) * $1 } }
        let x = norm(before, "input_layernorm")
        if isFused {
            let fused = apply("self_attn.qkv_proj", x)
            _ = apply("self_attn.o_proj", Self.part(2, of: 3, fused, Self.width))
        } else {
            _ = (apply("self_attn.q_proj", x), apply("self_attn.k_proj", x))
            _ = apply("self_attn.o_proj", apply("self_attn.v_proj", x))
        }
        let h = norm(between, secondNorm)
        if hasExperts {
            _ = apply("block_sparse_moe.gate", h)
            for expert in 0..<2 {
                let name = "block_sparse_moe.experts.\(expert)."
                _ = apply(name + "w2", gated(apply(name + "w1", h), apply(name + "w3", h)))
            }
        } else if isFused {
            let fused = apply("mlp.gate_up_proj", h)
            _ = apply(
                "mlp.down_proj", gated(Self.part(0, of: 2, fused, Self.inner), Self.part(1, of: 2, fused, Self.inner)))
        } else {
            _ = apply("mlp.down_proj", gated(apply("mlp.gate_proj", h), apply("mlp.up_proj", h)))
        }
        return found
    }

    /// What the Linears are given.
    func inputs() -> [String: [Float]] {
        let outputs = outputs(tensors)
        func weight(_ norm: String, _ x: [Float]) -> [Float] {
            let values = tensors[norm + ".weight"]?.values ?? []
            return x.enumerated().map { $1 * (values[$0 % values.count] + (isGemma ? 1 : 0)) }
        }
        func gated(_ gate: String, _ up: String) -> [Float] {
            zip(outputs[gate] ?? [], outputs[up] ?? []).map { $0 / (1 + exp(-$0)) * $1 }
        }
        var inputs: [String: [Float]] = [:]
        for name in linears {
            let module = String(name.dropLast(7))
            if module.hasSuffix("o_proj") {
                inputs[module] =
                    outputs["self_attn.v_proj"]
                    ?? Self.part(2, of: 3, outputs["self_attn.qkv_proj"] ?? [], Self.width)
            } else if module.hasSuffix("w2") {
                inputs[module] = gated(module.dropLast() + "1", module.dropLast() + "3")
            } else if module.hasSuffix("down_proj") {
                let fused = outputs["mlp.gate_up_proj"] ?? []
                inputs[module] =
                    isFused
                    ? zip(Self.part(0, of: 2, fused, Self.inner), Self.part(1, of: 2, fused, Self.inner)).map {
                        $0 / (1 + exp(-$0)) * $1
                    } : gated("mlp.gate_proj", "mlp.up_proj")
            } else {
                inputs[module] =
                    module.contains("self_attn") ? weight("input_layernorm", before) : weight(secondNorm, between)
            }
        }
        return inputs
    }

    private static func part(_ index: Int, of parts: Int, _ x: [Float], _ size: Int) -> [Float] {
        stride(from: 0, to: x.count, by: parts * size).flatMap { x[$0 + index * size..<$0 + (index + 1) * size] }
    }

    private static func product(_ x: [Float], _ weight: Tensor) -> [Float] {
        let (rows, columns) = (weight.shape[0], weight.shape[1])
        var y = [Float](repeating: 0, count: x.count / columns * rows)
        for token in 0..<x.count / columns {
            for row in 0..<rows {
                var sum: Float = 0
                for k in 0..<columns { sum += x[token * columns + k] * weight.values[row * columns + k] }
                y[token * rows + row] = sum
            }
        }
        return y
    }

    // MARK: - As files

    /// The tensors as a file, those that `included` takes; norms, biases and routers are of `type`.
    func file(_ type: ElementType = .bf16, _ included: (String) -> Bool = { _ in true }) -> [UInt8] {
        safetensors(
            tensors.sorted { $0.key < $1.key }.filter { included($0.key) }.map { name, tensor in
                let kind = tensor.shape.count == 1 || name.hasSuffix("gate.weight") ? type : .f32
                return (Self.layer + name, kind, tensor.shape, Self.bytes(tensor.values, kind))
            })
    }

    /// The calibration data as a file; `leaf` activations or square_mean.
    func data(_ included: (String) -> Bool = { _ in true }) -> [UInt8] {
        safetensors(
            inputs().sorted { $0.key < $1.key }.filter { included($0.key) }.map { module, values in
                (
                    Self.layer + module + ".activations", .f32, [Self.tokens, values.count / Self.tokens],
                    Self.bytes(values, .f32)
                )
            })
    }

    /// The same in another form.
    func data(_ form: DataForm) -> [UInt8] {
        safetensors(
            inputs().sorted { $0.key < $1.key }.flatMap { module, values in
                form.parts(Self.layer + module + ".", values, columns: values.count / Self.tokens)
            })
    }

    private static func bytes(_ values: [Float], _ type: ElementType) -> [UInt8] {
        guard type == .bf16 else { return values.flatMap { $0.bitPattern.littleEndianBytes } }
        return values.flatMap { value in
            let bits = UInt16(truncatingIfNeeded: (value.bitPattern &+ 0x7fff &+ (value.bitPattern >> 16 & 1)) >> 16)
            return [UInt8(truncatingIfNeeded: bits), UInt8(truncatingIfNeeded: bits >> 8)]
        }
    }

    /// The same model with norms, biases and routers rounded to bfloat16, as its file holds them.
    func rounded() -> FoldModel {
        var model = self
        for (name, tensor) in tensors where tensor.shape.count == 1 || name.hasSuffix("gate.weight") {
            model.tensors[name]?.values = tensor.values.map { value in
                Float(bitPattern: (value.bitPattern &+ 0x7fff &+ (value.bitPattern >> 16 & 1)) & 0xffff_0000)
            }
        }
        return model
    }

    /// What a reader makes of the tensors of an artifact.
    func restored(_ artifact: [String: (type: ElementType, bytes: [UInt8])], _ recipe: Recipe) throws -> [String:
        Tensor]
    {
        let parts = Dictionary(uniqueKeysWithValues: artifact.map { ($0.key, $0.value.bytes) })
        var found: [String: Tensor] = [:]
        for (name, tensor) in tensors {
            let (full, module) = (Self.layer + name, Self.layer + name.dropLast(6))
            if let kept = artifact[full] {
                found[name] = Tensor(shape: tensor.shape, values: RestoredGroups.floats(kept.bytes, kept.type))
            } else {
                let weight = try RestoredGroups(
                    parts, module: module, recipe, rows: tensor.shape[0], columns: tensor.shape[1], type: .f32)
                found[name] = Tensor(shape: tensor.shape, values: weight.values)
            }
        }
        return found
    }

    /// ‖y − ŷ‖² / ‖y‖² of each output that scales do not change: what stands in front of another Linear is divided.
    func errors(_ tensors: [String: Tensor]) -> [String: Double] {
        let (expected, got) = (outputs(self.tensors), outputs(tensors))
        return Dictionary(
            uniqueKeysWithValues:
                expected.filter { !Self.isDivided($0.key) }.map { name, values in
                    let error = zip(values, got[name] ?? []).reduce(0.0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
                    return (name, error / values.reduce(0.0) { $0 + Double($1 * $1) })
                })
    }

    private static func isDivided(_ name: String) -> Bool {
        ["v_proj", "qkv_proj", "up_proj", "w3"].contains { name.hasSuffix($0) }
    }
}
