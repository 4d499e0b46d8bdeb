/// A graphics card by the memory that it has.
package struct GPU: Sendable, Equatable {
    /// The name used in `gpu=`.
    package let name: String
    /// Memory in bytes.
    package let memory: Int

    /// Share of the memory that weights and KV cache may fill; the rest is for activations and the runtime.
    package static let usableFraction = 0.9

    /// Cards that people run models on, by their makers' data sheets.
    package static let all: [GPU] = [
        ("rtx-3060", 12), ("rtx-4070", 12), ("rtx-4060-ti-16gb", 16), ("rtx-4080", 16), ("t4", 16), ("rtx-3090", 24),
        ("rtx-4090", 24), ("a10", 24), ("l4", 24), ("rtx-5090", 32), ("a100-40gb", 40), ("l40s", 48), ("a6000", 48),
        ("a100-80gb", 80), ("h100", 80), ("h200", 141), ("mi300x", 192),
    ].map { GPU(name: $0.0, memory: $0.1 << 30) }

    /// The cards called `name`, all for nil; none when nothing is called so.
    package static func named(_ name: String?) -> [GPU] {
        guard let name = name?.lowercased() else { return all }
        return all.filter { $0.name == name }
    }

    /// Whether `bytes` of weights and KV cache leave enough room.
    package func fits(_ bytes: Int) -> Bool { Double(bytes) <= Double(memory) * Self.usableFraction }
}
