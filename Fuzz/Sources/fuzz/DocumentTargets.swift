import Quantization
import Tensors
@testable import VivaService

/// JSON: read alone, and with the places of its members, which must agree.
@Sendable func readJSON(_ bytes: [UInt8]) {
    var limits = JSONValue.Limits()
    limits.maximumDepth = 8
    limits.maximumValues = 64
    limits.readsPythonNumbers = bytes.first == UInt8(ascii: " ")
    guard let value = try? JSONValue.parse(bytes.span.bytes, limits: limits) else { return }
    guard case .object(let members) = value else { return }
    guard let text = try? JSONObjectText(bytes, limits: limits) else { fatalError("an object and none") }
    let longer = text.setting("an unlikely name", to: Array("2".utf8))
    var wider = limits
    wider.maximumValues += 1
    precondition((try? JSONValue.parse(longer.span.bytes, limits: wider))?["an unlikely name"] == .number("2"))
    for member in members {
        guard let part = text.text(member.name),
            let same = try? JSONValue.parse(part.span.bytes, limits: limits)
        else { fatalError("a member that is not where it is") }
        precondition(same == member.value && value[member.name] == member.value)
        let kinds = [same.string != nil, same.flag != nil, same.integer != nil]
        precondition(kinds.count { $0 } <= 1)
        let changed = text.setting(member.name, to: Array("[1]".utf8))
        precondition((try? JSONValue.parse(changed.span.bytes, limits: limits))?[member.name] == .array([.number("1")]))
    }
}

/// The order of a job: its JSON, its recipe, and what is kept of it, read again.
@Sendable func readJob(_ bytes: [UInt8]) {
    guard let root = try? JSONValue.parse(bytes.span.bytes),
        let order = try? JobOrder(root, trace: String(repeating: "0", count: 32))
    else { return }
    guard let again = try? JobRequest(text: String(decoding: order.request.json.bytes(), as: UTF8.self)) else {
        fatalError("what is kept of a job does not read")
    }
    precondition(again == order.request)
    _ = try? order.request.declaration()
    guard let recipe = try? order.request.recipe() else { return }
    precondition((try? JSONValue.parse(text: recipe.canonical)) != nil)
}
