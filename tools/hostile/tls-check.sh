#!/usr/bin/env bash
# Has sslscan and testssl.sh look at a service with a self-signed certificate, and fails on what they find serious:
#   tools/hostile/tls-check.sh VIVA [--write PAGE]
# What a certificate that nobody signed cannot have (a chain, revocation, a public name) is not judged.
set -euo pipefail

viva=$1
page=${3:-}
for tool in sslscan testssl openssl curl; do
    command -v "$tool" >/dev/null || { echo "tls-check: $tool is missing: apt-get install sslscan testssl.sh openssl curl" >&2; exit 1; }
done
work=$(mktemp -d)
server=
stop() {
    local status=$?
    trap - EXIT
    if [ -n "$server" ]; then
        kill -TERM "$server" 2>/dev/null || true
        wait "$server" || true
    fi
    rm -rf "$work"
    exit "$status"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

make_certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 90 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
}
make_certificate
"$viva" serve --listen https://127.0.0.1:0 --data "$work/data" --port-file "$work/port" \
    --tls-cert "$work/cert.pem" --tls-key "$work/key.pem" 2>"$work/log" &
server=$!
for _ in $(seq 200); do
    [ -s "$work/port" ] && break
    sleep 0.05
done
[ -s "$work/port" ] || { cat "$work/log" >&2; exit 1; }
port=$(tr -d '[:space:]' <"$work/port")
curl -sfk -o "$work/answer" "https://127.0.0.1:$port/livez"

findings=0
judge() {
    echo "$1"
    findings=$((findings + 1))
}

sslscan --no-colour --no-check-certificate "127.0.0.1:$port" >"$work/sslscan"
for version in SSLv2 SSLv3 TLSv1.0 TLSv1.1; do
    grep -Eq "^$version +disabled" "$work/sslscan" || judge "sslscan: $version is not disabled"
done
for version in TLSv1.2 TLSv1.3; do
    grep -Eq "^$version +enabled" "$work/sslscan" || judge "sslscan: $version is not enabled"
done
if grep -Eq "^(Preferred|Accepted)" "$work/sslscan" && grep -E "^(Preferred|Accepted)" "$work/sslscan" \
    | grep -Evq "(GCM|CHACHA20|POLY1305)"; then judge "sslscan: a cipher without AEAD is accepted"; fi
grep -q "Session renegotiation not supported\|Secure session renegotiation supported" "$work/sslscan" \
    || judge "sslscan: insecure renegotiation"
if grep -q "Compression enabled" "$work/sslscan"; then judge "sslscan: compression is enabled"; fi
if grep "vulnerable to heartbleed" "$work/sslscan" | grep -qv "not vulnerable"; then judge "sslscan: heartbleed"; fi
ciphers=$(grep -cE "^(Preferred|Accepted)" "$work/sslscan")

# testssl.sh ends with a status of its own for warnings; the findings are read from its JSON.
testssl --quiet --color 0 --warnings off --fast --protocols --server-preference --fs --vulnerable --server-defaults \
    --jsonfile "$work/testssl.json" "127.0.0.1:$port" >"$work/testssl" 2>&1 || true
[ -s "$work/testssl.json" ] || { cat "$work/testssl" >&2; exit 1; }
python3 - "$work/testssl.json" >"$work/verdict" <<'PYTHON'
import collections
import json
import sys

# What no self-signed certificate has, and the age of the tool's lists. BREACH needs a secret in a compressed answer
# beside what an attacker chose: keys are in no answer of this service.
unjudged = ("BREACH", "cert_trust", "cert_chain_of_trust", "cert_crlDistributionPoints", "cert_ocspURL",
            "cert_revocation", "OCSP_stapling", "DNS_CAArecord", "certificate_transparency", "cert_caIssuers", "cert_notAfter",
            "cert_validityPeriod", "overall_grade", "cert_expirationStatus", "scanProblem", "engine_problem")
counts = collections.Counter()
serious = []
for finding in json.load(open(sys.argv[1])):
    counts[finding["severity"]] += 1
    if finding["severity"] in ("MEDIUM", "HIGH", "CRITICAL", "FATAL") and not finding["id"].startswith(unjudged):
        serious.append(f"testssl.sh: {finding['severity']} {finding['id']}: {finding['finding']}")
print(counts["OK"], counts["INFO"], counts["LOW"])
print("\n".join(serious))
PYTHON
read -r good info low <"$work/verdict"
while read -r line; do
    [ -z "$line" ] || judge "$line"
done < <(tail -n +2 "$work/verdict")

# A certificate that takes the place of the first one while a connection is open.
serial() { openssl s_client -connect "127.0.0.1:$port" </dev/null 2>/dev/null | openssl x509 -noout -serial; }
before=$(serial)
make_certificate
kill -HUP "$server"
for _ in $(seq 100); do
    [ "$(serial)" != "$before" ] && break
    sleep 0.05
done
[ "$(serial)" != "$before" ] || judge "the certificate was not read again on SIGHUP"

result="sslscan $(dpkg-query -W -f '${Version}' sslscan): TLS 1.2 and 1.3, $ciphers ciphers, all ECDHE with AEAD or those of \
TLS 1.3. testssl.sh $(dpkg-query -W -f '${Version}' testssl.sh): $good checks good, $info remarks, $low of low severity. \
$findings findings of medium severity or more (BREACH not counted: no answer holds a secret)."
echo "$result"
if [ -n "$page" ]; then
    python3 - "$page" "$result" <<'PYTHON'
import re
import sys
import textwrap
from pathlib import Path

page = Path(sys.argv[1])
text = textwrap.fill(sys.argv[2], 120)
page.write_text(re.sub(r"(<!-- tls-check:begin -->\n).*?(<!-- tls-check:end -->)",
                       lambda match: f"{match[1]}{text}\n{match[2]}", page.read_text(), flags=re.S))
PYTHON
fi
if [ "$findings" -gt 0 ]; then exit 1; fi
