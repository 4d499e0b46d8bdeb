import CPlatform
import Glibc
import Synchronization

/// A process that this one started. Whoever holds it may wait for it and send signals from any thread; when the last
/// holder lets go of it, it is killed and reaped.
///
/// It is known by a pidfd, so that no signal can hit another process that got its number.
package final class ChildProcess: Sendable {
    /// SIGKILL: the child ends at once and cannot prevent it.
    package static let kill = SIGKILL
    /// SIGTERM: the child is asked to end.
    package static let terminate = SIGTERM

    /// The number of the process, for logs.
    package let identifier: Int32

    // Invariant: open until deinit; the number is this object's alone.
    private let process: Int32
    private let exit = Mutex<ChildExit?>(nil)

    /// Starts a child, which runs when this returns.
    ///
    /// The calling thread must outlive it: the kernel sends the plan's `deathSignal` when that thread ends.
    package init(_ plan: ChildPlan) throws(ProcessError) {
        var arguments: [UnsafeMutablePointer<CChar>?] = unsafe plan.arguments.map { unsafe strdup($0) }
        unsafe arguments.append(nil)
        defer { unsafe arguments.forEach { unsafe free($0) } }
        var identifier: pid_t = 0
        // Every pointer outlives the call: the child has executed something else, or is gone, when it returns.
        let answer = unsafe plan.path.withCString { path in
            unsafe arguments.withUnsafeBufferPointer { arguments in
                unsafe plan.descriptors.withUnsafeBufferPointer { descriptors in
                    var child = unsafe viva_child()
                    unsafe child.path = path
                    unsafe child.arguments = arguments.baseAddress
                    unsafe child.descriptors = descriptors.baseAddress
                    unsafe child.descriptor_count = descriptors.count
                    unsafe child.is_silent = plan.isSilent ? 1 : 0
                    unsafe child.death_signal = plan.deathSignal
                    unsafe child.memory_bytes = plan.memoryBytes.map { UInt64(clamping: $0) } ?? UInt64.max
                    unsafe child.most_descriptors = plan.mostDescriptors.map { UInt64(clamping: $0) } ?? UInt64.max
                    unsafe child.oom_score = Int32(clamping: min(max(plan.killPreference, 0), 1000))
                    return unsafe viva_spawn(&child, &identifier)
                }
            }
        }
        guard answer >= 0 else { throw .system(call: "spawn", errno: -answer) }
        process = answer
        self.identifier = identifier
    }

    deinit {
        if exit.withLock({ $0 == nil }) {
            signal(Self.kill)
            _ = wait()
        }
        _ = close(process)
    }

    /// Sets a variable of the environment that children get, unless somebody has set it. To be called while this
    /// process has one thread.
    package static func setDefault(_ value: String, of variable: String) {
        // ENOMEM, the only failure of a name without `=`: the child does without.
        _ = unsafe setenv(variable, value, 0)
    }

    /// Waits until the child has ended, at most for so long (nil: for ever); nil when it still runs.
    package func wait(milliseconds: Int? = nil) -> ChildExit? {
        if let known = exit.withLock({ $0 }) { return known }
        // Fails only for a descriptor that is none, which `process` is not.
        guard viva_child_wait(process, milliseconds.map { Int32(clamping: $0) } ?? -1) == 1 else { return nil }
        return exit.withLock { exit in
            if exit == nil {
                var status: Int32 = 0
                var isSignal: Int32 = 0
                // Ended and not reaped, as the lock says: there is a status.
                _ = unsafe viva_child_reap(process, &status, &isSignal)
                exit = isSignal == 1 ? .signal(status) : .code(status)
            }
            return exit
        }
    }

    /// Reaps processes that lost their parent and came to this one, as to the first process of a container. To be
    /// called only where this process has no child besides `kept`.
    package static func reapStrangers(besides kept: ChildProcess) {
        viva_reap_strangers(kept.identifier)
    }

    /// The processor time that the child has had, all threads together; nil for one that has ended.
    package var processorTime: Duration? {
        let milliseconds = viva_child_time(identifier)
        return milliseconds < 0 ? nil : .milliseconds(milliseconds)
    }

    /// Sends a signal; a child that has ended gets none.
    package func signal(_ number: Int32) {
        // ESRCH: it has ended, which is what signals are for.
        _ = viva_child_signal(process, number)
    }
}
