// swift-tools-version: 6.2
import PackageDescription

/// The bench calls C kernels and ships nowhere: it need not mark each pointer.
let benchRules: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

/// Every Swift module is built under the same rules; a warning is an error.
let rules: [SwiftSetting] = benchRules + [.strictMemorySafety()]

let httpTypes = Target.Dependency.product(name: "HTTPTypes", package: "swift-http-types")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")

/// The rooms of the house, lowest first. Arrows point up this list only; `TidyTests` holds them to it.
let rooms: [Target] = [
    .target(name: "CKernels"),
    .target(name: "CPlatform"),
    .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
    // Loads OpenBLAS when it is first needed; building takes nothing of it.
    .target(name: "COpenBLAS"),
    .target(name: "Tensors", swiftSettings: rules),
    .target(name: "LinearAlgebra", dependencies: ["COpenBLAS"], swiftSettings: rules),
    .target(name: "Quantization", dependencies: ["CKernels", "Tensors", "LinearAlgebra"], swiftSettings: rules),
    .target(name: "HTTPWire", dependencies: [httpTypes], swiftSettings: rules),
    .target(name: "OpenSSL", dependencies: ["COpenSSL"], swiftSettings: rules),
    .target(name: "Compression", dependencies: ["CZlib"], swiftSettings: rules),
    .target(name: "Sockets", dependencies: ["OpenSSL", "CPlatform"], swiftSettings: rules),
    .target(
        name: "HTTPServer",
        dependencies: ["HTTPWire", "Sockets", "Compression", "OpenSSL", httpTypes, logging],
        swiftSettings: rules),
    .target(name: "ArtifactStore", dependencies: ["OpenSSL", "CPlatform"], swiftSettings: rules),
    .target(name: "Processes", dependencies: ["CPlatform"], swiftSettings: rules),
    .target(name: "Jobs", swiftSettings: rules),
    .target(name: "Catalogue", dependencies: ["ArtifactStore", "Jobs", "CSQLite"], swiftSettings: rules),
    .target(name: "Observability", dependencies: [logging], swiftSettings: rules),
    .target(
        name: "VivaService",
        dependencies: [
            "Tensors", "Quantization", "HTTPWire", "OpenSSL", "Compression", "Sockets", "HTTPServer", "ArtifactStore",
            "Catalogue", "Observability", "Processes", "Jobs", httpTypes, logging,
        ],
        resources: [.embedInCode("Resources")], swiftSettings: rules),
    .executableTarget(name: "viva", dependencies: ["VivaService", argumentParser], swiftSettings: rules),
]

let tests: [Target] = [
    "Tensors", "LinearAlgebra", "Quantization", "HTTPWire", "OpenSSL", "Compression", "HTTPServer", "ArtifactStore",
    "Catalogue", "Observability", "Processes", "Jobs", "VivaService",
].map { room in
    var dependencies: [Target.Dependency] = [.byName(name: room)]
    switch room {
    case "Quantization": dependencies += ["Tensors", "LinearAlgebra", "Compression"]
    case "HTTPWire": dependencies += ["HTTPCorpus", httpTypes]
    case "HTTPServer": dependencies += ["HTTPWire", "Sockets", "OpenSSL", "Compression", httpTypes, logging]
    case "ArtifactStore": dependencies += ["OpenSSL"]
    case "Catalogue": dependencies += ["ArtifactStore", "Jobs", "CSQLite"]
    case "Observability": dependencies += [logging]
    case "VivaService":
        dependencies += [
            "Quantization", "Tensors", "HTTPServer", "Sockets", "ArtifactStore", "Catalogue", "Jobs", "Processes",
            httpTypes, logging,
        ]
    default: break
    }
    return .testTarget(name: "\(room)Tests", dependencies: dependencies, swiftSettings: rules)
}

let package = Package(
    name: "viva-tensor",
    products: [.executable(name: "viva", targets: ["viva"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-http-types", exact: "1.8.0", traits: []),
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
    ],
    targets: rooms + tests + [
        .testTarget(name: "TidyTests", swiftSettings: rules),
        // Raw requests with the answers that the RFCs allow, for the parser and for the executable.
        .target(name: "HTTPCorpus", path: "Tests/HTTPCorpus", swiftSettings: rules),
        .testTarget(name: "EndToEndTests", dependencies: ["HTTPCorpus"], swiftSettings: rules),
        // Times the kernels (`make bench-kernels`); part of no product that ships.
        .executableTarget(
            name: "kernel-bench", dependencies: ["Quantization", "Tensors", "CKernels"], path: "Benchmarks/Kernels",
            swiftSettings: benchRules),
        // Times the catalogue (`make bench-catalogue`).
        .executableTarget(
            name: "catalogue-bench", dependencies: ["Catalogue", "Jobs"], path: "Benchmarks/Catalogue",
            swiftSettings: benchRules),
    ],
    cLanguageStandard: .c17
)
