/// The laws of the house as data. A change here is a change of the design: write the reason in docs/decisions/.
enum Rules {
    /// What a module may import, besides `Swift` and `Synchronization`. Lowest room first; arrows point up this list.
    static let imports: [String: Set<String>] = [
        "CKernels": [],
        "CPlatform": [],
        "COpenSSL": [],
        "CZlib": [],
        "CSQLite": [],
        "COpenBLAS": [],
        "Tensors": [],
        "LinearAlgebra": ["COpenBLAS", "Dispatch"],
        "Quantization": ["CKernels", "Tensors", "LinearAlgebra", "Dispatch"],
        "HTTPWire": ["HTTPTypes"],
        "OpenSSL": ["COpenSSL"],
        "Compression": ["CZlib"],
        "Sockets": ["OpenSSL", "CPlatform", "Glibc"],
        "HTTPServer": ["HTTPWire", "Sockets", "Compression", "OpenSSL", "HTTPTypes", "Logging"],
        "ArtifactStore": ["OpenSSL", "CPlatform", "Glibc"],
        "Processes": ["CPlatform", "Glibc"],
        "Jobs": ["Dispatch"],
        "Catalogue": ["ArtifactStore", "Jobs", "CSQLite"],
        "Observability": ["Logging"],
        "VivaService": [
            "Tensors", "Quantization", "HTTPWire", "OpenSSL", "Compression", "Sockets", "HTTPServer", "ArtifactStore",
            "Catalogue", "Observability", "Processes", "Jobs", "HTTPTypes", "Logging", "FoundationEssentials",
        ],
        "viva": ["VivaService", "ArgumentParser"],
    ]

    /// Free for every module.
    static let freeImports: Set<String> = ["Swift", "Synchronization"]

    /// Files of Sources that may use memory which the compiler does not check. Each says why at its fields.
    static let unsafeFences = [
        // Pointers and handles of C libraries and of the kernel.
        "Sources/ArtifactStore/Descriptor.swift",
        "Sources/ArtifactStore/Folder.swift",
        "Sources/ArtifactStore/InputFile.swift",
        "Sources/Catalogue/Connection.swift",
        "Sources/Compression/Gzip.swift",
        "Sources/Compression/GzipInflater.swift",
        "Sources/Compression/ZlibStream.swift",
        "Sources/LinearAlgebra/FactorTiles.swift",
        "Sources/LinearAlgebra/GramTiles.swift",
        "Sources/LinearAlgebra/OpenBLAS.swift",
        "Sources/OpenSSL/OpenSSLError.swift",
        "Sources/OpenSSL/SHA1.swift",
        "Sources/OpenSSL/SHA256.swift",
        "Sources/OpenSSL/Secrets.swift",
        "Sources/OpenSSL/TLSContext.swift",
        "Sources/OpenSSL/TLSSession.swift",
        "Sources/OpenSSL/TicketKeys.swift",
        "Sources/Processes/Channel.swift",
        "Sources/Processes/ChildProcess.swift",
        "Sources/Sockets/Descriptor.swift",
        "Sources/Sockets/LineWriter.swift",
        "Sources/Sockets/Listener.swift",
        "Sources/Sockets/PlainClient.swift",
        "Sources/Sockets/Poller.swift",
        "Sources/Sockets/Signals.swift",
        "Sources/Sockets/Threads.swift",
        "Sources/Sockets/Transport.swift",
        // Loads from and copies between spans, which have no safe form for bytes yet.
        "Sources/HTTPWire/Octets.swift",
        "Sources/Tensors/RawSpan+Bytes.swift",
        // The hot loops: pointers into spans that the caller holds, casts between vectors of one size.
        "Sources/Quantization/AWQ/AWQTileWords.swift",
        "Sources/Quantization/AWQ/HalfOctets.swift",
        "Sources/Quantization/AWQ/RowProducts.swift",
        "Sources/Quantization/Kernels/FP8Widening.swift",
        "Sources/Quantization/Kernels/GroupSpans.swift",
        "Sources/Quantization/Kernels/KernelSpans.swift",
        "Sources/Quantization/Kernels/Kernels.swift",
        "Sources/Quantization/Kernels/Lanes.swift",
        "Sources/Quantization/Kernels/NF4SearchKernels.swift",
        "Sources/Quantization/Kernels/PortableGroups.swift",
        "Sources/Quantization/Kernels/PortableINT8.swift",
        "Sources/Quantization/Kernels/PortableNF4.swift",
        "Sources/Quantization/Kernels/PortableNF4Search.swift",
        "Sources/Quantization/Kernels/Widening.swift",
        "Sources/Quantization/Restore/CodeLoops.swift",
        "Sources/Quantization/Restore/Narrowing.swift",
        "Sources/Quantization/Restore/NibbleKernels.swift",
        // Page-aligned memory, allocated once and reused.
        "Sources/Quantization/Session/TransferBuffer.swift",
    ]

    /// Files that may say `unsafe` only to view elements without padding as bytes, or bytes as such elements:
    /// `span.bytes` and `span.mutableBytes`. The compiler calls the view unsafe because other types have padding;
    /// bounds and lifetime stay checked.
    static let byteViews = [
        "Sources/HTTPServer/Connection.swift",
        "Sources/HTTPServer/InputBuffer.swift",
        "Sources/HTTPServer/RequestBody.swift",
        "Sources/HTTPServer/ResponseWriter.swift",
        "Sources/HTTPWire/RequestTarget.swift",
        "Sources/Quantization/AWQ/AWQLayer.swift",
        "Sources/Quantization/AWQ/AWQMoments.swift",
        "Sources/Quantization/AWQ/StagedRows.swift",
        "Sources/Quantization/AWQ/TransposedPlane.swift",
        "Sources/Quantization/Budget/BudgetSession.swift",
        "Sources/Quantization/Calibration/Engine/InputMoments.swift",
        "Sources/Quantization/Compare/ComparisonSession.swift",
        "Sources/Quantization/Compare/Sample.swift",
        "Sources/Quantization/Session/ArchiveIntake.swift",
        "Sources/Quantization/Session/DeferredPass.swift",
        "Sources/Quantization/Restore/AWQDecoder.swift",
        "Sources/Quantization/Restore/ArtifactSource.swift",
        "Sources/Quantization/Restore/BitsandbytesParts.swift",
        "Sources/Quantization/Restore/RestoredBand.swift",
        "Sources/Quantization/Restore/RestoringSession.swift",
        "Sources/Quantization/Session/ElementFeed.swift",
        "Sources/Quantization/Session/FP8Encoder.swift",
        "Sources/Quantization/Session/FortranPass.swift",
        "Sources/Quantization/Calibration/ImportanceMatrix.swift",
        "Sources/Quantization/Session/GGUFCollector.swift",
        "Sources/Quantization/Session/HeaderCollector.swift",
        "Sources/Quantization/Session/InputInspection.swift",
        "Sources/Quantization/Session/JoinedOutput.swift",
        "Sources/Quantization/Session/MemberReader.swift",
        "Sources/Quantization/Session/NpzReader.swift",
        "Sources/Quantization/Session/QuantizingSession.swift",
        "Sources/Quantization/Session/SwappingEncoder.swift",
        "Sources/Quantization/Session/TensorEncoder.swift",
        "Sources/Tensors/JSONObjectText.swift",
        "Sources/Tensors/JSONValue.swift",
        "Sources/VivaService/CommandLine/Checkpoint.swift",
        "Sources/VivaService/CommandLine/CommandLineRestorer.swift",
        "Sources/VivaService/CommandLine/FolderQuantizer.swift",
        "Sources/VivaService/CommandLine/LocalRun.swift",
        "Sources/VivaService/Jobs/WorkMessages.swift",
        "Sources/VivaService/Wire/RequestDocument.swift",
        "Sources/VivaService/StoredSources.swift",
        "Sources/VivaService/Uploads/UploadReception.swift",
    ]

    /// Never in Sources: traps that a client could reach, promises instead of work, casts that lie.
    static let bannedTokens = [
        "try!", "fatalError(", "preconditionFailure(", "as!", "TODO", "FIXME", "XXX",
    ]

    /// May stop the program by `preconditionFailure(`: metrics are named by literals of this program, and a wrong one
    /// stops it at its first start.
    static let mayTrapOnOurMistakes = ["Sources/Observability/MetricsRegistry.swift"]

    /// Never part of the name of a file or a type: they say nothing.
    static let bannedNameParts = ["Utils", "Helpers", "Common", "Manager"]

    static let maximumFileLines = 400
    static let maximumColumns = 120
    /// Budgets of lines of code: blank lines and lines that are only comments do not count.
    static let maximumSourceLines = 38_500
    static let serverModules = ["HTTPWire", "Sockets", "HTTPServer"]
    static let maximumServerLines = 5_200
    static let engineModules = ["Quantization", "Tensors", "CKernels", "LinearAlgebra", "COpenBLAS"]
    static let maximumEngineLines = 18_000
    static let maximumTrackedBytes = 9 * 1_048_576

    /// Never tracked: SwiftPM resolves afresh, and what is built is not source.
    static let untracked = ["Package.resolved", ".build", ".venv", "viva-data"]
}
