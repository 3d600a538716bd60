/* Stochastic rounding and sums of squares with AVX-512, eight doubles at a time. */
#include "round_internal.h"

#include <immintrin.h>

/* plmm__round_lane of eight: integers of 64 bits whose upper halves are the lanes. */
static inline __m512i round_eight(__m256 v, __m256i words, __m512d factor, __m512d most,
                                  __m512d least)
{
    enum { UP = _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC };
    __m512d y = _mm512_min_pd(_mm512_mul_pd(_mm512_cvtps_pd(v), factor), most);
    __m512i up = _mm512_cvt_roundpd_epi64(_mm512_max_pd(y, least), UP);
    return _mm512_add_epi64(up, _mm512_cvtepu32_epi64(words));
}

static inline __m512i square_upper(__m512i z)
{
    z = _mm512_srli_epi64(z, 32);
    return _mm512_mul_epi32(z, z);
}

uint64_t plmm__round_avx512(int32_t *x, const plmm__float *v, const uint32_t *words, size_t n,
                            double factor, double most)
{
    const __m512d f = _mm512_set1_pd(factor * 0x1p32), m = _mm512_set1_pd(most * 0x1p32),
                  l = _mm512_set1_pd(-most * 0x1p32);
    const __m512i uppers =
        _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    __m512i squares = _mm512_setzero_si512();
    for (size_t i = 0; i < n; i += 16) {
        /* a word of lanes that are not there turns to 0: such a lane is 0 */
        const __mmask16 there = (__mmask16)(n - i < 16 ? (1u << (n - i)) - 1u : 0xffffu);
        __m512 in = _mm512_maskz_loadu_ps(there, (const float *)v + i);
        __m512i not = _mm512_maskz_loadu_epi32(there, words + i);
        not = _mm512_maskz_xor_epi32(there, not, _mm512_set1_epi32(-1));
        __m512i lo = round_eight(_mm512_castps512_ps256(in), _mm512_castsi512_si256(not ), f, m, l);
        __m512i hi =
            round_eight(_mm512_extractf32x8_ps(in, 1), _mm512_extracti64x4_epi64(not, 1), f, m, l);
        squares = _mm512_add_epi64(squares, square_upper(lo));
        squares = _mm512_add_epi64(squares, square_upper(hi));
        _mm512_mask_storeu_epi32(x + i, there, _mm512_permutex2var_epi32(lo, uppers, hi));
    }
    return (uint64_t)_mm512_reduce_add_epi64(squares);
}

double plmm__squares_avx512(const plmm__float *v, size_t n)
{
    enum { VECTORS = PLMM__SQUARE_LANES / 8 };
    __m512d sum[VECTORS];
    double s[PLMM__SQUARE_LANES];
    for (size_t j = 0; j < VECTORS; j++) {
        sum[j] = _mm512_setzero_pd();
    }
    for (; n >= PLMM__SQUARE_LANES; n -= PLMM__SQUARE_LANES, v += PLMM__SQUARE_LANES) {
        for (size_t j = 0; j < VECTORS; j++) {
            __m512d x = _mm512_cvtps_pd(_mm256_loadu_ps((const float *)v + 8 * j));
            sum[j] = _mm512_fmadd_pd(x, x, sum[j]);
        }
    }
    for (size_t j = 0; j < VECTORS; j++) {
        _mm512_storeu_pd(s + 8 * j, sum[j]);
    }
    return plmm__squares_end(s, v, n);
}
