import Foundation
import Quantization
import Tensors
import Testing

@testable import VivaService

/// What the service says about compressed-tensors and MLX.
@Suite struct GroupedFormatTests {
    private func recipe(_ options: [(String, String)]) throws -> Recipe {
        try Recipe(options: options.map { RecipeOption($0.0, $0.1) })
    }

    private func config(
        _ options: [(String, String)], skipped: [String] = [], varied: [VariedModule] = [], dtype: ElementType = .bf16
    ) throws -> NSDictionary {
        let json = QuantizationConfig.json(try recipe(options), skipped: skipped, varied: varied, dtype: dtype).text()
        return try #require(try JSONSerialization.jsonObject(with: Data(json.utf8)) as? NSDictionary)
    }

    /// The text that loads in transformers 5.23 for W4A16.
    private static let w4a16 = """
        {"quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed",
         "global_compression_ratio": null, "kv_cache_scheme": null, "ignore": ["lm_head", "model.gate"],
         "config_groups": {"group_0": {"targets": ["Linear"], "output_activations": null, "input_activations": null,
           "weights": {"num_bits": 4, "type": "int", "symmetric": true, "strategy": "group", "group_size": 128,
             "dynamic": false, "actorder": null, "block_structure": null, "observer": "minmax",
             "observer_kwargs": {}}}}}
        """

    @Test func w4a16IsWhatTransformersLoads() throws {
        let expected = try JSONSerialization.jsonObject(with: Data(Self.w4a16.utf8)) as? NSDictionary
        #expect(try config([("method", "int4")], skipped: ["model.gate", "lm_head"]) == expected)
    }

    /// Groups of their own, each with its format: what compressed-tensors 0.20 calls mixed-precision.
    @Test func overriddenModulesHaveGroupsOfTheirOwn() throws {
        let eight = try recipe([("method", "int8"), ("format", "compressed-tensors"), ("scheme", "W8A8")])
        let four = try recipe([("method", "int4"), ("group_size", "32")])
        let varied = [("a", eight), ("lm_head", four), ("b", eight)].map { VariedModule(name: $0.0, recipe: $0.1) }
        let config = try config([("method", "int4")], skipped: ["gate"], varied: varied)
        #expect(config["format"] as? String == "mixed-precision")
        #expect(config["ignore"] as? [String] == ["gate"])
        let groups = try #require(config["config_groups"] as? [String: [String: Any]])
        #expect(groups.count == 3)
        #expect(groups["group_0"]?["targets"] as? [String] == ["Linear"])
        #expect(groups["group_1"]?["targets"] as? [String] == ["a", "b"])
        #expect(groups["group_1"]?["format"] as? String == "int-quantized")
        #expect(groups["group_2"]?["targets"] as? [String] == ["lm_head"])
        #expect((groups["group_2"]?["weights"] as? [String: Any])?["group_size"] as? Int == 32)
        #expect(groups["group_0"]?["format"] as? String == "pack-quantized")
    }

    @Test(arguments: [(ElementType.f32, "float32"), (.f16, "float16"), (.bf16, "bfloat16"), (.f8E4M3, "bfloat16")])
    func bitsandbytesComputesInTheTypeOfTheWeights(_ type: ElementType, _ name: String) throws {
        #expect(try config([("method", "nf4")], dtype: type)["bnb_4bit_compute_dtype"] as? String == name)
    }

    @Test func mlxNamesModulesWithOtherBits() throws {
        let eight = try recipe([("method", "int8"), ("format", "mlx"), ("group_size", "32")])
        let varied = [VariedModule(name: "model.layers.0.mlp.down_proj", recipe: eight)]
        let config = try config([("method", "int4"), ("format", "mlx")], varied: varied)
        let own = try #require(config["model.layers.0.mlp.down_proj"] as? [String: Any])
        #expect(own["bits"] as? Int == 8 && own["group_size"] as? Int == 32)
        #expect(config["bits"] as? Int == 4)
    }

    @Test(
        arguments: [
            ([("method", "int4"), ("group_size", "-1")], "pack-quantized", 4, "int", false),
            ([("method", "int8"), ("format", "compressed-tensors")], "pack-quantized", 8, "int", false),
            (
                [("method", "int8"), ("format", "compressed-tensors"), ("scheme", "W8A8")], "int-quantized", 8, "int",
                true
            ),
            ([("method", "fp8")], "float-quantized", 8, "float", true),
        ] as [([(String, String)], String, Int, String, Bool)])
    func rowsHaveTheStrategyChannel(
        _ options: [(String, String)], _ format: String, _ bits: Int, _ type: String, _ isDynamic: Bool
    ) throws {
        let config = try config(options)
        #expect(config["format"] as? String == format)
        func value(_ path: String) -> Any? {
            let start: Any? = ((config["config_groups"] as? NSDictionary)?["group_0"] as? NSDictionary)
            return path.split(separator: ".").reduce(start) { ($0 as? NSDictionary)?[String($1)] }
        }
        #expect(value("weights.num_bits") as? Int == bits)
        #expect(value("weights.type") as? String == type)
        #expect(value("weights.strategy") as? String == "channel")
        #expect(value("weights.group_size") is NSNull)
        guard isDynamic else {
            #expect(value("input_activations") is NSNull)
            return
        }
        #expect(value("input_activations.type") as? String == type)
        #expect(value("input_activations.num_bits") as? Int == 8)
        #expect(value("input_activations.strategy") as? String == "token")
        #expect(value("input_activations.dynamic") as? Bool == true)
    }

    @Test func theOtherFormatsSayTheirOwn() throws {
        #expect(
            try config([("method", "int4"), ("format", "mlx")]) == ["group_size": 64, "bits": 4, "mode": "affine"])
        #expect(
            try config([("method", "int8"), ("format", "mlx"), ("group_size", "32")])
                == ["group_size": 32, "bits": 8, "mode": "affine"])
        let awq = try config([("method", "int4"), ("format", "awq"), ("group_size", "64")])
        #expect(awq["quant_method"] as? String == "awq")
        #expect(awq["group_size"] as? Int == 64)
    }

    /// Bits a weight where rows are 4096 long and scales are F16.
    @Test(
        arguments: [
            ("int4", 4.125), ("int4 format=awq", 4.15625), ("int4 format=mlx", 4.5), ("fp8", 8.0039),
            ("int8 format=compressed-tensors", 8.0039), ("int8 format=mlx", 8.5),
        ])
    func planCountsCodesAndScales(_ label: String, _ bits: Double) throws {
        let model = try #require(ModelShape.parse("1.5B"))
        let size = try #require(model.sizes.first { $0.label == label })
        #expect(abs(size.bitsPerWeight - bits) < 0.001)
    }

    @Test func everyMethodAndFormatIsListedAndPlanned() throws {
        let list = try JSONSerialization.jsonObject(with: Data(MethodHandlers.methodList().bytes())) as? NSDictionary
        let items = try #require(list?["items"] as? [NSDictionary])
        #expect(items.compactMap { $0["method"] as? String } == ["int8", "nf4", "int4", "fp8", "awq"])
        let labels = Set(try #require(ModelShape.parse("7B")).sizes.map(\.label))
        for item in items {
            let method = try #require(item["method"] as? String)
            let formats = try #require(item["formats"] as? [String])
            for (index, format) in formats.enumerated() {
                #expect(labels.contains(index == 0 ? method : "\(method) format=\(format)"))
                // Every default that is listed is one that the recipe takes, and spells out.
                var given = [RecipeOption("method", method), RecipeOption("format", format)]
                for option in item["options"] as? [NSDictionary] ?? [] where (option["format"] as? String) == format {
                    let name = try #require(option["name"] as? String)
                    // What depends on the data of each layer is spelled out where there is data.
                    guard let standard = option["default"], !(standard is NSNull) else { continue }
                    given.append(RecipeOption(name, "\(standard)"))
                }
                let plain = try Recipe(options: Array(given.prefix(2)))
                #expect(try Recipe(options: given) == plain)
                let names = given.dropFirst(2).map(\.name)
                guard method.hasPrefix("int") || method == "fp8" else { continue }
                #expect(Set(plain.optionMembers.map(\.0)) == Set(names).subtracting(["calibration", "rounding"]))
            }
        }
    }
}
