/* Stochastic rounding and sums of squares with AVX2, four doubles at a time. */
#include "round_internal.h"

#include <immintrin.h>

static inline __m256d wide(const plmm__float *v)
{
    return _mm256_cvtps_pd(_mm_loadu_ps((const float *)v));
}

/* Without integers of 64 bits: C = ceil(2^32 y) less 2^32 floor(2^-32 C) is exact, being a difference
 * of multiples of C's last place, and above the word if and only if the lane goes up. */
static inline __m128i round_four(const plmm__float *v, const uint32_t *words, __m256d factor,
                                 __m256d most)
{
    const __m256d two32 = _mm256_set1_pd(0x1p32), one = _mm256_set1_pd(1);
    const __m256d least = _mm256_xor_pd(most, _mm256_set1_pd(-0.0));
    __m256d y = _mm256_min_pd(_mm256_mul_pd(wide(v), factor), most);
    __m256d c = _mm256_ceil_pd(_mm256_mul_pd(_mm256_max_pd(y, least), two32));
    __m256d down = _mm256_floor_pd(_mm256_mul_pd(c, _mm256_set1_pd(0x1p-32)));
    __m256d part = _mm256_sub_pd(c, _mm256_mul_pd(down, two32));
    __m128i w = _mm_loadu_si128((const __m128i *)(const void *)words);
    w = _mm_xor_si128(w, _mm_set1_epi32(INT32_MIN)); /* word - 2^31, signed */
    __m256d word = _mm256_add_pd(_mm256_cvtepi32_pd(w), _mm256_set1_pd(0x1p31));
    __m256d up = _mm256_and_pd(_mm256_cmp_pd(part, word, _CMP_GT_OQ), one);
    return _mm256_cvttpd_epi32(_mm256_add_pd(down, up));
}

uint64_t plmm__round_avx2(int32_t *x, const plmm__float *v, const uint32_t *words, size_t n,
                          double factor, double most)
{
    const __m256d f = _mm256_set1_pd(factor), m = _mm256_set1_pd(most);
    __m256i squares = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        __m128i lanes = round_four(v + i, words + i, f, m);
        __m256i l = _mm256_cvtepi32_epi64(lanes);
        squares = _mm256_add_epi64(squares, _mm256_mul_epi32(l, l));
        _mm_storeu_si128((__m128i *)(void *)(x + i), lanes);
    }
    uint64_t s[4];
    _mm256_storeu_si256((__m256i *)(void *)s, squares);
    return s[0] + s[1] + s[2] + s[3] +
           plmm__round_portable(x + i, v + i, words + i, n - i, factor, most);
}

double plmm__squares_avx2(const plmm__float *v, size_t n)
{
    enum { VECTORS = PLMM__SQUARE_LANES / 4 };
    __m256d sum[VECTORS];
    double s[PLMM__SQUARE_LANES];
    for (size_t j = 0; j < VECTORS; j++) {
        sum[j] = _mm256_setzero_pd();
    }
    for (; n >= PLMM__SQUARE_LANES; n -= PLMM__SQUARE_LANES, v += PLMM__SQUARE_LANES) {
        for (size_t j = 0; j < VECTORS; j++) {
            __m256d x = wide(v + 4 * j);
            sum[j] = _mm256_add_pd(sum[j], _mm256_mul_pd(x, x));
        }
    }
    for (size_t j = 0; j < VECTORS; j++) {
        _mm256_storeu_pd(s + 4 * j, sum[j]);
    }
    return plmm__squares_end(s, v, n);
}
