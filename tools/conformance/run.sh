#!/usr/bin/env bash
# Loads our artifacts and folders with the real libraries. The libraries live in .venv-conformance, made once (about
# 1.6 GB); the service is the release build.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tools/conformance
python=$root/.venv-conformance/bin/python
export VIVA=${VIVA:-$root/.build/release/viva}

"$here/environment.sh" "$root/.venv-conformance" "$here/requirements.txt" "$here/requirements-bare.txt"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# First the checker against files that the libraries wrote, then the service against the libraries.
"$python" "$here/check.py" --self-test
"$root/scripts/with-server.sh" "$python" "$here/check.py"

# The fixtures of the architectures are still what the libraries choose.
"$python" "$here/architectures.py" "$work/architectures" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
diff -r "$work/architectures" "$root/Tests/Fixtures/architectures"

# The groups that scales are folded into leave the models as they are, and none of their readers is missing.
"$python" "$here/folding.py" "$work/folding" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
diff -r "$work/folding" "$root/Tests/Fixtures/folding"

# Whole folders with from_pretrained and mlx-lm: each format, then each architecture.
"$python" "$here/folders.py" "$work/folders" 2>"$work/log" || { tail -n 40 "$work/log" >&2; exit 1; }
"$python" "$here/loading.py" "$work/loading" 2>"$work/log" || { tail -n 40 "$work/log" >&2; exit 1; }
"$python" "$here/folded.py" "$work/folded" 2>"$work/log" || { tail -n 40 "$work/log" >&2; exit 1; }
