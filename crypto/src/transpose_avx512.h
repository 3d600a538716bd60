/* Rows to columns, for paths of AVX-512. */
#ifndef PLMM_TRANSPOSE_AVX512_H
#define PLMM_TRANSPOSE_AVX512_H

#include <immintrin.h>
#include <stddef.h>

/* m[i] = word i (of 64 bits) of each of r[0..8). */
static inline void plmm__transpose8(__m512i m[8], const __m512i r[8])
{
    __m512i p[8], q[8];
    for (size_t l = 0; l < 8; l += 2) { /* words of the same place in pairs of rows */
        p[l] = _mm512_unpacklo_epi64(r[l], r[l + 1]);
        p[l + 1] = _mm512_unpackhi_epi64(r[l], r[l + 1]);
    }
    for (size_t odd = 0; odd < 2; odd++) { /* of four rows; words 0, 4 and 2, 6 (or one more) */
        q[odd] = _mm512_shuffle_i64x2(p[odd], p[2 + odd], 0x88);
        q[2 + odd] = _mm512_shuffle_i64x2(p[odd], p[2 + odd], 0xdd);
        q[4 + odd] = _mm512_shuffle_i64x2(p[4 + odd], p[6 + odd], 0x88);
        q[6 + odd] = _mm512_shuffle_i64x2(p[4 + odd], p[6 + odd], 0xdd);
    }
    for (size_t odd = 0; odd < 2; odd++) {
        m[0 + odd] = _mm512_shuffle_i64x2(q[odd], q[4 + odd], 0x88);
        m[4 + odd] = _mm512_shuffle_i64x2(q[odd], q[4 + odd], 0xdd);
        m[2 + odd] = _mm512_shuffle_i64x2(q[2 + odd], q[6 + odd], 0x88);
        m[6 + odd] = _mm512_shuffle_i64x2(q[2 + odd], q[6 + odd], 0xdd);
    }
}

#endif
