import Tensors
import Testing

/// Against RFC 8259: what is JSON is read, everything else is refused.
@Suite struct JSONValueTests {
    @Test func readsEveryKindOfValue() throws {
        let text = #" {"a": [1, -0.5e+3, true, false, null, ""], "b\u00e9": {"c": "\n\"\ud83e\uddca"}} "#
        let value = try JSONValue.parse(text: text)
        let items: [JSONValue] = [.number("1"), .number("-0.5e+3"), .bool(true), .bool(false), .null, .string("")]
        #expect(value["a"] == .array(items))
        #expect(value["b\u{e9}"]?["c"]?.string == "\n\"\u{1F9CA}")
        #expect(value["missing"] == nil)
        #expect(items[0].integer == 1)
        #expect(items[1].integer == nil)
    }

    @Test(arguments: [
        "", " ", "{", "[1,]", "{\"a\":1,}", "{a:1}", "'a'", "01", "1.", ".5", "+1", "1e", "--1", "NaN", "Infinity",
        "tru",
        "nulls", "[1 2]", "{\"a\" 1}", "1 2", "\"\\x\"", "\"\u{7}\"", "\"\\ud800\"", "[1", "\"open", "/* */ 1",
        "\u{FEFF}1",
    ])
    func refusesWhatIsNotJSON(_ text: String) {
        #expect(throws: TensorFormatError.self) { try JSONValue.parse(text: text) }
    }

    @Test func refusesDuplicateNamesAlsoWhenEscaped() {
        let error = #expect(throws: TensorFormatError.self) { try JSONValue.parse(text: #"{"a":1,"\u0061":2}"#) }
        #expect(error?.code == "json.duplicate_key")
        #expect(error?.offset == 7)
    }

    @Test func limitsAreKept() {
        let deep = String(repeating: "[", count: 33) + String(repeating: "]", count: 33)
        #expect(throws: Never.self) { try JSONValue.parse(text: deep) }
        #expect(
            #expect(throws: TensorFormatError.self) { try JSONValue.parse(text: "[\(deep)]") }?.code == "json.too_deep")
        var limits = JSONValue.Limits()
        limits.maximumValues = 3
        #expect(throws: Never.self) { try JSONValue.parse(text: "[1,2]", limits: limits) }
        let error = #expect(throws: TensorFormatError.self) { try JSONValue.parse(text: "[1,2,3]", limits: limits) }
        #expect(error?.code == "json.too_many_values")
    }
}
