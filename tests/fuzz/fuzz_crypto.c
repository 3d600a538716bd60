/* Foreign bytes that reach crypto/: a packed vector and a share. What is accepted must come back to
 * the octet. input = width, count (2), point (4), then the bytes. */
#include "plmm/bytes.h"
#include "plmm/encode.h"
#include "plmm/kahe.h"
#include "plmm/packed.h"
#include "plmm/shamir.h"

#include <string.h>

enum { LANES_MAX = 4096, HEAD = 7 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void packed(const uint8_t *in, size_t len, uint32_t bits, size_t n)
{
    static uint32_t x[LANES_MAX], acc[LANES_MAX];
    static uint8_t back[4 * LANES_MAX];
    plmm_error err;
    if (plmm_unpack(x, n, bits, in, len, &err) != PLMM_OK) {
        PLMM_ASSERT(plmm_unpack_add(acc, n, bits, in, len, &err) != PLMM_OK);
        return;
    }
    plmm_pack(back, x, n, bits);
    PLMM_ASSERT(plmm_packed_bytes(n, bits) == len && (len == 0 || memcmp(back, in, len) == 0));
    memset(acc, 0, sizeof acc);
    PLMM_ASSERT(plmm_unpack_add(acc, n, bits, in, len, &err) == PLMM_OK);
    PLMM_ASSERT(memcmp(acc, x, n * sizeof x[0]) == 0);
}

static void share(const uint8_t *in, size_t len, uint32_t point)
{
    static plmm_shamir_basis basis;
    plmm_share s[4];
    uint8_t back[PLMM_SHARE_BYTES], secret[32];
    size_t m = 0;
    plmm_error err;
    for (size_t at = 0; m < 4; at += PLMM_SHARE_BYTES, m++) {
        size_t left = len > at ? len - at : 0;
        size_t take = left > PLMM_SHARE_BYTES && m < 3 ? PLMM_SHARE_BYTES : left;
        if (plmm_share_decode(&s[m], point + (uint32_t)m, in + (len > at ? at : len), take, &err) !=
            PLMM_OK) {
            break;
        }
        plmm_share_encode(back, &s[m]);
        PLMM_ASSERT(memcmp(back, in + at, sizeof back) == 0);
    }
    uint32_t xs[4] = {point, point + 1, point + 2, point + 3};
    for (uint32_t t = 1; t <= 2 && m > 0; t++) {
        if (plmm_shamir_basis_init(&basis, xs, m, t, &err) == PLMM_OK) {
            (void)!plmm_shamir_combine(secret, &basis, s, &err);
        }
    }
}

/* A ciphertext of one coordinate, a share of a key and a key: the input, over and over. What is taken
 * packs to the same octets; what is not leaves no trace. */
static void ring_lwe(const uint8_t *in, size_t len, uint32_t set, bool whole)
{
    static uint8_t octets[51200], back[51200];
    static uint64_t sum[8192], key[PLMM_KAHE_KEY_MAX];
    const size_t n = plmm_kahe_bytes(set, 1), share = plmm_packed_share_bytes(set);
    plmm_error err;
    for (size_t i = 0; i < n; i++) {
        octets[i] = len == 0 ? 0 : in[i % len];
    }
    memset(sum, 0, sizeof sum);
    const size_t given = whole ? n : len < n ? len : n;
    plmm_status rc = plmm_kahe_add(sum, set, 1, octets, given, &err);
    PLMM_ASSERT(rc == plmm_kahe_payload_check(set, 1, octets, given, &err));
    PLMM_ASSERT(rc == plmm_kahe_key_unpack(key, set, octets, given, &err)); /* one block is a key */
    if (rc != PLMM_OK) {
        for (size_t i = 0; i < plmm_kahe_residues(set, 1); i++) {
            PLMM_ASSERT(sum[i] == 0);
        }
    } else {
        plmm_kahe_key_pack(back, sum, set);
        PLMM_ASSERT(memcmp(back, octets, n) == 0 && memcmp(sum, key, 8 * n / 50 * 8) == 0);
    }
    memset(sum, 0, sizeof sum);
    if (plmm_packed_add(sum, set, octets, whole ? share : given, &err) == PLMM_OK) {
        plmm_packed_pack(back, set, sum);
        PLMM_ASSERT(memcmp(back, octets, share) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD) {
        return 0;
    }
    packed(data + HEAD, size - HEAD, 8 + data[0] % 25, plmm_load_le16(data + 1) % LANES_MAX);
    share(data + HEAD, size - HEAD, plmm_load_le32(data + 3));
    ring_lwe(data + HEAD, size - HEAD, 1 + data[0] % 2, data[1] % 4 != 0);
    return 0;
}
