/* The arithmetic of sharing at every width of registers beside division, with random elements and
 * with the largest ones there are. */
#include "plmm/rng.h"
#include "shamir_internal.h"
#include "simd_internal.h"
#include "test.h"

enum { LIMBS = PLMM_SHAMIR_LIMBS, M_MAX = PLMM_SHAMIR_SHARES_MAX };

static const uint64_t p = PLMM_SHAMIR_PRIME;
static uint32_t a[M_MAX], b[M_MAX], got[M_MAX];
static plmm_share shares[M_MAX], want[M_MAX];

/* Below p: often one of its ends. */
static uint32_t element(plmm_rng *r)
{
    static const uint32_t ends[] = {0, 1, UINT32_C(1) << 31, PLMM_SHAMIR_PRIME - 1};
    uint64_t k = plmm_rng_below(r, 12);
    return k < COUNT(ends) ? ends[k] : (uint32_t)plmm_rng_below(r, p);
}

static size_t count(plmm_rng *r)
{
    return 1 + (size_t)plmm_rng_below(r, plmm_rng_below(r, 8) == 0 ? 300 : 40);
}

static void random_shares(plmm_rng *r, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        shares[i].x = 1 + element(r) % (PLMM_SHAMIR_PRIME - 1);
        for (size_t l = 0; l < LIMBS; l++) {
            shares[i].y[l] = element(r);
        }
    }
}

static void prop_uniform(const plmm__sharing *k, plmm_rng *r)
{
    uint32_t words[4 * 100];
    uint64_t c[100];
    size_t n = 1 + (size_t)plmm_rng_below(r, 100);
    for (size_t i = 0; i < 4 * n; i++) {
        words[i] = plmm_rng_below(r, 3) == 0 ? UINT32_MAX : (uint32_t)plmm_rng_u64(r);
    }
    k->uniform(c, words, n);
    for (size_t i = 0; i < n; i++) {
        uint64_t v = 0;
        for (size_t j = 4; j-- > 0;) {
            v = (v << 32 | words[4 * i + j]) % p;
        }
        CHECK(c[i] == v, "%s: number %zu of %zu", k->name, i, n);
    }
}

static void prop_evaluate(const plmm__sharing *k, plmm_rng *r)
{
    static uint64_t c[PLMM__SHARING_ROWS * LIMBS];
    size_t n = count(r), rows = 1 + (size_t)plmm_rng_below(r, PLMM__SHARING_ROWS);
    bool largest = plmm_rng_below(r, 4) == 0;
    random_shares(r, n);
    for (size_t i = 0; i < rows * LIMBS; i++) {
        c[i] = largest ? p - 1 : element(r);
    }
    memcpy(want, shares, sizeof want);
    for (size_t i = 0; i < n; i++) {
        for (size_t l = 0; l < LIMBS; l++) {
            uint64_t y = want[i].y[l];
            for (size_t row = rows; row-- > 0;) {
                y = (y * want[i].x + c[LIMBS * row + l]) % p;
            }
            want[i].y[l] = (uint32_t)y;
        }
    }
    k->evaluate(shares, n, c, rows);
    CHECK(memcmp(shares, want, sizeof want) == 0, "%s: %zu shares, %zu rows", k->name, n, rows);
}

static void prop_points(const plmm__sharing *k, plmm_rng *r)
{
    size_t m = count(r);
    for (size_t i = 0; i < m; i++) {
        a[i] = 1 + element(r) % (PLMM_SHAMIR_PRIME - 1);
        b[i] = element(r);
    }
    k->differences(got, a, m);
    for (size_t i = 0; i < m; i++) {
        uint64_t d = 1;
        for (size_t j = 0; j < m; j++) {
            d = a[i] == a[j] ? d : d * (a[i] + p - a[j]) % p;
        }
        CHECK(got[i] == d, "%s: difference %zu of %zu", k->name, i, m);
    }
    memcpy(got, a, sizeof got);
    k->multiply(got, b, m);
    for (size_t i = 0; i < m; i++) {
        CHECK(got[i] == (uint64_t)a[i] * b[i] % p, "%s: product %zu of %zu", k->name, i, m);
    }
    memcpy(got, a, sizeof got);
    k->invert(got, m);
    for (size_t i = 0; i < m; i++) {
        CHECK((uint64_t)a[i] * got[i] % p == 1, "%s: inverse %zu of %zu", k->name, i, m);
    }
}

static void check_weigh(const plmm__sharing *k, size_t m)
{
    uint32_t sums[LIMBS];
    k->weigh(sums, a, shares, m);
    for (size_t l = 0; l < LIMBS; l++) {
        uint64_t sum = 0;
        for (size_t i = 0; i < m; i++) {
            sum = (sum + (uint64_t)a[i] * shares[i].y[l]) % p;
        }
        CHECK(sums[l] == sum, "%s: limb %zu of %zu shares", k->name, l, m);
    }
}

static void prop_weigh(const plmm__sharing *k, plmm_rng *r)
{
    size_t m = count(r);
    random_shares(r, m);
    for (size_t i = 0; i < m; i++) {
        a[i] = element(r);
    }
    check_weigh(k, m);
}

/* As many of the largest elements as there may be. */
static void prop_largest(const plmm__sharing *k)
{
    for (size_t i = 0; i < M_MAX; i++) {
        a[i] = PLMM_SHAMIR_PRIME - 1;
        for (size_t l = 0; l < LIMBS; l++) {
            shares[i].y[l] = PLMM_SHAMIR_PRIME - 1;
        }
    }
    check_weigh(k, M_MAX);
}

int main(void)
{
    plmm_rng r;
    plmm_rng_init(&r, plmm_test_seed(1), 0);
    for (plmm__simd level = PLMM__SIMD_PORTABLE; level <= plmm__simd_widest(); level++) {
        plmm__simd_use(level);
        const plmm__sharing *k = plmm__sharing_now();
        CHECK(strcmp(k->name, plmm__simd_name(level)) == 0, "the width asked for");
        printf("sharing by %s\n", k->name);
        for (int step = 0; step < 300; step++) {
            prop_uniform(k, &r);
            prop_evaluate(k, &r);
            prop_points(k, &r);
            prop_weigh(k, &r);
        }
        prop_largest(k);
    }
    return plmm_test_end();
}
