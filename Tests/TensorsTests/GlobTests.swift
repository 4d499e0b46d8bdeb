import Tensors
import Testing

struct GlobTests {
    @Test(arguments: [
        ("*.weight", "model.layers.0.q_proj.weight", true), ("*.weight", "weight", false), ("*weight", "weight", true),
        ("*embed*", "model.embed_tokens.weight", true), ("*embed*", "lm_head.weight", false),
        ("lm_head*", "lm_head", true),
        ("model.layers.?.*", "model.layers.3.mlp", true), ("model.layers.?.*", "model.layers.13.mlp", false),
        ("", "", true), ("", "a", false), ("*", "", true), ("**", "abc", true), ("?", "", false), ("?", "a", true),
        ("?", "é", true), ("?", "\u{1D11E}", true), ("?*", "", false), ("*?", "a", true), ("a*b*c", "aXbYc", true),
        ("a*b*c", "aXbYcZ", false), ("a*b*c", "abcbc", true), ("*ab", "aab", true), ("*aab", "aaab", true),
        ("a?c", "abc", true), ("a?c", "ac", false), ("abc", "abcd", false), ("abcd", "abc", false),
        ("ABC", "abc", false),
        ("[a]", "a", false), ("[a]", "[a]", true), ("a.c", "abc", false), ("*.*.*", "a.b", false),
        ("a\\*", "a\\x", true),
        ("\u{E9}", "e\u{301}", false),
    ])
    func matches(_ pattern: String, _ name: String, _ expected: Bool) {
        #expect(Glob(pattern).matches(name) == expected)
    }

    @Test func keepsItsPattern() {
        #expect(Glob("a**b").pattern == "a**b")
        #expect(Glob("a*b") != Glob("a**b"))
    }

    /// A recursive matcher would need some 10^30 steps here; the time limit is only there to end such a run.
    @Test(.timeLimit(.minutes(1)))
    func manyStarsDoNotExplode() {
        let name = String(repeating: "a", count: 4096)
        #expect(!Glob(String(repeating: "a*", count: 64) + "b").matches(name))
        #expect(!Glob(String(repeating: "*a", count: 64) + "b*").matches(name))
        #expect(Glob(String(repeating: "a*", count: 64)).matches(name))
    }

    /// Against a definition by recursion, over every short pattern and name of a small alphabet.
    @Test func agreesWithTheDefinition() {
        func matches(_ pattern: Substring, _ name: Substring) -> Bool {
            guard let first = pattern.first else { return name.isEmpty }
            if first == "*" {
                return matches(pattern.dropFirst(), name) || (!name.isEmpty && matches(pattern, name.dropFirst()))
            }
            guard let letter = name.first, first == "?" || first == letter else { return false }
            return matches(pattern.dropFirst(), name.dropFirst())
        }
        func words(_ alphabet: [Character], upTo length: Int) -> [String] {
            var (all, last) = ([""], [""])
            for _ in 0..<length {
                last = last.flatMap { word in alphabet.map { word + String($0) } }
                all += last
            }
            return all
        }
        let names = words(["a", "b"], upTo: 4)
        for pattern in words(["a", "b", "*", "?"], upTo: 4) {
            let glob = Glob(pattern)
            for name in names where glob.matches(name) != matches(pattern[...], name[...]) {
                Issue.record("\(pattern) on \(name)")
            }
        }
    }
}
