#!/usr/bin/env bash
# Times the kernels, whole sessions in memory and the libraries in one run; writes the table into docs/PERFORMANCE.md.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
conformance=$root/tools/conformance
python=$root/.venv-conformance/bin/python

"$conformance/environment.sh" "$root/.venv-conformance" "$conformance/requirements.txt" \
    "$conformance/requirements-bare.txt"
swift build -c release --product kernel-bench --package-path "$root"
OMP_NUM_THREADS=1 TORCHDYNAMO_DISABLE=1 "$python" "$root/Benchmarks/bench_kernels.py" \
    "$root/.build/release/kernel-bench" --write "$root/docs/PERFORMANCE.md"
