/* Sharing on 256-bit registers (AVX2): four elements at a time. */
#include "shamir_internal.h"

#include <immintrin.h>

#define WIDTH 4
#define GROUP 3
#define SPLIT 32
typedef __m256i vec;
#define v_all(u)       _mm256_set1_epi64x((long long)(u))
#define v_load(p)      _mm256_loadu_si256((const void *)(p))
#define v_store(p, x)  _mm256_storeu_si256((void *)(p), x)
#define v_load32(p)    _mm256_cvtepu32_epi64(_mm_loadu_si128((const void *)(p)))
#define v_add(a, b)    _mm256_add_epi64(a, b)
#define v_sub(a, b)    _mm256_sub_epi64(a, b)
#define v_and(a, b)    _mm256_and_si256(a, b)
#define v_srl(x, bits) _mm256_srli_epi64(x, bits)
#define v_mul(a, b)    _mm256_mul_epu32(a, b)
#define v_same(x)      v_srl(_mm256_cmpeq_epi64(x, v_all(0)), 63)
#define v_sum(lo, hi, a, b)                                                                        \
    do {                                                                                           \
        vec product = v_mul(a, b);                                                                 \
        (lo) = v_add(lo, v_and(product, v_all(UINT32_MAX)));                                       \
        (hi) = v_add(hi, v_srl(product, 32));                                                      \
    } while (0)

static inline vec v_wrap(vec x)
{
    return v_add(x, v_and(v_all(PLMM_SHAMIR_PRIME), _mm256_cmpgt_epi64(v_all(0), x)));
}

static inline void v_store32(uint32_t *p, vec x)
{
    const vec even = _mm256_set_epi32(6, 4, 2, 0, 6, 4, 2, 0);
    _mm_storeu_si128((void *)p, _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(x, even)));
}
#include "shamir_impl.h"

const plmm__sharing plmm__sharing_avx2 = {"avx2",   uniform, evaluate, differences,
                                          multiply, invert,  weigh};
