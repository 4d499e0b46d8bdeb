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
                if token == "preconditionFailure(", Rules.mayTrapOnOurMistakes.contains(file.path) { return false }
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

    /// `unsafe` outside the fences; in a file of byte views every one that is not such a view.
    static func unfencedMemory(in file: SourceFile, fences: [String], byteViews: [String] = []) -> [String] {
        guard file.isSwift, !fences.contains(file.path) else { return [] }
        let mayView = byteViews.contains(file.path)
        return codeLines(of: file).enumerated().filter { _, line in
            occurs("unsafe", in: line) && !(mayView && (line.contains(".bytes") || line.contains(".mutableBytes")))
        }.map { "\(file.path):\($0.offset + 1): `unsafe` outside its fence" }
    }

    /// Fences around nothing: files that are gone or hold no unsafe code.
    static func idleFences(_ fences: [String], _ files: [SourceFile]) -> [String] {
        fences.filter { fence in
            !files.contains { $0.path == fence && codeLines(of: $0).contains { occurs("unsafe", in: $0) } }
        }.map { "\($0): a fence around no unsafe code" }
    }

    /// Lines that hold code: neither blank nor comment alone.
    static func linesOfCode(_ file: SourceFile) -> Int {
        file.codeAndStrings.split(separator: "\n").count { !$0.allSatisfy(\.isWhitespace) }
    }

    static func lineBudgets(_ files: [SourceFile]) -> [String] {
        let budgets: [(name: String, modules: [String]?, limit: Int)] = [
            ("Sources", nil, Rules.maximumSourceLines),
            ("the HTTP server", Rules.serverModules, Rules.maximumServerLines),
            ("the engine", Rules.engineModules, Rules.maximumEngineLines),
        ]
        var complaints: [String] = []
        for (name, modules, limit) in budgets {
            let lines = files.filter { modules?.contains($0.module ?? "") ?? true }.reduce(0) { $0 + linesOfCode($1) }
            if lines > limit { complaints.append("\(name): \(lines) lines of code") }
        }
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

    /// Targets that a page tells people to `make`, in a block of commands or between backticks, and that are not there.
    static func unknownTargets(on page: String, called name: String, makefile: String) -> [String] {
        let lines = makefile.split(separator: "\n")
        let targets = Set(
            lines.filter { $0.first?.isLetter == true && !$0.contains(":=") }
                .compactMap { $0.split(separator: ":", maxSplits: 1).first.map(String.init) })
        var isBlock = false
        var named: [String] = []
        for line in page.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("```") { isBlock.toggle() }
            let texts =
                isBlock || line.hasPrefix("    ")
                ? [line]
                : line.split(separator: "`", omittingEmptySubsequences: false).enumerated()
                    .filter { $0.offset % 2 == 1 }.map(\.element)
            for text in texts {
                let words = text.split { $0 == " " || $0 == "$" }
                if words.count > 1, words[0] == "make" { named.append(String(words[1])) }
            }
        }
        return named.filter { !targets.contains($0) }.map { "\(name): there is no `make \($0)`" }
    }

    /// Names of functions and types of a file.
    static func declaredNames(in file: SourceFile) -> [String] {
        codeLines(of: file).flatMap { line in
            let words = line.split { !$0.isLetter && !$0.isNumber && $0 != "_" }
            return zip(words, words.dropFirst()).filter { ["func", "struct", "class", "enum"].contains($0.0) }
                .map { String($0.1) }
        }
    }

    /// The part of a page from a line that begins with `heading` to the next heading of its kind; nil without one.
    static func section(_ heading: String, of page: String) -> String? {
        guard let start = page.firstRange(of: "\n" + heading)?.upperBound else { return nil }
        let rest = page[start...]
        return String(rest[..<(rest.firstRange(of: "\n## ")?.lowerBound ?? rest.endIndex)])
    }

    /// Names between backticks in a column of a page's tables that no test has; commands have blanks.
    static func missingTests(in page: String, column: Int, names: Set<String>) -> [String] {
        page.split(separator: "\n").filter { $0.hasPrefix("|") }.flatMap { row in
            let cells = row.split(separator: "|", omittingEmptySubsequences: false)
            guard cells.count > column + 1 else { return [String]() }
            return cells[column].split(separator: "`", omittingEmptySubsequences: false).enumerated()
                .filter { $0.offset % 2 == 1 && !$0.element.contains(" ") && !names.contains(String($0.element)) }
                .map { "there is no test \($0.element)" }
        }
    }

    /// Scripts that a Makefile runs and that are not there.
    static func missingScripts(in makefile: String, exists: (String) -> Bool) -> [String] {
        makefile.split { $0.isWhitespace || $0 == "@" }.map(String.init)
            .filter { ($0.hasPrefix("scripts/") || $0.hasPrefix("tools/")) && !exists($0) }
            .map { "Makefile: \($0) is not there" }
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
