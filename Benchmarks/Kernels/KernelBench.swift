import Tensors

/// Times the kernels and whole sessions in memory, and the machine's reads in the same run.
///
/// Prints one line a case, fields separated by tabs: group, case, level or threads, GB/s. A rate is float32 input (the
/// group's name says where it is something else) over CPU time, the median of several runs; with threads over the time
/// on the wall, the best of several runs. An argument picks the groups whose names begin with it, a second one the
/// cases whose titles begin with that, a third one a level or a number of threads; `awq` times calibrated coding instead.
@main
struct KernelBench {
    static func main() {
        if CommandLine.arguments.dropFirst().first == "awq" {
            return CalibratedCases.run(CommandLine.arguments.dropFirst(2).compactMap { Int($0) })
        }
        let weights = Weights(count: 16 << 20)
        var cases: [Case] = []
        for level in Level.available {
            cases.append(Case("read", "the largest magnitude of 64 MiB", level) { level.read(weights) })
            cases += KernelCases.all(level, weights)
        }
        cases += SessionCases.all(weights)
        let wanted = CommandLine.arguments.dropFirst() + ["", "", ""]
        let (group, title, column) = (wanted[1], wanted[2], wanted[3])
        for benchmark in cases
        where benchmark.group.hasPrefix(group) && benchmark.title.hasPrefix(title) && benchmark.column.hasPrefix(column)
        {
            print(benchmark.group, benchmark.title, benchmark.column, benchmark.rate(), separator: "\t")
        }
    }
}
