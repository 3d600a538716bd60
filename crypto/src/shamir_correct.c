/* Finding false shares: shares are a Reed-Solomon word, each limb one of them. Its syndromes are a
 * linear recurrence whose shortest form has the false points as its roots. */
#include "field_internal.h"
#include "plmm/shamir.h"

#include <string.h>

/* Connection polynomial of a sequence: s[n] + c[1] s[n-1] + ... + c[len] s[n-len] = 0. */
typedef struct recurrence {
    uint32_t c[PLMM_SHAMIR_SHARES_MAX + 1];
    uint32_t len;
} recurrence;

/* c[0..n] -= f * z^shift * b[0..n] */
static void subtract_shifted(uint32_t *c, const uint32_t *b, uint32_t f, size_t shift, size_t n)
{
    for (size_t i = shift; i <= n; i++) {
        c[i] = plmm__sub(c[i], plmm__mul(f, b[i - shift]));
    }
}

static uint32_t discrepancy(const recurrence *r, const uint32_t *s, size_t n)
{
    uint32_t d = s[n];
    for (size_t i = 1; i <= r->len; i++) {
        d = plmm__reduce((uint64_t)r->c[i] * s[n - i] + d);
    }
    return d;
}

/* Shortest recurrence of s[0..count) (Massey, IEEE Trans. IT-15, 1969). */
static void massey(recurrence *r, const uint32_t *s, size_t count)
{
    uint32_t before[PLMM_SHAMIR_SHARES_MAX + 1] = {1}, keep[PLMM_SHAMIR_SHARES_MAX + 1];
    uint32_t last = 1; /* discrepancy when the length last changed */
    size_t shift = 1;
    memset(r, 0, sizeof *r);
    r->c[0] = 1;
    for (size_t n = 0; n < count; n++, shift++) {
        uint32_t d = discrepancy(r, s, n);
        if (d == 0) {
            continue;
        }
        memcpy(keep, r->c, sizeof keep);
        subtract_shifted(r->c, before, plmm__mul(d, plmm__invert(last)), shift, count);
        if ((size_t)2 * r->len <= n) {
            r->len = (uint32_t)n + 1 - r->len;
            memcpy(before, keep, sizeof before);
            last = d;
            shift = 0;
        }
    }
}

/* Marks the shares whose point is a root; false if there are not as many as the recurrence is
 * long. */
static bool mark_roots(bool *wrong, const recurrence *r, const plmm_shamir_basis *b)
{
    uint32_t roots = 0;
    for (size_t i = 0; i < b->m; i++) {
        uint32_t v = 0; /* c[0] x^len + ... + c[len] */
        for (size_t j = 0; j <= r->len; j++) {
            v = plmm__reduce((uint64_t)v * b->xs[i] + r->c[j]);
        }
        wrong[i] = wrong[i] || v == 0;
        roots += v == 0;
    }
    return roots == r->len;
}

/* Keeps the order within the right ones and within the wrong ones; returns how many are right. */
static size_t move_behind(plmm_share *shares, const bool *wrong, size_t m)
{
    plmm_share held;
    size_t good = 0;
    for (size_t i = 0; i < m; i++) {
        if (!wrong[i]) {
            held = shares[i];
            memmove(shares + good + 1, shares + good, (i - good) * sizeof held);
            shares[good++] = held;
        }
    }
    plmm_wipe(&held, sizeof held);
    return good;
}

static plmm_status find_wrong(bool *wrong, const plmm_shamir_basis *b, const plmm_share *shares,
                              plmm_error *err)
{
    uint32_t s[PLMM_SHAMIR_SHARES_MAX], found = 0, most = (b->m - b->t) / 2;
    recurrence r;
    bool ok = true;
    for (size_t l = 0; l < PLMM_SHAMIR_LIMBS && ok; l++) {
        plmm__syndromes(s, b, shares, l);
        massey(&r, s, b->m - b->t);
        ok = mark_roots(wrong, &r, b);
    }
    for (size_t i = 0; i < b->m; i++) {
        found += wrong[i];
    }
    if (!ok || found > most) {
        return plmm_fail(err, PLMM_ERR_PEER,
                         "cannot tell which of %u shares with threshold %u are false: at most %u "
                         "could be found, and there are more",
                         b->m, b->t, most);
    }
    return PLMM_OK;
}

plmm_status plmm_shamir_correct(plmm_shamir_basis *b, plmm_share *shares, plmm_error *err)
{
    bool wrong[PLMM_SHAMIR_SHARES_MAX] = {false};
    uint32_t xs[PLMM_SHAMIR_SHARES_MAX];
    for (size_t i = 0; i < b->m; i++) {
        PLMM_ASSERT(shares[i].x == b->xs[i]);
    }
    PLMM_TRY(find_wrong(wrong, b, shares, err));
    size_t good = move_behind(shares, wrong, b->m);
    for (size_t i = 0; i < good; i++) {
        xs[i] = shares[i].x;
    }
    return plmm_shamir_basis_init(b, xs, good, b->t, err);
}
