/* crypto/account, crypto/pld: what must hold whatever the numbers are (claim D7). */
#include "plmm/account.h"
#include "plmm/pld.h"
#include "plmm/rng.h"
#include "test.h"

#include <math.h>

static double between(plmm_rng *r, double lo, double hi) /* log-uniform */
{
    return lo * pow(hi / lo, plmm_rng_double(r));
}

static plmm_release draw(plmm_rng *r)
{
    double l2 = between(r, 1, 1e5), dim = floor(between(r, 1, 1e6));
    double z = between(r, .3, 50);
    return (plmm_release){.mechanism = 1 + (uint32_t)plmm_rng_below(r, 3),
                          .shares = 1 + (uint32_t)plmm_rng_below(r, 100),
                          .leaves = (uint32_t)(plmm_rng_below(r, 2) * plmm_rng_below(r, 1000)),
                          .server_adds = plmm_rng_below(r, 4) == 0,
                          .l1 = plmm_rounded_l1(l2, dim),
                          .l2 = l2,
                          .dim = dim,
                          .variance = z * z * l2 * l2,
                          .rate = plmm_rng_below(r, 2) == 0 ? 1 : plmm_rng_double(r),
                          .distance = plmm_rng_below(r, 2) == 0 ? 0 : between(r, 1e-30, 1e-9)};
}

static double epsilon_of(const plmm_release *r, uint64_t times, plmm_adversary who, double delta)
{
    plmm_account cost, sum;
    plmm_account_release(&cost, r);
    plmm_account_init(&sum);
    plmm_account_add(&sum, &cost, times);
    return plmm_account_epsilon(&sum, who, delta);
}

/* More noise, fewer releases, a lower rate, a larger delta, an adversary that sees less: none of them
 * costs more. */
static void check_monotone(plmm_rng *r, int i)
{
    plmm_release a = draw(r), b = a;
    uint64_t times = 1 + plmm_rng_below(r, 1000);
    double delta = between(r, 1e-10, 1e-2), slack = 1 + 1e-9;
    plmm_adversary who = (plmm_adversary)plmm_rng_below(r, 2);
    double e = epsilon_of(&a, times, who, delta);
    CHECK(e >= 0, "case %d", i);
    CHECK(epsilon_of(&a, times + 1, who, delta) * slack >= e, "case %d: one release more", i);
    CHECK(e * slack >= epsilon_of(&a, times, who, fmin(2 * delta, .9)), "case %d: delta", i);
    CHECK(epsilon_of(&a, times, PLMM_ADVERSARY_SERVER, delta) * slack >=
              epsilon_of(&a, times, PLMM_ADVERSARY_MODELS, delta),
          "case %d: the adversary", i);
    b.variance *= 1.5;
    CHECK(e * slack >= epsilon_of(&b, times, who, delta), "case %d: more noise", i);
    b = a;
    b.rate *= .7;
    CHECK(e * slack >= epsilon_of(&b, times, who, delta), "case %d: a lower rate", i);
    b = a;
    b.l1 *= 1.2, b.l2 *= 1.2;
    CHECK(epsilon_of(&b, times, who, delta) * slack >= e, "case %d: a longer vector", i);
}

/* Integer noise costs at least what the Gaussian of its variance does exactly. */
static void check_above_exact(plmm_rng *r, int i)
{
    plmm_release a = draw(r);
    a.rate = 1, a.server_adds = false;
    a.mechanism = 1 + (uint32_t)plmm_rng_below(r, 3);
    double z = sqrt(a.variance) / a.l2, delta = between(r, 1e-9, 1e-2);
    uint64_t times = 1 + plmm_rng_below(r, 50);
    double e = epsilon_of(&a, times, PLMM_ADVERSARY_SERVER, delta);
    CHECK(e == INFINITY || plmm_gaussian_delta(z / sqrt((double)times), e) <= delta * (1 + 1e-9),
          "case %d: mechanism %u, z %g x%d: epsilon %g claims less than the Gaussian's", i,
          a.mechanism, z, (int)times, e);
}

static void check_round_trip(plmm_rng *r, int i)
{
    plmm_release a = draw(r);
    plmm_account cost, back;
    plmm_error err;
    uint8_t octets[PLMM_ACCOUNT_BYTES];
    plmm_account_release(&cost, &a);
    double delta = between(r, 1e-8, 1e-2);
    double e = plmm_account_epsilon(&cost, PLMM_ADVERSARY_MODELS, delta);
    if (e > 0 && e < 100) {
        double d = plmm_account_delta(&cost, PLMM_ADVERSARY_MODELS, e);
        CHECK(d <= delta * (1 + 1e-6) && d >= delta * .99, "case %d: delta %g of %g", i, d, delta);
    }
    plmm_account_encode(octets, &cost);
    CHECK(plmm_account_decode(&back, octets, sizeof octets, &err) == PLMM_OK &&
              memcmp(&back, &cost, sizeof cost) == 0,
          "case %d: octets", i);
}

/* At every order: sampling helps, the Renyi divergence does not fall with the order, and it is no
 * smaller just beside an integer order than the convex moment allows. */
static void check_orders(plmm_rng *r, int i)
{
    double z = between(r, .3, 30), q = between(r, 1e-4, .9), before = 0;
    for (size_t k = 0; k < PLMM_RDP_ORDERS; k++) {
        double a = plmm_rdp_order(k), v = plmm_rdp_sampled_gaussian(a, z, q);
        CHECK(v <= plmm_rdp_gaussian(a, z) * (1 + 1e-12) && v >= before * (1 - 1e-9),
              "case %d: z %.17g, q %.17g, order %g: %g after %g", i, z, q, a, v, before);
        before = v;
    }
}

/* The tight accountant is below the curve's, and above nothing. */
static void check_tight(plmm_rng *r, int i)
{
    double z = between(r, .8, 10), q = between(r, 1e-2, 1), delta = between(r, 1e-7, 1e-3), e = 0;
    uint32_t times = 1 + (uint32_t)plmm_rng_below(r, 200);
    plmm_error err = {0};
    plmm_release a = {.mechanism = PLMM_MECHANISM_GAUSSIAN,
                      .shares = 1,
                      .l1 = 1,
                      .l2 = 1,
                      .dim = 1,
                      .variance = z * z,
                      .rate = q};
    double curve = epsilon_of(&a, times, PLMM_ADVERSARY_MODELS, delta);
    CHECK(plmm_pld_gaussian_epsilon(&e, z, q, times, delta, &err) == PLMM_OK, "%s", err.msg);
    CHECK(e <= curve * 1.001 + 1e-3 && e >= curve * .3 - .1, "case %d: z %g q %g x%u: %g, curve %g",
          i, z, q, times, e, curve);
}

int main(void)
{
    plmm_rng r;
    plmm_rng_init(&r, plmm_test_seed(3), 0);
    for (int i = 0; i < 200 / PLMM_TEST_SLOW; i++) {
        check_monotone(&r, i);
        check_above_exact(&r, i);
        check_round_trip(&r, i);
    }
    for (int i = 0; i < 40 / PLMM_TEST_SLOW; i++) {
        check_orders(&r, i);
        check_tight(&r, i);
    }
    return plmm_test_end();
}
