/* 32 draws at a time; vpshufb looks 16 octets up for 32 draws, and gives 0 where bit 7 of an index
 * is set: columns of other groups fall away. Runs only where avx2 was found. */
#include "noise_internal.h"

#include <immintrin.h>

enum { GROUP = 16, PLANES = 12, QUARTERS = 4, HALF = 6 };

/* Six octets of the columns that lo + 16 hi name, an octet a lane. */
static inline void look_up(__m256i found[HALF], const uint8_t *plane, size_t groups, __m256i lo,
                           __m256i hi)
{
    const __m256i top = _mm256_set1_epi8((char)0x80);
    const __m256i gone = _mm256_or_si256(lo, top);
    for (size_t p = 0; p < HALF; p++) {
        found[p] = _mm256_setzero_si256();
    }
    for (size_t g = 0; g < groups; g++) {
        __m256i here = _mm256_cmpeq_epi8(hi, _mm256_set1_epi8((char)g));
        __m256i pick = _mm256_xor_si256(gone, _mm256_and_si256(here, top));
        for (size_t p = 0; p < HALF; p++) {
            const uint8_t *column = plane + ((size_t)p << PLMM_NOISE_TABLE_LOG2_MAX) + GROUP * g;
            __m256i both = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)column));
            found[p] = _mm256_or_si256(found[p], _mm256_shuffle_epi8(both, pick));
        }
    }
}

/* Four planes of octets into four vectors of words: the inverse of two steps of packing. */
static inline void unpack(__m256i out[QUARTERS], const __m256i b[4])
{
    __m256i lo01 = _mm256_unpacklo_epi8(b[0], b[1]), hi01 = _mm256_unpackhi_epi8(b[0], b[1]);
    __m256i lo23 = _mm256_unpacklo_epi8(b[2], b[3]), hi23 = _mm256_unpackhi_epi8(b[2], b[3]);
    out[0] = _mm256_unpacklo_epi16(lo01, lo23);
    out[1] = _mm256_unpackhi_epi16(lo01, lo23);
    out[2] = _mm256_unpacklo_epi16(hi01, hi23);
    out[3] = _mm256_unpackhi_epi16(hi01, hi23);
}

static inline __m256i load(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

static inline __m256i add_draw(__m256i x, const uint32_t *w, __m256i a, __m256i b, __m256i c,
                               __m128i m, __m256i low, __m256i flip)
{
    const __m256i limb = _mm256_set1_epi32(0x7fffffff);
    __m256i w0 = load(w);
    __m256i x0 = _mm256_srl_epi32(_mm256_and_si256(w0, limb), m);
    __m256i x1 = _mm256_and_si256(load(w + 16), limb);
    __m256i x2 = _mm256_and_si256(load(w + 32), limb);
    __m256i borrow = _mm256_srai_epi32(_mm256_sub_epi32(x2, c), 31);
    borrow = _mm256_srai_epi32(_mm256_add_epi32(_mm256_sub_epi32(x1, b), borrow), 31);
    __m256i top = _mm256_srl_epi32(a, m);
    borrow = _mm256_srai_epi32(_mm256_add_epi32(_mm256_sub_epi32(x0, top), borrow), 31);
    __m256i k = _mm256_xor_si256(a, _mm256_and_si256(_mm256_xor_si256(a, w0), borrow));
    __m256i sign = _mm256_xor_si256(_mm256_srai_epi32(w0, 31), flip);
    k = _mm256_and_si256(k, low);
    return _mm256_add_epi32(x, _mm256_sub_epi32(_mm256_xor_si256(k, sign), sign));
}

/* Quarter q of 32 draws: 8 lanes of the first or second 16, whose words lie 48 further on. */
static inline const uint32_t *quarter(const uint32_t *words, size_t q)
{
    return words + 48 * (q / 2) + 8 * (q % 2);
}

void plmm__noise_avx2(int32_t *x, size_t blocks, const plmm_noise_table *t, const uint32_t *words,
                      int32_t flip)
{
    const __m256i low = _mm256_set1_epi32((1 << t->log2) - 1), flips = _mm256_set1_epi32(flip);
    const __m256i four = _mm256_set1_epi16(GROUP - 1);
    const __m128i m = _mm_cvtsi32_si128((int)t->log2);
    const size_t groups = ((size_t)1 << t->log2) / GROUP;
    for (size_t i = 0; i < 2 * blocks; i++, x += 32, words += 96) {
        __m256i index[QUARTERS], found[PLANES], a[QUARTERS], b[QUARTERS], c[QUARTERS];
        for (size_t q = 0; q < QUARTERS; q++) {
            index[q] = _mm256_and_si256(load(quarter(words, q)), low);
        }
        __m256i front = _mm256_packus_epi32(index[0], index[1]);
        __m256i back = _mm256_packus_epi32(index[2], index[3]);
        __m256i lo =
            _mm256_packus_epi16(_mm256_and_si256(front, four), _mm256_and_si256(back, four));
        __m256i hi = _mm256_packus_epi16(_mm256_srli_epi16(front, 4), _mm256_srli_epi16(back, 4));
        look_up(found, t->plane[0], groups, lo, hi);
        look_up(found + HALF, t->plane[HALF], groups, lo, hi);
        unpack(a, found);
        unpack(b, found + 4);
        unpack(c, found + 8);
        for (size_t q = 0; q < QUARTERS; q++) {
            __m256i *to = (__m256i *)(x + 8 * q);
            __m256i sum = add_draw(_mm256_loadu_si256(to), quarter(words, q), a[q], b[q], c[q], m,
                                   low, flips);
            _mm256_storeu_si256(to, sum);
        }
    }
}
