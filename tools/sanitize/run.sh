#!/bin/sh
# The tests under AddressSanitizer and ThreadSanitizer: `make sanitize`, docs/FUZZING.md.
#   run.sh [address|thread|release [FILTER]]; without a filter, the suites of modules that share memory or hold C memory,
#   and of `release`, the optimised executable under AddressSanitizer, those that drive it.
set -eu
cd "$(dirname "$0")/../.."
wanted=${1:-address thread release}
# Without those whose children have bounded memory (RLIMIT_DATA), in which a sanitizer's shadow finds no room.
filter=${2:-(Tensors|HTTPWire|OpenSSL|Compression|HTTPServer|ArtifactStore|Catalogue|Observability|Jobs)Tests}
driving=${2:-EndToEndTests.(Attack|BadInput|Compare|InputFormat|Key|Listening|Page|Planning|Restore|Serving|Upload)Tests}
failed=0
for sanitizer in $wanted; do
    if [ "$sanitizer" = release ]; then
        # The optimizer has its own mistakes: what debug builds keep alive it once freed too early.
        swift build -c release --product viva --sanitize=address --scratch-path .build-release
        swift build --build-tests
        ASAN_OPTIONS=detect_leaks=0 VIVA_UNDER_TEST="$PWD/.build-release/release/viva" \
            swift test --skip-build --filter "$driving" || failed=1
        continue
    fi
    folder=.build-$sanitizer
    swift build --build-tests --sanitize="$sanitizer" --scratch-path "$folder"
    # Reports go to files: a test that starts a process would swallow what it says.
    rm -f "$folder"/report.*
    case $sanitizer in
        address)
            # What Swift's runtime keeps for the life of the process is no leak of ours, and LeakSanitizer cannot tell.
            export ASAN_OPTIONS="detect_leaks=0:log_path=$PWD/$folder/report" ;;
        thread)
            clang -O1 -shared -fPIC tools/sanitize/mutex-edges.c -o "$folder/mutex-edges.so"
            export TSAN_OPTIONS="log_path=$PWD/$folder/report" ;;
    esac
    LD_PRELOAD=$([ "$sanitizer" = thread ] && echo "$PWD/$folder/mutex-edges.so") \
        swift test --skip-build --sanitize="$sanitizer" --scratch-path "$folder" --no-parallel --filter "$filter" ||
        failed=1
    for report in "$folder"/report.*; do
        [ -e "$report" ] || continue
        failed=1
        grep -h -A 12 'WARNING: \|ERROR: ' "$report" | head -200
    done
done
exit $failed
