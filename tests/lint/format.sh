#!/bin/sh
# Every C file of ours is formatted by .clang-format (generated nanopb files excepted).
# usage: format.sh SOURCE_DIR
set -eu
cd "$1"
tool=$(command -v clang-format-14 || command -v clang-format) || {
    echo "clang-format is missing; run tools/install-deps --tests" >&2
    exit 1
}
find base nn crypto proto client aggregator sim tests benchmarks -name '*.[ch]' ! -name '*.pb.[ch]' -print0 |
    xargs -0 -r "$tool" --dry-run --Werror
