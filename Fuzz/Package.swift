// swift-tools-version: 6.2
import PackageDescription

// Fuzz targets: `make fuzz`, and docs/FUZZING.md. A package of its own, so that nothing here is in a build that ships.
// `Modules` is a link to the sources of the service: what is `package` there is visible only within one package.

/// Every branch is counted for libFuzzer, memory errors end the run, and every line for the report.
let instruments = ["-sanitize=fuzzer,address", "-profile-generate"]

let rules: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .unsafeFlags(instruments + ["-profile-coverage-mapping", "-enable-testing"]),
]

let httpTypes = Target.Dependency.product(name: "HTTPTypes", package: "swift-http-types")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")

func room(_ name: String, _ dependencies: [Target.Dependency] = [], resources: [Resource]? = nil) -> Target {
    .target(
        name: name, dependencies: dependencies, path: "Modules/\(name)", resources: resources, swiftSettings: rules)
}

func library(_ name: String, _ pkgConfig: String) -> Target {
    .systemLibrary(name: name, path: "Modules/\(name)", pkgConfig: pkgConfig)
}

let package = Package(
    name: "viva-fuzz",
    dependencies: [
        .package(url: "https://github.com/apple/swift-http-types", exact: "1.8.0", traits: []),
        .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
    ],
    targets: [
        .target(name: "CKernels", path: "Modules/CKernels"),
        .target(name: "CPlatform", path: "Modules/CPlatform"),
        .target(name: "COpenBLAS", path: "Modules/COpenBLAS"),
        library("COpenSSL", "openssl"), library("CZlib", "zlib"), library("CSQLite", "sqlite3"),
        room("Tensors"),
        room("LinearAlgebra", ["COpenBLAS"]),
        room("Quantization", ["CKernels", "Tensors", "LinearAlgebra"]),
        room("HTTPWire", [httpTypes]),
        room("OpenSSL", ["COpenSSL"]),
        room("Compression", ["CZlib"]),
        room("Sockets", ["OpenSSL", "CPlatform"]),
        room("HTTPServer", ["HTTPWire", "Sockets", "Compression", "OpenSSL", httpTypes, logging]),
        room("ArtifactStore", ["OpenSSL", "CPlatform"]),
        room("Processes", ["CPlatform"]),
        room("Jobs"),
        room("Catalogue", ["ArtifactStore", "Jobs", "CSQLite"]),
        room("Observability", [logging]),
        room(
            "VivaService",
            [
                "Tensors", "Quantization", "HTTPWire", "OpenSSL", "Compression", "Sockets", "HTTPServer",
                "ArtifactStore", "Catalogue", "Observability", "Processes", "Jobs", httpTypes, logging,
            ], resources: [.embedInCode("Resources")]),
        .executableTarget(
            name: "fuzz",
            dependencies: ["HTTPWire", "Tensors", "Compression", "Quantization", "VivaService", httpTypes],
            swiftSettings: rules + [.unsafeFlags(["-parse-as-library"])],
            linkerSettings: [.unsafeFlags(instruments + ["-use-ld=lld"])]),
    ],
    cLanguageStandard: .c17
)
