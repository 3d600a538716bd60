#!/bin/sh
# Calls that are wrong wherever they stand, and calls that are wrong in some rooms.
# usage: banned.sh SOURCE_DIR
set -eu
cd "$1"
rooms="base nn crypto proto client aggregator sim"
out=$(
    # shellcheck disable=SC2086 # rooms are words
    {
        # unbounded, locale-bound or unseeded
        grep -rnE --include='*.[ch]' '\b(rand|srand|random|drand48|strcpy|strcat|strncpy|sprintf|vsprintf|strtok|gets|atoi|atof|atol|alloca|tmpnam|mktemp|system)\(' $rooms || true
        # the heap has one door
        grep -rnE --include='*.[ch]' '\b(malloc|calloc|realloc|free|posix_memalign|aligned_alloc|strdup|strndup)\(' $rooms |
            grep -vE '^base/core/src/alloc\.c|^base/json/src/|plmm_(free|strdup)' || true
        # secrets are compared by plmm_equal / sodium_memcmp
        grep -rnE --include='*.[ch]' '\bmemcmp\(' crypto/src || true
        # libraries return a status; only programs print or exit
        grep -rnE --include='*.[ch]' '\b(exit|_exit|abort|printf|puts|putchar)\(|fprintf\((stdout|stderr)' base/json base/core nn/src crypto proto |
            grep -vE '^base/core/src/status\.c|/main\.c|/cli_|/verb_|/program/|_?snprintf\(' || true
        # seeded randomness never decides in a deployed program
        grep -rnE --include='*.[ch]' 'plmm_rng_init\(' crypto proto aggregator || true
        grep -rnE --include='*.[ch]' '"--?seed"' client aggregator || true
    }
)
[ -z "$out" ] || { echo "$out"; exit 1; }
