/* crypto/pld: values of google/differential-privacy's PLD accountant, and never below what is exact (claim
 * D7). */
#include "plmm/account.h"
#include "plmm/alloc.h"
#include "plmm/pld.h"
#include "test.h"

#include <math.h>

static void near(const char *row, double got, double want, double tol)
{
    CHECK(fabs(got - want) <= tol * fabs(want), "%s: got %.12g, expected %.12g", row, got, want);
}

/* dp_accounting 0.6.0, interval 1e-4. */
static void test_values(void)
{
    static const struct {
        double q, z;
        uint32_t times;
        double delta, epsilon;
    } row[] = {
        {1, 1, 1, 1e-5, 4.377178},         {1, 2, 1, 1e-5, 1.993091},
        {1, 10, 100, 1e-5, 4.377178},      {.01, 1, 1000, 1e-5, 1.828244},
        {.01, 1, 10000, 1e-5, 6.187745},   {.1, 1, 100, 1e-5, 7.046603},
        {.1, 2, 100, 1e-5, 2.337400},      {.05, .8, 200, 1e-6, 8.865664},
        {.001, .7, 10000, 1e-6, 1.636972}, {256.0 / 60000, 1.1, 14062, 1e-5, 2.381686},
        {.001, .8, 1000, 1e-6, .467695},   {.05, 1.5, 1000, 1e-6, 6.199695},
        {.2, 2, 100, 1e-6, 5.661788},      {.05, 3, 100, 1e-6, .757884},
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        char name[64];
        double got = 0;
        plmm_error err = {0};
        (void)snprintf(name, sizeof name, "epsilon, row %zu", i);
        CHECK(plmm_pld_gaussian_epsilon(&got, row[i].z, row[i].q, row[i].times, row[i].delta,
                                        &err) == PLMM_OK,
              "%s: %s", name, err.msg);
        near(name, got, row[i].epsilon, 1e-3);
    }
}

/* Compositions of the plain Gaussian are Gaussian: exact at every epsilon, and never undercut. */
static void test_exact_gaussian(void)
{
    static const struct {
        double z;
        uint32_t times;
    } row[] = {{1, 1}, {.5, 1}, {3, 7}, {10, 100}, {40, 10000}, {1, 64}};
    for (size_t i = 0; i < COUNT(row); i++) {
        plmm_pld *one = NULL, *all = NULL;
        plmm_error err = {0};
        double h = plmm_pld_interval(row[i].z, 1, row[i].times);
        CHECK(plmm_pld_new_gaussian(&one, row[i].z, 1, PLMM_PLD_REMOVE, h, &err) == PLMM_OK, "%s",
              err.msg);
        const plmm_pld *parts[1] = {one};
        CHECK(plmm_pld_compose(&all, parts, &row[i].times, 1, 1e-15, &err) == PLMM_OK, "%s",
              err.msg);
        double z = row[i].z / sqrt(row[i].times);
        for (double e = 0; e < 12; e += .37) {
            double exact = plmm_gaussian_delta(z, e), got = plmm_pld_delta(all, e);
            double once = row[i].times == 1 ? plmm_pld_delta(one, e) : got;
            CHECK(got >= exact && once >= exact, "z %g x%u, epsilon %g: %.17g %.17g below %.17g",
                  row[i].z, row[i].times, e, got, once, exact);
            CHECK(got <= exact * 1.002 + 1e-9, "z %g x%u, epsilon %g: %g above %g", row[i].z,
                  row[i].times, e, got, exact);
            if (got > 1e-8 && got < .99) {
                double back = plmm_pld_epsilon(all, got);
                CHECK(fabs(back - e) < 1e-6, "round trip of %g: %g", e, back);
            }
        }
        plmm_pld_free(one);
        plmm_pld_free(all);
    }
}

/* One sampled release: the exact hockey stick, both ways. */
static void test_exact_sampled(void)
{
    const double q = .07, z = .9;
    for (int way = PLMM_PLD_REMOVE; way <= PLMM_PLD_ADD; way++) {
        plmm_pld *d = NULL;
        plmm_error err = {0};
        CHECK(plmm_pld_new_gaussian(&d, z, q, (plmm_pld_way)way, 1e-3, &err) == PLMM_OK, "%s",
              err.msg);
        for (double e = .01; e < 3; e += .1) {
            /* P > e^epsilon Q beyond (below, when the device is added) this point */
            double o = way == PLMM_PLD_ADD ? exp(-e) : exp(e), inner = (o - 1 + q) / q;
            double x = inner > 0 ? z * z * log(inner) + .5 : -INFINITY, exact;
            double none = .5 * erfc(x / z / sqrt(2)), with = .5 * erfc((x - 1) / z / sqrt(2));
            if (way == PLMM_PLD_ADD) {
                none = 1 - none, with = 1 - with;
                exact = inner > 0 ? none - exp(e) * ((1 - q) * none + q * with) : 0;
            } else {
                exact = (1 - q) * none + q * with - exp(e) * none;
            }
            double got = plmm_pld_delta(d, e);
            CHECK(got >= exact * (1 - 1e-12), "way %d, epsilon %g: %g below %g", way, e, got,
                  exact);
            CHECK(got <= exact * 1.001 + 1e-8, "way %d, epsilon %g: %g above %g", way, e, got,
                  exact);
        }
        plmm_pld_free(d);
    }
}

/* Two parts together are the one they make. */
static void test_mixed(void)
{
    plmm_pld *a = NULL, *b = NULL, *ab = NULL;
    plmm_error err = {0};
    CHECK(plmm_pld_new_gaussian(&a, 2, 1, PLMM_PLD_REMOVE, 5e-4, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_pld_new_gaussian(&b, 5, 1, PLMM_PLD_REMOVE, 5e-4, &err) == PLMM_OK, "%s", err.msg);
    const plmm_pld *parts[2] = {a, b};
    uint32_t counts[2] = {3, 10};
    CHECK(plmm_pld_compose(&ab, parts, counts, 2, 1e-15, &err) == PLMM_OK, "%s", err.msg);
    double z = 1 / sqrt(3.0 / 4 + 10.0 / 25);
    double exact = plmm_gaussian_delta(z, 3), got = plmm_pld_delta(ab, 3);
    CHECK(got >= exact && got <= exact * 1.001 + 1e-9, "%g, exactly %g", got, exact);
    plmm_pld_free(ab);
    CHECK(plmm_pld_compose(&ab, parts, counts, 2, .01, &err) == PLMM_OK, "%s", err.msg);
    got = plmm_pld_delta(ab, 1e6);
    CHECK(got >= .005 && got <= .01, "what is cut is lost: %g", got);
    plmm_pld_free(a);
    plmm_pld_free(b);
    plmm_pld_free(ab);
}

enum { HALF = 600 };

static double integer_pmf[2 * HALF + 1];

/* Discrete Gaussian of variance s2. */
static void fill_discrete_gaussian(double s2)
{
    double sum = 0;
    for (int k = -HALF; k <= HALF; k++) {
        integer_pmf[k + HALF] = exp(-k * k / (2 * s2));
        sum += integer_pmf[k + HALF];
    }
    for (size_t k = 0; k <= 2 * HALF; k++) {
        integer_pmf[k] /= sum;
    }
}

/* IBM/discrete-gaussian-differential-privacy cdp2adp.py. */
static void test_discrete_gaussian(void)
{
    static const struct {
        double s2, epsilon, delta;
    } row[] = {{1, 1, .1413513394056},
               {4, .5, .05400722369415},
               {16, .25, .02366258987313},
               {100, .1, .008762353923948},
               {20, 1, 3.042439040929e-7}};
    for (size_t i = 0; i < COUNT(row); i++) {
        plmm_pld *d = NULL;
        plmm_error err = {0};
        fill_discrete_gaussian(row[i].s2);
        size_t reach = (size_t)(26 * sqrt(row[i].s2)); /* where the probabilities are no zeros */
        CHECK(plmm_pld_new_integer(&d, integer_pmf + HALF - reach, 2 * reach + 1, 1, 1e-4, &err) ==
                  PLMM_OK,
              "%s", err.msg);
        double got = plmm_pld_delta(d, row[i].epsilon);
        near("discrete Gaussian", got, row[i].delta, 1e-3);
        CHECK(got >= row[i].delta * (1 - 1e-9), "row %zu: %.15g", i, got);
        plmm_pld_free(d);
    }
}

/* What the probabilities lack to 1 is lost for good, in every release. */
static void test_infinite(void)
{
    plmm_pld *one = NULL, *all = NULL;
    plmm_error err = {0};
    fill_discrete_gaussian(400);
    for (size_t k = 0; k <= 2 * HALF; k++) {
        integer_pmf[k] *= .999;
    }
    CHECK(plmm_pld_new_integer(&one, integer_pmf + HALF - 300, 601, 1, 1e-3, &err) == PLMM_OK, "%s",
          err.msg);
    const plmm_pld *parts[1] = {one};
    uint32_t times = 50;
    CHECK(plmm_pld_compose(&all, parts, &times, 1, 1e-15, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_pld_delta(one, 40) >= .001 && plmm_pld_delta(one, 40) < .00101, "one");
    CHECK(plmm_pld_delta(all, 40) >= 1 - pow(.999, 50) && plmm_pld_delta(all, 40) < .0489, "fifty");
    CHECK(plmm_pld_epsilon(all, .04) == INFINITY, "no epsilon at a delta below it");
    plmm_pld_free(one);
    plmm_pld_free(all);
}

static void test_refused(void)
{
    plmm_pld *d = NULL, *sum = NULL;
    plmm_error err = {0};
    CHECK(plmm_pld_new_gaussian(&d, 0, 1, PLMM_PLD_ADD, 1e-3, &err) == PLMM_ERR_RANGE, "z 0");
    CHECK(plmm_pld_new_gaussian(&d, 1, 0, PLMM_PLD_ADD, 1e-3, &err) == PLMM_ERR_RANGE, "q 0");
    CHECK(plmm_pld_new_gaussian(&d, .01, 1, PLMM_PLD_ADD, 1e-6, &err) == PLMM_ERR_RANGE,
          "too fine");
    CHECK(plmm_pld_new_gaussian(&d, 1, 1, PLMM_PLD_ADD, 1e-3, &err) == PLMM_OK, "%s", err.msg);
    const plmm_pld *parts[1] = {d};
    uint32_t none = 0, many = 1u << 20;
    CHECK(plmm_pld_compose(&sum, parts, &none, 1, 1e-15, &err) == PLMM_ERR_RANGE, "nothing");
    CHECK(plmm_pld_compose(&sum, parts, &many, 1, 1e-15, &err) == PLMM_ERR_RANGE, "too wide");
    long live = plmm_alloc_live();
    for (long k = 0; k < 4; k++) {
        uint32_t two = 2;
        plmm_alloc_fail_at(k);
        plmm_status rc = plmm_pld_compose(&sum, parts, &two, 1, 1e-15, &err);
        plmm_alloc_fail_at(-1);
        CHECK(rc == (k < 3 ? PLMM_ERR_NOMEM : PLMM_OK), "allocation %ld: %d", k, rc);
        if (rc == PLMM_OK) {
            plmm_pld_free(sum);
        }
        CHECK(plmm_alloc_live() == live, "allocation %ld leaks", k);
    }
    plmm_pld_free(d);
}

int main(void)
{
    test_values();
    test_exact_gaussian();
    test_exact_sampled();
    test_mixed();
    test_discrete_gaussian();
    test_infinite();
    test_refused();
    return plmm_test_end();
}
