import HTTPTypes
import Testing

@testable import HTTPWire

/// What one parse said, in a form that can be compared.
private enum Said: Equatable {
    case partial(Int)
    case complete(consumed: Int)
    case refused(WireError)
}

private func parse(_ bytes: ArraySlice<UInt8>, scanned: Int = 0, limits: HeadLimits = HeadLimits()) -> HeadParse {
    let copy = Array(bytes)
    return unsafe RequestHead.parse(copy.span.bytes, limits: limits, scannedBefore: scanned)
}

private func said(_ parse: HeadParse) -> Said {
    switch parse {
    case .partial(let scanned): .partial(scanned)
    case .complete(_, let consumed): .complete(consumed: consumed)
    case .refused(let error): .refused(error)
    }
}

/// Feeds one byte more at a time; returns the first answer that is not partial.
private func trickle(_ bytes: [UInt8], limits: HeadLimits = HeadLimits()) -> Said {
    var scanned = 0
    for count in 0...bytes.count {
        switch parse(bytes[..<count], scanned: scanned, limits: limits) {
        case .partial(let now):
            // Never more than a pending CR is left to be scanned again: no quadratic work.
            #expect(now >= scanned && now >= count - 1 && now <= count)
            scanned = now
        case let other: return said(other)
        }
    }
    return .partial(scanned)
}

@Suite struct RequestHeadTests {
    @Test(arguments: RefusedRequest.all)
    func refuses(_ request: RefusedRequest) throws {
        guard case .refused(let error) = parse(request.raw[...]) else {
            Issue.record("accepted")
            return
        }
        #expect(error.code == request.code)
        #expect(error.status == request.status)
        #expect(!error.detail.isEmpty)
        #expect(trickle(request.raw) == .refused(error))
        for split in 0...request.raw.count {
            guard case .partial(let scanned) = parse(request.raw[..<split]) else { continue }
            #expect(said(parse(request.raw[...], scanned: scanned)) == .refused(error))
        }
    }

    @Test(arguments: AcceptedRequest.all)
    func accepts(_ request: AcceptedRequest) throws {
        guard case .complete(let head, let consumed) = parse(request.raw[...]) else {
            Issue.record("\(parse(request.raw[...]))")
            return
        }
        #expect(request.check(head))
        #expect(consumed == request.raw.count)
        #expect(trickle(request.raw) == .complete(consumed: consumed))
        for split in 0..<request.raw.count {
            guard case .partial(let scanned) = parse(request.raw[..<split]) else {
                Issue.record("not partial after \(split) bytes")
                continue
            }
            guard case .complete(let again, _) = parse(request.raw[...], scanned: scanned) else {
                Issue.record("not complete after a split at \(split)")
                continue
            }
            #expect(request.check(again))
        }
    }

    @Test func corpusIsLargeAndNamed() {
        let names = RefusedRequest.all.map(\.section) + AcceptedRequest.all.map(\.section)
        #expect(names.count >= 100)
        #expect(Set(names).count == names.count)
    }

    @Test func leavesTheBodyAlone() {
        let head = Array("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n".utf8)
        let body: [UInt8] = [0x00, 0x0A, 0x0D, 0xFF]
        #expect(said(parse((head + body)[...])) == .complete(consumed: head.count))
    }

    @Test func readsPipelinedRequestsOneByOne() {
        let first = Array("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
        let second = Array("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
        let both = first + second
        #expect(said(parse(both[...])) == .complete(consumed: first.count))
        guard case .complete(let head, _) = parse(both[first.count...]) else {
            Issue.record("no second request")
            return
        }
        #expect(head.path == ["2"])
    }

    @Test func headBytesAreLimited() {
        #expect(HeadLimits().maxHeadBytes == 32768)
        let limits = HeadLimits(maxHeadBytes: 200)
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX: "
        let fits = Array((start + String(repeating: "x", count: 200 - start.utf8.count - 4) + "\r\n\r\n").utf8)
        let over = Array((start + String(repeating: "x", count: 201 - start.utf8.count - 4) + "\r\n\r\n").utf8)
        #expect(fits.count == 200)
        #expect(said(parse(fits[...], limits: limits)) == .complete(consumed: 200))
        for parse in [said(parse(over[...], limits: limits)), trickle(over, limits: limits)] {
            guard case .refused(let error) = parse else {
                Issue.record("accepted")
                continue
            }
            #expect(error.status == 431)
            #expect(error.code == "http.head_too_long")
        }
    }

    @Test func fieldsAreCounted() {
        #expect(HeadLimits().maxFields == 100)
        let start = "GET / HTTP/1.1\r\nHost: a\r\n"
        let fits = Array((start + String(repeating: "X: y\r\n", count: 99) + "\r\n").utf8)
        let over = Array((start + String(repeating: "X: y\r\n", count: 100) + "\r\n").utf8)
        #expect(said(parse(fits[...])) == .complete(consumed: fits.count))
        guard case .refused(let error) = parse(over[...]) else {
            Issue.record("accepted")
            return
        }
        #expect(error.status == 431)
        #expect(error.code == "http.too_many_fields")
    }

    @Test func targetsAreLimited() {
        #expect(HeadLimits().maxTargetBytes == 8192)
        let fits = Array("GET /\(String(repeating: "a", count: 8191)) HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
        let over = Array("GET /\(String(repeating: "a", count: 8192)) HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
        let endless = Array("GET /\(String(repeating: "a", count: 40_000))".utf8)
        #expect(said(parse(fits[...])) == .complete(consumed: fits.count))
        for raw in [over, endless] {
            guard case .refused(let error) = parse(raw[...]) else {
                Issue.record("accepted")
                continue
            }
            #expect(error.status == 414)
            #expect(error.code == "http.target_too_long")
        }
    }

    /// Every byte value at every place of a request: no trap, and no control character slips through.
    @Test func survivesEveryByteEverywhere() {
        let raw = Array("\r\nPOST /a%20b?c=d HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 5\r\nX: y\r\n\r\n".utf8)
        for place in raw.indices {
            for octet in UInt8.min...UInt8.max {
                var changed = raw
                changed[place] = octet
                guard case .complete(let head, let consumed) = parse(changed[...]) else { continue }
                let controls = changed[..<consumed].filter { ($0 < 0x20 && $0 != 9) || $0 == 0x7F }
                #expect(controls.count % 2 == 0 && controls.allSatisfy { $0 == 10 || $0 == 13 })
                #expect(!head.method.rawValue.isEmpty)
            }
        }
    }

    /// The eight-byte scan finds what a byte-wise scan finds, at every alignment.
    @Test func bulkScanAgreesWithABytewiseScan() {
        var generator = SystemRandomNumberGenerator()
        let suspects: [UInt8] = [0x00, 0x08, 0x09, 0x0A, 0x0D, 0x1F, 0x20, 0x7E, 0x7F, 0x80, 0x9F, 0xA0, 0xFF, 0x21]
        for _ in 0..<3000 {
            let bytes = (0..<Int.random(in: 0...40, using: &generator)).map { _ in
                suspects[Int.random(in: 0..<suspects.count, using: &generator)] | (Bool.random() ? 0x40 : 0)
            }
            let start = Int.random(in: 0...bytes.count, using: &generator)
            let expected =
                bytes[start...].firstIndex { ($0 < 0x20 && $0 != 0x09) || $0 == 0x7F } ?? bytes.count
            let found = unsafe bytes.span.bytes.firstControl(from: start, before: bytes.count)
            #expect(found == expected)
        }
    }
}
