/* The reference: the streams as their standards write them, a block at a time, a lane at a time. */
#include "mask_internal.h"
#include "plmm/bytes.h"

#include <string.h>

/* ---- ChaCha20, RFC 8439 section 2.3 ---- */

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

/* ---- AES-256 as FIPS 197 writes it, but for the S-box, which is computed and not looked up ---- */

/* a b in GF(2^8) mod x^8 + x^4 + x^3 + x + 1, for `n` octets. */
static void multiply(uint8_t *out, const uint8_t *a, const uint8_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned p = 0, x = a[i], y = b[i];
        for (int bit = 0; bit < 8; bit++) {
            p ^= x & (0u - (y >> bit & 1));
            x = (x << 1) ^ (0x11b & (0u - (x >> 7)));
        }
        out[i] = (uint8_t)p;
    }
}

static void sub_bytes(uint8_t *s, size_t n)
{
    uint8_t a[16], r[16];
    PLMM_ASSERT(n <= sizeof a);
    memcpy(a, s, n);
    memcpy(r, s, n);
    for (int i = 0; i < 6; i++) { /* r = s^(2^7 - 1) */
        multiply(a, a, a, n);
        multiply(r, r, a, n);
    }
    multiply(r, r, r, n); /* s^254: 1 / s, and 0 of 0 */
    for (size_t i = 0; i < n; i++) {
        unsigned x = r[i] * 0x0101u; /* twice beside itself: shifts are rotations */
        s[i] = (uint8_t)(x ^ x >> 4 ^ x >> 5 ^ x >> 6 ^ x >> 7 ^ 0x63);
    }
    plmm_wipe(a, sizeof a);
    plmm_wipe(r, sizeof r);
}

static void shift_rows(uint8_t s[16])
{
    uint8_t t[16];
    memcpy(t, s, sizeof t);
    for (size_t i = 0; i < 16; i++) { /* row i % 4, column i / 4 */
        s[i] = t[(i + i % 4 * 4) % 16];
    }
    plmm_wipe(t, sizeof t);
}

static void mix_columns(uint8_t s[16])
{
    static const uint8_t two[16] = {2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2};
    uint8_t t[16], d[16];
    memcpy(t, s, sizeof t);
    multiply(d, t, two, 16);
    for (size_t i = 0; i < 16; i++) {
        size_t c = i / 4 * 4, r = i % 4;
        s[i] = (uint8_t)(d[i] ^ d[c + (r + 1) % 4] ^ t[c + (r + 1) % 4] ^ t[c + (r + 2) % 4] ^
                         t[c + (r + 3) % 4]);
    }
    plmm_wipe(t, sizeof t);
    plmm_wipe(d, sizeof d);
}

static void add_round_key(uint8_t s[16], const uint8_t *w)
{
    for (size_t i = 0; i < 16; i++) {
        s[i] ^= w[i];
    }
}

void plmm__aes_block(uint8_t out[16], const uint8_t in[16], const uint8_t w[PLMM_MASK_KEY_BYTES])
{
    memmove(out, in, 16);
    add_round_key(out, w);
    for (size_t r = 1; r <= 14; r++) {
        sub_bytes(out, 16);
        shift_rows(out);
        if (r < 14) {
            mix_columns(out);
        }
        add_round_key(out, w + 16 * r);
    }
}

void plmm__aes_round_keys(uint8_t w[PLMM_MASK_KEY_BYTES], const uint8_t key[32])
{
    unsigned rcon = 1;
    memcpy(w, key, 32);
    for (size_t i = 32; i < PLMM_MASK_KEY_BYTES; i += 4) {
        uint8_t t[4] = {w[i - 4], w[i - 3], w[i - 2], w[i - 1]};
        if (i % 32 == 0) {
            uint8_t first = t[0];
            memmove(t, t + 1, 3);
            t[3] = first;
        }
        if (i % 16 == 0) {
            sub_bytes(t, 4);
        }
        if (i % 32 == 0) {
            t[0] ^= (uint8_t)rcon;
            rcon <<= 1;
        }
        for (size_t k = 0; k < 4; k++) {
            w[i + k] = w[i + k - 32] ^ t[k];
        }
        plmm_wipe(t, sizeof t);
    }
}

/* ---- both ---- */

void plmm__mask_check(size_t n, uint64_t offset, uint32_t bits, const plmm_mask *masks,
                      size_t count)
{
    const uint64_t most = UINT64_C(1) << PLMM_MASK_LANES_MAX_LOG2;
    PLMM_ASSERT(bits >= PLMM_RING_BITS_MIN && bits <= PLMM_RING_BITS_MAX);
    PLMM_ASSERT(offset <= most && n <= most - offset);
    for (size_t j = 0; j < count; j++) {
        PLMM_ASSERT(masks[j].stream == PLMM_STREAM_CHACHA20 ||
                    masks[j].stream == PLMM_STREAM_AES256CTR);
        PLMM_ASSERT(masks[j].sign == PLMM_MASK_ADD || masks[j].sign == PLMM_MASK_SUB);
    }
}

/* The 64 octets of keystream that hold lane 16 i. */
static void blocks_at(uint8_t out[64], uint64_t i, const plmm_mask *m,
                      const uint8_t w[PLMM_MASK_KEY_BYTES])
{
    static const uint8_t nonce[12];
    if (m->stream == PLMM_STREAM_CHACHA20) {
        plmm__chacha20_block(out, m->key, (uint32_t)i, nonce);
        return;
    }
    for (size_t k = 0; k < 4; k++) {
        uint8_t counter[16] = {0};
        plmm_store_be32(counter + 12, (uint32_t)(4 * i + k));
        plmm__aes_block(out + 16 * k, counter, w);
    }
}

static void apply_one(uint32_t *x, size_t n, uint64_t offset, uint32_t low, const plmm_mask *m)
{
    uint8_t block[64], w[PLMM_MASK_KEY_BYTES];
    plmm__aes_round_keys(w, m->key);
    for (size_t i = 0; i < n; i++) {
        uint64_t at = offset + i;
        if (i == 0 || at % 16 == 0) {
            blocks_at(block, at / 16, m, w);
        }
        uint32_t k = plmm_load_le32(block + 4 * (at % 16));
        x[i] = (m->sign == PLMM_MASK_ADD ? x[i] + k : x[i] - k) & low;
    }
    plmm_wipe(block, sizeof block);
    plmm_wipe(w, sizeof w);
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
