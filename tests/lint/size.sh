#!/bin/sh
# No function of the rooms is longer than 70 lines, but for those named here with the reason.
# usage: size.sh SOURCE_DIR
set -eu
cd "$1"
command -v ctags >/dev/null || {
    echo "ctags is missing; run tools/install-deps --tests" >&2
    exit 1
}
# name            why one piece reads better
allow='^$'
long=$(find base nn crypto proto client aggregator sim -name '*.c' ! -name '*.pb.c' |
    ctags -L - --languages=C --kinds-C=f --fields=+ne --output-format=json -f - |
    sed -n 's/.*"name": "\([^"]*\)", "path": "\([^"]*\)".*"line": \([0-9]*\).*"end": \([0-9]*\).*/\1 \2 \3 \4/p' |
    awk '{n = $4 - $3 + 1; if (n > 70) printf "%s (%s:%s) has %d lines, at most 70 are allowed\n", $1, $2, $3, n}' |
    grep -vE "$allow" || true)
[ -z "$long" ] || { echo "$long"; exit 1; }
