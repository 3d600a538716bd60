#!/bin/sh
# Compiles the kernels of nn/ for ARMv8, where the portable source becomes NEON, and runs their property
# test under qemu. Exits with 77 (skipped) and a sentence where the cross compiler or the emulator is missing.
# usage: kernels_armv8.sh SOURCE_DIR
set -eu
src=$1
for tool in aarch64-linux-gnu-gcc aarch64-linux-gnu-objdump qemu-aarch64; do
    command -v $tool >/dev/null || {
        echo "skipped: $tool is not installed (tools/install-deps --tests)"
        exit 77
    }
done
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
flags="-std=c11 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -Werror -Wno-psabi
    -I$src/nn/include -I$src/nn/src -I$src/base/core/include -I$src/tests/support"
# shellcheck disable=SC2086 # words
aarch64-linux-gnu-gcc $flags -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math \
    -c "$src/nn/src/kernels_baseline.c" -o "$out/kernels.o"
# shellcheck disable=SC2086
aarch64-linux-gnu-gcc $flags -O2 -static "$src/tests/property/prop_kernels.c" "$src/nn/src/kernels.c" \
    "$src/nn/src/kernels_ref.c" "$src/nn/src/quant.c" "$src/nn/src/numbers.c" "$src"/base/core/src/*.c "$out/kernels.o" \
    -o "$out/test" -lm
aarch64-linux-gnu-objdump -d "$out/kernels.o" | grep -q 'fmla.*v[0-9]*\.4s' || {
    echo "the products are not vectors of fused multiply-adds"
    exit 1
}
qemu-aarch64 -cpu cortex-a57 "$out/test"
