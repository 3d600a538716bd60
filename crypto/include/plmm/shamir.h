/* plmm/shamir.h -- t-of-n sharing of 32-octet secrets (Shamir 1979), over the prime field of order
 * p = 2^31 + 11 = 2147483659.
 *
 * Why this prime: a product of two elements fits 64 bits, so the arithmetic is constant time in
 * plain C11 on any processor; a share of 32 octets is 36 (GF(2^61-1) would need 40); and the
 * published vectors of google-parfait/federated-compute, which uses it too, apply.
 *
 * A secret is nine limbs of 31 bits (limb i = bits 31 i .. 31 i + 30 of the little-endian integer;
 * the last holds 8), each shared by its own polynomial of degree t - 1; a share is the nine values
 * at x. Any t - 1 shares say nothing about the secret.
 *
 * Points x, counts and t are public. Time and addresses depend on them only, not on secrets or
 * shares, up to the verdict of a consistency check. Allocates nothing. Thread-safe.
 */
#ifndef PLMM_SHAMIR_H
#define PLMM_SHAMIR_H

#include "plmm/keys.h"

enum {
    PLMM_SHAMIR_LIMBS = 9,
    PLMM_SHARE_BYTES = 36,        /* encoded, without x */
    PLMM_SHAMIR_SHARES_MAX = 2048 /* shares of one secret */
};
#define PLMM_SHAMIR_PRIME UINT32_C(2147483659)

/* SECRET. One share: the polynomials' values at x. 1 <= x < p, y[i] < p. */
typedef struct plmm_share {
    uint32_t x;
    uint32_t y[PLMM_SHAMIR_LIMBS];
} plmm_share;

/* out[0..n) = shares of secret at the points xs[0..n), any t of which give it back; xs NULL means
 * 1, 2, ..., n. Coefficient k >= 1 of limb l is the little-endian number of octets 16 j .. 16 j + 15,
 * j = 9 k + l, mod p, of
 *
 *   plmm_expand(seed, "shamir.c")
 *
 * (distance from uniform below 2^-96): seed must be fresh, private and used for one secret only.
 * PLMM_ERR_RANGE if not 1 <= t <= n <= PLMM_SHAMIR_SHARES_MAX, or a point is 0, >= p or there
 * twice. */
PLMM_NODISCARD plmm_status plmm_shamir_split(plmm_share *out, size_t n, uint32_t t,
                                             const uint32_t *xs, const uint8_t secret[32],
                                             const plmm_seed *seed, plmm_error *err);

/* Nine little-endian 32-bit words; x travels by itself, or follows from who sent the share. */
void plmm_share_encode(uint8_t out[PLMM_SHARE_BYTES], const plmm_share *share);

/* PLMM_ERR_WIRE if x is 0 or >= p, len is not PLMM_SHARE_BYTES, or a word is >= p. */
PLMM_NODISCARD plmm_status plmm_share_decode(plmm_share *out, uint32_t x, const uint8_t *in,
                                             size_t len, plmm_error *err);

/* What depends on the points alone, computed once and used for every secret shared at the same
 * points (O(m^2) for m points, then O(m (m - t + 1)) a secret). About 24 KiB: not for deep stacks. */
typedef struct plmm_shamir_basis {
    uint32_t t, m;
    uint32_t xs[PLMM_SHAMIR_SHARES_MAX];
    uint32_t weights[PLMM_SHAMIR_SHARES_MAX]; /* Lagrange at 0 over all m points */
    uint32_t dual[PLMM_SHAMIR_SHARES_MAX];    /* 1 / prod_{j != i} (x_i - x_j) over all m points */
} plmm_shamir_basis;

/* PLMM_ERR_RANGE as for plmm_shamir_split, with m points; m < t is said as "have m of t shares". */
PLMM_NODISCARD plmm_status plmm_shamir_basis_init(plmm_shamir_basis *b, const uint32_t *xs,
                                                  size_t m, uint32_t t, plmm_error *err);

/* secret from the b->m shares given, whose points must be those of the basis in its order. All m
 * shares must lie on polynomials of degree t - 1 and give a 256-bit value: with m > t a false share
 * is always seen, with m = t it cannot be (the secret is then wrong; check it against its public
 * key). PLMM_ERR_PEER if not, PLMM_ERR_RANGE if the points differ; secret is untouched. */
PLMM_NODISCARD plmm_status plmm_shamir_combine(uint8_t secret[32], const plmm_shamir_basis *b,
                                               const plmm_share *shares, plmm_error *err);

/* After plmm_shamir_combine refused: finds the false shares, if there are at most (m - t) / 2 of
 * them (whoever they are, in however many limbs; Reed-Solomon decoding by the syndromes), moves
 * them behind the good ones and makes *b the basis of those. The false ones are then shares[b->m ..
 * old m), to be blamed, and plmm_shamir_combine succeeds. With more liars than that PLMM_ERR_PEER,
 * nothing changes; more than (m - t) / 2 liars who agree on another polynomial cannot be told from
 * honest ones, so check the secret against its public key or commitment. Time depends on which
 * shares are false. */
PLMM_NODISCARD plmm_status plmm_shamir_correct(plmm_shamir_basis *b, plmm_share *shares,
                                               plmm_error *err);

#endif
