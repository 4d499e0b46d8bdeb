/// The laws of the house as data. A change here is a change of the design: write the reason in docs/decisions/.
enum Rules {
    /// What a module may import, besides `Swift` and `Synchronization`. Lowest room first; arrows point up this list.
    static let imports: [String: Set<String>] = [
        "CKernels": [],
        "CPlatform": [],
        "COpenSSL": [],
        "CZlib": [],
        "CSQLite": [],
        "Tensors": [],
        "Quantization": ["CKernels", "Tensors", "Dispatch"],
        "HTTPWire": ["HTTPTypes"],
        "OpenSSL": ["COpenSSL"],
        "Compression": ["CZlib"],
        "Sockets": ["OpenSSL", "CPlatform", "Glibc"],
        "HTTPServer": ["HTTPWire", "Sockets", "Compression", "HTTPTypes", "Logging"],
        "ArtifactStore": ["OpenSSL", "CPlatform", "Glibc"],
        "Catalogue": ["ArtifactStore", "CSQLite", "FoundationEssentials"],
        "Observability": ["Logging", "FoundationEssentials"],
        "VivaService": [
            "Tensors", "Quantization", "HTTPWire", "OpenSSL", "Compression", "Sockets", "HTTPServer", "ArtifactStore",
            "Catalogue", "Observability", "HTTPTypes", "Logging", "FoundationEssentials", "Dispatch",
        ],
        "viva": ["VivaService", "ArgumentParser", "FoundationEssentials"],
    ]

    /// Free for every module.
    static let freeImports: Set<String> = ["Swift", "Synchronization"]

    /// Files and folders of Sources that may use memory which the compiler does not check. Each says why at its fields.
    static let unsafeFences = [
        "Sources/Quantization/Kernels/",
        "Sources/Sockets/",
        "Sources/OpenSSL/",
        "Sources/Compression/",
        "Sources/Catalogue/",
        "Sources/ArtifactStore/",
        "Sources/HTTPWire/Octets.swift",
        "Sources/HTTPServer/InputBuffer.swift",
        "Sources/HTTPServer/Identifiers.swift",
        "Sources/Quantization/AWQ/AWQLayer.swift",
        "Sources/Quantization/AWQ/AWQMoments.swift",
        "Sources/Quantization/AWQ/HalfPrecision.swift",
        "Sources/Quantization/AWQ/RowProducts.swift",
        "Sources/Quantization/AWQ/StagedRows.swift",
        "Sources/Quantization/AWQ/TransposedPlane.swift",
        "Sources/Quantization/Session/ElementFeed.swift",
        "Sources/Quantization/Session/FortranPass.swift",
        "Sources/Quantization/Session/QuantizingSession.swift",
        "Sources/Quantization/Session/TensorEncoder.swift",
        "Sources/Quantization/Session/TensorStage.swift",
        "Sources/Quantization/Session/TransferBuffer.swift",
    ]

    /// Never in Sources: traps that a client could reach, promises instead of work, casts that lie.
    static let bannedTokens = [
        "try!", "fatalError(", "preconditionFailure(", "as!", "TODO", "FIXME", "XXX",
    ]

    /// Never part of the name of a file or a type: they say nothing.
    static let bannedNameParts = ["Utils", "Helpers", "Common", "Manager"]

    static let maximumFileLines = 400
    static let maximumColumns = 120
    static let maximumSourceLines = 15_000
    static let serverModules = ["HTTPWire", "Sockets", "HTTPServer"]
    static let maximumServerLines = 4_000
    static let maximumTrackedBytes = 9 * 1_048_576

    /// Never tracked: SwiftPM resolves afresh, and what is built is not source.
    static let untracked = ["Package.resolved", ".build", ".venv", "viva-data"]
}
