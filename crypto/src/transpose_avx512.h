/* Rows to columns, for paths of AVX-512 that work on several messages at once. */
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

/* r[i] = word i (of 32 bits) of each of the former r[0..16). */
static inline void plmm__transpose16(__m512i r[16])
{
    __m512i p[16], q[16];
    for (size_t i = 0; i < 16; i += 2) {
        p[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        p[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (size_t i = 0; i < 16; i += 4) { /* q[i + c]: words c, 4 + c, .. of rows i .. i + 3 */
        q[i] = _mm512_unpacklo_epi64(p[i], p[i + 2]);
        q[i + 1] = _mm512_unpackhi_epi64(p[i], p[i + 2]);
        q[i + 2] = _mm512_unpacklo_epi64(p[i + 1], p[i + 3]);
        q[i + 3] = _mm512_unpackhi_epi64(p[i + 1], p[i + 3]);
    }
    for (size_t c = 0; c < 4; c++) {
        __m512i even0 = _mm512_shuffle_i32x4(q[c], q[4 + c], 0x88);
        __m512i odd0 = _mm512_shuffle_i32x4(q[c], q[4 + c], 0xdd);
        __m512i even1 = _mm512_shuffle_i32x4(q[8 + c], q[12 + c], 0x88);
        __m512i odd1 = _mm512_shuffle_i32x4(q[8 + c], q[12 + c], 0xdd);
        r[c] = _mm512_shuffle_i32x4(even0, even1, 0x88);
        r[8 + c] = _mm512_shuffle_i32x4(even0, even1, 0xdd);
        r[4 + c] = _mm512_shuffle_i32x4(odd0, odd1, 0x88);
        r[12 + c] = _mm512_shuffle_i32x4(odd0, odd1, 0xdd);
    }
}

#endif
