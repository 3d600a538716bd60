/* BLAKE2b-256 (RFC 7693) of LANES messages of PLMM_BULK_LEAF octets at once, a message a lane. The
 * including file defines LANES, the vector type V of LANES 64-bit words, and
 *   load_block(V m[16], const uint8_t *const *in, size_t at)   the 128 octets from `at` on of each
 * and rotate32, 24, 16, 63 (to the right), and names the function BULK_LEAVES. */
#include "bulk_internal.h"
#include "plmm/bytes.h"

static const uint64_t iv[8] = {UINT64_C(0x6a09e667f3bcc908), UINT64_C(0xbb67ae8584caa73b),
                               UINT64_C(0x3c6ef372fe94f82b), UINT64_C(0xa54ff53a5f1d36f1),
                               UINT64_C(0x510e527fade682d1), UINT64_C(0x9b05688c2b3e6c1f),
                               UINT64_C(0x1f83d9abfb41bd6b), UINT64_C(0x5be0cd19137e2179)};

#define MIX(a, b, c, d, x, y)                                                                      \
    do {                                                                                           \
        v[a] += v[b] + (x);                                                                        \
        v[d] = rotate32(v[d] ^ v[a]);                                                              \
        v[c] += v[d];                                                                              \
        v[b] = rotate24(v[b] ^ v[c]);                                                              \
        v[a] += v[b] + (y);                                                                        \
        v[d] = rotate16(v[d] ^ v[a]);                                                              \
        v[c] += v[d];                                                                              \
        v[b] = rotate63(v[b] ^ v[c]);                                                              \
    } while (0)
#define ROUND(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, sa, sb, sc, sd, se, sf)                      \
    do {                                                                                           \
        MIX(0, 4, 8, 12, m[s0], m[s1]);                                                            \
        MIX(1, 5, 9, 13, m[s2], m[s3]);                                                            \
        MIX(2, 6, 10, 14, m[s4], m[s5]);                                                           \
        MIX(3, 7, 11, 15, m[s6], m[s7]);                                                           \
        MIX(0, 5, 10, 15, m[s8], m[s9]);                                                           \
        MIX(1, 6, 11, 12, m[sa], m[sb]);                                                           \
        MIX(2, 7, 8, 13, m[sc], m[sd]);                                                            \
        MIX(3, 4, 9, 14, m[se], m[sf]);                                                            \
    } while (0)

static inline V all(uint64_t x)
{
    return (V){0} + x;
}

static void compress(V h[8], const V m[16], uint64_t count, uint64_t last)
{
    V v[16];
    for (size_t i = 0; i < 8; i++) {
        v[i] = h[i];
        v[i + 8] = all(iv[i]);
    }
    v[12] ^= all(count);
    v[14] ^= all(last);
    ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3);
    ROUND(11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4);
    ROUND(7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8);
    ROUND(9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13);
    ROUND(2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9);
    ROUND(12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11);
    ROUND(13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10);
    ROUND(6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5);
    ROUND(10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0);
    ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3);
    for (size_t i = 0; i < 8; i++) {
        h[i] ^= v[i] ^ v[i + 8];
    }
}

void BULK_LEAVES(uint8_t (*out)[32], const uint8_t *const *in, const uint64_t person[2])
{
    V h[8], m[16];
    for (size_t i = 0; i < 8; i++) {
        h[i] = all(iv[i]);
    }
    h[0] ^= all(UINT64_C(0x01010020)); /* 32 octets, no key, fanout and depth 1 */
    h[6] ^= all(person[0]);
    h[7] ^= all(person[1]);
    for (size_t at = 0; at < PLMM_BULK_LEAF; at += BULK_BLOCK) {
        load_block(m, in, at);
        compress(h, m, at + BULK_BLOCK, at + BULK_BLOCK == PLMM_BULK_LEAF ? UINT64_MAX : 0);
    }
    for (size_t l = 0; l < LANES; l++) {
        for (size_t i = 0; i < 4; i++) {
            plmm_store_le64(out[l] + 8 * i, h[i][l]);
        }
    }
}
