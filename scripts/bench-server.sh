#!/usr/bin/env bash
# Measures the service beside nginx and Hummingbird in one run; writes the table into docs/PERFORMANCE.md.
#
# nginx, wrk and h2load come from Debian. Hummingbird is built in Benchmarks/HummingbirdPeer, a package of its own, the
# first time in five minutes; where it cannot be built the table has no column of it. The service is linked as in the
# image, in a folder of its own; VIVA names another executable.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
peer=$root/Benchmarks/HummingbirdPeer

packages=()
PATH=$PATH:/usr/sbin
command -v nginx >/dev/null || packages+=(nginx-light)
command -v wrk >/dev/null || packages+=(wrk)
command -v h2load >/dev/null || packages+=(nghttp2-client)
if [ ${#packages[@]} -ne 0 ]; then
    echo "bench-server: installing ${packages[*]}" >&2
    as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq >/dev/null
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" \
        >/dev/null
fi

hummingbird=()
if swift build -c release --package-path "$peer" >&2; then
    hummingbird=(--hummingbird "$peer/.build/release/Peer")
else
    echo "bench-server: Hummingbird could not be built here; the table has no column of it" >&2
fi
if [ -z "${VIVA:-}" ]; then
    image=(swift build -c release --product viva --static-swift-stdlib --package-path "$root"
        --scratch-path "$root/.build/image")
    "${image[@]}" >&2
    VIVA=$("${image[@]}" --show-bin-path)/viva
fi
python3 "$root/Benchmarks/server/bench_server.py" --viva "$VIVA" "${hummingbird[@]}" \
    --write "$root/docs/PERFORMANCE.md" "$@"
