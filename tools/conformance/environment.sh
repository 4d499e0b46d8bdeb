#!/usr/bin/env bash
# Makes a virtual environment of pinned packages once:  environment.sh VENV REQUIREMENTS
set -euo pipefail

venv=$1 requirements=$2
if cmp -s "$requirements" "$venv/installed.txt"; then exit 0; fi
echo "conformance: installing $(grep -v '^#' "$requirements" | tr '\n' ' ')" >&2
if ! python3 -m venv "$venv"; then
    echo "conformance: python3 cannot make virtual environments; on Debian: apt-get install python3-venv" >&2
    exit 1
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check --prefer-binary -r "$requirements"
cp "$requirements" "$venv/installed.txt"
