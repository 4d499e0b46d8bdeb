#!/usr/bin/env bash
# Makes .venv-conformance, the libraries that our artifacts are held against, once (about 1.5 GB); prints its python.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
wanted=$root/tools/conformance/requirements.txt
venv=$root/.venv-conformance

if ! cmp -s "$wanted" "$venv/installed.txt"; then
    echo "conformance: installing $(tr '\n' ' ' <"$wanted")" >&2
    if ! python3 -m venv "$venv"; then
        echo "conformance: python3 cannot make virtual environments; on Debian: apt-get install python3-venv" >&2
        exit 1
    fi
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$wanted" >&2
    cp "$wanted" "$venv/installed.txt"
fi
echo "$venv/bin/python"
