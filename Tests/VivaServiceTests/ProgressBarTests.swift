import Testing

@testable import VivaService

/// The line that a long run shows.
@Suite struct ProgressBarTests {
    @Test func itSaysShareRateAndTheTimeThatIsLeft() throws {
        let bar = try ProgressBar(total: 4_000_000_000)
        #expect(bar.text(after: .zero) == "[--------------------] 0 % 0 B of 4.0 GB  0 B/s  -:-- left  ")
        bar.advance(by: 1_000_000_000)
        bar.subject = "model-00001-of-00002.safetensors\u{1B}"
        #expect(
            bar.text(after: .seconds(4))
                == "[#####---------------] 25 % 1.0 GB of 4.0 GB  250 MB/s  0:12 left  002.safetensors\u{FFFD}")
        bar.advance(by: 3_000_000_000)
        #expect(bar.text(after: .seconds(10)).hasPrefix("[####################] 100 % 4.0 GB of 4.0 GB  400 MB/s"))
        bar.finish()
    }

    @Test func longRunsHaveHours() throws {
        let bar = try ProgressBar(total: 1_000_000)
        bar.advance(by: 100)
        #expect(bar.text(after: .seconds(1)).contains("  2:46:39 left"))
        #expect(try ProgressBar(total: 0).text(after: .seconds(1)).contains("] 100 %"))
    }
}
