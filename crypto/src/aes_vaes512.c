/* AES by VAES on 512-bit registers: four blocks an instruction. */
#include "aes_internal.h"

#include <immintrin.h>

#define WIDTH 4
typedef __m512i vec;
#define v_load(p)        _mm512_loadu_si512(p)
#define v_store(p, x)    _mm512_storeu_si512(p, x)
#define v_add(a, b)      _mm512_add_epi32(a, b)
#define v_sub(a, b)      _mm512_sub_epi32(a, b)
#define v_and(a, b)      _mm512_and_si512(a, b)
#define v_xor(a, b)      _mm512_xor_si512(a, b)
#define v_all(u)         _mm512_set1_epi32((int)(u))
#define v_round_key(p)   _mm512_broadcast_i32x4(_mm_loadu_si128((const void *)(p)))
#define v_counter(u)     _mm512_maskz_set1_epi32(0x8888, (int)(u))
#define v_enc(b, k)      _mm512_aesenc_epi128(b, k)
#define v_enc_last(b, k) _mm512_aesenclast_epi128(b, k)
#include "aes_impl.h"

const plmm__aes plmm__aes_vaes512 = {"vaes512", plmm__aes_expand_x86, apply};
