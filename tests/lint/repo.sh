#!/bin/sh
# The tree ships nothing it should not: no large file but the base model, no build product, and every script is
# executable and parses.
# usage: repo.sh SOURCE_DIR
set -eu
cd "$1"
fail=0
big=$(find . -path ./build -prune -o -path ./.git -prune -o -path ./models -prune -o -path ./out -prune -o -type f -size +600k -print)
[ -z "$big" ] || { echo "over 600 KiB:" $big; fail=1; }
for script in quickstart runtests .ci/run tools/* tests/lint/*.sh; do
    [ -f "$script" ] || continue
    head -n 1 "$script" | grep -q '^#!/bin/sh' || continue
    sh -n "$script" || fail=1
    [ -x "$script" ] || { echo "$script is not executable"; fail=1; }
done
if [ -d models/base ]; then
    bytes=$(du -sb models/base | cut -f1)
    [ "$bytes" -le 4600000 ] || { echo "models/base holds $bytes bytes, at most 4 MB of weights and a tokenizer are allowed"; fail=1; }
fi
exit $fail
