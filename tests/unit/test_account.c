/* crypto/account: published and recomputed values (google/differential-privacy dp_accounting, Opacus,
 * autodp, mpmath), never below what is exact, and the account a party keeps
 * (claim D7). */
#include "plmm/account.h"
#include "test.h"

#include <math.h>

static void near(const char *row, double got, double want, double tol)
{
    CHECK(fabs(got - want) <= tol * fabs(want), "%s: got %.12g, expected %.12g", row, got, want);
}

static double poisson_epsilon(double q, double z, double times, double delta)
{
    double orders[PLMM_RDP_ORDERS], rdp[PLMM_RDP_ORDERS];
    for (size_t i = 0; i < PLMM_RDP_ORDERS; i++) {
        orders[i] = plmm_rdp_order(i);
        rdp[i] = times * plmm_rdp_sampled_gaussian(orders[i], z, q);
    }
    return plmm_rdp_epsilon(orders, rdp, PLMM_RDP_ORDERS, delta, NULL);
}

static void test_orders(void)
{
    near("order 0", plmm_rdp_order(0), 1.1, 1e-15);
    near("order 98", plmm_rdp_order(98), 10.9, 1e-15);
    near("order 99", plmm_rdp_order(99), 11, 0);
    near("order 151", plmm_rdp_order(151), 63, 0);
    near("order 152", plmm_rdp_order(152), 128, 0);
    near("order 155", plmm_rdp_order(155), 1024, 0);
    for (size_t i = 1; i < PLMM_RDP_ORDERS; i++) {
        CHECK(plmm_rdp_order(i) > plmm_rdp_order(i - 1), "order %zu", i);
    }
}

/* dp_accounting 0.6.0, default orders, add or remove one. */
static void test_poisson_epsilon(void)
{
    static const struct {
        double q, z, times, delta, epsilon;
    } row[] = {
        {1, 1, 1, 1e-5, 4.7285070672},         {1, 2, 1, 1e-5, 2.1657156590},
        {1, 10, 100, 1e-5, 4.7285070672},      {.01, 1, 1000, 1e-5, 2.1013665254},
        {.01, 1, 10000, 1e-5, 6.7127566645},   {.1, 1, 100, 1e-5, 7.9038502236},
        {.1, 2, 100, 1e-5, 2.5805709505},      {.05, .8, 200, 1e-6, 9.9052572483},
        {.001, .7, 10000, 1e-6, 2.4730399056}, {256.0 / 60000, 1.1, 14062, 1e-5, 2.5965558698},
        {.04, 1.5, 2250, 1e-5, 7.32911117143}, /* Opacus */
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "epsilon, row %zu", i);
        double got = poisson_epsilon(row[i].q, row[i].z, row[i].times, row[i].delta);
        near(name, got, row[i].epsilon, 1e-3);
    }
}

static void test_sampled_orders(void)
{
    static const double orders[] = {2, 4, 8, 16, 32, 64};
    static const struct {
        double q, z, rdp[6];
    } row[] = {
        {.01,
         2.5,
         {1.735093657081e-05, 3.482837187769e-05, 7.017055184467e-05, 1.424616840014e-04,
          2.939794849112e-04, 4.460375873322e-01}},
        {.01,
         1,
         {1.718134220746e-04, 3.631540489108e-04, 8.936439076060e-04, 3.087850783696e+00,
          1.124627593705e+01, 2.732173187455e+01}},
        {.1,
         1,
         {1.703686323618e-02, 5.867260696008e-02, 1.378361411348e+00, 5.543912170902e+00,
          1.362313796852e+01, 2.966086593728e+01}},
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        for (size_t j = 0; j < COUNT(orders); j++) {
            near("integer order", plmm_rdp_sampled_gaussian(orders[j], row[i].z, row[i].q),
                 row[i].rdp[j], 1e-10);
        }
    }
    /* Fractional orders, by mpmath; the unsigned series of dp_accounting is off at small ones. */
    near("1.5", plmm_rdp_sampled_gaussian(1.5, 2.5, .01), 1.300141794376e-5, 1e-10);
    near("2.5", plmm_rdp_sampled_gaussian(2.5, 2.5, .01), 2.17083611383e-5, 1e-10);
    near("3.9", plmm_rdp_sampled_gaussian(3.9, 1.5, .04), 1.83320219958e-3, 1e-10);
    near("autodp 1.25", plmm_rdp_sampled_gaussian(1.25, .5, .01), .0018977736416478, 1e-9);
    near("autodp 2", plmm_rdp_sampled_gaussian(2, .5, .01), .0053455023143452, 1e-9);
    near("autodp 4", plmm_rdp_sampled_gaussian(4, .5, .01), 1.8618755130319669, 1e-9);
    near("autodp 10", plmm_rdp_sampled_gaussian(10, .25, .01), 74.883144237791, 1e-9);
    near("x50 2.5", 50 * plmm_rdp_sampled_gaussian(2.5, 2.5, .01), 1.085418057e-03, 1e-8);
    near("x50 5", 50 * plmm_rdp_sampled_gaussian(5, 2.5, .01), 2.18075656e-3, 1e-4);
    near("x50 50", 50 * plmm_rdp_sampled_gaussian(50, 2.5, .01), 2.38460375e-2, 1e-4);
    near("x50 100", 50 * plmm_rdp_sampled_gaussian(100, 2.5, .01), 1.67416308e2, 1e-4);
    near("plain", plmm_rdp_gaussian(3.14159, 2.71828), 3.14159 / (2 * 2.71828 * 2.71828), 1e-12);
}

static void test_without_replacement(void)
{
    static const double orders[] = {2, 4, 8, 16, 32, 64};
    static const double rdp[] = {1.1296964989e-02, 2.4316998010e-02, 5.2690263529e-02,
                                 1.1263603538e-01, 1.6500215054e+00, 5.6718697414e+00};
    for (size_t j = 0; j < COUNT(orders); j++) {
        near("wor", plmm_rdp_wor_gaussian(orders[j], 2, .1), rdp[j], 1e-3);
    }
}

static void test_conversion(void)
{
    double orders[31], rdp[31], at = 0;
    for (size_t i = 0; i < 31; i++) {
        orders[i] = (double)i + 2;
        rdp[i] = 1.1;
    }
    near("constant rdp", plmm_rdp_epsilon(orders, rdp, 31, 1e-5, &at), 1.32783806176, 1e-10);
    near("its order", at, 32, 0);
    near("back", plmm_rdp_delta(orders, rdp, 31, 1.32783806176, NULL), 1e-5, 1e-9);
    for (size_t i = 0; i < 31; i++) {
        rdp[i] = 1e-12; /* the divergence alone is below delta^2 */
    }
    CHECK(plmm_rdp_epsilon(orders, rdp, 31, 1e-5, NULL) == 0.0, "the rule of zero");
    near("exact Gaussian", plmm_gaussian_delta(1, 1), 0.12693673750664392, 1e-12);
    CHECK(plmm_gaussian_delta(4.530877117, 1) < 1e-6, "exact below the curve's");
    enum { FINE = 99000 - 1 };
    static double o[FINE], g[FINE];
    for (size_t i = 0; i < FINE; i++) {
        o[i] = 1.001 + (double)i * .001;
        g[i] = plmm_rdp_gaussian(o[i], 4.530877117);
    }
    near("epsilon of (1, 1e-6)", plmm_rdp_epsilon(o, g, FINE, 1e-6, NULL), 1, 1e-6);
    near("delta of (1, 1e-6)", plmm_rdp_delta(o, g, FINE, 1, NULL), 1e-6, 1e-5);
}

static void test_calibration(void)
{
    near("q .01", plmm_calibrate_z(1, 1e-5, .01, 1000), 1.5131221626, 1e-3);
    near("q .1", plmm_calibrate_z(4, 1e-5, .1, 100), 1.4815286421, 1e-3);
    near("opacus 90 epochs", plmm_calibrate_z(8, 1e-5, .04, 2250), 1.416, 1e-3);
    near("opacus 2000 steps", plmm_calibrate_z(8, 1e-5, .04, 2000), 1.3562, 1e-3);
    double z = plmm_calibrate_z(2, 1e-5, 1, 7);
    CHECK(poisson_epsilon(1, z, 7, 1e-5) <= 2 && poisson_epsilon(1, z * .9999, 7, 1e-5) > 2, "z %g",
          z);
}

static double tree_epsilon(double z, uint32_t leaves, double delta)
{
    plmm_account a;
    plmm_account_release(&a, &(plmm_release){.mechanism = PLMM_MECHANISM_GAUSSIAN,
                                             .leaves = leaves,
                                             .server_adds = true,
                                             .l1 = 1,
                                             .l2 = 1,
                                             .dim = 1,
                                             .variance = z * z,
                                             .rate = 1});
    CHECK(plmm_account_epsilon(&a, PLMM_ADVERSARY_SERVER, delta) == INFINITY, "server");
    return plmm_account_epsilon(&a, PLMM_ADVERSARY_MODELS, delta);
}

/* Any mechanism can be in the nodes, none is amplified, and a tree costs its depth. */
static void test_tree_noise(void)
{
    for (uint32_t m = PLMM_MECHANISM_SKELLAM; m <= PLMM_MECHANISM_GAUSSIAN; m++) {
        plmm_release r = {
            .mechanism = m, .shares = 2, .l1 = 30, .l2 = 9, .dim = 50, .variance = 900, .rate = .1};
        plmm_account one, tree;
        plmm_account_release(&one, &r);
        r.leaves = 21;
        plmm_account_release(&tree, &r);
        for (size_t i = 0; i < PLMM_RDP_ORDERS; i++) {
            double want = 5 * one.rdp[PLMM_ADVERSARY_SERVER][i];
            CHECK(fabs(tree.rdp[PLMM_ADVERSARY_SERVER][i] - want) <= 1e-12 * want &&
                      tree.rdp[PLMM_ADVERSARY_MODELS][i] == tree.rdp[PLMM_ADVERSARY_SERVER][i],
                  "mechanism %u, order %g", m, plmm_rdp_order(i));
        }
    }
}

static void test_tree(void)
{
    near("z 1.13", tree_epsilon(1.13, 1600, 1e-6), 18.7096098938, 1e-3);
    near("z 8.83", tree_epsilon(8.83, 1600, 1e-6), 1.7731924496, 1e-3);
    /* by counting: aligned blocks of whole powers of two that a leaf is in */
    for (uint32_t leaves = 1; leaves <= 70; leaves++) {
        uint32_t most = 0;
        for (uint32_t leaf = 0; leaf < leaves; leaf++) {
            uint32_t nodes = 0;
            for (uint32_t size = 1; size <= leaves; size *= 2) {
                nodes += (leaf / size + 1) * size <= leaves;
            }
            most = nodes > most ? nodes : most;
        }
        CHECK(plmm_tree_depth(leaves) == most, "%u leaves: %u", leaves, most);
    }
    test_tree_noise();
}

/* ---- integer noise ---- */

enum { WHOLE_ORDERS = 128 }; /* 2..128, 256 */

/* Of the papers' accounting: granularity g, noise multiplier z of the sum, clip 1. */
static double integer_epsilon(bool skellam, double g, double n, double d, double q, double times)
{
    double orders[WHOLE_ORDERS], rdp[WHOLE_ORDERS], l2 = plmm_rounded_l2(1 / g, d, 0.5);
    double l1 = plmm_rounded_l1(l2, d), variance = 1 / (g * g);
    plmm_account a;
    if (q < 1) {
        plmm_account_release(&a, &(plmm_release){.mechanism = skellam ? PLMM_MECHANISM_SKELLAM
                                                                      : PLMM_MECHANISM_DDGAUSS,
                                                 .shares = (uint32_t)n,
                                                 .l1 = l1,
                                                 .l2 = l2,
                                                 .dim = d,
                                                 .variance = variance,
                                                 .rate = q});
        plmm_account sum;
        plmm_account_init(&sum);
        plmm_account_add(&sum, &a, (uint64_t)times);
        return plmm_account_epsilon(&sum, PLMM_ADVERSARY_MODELS, 1e-5);
    }
    for (size_t i = 0; i < WHOLE_ORDERS; i++) {
        double o = i + 1 < WHOLE_ORDERS ? (double)i + 2 : 256;
        orders[i] = o;
        rdp[i] = times * (skellam ? plmm_rdp_skellam(o, l1, l2, variance)
                                  : plmm_rdp_ddgauss(o, l1, l2, d, (uint32_t)n, variance / n));
    }
    return plmm_rdp_epsilon(orders, rdp, WHOLE_ORDERS, 1e-5, NULL);
}

static void test_integer_noise(void)
{
    double l2 = plmm_rounded_l2(1000, 65536, .5), l1 = plmm_rounded_l1(l2, 65536);
    near("rounded", plmm_rounded_l2(10, 100, .5), 11.832159566199232, 1e-12);
    near("rounded, always", plmm_rounded_l2(10, 100, INFINITY), 20, 1e-12);
    near("rounded 65536", l2, 1008.7179982532283, 1e-12);
    near("l1", l1, 258231.808, 1e-8);
    near("ddg 2", plmm_rdp_ddgauss(2, l1, l2, 65536, 100, 1e4), 1.0175120, 1e-6);
    near("ddg 8", plmm_rdp_ddgauss(8, l1, l2, 65536, 100, 1e4), 4.0700480, 1e-6);
    near("ddg 32", plmm_rdp_ddgauss(32, l1, l2, 65536, 100, 1e4), 16.280192, 1e-6);
    near("ddg, few and small", plmm_rdp_ddgauss(3, 30, 6, 100, 10, 1), 5.41551328437, 1e-10);
    CHECK(plmm_rdp_ddgauss(3, 30, 6, 100, 10, .2) == INFINITY, "shares too small to add up");
    near("skellam 2", plmm_rdp_skellam(2, l1, l2, 1e6), 1.0175131505, 1e-9);
    near("ddg 2^16", integer_epsilon(false, 1e-3, 100, 65536, 1, 1), 4.7965083368, 1e-6);
    near("skellam 2^16", integer_epsilon(true, 1e-3, 100, 65536, 1, 1), 4.7965110136, 1e-6);
    near("ddg 2^20", integer_epsilon(false, 1e-3, 100, 1 << 20, 1, 1), 5.4118683368, 1e-6);
    near("skellam 2^20", integer_epsilon(true, 1e-3, 100, 1 << 20, 1, 1), 5.4118729067, 1e-6);
    near("ddg fine", integer_epsilon(false, 1e-4, 1000, 1 << 20, 1, 1), 4.7595447368, 1e-6);
    near("skellam fine", integer_epsilon(true, 1e-4, 1000, 1 << 20, 1, 1), 4.7595447609, 1e-6);
    near("ddg sampled", integer_epsilon(false, 1e-3, 100, 65536, .1, 100), 10.0285689686, 1e-3);
    near("skellam sampled", integer_epsilon(true, 1e-3, 100, 65536, .1, 100), 10.0285823300, 1e-3);
}

/* P(X = k) of Skellam of variance mu, by the recurrence of Bessel functions downwards. */
static void skellam_pmf(double *p, int half, double mu)
{
    double hi = 0, at = 1e-300, sum = 0;
    int top = half + 200;
    for (int k = top; k >= 0; k--) {
        if (k <= half) {
            p[half + k] = at;
            p[half - k] = at;
        }
        sum += k == 0 ? at : 2 * at;
        double next = 2.0 * k / mu * at + hi; /* I_{k-1} = 2k/x I_k + I_{k+1} */
        hi = at;
        at = next;
        if (at > 1e250) {
            at *= 1e-250, hi *= 1e-250, sum *= 1e-250;
            for (int j = 0; j <= 2 * half; j++) {
                p[j] *= 1e-250;
            }
        }
    }
    for (int j = 0; j <= 2 * half; j++) {
        p[j] /= sum;
    }
}

static void test_skellam_bound(void)
{
    static const struct {
        double mu;
        int shift;
        double alpha, exact, bound;
    } row[] = {
        {4, 1, 2, .245721315646, .390625},   {4, 1, 8, .736920457322, 1.328125},
        {10, 1, 2, .099654438454, .1225},    {10, 1, 8, .364633808206, .4525},
        {100, 1, 2, .009999591868, .010225}, {100, 1, 8, .039945683801, .040525},
        {100, 2, 2, .039991504407, .0406},
    };
    enum { HALF = 150 };
    static double p[2 * HALF + 1];
    for (size_t i = 0; i < COUNT(row); i++) {
        double sum = 0,
               bound = plmm_rdp_skellam(row[i].alpha, row[i].shift, row[i].shift, row[i].mu);
        memset(p, 0, sizeof p);
        skellam_pmf(p, HALF, row[i].mu);
        for (int k = row[i].shift; k <= 2 * HALF; k++) {
            int j = k - row[i].shift;
            sum += p[k] > 0 && p[j] > 0
                       ? exp(row[i].alpha * log(p[k]) + (1 - row[i].alpha) * log(p[j]))
                       : 0;
        }
        near("exact Skellam", log(sum) / (row[i].alpha - 1), row[i].exact, 1e-6);
        near("its bound", bound, row[i].bound, 1e-9);
        CHECK(log(sum) / (row[i].alpha - 1) <= bound, "row %zu", i);
    }
}

/* ---- matrices, adaptive clipping ---- */

static void test_matrix(void)
{
    double c[40 * 4], root[4], work[82], got = 0;
    plmm_error err;
    plmm_mf_square_root(root, 4);
    near("square root", root[3], 0.3125, 1e-15);
    for (size_t t = 0; t < 40; t++) {
        memcpy(c + 4 * t, root, sizeof root);
    }
    double norm = 1 + .25 + .140625 + .09765625;
    CHECK(plmm_mf_sensitivity(&got, c, 40, 4, 10, 4, work, &err) == PLMM_OK, "%s", err.msg);
    near("4 of 40", got, sqrt(4 * norm), 1e-12);
    CHECK(plmm_mf_sensitivity(&got, c, 40, 4, 40, 9, work, &err) == PLMM_OK, "%s", err.msg);
    near("once", got, sqrt(norm), 1e-12);
    CHECK(plmm_mf_sensitivity(&got, c, 40, 4, 3, 2, work, &err) == PLMM_ERR_RANGE, "overlap");
    double ones[40];
    for (size_t t = 0; t < 40; t++) {
        ones[t] = t == 10 || t == 11 ? 5 : 1;
    }
    CHECK(plmm_mf_sensitivity(&got, ones, 40, 1, 4, 2, work, &err) == PLMM_OK, "%s", err.msg);
    near("the dear step, and one far from it", got, sqrt(26), 1e-12);
    for (size_t t = 0; t < 40; t++) {
        ones[t] = 1;
    }
    CHECK(plmm_mf_sensitivity(&got, ones, 40, 1, 1, 40, work, &err) == PLMM_OK, "%s", err.msg);
    near("in every step", got, sqrt(40), 1e-12);
    near("adaptive", plmm_adaptive_z(1, 10), 1 / sqrt(1 - 1.0 / 400), 1e-12);
    CHECK(plmm_adaptive_z(1, .5) == INFINITY, "the bit alone costs it all");
}

/* ---- accounts ---- */

static plmm_release sane(void)
{
    return (plmm_release){.mechanism = PLMM_MECHANISM_SKELLAM,
                          .shares = 1,
                          .l1 = 1e5,
                          .l2 = 1e3,
                          .dim = 65536,
                          .variance = 1e6,
                          .rate = .1};
}

static void test_account(void)
{
    plmm_release r = sane();
    plmm_account cost, sum, back;
    plmm_error err = {0};
    plmm_account_release(&cost, &r);
    plmm_account_init(&sum);
    CHECK(plmm_account_epsilon(&sum, PLMM_ADVERSARY_SERVER, 1e-5) == 0, "nothing spent");
    plmm_account_add(&sum, &cost, 3);
    CHECK(sum.releases == 3, "count");
    double server = plmm_account_epsilon(&sum, PLMM_ADVERSARY_SERVER, 1e-5);
    double models = plmm_account_epsilon(&sum, PLMM_ADVERSARY_MODELS, 1e-5);
    CHECK(models < server, "sampling amplifies for who does not see it only: %g %g", models,
          server);
    near("delta of epsilon", plmm_account_delta(&sum, PLMM_ADVERSARY_SERVER, server), 1e-5, 1e-9);

    plmm_budget b = {.epsilon = server * 1.2, .delta = 1e-5, .adversary = PLMM_ADVERSARY_SERVER};
    CHECK(plmm_account_fits(&sum, NULL, 0, &b, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_account_fits(&sum, &cost, 3, &b, &err) == PLMM_ERR_POLICY, "beyond the budget");
    uint64_t left = plmm_account_left(&sum, &cost, &b, 1000);
    CHECK(plmm_account_fits(&sum, &cost, left, &b, NULL) == PLMM_OK, "left %d", (int)left);
    CHECK(plmm_account_fits(&sum, &cost, left + 1, &b, NULL) == PLMM_ERR_POLICY, "one more");

    uint8_t octets[PLMM_ACCOUNT_BYTES + 1];
    plmm_account_encode(octets, &sum);
    CHECK(plmm_account_decode(&back, octets, PLMM_ACCOUNT_BYTES, &err) == PLMM_OK, "%s", err.msg);
    CHECK(memcmp(&back, &sum, sizeof sum) == 0, "encoded and decoded");
    CHECK(plmm_account_decode(&back, octets, PLMM_ACCOUNT_BYTES - 1, &err) == PLMM_ERR_FORMAT,
          "short");
    octets[31] |= 0x80; /* a negative cost */
    CHECK(plmm_account_decode(&back, octets, PLMM_ACCOUNT_BYTES, &err) == PLMM_ERR_FORMAT, "< 0");
    memset(octets + 24, 0, 7);
    octets[31] = 0x80;
    CHECK(plmm_account_decode(&back, octets, PLMM_ACCOUNT_BYTES, &err) == PLMM_ERR_FORMAT, "-0");
    octets[30] = 0xf8, octets[31] = 0x7f;
    CHECK(plmm_account_decode(&back, octets, PLMM_ACCOUNT_BYTES, &err) == PLMM_ERR_FORMAT, "NaN");
    octets[0] ^= 1;
    CHECK(plmm_account_decode(&back, octets, PLMM_ACCOUNT_BYTES, &err) == PLMM_ERR_FORMAT, "magic");
    CHECK(memcmp(&back, &sum, sizeof sum) == 0, "unchanged on failure");
}

static void test_impossible(void)
{
    plmm_release r = sane();
    plmm_account cost;
    r.mechanism = PLMM_MECHANISM_NONE;
    plmm_account_release(&cost, &r);
    CHECK(plmm_account_epsilon(&cost, PLMM_ADVERSARY_SERVER, 1e-5) == INFINITY, "no noise");
    CHECK(plmm_account_epsilon(&cost, PLMM_ADVERSARY_MODELS, 1e-5) == INFINITY, "no noise");
    r = sane();
    r.variance = 0;
    plmm_account_release(&cost, &r);
    CHECK(plmm_account_epsilon(&cost, PLMM_ADVERSARY_MODELS, 1e-5) == INFINITY, "no variance");
    r = sane();
    r.rate = 0;
    plmm_account_release(&cost, &r);
    CHECK(plmm_account_epsilon(&cost, PLMM_ADVERSARY_MODELS, 1e-5) == 0, "nobody takes part");
    CHECK(plmm_account_epsilon(&cost, PLMM_ADVERSARY_SERVER, 1e-5) > 1, "who sees the cohort");
    r = sane();
    r.server_adds = true;
    plmm_account_release(&cost, &r);
    CHECK(plmm_account_epsilon(&cost, PLMM_ADVERSARY_SERVER, 1e-5) == INFINITY, "central noise");
    CHECK(plmm_account_epsilon(&cost, PLMM_ADVERSARY_MODELS, 1e-5) < INFINITY, "central noise");
}

/* delta holds the noise's distance from the ideal, grown by e^epsilon. */
static void test_distance(void)
{
    plmm_release r = sane();
    plmm_account ideal, cost;
    plmm_account_release(&ideal, &r);
    r.distance = 1e-9;
    plmm_account_release(&cost, &r);
    double e = plmm_account_epsilon(&cost, PLMM_ADVERSARY_SERVER, 1e-5);
    CHECK(e > plmm_account_epsilon(&ideal, PLMM_ADVERSARY_SERVER, 1e-5), "%g", e);
    double d = plmm_account_delta(&cost, PLMM_ADVERSARY_SERVER, e);
    CHECK(d <= 1e-5 * (1 + 1e-6) && d > 0.99e-5, "delta %g", d);
    near("its part", d - plmm_account_delta(&ideal, PLMM_ADVERSARY_SERVER, e), (1 + exp(e)) * 1e-9,
         1e-6);
    r.distance = 1e-5;
    plmm_account_release(&cost, &r);
    CHECK(plmm_account_epsilon(&cost, PLMM_ADVERSARY_SERVER, 1e-5) == INFINITY, "too far");
}

static void test_units(void)
{
    plmm_release r = sane();
    plmm_budget b = {.epsilon = 3, .delta = 1e-6, .adversary = PLMM_ADVERSARY_SERVER};
    uint64_t units = 0;
    plmm_error err;
    plmm_account cost, none;
    plmm_account_init(&none);
    CHECK(plmm_calibrate_units(&units, &r, 5, &b, &err) == PLMM_OK, "%s", err.msg);
    r.variance = (double)units / PLMM_VARIANCE_UNITS;
    plmm_account_release(&cost, &r);
    CHECK(plmm_account_fits(&none, &cost, 5, &b, NULL) == PLMM_OK, "units %g", (double)units);
    r.variance = (double)(units - 1) / PLMM_VARIANCE_UNITS;
    plmm_account_release(&cost, &r);
    CHECK(plmm_account_fits(&none, &cost, 5, &b, NULL) == PLMM_ERR_POLICY, "one unit less");
    r.server_adds = true;
    CHECK(plmm_calibrate_units(&units, &r, 5, &b, &err) == PLMM_ERR_RANGE, "central, server");
}

static void test_sentence(void)
{
    char out[800], small[20];
    plmm_account a;
    plmm_release r = sane();
    plmm_account_release(&a, &r);
    plmm_account_sentence(out, sizeof out, &a, PLMM_ADVERSARY_SERVER, 1e-5, "Skellam noise");
    CHECK(strstr(out, "(epsilon, delta) = (") != NULL && strstr(out, "1e-05") != NULL, "%s", out);
    CHECK(strstr(out, "against the aggregator") != NULL &&
              strstr(out, "unit: one device") != NULL && strstr(out, "assuming") != NULL &&
              strstr(out, "Skellam noise") != NULL,
          "%s", out);
    plmm_account_sentence(out, sizeof out, &a, PLMM_ADVERSARY_MODELS, 1e-5, NULL);
    CHECK(strstr(out, "published versions only") != NULL, "%s", out);
    plmm_account_sentence(small, sizeof small, &a, PLMM_ADVERSARY_MODELS, 1e-5, NULL);
    CHECK(strlen(small) == sizeof small - 1, "cut");
}

int main(void)
{
    test_orders();
    test_poisson_epsilon();
    test_sampled_orders();
    test_without_replacement();
    test_conversion();
    test_calibration();
    test_tree();
    test_integer_noise();
    test_skellam_bound();
    test_matrix();
    test_account();
    test_impossible();
    test_distance();
    test_units();
    test_sentence();
    return plmm_test_end();
}
