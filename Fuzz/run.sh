#!/bin/sh
# Fuzzes every target, or those named, for FUZZ_SECONDS each (60), and says what was covered. docs/FUZZING.md.
# What was found interesting stays in Fuzz/.build/corpus and is where the next run begins.
set -eu
cd "$(dirname "$0")"
seconds=${FUZZ_SECONDS:-60}
targets=${*:-head chunks fields safetensors npy zip gguf json job}
swift build -c release --product fuzz
fuzz=$PWD/.build/release/fuzz
corpus=$PWD/.build/corpus
findings=$PWD/.build/findings
# Of the compiler's own version: others do not read its profiles.
tools=$(dirname "$(readlink -f "$(command -v swift)")")
mkdir -p "$findings"
python3 seeds.py .build/seeds
failed=0
for target in $targets; do
    mkdir -p "$corpus/$target"
    case $target in zip | gguf) longest=24000 ;; safetensors | npy | job) longest=5000 ;; *) longest=1200 ;; esac
    log=.build/$target.log
    # A report of lines from every input that is tried would cost more than the trying.
    if ! FUZZ_TARGET=$target LLVM_PROFILE_FILE=/dev/null "$fuzz" "$corpus/$target" ".build/seeds/$target" \
        -max_total_time="$seconds" -max_len=$longest -len_control=0 -dict=tokens.dict -timeout=5 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="$findings/$target-" >"$log" 2>&1; then
        failed=1
        echo "$target: a finding, see Fuzz/$log and Fuzz/.build/findings"
    fi
    awk -v target="$target" '/cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") edges = $(i + 1) }
        /number_of_executed_units/ { runs = $2 } /INITED|NEW|REDUCE/ { new = $1 } /new_units_added/ { added = $2 }
        END { printf "%s: %s runs, %s edges, %s inputs added, the last at run %s\n", target, runs, edges, added, new }' \
        "$log"
    FUZZ_TARGET=$target LLVM_PROFILE_FILE=.build/$target.profraw "$fuzz" -runs=0 "$corpus/$target" \
        ".build/seeds/$target" >>"$log" 2>&1
    "$tools/llvm-profdata" merge -sparse ".build/$target.profraw" -o ".build/$target.profdata"
    case $target in
        head) files="Wire/RequestHeadParser Wire/RequestTarget Wire/FieldFindings Wire/Authority" ;;
        chunks) files="Wire/ChunkedDecoder" ;;
        fields) files="Wire/ByteRange Wire/Conditions Wire/HTTPDate Wire/ContentDigest Wire/TraceContext
            Wire/ContentNegotiation" ;;
        safetensors) files="Tensors/SafetensorsParser Tensors/SafetensorsLayout Tensors/HeaderScanner
            Tensors/JSONStrings Tensors/HeaderParser" ;;
        npy) files="Tensors/NumpyParser Tensors/NumpyDescriptor" ;;
        zip) files="Zip/ZipArchive Zip/ZipDirectory" ;;
        gguf) files="GGUF/GGUFParser GGUF/GGUFCursor GGUF/GGUFHeader" ;;
        json) files="Tensors/JSONValue Tensors/JSONObjectText Tensors/JSONStrings" ;;
        job) files="Wire/JobOrder Jobs/JobRequest Recipe/RecipeOption Recipe/Recipe Recipe/Override" ;;
    esac
    for file in $files; do
        "$tools/llvm-cov" export -summary-only -instr-profile ".build/$target.profdata" "$fuzz" 2>/dev/null |
            python3 covered.py "$file"
    done
done
exit $failed
