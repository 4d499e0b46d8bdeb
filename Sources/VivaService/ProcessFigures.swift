import FoundationEssentials

/// What the kernel says of this process.
enum ProcessFigures {
    /// Its number.
    static var identifier: Int32 { ProcessInfo.processInfo.processIdentifier }

    /// Resident memory in bytes, from `/proc/self/status`; nil where there is none.
    static var residentBytes: Double? {
        guard let text = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8) else { return nil }
        for line in text.split(separator: "\n") where line.hasPrefix("VmRSS:") {
            return line.split(separator: " ").dropFirst().first.flatMap { Double($0) }.map { $0 * 1024 }
        }
        return nil
    }
}
