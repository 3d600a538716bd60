/* Typed keys over libsodium: hashing, derivation, identities, agreement. The constructions are in
 * keys.h; this file only fits the types together and turns return codes into sentences. */
#include "plmm/keys.h"

#include "keys_internal.h"
#include "plmm/bytes.h"

#include <sodium.h>
#include <string.h>

_Static_assert(sizeof(plmm_digest) == sizeof(crypto_generichash_blake2b_state), "digest state");
_Static_assert(sizeof(plmm_transcript) == sizeof(crypto_generichash_blake2b_state), "transcript");
_Static_assert(sizeof(plmm_sign_sk) == crypto_sign_SECRETKEYBYTES, "Ed25519 secret key");
_Static_assert(sizeof(plmm_signature) == crypto_sign_BYTES, "Ed25519 signature");
_Static_assert(sizeof(plmm_seed) == crypto_sign_SEEDBYTES, "Ed25519 seed");
_Static_assert(sizeof(plmm_dh_sk) == crypto_scalarmult_SCALARBYTES, "X25519 scalar");
_Static_assert(crypto_shorthash_KEYBYTES == 16 && crypto_shorthash_BYTES == 8, "SipHash-2-4");
_Static_assert(PLMM_LABEL_BYTES + 8 == crypto_generichash_blake2b_PERSONALBYTES, "person");

plmm_status plmm_crypto_init(plmm_error *err)
{
    if (sodium_init() < 0) {
        return plmm_fail(err, PLMM_ERR_IO, "cannot start libsodium: sodium_init failed");
    }
    return PLMM_OK;
}

plmm_status plmm_seed_system(plmm_seed *out, plmm_error *err)
{
    PLMM_TRY(plmm_crypto_init(err));
    randombytes_buf(out->b, sizeof out->b);
    return PLMM_OK;
}

void plmm_wipe(void *p, size_t len)
{
    sodium_memzero(p, len);
}

bool plmm_equal(const void *a, const void *b, size_t len)
{
    return sodium_memcmp(a, b, len) == 0;
}

bool plmm_is_zero(const void *p, size_t len)
{
    return sodium_is_zero(p, len) == 1;
}

uint64_t plmm_short_hash(const uint8_t key[16], const void *p, size_t len)
{
    uint8_t out[crypto_shorthash_BYTES];
    (void)crypto_shorthash(out, p, len, key);
    return plmm_load_le64(out);
}

/* ---- BLAKE2b with a personalisation ---- */

void plmm__person(uint8_t out[16], const char *construction, const char *label)
{
    PLMM_ASSERT(strnlen(label, PLMM_LABEL_BYTES + 1) == PLMM_LABEL_BYTES);
    memcpy(out, construction, 8);
    memcpy(out + 8, label, PLMM_LABEL_BYTES);
}

void plmm__blake2b(uint8_t *out, size_t out_len, const uint8_t *key, const char *construction,
                   const char *label, const void *msg, size_t len)
{
    uint8_t person[16];
    plmm__person(person, construction, label);
    int rc = crypto_generichash_blake2b_salt_personal(out, out_len, msg, len, key,
                                                      key == NULL ? 0 : 32, NULL, person);
    PLMM_ASSERT(rc == 0);
}

void plmm_kdf(uint8_t out[32], const uint8_t key[32], const char *label, const void *info,
              size_t info_len)
{
    plmm__blake2b(out, 32, key, "plmm.kdf", label, info, info_len);
}

void plmm_seed_derive(plmm_seed *out, const plmm_seed *seed, const char *label, uint64_t index)
{
    uint8_t info[8];
    plmm_store_le64(info, index);
    plmm_kdf(out->b, seed->b, label, info, sizeof info);
}

void plmm_key_derive(plmm_key *out, const plmm_key *key, const char *label, const void *info,
                     size_t info_len)
{
    plmm_kdf(out->b, key->b, label, info, info_len);
}

void plmm_expand(uint8_t *out, size_t len, const plmm_seed *seed, const char *label)
{
    static const uint8_t nonce[crypto_stream_chacha20_ietf_NONCEBYTES];
    uint8_t key[32];
    PLMM_ASSERT((uint64_t)len < UINT64_C(1) << 38);
    if (len == 0) {
        return; /* out may be NULL, which libsodium does not allow */
    }
    plmm_kdf(key, seed->b, label, NULL, 0);
    int rc = crypto_stream_chacha20_ietf(out, len, nonce, key);
    PLMM_ASSERT(rc == 0);
    plmm_wipe(key, sizeof key);
}

void plmm_hash_bytes(plmm_hash *out, const char *label, const void *msg, size_t len)
{
    plmm__blake2b(out->b, sizeof out->b, NULL, "plmm.hsh", label, msg, len);
}

/* ---- streams of octets ---- */

/* libsodium's type, behind ours of the same size and alignment. */
static crypto_generichash_blake2b_state *blake2b_state(uint8_t *state)
{
    return (crypto_generichash_blake2b_state *)(void *)state;
}

void plmm_digest_init(plmm_digest *d)
{
    int rc = crypto_generichash_blake2b_init(blake2b_state(d->state), NULL, 0, 32);
    PLMM_ASSERT(rc == 0);
}

void plmm_digest_update(plmm_digest *d, const void *p, size_t len)
{
    int rc = crypto_generichash_blake2b_update(blake2b_state(d->state), p, len);
    PLMM_ASSERT(rc == 0);
}

void plmm_digest_final(plmm_digest *d, plmm_hash *out)
{
    int rc = crypto_generichash_blake2b_final(blake2b_state(d->state), out->b, sizeof out->b);
    PLMM_ASSERT(rc == 0);
    plmm_wipe(d, sizeof *d);
}

void plmm_transcript_init(plmm_transcript *t, const char *label)
{
    uint8_t person[16];
    plmm__person(person, "plmm.trn", label);
    int rc = crypto_generichash_blake2b_init_salt_personal(blake2b_state(t->state), NULL, 0, 32,
                                                           NULL, person);
    PLMM_ASSERT(rc == 0);
}

void plmm_transcript_bytes(plmm_transcript *t, const void *p, size_t len)
{
    uint8_t n[8];
    plmm_store_le64(n, (uint64_t)len);
    int rc = crypto_generichash_blake2b_update(blake2b_state(t->state), n, sizeof n);
    if (len > 0) {
        rc |= crypto_generichash_blake2b_update(blake2b_state(t->state), p, len);
    }
    PLMM_ASSERT(rc == 0);
}

void plmm_transcript_str(plmm_transcript *t, const char *s)
{
    plmm_transcript_bytes(t, s, strlen(s));
}

void plmm_transcript_u64(plmm_transcript *t, uint64_t v)
{
    uint8_t b[8];
    plmm_store_le64(b, v);
    plmm_transcript_bytes(t, b, sizeof b);
}

void plmm_transcript_f64(plmm_transcript *t, double v)
{
    uint64_t u;
    _Static_assert(sizeof u == sizeof v, "binary64");
    memcpy(&u, &v, sizeof u);
    plmm_transcript_u64(t, u);
}

void plmm_transcript_final(plmm_transcript *t, plmm_hash *out)
{
    int rc = crypto_generichash_blake2b_final(blake2b_state(t->state), out->b, sizeof out->b);
    PLMM_ASSERT(rc == 0);
    plmm_wipe(t, sizeof *t);
}

/* ---- Ed25519 ---- */

enum { SIGNED_BYTES = 8 + PLMM_LABEL_BYTES + 32 };

/* What is really signed: construction, label, digest. */
static void to_be_signed(uint8_t out[SIGNED_BYTES], const char *label, const void *msg, size_t len)
{
    plmm__person(out, "plmm.sig", label);
    int rc = crypto_generichash_blake2b(out + 16, 32, msg, len, NULL, 0);
    PLMM_ASSERT(rc == 0);
}

void plmm_sign_keypair(plmm_sign_pk *pk, plmm_sign_sk *sk, const plmm_seed *seed)
{
    int rc = crypto_sign_seed_keypair(pk->b, sk->b, seed->b);
    PLMM_ASSERT(rc == 0);
}

void plmm_sign(plmm_signature *out, const plmm_sign_sk *sk, const char *label, const void *msg,
               size_t len)
{
    uint8_t m[SIGNED_BYTES];
    to_be_signed(m, label, msg, len);
    int rc = crypto_sign_detached(out->b, NULL, m, sizeof m, sk->b);
    PLMM_ASSERT(rc == 0);
}

plmm_status plmm_verify(const plmm_signature *sig, const plmm_sign_pk *pk, const char *label,
                        const void *msg, size_t len, plmm_error *err)
{
    uint8_t m[SIGNED_BYTES];
    to_be_signed(m, label, msg, len);
    if (crypto_sign_verify_detached(sig->b, m, sizeof m, pk->b) != 0) {
        return plmm_fail(err, PLMM_ERR_AUTH,
                         "cannot verify the '%s' signature: it is not by the expected key over "
                         "these %zu octets",
                         label, len);
    }
    return PLMM_OK;
}

/* ---- X25519 ---- */

void plmm_dh_keypair(plmm_dh_pk *pk, plmm_dh_sk *sk, const plmm_seed *seed)
{
    memcpy(sk->b, seed->b, sizeof sk->b);
    plmm_dh_public(pk, sk);
}

void plmm_dh_public(plmm_dh_pk *pk, const plmm_dh_sk *sk)
{
    int rc = crypto_scalarmult_base(pk->b, sk->b);
    PLMM_ASSERT(rc == 0);
}

/* The points of low order of Curve25519 and its twist, and their other representations below 2^255
 * (Bernstein, "A state-of-the-art Diffie-Hellman function", validation of public keys). */
static const uint8_t low_order[][32] = {
    {0},
    {1},
    {0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3,
     0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32,
     0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00},
    {0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1,
     0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c,
     0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57},
    {0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
    {0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
    {0xee, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
};

bool plmm_dh_low_order(const plmm_dh_pk *pk)
{
    plmm_dh_pk p = *pk;
    p.b[31] &= 0x7f; /* as X25519 reads it */
    for (size_t i = 0; i < sizeof low_order / sizeof low_order[0]; i++) {
        if (plmm_equal(&p, low_order[i], sizeof p)) {
            return true;
        }
    }
    return false;
}

plmm_status plmm_dh_agree(plmm_key *out, const plmm_dh_sk *sk, const plmm_dh_pk *own,
                          const plmm_dh_pk *peer, const char *label, plmm_error *err)
{
    int order = sodium_compare(own->b, peer->b, sizeof own->b);
    if (order == 0) {
        return plmm_fail(err, PLMM_ERR_PEER,
                         "cannot agree on a key: the peer's public key is this party's own");
    }
    uint8_t raw[32];
    int rc = crypto_scalarmult(raw, sk->b, peer->b);
    if (rc != 0 || plmm_is_zero(raw, sizeof raw)) {
        plmm_wipe(raw, sizeof raw);
        return plmm_fail(err, PLMM_ERR_PEER,
                         "cannot agree on a key: the peer's public key is of low order");
    }
    uint8_t both[64];
    memcpy(both, order < 0 ? own->b : peer->b, 32);
    memcpy(both + 32, order < 0 ? peer->b : own->b, 32);
    plmm_kdf(out->b, raw, label, both, sizeof both);
    plmm_wipe(raw, sizeof raw);
    return PLMM_OK;
}

/* ---- Ed25519 keys in X25519 ---- */

/* X25519 of own with peer; false for a peer that is no point of the prime-order group. */
static bool identity_raw(uint8_t raw[32], const plmm_sign_sk *own, const plmm_sign_pk *peer)
{
    uint8_t sk[crypto_scalarmult_curve25519_BYTES], pk[crypto_scalarmult_curve25519_BYTES];
    if (crypto_sign_ed25519_pk_to_curve25519(pk, peer->b) != 0) {
        return false;
    }
    int rc = crypto_sign_ed25519_sk_to_curve25519(sk, own->b);
    rc |= crypto_scalarmult_curve25519(raw, sk, pk);
    plmm_wipe(sk, sizeof sk);
    return rc == 0 && !plmm_is_zero(raw, sizeof pk);
}

plmm_status plmm_identity_agree(plmm_key *out, const plmm_sign_sk *own, const plmm_sign_pk *peer,
                                const char *label, const void *info, size_t info_len,
                                plmm_error *err)
{
    const uint8_t *mine = own->b + 32; /* an Ed25519 secret key ends with the public one */
    uint8_t raw[32], said[64 + PLMM_AGREE_INFO_MAX];
    PLMM_ASSERT(info_len <= PLMM_AGREE_INFO_MAX);
    int order = sodium_compare(mine, peer->b, 32);
    if (order == 0) {
        return plmm_fail(err, PLMM_ERR_PEER,
                         "cannot agree on a key: the peer's identity is this party's own");
    }
    if (!identity_raw(raw, own, peer)) {
        plmm_wipe(raw, sizeof raw);
        return plmm_fail(
            err, PLMM_ERR_PEER,
            "cannot agree on a key: the peer's identity is no point of Ed25519's group");
    }
    memcpy(said, order < 0 ? mine : peer->b, 32);
    memcpy(said + 32, order < 0 ? peer->b : mine, 32);
    if (info_len > 0) {
        memcpy(said + 64, info, info_len);
    }
    plmm_kdf(out->b, raw, label, said, 64 + info_len);
    plmm_wipe(raw, sizeof raw);
    return PLMM_OK;
}
