/* Shamir sharing over GF(2^31 + 11). Field elements are uint32 below p; products and sums are
 * reduced without a branch or a division. */
#include "plmm/shamir.h"

#include "field_internal.h"
#include "plmm/bytes.h"

#include <string.h>

enum { LIMB_BITS = 31, COEF_BYTES = 16, LANES = 8 };
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

/* a[i] = 1 / a[i], none of them 0, with one inversion (Montgomery's trick). */
static void invert_all(uint32_t *a, size_t n)
{
    uint32_t before[PLMM_SHAMIR_SHARES_MAX];
    uint32_t acc = 1;
    for (size_t i = 0; i < n; i++) {
        before[i] = acc;
        acc = plmm__mul(acc, a[i]);
    }
    acc = plmm__invert(acc);
    for (size_t i = n; i-- > 0;) {
        uint32_t next = plmm__mul(acc, a[i]);
        a[i] = plmm__mul(acc, before[i]);
        acc = next;
    }
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
        for (size_t j = 0; j < i; j++) {
            if (xs[i] == xs[j]) {
                return plmm_fail(err, PLMM_ERR_RANGE,
                                 "cannot use point %u twice (shares %zu and %zu): points differ",
                                 xs[i], j, i);
            }
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

/* c[0] = secret limb, c[1..t) uniform: 128 bits each, reduced by Horner's rule in 2^32. */
static void polynomial(uint32_t *c, uint32_t t, uint32_t limb, const plmm_seed *seed, size_t index)
{
    uint8_t bytes[COEF_BYTES * PLMM_SHAMIR_SHARES_MAX];
    plmm_seed own;
    plmm_seed_derive(&own, seed, "shamir.l", index);
    plmm_expand(bytes, COEF_BYTES * (size_t)t, &own, "shamir.c");
    c[0] = limb;
    for (size_t k = 1; k < t; k++) {
        const uint8_t *w = bytes + COEF_BYTES * k;
        uint32_t r = plmm__reduce(plmm_load_le32(w + 12));
        for (int i = 2; i >= 0; i--) {
            r = plmm__reduce((uint64_t)r << 32 | plmm_load_le32(w + (size_t)4 * (size_t)i));
        }
        c[k] = r;
    }
    plmm_wipe(bytes, COEF_BYTES * (size_t)t);
    plmm_wipe(&own, sizeof own);
}

/* Value number `limb` of LANES shares at a time, which keeps the multipliers busy. */
static void evaluate(plmm_share *out, size_t n, const uint32_t *c, uint32_t t, size_t limb)
{
    for (size_t i = 0; i < n; i += LANES) {
        uint32_t x[LANES] = {0}, y[LANES] = {0};
        size_t m = n - i < LANES ? n - i : LANES;
        for (size_t j = 0; j < m; j++) {
            x[j] = out[i + j].x;
        }
        for (size_t k = t; k-- > 0;) {
            for (size_t j = 0; j < LANES; j++) {
                y[j] = plmm__reduce((uint64_t)y[j] * x[j] + c[k]); /* < p^2 + p < 2^64 */
            }
        }
        for (size_t j = 0; j < m; j++) {
            out[i + j].y[limb] = y[j];
        }
        plmm_wipe(y, sizeof y);
    }
}

plmm_status plmm_shamir_split(plmm_share *out, size_t n, uint32_t t, const uint32_t *xs,
                              const uint8_t secret[32], const plmm_seed *seed, plmm_error *err)
{
    PLMM_TRY(check_counts(n, t, err));
    if (xs != NULL) {
        PLMM_TRY(check_points(xs, n, err));
    }
    uint32_t limbs[PLMM_SHAMIR_LIMBS];
    uint32_t c[PLMM_SHAMIR_SHARES_MAX];
    for (size_t i = 0; i < n; i++) {
        out[i].x = xs != NULL ? xs[i] : (uint32_t)i + 1;
    }
    limbs_of(limbs, secret);
    for (size_t l = 0; l < PLMM_SHAMIR_LIMBS; l++) {
        polynomial(c, t, limbs[l], seed, l);
        evaluate(out, n, c, t, l);
    }
    plmm_wipe(limbs, sizeof limbs);
    plmm_wipe(c, sizeof c[0] * t);
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

/* 1 / prod over j != i, j < m of (x_i - x_j) for each i < m. */
static void inverse_differences(uint32_t *out, const uint32_t *xs, size_t m)
{
    for (size_t i = 0; i < m; i++) {
        uint32_t d = 1;
        for (size_t j = 0; j < m; j++) {
            d = i == j ? d : plmm__mul(d, plmm__sub(xs[i], xs[j]));
        }
        out[i] = d;
    }
    invert_all(out, m);
}

plmm_status plmm_shamir_basis_init(plmm_shamir_basis *b, const uint32_t *xs, size_t m, uint32_t t,
                                   plmm_error *err)
{
    PLMM_TRY(check_counts(m, t, err));
    PLMM_TRY(check_points(xs, m, err));
    b->t = t;
    b->m = (uint32_t)m;
    memcpy(b->xs, xs, m * sizeof xs[0]);
    inverse_differences(b->dual, xs, m);
    /* L_i(0) = prod over j != i, j < t of (-x_j) / (x_i - x_j) */
    inverse_differences(b->weights, xs, t);
    uint32_t inv[PLMM_SHAMIR_SHARES_MAX];
    uint32_t all = 1; /* prod of (-x_j) */
    for (size_t i = 0; i < t; i++) {
        inv[i] = plmm__sub(0, xs[i]);
        all = plmm__mul(all, inv[i]);
    }
    invert_all(inv, t);
    for (size_t i = 0; i < t; i++) {
        b->weights[i] = plmm__mul(b->weights[i], plmm__mul(all, inv[i]));
    }
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

static uint32_t off_polynomial(const plmm_shamir_basis *b, const plmm_share *shares, size_t limb)
{
    uint32_t s[PLMM_SHAMIR_SHARES_MAX];
    uint32_t any = 0;
    plmm__syndromes(s, b, shares, limb);
    for (size_t e = 0; e < b->m - b->t; e++) {
        any |= s[e];
    }
    return any;
}

static uint32_t at_zero(const plmm_shamir_basis *b, const plmm_share *shares, size_t limb)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < b->t; i++) {
        sum += plmm__mul(b->weights[i], shares[i].y[limb]);
    }
    return plmm__reduce(sum);
}

plmm_status plmm_shamir_combine(uint8_t secret[32], const plmm_shamir_basis *b,
                                const plmm_share *shares, plmm_error *err)
{
    uint32_t limbs[PLMM_SHAMIR_LIMBS];
    uint32_t bad = 0;
    for (size_t i = 0; i < b->m; i++) {
        if (shares[i].x != b->xs[i]) {
            return plmm_fail(err, PLMM_ERR_RANGE,
                             "cannot combine: share %zu is of point %u, the weights are for %u", i,
                             shares[i].x, b->xs[i]);
        }
    }
    for (size_t l = 0; l < PLMM_SHAMIR_LIMBS; l++) {
        bad |= off_polynomial(b, shares, l);
        limbs[l] = at_zero(b, shares, l);
    }
    bool ok = bad == 0 && secret_of(secret, limbs);
    plmm_wipe(limbs, sizeof limbs);
    if (!ok) {
        return plmm_fail(err, PLMM_ERR_PEER,
                         "cannot combine %u shares: they are not of one secret with threshold %u, "
                         "so at least one is false",
                         b->m, b->t);
    }
    return PLMM_OK;
}
