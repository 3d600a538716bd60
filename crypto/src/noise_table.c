/* Tables of the noise sampler, made in integers: a pmf to 128 bits, rounded to multiples of 2^-93,
 * cut into columns (Walker 1977, by two sweeps).
 *
 * Weights y_k proportional to P(k) are integers of 320 bits.
 *   Skellam: I_{k-1}(v) = (2 k / v) I_k(v) + I_{k+1}(v), run backward (Miller) from a k0 where P is
 *   below 2^-130, with y_k0 = 2^150, y_{k0+1} = 0. All terms are positive, so each step's
 *   truncation costs 2^-150 relatively, and leaving out what is beyond k0 costs P(k0) / P(k) of
 *   2^-130 at most where it matters.
 *   Gaussian: y_{k+1} = y_k a^(2k+1), a = exp(-8 / units), 288 bits after the point.
 * The sum of the weights normalises them; no other function is needed. */
#include "noise_internal.h"

#include <math.h>
#include <string.h>

__extension__ typedef unsigned __int128 u128;

enum { LIMBS = 10, RECIPROCAL = 6, FRACTION = 288, MASS_BITS = 93, COLUMNS_MIN_LOG2 = 6 };

typedef struct big {
    uint32_t w[LIMBS]; /* little-endian */
} big;

static void big_add(big *a, const big *b)
{
    uint64_t c = 0;
    for (size_t i = 0; i < LIMBS; i++) {
        c += (uint64_t)a->w[i] + b->w[i];
        a->w[i] = (uint32_t)c;
        c >>= 32;
    }
    PLMM_ASSERT(c == 0);
}

/* a -= b; returns the borrow, a wrapped if it is 1. */
static uint32_t big_sub(big *a, const big *b)
{
    uint64_t c = 0;
    for (size_t i = 0; i < LIMBS; i++) {
        c = (uint64_t)a->w[i] - b->w[i] - c;
        a->w[i] = (uint32_t)c;
        c = c >> 63;
    }
    return (uint32_t)c;
}

static void big_double(big *a)
{
    uint32_t c = 0;
    for (size_t i = 0; i < LIMBS; i++) {
        uint32_t top = a->w[i] >> 31;
        a->w[i] = a->w[i] << 1 | c;
        c = top;
    }
    PLMM_ASSERT(c == 0);
}

/* a = floor(a c / u). */
static void big_scale(big *a, uint32_t c, uint32_t u)
{
    uint32_t t[LIMBS + 1];
    uint64_t carry = 0, rest = 0;
    for (size_t i = 0; i < LIMBS; i++) {
        carry += (uint64_t)a->w[i] * c;
        t[i] = (uint32_t)carry;
        carry >>= 32;
    }
    t[LIMBS] = (uint32_t)carry;
    for (size_t i = LIMBS + 1; i-- > 0;) {
        rest = rest << 32 | t[i];
        uint64_t q = rest / u;
        rest -= q * u;
        if (i == LIMBS) {
            PLMM_ASSERT(q == 0);
        } else {
            a->w[i] = (uint32_t)q;
        }
    }
}

/* a = floor(a b / 2^FRACTION). */
static void big_mul(big *a, const big *b)
{
    uint32_t t[2 * LIMBS] = {0};
    for (size_t i = 0; i < LIMBS; i++) {
        uint64_t c = 0;
        for (size_t j = 0; j < LIMBS; j++) {
            c += (uint64_t)a->w[i] * b->w[j] + t[i + j];
            t[i + j] = (uint32_t)c;
            c >>= 32;
        }
        t[i + LIMBS] = (uint32_t)c;
    }
    _Static_assert(FRACTION == 32 * (LIMBS - 1), "a shift by limbs");
    memcpy(a->w, t + LIMBS - 1, sizeof a->w);
}

static uint32_t big_bits(const big *a)
{
    uint32_t n = LIMBS;
    while (n > 0 && a->w[n - 1] == 0) {
        n--;
    }
    uint32_t bits = 32 * n;
    while (bits > 0 && (a->w[(bits - 1) / 32] >> (bits - 1) % 32 & 1) == 0) {
        bits--;
    }
    return bits;
}

/* ---- weights ---- */

/* Receives the weights of |k|: y_0, and 2 y_k for k > 0. */
typedef struct pmf_sink {
    void (*take)(struct pmf_sink *s, uint32_t k, const big *y);
    big sum;                      /* of the first pass */
    uint32_t inverse[RECIPROCAL]; /* floor(2^(bits + 190) / sum) */
    uint32_t bits;
    plmm_noise_table *table;
    u128 left;      /* 2^93 less the masses stored */
    uint64_t error; /* sum of |stored - true| in 2^-128 */
    uint32_t last;  /* largest k of a positive mass */
} pmf_sink;

/* Chernoff's bound of P(X >= k) for Skellam of variance v, log2. */
static double skellam_tail_log2(double v, double k)
{
    double z = k / v, root = sqrt(1 + z * z);
    return (v * (root - 1) - k * log(z + root)) / 0.6931471805599453;
}

static void skellam_weights(uint64_t units, uint32_t extra, pmf_sink *s)
{
    uint32_t k0 = 1;
    while (skellam_tail_log2((double)units / PLMM_NOISE_UNITS, k0) > -130) {
        k0++;
    }
    k0 += extra;
    big here = {{0}}, above = {{0}};
    here.w[4] = UINT32_C(1) << 22; /* 2^150 */
    for (uint32_t k = k0;; k--) {
        big twice = here;
        if (k > 0) {
            big_add(&twice, &here);
        }
        s->take(s, k, &twice);
        if (k == 0) {
            break;
        }
        big below = here; /* 2 k / v = 32 k / units */
        big_scale(&below, 32 * k, (uint32_t)units);
        big_add(&below, &above);
        above = here;
        here = below;
    }
}

/* exp(-8 / units): the series of exp(-1 / (8 units)), squared six times. */
static void gaussian_base(big *a, uint64_t units)
{
    big term = {{0}}, minus = {{0}};
    term.w[LIMBS - 1] = 1;
    *a = term;
    for (uint32_t n = 1; big_bits(&term) > 0; n++) {
        big_scale(&term, 1, (uint32_t)units * 8 * n);
        big_add(n % 2 == 1 ? &minus : a, &term);
    }
    (void)big_sub(a, &minus);
    for (int i = 0; i < 6; i++) {
        big b = *a;
        big_mul(a, &b);
    }
}

static void gaussian_weights(uint64_t units, uint32_t extra, pmf_sink *s)
{
    big y = {{0}}, step, square;
    y.w[LIMBS - 1] = 1;
    gaussian_base(&step, units);
    square = step;
    big_mul(&square, &step);
    for (uint32_t k = 0; big_bits(&y) > FRACTION - 130 - (extra > 100 ? 100 : extra); k++) {
        big twice = y;
        if (k > 0) {
            big_add(&twice, &y);
        }
        s->take(s, k, &twice);
        big_mul(&y, &step);
        big_mul(&step, &square);
    }
}

static void take_sum(pmf_sink *s, uint32_t k, const big *y)
{
    (void)k;
    big_add(&s->sum, y);
}

static void make_inverse(pmf_sink *s)
{
    s->bits = big_bits(&s->sum);
    PLMM_ASSERT(s->bits < 32 * LIMBS);
    big rest = {{0}};
    rest.w[(s->bits - 1) / 32] = UINT32_C(1) << (s->bits - 1) % 32; /* below or equal to the sum */
    for (uint32_t i = 192; i-- > 0;) {
        big trial = rest;
        if (big_sub(&trial, &s->sum) == 0) {
            rest = trial;
            s->inverse[i / 32] |= UINT32_C(1) << i % 32;
        }
        big_double(&rest);
    }
}

/* y / sum in 2^-128, rounded down. */
static u128 normalised(const pmf_sink *s, const big *y)
{
    uint32_t t[LIMBS + RECIPROCAL + 1] = {0};
    for (size_t i = 0; i < LIMBS; i++) {
        uint64_t c = 0;
        for (size_t j = 0; j < RECIPROCAL; j++) {
            c += (uint64_t)y->w[i] * s->inverse[j] + t[i + j];
            t[i + j] = (uint32_t)c;
            c >>= 32;
        }
        t[i + RECIPROCAL] = (uint32_t)c;
    }
    /* inverse is floor(2^(bits - 1 + 191) / sum) */
    uint32_t shift = s->bits - 1 + 191 - 128;
    u128 q = 0;
    for (size_t i = 4; i-- > 0;) {
        uint64_t two = (uint64_t)t[shift / 32 + i + 1] << 32 | t[shift / 32 + i];
        q = q << 32 | (uint32_t)(two >> shift % 32);
    }
    return q;
}

static void put_word(plmm_noise_table *t, unsigned j, size_t c, uint32_t v)
{
    for (unsigned b = 0; b < 4; b++) {
        t->plane[4 * j + b][c] = (uint8_t)(v >> 8 * b);
    }
}

/* While a table is made its words are the masses, 31 bits each, the least first. */
static void put_mass(plmm_noise_table *t, size_t c, u128 mass)
{
    for (unsigned j = 0; j < 3; j++) {
        put_word(t, j, c, (uint32_t)(mass >> 31 * j) & 0x7fffffff);
    }
}

static u128 get_mass(const plmm_noise_table *t, size_t c)
{
    return (u128)plmm__noise_word(t, 2, c) << 62 | (u128)plmm__noise_word(t, 1, c) << 31 |
           plmm__noise_word(t, 0, c);
}

static void take_mass(pmf_sink *s, uint32_t k, const big *y)
{
    u128 q = normalised(s, y);
    u128 mass = (q + ((u128)1 << 34)) >> (128 - MASS_BITS);
    u128 stored = mass << (128 - MASS_BITS);
    s->error += (uint64_t)(stored > q ? stored - q : q - stored) + 1;
    s->left -= mass;
    if (mass > 0) {
        PLMM_ASSERT(k < 1 << PLMM_NOISE_TABLE_LOG2_MAX);
        s->last = k > s->last ? k : s->last;
        put_mass(s->table, k, mass);
    }
}

/* ---- columns ---- */

enum { NOWHERE = 0xffff };

typedef struct columns {
    plmm_noise_table *table;
    size_t n;
    u128 room;
    uint16_t alias[1 << PLMM_NOISE_TABLE_LOG2_MAX];
} columns;

static size_t next_large(const columns *c, size_t i)
{
    while (i < c->n && get_mass(c->table, i) <= c->room) {
        i++;
    }
    return i;
}

static size_t next_small(const columns *c, size_t i)
{
    while (i < c->n && (c->alias[i] != NOWHERE || get_mass(c->table, i) > c->room)) {
        i++;
    }
    return i;
}

/* One sweep: the large column gives from its surplus to the small ones in order; when it has become
 * small itself, the next large one fills it. What is left in the end is exactly full. */
static void fill_columns(columns *c)
{
    size_t small = 0, large = next_large(c, 0);
    u128 mass = large < c->n ? get_mass(c->table, large) : 0;
    while (large < c->n) {
        if (mass > c->room) {
            small = next_small(c, small);
            PLMM_ASSERT(small < c->n);
            c->alias[small] = (uint16_t)large;
            mass -= c->room - get_mass(c->table, small);
            continue;
        }
        size_t next = next_large(c, large + 1);
        put_mass(c->table, large, mass);
        c->alias[large] = (uint16_t)(next < c->n ? next : large);
        if (next < c->n) {
            mass = get_mass(c->table, next) - (c->room - mass);
        }
        large = next;
    }
}

/* Puts thresholds and aliases into the words. A full column is its own alias. */
static void pack_columns(columns *c)
{
    for (size_t i = 0; i < c->n; i++) {
        u128 threshold = get_mass(c->table, i);
        uint32_t alias = c->alias[i];
        if (threshold == c->room || alias == NOWHERE) {
            PLMM_ASSERT(threshold == c->room);
            alias = (uint32_t)i;
            threshold = 0;
        }
        put_word(c->table, 0, i, (uint32_t)(threshold >> 62) << c->table->log2 | alias);
        put_word(c->table, 1, i, (uint32_t)(threshold >> 31) & 0x7fffffff);
        put_word(c->table, 2, i, (uint32_t)threshold & 0x7fffffff);
    }
}

plmm_status plmm__noise_table_build(plmm_noise_table *t, uint32_t kind, uint64_t units,
                                    uint32_t extra, plmm_error *err)
{
    if ((kind != PLMM_NOISE_SKELLAM && kind != PLMM_NOISE_GAUSSIAN) || units < 1 ||
        units > PLMM_NOISE_TABLE_UNITS) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot make a noise table of kind %u and variance %llu/16: kinds are 1 "
                         "(skellam) and 2 (gaussian), variances 1/16..%d/16",
                         kind, (unsigned long long)units, PLMM_NOISE_TABLE_UNITS);
    }
    memset(t, 0, sizeof *t);
    t->kind = kind;
    t->units = units;
    pmf_sink s = {.take = take_sum, .table = t, .left = (u128)1 << MASS_BITS};
    void (*weights)(uint64_t, uint32_t, pmf_sink *) =
        kind == PLMM_NOISE_SKELLAM ? skellam_weights : gaussian_weights;
    weights(units, extra, &s);
    make_inverse(&s);
    s.take = take_mass;
    weights(units, extra, &s);
    /* What rounding left over, at most half a unit a value, goes to 0. */
    u128 centre = get_mass(t, 0) + s.left;
    uint64_t moved = (uint64_t)((s.left >> 127) != 0 ? -s.left : s.left);
    put_mass(t, 0, centre);
    t->tv = 0.5 * ((double)s.error * 0x1p-128 + (double)moved * 0x1p-93) + 0x1p-120;
    t->log2 = COLUMNS_MIN_LOG2;
    while (s.last >> t->log2 != 0) {
        t->log2++;
    }
    columns c = {.table = t, .n = (size_t)1 << t->log2};
    c.room = (u128)1 << (MASS_BITS - t->log2);
    memset(c.alias, 0xff, sizeof c.alias);
    fill_columns(&c);
    pack_columns(&c);
    return PLMM_OK;
}

plmm_status plmm_noise_table_init(plmm_noise_table *t, uint32_t kind, uint64_t units,
                                  plmm_error *err)
{
    return plmm__noise_table_build(t, kind, units, 0, err);
}

void plmm_noise_table_mass(uint32_t out[3], const plmm_noise_table *t, uint32_t k)
{
    const size_t n = (size_t)1 << t->log2;
    const u128 room = (u128)1 << (MASS_BITS - t->log2);
    u128 mass = 0;
    for (size_t c = 0; c < n; c++) {
        uint32_t top = plmm__noise_word(t, 0, c), alias = top & (uint32_t)(n - 1);
        u128 threshold = (u128)(top >> t->log2) << 62 | (u128)plmm__noise_word(t, 1, c) << 31 |
                         plmm__noise_word(t, 2, c);
        mass += c == k ? threshold : 0;
        mass += alias == k ? room - threshold : 0;
    }
    for (unsigned j = 0; j < 3; j++) {
        out[j] = (uint32_t)(mass >> 31 * j) & (j < 2 ? 0x7fffffff : UINT32_MAX);
    }
}
