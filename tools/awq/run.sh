#!/usr/bin/env bash
# Calibrated coding beside the libraries that do it:  run.sh conformance | quality | decoder | bench
# They live in .venv-awq, made once (about 2 GB); weights, texts and calibration data in .awq-data (about 2 GB).
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tools/awq
python=$root/.venv-awq/bin/python
export VIVA=${VIVA:-$root/.build/release/viva}
export HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1

conformance=$root/tools/conformance
"$conformance/environment.sh" "$root/.venv-awq" "$here/requirements.txt" "$conformance/requirements-bare.txt"
case ${1:-} in
conformance)
    "$python" "$here/capture_test.py"
    "$root/scripts/with-server.sh" "$python" "$here/table.py" --require
    ;;
quality) "$root/scripts/with-server.sh" "$python" "$here/table.py" --write "$root/docs/QUALITY.md" ;;
decoder) "$python" "$here/decoder.py" --write "$root/docs/QUALITY.md" ;;
bench) "$root/scripts/with-server.sh" "$python" "$root/Benchmarks/awq.py" --write "$root/docs/PERFORMANCE.md" ;;
*)
    sed -n 2,3p "$0" >&2
    exit 2
    ;;
esac
