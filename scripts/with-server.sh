#!/usr/bin/env bash
# Runs a command against a service of its own:  scripts/with-server.sh COMMAND [ARGUMENT ...]
#
# The service listens on a free loopback port and keeps its data in a folder that is removed afterwards; the command
# finds it in VIVA_URL, the process that serves in VIVA_PID. The service is stopped in any case; a service that does not stop cleanly is a failure.
# VIVA names another executable than .build/release/viva.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
viva=${VIVA:-$root/.build/release/viva}
[ -x "$viva" ] || { echo "with-server: $viva is not there; run: make build" >&2; exit 1; }

work=$(mktemp -d)
server=

stop() {
    local status=$?
    trap - EXIT
    if [ -n "$server" ]; then
        if kill -TERM "$server" 2>/dev/null; then
            for _ in $(seq 200); do
                kill -0 "$server" 2>/dev/null || break
                sleep 0.05
            done
            if kill -KILL "$server" 2>/dev/null; then
                echo "with-server: the service did not stop within 10 s of SIGTERM" >&2
                status=1
            fi
        fi
        if ! wait "$server"; then
            echo "with-server: the service ended badly; its last words:" >&2
            tail -n 20 "$work/log" >&2
            status=1
        fi
    fi
    rm -rf "$work"
    exit "$status"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

"$viva" serve --listen 127.0.0.1:0 --data "$work/data" --port-file "$work/port" 2>"$work/log" &
server=$!
for _ in $(seq 200); do
    [ -s "$work/port" ] && grep -q '"message":"listening"' "$work/log" && break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.05
done
[ -s "$work/port" ] || { echo "with-server: the service is not listening" >&2; exit 1; }

VIVA_URL="http://127.0.0.1:$(tr -d '[:space:]' <"$work/port")"
# The process that serves says so; the one started above watches over it.
VIVA_PID=$(sed -n 's/.*"message":"listening".*"pid":"\([0-9]*\)".*/\1/p' "$work/log" | tail -n 1)
export VIVA_URL VIVA_PID
"$@"
