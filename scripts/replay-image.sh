#!/usr/bin/env bash
# Replays the Dockerfile where there is no Docker: its build steps on a clean clone (of what is committed), then the
# binary that it would ship, from a clean folder, as the image's user: health, one quantization, a clean end.
# VIVA_BUILD_PATH may name a build folder to reuse.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
server=
chmod 0755 "$work"

finish() {
    [ -z "$server" ] || kill -KILL "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

die() {
    echo "replay-image: $*" >&2
    exit 1
}

# A step of the Dockerfile, by its own words: a step that the Dockerfile no longer has is an error here.
step() {
    grep -qF -- "$1" "$root/Dockerfile" || die "the Dockerfile has no step: $1"
    echo "Dockerfile: $1"
}

echo "context: a clean clone of $(git -C "$root" rev-parse --short HEAD)"
[ -z "$(git -C "$root" status --porcelain)" ] || echo "replay-image: note: uncommitted changes are not part of it" >&2
git clone --quiet --no-hardlinks "$root" "$work/clone"
mkdir -p "$work/src" "$work/image"
cd "$work/src"

step "COPY Package.swift ./"
cp "$work/clone/Package.swift" .
step "swift package resolve"
swift package resolve
# Every other file that the build stage copies, as the Dockerfile lists them.
while read -r _ source _; do
    [ "$source" = Package.swift ] || { step "COPY $source"; cp -a "$work/clone/$source" .; }
done < <(grep '^COPY [^-]' "$root/Dockerfile")
rm -rf Tests/Fixtures
build=(swift build -c release --product viva --static-swift-stdlib)
step "${build[*]}"
scratch=${VIVA_BUILD_PATH:-$work/build}
"${build[@]}" --scratch-path "$scratch"
bin=$(swift build -c release --static-swift-stdlib --show-bin-path --scratch-path "$scratch")
install -D -m 0755 "$bin/viva" "$work/image/app/viva"
install -d -m 0750 "$work/image/data"

# What the image has: a plain Ubuntu and the libraries that the Dockerfile installs. No Swift.
linked=$(ldd "$work/image/app/viva" | awk '{print $1}' | sed 's|.*/||')
for library in $linked; do
    case $library in
        linux-vdso.so.* | ld-linux-*.so.* | libc.so.* | libm.so.* | libgcc_s.so.* | libstdc++.so.*) ;;
        libssl.so.* | libcrypto.so.* | libsqlite3.so.* | libz.so.*) ;;
        *) die "the binary wants $library, which the image does not have" ;;
    esac
done
# Loaded while running, so that ldd does not know it.
step "libopenblas0"
echo "binary: $(stat -c %s "$work/image/app/viva") bytes, wants only what the image has"

as_user=()
who="this user"
if [ "$(id -u)" -eq 0 ]; then
    step "USER 10001:10001"
    chown 10001:10001 "$work/image/data"
    as_user=(setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all)
    who="uid 10001"
fi
cd "$work/image/data"
viva() { "${as_user[@]}" env -i "$work/image/app/viva" "$@"; }

viva version
if timeout 10 "${as_user[@]}" env -i "$work/image/app/viva" serve --listen 0.0.0.0:0 --data "$PWD/refused" 2>/dev/null; then
    die "an open address was served without --auth none"
elif [ $? -eq 124 ]; then
    die "an open address without --auth none was not refused"
fi

step 'CMD ["serve", "--listen", "0.0.0.0:8080", "--data", "/data", "--auth", "none"]'
"${as_user[@]}" env -i "$work/image/app/viva" serve --listen 0.0.0.0:0 --data "$PWD" --auth none \
    --port-file "$PWD/port" 2>"$work/log" &
server=$!
for _ in $(seq 200); do
    [ -s port ] && break
    kill -0 "$server" 2>/dev/null || { tail -n 20 "$work/log" >&2; die "the service ended"; }
    sleep 0.05
done
[ -s port ] || die "the service is not listening"
port=$(tr -d '[:space:]' <port)

step 'HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["/app/viva", "healthcheck"]'
viva healthcheck --listen "127.0.0.1:$port"
curl -sS -f -X POST -T "$work/clone/Examples/minilm-layer0.safetensors" -H 'Accept: application/vnd.safetensors' \
    -D "$work/head" -o "$work/out.safetensors" "http://127.0.0.1:$port/v1/quantize?method=nf4"
digest=$(sha256sum <"$work/out.safetensors" | cut -d' ' -f1)
grep -qi "^etag: \"sha256-$digest\"" "$work/head" || die "the ETag is not the digest of the $(wc -c <"$work/out.safetensors") bytes"

step "STOPSIGNAL SIGTERM"
kill -TERM "$server"
wait "$server" || { tail -n 20 "$work/log" >&2; die "exit status $? after SIGTERM"; }
server=
echo "replayed: built, ran as $who, healthy, quantized sha256:$digest, stopped cleanly"
