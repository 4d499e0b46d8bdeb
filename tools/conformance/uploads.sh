#!/usr/bin/env bash
# Lets tuspy upload over restarts of the service:  uploads.sh [BYTES]
# The client lives in .venv-uploads, made once; the service is the release build.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tools/conformance
export VIVA=${VIVA:-$root/.build/release/viva}

"$here/environment.sh" "$root/.venv-uploads" "$here/requirements-uploads.txt"
"$root/.venv-uploads/bin/python" "$here/uploads.py" "$@"
