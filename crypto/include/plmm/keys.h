/* plmm/keys.h -- typed secrets, identities (Ed25519), agreement (X25519), labelled key derivation
 * and hashing (BLAKE2b), transcripts, wiping and comparison.
 *
 * Nothing here draws randomness except plmm_seed_system: everything else is a function of its
 * arguments, so that a protocol party gets its randomness as an event and a run can be repeated.
 * Allocates nothing. Thread-safe; a transcript or digest belongs to one thread at a time. Time and
 * addresses depend on lengths and public values (labels, public keys, messages), never on secrets.
 *
 * A LABEL is a string of exactly PLMM_LABEL_BYTES characters that names one use of one function. It
 * goes into BLAKE2b's personalisation parameter beside the name of the construction, so that two
 * uses with different labels, and two constructions with the same label, have nothing in common.
 * One label, one meaning, in the whole product. A label of another length is a programmer's error.
 */
#ifndef PLMM_KEYS_H
#define PLMM_KEYS_H

#include "plmm/status.h"

enum { PLMM_LABEL_BYTES = 8 };

/* One type a meaning, so that a seed cannot be passed for a hash. Plain bytes, no padding. */
typedef struct plmm_seed {
    uint8_t b[32];
} plmm_seed; /* SECRET: uniform randomness that other things are derived from */
typedef struct plmm_key {
    uint8_t b[32];
} plmm_key; /* SECRET: symmetric key of a box, a MAC or a derivation */
typedef struct plmm_hash {
    uint8_t b[32];
} plmm_hash; /* public: BLAKE2b-256 */
typedef struct plmm_sign_sk {
    uint8_t b[64];
} plmm_sign_sk; /* SECRET: Ed25519, seed then public key */
typedef struct plmm_sign_pk {
    uint8_t b[32];
} plmm_sign_pk; /* public: Ed25519 */
typedef struct plmm_signature {
    uint8_t b[64];
} plmm_signature; /* public: Ed25519 */
typedef struct plmm_dh_sk {
    uint8_t b[32];
} plmm_dh_sk; /* SECRET: X25519, clamped on use */
typedef struct plmm_dh_pk {
    uint8_t b[32];
} plmm_dh_pk; /* public: X25519 */

/* Picks the fastest implementation for this processor. Call once at the start of a program, before
 * other threads; again is harmless. Without it results are the same, only slower.
 * PLMM_ERR_IO if libsodium cannot start. */
PLMM_NODISCARD plmm_status plmm_crypto_init(plmm_error *err);

/* 32 octets from the operating system (getrandom). The ONLY source of randomness of this room, for
 * drivers; the machines of proto/ take the seed it gives. PLMM_ERR_IO if libsodium cannot start. */
PLMM_NODISCARD plmm_status plmm_seed_system(plmm_seed *out, plmm_error *err);

/* Overwrites p[0..len) with zeros in a way the compiler cannot remove. len may be 0. */
void plmm_wipe(void *p, size_t len);

/* Constant-time equality of len octets. memcmp must not be used on secrets, tags or keys. */
bool plmm_equal(const void *a, const void *b, size_t len);

/* True if all len octets are zero; constant time. */
bool plmm_is_zero(const void *p, size_t len);

/* ---- derivation ---- */

/* out = BLAKE2b-256(key = key, person = "plmm.kdf" | label, message = info[0..info_len)).
 * out may be key. info may be NULL when info_len is 0. */
void plmm_kdf(uint8_t out[32], const uint8_t key[32], const char *label, const void *info,
              size_t info_len);

/* The same with types: the index-th seed (info = little-endian 64-bit index) or a key under
 * info. */
void plmm_seed_derive(plmm_seed *out, const plmm_seed *seed, const char *label, uint64_t index);
void plmm_key_derive(plmm_key *out, const plmm_key *key, const char *label, const void *info,
                     size_t info_len);

/* out[0..len) = ChaCha20 (RFC 8439, nonce 0, counter from 0) under plmm_kdf(seed, label): as many
 * octets as wanted from one seed; a shorter output is a prefix of a longer one. len < 2^38. */
void plmm_expand(uint8_t *out, size_t len, const plmm_seed *seed, const char *label);

/* ---- hashing ---- */

/* out = BLAKE2b-256(person = "plmm.hsh" | label, message). */
void plmm_hash_bytes(plmm_hash *out, const char *label, const void *msg, size_t len);

/* Plain BLAKE2b-256 of a stream of octets, the value of `b2sum -l 256`: for files. */
typedef struct plmm_digest {
    _Alignas(64) uint8_t state[384];
} plmm_digest;
void plmm_digest_init(plmm_digest *d);
void plmm_digest_update(plmm_digest *d, const void *p, size_t len);
void plmm_digest_final(plmm_digest *d, plmm_hash *out); /* d is wiped */

/* Transcript: BLAKE2b-256 with person = "plmm.trn" | label over fields, each preceded by its length
 * as a little-endian 64-bit integer. Two different lists of fields never meet in one string of
 * octets; what a field means follows from the label and its place. */
typedef struct plmm_transcript {
    _Alignas(64) uint8_t state[384];
} plmm_transcript;
void plmm_transcript_init(plmm_transcript *t, const char *label);
void plmm_transcript_bytes(plmm_transcript *t, const void *p, size_t len);
void plmm_transcript_str(plmm_transcript *t, const char *s);    /* without the NUL */
void plmm_transcript_u64(plmm_transcript *t, uint64_t v);       /* 8 octets, little-endian */
void plmm_transcript_f64(plmm_transcript *t, double v);         /* its IEEE 754 bits as u64 */
void plmm_transcript_final(plmm_transcript *t, plmm_hash *out); /* t is wiped */

/* SipHash-2-4 (Aumasson, Bernstein 2012) of p[0..len) under a 128-bit key: a short keyed hash for
 * lotteries and tables, where the key is fixed after whoever chooses p has chosen. */
uint64_t plmm_short_hash(const uint8_t key[16], const void *p, size_t len);

/* ---- identities: Ed25519 (RFC 8032) ---- */

/* The key pair whose RFC 8032 private key is seed. Keep the seed; sk is made from it. */
void plmm_sign_keypair(plmm_sign_pk *pk, plmm_sign_sk *sk, const plmm_seed *seed);

/* Signature over "plmm.sig" | label | BLAKE2b-256(msg): 48 octets whatever len is, so nothing
 * signed under one label can be shown under another. Deterministic. */
void plmm_sign(plmm_signature *out, const plmm_sign_sk *sk, const char *label, const void *msg,
               size_t len);

/* PLMM_ERR_AUTH if sig is not pk's signature over msg under label, or pk is of small order. */
PLMM_NODISCARD plmm_status plmm_verify(const plmm_signature *sig, const plmm_sign_pk *pk,
                                       const char *label, const void *msg, size_t len,
                                       plmm_error *err);

/* ---- agreement: X25519 (RFC 7748) ---- */

/* sk = seed, pk = X25519(sk, 9). */
void plmm_dh_keypair(plmm_dh_pk *pk, plmm_dh_sk *sk, const plmm_seed *seed);

/* pk of sk, for a party that got sk by reconstruction. */
void plmm_dh_public(plmm_dh_pk *pk, const plmm_dh_sk *sk);

/* True if pk is of low order: it gives a secret of zero with everybody. Public; not constant time. */
bool plmm_dh_low_order(const plmm_dh_pk *pk);

/* out = plmm_kdf(X25519(sk, peer), label, smaller pk | larger pk), smaller as a little-endian
 * integer: both sides get the same key, and it is bound to both public keys. own must be the public
 * key of sk (the caller keeps it: computing it would double the cost); a wrong one only gives a key
 * nobody else has. PLMM_ERR_PEER if peer equals own, is of low order, or the raw secret is zero;
 * out is then untouched. */
PLMM_NODISCARD plmm_status plmm_dh_agree(plmm_key *out, const plmm_dh_sk *sk, const plmm_dh_pk *own,
                                         const plmm_dh_pk *peer, const char *label,
                                         plmm_error *err);

/* ---- agreement of identities ---- */

enum { PLMM_AGREE_INFO_MAX = 64 };

/* out = plmm_kdf(X25519(own, peer), label, smaller pk | larger pk | info[0..info_len)) of two Ed25519
 * identities, each taken to Curve25519 (the private one: the scalar that Ed25519 signs with; the public
 * one: the birational map, RFC 7748 4.1). pks are the Ed25519 ones, smaller as a little-endian integer.
 * Static with static: the two have one key a label and info, always the same, and nothing travels. It is
 * for MACs between them and for nothing secret: who learns either private key learns it, and can then
 * pose to that party as the other. That one key pair signs and agrees is safe where hashes are ideal
 * and gap-DH is hard (Thormarker, On using the same key pair for Ed25519 and an X25519 based KEM, 2021;
 * Degabriele, Lehmann, Paterson, Smart, Strefler, CT-RSA 2012). info_len is at most
 * PLMM_AGREE_INFO_MAX: asserted. About two X25519. PLMM_ERR_PEER if peer is own's public key or no point of
 * the prime-order group, or the raw secret is zero; out is then untouched. */
PLMM_NODISCARD plmm_status plmm_identity_agree(plmm_key *out, const plmm_sign_sk *own,
                                               const plmm_sign_pk *peer, const char *label,
                                               const void *info, size_t info_len, plmm_error *err);

#endif
