/* Packed sharing: matrices of Lagrange coefficients made once, then products of matrices, which are
 * where the time goes (kahe_avx512.c, kahe_portable.c). Rows of values are in the order of their
 * points: the secrets at -1 .. -16, then the members 1 .. c. */
#include "packed_internal.h"

#include <string.h>

enum { RHO = PLMM_PACKED_RHO, AT_ONCE = 8 /* members of one product */ };

/* ---- sizes ---- */

/* Columns: residues of a share for one prime. */
static size_t columns_of(const plmm_kahe_info *f)
{
    return f->n / RHO;
}

static const plmm_kahe_info *info_of(uint32_t set)
{
    const plmm_kahe_info *f = plmm_kahe_info_of(set);
    PLMM_ASSERT(f != NULL);
    return f;
}

static bool sensible(uint32_t members, uint32_t privacy)
{
    return privacy >= 1 && members <= PLMM_PACKED_MEMBERS_MAX && privacy <= members &&
           privacy + RHO <= members;
}

size_t plmm_packed_matrix_bytes(uint32_t set, uint32_t members, uint32_t privacy)
{
    const plmm_kahe_info *f = plmm_kahe_info_of(set);
    if (f == NULL || !sensible(members, privacy)) {
        return 0;
    }
    return 8 * (size_t)f->primes * (members - privacy) * (RHO + privacy);
}

size_t plmm_packed_scratch_bytes(uint32_t set, uint32_t privacy)
{
    const plmm_kahe_info *f = plmm_kahe_info_of(set);
    if (f == NULL || privacy < 1 || privacy > PLMM_PACKED_MEMBERS_MAX) {
        return 0;
    }
    return 8 * columns_of(f) * (RHO + privacy + AT_ONCE);
}

size_t plmm_packed_share_residues(uint32_t set)
{
    return columns_of(info_of(set)) * info_of(set)->primes;
}

size_t plmm_packed_share_bytes(uint32_t set)
{
    return plmm_packed_share_residues(set) / KAHE_RESIDUES * KAHE_PACKED;
}

/* ---- matrices ---- */

/* a mod q, for a small signed a. */
static uint64_t small(int64_t a, const plmm__ring *r)
{
    return a < 0 ? r->q - (uint64_t)-a : (uint64_t)a;
}

void plmm__inverses(uint64_t *out, size_t n, const plmm__ring *r)
{
    out[0] = 0;
    for (size_t i = 1; i <= n; i++) {
        out[i] = plmm__pow_mod(i, r->q - 2, r);
    }
}

/* 1 / a, |a| <= the table's n. */
static uint64_t inverse(int64_t a, const uint64_t *inverses, const plmm__ring *r)
{
    return a < 0 ? r->q - inverses[-a] : inverses[a];
}

void plmm__dual(uint64_t *out, const int32_t *xs, size_t n, const uint64_t *inverses,
                const plmm__ring *r)
{
    for (size_t j = 0; j < n; j++) {
        out[j] = 1;
        for (size_t l = 0; l < n; l++) {
            out[j] =
                l == j ? out[j] : plmm__mul_mod(inverse(xs[j] - xs[l], inverses, r), out[j], r);
        }
    }
}

/* out[t][j] = the coefficient of the value at xs[j] in that at targets[t], none of them among xs. */
static void lagrange(uint64_t *out, const int32_t *targets, size_t rows, const int32_t *xs,
                     size_t n, const uint64_t *inverses, const plmm__ring *r)
{
    uint64_t dual[PLMM_PACKED_MEMBERS_MAX];
    PLMM_ASSERT(n <= PLMM_PACKED_MEMBERS_MAX);
    plmm__dual(dual, xs, n, inverses, r);
    for (size_t t = 0; t < rows; t++, out += n) {
        uint64_t all = 1;
        for (size_t j = 0; j < n; j++) {
            all = plmm__mul_mod(small(targets[t] - xs[j], r), all, r);
        }
        for (size_t j = 0; j < n; j++) {
            uint64_t w = plmm__mul_mod(inverse(targets[t] - xs[j], inverses, r), dual[j], r);
            out[j] = plmm__mul_mod(all, w, r);
        }
    }
}

static void check_set(uint32_t set)
{
    PLMM_ASSERT(plmm_kahe_info_of(set) != NULL);
}

plmm_status plmm_packed_init(plmm_packed *p, uint32_t set, uint32_t members, uint32_t privacy,
                             void *memory, plmm_error *err)
{
    if (plmm_kahe_info_of(set) == NULL) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                         "cannot share keys of parameter set %u: there are 1 and 2", set);
    }
    if (!sensible(members, privacy)) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot share among %u members with %u of them corrupt: at least 1, %d "
                         "more than those who may be corrupt, and at most %d",
                         members, privacy, RHO, PLMM_PACKED_MEMBERS_MAX);
    }
    const size_t terms = RHO + privacy, rows = members - privacy;
    int32_t xs[PLMM_PACKED_MEMBERS_MAX], targets[PLMM_PACKED_MEMBERS_MAX];
    uint64_t inverses[PLMM_PACKED_MEMBERS_MAX + RHO + 1];
    for (size_t j = 0; j < terms; j++) {
        xs[j] = j < RHO ? -1 - (int32_t)j : (int32_t)(j - RHO + 1);
    }
    for (size_t t = 0; t < rows; t++) {
        targets[t] = (int32_t)(privacy + t + 1);
    }
    *p = (plmm_packed){.set = set, .members = members, .privacy = privacy, .matrix = memory};
    for (size_t k = 0; k < info_of(set)->primes; k++) {
        const plmm__ring *r = &plmm__rings()[k];
        plmm__inverses(inverses, members + RHO, r);
        lagrange(p->matrix + k * rows * terms, targets, rows, xs, terms, inverses, r);
    }
    return PLMM_OK;
}

/* ---- sharing ---- */

/* The part of one prime: p->privacy shares are the random values themselves. */
static void split_prime(uint8_t *shares, const plmm_packed *p, const uint64_t *key, size_t prime,
                        const plmm_mask *stream, uint64_t *values)
{
    const plmm_kahe_info *f = info_of(p->set);
    const plmm__kahe_path *path = plmm__kahe_best();
    const plmm__ring *r = &plmm__rings()[prime];
    const size_t b = columns_of(f), terms = RHO + p->privacy,
                 step = plmm_packed_share_bytes(p->set);
    uint64_t *random = values + RHO * b, *out = values + terms * b;
    shares += prime * b / KAHE_RESIDUES * KAHE_PACKED;
    memcpy(values, key, 8 * RHO * b);
    memset(random, 0, 8 * p->privacy * b);
    for (size_t i = 0; i < p->privacy; i++) {
        plmm__kahe_uniform(random + i * b, b, r->q, stream, (prime << 24) + (i << 14), false);
        path->pack(shares + i * step, random + i * b, b);
    }
    const uint64_t *rows = p->matrix + prime * (p->members - p->privacy) * terms;
    for (size_t i = p->privacy; i < p->members; i += AT_ONCE, rows += AT_ONCE * terms) {
        size_t n = p->members - i < AT_ONCE ? p->members - i : AT_ONCE;
        path->product(out, rows, n, values, terms, b, r);
        for (size_t e = 0; e < n; e++) {
            path->pack(shares + (i + e) * step, out + e * b, b);
        }
    }
}

void plmm_packed_split(uint8_t *shares, const plmm_packed *p, const uint64_t *key,
                       const plmm_seed *seed, void *scratch)
{
    const plmm_kahe_info *f = info_of(p->set);
    const plmm_hash context = {{(uint8_t)p->set}};
    uint8_t secret[32];
    plmm_mask stream;
    PLMM_ASSERT((uintptr_t)scratch % 64 == 0);
    plmm_kdf(secret, seed->b, "kahe.shr", NULL, 0);
    plmm__kahe_stream(&stream, secret, &context);
    for (size_t k = 0; k < f->primes; k++) {
        split_prime(shares, p, key + k * f->n, k, &stream, scratch);
    }
    plmm_wipe(secret, sizeof secret);
    plmm_wipe(&stream, sizeof stream);
    plmm_wipe(scratch, plmm_packed_scratch_bytes(p->set, p->privacy));
}

/* ---- shares and their sums ---- */

plmm_status plmm_packed_unpack(uint64_t *sum, uint32_t set, const uint8_t *in, size_t len,
                               plmm_error *err)
{
    check_set(set);
    const plmm_kahe_info *f = info_of(set);
    const size_t b = columns_of(f);
    if (len != plmm_packed_share_bytes(set)) {
        return plmm_fail(err, PLMM_ERR_WIRE,
                         "cannot read a share of %zu octets: those of keys of P%u have %zu", len,
                         set, plmm_packed_share_bytes(set));
    }
    uint64_t x[PLMM_PACKED_SHARE_MAX];
    bool ok = true;
    for (size_t k = 0; k < f->primes; k++) {
        const uint8_t *from = in + k * b / KAHE_RESIDUES * KAHE_PACKED;
        ok = plmm__kahe_best()->unpack(x + k * b, from, b, f->prime[k]) && ok;
    }
    if (ok) {
        memcpy(sum, x, 8 * b * f->primes);
    }
    plmm_wipe(x, sizeof x);
    return ok ? PLMM_OK
              : plmm_fail(err, PLMM_ERR_WIRE,
                          "cannot read a share: a residue is not below its prime");
}

plmm_status plmm_packed_add(uint64_t *sum, uint32_t set, const uint8_t *share, size_t len,
                            plmm_error *err)
{
    uint64_t x[PLMM_PACKED_SHARE_MAX];
    PLMM_TRY(plmm_packed_unpack(x, set, share, len, err));
    const plmm_kahe_info *f = info_of(set);
    const size_t b = columns_of(f);
    for (size_t k = 0; k < f->primes; k++) {
        bool ok = plmm__kahe_best()->combine(sum + k * b, x + k * b, b, f->prime[k], false);
        PLMM_ASSERT(ok);
    }
    plmm_wipe(x, sizeof x);
    return PLMM_OK;
}

void plmm_packed_pack(uint8_t *out, uint32_t set, const uint64_t *sum)
{
    plmm__kahe_best()->pack(out, sum, plmm_packed_share_residues(set));
}

/* ---- reconstruction ---- */

/* What plmm_packed_combine works on; arrays lie in the scratch. */
typedef struct work {
    const plmm_packed *p;
    size_t terms, columns, used; /* rows that are believed */
    int32_t *xs;                 /* their points */
    size_t *from;                /* their places among those given */
    uint64_t *matrix, *values, *out, *key, *inverses;
} work;

size_t plmm_packed_combine_bytes(uint32_t set, size_t count)
{
    const plmm_kahe_info *f = info_of(set);
    const size_t b = columns_of(f);
    PLMM_ASSERT(count <= PLMM_PACKED_MEMBERS_MAX);
    return 8 * ((RHO + count) * count + count * b + (RHO + count) * b + (size_t)f->n * f->primes +
                PLMM_PACKED_MEMBERS_MAX + RHO + 1 + 2 * count);
}

static void work_begin(work *w, const plmm_packed *p, const uint32_t *points, size_t count,
                       void *scratch)
{
    const plmm_kahe_info *f = info_of(p->set);
    const size_t b = columns_of(f);
    *w = (work){.p = p, .terms = RHO + p->privacy, .columns = b, .used = count};
    w->values = scratch;
    w->out = w->values + count * b;
    w->key = w->out + (RHO + count) * b;
    w->matrix = w->key + (size_t)f->n * f->primes;
    w->inverses = w->matrix + (RHO + count) * count;
    w->from = (size_t *)(void *)(w->inverses + PLMM_PACKED_MEMBERS_MAX + RHO + 1);
    w->xs = (int32_t *)(void *)(w->from + count);
    for (size_t i = 0; i < count; i++) {
        w->from[i] = i;
        w->xs[i] = (int32_t)points[i];
    }
}

/* The first w->terms believed rows determine the rest: computes the others at their points, and the
 * secrets. False if another row is not what it should be. */
static bool agree(work *w, const uint64_t *shares, size_t prime)
{
    const plmm__ring *r = &plmm__rings()[prime];
    const size_t b = w->columns, row = plmm_packed_share_residues(w->p->set),
                 extra = w->used - w->terms;
    int32_t targets[PLMM_PACKED_MEMBERS_MAX + RHO];
    for (size_t i = 0; i < w->terms; i++) {
        memcpy(w->values + i * b, shares + w->from[i] * row + prime * b, 8 * b);
    }
    for (size_t i = 0; i < RHO + extra; i++) {
        targets[i] = i < RHO ? -1 - (int32_t)i : w->xs[w->terms + i - RHO];
    }
    plmm__inverses(w->inverses, w->p->members + RHO, r);
    lagrange(w->matrix, targets, RHO + extra, w->xs, w->terms, w->inverses, r);
    plmm__kahe_best()->product(w->out, w->matrix, RHO + extra, w->values, w->terms, b, r);
    memcpy(w->key + prime * RHO * b, w->out, 8 * RHO * b);
    uint64_t differ = 0;
    for (size_t i = 0; i < extra; i++) {
        const uint64_t *given = shares + w->from[w->terms + i] * row + prime * b;
        for (size_t z = 0; z < b; z++) {
            differ |= given[z] ^ w->out[(RHO + i) * b + z];
        }
    }
    return differ == 0;
}

static bool agree_all(work *w, const uint64_t *shares)
{
    bool ok = true;
    for (size_t k = 0; k < info_of(w->p->set)->primes; k++) {
        ok = agree(w, shares, k) && ok;
    }
    return ok;
}

/* Leaves out the rows that decoding finds false; false if it finds none, or too many. */
static bool leave_out(work *w, bool *found, const uint64_t *shares)
{
    const size_t count = w->used;
    memset(found, 0, count * sizeof found[0]);
    for (size_t k = 0; k < info_of(w->p->set)->primes; k++) {
        plmm__inverses(w->inverses, w->p->members + RHO, &plmm__rings()[k]);
        if (!plmm__packed_locate(found, w->xs, count, w->terms, shares + k * w->columns,
                                 plmm_packed_share_residues(w->p->set), w->columns, w->inverses,
                                 &plmm__rings()[k])) {
            return false;
        }
    }
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (!found[i]) {
            w->xs[n] = w->xs[i];
            w->from[n++] = w->from[i];
        }
    }
    w->used = n;
    return n < count && 2 * (count - n) <= count - w->terms;
}

static plmm_status check_points(const plmm_packed *p, const uint32_t *points, size_t count,
                                plmm_error *err)
{
    bool seen[PLMM_PACKED_MEMBERS_MAX + 1] = {false};
    const size_t need = RHO + (size_t)p->privacy;
    if (count < need || count > p->members) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot put a key together: have %zu of %zu shares (a committee of %u)",
                         count, need, p->members);
    }
    for (size_t i = 0; i < count; i++) {
        if (points[i] == 0 || points[i] > p->members || seen[points[i]]) {
            return plmm_fail(
                err, PLMM_ERR_RANGE,
                "cannot put a key together: share %zu is of member %u, which %s", i, points[i],
                points[i] == 0 || points[i] > p->members ? "there is not" : "is there twice");
        }
        seen[points[i]] = true;
    }
    return PLMM_OK;
}

/* Foreign rows that were not unpacked here may hold anything. */
static bool residues_ok(const plmm_packed *p, const uint64_t *shares, size_t count)
{
    const plmm_kahe_info *f = info_of(p->set);
    const size_t b = columns_of(f);
    uint64_t over = 0;
    for (size_t i = 0; i < count * f->primes; i++, shares += b) {
        for (size_t z = 0; z < b; z++) {
            over |= shares[z] >> 63 | (f->prime[i % f->primes] - 1 - shares[z]) >> 63;
        }
    }
    return over == 0;
}

plmm_status plmm_packed_combine(uint64_t *key, bool *liars, const plmm_packed *p,
                                const uint32_t *points, const uint64_t *shares, size_t count,
                                void *scratch, plmm_error *err)
{
    work w;
    bool found[PLMM_PACKED_MEMBERS_MAX] = {false};
    PLMM_TRY(check_points(p, points, count, err));
    PLMM_ASSERT((uintptr_t)scratch % 64 == 0 && residues_ok(p, shares, count));
    work_begin(&w, p, points, count, scratch);
    bool ok = agree_all(&w, shares) || (leave_out(&w, found, shares) && agree_all(&w, shares));
    if (ok) {
        memcpy(key, w.key, 8 * plmm_kahe_key_residues(p->set));
        for (size_t i = 0; liars != NULL && i < count; i++) {
            liars[i] = found[i];
        }
    }
    plmm_wipe(scratch, plmm_packed_combine_bytes(p->set, count));
    return ok ? PLMM_OK
              : plmm_fail(err, PLMM_ERR_PEER,
                          "cannot put a key together: more than %zu of %zu shares are false",
                          (count - RHO - p->privacy) / 2, count);
}
