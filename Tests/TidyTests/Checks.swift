/// The checks, pure: text in, complaints out (`path:line: what`). Nothing to say means tidy.
enum Checks {
    /// Modules that a Swift file imports, with the line of each.
    static func imports(of file: SourceFile) -> [(module: String, line: Int)] {
        let access: Set<Substring> = ["public", "package", "internal", "fileprivate", "private"]
        let kinds: Set<Substring> = ["struct", "class", "enum", "protocol", "typealias", "func", "let", "var"]
        var found: [(module: String, line: Int)] = []
        for (index, line) in codeLines(of: file).enumerated() {
            for statement in line.split(separator: ";") {
                var words = statement.split(whereSeparator: \.isWhitespace)[...]
                while let first = words.first, first.hasPrefix("@") || access.contains(first) { words.removeFirst() }
                guard words.popFirst() == "import" else { continue }
                if let first = words.first, kinds.contains(first) { words.removeFirst() }
                guard let path = words.first, let module = path.split(separator: ".").first else { continue }
                found.append((String(module), index + 1))
            }
        }
        return found
    }

    static func forbiddenImports(in file: SourceFile, allowed: [String: Set<String>]) -> [String] {
        guard let module = file.module else { return [] }
        guard let arrows = allowed[module] else { return ["\(file.path): module \(module) is not in the table"] }
        guard file.isSwift else { return foreignIncludes(in: file, modules: Set(allowed.keys)) }
        return imports(of: file).filter { entry in
            !arrows.contains(entry.module) && !Rules.freeImports.contains(entry.module)
        }.map { "\(file.path):\($0.line): \(module) must not import \($0.module)" }
    }

    /// A C shim includes its own headers and the system's, never another room's.
    private static func foreignIncludes(in file: SourceFile, modules: Set<String>) -> [String] {
        file.lines.enumerated().compactMap { index, line in
            guard line.hasPrefix("#include \"") else { return nil }
            let name = line.dropFirst("#include \"".count).prefix { $0 != "\"" }
            let foreign = name.contains("..") || modules.contains { $0 != file.module && name.hasPrefix($0) }
            return foreign ? "\(file.path):\(index + 1): a C shim must not include \(name)" : nil
        }
    }

    static func size(of file: SourceFile) -> [String] {
        let lines = file.lines
        let long = lines.enumerated().filter { $0.element.count > Rules.maximumColumns && file.isSwift }
            .map { "\(file.path):\($0.offset + 1): \($0.element.count) columns" }
        let tall = lines.count > Rules.maximumFileLines ? ["\(file.path): \(lines.count) lines"] : []
        return tall + long
    }

    /// Banned words: promises (TODO ...) anywhere, comments too; the others only in code.
    static func bannedTokens(in file: SourceFile) -> [String] {
        let code = codeLines(of: file)
        return file.lines.enumerated().flatMap { index, line in
            Rules.bannedTokens.filter { token in
                let promise = token.allSatisfy(\.isUppercase)
                return occurs(token, in: promise || !file.isSwift ? String(line) : code[index])
            }.map { "\(file.path):\(index + 1): \($0)" }
        }
    }

    static func emptyNames(in file: SourceFile) -> [String] {
        let name = file.path.split(separator: "/").last ?? ""
        let inFile = Rules.bannedNameParts.filter { name.contains($0) }.map { "\(file.path): a file called \($0)" }
        let keywords: Set<Substring> = ["struct", "class", "enum", "protocol", "actor", "extension", "typealias"]
        let inTypes = codeLines(of: file).enumerated().flatMap { index, line in
            let words = line.split { !$0.isLetter && !$0.isNumber && $0 != "_" }
            return zip(words, words.dropFirst()).filter { keywords.contains($0.0) }.flatMap { _, type in
                Rules.bannedNameParts.filter { type.contains($0) }.map {
                    "\(file.path):\(index + 1): a type called \($0)"
                }
            }
        }
        return inFile + (file.isSwift ? inTypes : [])
    }

    static func unfencedMemory(in file: SourceFile, fences: [String]) -> [String] {
        guard file.isSwift,
            !fences.contains(where: { file.path == $0 || ($0.hasSuffix("/") && file.path.hasPrefix($0)) })
        else { return [] }
        return codeLines(of: file).enumerated().filter { occurs("unsafe", in: $0.element) }
            .map { "\(file.path):\($0.offset + 1): `unsafe` outside its fence" }
    }

    static func lineBudgets(_ files: [SourceFile]) -> [String] {
        let all = files.reduce(0) { $0 + $1.lines.count }
        let server = files.filter { Rules.serverModules.contains($0.module ?? "") }.reduce(0) { $0 + $1.lines.count }
        var complaints: [String] = []
        if all > Rules.maximumSourceLines { complaints.append("Sources: \(all) lines") }
        if server > Rules.maximumServerLines { complaints.append("the HTTP server: \(server) lines") }
        return complaints
    }

    static func tracked(_ files: [(path: String, bytes: Int)]) -> [String] {
        files.flatMap { path, bytes in
            let parts = path.split(separator: "/")
            let stray = Rules.untracked.filter { name in parts.contains { $0 == name || $0.hasPrefix(name + "-") } }
                .map { "\(path): \($0) must not be tracked" }
            return stray + (bytes > Rules.maximumTrackedBytes ? ["\(path): \(bytes) bytes"] : [])
        }
    }

    /// Modules without a row of their own in the table of the architecture page.
    static func undocumented(modules: [String], page: String) -> [String] {
        let rows = page.split(separator: "\n").filter { $0.hasPrefix("|") }
        return modules.filter { module in !rows.contains { $0.contains("`\(module)`") } }
            .map { "docs/ARCHITECTURE.md has no row for `\($0)`" }
    }

    private static func codeLines(of file: SourceFile) -> [String] {
        file.code.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    }

    /// Whether the token stands in the line on its own: `as!` not in `has!`, `XXX` not in `XXXL`.
    private static func occurs(_ token: String, in line: String) -> Bool {
        let isWord: (Character?) -> Bool = { $0.map { $0.isLetter || $0.isNumber || $0 == "_" } ?? false }
        return line.ranges(of: token).contains { range in
            let before = range.lowerBound > line.startIndex ? line[line.index(before: range.lowerBound)] : nil
            let after = range.upperBound < line.endIndex ? line[range.upperBound] : nil
            let opens = isWord(token.first) && isWord(before)
            let closes = isWord(token.last) && isWord(after)
            return !opens && !closes
        }
    }
}
