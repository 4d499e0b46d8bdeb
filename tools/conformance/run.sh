#!/usr/bin/env bash
# Loads our artifacts with the real libraries. The libraries live in .venv-conformance, made once (about 1.5 GB);
# the service is the release build.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tools/conformance
venv=$root/.venv-conformance

if ! cmp -s "$here/requirements.txt" "$venv/installed.txt"; then
    echo "conformance: installing $(tr '\n' ' ' <"$here/requirements.txt")" >&2
    if ! python3 -m venv "$venv"; then
        echo "conformance: python3 cannot make virtual environments; on Debian: apt-get install python3-venv" >&2
        exit 1
    fi
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/installed.txt"
fi

# First the checker against files that the libraries wrote, then the service against the libraries.
"$venv/bin/python" "$here/check.py" --self-test
"$root/scripts/with-server.sh" "$venv/bin/python" "$here/check.py" "$@"
