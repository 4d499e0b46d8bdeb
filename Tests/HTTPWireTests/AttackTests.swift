import HTTPCorpus
import Testing

@testable import HTTPWire

/// The corpus against the parser and the chunk decoder, as a connection uses them: every request ends where the
/// corpus says, and what follows is never mistaken for one.
@Suite struct AttackTests {
    static let all: [AttackCase] = {
        do {
            return try AttackCase.all(["artifact": String(repeating: "0", count: 32), "etag": "\"sha256-00\""])
        } catch {
            Issue.record("\(error)")
            return []
        }
    }()

    @Test func corpusIsLargeAndNamed() {
        #expect(Self.all.count >= 400)
        #expect(Set(Self.all.map { "\($0)" }).count == Self.all.count)
        for attack in Self.all {
            #expect(attack.section.wholeMatch(of: /[0-9]{4} [0-9]+(\.[0-9]+)*/) != nil, "\(attack)")
            #expect(!attack.answers.isEmpty || attack.endsItsHalf, "\(attack)")
        }
    }

    @Test(arguments: all)
    func isReadAsAllowed(_ attack: AttackCase) {
        for step in [Int.max, 1, 7] {
            let reading = Reading(attack.transmission, step: step)
            check(reading, attack)
        }
    }

    private func check(_ reading: Reading, _ attack: AttackCase) {
        var targets = reading.targets
        let canaries = targets.count { $0 == "/canary" }
        #expect(!targets.contains { $0.hasPrefix(AttackCase.contraband) }, "\(attack): smuggled")
        #expect(canaries <= 1 && (canaries == 0 || targets.last == "/canary"))
        if canaries > 0 { targets.removeLast() }
        let refusals = attack.answers.count { $0.isRefusal }
        #expect(targets.count == attack.answers.count - refusals, "\(attack): \(targets)")
        if refusals > 0 {
            let allowed = attack.answers.last?.statuses ?? []
            #expect(reading.refusal.map { allowed.contains($0.status) } == true, "\(attack): \(reading.refusal as Any)")
            #expect(canaries == 0)
        } else {
            #expect(reading.refusal == nil, "\(attack): \(reading.refusal as Any)")
        }
        if attack.answers.last?.afterwards == .keep, !attack.endsItsHalf {
            #expect(canaries == 1, "\(attack): the canary is lost")
        }
    }
}

/// What a connection reads of some bytes that arrive `step` at a time.
private struct Reading {
    /// The targets of the requests whose heads are whole and whose bodies are not broken.
    private(set) var targets: [String] = []
    private(set) var refusal: WireError?

    init(_ bytes: [UInt8], step: Int) {
        var offset = 0
        while let (head, next) = self.head(bytes, from: offset, step: step) {
            targets.append(head.target)
            guard let end = body(head, bytes, from: next, step: step), head.keepAlive else { return }
            offset = end
        }
    }

    /// The next head, and where it ends.
    private mutating func head(_ bytes: [UInt8], from start: Int, step: Int) -> (RequestHead, Int)? {
        var scanned = 0
        var arrived = start
        while arrived < bytes.count {
            arrived += min(step, bytes.count - arrived)
            let piece = Array(bytes[start..<arrived])
            switch unsafe RequestHead.parse(piece.span.bytes, scannedBefore: scanned) {
            case .partial(let now): scanned = now
            case .refused(let error):
                refusal = error
                return nil
            case .complete(let head, let consumed): return (head, start + consumed)
            }
        }
        return nil
    }

    /// Where the body ends; nil when it does not, or is refused.
    private mutating func body(_ head: RequestHead, _ bytes: [UInt8], from start: Int, step: Int) -> Int? {
        switch head.framing {
        case .none: return start
        case .length(let length): return length <= bytes.count - start ? start + length : nil
        case .chunked: break
        }
        var decoder = ChunkedDecoder()
        var content = [UInt8](repeating: 0, count: 64)
        var offset = start
        while offset < bytes.count {
            let piece = Array(bytes[offset..<offset + min(step, bytes.count - offset)])
            var span = content.mutableSpan
            var room = unsafe span.mutableBytes
            do {
                let progress = unsafe try decoder.decode(piece.span.bytes, into: &room)
                offset += progress.consumed
                if progress.finished { return offset }
            } catch {
                refusal = error
                targets.removeLast()
                return nil
            }
        }
        return nil
    }
}
