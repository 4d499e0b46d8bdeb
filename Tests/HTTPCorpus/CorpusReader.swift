import Foundation

extension AttackCase {
    /// Reads all files of the corpus.
    ///
    /// - Parameter names: what stands for `artifact` and `etag`: an artifact's id and its entity tag.
    package static func all(_ names: [String: String]) throws -> [AttackCase] {
        let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Fixtures/http")
        let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
        return try files.filter { $0.pathExtension == "txt" }.sorted { $0.path < $1.path }.flatMap { file in
            do {
                return try read(String(contentsOf: file, encoding: .utf8), names: names)
            } catch let error as CorpusError {
                throw CorpusError(description: "\(file.lastPathComponent), \(error)")
            }
        }
    }

    /// Reads the cases of one file; its language is told in `Tests/Fixtures/http/README.md`.
    private static func read(_ text: String, names: [String: String]) throws -> [AttackCase] {
        var cases: [AttackCase] = []
        var name: String?
        for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let (word, rest) = line.divided(at: " ")
            let wrong = CorpusError(description: "line \(number + 1): \(line)")
            switch word {
            case "": continue
            case "case": name = String(rest)
            case "rfc":
                guard let title = name.take() else { throw wrong }
                cases.append(AttackCase(name: title, section: String(rest)))
            default:
                guard name == nil, !cases.isEmpty, try cases[cases.count - 1].take(word, rest, names) else {
                    throw wrong
                }
            }
        }
        return cases
    }

    /// Takes one line; false when it makes no sense.
    private mutating func take(_ word: Substring, _ rest: Substring, _ names: [String: String]) throws -> Bool {
        switch word {
        case "|": bytes += try Self.unescape(Self.expand(rest, names)) + [13, 10]
        case ">": bytes += try Self.unescape(Self.expand(rest, names))
        case "answer", "refuse":
            guard let (answer, count) = Self.answer(word, rest) else { return false }
            answers += Array(repeating: answer, count: count)
        case "silence", "end": endsItsHalf = true
        case "head", "says", "never":
            guard !answers.isEmpty else { return false }
            if word == "head" { answers[answers.count - 1].isToHead = true }
            let text = String(decoding: try Self.unescape(Self.expand(rest, names)), as: UTF8.self)
            if word == "says" { answers[answers.count - 1].says.append(text) }
            if word == "never" { answers[answers.count - 1].never.append(text) }
        default: return false
        }
        return true
    }

    private static func answer(_ word: Substring, _ rest: Substring) -> (Answer, count: Int)? {
        let words = rest.split(separator: " ")
        let statuses = Set((words.first ?? "").split(separator: ",").compactMap { Int($0) })
        guard !statuses.isEmpty else { return nil }
        if word == "refuse" { return (Answer(statuses: statuses, afterwards: .close, isRefusal: true), 1) }
        guard words.count >= 2, let afterwards = Answer.Afterwards(rawValue: String(words[1])) else { return nil }
        let count = words.count > 2 ? Int(words[2].dropFirst()) : 1
        return count.map { (Answer(statuses: statuses, afterwards: afterwards, isRefusal: false), $0) }
    }

    /// Puts text in the place of `{{…}}`.
    private static func expand(_ text: Substring, _ names: [String: String]) throws -> String {
        var expanded = ""
        var rest = text
        while let start = rest.firstRange(of: "{{"), let end = rest[start.upperBound...].firstRange(of: "}}") {
            expanded += rest[..<start.lowerBound]
            let content = rest[start.upperBound..<end.lowerBound]
            if let star = content.lastIndex(of: "*"), let count = Int(content[content.index(after: star)...]) {
                expanded += String(repeating: String(content[..<star]), count: count)
            } else if let value = names[String(content)] {
                expanded += value
            } else {
                throw CorpusError(description: "{{\(content)}}")
            }
            rest = rest[end.upperBound...]
        }
        return expanded + rest
    }

    private static func unescape(_ text: String) throws -> [UInt8] {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "\\") else {
                bytes.append(byte)
                continue
            }
            switch rest.popFirst() {
            case UInt8(ascii: "r"): bytes.append(13)
            case UInt8(ascii: "n"): bytes.append(10)
            case UInt8(ascii: "t"): bytes.append(9)
            case UInt8(ascii: "0"): bytes.append(0)
            case UInt8(ascii: "\\"): bytes.append(UInt8(ascii: "\\"))
            case UInt8(ascii: "x"):
                guard let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) else {
                    throw CorpusError(description: "\\x in \(text)")
                }
                bytes.append(value)
                rest = rest.dropFirst(2)
            default: throw CorpusError(description: "an escape in \(text)")
            }
        }
        return bytes
    }
}

extension Substring {
    /// The text before the first `mark`, and the text behind it.
    fileprivate func divided(at mark: Character) -> (Substring, Substring) {
        guard let place = firstIndex(of: mark) else { return (self, "") }
        return (self[..<place], self[index(after: place)...])
    }
}
