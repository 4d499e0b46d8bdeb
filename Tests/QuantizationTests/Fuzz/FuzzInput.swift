import Tensors

@testable import Quantization

/// SplitMix64: the same cases on every machine.
struct FuzzGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func pick<Item>(_ items: [Item]) -> Item { items[Int.random(in: 0..<items.count, using: &self)] }
    mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &self) < percent }
    mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<max(1, bound), using: &self) }
}

/// One input and the recipe for it, some of them damaged.
struct FuzzInput {
    var bytes: [UInt8] = []
    var options: [(String, String)] = []
    var declaration = InputDeclaration.recognise
    /// Whether the session is told the length.
    var isDeclared = true

    private static let types: [ElementType] = [.f32, .f16, .bf16, .f64]
    private static let names = [
        "weight", "a.weight", "b.weight", "a.bias", "bias", "activations", "a.activations", "b.activations", "a.gram",
        "weight.absmax", "a.SCB", "a.qweight", "embed.weight", "n\u{0}\"\\\n.weight", "\u{1F600}.weight",
        "e\u{301}\u{323}.weight", "", "x",
    ]
    private static let sizes = [0, 1, 2, 3, 7, 8, 16, 24, 31, 32, 33, 64, 65, 96, 128, 130, 257]
    private static let numbers = [
        "0", "1", "7", "64", "65536", "4294967296", "1099511627776", "4611686018427387904", "9223372036854775807",
        "9223372036854775808", "18446744073709551616", "-1", "1e3", "",
    ]

    /// The case of one seed.
    init(seed: UInt64) {
        var generator = FuzzGenerator(state: seed)
        options = Self.recipe(&generator)
        let isAWQ = options[0].1 == "awq"
        switch generator.below(10) {
        case 0..<6: safetensors(isAWQ, &generator)
        case 6..<8: npy(isAWQ, &generator)
        default: raw(isAWQ, &generator)
        }
        isDeclared = generator.chance(70)
        if generator.chance(35) { damage(&generator) }
    }

    private static func recipe(_ generator: inout FuzzGenerator) -> [(String, String)] {
        let method = generator.pick(["nf4", "nf4", "int8", "int8", "awq", "int4", "fp8"])
        var options = [("method", method)]
        switch method {
        case "nf4":
            options.append(("block_size", generator.pick(["32", "64", "64", "256", "4096"])))
            options.append(("double_quant", generator.pick(["true", "false"])))
            options.append(("mode", generator.pick(["best", "reference"])))
        case "awq":
            options.append(("group_size", generator.pick(["32", "64", "128", "-1"])))
            options.append(("mode", generator.pick(["best", "reference"])))
            if generator.chance(40) {
                options.append(("calibration", "none"))
            } else {
                options.append(("scaling", generator.pick(["none", "keep"])))
            }
        case "int8", "int4":
            let formats = method == "int8" ? ["bitsandbytes"] : ["awq"]
            let format = generator.pick(formats + ["compressed-tensors", "mlx"])
            options.append(("format", format))
            if format == "compressed-tensors", method == "int8", generator.chance(50) {
                options.append(("scheme", "W8A8"))
            } else if format != "bitsandbytes" {
                options.append(("group_size", generator.pick(["32", "64", format == "mlx" ? "128" : "-1"])))
            }
        default: break
        }
        if generator.chance(15) {
            options.append((generator.pick(["include", "exclude"]), generator.pick(["*", "a*", "*t", "?"])))
        }
        return options
    }

    private static func shape(_ isAWQ: Bool, _ generator: inout FuzzGenerator) -> [Int] {
        if isAWQ, generator.chance(80) {
            return [8 * (1 + generator.below(5)), generator.pick([32, 64, 96, 128, 256, 20])]
        }
        let rank = generator.chance(85) ? 2 : generator.below(4)
        return (0..<rank).map { _ in generator.pick(sizes) }
    }

    /// Elements of one character: usual weights, nothing, the ends of the ranges, or any bits at all.
    private static func elements(_ type: ElementType, _ count: Int, _ generator: inout FuzzGenerator) -> [UInt8] {
        let kind = generator.below(14)
        let scales: [Double] = [1, 0.02, 0.02, 1, 0, 1e-40, 6e-8, 1e-30, 1e30, 3e38, 60000, 2e-38, 1e300, 1]
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count * type.bitWidth / 8)
        for index in 0..<count {
            var value = Double.random(in: -1...1, using: &generator) * scales[kind]
            if kind == 13 { value = generator.pick([0, 1, -1, 1e-40, 2e-40, 65504, 3.4e38, -1e-45]) }
            if kind == 3, index % 97 == 96 { value *= 1000 }
            let bits: UInt64 =
                switch type {
                case .f64: value.bitPattern
                case .f32: UInt64(Float(value).bitPattern)
                case .bf16: UInt64(Float(value).bitPattern >> 16)
                default: UInt64(Float16(value).bitPattern)
                }
            for byte in 0..<type.bitWidth / 8 { bytes.append(UInt8(truncatingIfNeeded: bits >> (8 * byte))) }
        }
        if generator.chance(4), !bytes.isEmpty { for _ in 0..<4 { bytes[generator.below(bytes.count)] = 0xFF } }
        return bytes
    }

    private mutating func safetensors(_ isAWQ: Bool, _ generator: inout FuzzGenerator) {
        var tensors: [(name: String, type: ElementType, shape: [Int], bytes: [UInt8])] = []
        func add(_ name: String, _ type: ElementType, _ shape: [Int]) {
            guard !tensors.contains(where: { ExactName($0.name) == ExactName(name) }) else { return }
            let count = shape.reduce(1, *)
            tensors.append((name, type, shape, Self.elements(type, count, &generator)))
        }
        for _ in 0...generator.below(4) {
            let (name, shape) = (generator.pick(Self.names), Self.shape(isAWQ, &generator))
            add(name, generator.pick(Self.types), shape)
            guard isAWQ, shape.count == 2, let module = name.module(ofLeaf: "weight") else { continue }
            if generator.chance(90) {
                add(module + "activations", generator.pick(Self.types), [generator.below(40), shape[1]])
            }
            if generator.chance(30) { add(module + "bias", generator.pick(Self.types), [shape[0]]) }
        }
        tensors.shuffle(using: &generator)
        bytes = QuantizationTests.safetensors(tensors)
    }

    private mutating func npy(_ isAWQ: Bool, _ generator: inout FuzzGenerator) {
        if isAWQ { options = [("method", "awq"), ("calibration", "none"), ("group_size", "-1")] }
        let (type, descr) = generator.pick([
            (ElementType.f32, "<f4"), (.f64, "<f8"), (.f16, "<f2"), (.f32, ">f4"), (.f16, ">f2"),
        ])
        let shape = Self.shape(isAWQ, &generator)
        let tuple = "(" + shape.map { "\($0)," }.joined() + ")"
        let order = generator.pick(["True", "False"])
        var header = "{'descr': '\(descr)', 'fortran_order': \(order), 'shape': \(tuple), }"
        header += String(repeating: " ", count: 127 - (header.utf8.count + 10) % 64) + "\n"
        bytes = [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(header.utf8.count & 255), UInt8(header.utf8.count >> 8)]
        bytes += Array(header.utf8) + Self.elements(type, shape.reduce(1, *), &generator)
    }

    private mutating func raw(_ isAWQ: Bool, _ generator: inout FuzzGenerator) {
        if isAWQ { options = [("method", "awq"), ("calibration", "none"), ("group_size", "32")] }
        let type = generator.pick(Self.types)
        let shape = Self.shape(isAWQ, &generator)
        bytes = Self.elements(type, shape.reduce(1, *), &generator)
        var declared = shape
        if generator.chance(20), !declared.isEmpty {
            declared[generator.below(declared.count)] = generator.pick([0, 1, 1 << 20, 1 << 40, 1 << 57, Int.max])
        }
        declaration = .raw(type: type, shape: declared)
    }

    private mutating func damage(_ generator: inout FuzzGenerator) {
        let reach = generator.chance(80) ? min(bytes.count, 400) : bytes.count
        for _ in 0...generator.below(3) where !bytes.isEmpty {
            let place = generator.below(min(reach, bytes.count))
            switch generator.below(6) {
            case 0: bytes[place] = UInt8.random(in: 0...255, using: &generator)
            case 1: bytes.removeSubrange(place..<min(bytes.count, place + 1 + generator.below(9)))
            case 2: bytes.insert(contentsOf: (0...generator.below(9)).map { UInt8($0 * 31) }, at: place)
            case 3: bytes.removeLast(min(bytes.count, 1 + generator.below(bytes.count)))
            default: replaceNumber(from: place, &generator)
            }
        }
        guard case .recognise = declaration, bytes.count > 9, bytes[8] == UInt8(ascii: "{"), generator.chance(70),
            let end = bytes.lastIndex(of: UInt8(ascii: "}"))
        else { return }
        // Let the length agree again, so that the damage reaches further than the length check.
        for index in 0..<8 { bytes[index] = UInt8(truncatingIfNeeded: (end - 7) >> (8 * index)) }
    }

    private mutating func replaceNumber(from place: Int, _ generator: inout FuzzGenerator) {
        func isDigit(_ byte: UInt8) -> Bool { byte >= 0x30 && byte <= 0x39 }
        guard let start = bytes[place...].firstIndex(where: isDigit) else { return }
        let end = bytes[start...].firstIndex { !isDigit($0) } ?? bytes.count
        bytes.replaceSubrange(start..<end, with: Array(generator.pick(Self.numbers).utf8))
    }
}
