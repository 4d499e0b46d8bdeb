#!/usr/bin/env bash
# Has vLLM load our folders and generate a token, on the CPU. vLLM lives in .venv-vllm, made once (about 3.5 GB, wheels
# from PyPI); the folders are made and first checked by folders.py in .venv-conformance.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tools/conformance
export VIVA=${VIVA:-$root/.build/release/viva}

"$here/environment.sh" "$root/.venv-conformance" "$here/requirements.txt" "$here/requirements-bare.txt"
"$here/environment.sh" "$root/.venv-vllm" "$here/requirements-vllm.txt" "$here/requirements-vllm-bare.txt"
# Text models need none of these, and beside a CPU build of torch they do not load.
"$root/.venv-vllm/bin/pip" uninstall --quiet --yes torchvision torchaudio torchcodec 2>/dev/null
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$root/.venv-conformance/bin/python" "$here/folders.py" "$work" llama qwen3 2>"$work/log" ||
    { tail -n 40 "$work/log" >&2; exit 1; }
"$root/.venv-vllm/bin/python" "$here/engine.py" "$work" 2>"$work/log" || { tail -n 40 "$work/log" >&2; exit 1; }
