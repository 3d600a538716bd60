/* Packing on 256-bit registers (AVX2). */
#include "pack_internal.h"

#include <immintrin.h>

#define QUADS 4
typedef __m256i vec;
#define v_load(p)     _mm256_loadu_si256((const void *)(p))
#define v_store(p, x) _mm256_storeu_si256((void *)(p), x)
#define v_and(a, b)   _mm256_and_si256(a, b)
#define v_or(a, b)    _mm256_or_si256(a, b)
#define v_even(a, b)  _mm256_unpacklo_epi64(a, b)
#define v_odd(a, b)   _mm256_unpackhi_epi64(a, b)
#define q_perm(x, i)  _mm256_permutevar8x32_epi32(x, i)
#define q_srl(x, s)   _mm256_srlv_epi64(x, s)
#define q_sll(x, s)   _mm256_sllv_epi64(x, s)
#define q_all(u)      _mm256_set1_epi64x((long long)(u))
#define d_perm(x, i)  _mm256_permutevar8x32_epi32(x, i)
#define d_add(a, b)   _mm256_add_epi32(a, b)
#define d_srl(x, s)   _mm256_srlv_epi32(x, s)
#define d_sll(x, s)   _mm256_sllv_epi32(x, s)
#define d_all(u)      _mm256_set1_epi32((int)(u))

/* Words of 64 bits are moved as two of 32: the number i becomes 2 i and 2 i + 1. */
static inline vec q_index(const uint64_t *p)
{
    vec i = _mm256_slli_epi64(v_load(p), 1);
    return v_or(i, _mm256_slli_epi64(_mm256_add_epi64(i, q_all(1)), 32));
}
#include "pack_impl.h"

const plmm__packer plmm__packer_avx2 = {pack, unpack, unpack_add};
