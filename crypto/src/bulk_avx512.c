/* bulk_impl.h for AVX-512: eight leaves. */
#include "transpose_avx512.h"

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define LANES       8
#define BULK_LEAVES plmm__bulk_avx512
typedef uint64_t V __attribute__((vector_size(64)));

static inline V rotate32(V x)
{
    return (V)_mm512_ror_epi64((__m512i)x, 32);
}

static inline V rotate24(V x)
{
    return (V)_mm512_ror_epi64((__m512i)x, 24);
}

static inline V rotate16(V x)
{
    return (V)_mm512_ror_epi64((__m512i)x, 16);
}

static inline V rotate63(V x)
{
    return (V)_mm512_ror_epi64((__m512i)x, 63);
}

static inline void load_words(V m[8], const uint8_t *const *in, size_t at)
{
    __m512i r[8], columns[8];
    for (size_t l = 0; l < 8; l++) {
        r[l] = _mm512_loadu_si512(in[l] + at);
    }
    plmm__transpose8(columns, r);
    for (size_t w = 0; w < 8; w++) {
        m[w] = (V)columns[w];
    }
}

static inline void load_block(V m[16], const uint8_t *const *in, size_t at)
{
    load_words(m, in, at);
    load_words(m + 8, in, at + 64);
}

#include "bulk_impl.h"
