// swift-tools-version: 6.2
import PackageDescription

// A package of its own: who builds the service does not build Hummingbird and what it depends on. Its folder must not be
// called Hummingbird: SwiftPM knows packages by their folder and would take this one for its dependency.
let package = Package(
    name: "hummingbird-peer",
    dependencies: [
        .package(url: "https://github.com/hummingbird-project/hummingbird.git", exact: "2.28.1", traits: [])
    ],
    targets: [
        .executableTarget(name: "Peer", dependencies: [.product(name: "Hummingbird", package: "hummingbird")])
    ]
)
