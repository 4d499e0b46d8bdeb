import CPlatform
import Glibc

/// Threads of the operating system, for code that waits.
package enum Thread {
    /// What starts threads: `start`, unless a test has its own.
    package typealias Starter = @Sendable (String, @escaping @Sendable () -> Void) throws(SocketError) -> Void

    /// The work of a thread, kept alive until the thread has taken it.
    private final class Work: Sendable {
        let name: String
        let body: @Sendable () -> Void

        init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }

    /// Starts a detached thread that runs `body`; `name` (15 bytes count) shows in `top -H`.
    ///
    /// Signals that end the process never reach it: whoever waits for them gets them, else the first thread.
    package static func start(name: String, _ body: @escaping @Sendable () -> Void) throws(SocketError) {
        let work = unsafe Unmanaged.passRetained(Work(name: name, body: body))
        var identity = pthread_t()
        var ending = sigset_t()
        var before = sigset_t()
        unsafe sigemptyset(&ending)
        for signal in [SIGTERM, SIGINT, SIGHUP] { unsafe sigaddset(&ending, signal) }
        // Neither call can fail with a valid set.
        _ = unsafe pthread_sigmask(SIG_BLOCK, &ending, &before)
        defer { _ = unsafe pthread_sigmask(SIG_SETMASK, &before, nil) }
        let code = unsafe pthread_create(
            &identity, nil,
            { argument in
                guard let argument = unsafe argument else { return nil }
                let work = unsafe Unmanaged<Work>.fromOpaque(argument).takeRetainedValue()
                unsafe work.name.withCString { unsafe viva_name_thread($0) }
                work.body()
                return nil
            }, work.toOpaque())
        guard code == 0 else {
            unsafe work.release()
            throw .system(call: "pthread_create", errno: code)
        }
        // Fails only for a thread that was joined or detached already, which nobody else can do to this one.
        _ = pthread_detach(identity)
    }

    /// Lets threads that answer at once go before the calling one, for as long as it lives.
    package static func standBehind() {
        viva_stand_behind(3)
    }
}

/// Counts what is there to be taken; threads wait for it, and each signal wakes one of them (sem_overview(7)).
@safe package struct Semaphore: ~Copyable, @unchecked Sendable {
    /// Invariant: valid from `init` to `deinit`; any thread may use it meanwhile.
    private let state: OpaquePointer

    /// Creates an empty semaphore.
    package init() throws(SocketError) {
        guard let state = unsafe viva_semaphore_create() else { throw .system(call: "malloc", errno: ENOMEM) }
        unsafe self.state = state
    }

    deinit {
        unsafe viva_semaphore_destroy(state)
    }

    /// Adds one.
    package func signal() {
        unsafe viva_semaphore_signal(state)
    }

    /// Takes one, waiting for it until `deadline` (nil: for ever); false when the time is over.
    package func wait(until deadline: ContinuousClock.Instant? = nil) -> Bool {
        guard let deadline else { return unsafe viva_semaphore_wait(state, -1) == 1 }
        // A wait is at most weeks long: a later deadline takes several.
        while true {
            let left = max(.zero, ContinuousClock.now.duration(to: deadline))
            if unsafe viva_semaphore_wait(state, wholeMilliseconds(left)) == 1 { return true }
            if ContinuousClock.now >= deadline { return false }
        }
    }
}

/// Settings of the whole process that a server needs.
package enum Process {
    /// Ignores SIGPIPE, for sendfile and TLS writes know no flag against it, and raises the soft limit of open
    /// descriptors to the hard one, which it answers; large buffers go back to the system when they are done with.
    package static func prepare() throws(SocketError) -> Int {
        viva_ignore_broken_pipe()
        viva_give_memory_back()
        let limit = viva_raise_descriptor_limit()
        guard limit >= 0 else { throw .system(call: "setrlimit", errno: Int32(clamping: -limit)) }
        return Int(limit)
    }

    /// Names the process, as `ps` and `top` show it; 15 bytes count. To be called by its first thread.
    package static func name(_ name: String) {
        unsafe name.withCString { unsafe viva_name_thread($0) }
    }

    /// The cores this process may use.
    package static var cores: Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }

    /// Seconds since 1970 by the wall clock.
    package static var secondsSinceEpoch: Int { time(nil) }
}
