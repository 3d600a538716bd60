/* Boxes and MACs: thin over libsodium, with failures that leave the output alone. */
#include "plmm/seal.h"

#include "keys_internal.h"
#include "plmm/bytes.h"

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

enum { SHORT = 4096 }; /* octets of a message that are deciphered aside */

/* libsodium zeroes the output of a call that fails, and msg is to be left alone: a short message is
 * deciphered aside, a long one once its tag is known to be right. */
static bool decipher(uint8_t *msg, const uint8_t *box, size_t len, const void *ad, size_t ad_len,
                     const plmm_nonce *nonce, const plmm_key *key)
{
    uint8_t aside[SHORT], *out = len <= SHORT ? aside : msg;
    if (len > SHORT && crypto_aead_xchacha20poly1305_ietf_decrypt_detached(
                           NULL, NULL, box, len, box + len, ad, ad_len, nonce->b, key->b) != 0) {
        return false;
    }
    int rc = crypto_aead_xchacha20poly1305_ietf_decrypt(
        out, NULL, NULL, box, len + PLMM_SEAL_OVERHEAD, ad, ad_len, nonce->b, key->b);
    PLMM_ASSERT(rc == 0 || len <= SHORT);
    if (rc == 0 && len > 0 && len <= SHORT) {
        memcpy(msg, aside, len);
        plmm_wipe(aside, len);
    }
    return rc == 0;
}

plmm_status plmm_open(uint8_t *msg, const uint8_t *box, size_t box_len, const void *ad,
                      size_t ad_len, const plmm_nonce *nonce, const plmm_key *key, plmm_error *err)
{
    if (box_len < PLMM_SEAL_OVERHEAD) {
        return plmm_fail(err, PLMM_ERR_WIRE, "cannot open a box of %zu octets: the least is %d",
                         box_len, PLMM_SEAL_OVERHEAD);
    }
    if (!decipher(msg, box, box_len - PLMM_SEAL_OVERHEAD, ad, ad_len, nonce, key)) {
        return plmm_fail(err, PLMM_ERR_AUTH,
                         "cannot open a box of %zu octets: it was sealed by another key, for "
                         "another purpose, or changed on the way",
                         box_len);
    }
    return PLMM_OK;
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
