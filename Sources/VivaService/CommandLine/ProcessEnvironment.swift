import FoundationEssentials

/// The environment variables of this process.
package enum ProcessEnvironment {
    /// The value of a variable; nil when it is not set or empty.
    package static func value(_ name: String) -> String? {
        ProcessInfo.processInfo.environment[name].flatMap { $0.isEmpty ? nil : $0 }
    }
}
