#!/bin/sh
# Who may include which outside header, and which of our rooms (docs/architecture.md). The build already
# keeps our own headers apart by include path; this keeps the outside ones apart, and says so in a sentence.
# usage: includes.sh SOURCE_DIR
set -eu
cd "$1"
fail=0

# forbid ROOMS REGEX WHY: no #include matching REGEX below ROOMS.
forbid() {
    # shellcheck disable=SC2086 # rooms are words
    found=$(grep -rnE --include='*.[ch]' "^ *# *include [<\"]($2)" $1 |
        grep -vE '^base/core/src/alloc\.c:[0-9]+:#include <sys/mman\.h>' || true) # the heap's one door
    [ -z "$found" ] || {
        echo "$3:"
        echo "$found"
        fail=1
    }
}
system='time\.h|pthread\.h|threads\.h|unistd\.h|fcntl\.h|signal\.h|sys/|netinet/|arpa/|netdb\.h|dirent\.h'
forbid "base/core base/json nn/include crypto proto" "$system" "only base/os, the drivers and programs touch the system"
forbid "base nn sim/include proto/include" "sodium" "libsodium belongs to crypto"
forbid "base/core base/os crypto proto" "cjson/|cJSON" "JSON belongs to base/json"
forbid "base crypto proto client aggregator sim" "cblas" "BLAS belongs to nn"
forbid "base/core base/json base/os base/db crypto proto nn sim client aggregator" "nng/" "sockets belong to base/net"
forbid "base/core base/json base/os crypto proto nn" "sqlite3" "SQLite belongs to base/db and sim"
forbid "base crypto nn client aggregator sim" "pb\.h|pb_(en|de)code\.h|pb_common\.h" "nanopb belongs to proto"

# ours ROOM ALLOWED...: a room includes only headers that lie in itself or in the allowed rooms.
ours() {
    room=$1
    shift
    for header in $(grep -rhoE --include='*.[ch]' '^#include "plmm/[a-z0-9_]+\.h"' "$room" | sed 's/.*"\(.*\)"/\1/' | sort -u); do
        ok=0
        for r in "$room" "$@"; do
            [ ! -f "$r/include/$header" ] || ok=1
        done
        [ $ok = 1 ] || {
            echo "$room may not include $header (it may use: $*):"
            grep -rn --include='*.[ch]' "#include \"$header\"" "$room"
            fail=1
        }
    done
}
ours base/core
ours base/json base/core
ours base/os base/core
ours base/db base/core
ours base/net base/core
ours nn base/core base/json base/os
ours crypto base/core
ours proto base/core crypto
ours client base/core base/json base/os base/db base/net nn crypto proto
ours aggregator base/core base/json base/os base/db base/net nn crypto proto
ours sim base/core base/json base/os base/db base/net nn crypto proto client aggregator
exit $fail
