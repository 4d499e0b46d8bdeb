#!/usr/bin/env bash
# Makes sure that what the build and the scripts need is here; installs Debian packages that are missing.
# Says nothing when all is present.
set -euo pipefail

if ! command -v swift >/dev/null; then
    echo "setup: Swift 6.2 or newer is not on the PATH. Install it first: https://www.swift.org/install/linux/" >&2
    exit 1
fi

# Each line: what must be there, then the package that brings it. Libraries are asked of pkg-config, as SwiftPM does.
missing() {
    local tool library
    for tool in curl python3 pkg-config; do
        command -v "$tool" >/dev/null || echo "$tool"
    done
    # Loaded while running, by this name.
    PATH=$PATH:/sbin:/usr/sbin ldconfig -p | grep -q 'libopenblas\.so\.0 ' || echo libopenblas0
    while read -r library package; do
        pkg-config --exists "$library" 2>/dev/null || echo "$package"
    done <<-'LIBRARIES'
		openssl libssl-dev
		zlib zlib1g-dev
		sqlite3 libsqlite3-dev
	LIBRARIES
}

mapfile -t packages < <(missing)
[ ${#packages[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
    echo "setup: missing ${packages[*]} (Debian's names), and there is no apt-get here. Install them your system's way." >&2
    exit 1
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "setup: missing packages; run as root: apt-get install ${packages[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi

echo "setup: installing ${packages[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq >/dev/null
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null

mapfile -t packages < <(missing)
if [ ${#packages[@]} -ne 0 ]; then
    echo "setup: still missing after the installation: ${packages[*]}" >&2
    exit 1
fi
