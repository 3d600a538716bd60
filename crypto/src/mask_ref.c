/* The reference: ChaCha20 as RFC 8439 section 2.3 writes it, a block at a time, a lane at a
 * time. */
#include "mask_internal.h"
#include "plmm/bytes.h"

#include <string.h>

static uint32_t rotl(uint32_t x, unsigned k)
{
    return x << k | x >> (32 - k);
}

static void quarter(uint32_t s[16], unsigned a, unsigned b, unsigned c, unsigned d)
{
    s[a] += s[b];
    s[d] = rotl(s[d] ^ s[a], 16);
    s[c] += s[d];
    s[b] = rotl(s[b] ^ s[c], 12);
    s[a] += s[b];
    s[d] = rotl(s[d] ^ s[a], 8);
    s[c] += s[d];
    s[b] = rotl(s[b] ^ s[c], 7);
}

void plmm__chacha20_block(uint8_t out[64], const uint8_t key[32], uint32_t counter,
                          const uint8_t nonce[12])
{
    uint32_t init[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    for (size_t i = 0; i < 8; i++) {
        init[4 + i] = plmm_load_le32(key + 4 * i);
    }
    init[12] = counter;
    for (size_t i = 0; i < 3; i++) {
        init[13 + i] = plmm_load_le32(nonce + 4 * i);
    }
    uint32_t s[16];
    memcpy(s, init, sizeof s);
    for (int round = 0; round < 10; round++) {
        for (unsigned i = 0; i < 4; i++) { /* columns */
            quarter(s, i, i + 4, i + 8, i + 12);
        }
        for (unsigned i = 0; i < 4; i++) { /* diagonals */
            quarter(s, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4);
        }
    }
    for (size_t i = 0; i < 16; i++) {
        plmm_store_le32(out + 4 * i, s[i] + init[i]);
    }
    plmm_wipe(s, sizeof s);
    plmm_wipe(init, sizeof init);
}

static void apply_one(uint32_t *x, size_t n, uint64_t offset, uint32_t low, const plmm_mask *m)
{
    static const uint8_t nonce[12];
    uint8_t block[64];
    for (size_t i = 0; i < n; i++) {
        uint64_t at = offset + i;
        if (i == 0 || at % 16 == 0) {
            plmm__chacha20_block(block, m->key, (uint32_t)(at / 16), nonce);
        }
        uint32_t k = plmm_load_le32(block + 4 * (at % 16));
        x[i] = (m->sign == PLMM_MASK_ADD ? x[i] + k : x[i] - k) & low;
    }
    plmm_wipe(block, sizeof block);
}

void plmm_mask_apply_ref(uint32_t *x, size_t n, uint64_t offset, uint32_t bits,
                         const plmm_mask *masks, size_t count)
{
    plmm__mask_check(n, offset, bits, masks, count);
    const uint32_t low = plmm__low_bits(bits);
    for (size_t i = 0; i < n; i++) {
        x[i] &= low;
    }
    for (size_t j = 0; j < count; j++) {
        apply_one(x, n, offset, low, &masks[j]);
    }
}
