#!/usr/bin/env bash
# Makes a virtual environment of pinned packages once:  environment.sh VENV REQUIREMENTS [BARE]
# The packages of the file BARE are installed without what they ask for, and built here without compiling CUDA.
set -euo pipefail

venv=$1 requirements=$2 bare=${3:-/dev/null}
if cat "$requirements" "$bare" | cmp -s - "$venv/installed.txt"; then exit 0; fi
echo "conformance: installing $(cat "$requirements" "$bare" | grep -v '^#' | tr '\n' ' ')" >&2
if ! python3 -m venv "$venv"; then
    echo "conformance: python3 cannot make virtual environments; on Debian: apt-get install python3-venv" >&2
    exit 1
fi
pip=("$venv/bin/pip" install --quiet --disable-pip-version-check)
"${pip[@]}" --prefer-binary -r "$requirements"
[ "$bare" = /dev/null ] || BUILD_CUDA_EXT=0 "${pip[@]}" --no-deps --no-build-isolation -r "$bare"
cat "$requirements" "$bare" >"$venv/installed.txt"
