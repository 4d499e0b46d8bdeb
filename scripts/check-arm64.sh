#!/usr/bin/env bash
# The C kernels as clang for 64-bit ARM sees them: everything outside of the x86-64 guards must compile.
set -euo pipefail

cd "$(dirname "$0")/../Sources/CKernels"
for file in *.c; do
    clang --target=aarch64-linux-gnu -std=c17 -Wall -Wextra -Werror -ffreestanding -fsyntax-only -Iinclude "$file"
done
echo "check-arm64: $(ls ./*.c | wc -l) files compile for aarch64"
