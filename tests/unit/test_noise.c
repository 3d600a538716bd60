/* crypto/noise: tables against exact probabilities, paths against each other, draws against tables
 * (chi-square, moments, tails, sums), removable layers for every number of dropouts, refusals.
 *
 * test_noise [draws] makes that many draws of each kind of statistic instead of a CI-sized number
 * and prints what it found: `test_noise 1000000000` takes minutes. */
#include "noise_cks.h"
#include "noise_internal.h"
#include "plmm/bytes.h"
#include "plmm/mask.h"
#include "plmm/rng.h"
#include "vec.h"

#include <math.h>

static const char *const file = "tests/vectors/noise.vec";

enum { SPAN = 1 << PLMM_NOISE_TABLE_LOG2_MAX, CHUNK = 1 << 16 };

static plmm_noise_table table, other;
static int32_t x[CHUNK + 100], y[CHUNK + 100];
static uint64_t histogram[2 * SPAN + 1]; /* of -SPAN .. SPAN */
static double mass[SPAN];                /* P(|X| = k) */
static bool verbose;

static void build(plmm_noise_table *t, uint32_t kind, uint64_t units)
{
    plmm_error err = {0};
    CHECK(plmm_noise_table_init(t, kind, units, &err) == PLMM_OK, "%s", err.msg);
}

static plmm_seed seed_of(uint64_t n)
{
    plmm_seed s = {{0}};
    plmm_store_le64(s.b, n);
    return s;
}

/* ---- tables ---- */

/* Distance of 2^93 P from the exact number, a and b in 31-bit limbs: small, so doubles do. */
static double distance(const uint32_t a[3], const uint8_t exact[12])
{
    int64_t low = (int64_t)((uint64_t)a[1] << 31 | a[0]), high = a[2];
    uint64_t e0 = plmm_load_le64(exact), e1 = plmm_load_le32(exact + 8);
    int64_t want_low = (int64_t)(e0 & 0x3fffffffffffffff);
    int64_t want_high = (int64_t)(e0 >> 62 | e1 << 2);
    return (double)(low - want_low) + (double)(high - want_high) * 0x1p62;
}

static void test_exact_masses(void)
{
    static const uint64_t units[] = {1, 3, 16, 100, 256, 5000, 16384, 250001, 1617984, 1800000};
    for (uint32_t kind = PLMM_NOISE_SKELLAM; kind <= PLMM_NOISE_GAUSSIAN; kind++) {
        for (size_t i = 0; i < COUNT(units); i++) {
            char name[40];
            (void)snprintf(name, sizeof name, "mass.%s.%llu", plmm_noise_name(kind),
                           (unsigned long long)units[i]);
            vec v = vec_get(file, name);
            build(&table, kind, units[i]);
            for (size_t at = 0; at < v.len; at += 16) {
                uint32_t k = plmm_load_le32(v.b + at), got[3];
                plmm_noise_table_mass(got, &table, k);
                double off = distance(got, v.b + at + 4);
                CHECK(fabs(off) < 0.5, "%s: P(%u) is %g units off", name, k, off);
            }
            CHECK(v.len >= 16 && table.tv > 0 && table.tv < 0x1p-80, "%s: tv %g", name, table.tv);
        }
    }
}

/* All masses add to exactly 2^93; nothing lies beyond the table. */
static void test_masses_add_up(void)
{
    static const uint64_t units[] = {1, 2, 5, 33, 256, 777, 16384, 100003};
    for (uint32_t kind = PLMM_NOISE_SKELLAM; kind <= PLMM_NOISE_GAUSSIAN; kind++) {
        for (size_t i = 0; i < COUNT(units); i++) {
            uint64_t low = 0, high = 0;
            build(&table, kind, units[i]);
            for (uint32_t k = 0; k < UINT32_C(1) << table.log2; k++) {
                uint32_t m[3];
                plmm_noise_table_mass(m, &table, k);
                low += (uint64_t)m[1] << 31 | m[0];
                high += m[2] + (low >> 62);
                low &= 0x3fffffffffffffff;
            }
            CHECK(low == 0 && high == UINT64_C(1) << 31, "kind %u units %llu", kind,
                  (unsigned long long)units[i]);
        }
    }
}

/* Where the recurrence begins makes no difference, so tables agree on machines whose logarithms
 * differ in the last place. */
static void test_start_does_not_matter(void)
{
    for (uint64_t units = 1; units < PLMM_NOISE_TABLE_UNITS; units = units * 5 / 3 + 1) {
        for (uint32_t kind = PLMM_NOISE_SKELLAM; kind <= PLMM_NOISE_GAUSSIAN; kind++) {
            build(&table, kind, units);
            CHECK(plmm__noise_table_build(&other, kind, units, 3, NULL) == PLMM_OK, "build");
            CHECK(memcmp(table.plane, other.plane, sizeof table.plane) == 0, "kind %u units %llu",
                  kind, (unsigned long long)units);
        }
    }
}

/* ---- paths ---- */

static void test_paths_agree(void)
{
    static const uint64_t units[] = {1, 256, 3000, 16384, 200000, 1800000};
    size_t count;
    plmm_rng r;
    plmm_rng_init(&r, plmm_test_seed(3), 0);
    const plmm__noise_path *paths = plmm__noise_paths(&count);
    CHECK(strcmp(paths[count - 1].name, "portable") == 0, "the reference is last");
    for (size_t i = 0; i < COUNT(units) * 2; i++) {
        build(&table, i % 2 == 0 ? PLMM_NOISE_SKELLAM : PLMM_NOISE_GAUSSIAN, units[i / 2]);
        for (int step = 0; step < 6; step++) {
            size_t n = (size_t)plmm_rng_below(&r, step == 0 ? 5000 : 300);
            uint64_t index = plmm_rng_u64(&r);
            plmm_seed seed = seed_of(plmm_rng_u64(&r));
            uint32_t stream = 1 + (uint32_t)plmm_rng_below(&r, 2);
            int32_t flip = plmm_rng_below(&r, 2) == 0 ? 0 : -1, base[5100];
            for (size_t k = 0; k < n + 1; k++) {
                base[k] = (int32_t)plmm_rng_u64(&r);
            }
            memcpy(y, base, (n + 1) * sizeof y[0]);
            plmm__noise_draw(&paths[count - 1], y, n, &table, stream, &seed, index, flip);
            for (size_t p = 0; p < count; p++) {
                memcpy(x, base, (n + 1) * sizeof x[0]);
                plmm__noise_draw(&paths[p], x, n, &table, stream, &seed, index, flip);
                CHECK(memcmp(x, y, (n + 1) * sizeof x[0]) == 0, "%s: units %llu n %zu",
                      paths[p].name, (unsigned long long)units[i / 2], n);
            }
        }
    }
}

/* One draw by the page's words, from the cipher's words and the masses' columns alone. */
static void test_words_of_a_draw(void)
{
    enum { N = 200 };
    static uint32_t words[3 * 256];
    const plmm_hash none = {{0}};
    plmm_seed seed = seed_of(9), own;
    plmm_mask m;
    build(&table, PLMM_NOISE_SKELLAM, 16384);
    memset(x, 0, sizeof x);
    plmm_noise_draw(x, N, &table, PLMM_STREAM_CHACHA20, &seed, 5);
    plmm_seed_derive(&own, &seed, "noise.v1", 5);
    CHECK(plmm_mask_init(&m, PLMM_STREAM_CHACHA20, own.b, &none, PLMM_MASK_ADD, NULL) == PLMM_OK,
          "mask");
    plmm_mask_apply_ref(words, COUNT(words), 0, 32, &m, 1);
    for (size_t i = 0; i < N; i++) {
        const uint32_t *w = words + 48 * (i / 16) + i % 16;
        uint32_t low = (UINT32_C(1) << table.log2) - 1, c = w[0] & low;
        uint32_t top = plmm__noise_word(&table, 0, c);
        uint32_t a[3] = {(w[0] & 0x7fffffff) >> table.log2, w[16] & 0x7fffffff, w[32] & 0x7fffffff};
        uint32_t t[3] = {top >> table.log2, plmm__noise_word(&table, 1, c),
                         plmm__noise_word(&table, 2, c)};
        bool less = a[0] != t[0] ? a[0] < t[0] : a[1] != t[1] ? a[1] < t[1] : a[2] < t[2];
        int32_t k = (int32_t)(less ? c : top & low);
        CHECK(x[i] == (w[0] >> 31 != 0 ? -k : k), "draw %zu is %d, not %d", i, x[i], k);
    }
}

/* ---- draws ---- */

/* z-score of a chi-square by Wilson and Hilferty. */
static double chi_z(double chi2, double freedom)
{
    double f = 2 / (9 * freedom);
    return (cbrt(chi2 / freedom) - (1 - f)) / sqrt(f);
}

static void masses_of(const plmm_noise_table *t)
{
    memset(mass, 0, sizeof mass);
    for (uint32_t k = 0; k < UINT32_C(1) << t->log2; k++) {
        uint32_t m[3];
        plmm_noise_table_mass(m, t, k);
        mass[k] = m[2] * 0x1p-31 + m[1] * 0x1p-62 + m[0] * 0x1p-93;
    }
}

/* Bins are values of their own while they expect 20 draws; the two tails are pooled. */
static double chi_square(uint64_t draws, double *freedom)
{
    double chi2 = 0;
    int32_t edge = 0;
    while (edge + 1 < SPAN && mass[edge + 1] / 2 * (double)draws >= 20) {
        edge++;
    }
    uint64_t seen = 0;
    for (int32_t k = -edge; k <= edge; k++) {
        double p = k == 0 ? mass[0] : mass[k < 0 ? -k : k] / 2, want = p * (double)draws;
        double gap = (double)histogram[SPAN + k] - want;
        chi2 += gap * gap / want;
        seen += histogram[SPAN + k];
    }
    double outside = 0; /* summed from the small end, so that none of it is lost */
    for (int32_t k = SPAN - 1; k > edge; k--) {
        outside += mass[k];
    }
    double want = outside * (double)draws;
    *freedom = 2 * edge;
    if (want >= 5) {
        double gap = (double)(draws - seen) - want;
        chi2 += gap * gap / want;
        *freedom += 1;
    } else { /* too few for a bin: not absurdly many */
        CHECK((double)(draws - seen) <= want + 8 * sqrt(want) + 5, "%llu in tails of %g",
              (unsigned long long)(draws - seen), want);
    }
    return chi2;
}

typedef struct moments {
    double mean, variance, fourth;
} moments;

static moments moments_of(uint64_t draws)
{
    moments m = {0, 0, 0};
    for (int32_t k = -SPAN; k <= SPAN; k++) {
        double h = (double)histogram[SPAN + k] / (double)draws, k2 = (double)k * k;
        m.mean += h * k;
        m.variance += h * k2;
        m.fourth += h * k2 * k2;
    }
    return m;
}

/* The histogram of `draws` draws fits the masses: chi-square, mean, variance, fourth moment. */
static void check_histogram(const char *what, uint64_t draws)
{
    double v = 0, v4 = 0, v8 = 0, freedom;
    for (int32_t k = 1; k < SPAN; k++) {
        double k2 = (double)k * k;
        v += mass[k] * k2;
        v4 += mass[k] * k2 * k2;
        v8 += mass[k] * k2 * k2 * k2 * k2;
    }
    moments m = moments_of(draws);
    double n = (double)draws, chi2 = chi_square(draws, &freedom), z = chi_z(chi2, freedom);
    double z1 = m.mean / sqrt(v / n), z2 = (m.variance - v) / sqrt((v4 - v * v) / n);
    double z4 = (m.fourth - v4) / sqrt((v8 - v4 * v4) / n);
    if (verbose) {
        (void)printf("%s: %.0f draws, chi-square on %.0f degrees z %+.2f, mean z %+.2f, variance "
                     "%.6g (true %.6g) z %+.2f, fourth moment z %+.2f\n",
                     what, n, freedom, z, z1, m.variance, v, z2, z4);
    }
    CHECK(z < 5, "%s: chi-square is %g deviations off", what, z);
    CHECK(fabs(z1) < 5 && fabs(z2) < 5 && fabs(z4) < 5, "%s: moments are %g, %g, %g deviations off",
          what, z1, z2, z4);
}

static void count(const int32_t *draws, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        CHECK(draws[i] > -SPAN && draws[i] < SPAN, "a draw of %d", draws[i]);
        histogram[SPAN + draws[i]]++;
    }
}

static void test_draws(uint64_t draws)
{
    static const struct {
        uint32_t kind;
        uint64_t units;
        unsigned share; /* of the draws, in hundredths */
    } rows[] = {
        {PLMM_NOISE_SKELLAM, 256, 40},     {PLMM_NOISE_SKELLAM, 1, 5},
        {PLMM_NOISE_SKELLAM, 16384, 15},   {PLMM_NOISE_SKELLAM, 1617984, 5},
        {PLMM_NOISE_GAUSSIAN, 256, 20},    {PLMM_NOISE_GAUSSIAN, 5, 5},
        {PLMM_NOISE_GAUSSIAN, 250001, 10},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char what[60];
        uint64_t n = draws / 100 * rows[i].share / CHUNK + 1;
        build(&table, rows[i].kind, rows[i].units);
        masses_of(&table);
        memset(histogram, 0, sizeof histogram);
        plmm_seed seed = seed_of(100 + i);
        for (uint64_t k = 0; k < n; k++) {
            memset(x, 0, CHUNK * sizeof x[0]);
            plmm_noise_draw(x, CHUNK, &table, PLMM_STREAM_AES256CTR, &seed, k);
            count(x, CHUNK);
        }
        (void)snprintf(what, sizeof what, "%s of variance %llu/16", plmm_noise_name(rows[i].kind),
                       (unsigned long long)rows[i].units);
        check_histogram(what, n * CHUNK);
    }
}

/* Sums of independent Skellam draws are Skellam draws of the summed variance. */
static void test_closed_under_sums(uint64_t draws)
{
    static const uint64_t parts[] = {100, 7, 130, 19};
    build(&table, PLMM_NOISE_SKELLAM, 256);
    masses_of(&table);
    memset(histogram, 0, sizeof histogram);
    uint64_t n = draws / CHUNK + 1;
    for (uint64_t k = 0; k < n; k++) {
        memset(x, 0, CHUNK * sizeof x[0]);
        for (size_t p = 0; p < COUNT(parts); p++) {
            plmm_seed seed = seed_of(1000 * k + p);
            CHECK(plmm_noise_add(x, CHUNK, PLMM_NOISE_SKELLAM, parts[p], PLMM_STREAM_AES256CTR,
                                 &seed, NULL) == PLMM_OK,
                  "add");
        }
        count(x, CHUNK);
    }
    check_histogram("a sum of four Skellam draws", n * CHUNK);
}

/* A variance of three tables: three draws, of a third each and the rest. */
static void test_large_variance(void)
{
    const uint64_t units = UINT64_C(3) * PLMM_NOISE_TABLE_UNITS - 1, third = units / 3;
    const plmm_seed seed = seed_of(5);
    CHECK(units % 3 == 2, "two draws of one more");
    memset(x, 0, sizeof x);
    memset(y, 0, sizeof y);
    CHECK(plmm_noise_add(x, CHUNK, PLMM_NOISE_SKELLAM, units, 1, &seed, NULL) == PLMM_OK, "add");
    for (uint64_t i = 0; i < 3; i++) {
        build(&table, PLMM_NOISE_SKELLAM, third + (i < 2 ? 1 : 0));
        plmm_noise_draw(y, CHUNK, &table, 1, &seed, i);
    }
    CHECK(memcmp(x, y, sizeof x) == 0, "the sum of its draws");
    double square = 0, want = (double)units / 16;
    for (size_t i = 0; i < CHUNK; i++) {
        square += (double)x[i] * x[i];
    }
    CHECK(fabs(square / CHUNK / want - 1) < 6 * sqrt(2.0 / CHUNK), "variance %g, not %g",
          square / CHUNK, want);
    CHECK(plmm_noise_sub(x, CHUNK, PLMM_NOISE_SKELLAM, units, 1, &seed, NULL) == PLMM_OK, "sub");
    CHECK(plmm_is_zero(x, sizeof x), "taken out again");
    CHECK(plmm_noise_add(x, CHUNK, PLMM_NOISE_SKELLAM, 0, 1, &seed, NULL) == PLMM_OK, "none");
    CHECK(plmm_is_zero(x, sizeof x), "no variance, no noise");
}

/* Chernoff's bound is above the exact tail, and not by much. */
static void test_tails(void)
{
    static const uint64_t units[] = {1, 16, 256, 16384};
    for (size_t i = 0; i < COUNT(units) * 2; i++) {
        uint32_t kind = i % 2 == 0 ? PLMM_NOISE_SKELLAM : PLMM_NOISE_GAUSSIAN;
        double u = (double)units[i / 2], above = 0;
        build(&table, kind, units[i / 2]);
        masses_of(&table);
        for (int32_t k = (1 << table.log2) - 1; k > 0; k--) {
            above += mass[k]; /* P(|X| >= k) */
            double bound = plmm_noise_tail_probability(kind, u, k);
            CHECK(bound >= above, "units %g: P(%d) is %g above the bound %g", u, k, above, bound);
        }
        for (double p = 0.01; p > 1e-15; p /= 100) {
            double t = plmm_noise_tail(kind, u, p);
            double exact = 0, bound = plmm_noise_tail_probability(kind, u, t);
            CHECK(bound <= p * (1 + 1e-9), "units %g: the bound at %g is %g", u, t, bound);
            for (int32_t k = SPAN - 1; k > t; k--) {
                exact += mass[k];
            }
            CHECK(exact <= p, "units %g: P(|X| > %g) is %g, above %g", u, t, exact, p);
            CHECK(plmm_noise_tail_probability(kind, u, t - 1.6) > p || t < 2,
                  "units %g: %g is not the smallest for %g", u, t, p);
        }
    }
    CHECK(plmm_noise_tail(PLMM_NOISE_NONE, 0, 1e-6) == 0, "no noise");
}

/* The reference sampler and the table draw from one distribution. */
static void test_cks(uint64_t draws)
{
    static const uint64_t units[] = {5, 16, 256, 1600};
    for (size_t i = 0; i < COUNT(units); i++) {
        build(&table, PLMM_NOISE_GAUSSIAN, units[i]);
        masses_of(&table);
        memset(histogram, 0, sizeof histogram);
        for (uint64_t k = 0; k < draws / CHUNK + 1; k++) {
            plmm_seed seed = seed_of(k * 10 + i);
            plmm_noise_cks(x, CHUNK, units[i], &seed);
            count(x, CHUNK);
        }
        check_histogram("Canonne, Kamath, Steinke", (draws / CHUNK + 1) * CHUNK);
    }
}

/* A TurboSHAKE128 stream (RFC 9861) and how libprio-rs takes numbers from it. */
typedef struct turbo {
    plmm__cks_source source;
    uint64_t lane[25];
    size_t used;
} turbo;

static void keccak_12(uint64_t a[25])
{
    static const uint64_t round[12] = {0x000000008000808b, 0x800000000000008b, 0x8000000000008089,
                                       0x8000000000008003, 0x8000000000008002, 0x8000000000000080,
                                       0x000000000000800a, 0x800000008000000a, 0x8000000080008081,
                                       0x8000000000008080, 0x0000000080000001, 0x8000000080008008};
    static const unsigned shift[24] = {1,  3,  6,  10, 15, 21, 28, 36, 45, 55, 2,  14,
                                       27, 41, 56, 8,  25, 43, 62, 18, 39, 61, 20, 44};
    static const unsigned place[24] = {10, 7,  11, 17, 18, 3, 5,  16, 8,  21, 24, 4,
                                       15, 23, 19, 13, 12, 2, 20, 14, 22, 9,  6,  1};
    for (size_t r = 0; r < 12; r++) {
        uint64_t c[5];
        for (size_t i = 0; i < 5; i++) {
            c[i] = a[i] ^ a[i + 5] ^ a[i + 10] ^ a[i + 15] ^ a[i + 20];
        }
        for (size_t i = 0; i < 25; i++) {
            uint64_t d = c[(i + 1) % 5];
            a[i] ^= c[(i + 4) % 5] ^ (d << 1 | d >> 63);
        }
        uint64_t t = a[1];
        for (size_t i = 0; i < 24; i++) {
            uint64_t next = a[place[i]];
            a[place[i]] = t << shift[i] | t >> (64 - shift[i]);
            t = next;
        }
        for (size_t row = 0; row < 25; row += 5) {
            memcpy(c, a + row, sizeof c);
            for (size_t i = 0; i < 5; i++) {
                a[row + i] = c[i] ^ (~c[(i + 1) % 5] & c[(i + 2) % 5]);
            }
        }
        a[0] ^= round[r];
    }
}

static uint32_t turbo_word(turbo *t)
{
    enum { RATE_WORDS = 42 };
    if (t->used == RATE_WORDS) {
        keccak_12(t->lane);
        t->used = 0;
    }
    uint32_t w = (uint32_t)(t->lane[t->used / 2] >> 32 * (t->used % 2));
    t->used++;
    return w;
}

static uint64_t turbo_uniform(plmm__cks_source *s, uint64_t n)
{
    turbo *t = (turbo *)s;
    unsigned bits = 0;
    while (bits < 64 && n >> bits != 0) {
        bits++;
    }
    for (;;) {
        uint64_t v = turbo_word(t);
        if (bits > 32) {
            v |= (uint64_t)turbo_word(t) >> (64 - bits) << 32;
        } else {
            v >>= 32 - bits;
        }
        if (v < n) {
            return v;
        }
    }
}

static bool turbo_bernoulli(plmm__cks_source *s, uint64_t a, uint64_t b)
{
    uint64_t g = b, h = a;
    while (h != 0) { /* fractions are in lowest terms */
        uint64_t rest = g % h;
        g = h;
        h = rest;
    }
    return turbo_uniform(s, b / g) < a / g;
}

/* The samples of libprio-rs, src/dp/distributions.rs, test_discrete_gaussian (commit 16f30b73):
 * deviation 5, seed 0^32. */
static void test_published_gaussian(void)
{
    static const int64_t want[20] = {10, 7, 2, 1,  -1, -2, -1, 3,  -3,  -1,
                                     3,  6, 3, -7, -8, -1, 2,  -4, -11, -4};
    turbo t = {.source = {turbo_uniform, turbo_bernoulli}};
    /* 2 octets 0: no tag; 1 octet: 32 of seed; the seed; octet 35 separates domains; padding */
    t.lane[0] = UINT64_C(32) << 16;
    t.lane[4] ^= UINT64_C(1) << 24;
    t.lane[20] ^= UINT64_C(0x80) << 56;
    keccak_12(t.lane);
    for (size_t i = 0; i < 20; i++) {
        int64_t got = plmm__cks_gaussian(&t.source, 400);
        CHECK(got == want[i], "sample %zu is %lld, not %lld", i, (long long)got,
              (long long)want[i]);
    }
}

/* ---- layers ---- */

/* For every number of dropouts the survivors' honest noise is at least the target, and above it by
 * no more than rounding up to a unit a device and the coarseness of levels. */
static void test_every_dropout(void)
{
    static const struct {
        uint32_t n, least, corrupt, levels;
    } rows[] = {{10, 6, 1, 4},      {100, 80, 10, 20}, {100, 80, 10, 0}, {1000, 810, 100, 64},
                {1000, 900, 1, 10}, {3, 3, 1, 0},      {3, 2, 1, 1},     {10000, 7000, 1000, 37},
                {100, 100, 99, 0},  {50, 20, 10, 7}};
    static const uint64_t targets[] = {1, 16, 999, 160000, 123456789};
    for (size_t i = 0; i < COUNT(rows) * COUNT(targets); i++) {
        plmm_error err = {0};
        plmm_xnoise p = {PLMM_NOISE_SKELLAM, 1,
                         targets[i % 5],     rows[i / 5].n,
                         rows[i / 5].least,  rows[i / 5].corrupt,
                         rows[i / 5].levels};
        CHECK(plmm_xnoise_check(&p, &err) == PLMM_OK, "row %zu: %s", i, err.msg);
        for (uint32_t dropped = 0; dropped <= p.n - p.least; dropped++) {
            uint32_t level = plmm_xnoise_level(&p, dropped);
            uint64_t kept = 0, honest = p.n - dropped - p.corrupt;
            for (uint32_t l = 0; l <= level; l++) {
                kept += plmm_xnoise_units(&p, l);
            }
            CHECK(kept == plmm_xnoise_kept(&p, level), "row %zu: components add up", i);
            CHECK(honest * kept >= p.units, "row %zu: %u dropped: %llu from %llu", i, dropped,
                  (unsigned long long)kept, (unsigned long long)honest);
            /* the most dropouts that this level may have been made for */
            uint32_t step = p.levels == 0 ? p.n - p.least : (p.n - p.least) / p.levels + 1;
            uint64_t worst = dropped + step > p.n - p.least ? p.n - p.least : dropped + step;
            uint64_t fewest = p.n - worst - p.corrupt;
            CHECK(kept <= p.units / fewest + 1, "row %zu: %u dropped: %llu is too much", i, dropped,
                  (unsigned long long)kept);
        }
        CHECK(plmm_xnoise_level(&p, p.n) == p.levels, "row %zu: all of them, beyond", i);
    }
}

/* Five devices add all components; after each number of dropouts the revealed value takes out
 * exactly those above the level, and what stays is what was kept. */
static void test_removal(void)
{
    enum { N = 5000, DEVICES = 5 };
    const plmm_xnoise p = {PLMM_NOISE_SKELLAM, 2, 16000, DEVICES, 3, 1, 2};
    plmm_seed g0[DEVICES], revealed;
    for (uint32_t dropped = 0; dropped <= 2; dropped++) {
        uint32_t level = plmm_xnoise_level(&p, dropped);
        memset(x, 0, sizeof x);
        memset(y, 0, sizeof y);
        for (uint32_t i = dropped; i < DEVICES; i++) {
            plmm_seed own = seed_of(i), g, component;
            plmm_xnoise_root(&g0[i], &own);
            CHECK(plmm_xnoise_add(x, N, &p, &g0[i], NULL) == PLMM_OK, "add");
            g = g0[i];
            for (uint32_t l = 0; l <= level; l++) { /* the layers that stay, by themselves */
                plmm_seed_derive(&component, &g, "xnoise.c", 0);
                CHECK(plmm_noise_add(y, N, p.kind, plmm_xnoise_units(&p, l), p.stream, &component,
                                     NULL) == PLMM_OK,
                      "layer");
                plmm_seed_derive(&g, &g, "xnoise.g", 0);
            }
        }
        if (level < p.levels) {
            CHECK(memcmp(x, y, N * sizeof x[0]) != 0, "there is a surplus");
        }
        for (uint32_t i = dropped; i < DEVICES; i++) {
            plmm_xnoise_chain(&revealed, &g0[i], level + 1);
            CHECK(plmm_xnoise_remove(x, N, &p, level, &revealed, NULL) == PLMM_OK, "remove");
        }
        CHECK(memcmp(x, y, N * sizeof x[0]) == 0, "%u dropped: exactly the kept layers", dropped);
        double square = 0, want = (DEVICES - dropped) * (double)plmm_xnoise_kept(&p, level) / 16;
        for (size_t i = 0; i < N; i++) {
            square += (double)x[i] * x[i];
        }
        CHECK(fabs(square / N / want - 1) < 6 * sqrt(2.0 / N), "%u dropped: variance %g, not %g",
              dropped, square / N, want);
    }
}

static void test_refusals(void)
{
    plmm_error err = {0};
    CHECK(plmm_noise_table_init(&table, 0, 16, &err) == PLMM_ERR_RANGE, "kind 0");
    CHECK(plmm_noise_table_init(&table, 3, 16, &err) == PLMM_ERR_RANGE, "kind 3");
    CHECK(plmm_noise_table_init(&table, 1, 0, &err) == PLMM_ERR_RANGE, "no variance");
    CHECK(plmm_noise_table_init(&table, 1, PLMM_NOISE_TABLE_UNITS + 1, &err) == PLMM_ERR_RANGE,
          "beyond a table");
    CHECK(strstr(err.msg, "variance 1800001/16") != NULL, "%s", err.msg);
    CHECK(plmm_noise_check(2, PLMM_NOISE_TABLE_UNITS, &err) == PLMM_OK, "largest gaussian");
    CHECK(plmm_noise_check(2, PLMM_NOISE_TABLE_UNITS + 1, &err) == PLMM_ERR_RANGE, "gaussian");
    CHECK(plmm_noise_check(1, PLMM_NOISE_TABLE_UNITS + 1, &err) == PLMM_OK, "skellam");
    CHECK(plmm_noise_check(1, UINT64_MAX, &err) == PLMM_ERR_RANGE, "skellam");
    CHECK(plmm_noise_check(0, 1, &err) == PLMM_ERR_RANGE, "none");
    static const struct {
        plmm_xnoise p;
        const char *says;
    } rows[] = {
        {{1, 1, 100, 10, 11, 1, 0}, "at least 11 survivors"},
        {{1, 1, 100, 10, 5, 5, 0}, "5 corrupt"},
        {{1, 1, 100, 10, 5, 1, 6}, "6 levels"},
        {{1, 1, 100, 100, 5, 1, 65}, "65 levels"},
        {{2, 1, 100, 10, 5, 1, 2}, "use noise skellam or 0 levels"},
        {{1, 1, 0, 10, 5, 1, 2}, "variance 0"},
        {{1, 99, 100, 10, 5, 1, 2}, "stream 99"},
        {{9, 1, 100, 10, 5, 1, 0}, "kind 9"},
        {{2, 1, UINT64_C(1) << 40, 10, 5, 1, 0}, "coarser lattice"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        CHECK(plmm_xnoise_check(&rows[i].p, &err) == PLMM_ERR_RANGE, "row %zu", i);
        CHECK(strstr(err.msg, rows[i].says) != NULL, "%s", err.msg);
    }
    x[0] = 7;
    CHECK(plmm_noise_add(x, 1, 2, PLMM_NOISE_TABLE_UNITS + 1, 1, &(plmm_seed){{1}}, &err) ==
                  PLMM_ERR_RANGE &&
              x[0] == 7,
          "untouched");
}

int main(int argc, char **argv)
{
    const uint64_t draws =
        argc > 1 ? strtoull(argv[1], NULL, 10) : UINT64_C(10000000) / PLMM_TEST_SLOW;
    verbose = argc > 1;
    CHECK(plmm_crypto_init(NULL) == PLMM_OK, "libsodium starts");
    test_exact_masses();
    test_masses_add_up();
    test_start_does_not_matter();
    test_paths_agree();
    test_words_of_a_draw();
    test_draws(draws);
    test_closed_under_sums(draws / 5);
    test_large_variance();
    test_tails();
    test_cks(draws / 50);
    test_published_gaussian();
    test_every_dropout();
    test_removal();
    test_refusals();
    return plmm_test_end();
}
