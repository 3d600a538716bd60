/* AES by AES-NI: one block an instruction; and the key schedule of all x86 paths. */
#include "aes_internal.h"
#include "plmm/keys.h"

#include <immintrin.h>

#define WIDTH 1
typedef __m128i vec;
#define v_load(p)        _mm_loadu_si128((const void *)(p))
#define v_store(p, x)    _mm_storeu_si128((void *)(p), x)
#define v_add(a, b)      _mm_add_epi32(a, b)
#define v_sub(a, b)      _mm_sub_epi32(a, b)
#define v_and(a, b)      _mm_and_si128(a, b)
#define v_xor(a, b)      _mm_xor_si128(a, b)
#define v_all(u)         _mm_set1_epi32((int)(u))
#define v_round_key(p)   v_load(p)
#define v_counter(u)     _mm_set_epi32((int)(u), 0, 0, 0)
#define v_enc(b, k)      _mm_aesenc_si128(b, k)
#define v_enc_last(b, k) _mm_aesenclast_si128(b, k)
#include "aes_impl.h"

/* Words of a round key from those two round keys before and one substituted word, in every lane:
 * each word is the sum of all before it in its round key, and that word. */
static inline vec chain(vec w, vec substituted)
{
    w = v_xor(w, _mm_slli_si128(w, 4));
    w = v_xor(w, _mm_slli_si128(w, 8));
    return v_xor(w, substituted);
}

/* The instruction wants its constant in the code. */
#define EVEN(r, rcon)                                                                              \
    even = chain(even, _mm_shuffle_epi32(_mm_aeskeygenassist_si128(odd, rcon), 0xff));             \
    v_store(w + 16 * (r), even)
#define ODD(r)                                                                                     \
    odd = chain(odd, _mm_shuffle_epi32(_mm_aeskeygenassist_si128(even, 0), 0xaa));                 \
    v_store(w + 16 * (r), odd)

void plmm__aes_expand_x86(uint8_t w[PLMM_MASK_KEY_BYTES], const uint8_t key[32])
{
    vec even = v_load(key), odd = v_load(key + 16);
    v_store(w, even);
    v_store(w + 16, odd);
    EVEN(2, 0x01);
    ODD(3);
    EVEN(4, 0x02);
    ODD(5);
    EVEN(6, 0x04);
    ODD(7);
    EVEN(8, 0x08);
    ODD(9);
    EVEN(10, 0x10);
    ODD(11);
    EVEN(12, 0x20);
    ODD(13);
    EVEN(14, 0x40);
}

const plmm__aes plmm__aes_aesni = {"aesni", plmm__aes_expand_x86, apply};
