import Foundation

/// One file of the tree: its path from the root (`Sources/Tensors/Shape.swift`) and its text.
struct SourceFile {
    let path: String
    let text: String

    /// The text with comments and the contents of string literals blanked out, lines kept: only code is left.
    let code: String

    /// The text with comments blanked out, lines kept.
    let codeAndStrings: String

    init(path: String, text: String) {
        self.path = path
        self.text = text
        code = path.hasSuffix(".swift") ? CodeScanner(text).code() : text
        codeAndStrings = CodeScanner(text, keepsStrings: true).code()
    }

    var lines: [Substring] {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        if lines.last == "" { lines.removeLast() }
        return lines
    }

    var isSwift: Bool { path.hasSuffix(".swift") }

    /// The module of a file in Sources: the folder below it.
    var module: String? {
        let parts = path.split(separator: "/")
        return parts.count > 2 && parts[0] == "Sources" ? String(parts[1]) : nil
    }
}

/// Strips comments (nested ones too) and, unless it keeps them, string contents (plain, multi-line and raw) from Swift
/// text; comments alone from C.
///
/// Interpolated expressions count as string contents: a rule about code does not see them.
struct CodeScanner {
    private let bytes: [UInt8]
    private let keepsStrings: Bool
    private var position = 0
    private var out: [UInt8] = []

    private static let lineFeed = UInt8(ascii: "\n")
    private static let quote = UInt8(ascii: "\"")
    private static let number = UInt8(ascii: "#")

    init(_ text: String, keepsStrings: Bool = false) {
        bytes = Array(text.utf8)
        self.keepsStrings = keepsStrings
    }

    func code() -> String {
        var scanner = self
        scanner.out.reserveCapacity(bytes.count)
        while scanner.position < scanner.bytes.count { scanner.step() }
        return String(decoding: scanner.out, as: UTF8.self)
    }

    private mutating func step() {
        switch bytes[position] {
        case UInt8(ascii: "/") where starts(with: "//"):
            while position < bytes.count, bytes[position] != Self.lineFeed { position += 1 }
        case UInt8(ascii: "/") where starts(with: "/*"):
            skipBlockComment()
        case Self.quote:
            skipString()
        case Self.number where opensRawString():
            skipString()
        default:
            out.append(bytes[position])
            position += 1
        }
    }

    private func starts(with prefix: String) -> Bool {
        bytes[position...].starts(with: prefix.utf8)
    }

    private func opensRawString() -> Bool {
        bytes[position...].first { $0 != Self.number } == Self.quote
    }

    private mutating func skipBlockComment() {
        var depth = 0
        repeat {
            if starts(with: "/*") {
                depth += 1
                position += 2
            } else if starts(with: "*/") {
                depth -= 1
                position += 2
            } else {
                keepLineBreak()
            }
        } while depth > 0 && position < bytes.count
    }

    private mutating func skipString() {
        let start = position
        let before = out.count
        while bytes[position] == Self.number { position += 1 }
        let fence = String(repeating: "#", count: position - start)
        let quotes = starts(with: "\"\"\"") ? "\"\"\"" : "\""
        position += quotes.utf8.count
        while position < bytes.count, !starts(with: quotes + fence) {
            if starts(with: "\\" + fence + "(") {
                position += 1 + fence.utf8.count
                skipInterpolation()
            } else {
                if starts(with: "\\" + fence) { position += 1 + fence.utf8.count }
                if position < bytes.count { keepLineBreak() }
            }
        }
        position = min(position + quotes.utf8.count + fence.utf8.count, bytes.count)
        if keepsStrings { out.removeSubrange(before...) }
        out += keepsStrings ? bytes[start..<position] : Array("\"\"".utf8)[...]
    }

    /// From the opening parenthesis to behind the closing one; strings inside may hold parentheses of their own.
    private mutating func skipInterpolation() {
        var depth = 0
        repeat {
            if bytes[position] == Self.quote {
                let kept = out
                skipString()
                out = kept
            } else {
                if bytes[position] == UInt8(ascii: "(") { depth += 1 }
                if bytes[position] == UInt8(ascii: ")") { depth -= 1 }
                keepLineBreak()
            }
        } while depth > 0 && position < bytes.count
    }

    private mutating func keepLineBreak() {
        if bytes[position] == Self.lineFeed { out.append(Self.lineFeed) }
        position += 1
    }
}

/// The working tree that this test was compiled from.
enum Tree {
    static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    static let sources = Result { try files(below: "Sources") }
    static let tests = Result { try files(below: "Tests") }

    /// Every Swift and C file below the folder, sorted by path.
    static func files(below folder: String) throws -> [SourceFile] {
        let base = root.appending(path: folder)
        guard let paths = FileManager.default.enumerator(atPath: base.path) else {
            throw CocoaError(.fileNoSuchFile)
        }
        return try paths.compactMap { $0 as? String }.sorted().filter { path in
            !path.hasPrefix("Fixtures/") && [".swift", ".c", ".h"].contains { path.hasSuffix($0) }
        }.map { path in
            let text = try String(contentsOf: base.appending(path: path), encoding: .utf8)
            return SourceFile(path: "\(folder)/\(path)", text: text)
        }
    }

    static func text(of path: String) throws -> String {
        try String(contentsOf: root.appending(path: path), encoding: .utf8)
    }

    /// The files that git tracks with their sizes in bytes; nil outside a git work tree (a source archive).
    static func tracked() throws -> [(path: String, bytes: Int)]? {
        let git = Process()
        git.executableURL = URL(filePath: "/usr/bin/env")
        git.arguments = ["git", "-C", root.path, "ls-files", "-z"]
        let output = Pipe()
        git.standardOutput = output
        git.standardError = FileHandle.nullDevice
        try git.run()
        let listing = try output.fileHandleForReading.readToEnd() ?? Data()
        git.waitUntilExit()
        guard git.terminationStatus == 0 else { return nil }
        return String(decoding: listing, as: UTF8.self).split(separator: "\0").compactMap { path in
            let attributes = try? FileManager.default.attributesOfItem(atPath: root.appending(path: path).path)
            guard let bytes = attributes?[.size] as? NSNumber else { return nil }
            return (String(path), bytes.intValue)
        }
    }
}
