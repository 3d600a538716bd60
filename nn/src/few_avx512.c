/* Few rows on AVX-512 with VNNI. Two blocks of 32 weights fill a vector; a dot product of bytes
 * takes unsigned ones on one side, so weights are moved up to 0.. and `less` takes that back. Lanes
 * 0..7 belong to the first block, 8..15 to the second. */
#include <immintrin.h>
#include <string.h>

#include "few.h"

enum { TILE = 4 }; /* rows of weights that share what is loaded of x */

#define INLINE static inline __attribute__((always_inline))

/* Two binary16 numbers, of this block and the next, in lanes 0 and 1. */
INLINE __m128 scales(const uint8_t *a, const uint8_t *b)
{
    uint16_t x, y;
    memcpy(&x, a, 2);
    memcpy(&y, b, 2);
    return _mm_cvtph_ps(_mm_insert_epi16(_mm_cvtsi32_si128(x), y, 1));
}

INLINE __m512i bytes_q8(const uint8_t *a, const uint8_t *b)
{
    __m256i lo = _mm256_loadu_si256((const __m256i *)(const void *)(a + 2));
    __m256i hi = _mm256_loadu_si256((const __m256i *)(const void *)(b + 2));
    return _mm512_xor_si512(_mm512_inserti64x4(_mm512_castsi256_si512(lo), hi, 1),
                            _mm512_set1_epi8((char)-128));
}

/* Low nibbles, then high ones. */
INLINE __m512i bytes_q4(const uint8_t *a, const uint8_t *b)
{
    __m128i lo = _mm_loadu_si128((const __m128i *)(const void *)(a + 2));
    __m128i hi = _mm_loadu_si128((const __m128i *)(const void *)(b + 2));
    __m512i both =
        _mm512_castsi256_si512(_mm256_inserti128_si256(_mm256_castsi128_si256(lo), hi, 1));
    both = _mm512_shuffle_i64x2(both, both, 0x50);
    both = _mm512_srlv_epi64(both, _mm512_set_epi64(4, 4, 0, 0, 4, 4, 0, 0));
    return _mm512_and_si512(both, _mm512_set1_epi8(15));
}

/* One block and the next of a row of x. */
typedef struct pair {
    __m512i q, less;
    __m128 scale;
} pair;

INLINE pair load_pair(const plmm__few_x *x, size_t at, bool two)
{
    __mmask16 lanes = two ? 0xFFFF : 0xFF;
    return (pair){_mm512_maskz_loadu_epi32(lanes, x->q + at * 32),
                  _mm512_maskz_loadu_epi32(lanes, x->less + at * 8),
                  _mm_maskz_loadu_ps((__mmask8)(two ? 3 : 1), x->scale + at)};
}

/* sum += scale * (w . x) */
INLINE __m512 add_pair(__m512 sum, __m512i w, __m128 scale, const pair *x)
{
    const __m512i first = _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
    __m512 dot = _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(x->less, w, x->q));
    __m512 by = _mm512_castps128_ps512(_mm_mul_ps(x->scale, scale));
    return _mm512_fmadd_ps(dot, _mm512_permutexvar_ps(first, by), sum);
}

/* The sums of the lanes of four vectors, each in the same order. */
INLINE __m128 reduce(__m512 a, __m512 b, __m512 c, __m512 d)
{
    __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    __m512d x = _mm512_castps_pd(ab), y = _mm512_castps_pd(cd);
    __m512 all = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)),
                               _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

INLINE __m512i bytes_of(plmm__quant kind, const uint8_t *a, const uint8_t *b)
{
    return kind == PLMM__Q8_0 ? bytes_q8(a, b) : bytes_q4(a, b);
}

/* `tall` rows of w by `rows` of x, tall * rows <= 8, both known when this is compiled. */
INLINE void tile(plmm__quant kind, size_t tall, size_t rows, const uint8_t *w, size_t row_bytes,
                 const plmm__few_x *x, float *y, size_t ldy, bool accumulate)
{
    const size_t bytes = kind == PLMM__Q8_0 ? PLMM__Q8_BYTES : PLMM__Q4_BYTES;
    __m512 sum[PLMM__FEW + TILE];
    for (size_t i = 0; i < PLMM__FEW + TILE; i++) {
        sum[i] = _mm512_setzero_ps();
    }
    for (size_t b = 0; b < x->blocks; b += 2) {
        bool two = b + 1 < x->blocks;
        pair p[PLMM__FEW];
        for (size_t r = 0; r < rows; r++) {
            p[r] = load_pair(x, r * x->blocks + b, two);
        }
        for (size_t t = 0; t < tall; t++) {
            const uint8_t *at = w + t * row_bytes + b * bytes, *next = two ? at + bytes : at;
            __m512i v = bytes_of(kind, at, next);
            __m128 scale = scales(at, next);
            for (size_t r = 0; r < rows; r++) {
                sum[r * tall + t] = add_pair(sum[r * tall + t], v, scale, &p[r]);
            }
        }
    }
    for (size_t i = 0; i < tall * rows; i += TILE) {
        float four[TILE];
        _mm_storeu_ps(four, reduce(sum[i], sum[i + 1], sum[i + 2], sum[i + 3]));
        for (size_t j = 0; j < TILE && i + j < tall * rows; j++) {
            float *out = y + (i + j) / tall * ldy + (i + j) % tall;
            *out = accumulate ? *out + four[j] : four[j];
        }
    }
}

/* All rows of w by `rows` of x. */
INLINE void run(plmm__quant kind, size_t tall, size_t rows, const uint8_t *w, size_t row_bytes,
                size_t out, const plmm__few_x *x, float *y, size_t ldy, bool accumulate)
{
    size_t n = 0;
    for (; n + tall <= out; n += tall) {
        tile(kind, tall, rows, w + n * row_bytes, row_bytes, x, y + n, ldy, accumulate);
    }
    for (; n < out; n++) {
        tile(kind, 1, rows, w + n * row_bytes, row_bytes, x, y + n, ldy, accumulate);
    }
}

/* The number of rows is known in each case, so that sums stay in registers. */
INLINE void choose(plmm__quant kind, const uint8_t *w, size_t row_bytes, size_t out,
                   const plmm__few_x *x, float *y, size_t ldy, bool accumulate)
{
#define CASE(rows, tall)                                                                           \
    case rows:                                                                                     \
        run(kind, tall, rows, w, row_bytes, out, x, y, ldy, accumulate);                           \
        break;
    switch (x->rows) {
        CASE(1, 4)
        CASE(2, 4)
        CASE(3, 2)
        CASE(4, 2)
        CASE(5, 1)
        CASE(6, 1)
        CASE(7, 1)
        CASE(8, 1)
    default:
        break;
    }
#undef CASE
}

static void rows_q8(const uint8_t *w, size_t row_bytes, size_t out, const plmm__few_x *x, float *y,
                    size_t ldy, bool accumulate)
{
    choose(PLMM__Q8_0, w, row_bytes, out, x, y, ldy, accumulate);
}

static void rows_q4(const uint8_t *w, size_t row_bytes, size_t out, const plmm__few_x *x, float *y,
                    size_t ldy, bool accumulate)
{
    choose(PLMM__Q4_0, w, row_bytes, out, x, y, ldy, accumulate);
}

const plmm__few_kernels plmm__few_avx512 = {rows_q8, rows_q4};
