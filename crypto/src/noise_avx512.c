/* 64 draws at a time; vpermb looks 64 octets up for 64 draws, for each of a column's 12 octets. Runs
 * only where avx512f, bw and vbmi were found. */
#include "noise_internal.h"

#include <immintrin.h>

enum { GROUP = 64, PLANES = 12, QUARTERS = 4 };

/* The 12 octets of the columns that lo + 64 hi name, an octet a lane. */
static inline void look_up(__m512i found[PLANES], const plmm_noise_table *t, __m512i lo, __m512i hi)
{
    for (size_t p = 0; p < PLANES; p++) {
        found[p] = _mm512_setzero_si512();
    }
    for (size_t g = 0; g < ((size_t)1 << t->log2) / GROUP; g++) {
        __mmask64 here = _mm512_cmpeq_epi8_mask(hi, _mm512_set1_epi8((char)g));
        for (size_t p = 0; p < PLANES; p++) {
            __m512i column = _mm512_load_si512(t->plane[p] + GROUP * g);
            found[p] = _mm512_mask_permutexvar_epi8(found[p], here, lo, column);
        }
    }
}

/* Four planes of octets into four vectors of words: the inverse of two steps of packing. */
static inline void unpack(__m512i out[QUARTERS], const __m512i b[4])
{
    __m512i lo01 = _mm512_unpacklo_epi8(b[0], b[1]), hi01 = _mm512_unpackhi_epi8(b[0], b[1]);
    __m512i lo23 = _mm512_unpacklo_epi8(b[2], b[3]), hi23 = _mm512_unpackhi_epi8(b[2], b[3]);
    out[0] = _mm512_unpacklo_epi16(lo01, lo23);
    out[1] = _mm512_unpackhi_epi16(lo01, lo23);
    out[2] = _mm512_unpacklo_epi16(hi01, hi23);
    out[3] = _mm512_unpackhi_epi16(hi01, hi23);
}

static inline __m512i add_draw(__m512i x, const uint32_t *w, __m512i a, __m512i b, __m512i c,
                               __m128i m, __m512i low, __m512i flip)
{
    const __m512i limb = _mm512_set1_epi32(0x7fffffff);
    __m512i w0 = _mm512_loadu_si512(w);
    __m512i x0 = _mm512_srl_epi32(_mm512_and_si512(w0, limb), m);
    __m512i x1 = _mm512_and_si512(_mm512_loadu_si512(w + 16), limb);
    __m512i x2 = _mm512_and_si512(_mm512_loadu_si512(w + 32), limb);
    __m512i borrow = _mm512_srai_epi32(_mm512_sub_epi32(x2, c), 31);
    borrow = _mm512_srai_epi32(_mm512_add_epi32(_mm512_sub_epi32(x1, b), borrow), 31);
    __m512i top = _mm512_srl_epi32(a, m);
    borrow = _mm512_srai_epi32(_mm512_add_epi32(_mm512_sub_epi32(x0, top), borrow), 31);
    /* where borrow: the column, else the alias */
    __m512i k = _mm512_and_si512(_mm512_ternarylogic_epi32(borrow, w0, a, 0xca), low);
    __m512i sign = _mm512_xor_si512(_mm512_srai_epi32(w0, 31), flip);
    return _mm512_add_epi32(x, _mm512_sub_epi32(_mm512_xor_si512(k, sign), sign));
}

void plmm__noise_avx512(int32_t *x, size_t blocks, const plmm_noise_table *t, const uint32_t *words,
                        int32_t flip)
{
    const __m512i low = _mm512_set1_epi32((1 << t->log2) - 1), flips = _mm512_set1_epi32(flip);
    const __m512i six = _mm512_set1_epi16(GROUP - 1);
    const __m128i m = _mm_cvtsi32_si128((int)t->log2);
    for (size_t i = 0; i < blocks; i++, x += NOISE_BLOCK, words += NOISE_BLOCK_WORDS) {
        __m512i index[QUARTERS], found[PLANES], a[QUARTERS], b[QUARTERS], c[QUARTERS];
        for (size_t q = 0; q < QUARTERS; q++) {
            index[q] = _mm512_and_si512(_mm512_loadu_si512(words + 48 * q), low);
        }
        __m512i front = _mm512_packus_epi32(index[0], index[1]);
        __m512i back = _mm512_packus_epi32(index[2], index[3]);
        __m512i lo = _mm512_packus_epi16(_mm512_and_si512(front, six), _mm512_and_si512(back, six));
        __m512i hi = _mm512_packus_epi16(_mm512_srli_epi16(front, 6), _mm512_srli_epi16(back, 6));
        look_up(found, t, lo, hi);
        unpack(a, found);
        unpack(b, found + 4);
        unpack(c, found + 8);
        for (size_t q = 0; q < QUARTERS; q++) {
            int32_t *to = x + NOISE_LANES * q;
            __m512i sum =
                add_draw(_mm512_loadu_si512(to), words + 48 * q, a[q], b[q], c[q], m, low, flips);
            _mm512_storeu_si512(to, sum);
        }
    }
}
