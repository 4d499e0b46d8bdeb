import HTTPServer
import HTTPTypes
import HTTPWire

/// The query of a request whose names are all known and given once.
struct Query {
    private var values: [String: String] = [:]

    init(_ head: RequestHead, known: Set<String>) throws(Problem) {
        for item in head.query {
            guard known.contains(item.name) else {
                throw Self.invalid(
                    "There is no option '\(item.name)'; known: \(known.sorted().joined(separator: ", ")).")
            }
            guard values.updateValue(item.value, forKey: item.name) == nil else {
                throw Self.invalid("\(item.name) is given twice.")
            }
        }
    }

    func text(_ name: String) -> String? { values[name] }

    func integer(_ name: String, in range: ClosedRange<Int>) throws(Problem) -> Int? {
        guard let text = values[name] else { return nil }
        guard let value = Int(text), range.contains(value) else {
            throw Self.invalid("\(name)='\(text)' is not a number from \(range.lowerBound) to \(range.upperBound).")
        }
        return value
    }

    static func invalid(_ detail: String) -> Problem {
        Problem(.badRequest, code: "request.invalid_option", title: "An option is not valid", detail: detail)
    }
}
