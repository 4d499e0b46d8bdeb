import Foundation

/// Inputs that tests make themselves.
enum Inputs {
    /// A safetensors file of float32 tensors.
    static func safetensors(_ tensors: [(name: String, shape: [Int], values: [Float])]) -> Data {
        var position = 0
        var entries: [String] = []
        for tensor in tensors {
            let end = position + tensor.values.count * 4
            entries.append(
                "\"\(tensor.name)\":{\"dtype\":\"F32\",\"shape\":\(tensor.shape),\"data_offsets\":[\(position),\(end)]}"
            )
            position = end
        }
        return safetensors(header: "{" + entries.joined(separator: ",") + "}", data: bytes(tensors.flatMap(\.values)))
    }

    /// A safetensors file with a header as given.
    static func safetensors(header: String, data: Data) -> Data {
        var file = Data()
        var length = UInt64(header.utf8.count).littleEndian
        unsafe withUnsafeBytes(of: &length) { unsafe file.append(contentsOf: $0) }
        return file + Data(header.utf8) + data
    }

    static func bytes(_ values: [Float]) -> Data {
        var data = Data(capacity: values.count * 4)
        for value in values {
            var bits = value.bitPattern.littleEndian
            unsafe withUnsafeBytes(of: &bits) { unsafe data.append(contentsOf: $0) }
        }
        return data
    }

    /// About normally distributed values from a seeded generator: the sum of 12 uniform ones.
    static func gaussian(_ count: Int, seed: UInt64) -> [Float] {
        var state = seed
        return (0..<count).map { _ in
            var sum: Float = -6
            for _ in 0..<12 {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                sum += Float(state >> 40) / Float(1 << 24)
            }
            return sum
        }
    }

    /// An npy file (version 1.0) of float32.
    static func npy(_ shape: [Int], _ values: [Float], fortran: Bool = false) -> Data {
        let dimensions = shape.map(String.init).joined(separator: ", ") + (shape.count == 1 ? "," : "")
        var header = "{'descr': '<f4', 'fortran_order': \(fortran ? "True" : "False"), 'shape': (\(dimensions)), }"
        header += String(repeating: " ", count: (64 - (11 + header.utf8.count) % 64) % 64) + "\n"
        var file = Data([0x93]) + Data("NUMPY".utf8) + Data([1, 0])
        file += Data([UInt8(header.utf8.count & 0xFF), UInt8(header.utf8.count >> 8)]) + Data(header.utf8)
        return file + bytes(values)
    }
}
