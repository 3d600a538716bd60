#!/bin/sh
# Compiles the AES paths for ARMv8 and runs them under qemu, held against the reference.
# Exits with 77 (skipped) and a sentence where the cross compiler or the emulator is missing.
# usage: armv8.sh SOURCE_DIR
set -eu
src=$1
for tool in aarch64-linux-gnu-gcc qemu-aarch64; do
    command -v $tool >/dev/null || {
        echo "skipped: $tool is not installed (tools/install-deps --tests)"
        exit 77
    }
done
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
aarch64-linux-gnu-gcc -std=c11 -D_POSIX_C_SOURCE=200809L -O2 -Wall -Wextra -Werror -Wno-psabi -march=armv8-a+crypto -static \
    -I"$src/base/core/include" -I"$src/crypto/include" -I"$src/crypto/src" -I"$src/tests/support" \
    "$src/tests/emulated/armv8.c" "$src/crypto/src/aes.c" "$src/crypto/src/aes_armv8.c" \
    "$src/crypto/src/aes_portable.c" "$src/crypto/src/mask_ref.c" "$src"/base/core/src/*.c -o "$out/armv8" -lm
qemu-aarch64 -cpu cortex-a57 "$out/armv8"
