/* Shared by the fast path and the reference. */
#ifndef PLMM_MASK_INTERNAL_H
#define PLMM_MASK_INTERNAL_H

#include "plmm/mask.h"

/* 2^bits - 1 for bits in the ring's range (asserted). */
static inline uint32_t plmm__low_bits(uint32_t bits)
{
    PLMM_ASSERT(bits >= PLMM_RING_BITS_MIN && bits <= PLMM_RING_BITS_MAX);
    return UINT32_MAX >> (32 - bits);
}

/* Asserts what plmm_mask_apply asks of its caller. */
void plmm__mask_check(size_t n, uint64_t offset, uint32_t bits, const plmm_mask *masks,
                      size_t count);

/* *m = the mask that adds the keystream of that very key. */
void plmm__mask_key(plmm_mask *m, uint32_t stream, const uint8_t key[32]);

/* AES-256 of one block (FIPS 197), the reference: w[0..240) are round keys. */
void plmm__aes_block(uint8_t out[16], const uint8_t in[16], const uint8_t w[PLMM_MASK_KEY_BYTES]);
void plmm__aes_round_keys(uint8_t w[PLMM_MASK_KEY_BYTES], const uint8_t key[32]);

/* One block of ChaCha20 (RFC 8439, 2.3). */
void plmm__chacha20_block(uint8_t out[64], const uint8_t key[32], uint32_t counter,
                          const uint8_t nonce[12]);

#endif
