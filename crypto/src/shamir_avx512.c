/* Sharing on 512-bit registers (AVX-512): eight elements at a time, products added by IFMA. */
#include "shamir_internal.h"

#include <immintrin.h>

#define WIDTH 8
#define GROUP 9
#define SPLIT 52
typedef __m512i vec;
#define v_all(u)        _mm512_set1_epi64((long long)(u))
#define v_load(p)       _mm512_loadu_si512(p)
#define v_store(p, x)   _mm512_storeu_si512(p, x)
#define v_load32(p)     _mm512_cvtepu32_epi64(_mm256_loadu_si256((const void *)(p)))
#define v_store32(p, x) _mm256_storeu_si256((void *)(p), _mm512_cvtepi64_epi32(x))
#define v_add(a, b)     _mm512_add_epi64(a, b)
#define v_sub(a, b)     _mm512_sub_epi64(a, b)
#define v_and(a, b)     _mm512_and_si512(a, b)
#define v_srl(x, bits)  _mm512_srli_epi64(x, bits)
#define v_mul(a, b)     _mm512_mul_epu32(a, b)
#define v_same(x)       _mm512_maskz_set1_epi64(_mm512_cmpeq_epi64_mask(x, v_all(0)), 1)
#define v_wrap(x)       _mm512_min_epu64(x, v_add(x, v_all(PLMM_SHAMIR_PRIME)))
#define v_sum(lo, hi, a, b)                                                                        \
    do {                                                                                           \
        (lo) = _mm512_madd52lo_epu64(lo, a, b);                                                    \
        (hi) = _mm512_madd52hi_epu64(hi, a, b);                                                    \
    } while (0)
#include "shamir_impl.h"

const plmm__sharing plmm__sharing_avx512 = {"avx512", uniform, evaluate, differences,
                                            multiply, invert,  weigh};
