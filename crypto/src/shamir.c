/* Shamir sharing over GF(2^31 + 11): arguments, secrets and limbs, the order of the steps. The
 * arithmetic is done by registers as wide as the processor has (shamir_internal.h). */
#include "plmm/shamir.h"

#include "field_internal.h"
#include "mask_internal.h"
#include "plmm/bytes.h"
#include "shamir_internal.h"

#include <string.h>

enum { LIMB_BITS = 31, COEF_WORDS = 4 };
_Static_assert(PLMM_SHARE_BYTES == 4 * PLMM_SHAMIR_LIMBS, "a word a limb");
_Static_assert(LIMB_BITS *PLMM_SHAMIR_LIMBS >= 256, "the limbs hold a secret");
/* Sums of SHARES_MAX elements below 2^32 fit 64 bits with room to spare. */
_Static_assert(PLMM_SHAMIR_SHARES_MAX <= 1 << 20, "sums fit");

/* ---- the field, beyond field_internal.h ---- */

/* a^(p - 2): the inverse of a, or 0 of 0. */
uint32_t plmm__invert(uint32_t a)
{
    uint32_t r = 1;
    for (int bit = 31; bit >= 0; bit--) {
        r = plmm__mul(r, r);
        if (((PLMM_SHAMIR_PRIME - 2) >> bit & 1) != 0) { /* public exponent */
            r = plmm__mul(r, a);
        }
    }
    return r;
}

/* ---- secrets and limbs ---- */

static void limbs_of(uint32_t limbs[PLMM_SHAMIR_LIMBS], const uint8_t secret[32])
{
    uint8_t b[40] = {0};
    memcpy(b, secret, 32);
    for (size_t i = 0; i < PLMM_SHAMIR_LIMBS; i++) {
        size_t bit = LIMB_BITS * i;
        uint64_t v = plmm_load_le64(b + bit / 8) >> (bit % 8);
        limbs[i] = (uint32_t)(v & 0x7fffffff);
    }
    plmm_wipe(b, sizeof b);
}

/* False if the limbs are not those of 32 octets (an element may be 2^31 .. p - 1, or the last too
 * long). */
static bool secret_of(uint8_t secret[32], const uint32_t limbs[PLMM_SHAMIR_LIMBS])
{
    uint8_t b[40] = {0};
    uint32_t excess = limbs[PLMM_SHAMIR_LIMBS - 1] >> 8;
    for (size_t i = 0; i < PLMM_SHAMIR_LIMBS; i++) {
        size_t bit = LIMB_BITS * i;
        excess |= limbs[i] >> LIMB_BITS;
        uint64_t v = plmm_load_le64(b + bit / 8) | (uint64_t)(limbs[i] & 0x7fffffff) << (bit % 8);
        plmm_store_le64(b + bit / 8, v);
    }
    bool ok = excess == 0;
    if (ok) {
        memcpy(secret, b, 32);
    }
    plmm_wipe(b, sizeof b);
    return ok;
}

/* ---- parameters ---- */

static plmm_status check_points(const uint32_t *xs, size_t n, plmm_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (xs[i] == 0 || xs[i] >= PLMM_SHAMIR_PRIME) {
            return plmm_fail(err, PLMM_ERR_RANGE,
                             "cannot share at point %u (share %zu): points are 1..%u", xs[i], i,
                             PLMM_SHAMIR_PRIME - 1);
        }
        uint32_t same = 0;
        for (size_t j = 0; j < i; j++) {
            same += xs[j] == xs[i];
        }
        if (same != 0) {
            return plmm_fail(err, PLMM_ERR_RANGE,
                             "cannot use point %u twice (share %zu is the second): points differ",
                             xs[i], i);
        }
    }
    return PLMM_OK;
}

static plmm_status check_counts(size_t n, uint32_t t, plmm_error *err)
{
    if (t < 1 || n > PLMM_SHAMIR_SHARES_MAX) {
        return plmm_fail(
            err, PLMM_ERR_RANGE,
            "cannot share %u-of-%zu: the threshold is at least 1 and there are at most "
            "%d shares",
            t, n, PLMM_SHAMIR_SHARES_MAX);
    }
    if (n < t) {
        return plmm_fail(err, PLMM_ERR_RANGE, "have %zu of the %u shares that are needed", n, t);
    }
    return PLMM_OK;
}

/* ---- split ---- */

enum { ROWS = PLMM__SHARING_ROWS, ROW_WORDS = COEF_WORDS * PLMM_SHAMIR_LIMBS };

/* Coefficients first .. first + rows - 1 of every limb, from the stream. */
static void coefficients(uint64_t *c, size_t first, size_t rows, const plmm_mask *stream)
{
    uint32_t words[ROWS * ROW_WORDS];
    plmm_mask_fill(words, rows * ROW_WORDS, first * ROW_WORDS, stream);
    plmm__sharing_now()->uniform(c, words, rows * PLMM_SHAMIR_LIMBS);
    plmm_wipe(words, rows * ROW_WORDS * sizeof words[0]);
}

/* Horner's rule from the highest ROWS coefficients down. */
static void evaluate(plmm_share *out, size_t n, uint32_t t, const uint8_t secret[32],
                     const plmm_mask *stream)
{
    uint64_t c[ROWS * PLMM_SHAMIR_LIMBS];
    uint32_t limbs[PLMM_SHAMIR_LIMBS];
    for (size_t first = (t - 1) / ROWS * ROWS, rows = t - first;; first -= ROWS, rows = ROWS) {
        coefficients(c, first, rows, stream);
        if (first == 0) {
            limbs_of(limbs, secret);
            for (size_t l = 0; l < PLMM_SHAMIR_LIMBS; l++) {
                c[l] = limbs[l];
            }
        }
        plmm__sharing_now()->evaluate(out, n, c, rows);
        if (first == 0) {
            break;
        }
    }
    plmm_wipe(limbs, sizeof limbs);
    plmm_wipe(c, sizeof c);
}

plmm_status plmm_shamir_split(plmm_share *out, size_t n, uint32_t t, const uint32_t *xs,
                              const uint8_t secret[32], const plmm_seed *seed, plmm_error *err)
{
    PLMM_TRY(check_counts(n, t, err));
    if (xs != NULL) {
        PLMM_TRY(check_points(xs, n, err));
    }
    uint8_t key[32];
    plmm_mask stream;
    for (size_t i = 0; i < n; i++) {
        out[i] = (plmm_share){.x = xs != NULL ? xs[i] : (uint32_t)i + 1};
    }
    plmm_kdf(key, seed->b, "shamir.c", NULL, 0);
    plmm__mask_key(&stream, PLMM_STREAM_CHACHA20, key);
    evaluate(out, n, t, secret, &stream);
    plmm_wipe(key, sizeof key);
    plmm_wipe(&stream, sizeof stream);
    return PLMM_OK;
}

/* ---- shares on the wire ---- */

void plmm_share_encode(uint8_t out[PLMM_SHARE_BYTES], const plmm_share *share)
{
    for (size_t i = 0; i < PLMM_SHAMIR_LIMBS; i++) {
        plmm_store_le32(out + 4 * i, share->y[i]);
    }
}

plmm_status plmm_share_decode(plmm_share *out, uint32_t x, const uint8_t *in, size_t len,
                              plmm_error *err)
{
    if (len != PLMM_SHARE_BYTES) {
        return plmm_fail(err, PLMM_ERR_WIRE, "cannot read a share of %zu octets: expected %d", len,
                         PLMM_SHARE_BYTES);
    }
    if (x == 0 || x >= PLMM_SHAMIR_PRIME) {
        return plmm_fail(err, PLMM_ERR_WIRE, "cannot read a share at point %u: points are 1..%u", x,
                         PLMM_SHAMIR_PRIME - 1);
    }
    plmm_share s = {.x = x};
    uint64_t outside = 0;
    for (size_t i = 0; i < PLMM_SHAMIR_LIMBS; i++) {
        s.y[i] = plmm_load_le32(in + 4 * i);
        outside |= (uint64_t)PLMM_SHAMIR_PRIME - 1 - s.y[i]; /* bit 63 set if y >= p */
    }
    bool ok = outside >> 63 == 0;
    if (ok) {
        *out = s;
    }
    plmm_wipe(&s, sizeof s);
    if (!ok) {
        return plmm_fail(err, PLMM_ERR_WIRE,
                         "cannot read the share at point %u: a word of it is not below %u", x,
                         PLMM_SHAMIR_PRIME);
    }
    return PLMM_OK;
}

/* ---- reconstruction ---- */

_Static_assert(PLMM_SHAMIR_SHARES_MAX % PLMM__SHARING_PAD == 0, "arrays are padded");

/* With D_i = prod over j != i of (x_i - x_j) and A = prod over j of (-x_j):
 *
 *   dual[i]    = 1 / D_i
 *   weights[i] = prod over j != i of (-x_j) / (x_i - x_j) = A / (-x_i D_i)     (Lagrange at 0)
 *
 * both from 1 / (-x_i D_i), so that there is one inversion. */
plmm_status plmm_shamir_basis_init(plmm_shamir_basis *b, const uint32_t *xs, size_t m, uint32_t t,
                                   plmm_error *err)
{
    const plmm__sharing *k = plmm__sharing_now();
    uint32_t minus[PLMM_SHAMIR_SHARES_MAX];
    uint32_t all = 1;
    PLMM_TRY(check_counts(m, t, err));
    PLMM_TRY(check_points(xs, m, err));
    b->t = t;
    b->m = (uint32_t)m;
    memcpy(b->xs, xs, m * sizeof xs[0]);
    for (size_t i = 0; i < m; i++) {
        minus[i] = PLMM_SHAMIR_PRIME - xs[i];
        all = plmm__mul(all, minus[i]);
    }
    k->differences(b->weights, b->xs, m);
    k->multiply(b->weights, minus, m);
    k->invert(b->weights, m);
    memcpy(b->dual, b->weights, m * sizeof b->dual[0]);
    k->multiply(b->dual, minus, m);
    for (size_t i = 0; i < m; i++) {
        minus[i] = all;
    }
    k->multiply(b->weights, minus, m);
    return PLMM_OK;
}

/* The m - t syndromes of one limb, sum over i < m of v_i x_i^e y_i for e < m - t: the checks of the
 * dual code (MacWilliams and Sloane, ch. 10), all 0 if and only if the m values lie on a polynomial
 * of degree < t. */
void plmm__syndromes(uint32_t *s, const plmm_shamir_basis *b, const plmm_share *shares, size_t limb)
{
    uint32_t z[PLMM_SHAMIR_SHARES_MAX];
    for (size_t i = 0; i < b->m; i++) {
        z[i] = plmm__mul(b->dual[i], shares[i].y[limb]);
    }
    for (uint32_t e = 0; e < b->m - b->t; e++) {
        uint64_t sum = 0;
        for (size_t i = 0; i < b->m; i++) {
            sum += z[i];
            z[i] = plmm__mul(z[i], b->xs[i]);
        }
        s[e] = plmm__reduce(sum);
    }
    plmm_wipe(z, sizeof z[0] * b->m);
}

/* Not 0 if the shares do not lie on polynomials of degree < t: the syndromes of all limbs. */
static uint32_t off_polynomial(const plmm_shamir_basis *b, const plmm_share *shares)
{
    const plmm__sharing *k = plmm__sharing_now();
    uint32_t v[PLMM_SHAMIR_SHARES_MAX], s[PLMM_SHAMIR_LIMBS];
    uint32_t any = 0;
    memcpy(v, b->dual, b->m * sizeof v[0]);
    for (uint32_t e = 0; e < b->m - b->t; e++) {
        k->weigh(s, v, shares, b->m);
        for (size_t l = 0; l < PLMM_SHAMIR_LIMBS; l++) {
            any |= s[l];
        }
        k->multiply(v, b->xs, b->m);
    }
    return any;
}

plmm_status plmm_shamir_combine(uint8_t secret[32], const plmm_shamir_basis *b,
                                const plmm_share *shares, plmm_error *err)
{
    uint32_t limbs[PLMM_SHAMIR_LIMBS];
    for (size_t i = 0; i < b->m; i++) {
        if (shares[i].x != b->xs[i]) {
            return plmm_fail(err, PLMM_ERR_RANGE,
                             "cannot combine: share %zu is of point %u, the weights are for %u", i,
                             shares[i].x, b->xs[i]);
        }
    }
    plmm__sharing_now()->weigh(limbs, b->weights, shares, b->m);
    bool ok = off_polynomial(b, shares) == 0 && secret_of(secret, limbs);
    plmm_wipe(limbs, sizeof limbs);
    if (!ok) {
        return plmm_fail(err, PLMM_ERR_PEER,
                         "cannot combine %u shares: they are not of one secret with threshold %u, "
                         "so at least one is false",
                         b->m, b->t);
    }
    return PLMM_OK;
}
