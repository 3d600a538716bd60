/* Which shares are false: Reed-Solomon decoding of one random combination of the columns, since a
 * false row is false in it, too, but with a probability of 2^-50. What is found is checked against
 * all columns by the caller, so a combination that was provoked costs a refusal, never a wrong key.
 */
#include "packed_internal.h"

#include <string.h>

enum { MAX = PLMM_PACKED_MEMBERS_MAX };

/* y[i] = sum over z of w[z] rows[i][z], w drawn from a digest of all rows. */
static void fold_columns(uint64_t *y, const uint64_t *rows, size_t count, size_t stride,
                         size_t columns, const plmm__ring *r)
{
    uint64_t w[KAHE_N_MAX / PLMM_PACKED_RHO] = {0};
    plmm_hash digest, context = {{0}};
    plmm_mask stream;
    plmm_transcript t;
    plmm_transcript_init(&t, "kahe.loc");
    for (size_t i = 0; i < count; i++) {
        plmm_transcript_bytes(&t, rows + i * stride, 8 * columns);
    }
    plmm_transcript_final(&t, &digest);
    plmm__kahe_stream(&stream, digest.b, &context);
    plmm__kahe_uniform(w, columns, r->q, &stream, 0, false);
    for (size_t i = 0; i < count; i++) {
        y[i] = 0;
        for (size_t z = 0; z < columns; z++) {
            y[i] = plmm__less(y[i] + plmm__mul_mod(rows[i * stride + z], w[z], r), r->q);
        }
    }
}

static uint64_t subtract(uint64_t a, uint64_t b, uint64_t q)
{
    return plmm__less(a + q - b, q);
}

/* c(z) = c(z) - f z^shift b(z), all of MAX + 1 coefficients. */
static void eliminate(uint64_t *c, const uint64_t *b, uint64_t f, size_t shift, const plmm__ring *r)
{
    for (size_t i = shift; i <= MAX; i++) {
        c[i] = subtract(c[i], plmm__mul_mod(f, b[i - shift], r), r->q);
    }
}

/* The shortest recurrence of s[0..n): its length, with its polynomial in c (Massey, IEEE Trans.
 * Inform. Theory 15, 1969). */
static size_t shortest(uint64_t c[MAX + 1], const uint64_t *s, size_t n, const plmm__ring *r)
{
    uint64_t b[MAX + 1] = {1}, old[MAX + 1], last = 1;
    size_t length = 0, shift = 1;
    memset(c, 0, (MAX + 1) * sizeof c[0]);
    c[0] = 1;
    for (size_t k = 0; k < n; k++, shift++) {
        uint64_t d = s[k];
        for (size_t i = 1; i <= length; i++) {
            d = plmm__less(d + plmm__mul_mod(c[i], s[k - i], r), r->q);
        }
        if (d == 0) {
            continue;
        }
        memcpy(old, c, sizeof old);
        eliminate(c, b, plmm__mul_mod(d, plmm__pow_mod(last, r->q - 2, r), r), shift, r);
        if (2 * length <= k) {
            length = k + 1 - length;
            memcpy(b, old, sizeof b);
            last = d;
            shift = 0;
        }
    }
    return length;
}

bool plmm__packed_locate(bool *found, const int32_t *xs, size_t count, size_t terms,
                         const uint64_t *rows, size_t stride, size_t columns,
                         const uint64_t *inverses, const plmm__ring *r)
{
    uint64_t y[MAX], dual[MAX], s[MAX], c[MAX + 1];
    const size_t checks = count - terms;
    fold_columns(y, rows, count, stride, columns, r);
    plmm__dual(dual, xs, count, inverses, r);
    memset(s, 0, sizeof s);
    for (size_t i = 0; i < count; i++) { /* syndromes: 0 for polynomials of degree below terms */
        uint64_t v = plmm__mul_mod(y[i], dual[i], r);
        for (size_t e = 0; e < checks; e++) {
            s[e] = plmm__less(s[e] + v, r->q);
            v = plmm__mul_mod(v, (uint64_t)xs[i], r);
        }
    }
    size_t length = shortest(c, s, checks, r), roots = 0;
    for (size_t i = 0; i < count; i++) { /* x^length c(1 / x) is 0 at the points of false rows */
        uint64_t v = 0;
        for (size_t k = 0; k <= length; k++) {
            v = plmm__less(plmm__mul_mod(v, (uint64_t)xs[i], r) + c[k], r->q);
        }
        roots += v == 0 ? 1 : 0;
        found[i] = found[i] || v == 0;
    }
    return roots == length && 2 * length <= checks;
}
