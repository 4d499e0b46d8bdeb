import Testing

/// Each check is shown a violation and must complain, then its lawful neighbour and must not.
@Suite struct PlantedViolationTests {
    private func file(_ text: String, at path: String = "Sources/Tensors/Planted.swift") -> SourceFile {
        SourceFile(path: path, text: text)
    }

    private func forbidden(_ text: String, at path: String = "Sources/Tensors/Planted.swift") -> [String] {
        Checks.forbiddenImports(in: file(text, at: path), allowed: Rules.imports)
    }

    @Test(
        arguments: [
            "import HTTPWire", "package import Catalogue", "@preconcurrency import Foundation", "import Foundation",
            "@_exported public import Glibc", "import struct Quantization.Recipe", "let x = 1; import Dispatch",
        ])
    func aForbiddenImportIsSeen(_ line: String) {
        #expect(forbidden("// A page.\n\(line)\n").count == 1)
        #expect(forbidden("// A page.\n\(line)\n").first?.contains("Planted.swift:2:") == true)
    }

    @Test(arguments: ["import Synchronization", "// import HTTPWire", "let s = \"import HTTPWire\"", "/* import X */"])
    func aLawfulLineIsNot(_ line: String) {
        #expect(forbidden(line) == [])
    }

    @Test func theArrowsPointOneWay() {
        #expect(forbidden("import Tensors", at: "Sources/Quantization/A.swift") == [])
        #expect(forbidden("import Quantization", at: "Sources/Tensors/A.swift").count == 1)
        #expect(forbidden("import COpenSSL", at: "Sources/OpenSSL/A.swift") == [])
        #expect(forbidden("import COpenSSL", at: "Sources/Sockets/A.swift").count == 1)
        #expect(forbidden("import Swift", at: "Sources/NewRoom/A.swift").count == 1)
        #expect(forbidden("#include \"CPlatform.h\"\n", at: "Sources/CKernels/a.c").count == 1)
        #expect(forbidden("#include \"CKernels.h\"\n#include <math.h>\n", at: "Sources/CKernels/a.c") == [])
    }

    @Test func promisesWithoutATestAreSeen() throws {
        let page =
            "# A\n\n## Promises, and more\n| it holds | `ATests`, `isHeld`; `make it` |\n\n## Next\n| x | `no` |\n"
        let section = try #require(Checks.section("## Promises", of: page))
        let names = Set(
            Checks.declaredNames(in: file("@Suite struct ATests { // func isHeld()\n", at: "Tests/A.swift")))
        #expect(Checks.missingTests(in: section, column: 2, names: names) == ["there is no test isHeld"])
        #expect(Checks.missingTests(in: section, column: 2, names: names.union(["isHeld"])) == [])
        #expect(Checks.section("## Nowhere", of: page) == nil)
    }

    @Test func longFilesAndLinesAreSeen() {
        let tall = String(repeating: "x\n", count: Rules.maximumFileLines)
        #expect(Checks.size(of: file(tall)) == [])
        #expect(Checks.size(of: file(tall + "x\n")).count == 1)
        let wide = String(repeating: "x", count: Rules.maximumColumns)
        #expect(Checks.size(of: file(wide)) == [])
        #expect(Checks.size(of: file("a\n" + wide + "x\n")) == ["Sources/Tensors/Planted.swift:2: 121 columns"])
    }

    @Test(
        arguments: [
            "let a = try! f()", "fatalError(\"x\")", "preconditionFailure()", "let b = c as! D", "// TODO: later",
            "/// FIXME", "let x = 1 // XXX", "let s = \"\\(t) TODO\"",
        ])
    func bannedTokensAreSeen(_ line: String) {
        #expect(Checks.bannedTokens(in: file("// A page.\n" + line)).count == 1)
    }

    @Test(arguments: ["// never try! here", "let s = \"as! fatalError(\"", "hasTODOs()", "let a = b as? C", "x = has!"])
    func theirNeighboursAreNot(_ line: String) {
        #expect(Checks.bannedTokens(in: file(line)) == [])
    }

    @Test func emptyNamesAreSeen() {
        #expect(Checks.emptyNames(in: file("", at: "Sources/Tensors/StringUtils.swift")).count == 1)
        #expect(Checks.emptyNames(in: file("package struct ConnectionManager {}")).count == 1)
        #expect(Checks.emptyNames(in: file("enum ParsingHelpers {}\nextension CommonHeader {}")).count == 2)
        #expect(Checks.emptyNames(in: file("struct Manifest {}\nlet commonPrefix = fileManager")) == [])
    }

    @Test func unfencedMemoryIsSeen() {
        let text = "let a = 1\nlet p = unsafe pointer[0]\n"
        #expect(Checks.unfencedMemory(in: file(text), fences: Rules.unsafeFences).count == 1)
        let path = "Sources/Tensors/Planted.swift"
        #expect(Checks.unfencedMemory(in: file(text), fences: [path]) == [])
        #expect(Checks.unfencedMemory(in: file(text), fences: ["Sources/Tensors/Plan"]).count == 1)
        #expect(Checks.unfencedMemory(in: file(text), fences: [], byteViews: [path]).count == 1)
        let view = "let b = unsafe values.span.bytes\nvar m = unsafe span.mutableBytes\n"
        #expect(Checks.unfencedMemory(in: file(view), fences: [], byteViews: [path]) == [])
        #expect(Checks.unfencedMemory(in: file(view), fences: []).count == 2)
        #expect(Checks.idleFences([path], [file(text)]) == [])
        #expect(Checks.idleFences([path], [file("let a = 1 // unsafe")]).count == 1)
        #expect(Checks.idleFences([path], []).count == 1)
        #expect(Checks.unfencedMemory(in: file("nonisolated(unsafe) var g = 0"), fences: []).count == 1)
        #expect(Checks.unfencedMemory(in: file("// unsafe here\nlet unsafely = 1"), fences: []) == [])
    }

    @Test func budgetsAreCounted() {
        let room = file(String(repeating: "x\n", count: Rules.maximumServerLines), at: "Sources/HTTPWire/A.swift")
        #expect(Checks.lineBudgets([room]) == [])
        #expect(Checks.lineBudgets([room, file("x\n", at: "Sources/Sockets/B.swift")]).count == 1)
        #expect(Checks.lineBudgets([room, file("x\n")]) == [])
        let vast = file(String(repeating: "x\n", count: Rules.maximumSourceLines + 1), at: "Sources/viva/A.swift")
        #expect(Checks.lineBudgets([vast]).count == 1)
        let engine = file(String(repeating: "x\n", count: Rules.maximumEngineLines + 1), at: "Sources/Tensors/A.swift")
        #expect(Checks.lineBudgets([engine]).count == 1)
    }

    @Test func onlyCodeIsCounted() {
        let swift = "/// Doc.\n\nlet a = 1  // why\n/* a\n b */\nlet s = \"\"\"\n  // text\n\n  \"\"\"\n"
        #expect(Checks.linesOfCode(file(swift)) == 4)
        let c = "// Page.\n#include \"CKernels.h\"\n/* b\n*/ int a; // c\n\n"
        #expect(Checks.linesOfCode(file(c, at: "Sources/CKernels/a.c")) == 2)
    }

    @Test func targetsThatAreNotThereAreSeen() {
        let makefile = "VIVA := x\nrun: build\n\t@scripts/a.sh\nbuild:\n\ttools/b.sh scripts/a.sh\n"
        let page =
            "Type `make run` to make sense.\n```\nmake build   # builds\n$ make test\n```\n    make lint\n`make VIVA`"
        #expect(
            Checks.unknownTargets(on: page, called: "P", makefile: makefile) == [
                "P: there is no `make test`", "P: there is no `make lint`", "P: there is no `make VIVA`",
            ])
        #expect(Checks.missingScripts(in: makefile) { $0 == "scripts/a.sh" } == ["Makefile: tools/b.sh is not there"])
    }

    @Test func aTrapOnOurOwnMistakeHasItsPlace() {
        let line = "preconditionFailure(\"x\")"
        #expect(Checks.bannedTokens(in: file(line, at: Rules.mayTrapOnOurMistakes[0])) == [])
        #expect(Checks.bannedTokens(in: file("try! f()", at: Rules.mayTrapOnOurMistakes[0])).count == 1)
    }

    @Test func strayAndHugeFilesAreSeen() {
        let limit = Rules.maximumTrackedBytes
        #expect(Checks.tracked([("Package.resolved", 1), ("a/.build-x/b", 1), ("c", limit + 1)]).count == 3)
        #expect(Checks.tracked([("Package.swift", 1), ("Examples/w.safetensors", limit)]) == [])
    }

    @Test func aModuleWithoutItsRowIsSeen() {
        let page = "`Ghost` is named in prose only\n| module | for |\n|---|---|\n| `Tensors` | shapes |\n"
        #expect(Checks.undocumented(modules: ["Tensors"], page: page) == [])
        #expect(Checks.undocumented(modules: ["Tensors", "Ghost"], page: page).count == 1)
    }

    @Test func theScannerLeavesOnlyCode() {
        #expect(file("a /* b /* c */ d */ e").code == "a  e")
        #expect(file("a \"b \\\" // c\" d // e\nf").code == "a \"\" d \nf")
        #expect(file("x = #\"raw \\\" \"# + y").code == "x = \"\" + y")
        #expect(file("x = \"\"\"\n  one \"two\"\n  \"\"\"; z").code == "x = \n\n\"\"; z")
        #expect(file("f(\"a \\(g(\"b\", (c))) d\") + e").code == "f(\"\") + e")
        #expect(file("#if DEBUG\n#endif").code == "#if DEBUG\n#endif")
    }
}
