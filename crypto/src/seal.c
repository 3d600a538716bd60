/* Boxes and MACs: thin over libsodium, with failures that leave the output alone. */
#include "plmm/seal.h"

#include "keys_internal.h"
#include "plmm/bytes.h"
#include "seal_internal.h"
#include "simd_internal.h"

#include <sodium.h>
#include <string.h>

_Static_assert(sizeof(plmm_nonce) == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "nonce");
_Static_assert(sizeof(plmm_key) == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "key");
_Static_assert(PLMM_SEAL_OVERHEAD == crypto_aead_xchacha20poly1305_ietf_ABYTES, "tag");

void plmm_nonce_counter(plmm_nonce *out, uint64_t counter)
{
    memset(out->b, 0, sizeof out->b);
    plmm_store_le64(out->b, counter);
}

void plmm_nonce_seed(plmm_nonce *out, const plmm_seed *seed)
{
    uint8_t t[32];
    plmm_kdf(t, seed->b, "nonce.r1", NULL, 0);
    memcpy(out->b, t, sizeof out->b);
    plmm_wipe(t, sizeof t);
}

void plmm_seal(uint8_t *box, const uint8_t *msg, size_t len, const void *ad, size_t ad_len,
               const plmm_nonce *nonce, const plmm_key *key)
{
    int rc = crypto_aead_xchacha20poly1305_ietf_encrypt(box, NULL, msg, len, ad, ad_len, NULL,
                                                        nonce->b, key->b);
    PLMM_ASSERT(rc == 0);
}

plmm_status plmm_open(uint8_t *msg, const uint8_t *box, size_t box_len, const void *ad,
                      size_t ad_len, const plmm_nonce *nonce, const plmm_key *key, plmm_error *err)
{
    if (box_len < PLMM_SEAL_OVERHEAD) {
        return plmm_fail(err, PLMM_ERR_WIRE, "cannot open a box of %zu octets: the least is %d",
                         box_len, PLMM_SEAL_OVERHEAD);
    }
    /* Checks first, deciphers after: libsodium zeroes the output of a failed combined call. */
    size_t len = box_len - PLMM_SEAL_OVERHEAD;
    if (crypto_aead_xchacha20poly1305_ietf_decrypt_detached(NULL, NULL, box, len, box + len, ad,
                                                            ad_len, nonce->b, key->b) != 0) {
        return plmm_fail(err, PLMM_ERR_AUTH,
                         "cannot open a box of %zu octets: it was sealed by another key, for "
                         "another purpose, or changed on the way",
                         box_len);
    }
    /* Block 0 of the stream went into the tag's key. */
    int rc = len == 0 ? 0 : crypto_stream_xchacha20_xor_ic(msg, box, len, nonce->b, 1, key->b);
    PLMM_ASSERT(rc == 0);
    return PLMM_OK;
}

/* ---- several ---- */

/* Below that, one by one is faster. */
enum { LANES_WORTH = 5 };

static bool in_lanes(size_t n)
{
#if defined(__x86_64__)
    return n >= LANES_WORTH && plmm__simd_now() == PLMM__SIMD_AVX512;
#else
    (void)n;
    return false;
#endif
}

static void seal_one(const plmm_sealing *v, size_t len, size_t ad_len)
{
    plmm_seal(v->out, v->in, len, v->ad, ad_len, v->nonce, v->key);
}

static void open_one(plmm_sealing *v, size_t len, size_t ad_len)
{
    v->ok = plmm_open(v->out, v->in, len + PLMM_SEAL_OVERHEAD, v->ad, ad_len, v->nonce, v->key,
                      NULL) == PLMM_OK;
}

/* lanes = v[0..have), the last one again in those that are left. Returns have. */
static size_t fill(plmm_sealing lanes[SEAL_LANES], const plmm_sealing *v, size_t n)
{
    const size_t have = n < SEAL_LANES ? n : SEAL_LANES;
    for (size_t l = 0; l < SEAL_LANES; l++) {
        lanes[l] = v[l < have ? l : have - 1];
    }
    return have;
}

void plmm_seal_many(const plmm_sealing *v, size_t n, size_t len, size_t ad_len)
{
    while (in_lanes(n)) {
#if defined(__x86_64__)
        plmm_sealing lanes[SEAL_LANES];
        const size_t have = fill(lanes, v, n);
        plmm__seal_avx512(lanes, have, len, ad_len);
        v += have;
        n -= have;
#endif
    }
    for (; n > 0; n--) {
        seal_one(v++, len, ad_len);
    }
}

void plmm_open_many(plmm_sealing *v, size_t n, size_t len, size_t ad_len)
{
    while (in_lanes(n)) {
#if defined(__x86_64__)
        plmm_sealing lanes[SEAL_LANES];
        const size_t have = fill(lanes, v, n);
        plmm__open_avx512(lanes, have, len, ad_len);
        for (size_t l = 0; l < have; l++) {
            v[l].ok = lanes[l].ok;
        }
        v += have;
        n -= have;
#endif
    }
    for (; n > 0; n--) {
        open_one(v++, len, ad_len);
    }
}

void plmm_mac(plmm_tag *out, const plmm_key *key, const char *label, const void *msg, size_t len)
{
    plmm__blake2b(out->b, sizeof out->b, key->b, "plmm.mac", label, msg, len);
}

plmm_status plmm_mac_verify(const plmm_tag *tag, const plmm_key *key, const char *label,
                            const void *msg, size_t len, plmm_error *err)
{
    plmm_tag want;
    plmm_mac(&want, key, label, msg, len);
    bool ok = plmm_equal(&want, tag, sizeof want);
    plmm_wipe(&want, sizeof want);
    if (!ok) {
        return plmm_fail(err, PLMM_ERR_AUTH,
                         "cannot verify the '%s' tag: it is not by the expected key over these %zu "
                         "octets",
                         label, len);
    }
    return PLMM_OK;
}
