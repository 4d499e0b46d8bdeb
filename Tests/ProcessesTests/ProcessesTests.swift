import Glibc
import Testing

@testable import Processes

/// Children of a shell that nobody here wrote.
@Suite(.serialized) struct ChildProcessTests {
    static func shell(_ script: String) -> ChildPlan {
        var plan = ChildPlan(arguments: ["sh", "-c", script])
        plan.path = "/bin/sh"
        return plan
    }

    /// What a child writes to the channel it was given, until it closes it.
    static func output(of script: String, _ change: (inout ChildPlan) -> Void = { _ in }) throws -> String {
        var plan = shell("exec 1>&3; \(script)")
        change(&plan)
        var child: ChildProcess?
        let near = try Channel.connected { (far) throws(ProcessError) in
            plan.descriptors.insert(far.number, at: 0)
            child = try ChildProcess(plan)
        }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = unsafe recv(near.number, &buffer, buffer.count, 0)
            guard count > 0 else { break }
            bytes += buffer.prefix(count)
        }
        _ = child?.wait()
        return String(decoding: bytes, as: UTF8.self)
    }

    @Test func anExitCodeAndASignalAreToldApart() throws {
        #expect(try ChildProcess(Self.shell("exit 7")).wait() == .code(7))
        #expect(try ChildProcess(Self.shell("kill -SEGV $$")).wait() == .signal(SIGSEGV))
    }

    @Test func aMissingProgramIsAnErrorOfTheStart() {
        var plan = ChildPlan(arguments: ["none"])
        plan.path = "/nonexistent"
        #expect(throws: ProcessError.system(call: "spawn", errno: ENOENT)) { try ChildProcess(plan) }
    }

    @Test func waitingEndsWithItsTimeAndAKillWithTheChild() throws {
        let child = try ChildProcess(Self.shell("sleep 100"))
        #expect(child.wait(milliseconds: 1) == nil)
        child.signal(ChildProcess.kill)
        #expect(child.wait() == .signal(SIGKILL))
        // Once more: the answer is remembered, and the signal hits nobody.
        child.signal(ChildProcess.kill)
        #expect(child.wait(milliseconds: 0) == .signal(SIGKILL))
    }

    @Test func theLastHolderKillsAndReaps() throws {
        var child: ChildProcess? = try ChildProcess(Self.shell("sleep 100"))
        let identifier = try #require(child?.identifier)
        #expect(kill(identifier, 0) == 0)
        child = nil
        #expect(kill(identifier, 0) == -1)
        #expect(errno == ESRCH)
    }

    /// In a process of its own: others have children that they wait for.
    @Test func strangersAreReapedAndTheKeptChildIsNot() async {
        await #expect(processExitsWith: .success) {
            let kept = try ChildProcess(Self.shell("exit 7"))
            let strangers = try (0..<3).map { _ in try ChildProcess(Self.shell("exit 1")) }
            for process in [kept] + strangers {
                var information = unsafe siginfo_t()
                guard unsafe waitid(P_PID, id_t(process.identifier), &information, WEXITED | WNOWAIT) == 0 else {
                    exit(2)
                }
            }
            // The kept one hides those that ended after it, until it is waited for.
            ChildProcess.reapStrangers(besides: kept)
            guard kept.wait() == .code(7) else { exit(3) }
            ChildProcess.reapStrangers(besides: kept)
            for process in strangers where kill(process.identifier, 0) == 0 { exit(4) }
        }
    }

    @Test func onlyTheDescriptorsOfThePlanAreOpen() throws {
        // One that survives exec by itself, as another library might open it.
        let stray = unsafe open("/dev/null", O_RDONLY)
        defer { close(stray) }
        let open = try Self.output(of: "cd /proc/self/fd && echo *") { $0.isSilent = true }
        // 0, 1 and 2, the channel, and what the shell opens to read the folder.
        let numbers = Set(open.split(whereSeparator: \.isWhitespace).compactMap { Int($0) })
        #expect(numbers.isSuperset(of: [0, 1, 2, 3]))
        #expect(numbers.count <= 5)
        #expect(!numbers.contains(Int(stray)) || stray <= 4)
    }

    @Test func descriptorsComeInTheirOrderEvenWhereTheirPlacesAreTaken() throws {
        let files = try (0..<4).map { _ in try #require(TemporaryFile()) }
        for (index, file) in files.enumerated() { file.write("\(index)") }
        let text = try Self.output(of: "cat <&4; cat <&5; cat <&6; cat <&7") { plan in
            plan.descriptors = [files[3], files[1], files[2], files[0]].map(\.number)
        }
        #expect(text == "3120")
    }

    @Test func limitsAndPrivilegesAreSet() throws {
        let text = try Self.output(
            of: "ulimit -d; ulimit -n; ulimit -c; grep NoNewPrivs /proc/self/status; cat /proc/self/oom_score_adj"
        ) { plan in
            plan.memoryBytes = 64 << 20
            plan.mostDescriptors = 32
            plan.killPreference = 500
        }
        #expect(text.split(whereSeparator: \.isWhitespace) == ["65536", "32", "0", "NoNewPrivs:", "1", "500"])
    }

    @Test func moreMemoryThanTheLimitEndsTheChildAlone() throws {
        var plan = ChildPlan(arguments: ["python3", "-c", "b = bytearray(256 << 20)"])
        plan.path = "/usr/bin/python3"
        plan.memoryBytes = 64 << 20
        plan.isSilent = true
        #expect(try ChildProcess(plan).wait() == .code(1))
    }

    @Test func ignoredAndBlockedSignalsReachTheChildAsUsual() throws {
        _ = signal(SIGPIPE, SIG_IGN)
        var blocked = sigset_t()
        unsafe sigemptyset(&blocked)
        unsafe sigaddset(&blocked, SIGTERM)
        unsafe pthread_sigmask(SIG_BLOCK, &blocked, nil)
        defer { _ = unsafe pthread_sigmask(SIG_UNBLOCK, &blocked, nil) }
        let text = try Self.output(of: "grep -E 'SigBlk|SigIgn' /proc/self/status")
        let masks = text.split(whereSeparator: \.isWhitespace).filter { $0.count == 16 }
        // glibc keeps the signals from 32 on for itself.
        let standard = masks.map { UInt64(String($0), radix: 16).map { $0 & 0x7fff_ffff } }
        #expect(standard == [0, 0])
    }

    @Test func aChildDiesWithTheThreadThatStartedIt() throws {
        // A shell starts a sleep that is in our process group no more; the kernel ends it with its parent: here the
        // parent is a thread.
        let started = StartedChild()
        var thread = pthread_t()
        unsafe pthread_create(
            &thread, nil,
            { argument in
                guard let argument = unsafe argument else { return nil }
                unsafe Unmanaged<StartedChild>.fromOpaque(argument).takeUnretainedValue().start()
                return nil
            }, unsafe Unmanaged.passUnretained(started).toOpaque())
        pthread_join(thread, nil)
        #expect(started.child?.wait() == .signal(SIGKILL))
    }
}

private final class StartedChild: @unchecked Sendable {
    // Written by a thread that has ended when it is read.
    var child: ChildProcess?

    func start() { child = try? ChildProcess(ChildProcessTests.shell("sleep 100")) }
}

/// An open file without a name.
private final class TemporaryFile {
    let number: Int32

    init?() {
        var name = Array("/tmp/viva-test-XXXXXX".utf8CString)
        number = unsafe mkstemp(&name)
        if number < 0 { return nil }
        unsafe unlink(name)
    }

    func write(_ text: String) {
        unsafe pwrite(number, text, text.utf8.count, 0)
    }

    deinit { close(number) }
}

@Suite struct ChannelTests {
    @Test(arguments: [0, 1, 5, 50_000]) func framesArriveAsTheyWereSent(size: Int) throws {
        var copy: Int32 = -1
        let near = try Channel.connected { copy = dup($0.number) }
        let far = Channel(owning: copy)
        let frame = Frame(kind: 9, payload: (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) })
        try near.send(frame, milliseconds: 1000)
        try near.send(Frame(kind: 1), milliseconds: 1000)
        #expect(try far.receive(atMost: size) == frame)
        #expect(try far.receive(atMost: size) == Frame(kind: 1))
    }

    @Test func theEndIsNoError() throws {
        var copy: Int32 = -1
        let near = try Channel.connected { copy = dup($0.number) }
        let far = Channel(owning: copy)
        _ = consume near
        #expect(try far.receive(atMost: 10) == nil)
    }

    @Test func anEndInTheMiddleIs() throws {
        var copy: Int32 = -1
        let near = try Channel.connected { copy = dup($0.number) }
        let far = Channel(owning: copy)
        let bytes: [UInt8] = [1, 4, 0, 0, 0, 7]
        #expect(unsafe send(near.number, bytes, bytes.count, 0) == bytes.count)
        _ = consume near
        #expect(throws: ProcessError.truncated(missing: 3)) { try far.receive(atMost: 10) }
    }

    @Test func aLongFrameIsRefusedBeforeItIsRead() throws {
        var copy: Int32 = -1
        let near = try Channel.connected { copy = dup($0.number) }
        let far = Channel(owning: copy)
        let bytes: [UInt8] = [1, 255, 255, 255, 255]
        #expect(unsafe send(near.number, bytes, bytes.count, 0) == bytes.count)
        #expect(throws: ProcessError.tooLarge(bytes: 0xFFFF_FFFF, limit: 10)) { try far.receive(atMost: 10) }
    }

    @Test func silenceAndAFullSocketTimeOut() throws {
        var copy: Int32 = -1
        let near = try Channel.connected { copy = dup($0.number) }
        let far = Channel(owning: copy)
        #expect(throws: ProcessError.timedOut) { try far.receive(atMost: 10, milliseconds: 1) }
        let large = Frame(kind: 0, payload: [UInt8](repeating: 0, count: 8 << 20))
        #expect(throws: ProcessError.timedOut) { try near.send(large, milliseconds: 1) }
    }

    @Test func sendingToNobodyIsADisconnection() throws {
        var copy: Int32 = -1
        let near = try Channel.connected { copy = dup($0.number) }
        let far = Channel(owning: copy)
        _ = consume far
        #expect {
            try near.send(Frame(kind: 0, payload: [1]))
        } throws: { error in
            (error as? ProcessError)?.isDisconnection == true
        }
    }
}
