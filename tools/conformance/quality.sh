#!/usr/bin/env bash
# Measures docs/QUALITY.md anew; the libraries that it compares with live in .venv-conformance (environment.sh).
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tools/conformance
"$here/environment.sh" "$root/.venv-conformance" "$here/requirements.txt" "$here/requirements-bare.txt"
"$root/scripts/with-server.sh" "$root/.venv-conformance/bin/python" "$here/quality.py" --write "$root/docs/QUALITY.md"
