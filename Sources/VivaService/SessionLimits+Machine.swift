package import Quantization
import Sockets

extension SessionLimits {
    /// The defaults for this machine: all processors but one code a tensor, for that one receives and hashes the input,
    /// and more than eight would wait for it.
    package static var ofThisMachine: SessionLimits {
        var limits = SessionLimits()
        limits.maximumThreads = max(1, min(8, Process.cores - 1))
        return limits
    }
}
