/* AES by VAES on 256-bit registers: two blocks an instruction. */
#include "aes_internal.h"

#include <immintrin.h>

#define WIDTH 2
typedef __m256i vec;
#define v_load(p)        _mm256_loadu_si256((const void *)(p))
#define v_store(p, x)    _mm256_storeu_si256((void *)(p), x)
#define v_add(a, b)      _mm256_add_epi32(a, b)
#define v_sub(a, b)      _mm256_sub_epi32(a, b)
#define v_and(a, b)      _mm256_and_si256(a, b)
#define v_xor(a, b)      _mm256_xor_si256(a, b)
#define v_all(u)         _mm256_set1_epi32((int)(u))
#define v_round_key(p)   _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)(p)))
#define v_counter(u)     _mm256_set_epi32((int)(u), 0, 0, 0, (int)(u), 0, 0, 0)
#define v_enc(b, k)      _mm256_aesenc_epi128(b, k)
#define v_enc_last(b, k) _mm256_aesenclast_epi128(b, k)
#include "aes_impl.h"

const plmm__aes plmm__aes_vaes256 = {"vaes256", plmm__aes_expand_x86, apply};
