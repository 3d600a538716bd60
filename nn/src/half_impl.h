/* half_impl.h -- what the kinds of half.h share. */
#include <immintrin.h>
#include <string.h>

#include "half.h"

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* The first n of 16 lanes. */
static inline __mmask16 first(size_t n)
{
    return (__mmask16)(n >= 16 ? 0xffffu : (1u << n) - 1u);
}

/* 16 numbers of a row of c: the first n of them are there. */
INLINE void add_to(float *c, __m512 x, size_t n, bool accumulate)
{
    __mmask16 there = first(n);
    if (accumulate) {
        x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(there, c));
    }
    _mm512_mask_storeu_ps(c, there, x);
}

INLINE size_t columns_from(size_t n, size_t j)
{
    return n > j ? n - j : 0;
}
