/* bulk_impl.h for AVX-512: eight leaves. */
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

/* Rows to columns: eight words of eight messages. */
static inline void transpose(V m[8], const uint8_t *const *in, size_t at)
{
    __m512i r[8], p[8], q[8];
    for (size_t l = 0; l < 8; l++) {
        r[l] = _mm512_loadu_si512(in[l] + at);
    }
    for (size_t l = 0; l < 8; l += 2) { /* words of the same place in pairs of messages */
        p[l] = _mm512_unpacklo_epi64(r[l], r[l + 1]);
        p[l + 1] = _mm512_unpackhi_epi64(r[l], r[l + 1]);
    }
    for (size_t odd = 0; odd < 2; odd++) { /* of four messages; words 0, 4 and 2, 6 (or one more) */
        q[odd] = _mm512_shuffle_i64x2(p[odd], p[2 + odd], 0x88);
        q[2 + odd] = _mm512_shuffle_i64x2(p[odd], p[2 + odd], 0xdd);
        q[4 + odd] = _mm512_shuffle_i64x2(p[4 + odd], p[6 + odd], 0x88);
        q[6 + odd] = _mm512_shuffle_i64x2(p[4 + odd], p[6 + odd], 0xdd);
    }
    for (size_t odd = 0; odd < 2; odd++) {
        m[0 + odd] = (V)_mm512_shuffle_i64x2(q[odd], q[4 + odd], 0x88);
        m[4 + odd] = (V)_mm512_shuffle_i64x2(q[odd], q[4 + odd], 0xdd);
        m[2 + odd] = (V)_mm512_shuffle_i64x2(q[2 + odd], q[6 + odd], 0x88);
        m[6 + odd] = (V)_mm512_shuffle_i64x2(q[2 + odd], q[6 + odd], 0xdd);
    }
}

static inline void load_block(V m[16], const uint8_t *const *in, size_t at)
{
    transpose(m, in, at);
    transpose(m + 8, in, at + 64);
}

#include "bulk_impl.h"
