#!/usr/bin/env bash
# Times the catalogue in a folder of its own on the disk of this checkout (a tmpfs would make every commit free).
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
swift build -c release --product catalogue-bench --package-path "$root"
folder=$(mktemp -d "$root/.build/catalogue-bench.XXXXXX")
trap 'rm -rf "$folder"' EXIT
"$root/.build/release/catalogue-bench" "$folder" "$@"
