/* Packing on 512-bit registers (AVX-512 F). */
#include "pack_internal.h"

#include <immintrin.h>

#define QUADS 8
typedef __m512i vec;
#define v_load(p)     _mm512_loadu_si512(p)
#define v_store(p, x) _mm512_storeu_si512(p, x)
#define v_and(a, b)   _mm512_and_si512(a, b)
#define v_or(a, b)    _mm512_or_si512(a, b)
#define v_even(a, b)  _mm512_unpacklo_epi64(a, b)
#define v_odd(a, b)   _mm512_unpackhi_epi64(a, b)
#define q_index(p)    v_load(p)
#define q_perm(x, i)  _mm512_permutexvar_epi64(i, x)
#define q_srl(x, s)   _mm512_srlv_epi64(x, s)
#define q_sll(x, s)   _mm512_sllv_epi64(x, s)
#define q_all(u)      _mm512_set1_epi64((long long)(u))
#define d_perm(x, i)  _mm512_permutexvar_epi32(i, x)
#define d_add(a, b)   _mm512_add_epi32(a, b)
#define d_srl(x, s)   _mm512_srlv_epi32(x, s)
#define d_sll(x, s)   _mm512_sllv_epi32(x, s)
#define d_all(u)      _mm512_set1_epi32((int)(u))
#include "pack_impl.h"

const plmm__packer plmm__packer_avx512 = {pack, unpack, unpack_add};
