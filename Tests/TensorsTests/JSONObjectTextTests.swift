import Tensors
import Testing

/// One member changes, the rest stays letter for letter.
@Suite struct JSONObjectTextTests {
    private func object(_ text: String) throws -> JSONObjectText { try JSONObjectText(Array(text.utf8)) }

    @Test(arguments: [
        ("{\"a\": 1.0, \"b\": {\"b\": 2}}\n", "b", "{\"a\": 1.0, \"b\": X}\n"),
        ("{ \"a\" :1e5 ,\"b\":[ ]}", "a", "{ \"a\" :X ,\"b\":[ ]}"),
        ("{\n  \"a\": 1\n}", "c", "{\n  \"a\": 1,\n  \"c\": X\n}"),
        ("{}", "c", "{\n  \"c\": X\n}"), ("{ }  ", "c", "{\n  \"c\": X\n}  "),
        ("{\"\\u0061\": 1}", "a", "{\"\\u0061\": X}"), ("{\"x\": \"}\"}", "c", "{\"x\": \"}\",\n  \"c\": X\n}"),
    ])
    func aMemberIsReplacedOrAppended(_ text: String, _ name: String, _ changed: String) throws {
        #expect(String(decoding: try object(text).setting(name, to: Array("X".utf8)), as: UTF8.self) == changed)
    }

    @Test func aValuesTextIsKept() throws {
        let object = try object("{\"a\": [1.0,\t2], \"b\": \"\\u00e9\"}")
        #expect(object.text("a").map { String(decoding: $0, as: UTF8.self) } == "[1.0,\t2]")
        #expect(object.text("c") == nil)
        #expect(object.root["b"]?.string == "\u{e9}")
    }

    @Test func pythonsNumbersAreReadWhereTheyAreAllowed() throws {
        var limits = JSONValue.Limits()
        limits.readsPythonNumbers = true
        let text = "{\"a\": [NaN, Infinity, -Infinity]}"
        let object = try JSONObjectText(Array(text.utf8), limits: limits)
        #expect(object.root["a"] == .array([.number("NaN"), .number("Infinity"), .number("-Infinity")]))
        #expect(throws: TensorFormatError.self) { try self.object(text) }
        for wrong in ["{\"a\": Nan}", "{\"a\": NaNs}", "{\"a\": Inf}"] {
            #expect(throws: TensorFormatError.self) { try JSONObjectText(Array(wrong.utf8), limits: limits) }
        }
    }

    @Test func aRootThatIsNoObjectIsRefused() {
        #expect(throws: TensorFormatError.self) { try object("[1]") }
    }
}
