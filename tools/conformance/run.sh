#!/usr/bin/env bash
# Loads our artifacts with the real libraries (venv.sh); the service is the release build.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tools/conformance
python=$("$here/venv.sh")

# First the checker against files that the libraries wrote, then the service against the libraries.
"$python" "$here/check.py" --self-test
"$root/scripts/with-server.sh" "$python" "$here/check.py" "$@"
