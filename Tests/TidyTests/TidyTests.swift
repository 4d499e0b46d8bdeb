import Foundation
import Testing

/// The house itself: its arrows, sizes and bans, read from the working tree.
@Suite struct TidyTests {
    private let sources: [SourceFile]
    private let everything: [SourceFile]

    init() throws {
        sources = try Tree.sources.get()
        everything = try sources + Tree.tests.get()
        try #require(sources.count >= Rules.imports.count, "the tree was not read")
    }

    @Test func modulesImportOnlyWhatTheirLineNames() {
        #expect(sources.flatMap { Checks.forbiddenImports(in: $0, allowed: Rules.imports) } == [])
    }

    @Test func theTableNamesEveryModuleAndNoOther() {
        let modules = Set(sources.compactMap(\.module))
        #expect(modules.subtracting(Rules.imports.keys) == [])
        let folders = try? FileManager.default.contentsOfDirectory(atPath: Tree.root.appending(path: "Sources").path)
        #expect(Set(Rules.imports.keys).subtracting(folders ?? []) == [])
    }

    @Test func filesAndLinesStayShort() {
        #expect(everything.flatMap(Checks.size) == [])
    }

    @Test func noTrapsPromisesOrLyingCasts() {
        #expect(sources.flatMap(Checks.bannedTokens) == [])
    }

    @Test func namesSayWhatThingsAre() {
        #expect(sources.flatMap(Checks.emptyNames) == [])
    }

    @Test func unsafeCodeStaysInItsFences() {
        #expect(
            sources.flatMap {
                Checks.unfencedMemory(in: $0, fences: Rules.unsafeFences, byteViews: Rules.byteViews)
            } == [])
        #expect(Checks.idleFences(Rules.unsafeFences + Rules.byteViews, sources) == [])
    }

    @Test func theHouseStaysSmall() {
        #expect(Checks.lineBudgets(sources) == [])
    }

    @Test func onlySourceIsTracked() throws {
        guard let tracked = try Tree.tracked() else { return }
        #expect(Checks.tracked(tracked) == [])
    }

    @Test func everyModuleHasItsPlaceOnTheMap() throws {
        let page = try Tree.text(of: "docs/ARCHITECTURE.md")
        #expect(Checks.undocumented(modules: Rules.imports.keys.sorted(), page: page) == [])
    }

    @Test(arguments: [
        "README.md", "CONTRIBUTING.md", "Examples/README.md", "deploy/README.md", "docs/ARCHITECTURE.md",
        "docs/CALIBRATION.md", "docs/CONFORMANCE.md", "docs/DURABILITY.md", "docs/FUZZING.md", "docs/OPERATIONS.md",
        "docs/PERFORMANCE.md", "docs/QUALITY.md",
    ])
    func commandsOnPagesExist(_ path: String) throws {
        let page = try Tree.text(of: path)
        #expect(try Checks.unknownTargets(on: page, called: path, makefile: Tree.text(of: "Makefile")) == [])
    }

    @Test func everyScriptOfTheMakefileIsThere() throws {
        let makefile = try Tree.text(of: "Makefile")
        #expect(
            Checks.missingScripts(in: makefile) { path in
                FileManager.default.isExecutableFile(atPath: Tree.root.appending(path: path).path)
                    || (path.hasSuffix(".py")
                        && FileManager.default.fileExists(atPath: Tree.root.appending(path: path).path))
            } == [])
    }

    /// What the README promises, and the limits of the server, are held by tests that are there.
    @Test func theTestsOfPromisesExist() throws {
        let names = Set(try Tree.tests.get().flatMap { Checks.declaredNames(in: $0) })
        for (page, heading, column) in [("README.md", "## Promises", 2), ("docs/OPERATIONS.md", "## Limits", 6)] {
            let section = try #require(Checks.section(heading, of: Tree.text(of: page)))
            #expect(Checks.missingTests(in: section, column: column, names: names) == [])
        }
    }
}
