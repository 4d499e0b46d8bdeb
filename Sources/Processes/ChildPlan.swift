/// What a child process is given; everything else of this process it does not get.
package struct ChildPlan: Sendable {
    /// What is executed: this program, unless said otherwise. The kernel finds it even after its file was replaced.
    package var path = "/proc/self/exe"
    /// The arguments, the program's name first.
    package var arguments: [String]
    /// Descriptors of this process; the child has them as 3, 4, 5…, in this order.
    package var descriptors: [Int32] = []
    /// Whether standard input and output are `/dev/null`; standard error is always this process's.
    package var isSilent = false
    /// The most private writable memory in bytes (RLIMIT_DATA); nil: no limit but this process's.
    package var memoryBytes: Int?
    /// The most open descriptors (RLIMIT_NOFILE); nil: as this process.
    package var mostDescriptors: Int?
    /// The signal that the child gets when the thread that started it ends, as it does with this process; 0: none.
    package var deathSignal: Int32 = ChildProcess.kill
    /// How gladly the kernel kills the child when memory is gone, 0 (as this process) to 1000 (first).
    package var killPreference = 0

    /// This program with other arguments.
    package init(arguments: [String]) {
        self.arguments = arguments
    }
}

/// How a child process ended.
package enum ChildExit: Sendable, Equatable {
    /// It returned or called exit(3).
    case code(Int32)
    /// A signal ended it: a trap, a kill, the kernel out of memory.
    case signal(Int32)
}
