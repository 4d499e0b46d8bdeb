#!/usr/bin/env bash
# The main job on real weights: quantize over HTTP, download, verify, and read the report.
# Wants a running service in VIVA_URL; `make demo` starts one.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
url=${VIVA_URL:?run "make demo", or set VIVA_URL to a running service}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

die() {
    echo "demo: $*" >&2
    exit 1
}

# field NAME: one member of the artifact JSON.
field() {
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$work/artifact.json" "$1"
}

# fetch EXPECTED-STATUS CURL-ARGUMENT ...
fetch() {
    local expected=$1 status
    shift
    status=$(curl -sS -w '%{http_code}' "$@") || die "curl failed: $*"
    [ "$status" = "$expected" ] && return
    [ -s "$work/artifact.json" ] && cat "$work/artifact.json" >&2
    die "status $status where $expected was due: $*"
}

# walk FILE QUERY: from the weights to the verified artifact and its report.
walk() {
    local file=$1 query=$2 id digest etag size got
    printf '\n$ curl -X POST -T %s '\''%s/v1/quantize?%s'\''\n' "${file#"$root"/}" "$url" "$query"
    fetch 201 -X POST -T "$file" -o "$work/artifact.json" "$url/v1/quantize?$query"
    id=$(field id) digest=$(field digest) size=$(field bytes)
    printf '201  %s -> %s bytes; the quantized weights: %.2fx smaller than FP32, %s bits each\n' \
        "$(wc -c <"$file")" "$size" "$(field compression_ratio_fp32)" "$(field bits_per_weight)"

    fetch 200 -o "$work/out" -D "$work/head" "$url/v1/artifacts/$id/content"
    got=$(sha256sum <"$work/out" | cut -d' ' -f1)
    [ "sha256:$got" = "$digest" ] || die "the bytes have sha256:$got, the artifact says $digest"
    [ "$(wc -c <"$work/out")" = "$size" ] || die "the download is not $size bytes"
    etag=$(sed -n 's/\r$//; s/^[Ee][Tt][Aa][Gg]: //p' "$work/head")
    [ "$etag" = "\"sha256-$got\"" ] || die "the ETag is $etag"
    fetch 206 -r 1000-4999 -H "If-Range: $etag" -o "$work/part" "$url/v1/artifacts/$id/content"
    cmp -s "$work/part" <(tail -c +1001 "$work/out" | head -c 4000) || die "the range holds other bytes than the whole"
    fetch 304 -H "If-None-Match: $etag" -o /dev/null "$url/v1/artifacts/$id/content"
    fetch 200 -I -o /dev/null "$url/v1/artifacts/$id/content"
    fetch 200 -X POST -T "$file" -o "$work/again.json" "$url/v1/quantize?$query"
    fetch 200 -X POST -T "$file" -H 'Accept: application/vnd.safetensors' -o "$work/inline" "$url/v1/quantize?$query"
    cmp -s "$work/inline" "$work/out" || die "the one-shot answer holds other bytes than the download"
    printf 'downloaded: digest, ETag, range, 304, HEAD and the one-shot answer agree; the same request again: the same artifact\n\n'

    fetch 200 -o "$work/report.json" "$url/v1/artifacts/$id/report"
    python3 "$root/scripts/print-report.py" "$work/report.json"
}

fetch 200 -o /dev/null "$url/readyz"
walk "$root/Examples/minilm-layer0.safetensors" method=nf4
walk "$root/Examples/minilm-layer0.safetensors" method=int8
walk "$root/Examples/awq-layer.safetensors" method=awq

printf '\n$ curl '\''%s/v1/plan?parameters=13B&gpu=rtx-4090'\''\n' "$url"
fetch 200 -o "$work/plan.json" "$url/v1/plan?parameters=13B&gpu=rtx-4090"
python3 -m json.tool "$work/plan.json"

printf '\nThe scoreboard\n\n'
python3 "$root/scripts/scoreboard.py"
