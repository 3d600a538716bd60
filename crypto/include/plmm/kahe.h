/* plmm/kahe.h -- key-additive encryption of integer vectors from Ring-LWE: the sum of ciphertexts
 * is a ciphertext of the sum under the sum of the keys.
 *
 * In R_q = Z_q[X] / (X^N + 1) a device encrypts a block of coordinates, packed into a polynomial m
 * with small signed coefficients, under its key k as
 *
 *   c = a k + T e + m   mod q
 *
 * with a public polynomial a, another one for every block, and a small private error e. So
 * sum(c) - a sum(k) = sum(m) + T sum(e), and as long as that is below q / 2 in magnitude its residue
 * mod T nearest to 0 is sum(m) exactly. A key has N coefficients whatever the length of the vector:
 * masking and sharing a key instead of the vector is what this is for. Who knows the sum of the keys
 * learns the sum of the vectors and the sum of the errors, and nothing else (docs/protocol.md has
 * the argument). Sources: Bell et al., ACORN, USENIX Security 2023, section 4; Bell et al., Willow,
 * CRYPTO 2025; Lyubashevsky, Peikert, Regev, EUROCRYPT 2010 (Ring-LWE).
 *
 * SETS. The parameters are two pinned sets; there is no way to ask for others, since who chooses N,
 * q, T or a chooses whether anything is hidden.
 *
 *        N     q                                    T     slots a coefficient   octets a coordinate
 *   P1   2048  1125899906826241                     2^32  1 of 32 bits          6.25
 *   P2   4096  1125899906826241 * 1125899906629633  2^84  3 of 28 bits          4.17
 *
 * Errors: a coefficient is the number of ones among 64 random bits, less 32 (standard deviation 4).
 * Keys: uniform. q of P2 is kept as residues mod its two primes. Both give 128 bits and more against
 * the best known attacks (quantum ones too) by the tables of the Homomorphic Encryption Standard.
 *
 * INTEGERS, NEVER RESIDUES. A coordinate is a signed integer x, encoded as it is: reduced mod
 * anything before it is encrypted, it would lose its carries and the sum would be wrong. P1 puts one
 * into a coefficient; P2 three, x_0 + 2^28 x_1 + 2^56 x_2, the carries of whose sums are resolved
 * exactly when the sum is decrypted. Nothing wraps if and only if n times the largest |x| is below
 * half a slot (plmm_kahe_check). In P1 a sum beyond that comes out mod 2^32; in P2 it comes out mod
 * 2^28 and moves the sum in the next slot by one.
 *
 * FORMS. All polynomials are in NTT form: residue i is the value at psi^(2 brv(i) + 1), brv the
 * reversal of log2 N bits, psi the pinned primitive 2N-th root of unity 1094367314627419 mod the
 * first prime (its square for P1) and 967006076000656 mod the second. Blocks of N (P1) or 3 N (P2)
 * coordinates are taken in groups of R = 8, the last group of what is left, 1..8:
 *   coordinate  i R + l, or (s N + i) R + l in P2, of a group is slot s of coefficient i of block l
 *   residue     (p N + i) R + l of a group is residue i, mod prime p, of block l
 * A ciphertext on the wire is its residues of 50 bits each, packed as plmm_pack would.
 *
 * RANDOMNESS, WHICH MUST NOT BE MIXED. Three things come from seeds, of three types:
 *   a      from the fixed text PLMM_KAHE_TEXT: nobody chooses it
 *   keys   plmm_seed, or masks of keys from pairwise secrets; those may be shared among parties, and
 *          revealed (as SecAgg+ does), as long as the sum of a device's stays unknown
 *   errors plmm_kahe_noise: from randomness of the encrypting device that no protocol ever shares,
 *          reveals or reconstructs. With e known a ciphertext hides nothing: c - T e = a k + m has N
 *          unknowns. A (noise, context) encrypts ONE vector.
 * All expand by AES-256-CTR (plmm/mask.h, plmm_mask_fill), words of 64 bits, little-endian; uniform
 * residues are the low 50 bits of those words for which they are below the prime, in order.
 *
 * Vectors are int32, of 1..PLMM_KAHE_LENGTH_MAX coordinates. Nothing allocates; thread-safe on
 * disjoint outputs. Chosen at run time by the processor, equal to the bit: AVX-512 with IFMA and VBMI,
 * or portable C. Time and addresses depend on the set and lengths, not on secrets; but for a
 * rejected word, once in 2^25 keys of P1 and 2^20 of P2, which says nothing about the words that
 * are taken.
 */
#ifndef PLMM_KAHE_H
#define PLMM_KAHE_H

#include "plmm/keys.h"
#include "plmm/mask.h"

/* Ids are on the wire: never renumber. */
typedef enum plmm_kahe_set { PLMM_KAHE_P1 = 1, PLMM_KAHE_P2 = 2 } plmm_kahe_set;

enum {
    PLMM_KAHE_RESIDUE_BITS = 50,
    PLMM_KAHE_PRIMES_MAX = 2,
    PLMM_KAHE_KEY_MAX = 8192, /* residues of the longest key */
    PLMM_KAHE_GROUP = 8,      /* blocks */
    PLMM_KAHE_LENGTH_MAX = 1 << 26
};
#define PLMM_KAHE_TEXT "plmm kahe public polynomials, 2026: none of our choosing"

/* The numbers of a set. */
typedef struct plmm_kahe_info {
    uint32_t n;                           /* N */
    uint32_t primes;                      /* of q */
    uint64_t prime[PLMM_KAHE_PRIMES_MAX]; /* 50 bits each, = 1 mod 8192 */
    uint32_t plain_bits;                  /* log2 T */
    uint32_t slots, slot_bits;            /* coordinates a coefficient */
} plmm_kahe_info;

/* NULL for what is not a set. */
const plmm_kahe_info *plmm_kahe_info_of(uint32_t set);

/* May `devices` vectors of `length` coordinates, each at most max_abs in magnitude, be summed?
 * PLMM_ERR_RANGE with a sentence if not: devices * max_abs does not fit a slot's sum, or the sum of
 * errors exceeds (q / 2 - half a plaintext) / T anywhere with a probability above 2^-tail_bits (by
 * Hoeffding's inequality and the union bound; for P1 up to 4,095 devices, and P2 up to 1,023, it is
 * zero). PLMM_ERR_UNSUPPORTED for another set, PLMM_ERR_RANGE for a length or tail out of its range
 * (1..PLMM_KAHE_LENGTH_MAX; 1..256). */
PLMM_NODISCARD plmm_status plmm_kahe_check(uint32_t set, uint64_t devices, uint64_t max_abs,
                                           size_t length, uint32_t tail_bits, plmm_error *err);

/* Sizes. The set must be one, and length in its range: asserted, here and below. */
size_t plmm_kahe_residues(uint32_t set, size_t length); /* uint64 of a ciphertext in memory */
size_t plmm_kahe_bytes(uint32_t set, size_t length);    /* octets of one on the wire */
size_t plmm_kahe_key_residues(uint32_t set);            /* N times primes: uint64 of a key */
size_t plmm_kahe_key_bytes(uint32_t set);               /* octets of one packed */
size_t plmm_kahe_public_residues(uint32_t set, size_t length); /* uint64 of the a of all groups */
size_t plmm_kahe_scratch_bytes(uint32_t set);                  /* aligned to 64; see below */

/* ---- public polynomials ---- */

/* a[0..plmm_kahe_public_residues): those of all groups that a vector of this length has, always 8
 * blocks a group: residue i of block l of group g, mod prime p, is number ((g primes + p) N + i) 8 + l,
 * made of word 2^16 g + 8 i + l of the stream of the secret H(PLMM_KAHE_TEXT) (plmm_hash_bytes under
 * "kahe.pub") in the context whose first octet is the set, the second p, the others 0; a word whose
 * low 50 bits are no residue (once in 2^32) gives them less the prime. Make it once and let all who
 * encrypt or decrypt share it; where 8 octets a coordinate are too much pass NULL there, and each
 * group is made again in the scratch. */
void plmm_kahe_public(uint64_t *a, uint32_t set, size_t length);

/* ---- keys: uint64 [plmm_kahe_key_residues(set)], SECRET, residues below their prime, prime by
 * prime ---- */

/* A uniform key from a fresh private seed: the stream of plmm_kdf(seed, "kahe.key") in the context
 * of the set (its first octet); prime p takes the words from 2^16 p on. */
void plmm_kahe_key_from_seed(uint64_t *key, uint32_t set, const plmm_seed *seed);

/* key = key +/- F(secret, context): a mask of a key. secret: a pairwise key or a self-mask seed;
 * context: the session, which must cover the set; both as plmm_mask_init takes them. Prime p takes
 * the words of that stream from 2^16 p on. */
void plmm_kahe_key_mask(uint64_t *key, uint32_t set, const uint8_t secret[32],
                        const plmm_hash *context, plmm_mask_sign sign);

/* key = key + x, or key - x. */
void plmm_kahe_key_add(uint64_t *key, const uint64_t *x, uint32_t set);
void plmm_kahe_key_sub(uint64_t *key, const uint64_t *x, uint32_t set);

/* 50 bits a residue. Unpacking takes foreign octets: PLMM_ERR_WIRE if len is not
 * plmm_kahe_key_bytes(set) or a residue is not below its prime; key is then untouched. */
void plmm_kahe_key_pack(uint8_t *out, const uint64_t *key, uint32_t set);
PLMM_NODISCARD plmm_status plmm_kahe_key_unpack(uint64_t *key, uint32_t set, const uint8_t *in,
                                                size_t len, plmm_error *err);

/* ---- errors ---- */

/* SECRET. Where one vector's errors come from. A type of its own, made from a seed that is nobody
 * else's: never pass a seed that is shared, sealed to others or derived from what is. */
typedef struct plmm_kahe_noise {
    plmm_mask stream;
} plmm_kahe_noise;

/* The noise of the one vector that is encrypted in this context (the session), from the device's
 * private randomness: plmm_kdf(private, "kahe.err"). The word of coefficient i of block l of group
 * g is word 8 (N g + i) + l of the stream. */
void plmm_kahe_noise_init(plmm_kahe_noise *out, const plmm_seed *private_seed,
                          const plmm_hash *context);

/* ---- vectors ---- */

/* payload[0..plmm_kahe_bytes(set, length)) = encryption of x[0..length) under key. a: from
 * plmm_kahe_public for at least this length, or NULL. scratch: plmm_kahe_scratch_bytes(set) octets
 * aligned to 64; what is secret in it is wiped. */
void plmm_kahe_encrypt(uint8_t *payload, uint32_t set, const int32_t *x, size_t length,
                       const uint64_t *key, const plmm_kahe_noise *noise, const uint64_t *a,
                       void *scratch);

/* sum = sum + ciphertext, residue by residue; begin with zeros. Foreign octets: PLMM_ERR_WIRE if len
 * is not plmm_kahe_bytes(set, length) or a residue is not below its prime; sum is then as before.
 * Every other string of octets is a ciphertext (of something). */
PLMM_NODISCARD plmm_status plmm_kahe_add(uint64_t *sum, uint32_t set, size_t length,
                                         const uint8_t *payload, size_t len, plmm_error *err);

/* PLMM_ERR_WIRE where plmm_kahe_add would refuse, without adding. */
PLMM_NODISCARD plmm_status plmm_kahe_payload_check(uint32_t set, size_t length,
                                                   const uint8_t *payload, size_t len,
                                                   plmm_error *err);

/* sum = sum + other: sums made by several threads. */
void plmm_kahe_merge(uint64_t *sum, const uint64_t *other, uint32_t set, size_t length);

/* out[0..length) = the sum of the vectors whose ciphertexts are in sum, under the sum of their keys.
 * out may be the memory of sum itself (its beginning), which is then lost. a and scratch as for
 * plmm_kahe_encrypt. With another key, or beyond plmm_kahe_check's bounds, the result is garbage;
 * nothing here can tell (but what follows can: see plmm_decode_sum). */
void plmm_kahe_decrypt(void *out, uint32_t set, const uint64_t *sum, size_t length,
                       const uint64_t *key, const uint64_t *a, void *scratch);

/* Which path runs: "avx512ifma" or "portable". */
const char *plmm_kahe_isa(void);

#endif
