/* AES by the ARMv8 cryptographic extension: one block an instruction. */
#include "aes_internal.h"

#include <arm_neon.h>

#include <string.h>

#define WIDTH 1
#define KEY_FIRST
typedef uint32x4_t vec;
#define OCTETS(x)           vreinterpretq_u8_u32(x)
#define LANES(x)            vreinterpretq_u32_u8(x)
#define v_load(p)           vld1q_u32(p)
#define v_store(p, x)       vst1q_u32(p, x)
#define v_add(a, b)         vaddq_u32(a, b)
#define v_sub(a, b)         vsubq_u32(a, b)
#define v_and(a, b)         vandq_u32(a, b)
#define v_xor(a, b)         veorq_u32(a, b)
#define v_all(u)            vdupq_n_u32(u)
#define v_round_key(p)      LANES(vld1q_u8(p))
#define v_counter(u)        vsetq_lane_u32(u, vdupq_n_u32(0), 3)
#define v_enc(b, k)         LANES(vaesmcq_u8(vaeseq_u8(OCTETS(b), OCTETS(k))))
#define v_enc_last(b, k, l) v_xor(LANES(vaeseq_u8(OCTETS(b), OCTETS(k))), l)
#include "aes_impl.h"

/* SubWord: with the same word in every column, shifting the rows changes nothing. */
static uint32_t substitute(uint32_t w)
{
    uint8x16_t s = vaeseq_u8(vreinterpretq_u8_u32(vdupq_n_u32(w)), vdupq_n_u8(0));
    return vgetq_lane_u32(LANES(s), 0);
}

static void expand(uint8_t w[PLMM_MASK_KEY_BYTES], const uint8_t key[32])
{
    plmm__aes_schedule(w, key, substitute);
}

const plmm__aes plmm__aes_armv8 = {"armv8", expand, apply};
