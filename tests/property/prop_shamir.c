/* Sharing: any t shares give the secret back, false shares are seen, t - 1 shares fit every secret,
 * shares add up. The field arithmetic is checked against 64-bit division through Lagrange sums done
 * here. */
#include "plmm/rng.h"
#include "plmm/shamir.h"
#include "simd_internal.h"
#include "test.h"

enum { N_MAX = 40 };

static plmm_shamir_basis basis;
static const uint64_t p = PLMM_SHAMIR_PRIME;

static void random_bytes(plmm_rng *r, uint8_t *q, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        q[i] = (uint8_t)plmm_rng_u64(r);
    }
}

static uint64_t power(uint64_t a, uint64_t e)
{
    uint64_t r = 1;
    for (; e > 0; e >>= 1) {
        r = (e & 1) != 0 ? r * a % p : r;
        a = a * a % p;
    }
    return r;
}

/* Value at x of the polynomial of degree < m through m shares' limb, by the textbook. */
static uint64_t lagrange(const plmm_share *s, size_t m, size_t limb, uint64_t x)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < m; i++) {
        uint64_t num = s[i].y[limb], den = 1;
        for (size_t j = 0; j < m; j++) {
            if (j != i) {
                num = num * ((x + p - s[j].x) % p) % p;
                den = den * ((s[i].x + p - s[j].x) % p) % p;
            }
        }
        sum = (sum + num * power(den, p - 2)) % p;
    }
    return sum;
}

static void shuffle(plmm_rng *r, plmm_share *s, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)plmm_rng_below(r, i);
        plmm_share t = s[i - 1];
        s[i - 1] = s[j];
        s[j] = t;
    }
}

static plmm_status combine(uint8_t out[32], const plmm_share *s, size_t m, uint32_t t)
{
    uint32_t xs[N_MAX];
    for (size_t i = 0; i < m; i++) {
        xs[i] = s[i].x;
    }
    PLMM_TRY(plmm_shamir_basis_init(&basis, xs, m, t, NULL));
    return plmm_shamir_combine(out, &basis, s, NULL);
}

/* A random sharing; returns n, fills t. Points are 1..n or anything. */
static size_t deal(plmm_rng *r, plmm_share *s, uint32_t *t, uint8_t secret[32])
{
    size_t n = 1 + (size_t)plmm_rng_below(r, N_MAX);
    uint32_t xs[N_MAX];
    plmm_seed seed;
    *t = 1 + (uint32_t)plmm_rng_below(r, n);
    bool own_points = plmm_rng_below(r, 2) == 0;
    uint32_t base = 1 + (uint32_t)plmm_rng_below(r, p - 1 - (uint64_t)50 * N_MAX);
    for (size_t i = 0; i < n; i++) {
        base += 1 + (uint32_t)plmm_rng_below(r, 49);
        xs[i] = base;
    }
    random_bytes(r, seed.b, sizeof seed.b);
    random_bytes(r, secret, 32);
    plmm_status rc = plmm_shamir_split(s, n, *t, own_points ? xs : NULL, secret, &seed, NULL);
    CHECK(rc == PLMM_OK, "split");
    return n;
}

static void prop_any_t_reconstruct(plmm_rng *r, int step)
{
    plmm_share s[N_MAX];
    uint8_t secret[32], got[32] = {0};
    uint32_t t;
    size_t n = deal(r, s, &t, secret);
    shuffle(r, s, n);
    size_t m = t + (size_t)plmm_rng_below(r, n - t + 1);
    CHECK(combine(got, s, m, t) == PLMM_OK, "step %d: m %zu t %u n %zu", step, m, t, n);
    CHECK(memcmp(got, secret, 32) == 0, "step %d: the secret comes back", step);
    for (size_t limb = 0; limb < PLMM_SHAMIR_LIMBS; limb += 4) { /* an independent opinion */
        uint64_t want = 0;
        for (size_t bit = 0; bit < 31 && 31 * limb + bit < 256; bit++) {
            size_t at = 31 * limb + bit;
            want |= (uint64_t)(secret[at / 8] >> at % 8 & 1) << bit;
        }
        uint64_t at_zero = lagrange(s, t, limb, 0);
        CHECK(at_zero == want, "step %d: limb %zu by division", step, limb);
    }
}

static void prop_false_shares_are_seen(plmm_rng *r, int step)
{
    plmm_share s[N_MAX];
    uint8_t secret[32], got[32];
    uint32_t t;
    size_t n = deal(r, s, &t, secret);
    if (n == t) {
        return;
    }
    size_t liars = 1 + (size_t)plmm_rng_below(r, n - t), limb = (size_t)plmm_rng_below(r, 9);
    for (size_t i = 0; i < liars; i++) { /* at most n - t: fewer than the code's distance */
        uint32_t *y = &s[i].y[limb];
        *y = (uint32_t)((*y + 1 + plmm_rng_below(r, p - 1)) % p);
    }
    shuffle(r, s, n);
    CHECK(combine(got, s, n, t) == PLMM_ERR_PEER, "step %d: %zu liars of %zu, t %u", step, liars, n,
          t);
}

/* Up to (n - t) / 2 liars, each in a random set of limbs, are found, no one else is, and the secret
 * comes back. One more than that with independent lies is refused, and nothing is moved. */
static void prop_liars_are_found(plmm_rng *r, int step)
{
    plmm_share s[N_MAX], before[N_MAX];
    uint8_t secret[32], got[32] = {0};
    uint32_t t, xs[N_MAX];
    plmm_error err = {0};
    size_t n = deal(r, s, &t, secret), most = (n - t) / 2;
    size_t liars = n == t ? 0 : (size_t)plmm_rng_below(r, most + 2); /* n = t: nothing is seen */
    for (size_t i = 0; i < liars; i++) {
        uint64_t limbs = 1 + plmm_rng_below(r, 511);
        for (size_t l = 0; l < PLMM_SHAMIR_LIMBS; l++) {
            uint64_t lie = (limbs >> l & 1) != 0 ? 1 + plmm_rng_below(r, p - 1) : 0;
            s[i].y[l] = (uint32_t)((s[i].y[l] + lie) % p);
        }
    }
    uint32_t false_points[N_MAX];
    for (size_t i = 0; i < liars; i++) {
        false_points[i] = s[i].x;
    }
    shuffle(r, s, n);
    for (size_t i = 0; i < n; i++) {
        xs[i] = s[i].x;
    }
    memcpy(before, s, sizeof s);
    CHECK(plmm_shamir_basis_init(&basis, xs, n, t, &err) == PLMM_OK, "%s", err.msg);
    plmm_status rc = plmm_shamir_correct(&basis, s, &err);
    if (liars > most) { /* a chance of about 2^-31 a limb to look like fewer */
        CHECK(rc == PLMM_ERR_PEER && basis.m == n && memcmp(before, s, sizeof s) == 0,
              "step %d: %zu of at most %zu, n %zu t %u", step, liars, most, n, t);
        return;
    }
    CHECK(rc == PLMM_OK && basis.m == n - liars, "step %d: %zu liars, %u left of %zu: %s", step,
          liars, basis.m, n, err.msg);
    for (size_t i = 0; i < n; i++) {
        bool lied = false;
        for (size_t j = 0; j < liars; j++) {
            lied = lied || s[i].x == false_points[j];
        }
        CHECK(lied == (i >= n - liars), "step %d: share %zu of point %u", step, i, s[i].x);
    }
    CHECK(plmm_shamir_combine(got, &basis, s, &err) == PLMM_OK, "step %d: %s", step, err.msg);
    CHECK(memcmp(got, secret, 32) == 0, "step %d: the secret comes back", step);
}

/* Given any t - 1 shares, every value of the secret is still possible: the polynomial through them
 * and (0, guess) has degree below t, so the shares are as likely under one secret as under
 * another. */
static void prop_below_t_fits_anything(plmm_rng *r, int step)
{
    plmm_share s[N_MAX], guess;
    uint8_t secret[32], got[32];
    uint32_t t;
    size_t n = deal(r, s, &t, secret);
    if (t < 2) {
        return;
    }
    shuffle(r, s, n);
    plmm_share have[N_MAX];
    memcpy(have, s, (t - 1) * sizeof s[0]);
    guess.x = 0;
    for (size_t l = 0; l < PLMM_SHAMIR_LIMBS; l++) {
        guess.y[l] = (uint32_t)plmm_rng_below(r, l == 8 ? 256 : UINT32_C(1) << 31);
    }
    /* Invent a t-th share that makes the guess true. */
    have[t - 1] = guess;
    plmm_share made = {.x = s[t - 1].x};
    for (size_t l = 0; l < PLMM_SHAMIR_LIMBS; l++) {
        made.y[l] = (uint32_t)lagrange(have, t, l, made.x);
    }
    have[t - 1] = made;
    CHECK(combine(got, have, t, t) == PLMM_OK, "step %d", step);
    CHECK((got[0] & 0x7f) == (guess.y[0] & 0x7f) && got[31] == guess.y[8], "step %d: the guess",
          step);
}

/* Shares of two secrets add up to shares of the sum of limbs. */
static void prop_linear(plmm_rng *r, int step)
{
    enum { N = 9, T = 4 };
    plmm_share a[N], b[N];
    uint8_t sa[32], sb[32], got[32];
    plmm_seed seed;
    random_bytes(r, sa, 32);
    random_bytes(r, sb, 32);
    for (size_t i = 0; i < 32; i++) { /* one bit a limb at most: no carry between limbs */
        sa[i] &= i % 4 == 0 ? 1 : 0;
        sb[i] &= i % 4 == 1 ? 1 : 0;
    }
    random_bytes(r, seed.b, 32);
    CHECK(plmm_shamir_split(a, N, T, NULL, sa, &seed, NULL) == PLMM_OK, "a");
    seed.b[0] ^= 1;
    CHECK(plmm_shamir_split(b, N, T, NULL, sb, &seed, NULL) == PLMM_OK, "b");
    for (size_t i = 0; i < N; i++) {
        for (size_t l = 0; l < PLMM_SHAMIR_LIMBS; l++) {
            a[i].y[l] = (uint32_t)(((uint64_t)a[i].y[l] + b[i].y[l]) % p);
        }
    }
    CHECK(combine(got, a, N, T) == PLMM_OK, "step %d", step);
    for (size_t i = 0; i < 32; i++) {
        CHECK(got[i] == (sa[i] | sb[i]), "step %d: octet %zu", step, i);
    }
}

/* One share of a fixed secret over many seeds: its top eight bits are uniform (255 degrees of
 * freedom). */
static void prop_share_uniform(plmm_rng *r)
{
    enum { ROUNDS = 4000 };
    uint32_t hist[256] = {0};
    const uint8_t secret[32] = {0};
    for (int i = 0; i < ROUNDS; i++) {
        plmm_share s[2];
        plmm_seed seed;
        random_bytes(r, seed.b, 32);
        CHECK(plmm_shamir_split(s, 2, 2, NULL, secret, &seed, NULL) == PLMM_OK, "split");
        for (size_t l = 0; l < PLMM_SHAMIR_LIMBS; l++) {
            hist[(uint64_t)s[1].y[l] * 256 / p]++;
        }
    }
    double chi = 0, mean = ROUNDS * PLMM_SHAMIR_LIMBS / 256.0;
    for (size_t i = 0; i < 256; i++) {
        chi += (hist[i] - mean) * (hist[i] - mean) / mean;
    }
    CHECK(chi < 436 && chi > 74, "chi-square %g", chi);
}

/* The largest sharing there is, at the largest points. */
static void prop_largest(plmm_rng *r)
{
    static plmm_share s[PLMM_SHAMIR_SHARES_MAX];
    static uint32_t xs[PLMM_SHAMIR_SHARES_MAX];
    uint8_t secret[32], got[32];
    plmm_seed seed;
    random_bytes(r, secret, 32);
    random_bytes(r, seed.b, 32);
    for (size_t i = 0; i < COUNT(xs); i++) {
        xs[i] = PLMM_SHAMIR_PRIME - 1 - (uint32_t)i;
    }
    uint32_t t = PLMM_SHAMIR_SHARES_MAX - 3;
    CHECK(plmm_shamir_split(s, COUNT(xs), t, xs, secret, &seed, NULL) == PLMM_OK, "split");
    CHECK(plmm_shamir_basis_init(&basis, xs, COUNT(xs), t, NULL) == PLMM_OK, "basis");
    CHECK(plmm_shamir_combine(got, &basis, s, NULL) == PLMM_OK, "combine");
    CHECK(memcmp(got, secret, 32) == 0, "the secret comes back");
    s[1234].y[5] ^= 1; /* one liar with three shares to spare */
    CHECK(plmm_shamir_combine(got, &basis, s, NULL) == PLMM_ERR_PEER, "seen");
    CHECK(plmm_shamir_correct(&basis, s, NULL) == PLMM_OK, "found");
    CHECK(basis.m == COUNT(xs) - 1 && s[basis.m].x == xs[1234], "who it was");
    CHECK(plmm_shamir_combine(got, &basis, s, NULL) == PLMM_OK, "combine");
    CHECK(memcmp(got, secret, 32) == 0, "the secret comes back");
}

/* ---- what t - 1 shares show, beside what t show ---- */

enum { VIEWS = 4000, VIEW_T = 4, VIEW_N = 6, BINS = 64 };

/* Chi-square of two counts of VIEWS events each, against each other: BINS - 1 degrees of freedom,
 * mean 63, standard deviation 11.2. */
static double two_samples(const uint32_t *a, const uint32_t *b)
{
    double chi = 0;
    for (size_t i = 0; i < BINS; i++) {
        double d = (double)a[i] - (double)b[i], n = (double)a[i] + (double)b[i];
        chi += n > 0 ? d * d / n : 0;
    }
    return chi;
}

typedef struct view {
    uint32_t share[BINS]; /* the first share's limb 0 */
    uint32_t sum[BINS];   /* of all shares seen */
    uint32_t guess[BINS]; /* the value at 0 of the polynomial through the shares seen */
} view;

static uint32_t bin(uint64_t v)
{
    return (uint32_t)(v % p * BINS / p);
}

/* Counts what an observer of `seen` shares sees of VIEWS sharings of one secret. */
static void observe(view *v, plmm_rng *r, const uint8_t secret[32], size_t seen)
{
    memset(v, 0, sizeof *v);
    for (int i = 0; i < VIEWS; i++) {
        plmm_share s[VIEW_N];
        plmm_seed seed;
        uint64_t sum = 0;
        random_bytes(r, seed.b, sizeof seed.b);
        CHECK(plmm_shamir_split(s, VIEW_N, VIEW_T, NULL, secret, &seed, NULL) == PLMM_OK, "split");
        shuffle(r, s, VIEW_N);
        for (size_t k = 0; k < seen; k++) {
            sum += s[k].y[0];
        }
        v->share[bin(s[0].y[0])]++;
        v->sum[bin(sum)]++;
        v->guess[bin(lagrange(s, seen, 0, 0))]++;
    }
}

/* Two secrets, as far apart as can be, look alike in every statistic of t - 1 shares; in t shares the
 * guess tells them apart, so the statistics can see what there is. */
static void prop_views(plmm_rng *r)
{
    static view a, b;
    uint8_t zeros[32] = {0}, top[32] = {0};
    memset(top, 0xff, sizeof top);
    for (size_t seen = 1; seen < VIEW_T; seen++) {
        observe(&a, r, zeros, seen);
        observe(&b, r, top, seen);
        double share = two_samples(a.share, b.share), sum = two_samples(a.sum, b.sum);
        double guess = two_samples(a.guess, b.guess);
        CHECK(share < 150 && sum < 150 && guess < 150, "%zu shares: %g %g %g", seen, share, sum,
              guess);
        CHECK(share > 20 && sum > 20 && guess > 20, "%zu shares: %g %g %g", seen, share, sum,
              guess);
    }
    observe(&a, r, zeros, VIEW_T);
    observe(&b, r, top, VIEW_T);
    CHECK(two_samples(a.guess, b.guess) == 2 * VIEWS, "t shares tell: %g",
          two_samples(a.guess, b.guess));
    CHECK(two_samples(a.share, b.share) < 150, "one of them still does not");
}

int main(void)
{
    plmm_rng r;
    plmm_rng_init(&r, plmm_test_seed(1), 0);
    CHECK(plmm_crypto_init(NULL) == PLMM_OK, "libsodium starts");
    for (plmm__simd level = PLMM__SIMD_PORTABLE; level <= plmm__simd_widest(); level++) {
        plmm__simd_use(level);
        for (int step = 0; step < 200; step++) {
            prop_any_t_reconstruct(&r, step);
            prop_false_shares_are_seen(&r, step);
            prop_liars_are_found(&r, step);
            prop_below_t_fits_anything(&r, step);
            prop_linear(&r, step);
        }
        prop_largest(&r);
    }
    prop_share_uniform(&r);
    prop_views(&r);
    return plmm_test_end();
}
