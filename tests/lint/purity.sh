#!/bin/sh
# What a library may import. A protocol party that can reach a clock, a file or a socket is no longer the
# machine that the simulator and the fuzzer drive; a room with hidden randomness cannot be replayed.
# usage: purity.sh LIBRARY proto|crypto
set -eu
runtime='_GLOBAL_OFFSET_TABLE_|__stack_chk_fail|__popcount.i2|__(asan|ubsan|tsan|sanitizer|sancov|gcov|llvm|odr_asan)_.*|__gcov.*|__assert_fail|__sanitizer.*'
memory='memcpy|memmove|memset|memcmp|mem(chr)?|strlen|strcmp|strncmp|strnlen|__mem.*_chk|__str.*_chk'
text='v?snprintf|__v?snprintf_chk|__isoc99_.*'
cpu='__cpu_model|__cpu_indicator_init|getauxval' # which instructions there are, never what time it is
math='exp|log|log2|exp2|expm1|log1p|lgamma|lgamma_r|ceil|floor|sqrt|fabs|pow|signgam|lround|llround|rint|nearbyint|round|ldexp|frexp|fmin|fmax|isfinite|erfc|fmod|sin|cos|sincos|__(ceil|floor)'
case "$2" in
proto) allowed="plmm_.*|pb_.*|qsort|bsearch|$memory|$math|$text|$runtime" ;;
crypto) allowed="plmm_.*|$cpu|sodium_(mem.*|init|is_zero|add|compare|increment|malloc|free|mprotect_.*)|crypto_.*|randombytes_buf|$memory|$math|$text|$runtime" ;;
*)
    echo "purity.sh: unknown room '$2', expected proto or crypto" >&2
    exit 2
    ;;
esac
bad=$(nm --undefined-only --format=posix "$1" | awk '$2 == "U" {print $1}' | sort -u | grep -vxE "($allowed)" || true)
if [ -n "$bad" ]; then
    echo "$1 may not import:" $bad
    exit 1
fi
# The system's randomness enters through one door, which machines never open.
if [ "$2" = proto ] && nm --undefined-only --format=posix "$1" | grep -qE 'randombytes|plmm_seed_system|plmm_.*_from_system'; then
    echo "$1 draws randomness of its own; it must come in with an event"
    exit 1
fi
