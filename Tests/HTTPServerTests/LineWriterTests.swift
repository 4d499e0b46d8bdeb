import Foundation
import Sockets
import Testing

@Suite struct LineWriterTests {
    @Test func aReaderThatStallsDelaysNobody() async throws {
        let pipe = Pipe()
        let writer = try LineWriter(descriptor: pipe.fileHandleForWriting.fileDescriptor, capacity: 10_000) { lost in
            Array("lost \(lost)\n".utf8)
        }
        // Far more than pipe and buffer hold, and nobody reads.
        let count = 50_000
        for number in 0..<count { writer.write(Array("line \(number)\n".utf8)) }
        let reader = Task.detached { pipe.fileHandleForReading.readDataToEndOfFile() }
        writer.finish(by: .now + .seconds(20))
        try pipe.fileHandleForWriting.close()
        let lines = String(decoding: await reader.value, as: UTF8.self).split(separator: "\n")
        let written = lines.compactMap { $0.hasPrefix("line ") ? Int($0.dropFirst(5)) : nil }
        let lost = lines.compactMap { $0.hasPrefix("lost ") ? Int($0.dropFirst(5)) : nil }
        #expect(written.count + lost.count == lines.count)
        #expect(written.count + lost.reduce(0, +) == count)
        #expect(written.first == 0)
        #expect(written == written.sorted())
        #expect(!lost.isEmpty)
    }

    @Test func finishWritesWhatWaits() throws {
        let pipe = Pipe()
        let writer = try LineWriter(descriptor: pipe.fileHandleForWriting.fileDescriptor) { _ in [] }
        writer.write(Array("one\n".utf8))
        writer.write(Array("two\n".utf8))
        writer.finish(by: .now + .seconds(20))
        try pipe.fileHandleForWriting.close()
        #expect(String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self) == "one\ntwo\n")
    }
}
