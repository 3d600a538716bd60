/* proto/privacy: what a round's parameters are as noise and as cost, and what a device's policy refuses
 * (claims D1..D4 of docs/protocol.md). */
#include "plmm/policy.h"
#include "test.h"

#include <math.h>

static plmm_round_params sane(void)
{
    plmm_round_params p;
    plmm_round_params_init(&p);
    (void)snprintf(p.expert, sizeof p.expert, "medicine");
    p.round = 1;
    p.attempt = 1;
    p.cohort = 100;
    p.n_min = 60;
    p.gamma_ppm = 50000;
    p.delta_ppm = 100000;
    p.sigma = 40;
    p.eta = 20;
    p.trust = PLMM_TRUST_SEMI_MALICIOUS;
    p.quant_bits = 10;
    p.weight_max = 1;
    p.clip = 1.0;
    p.rotate = 1;
    p.noise = PLMM_NOISE_SKELLAM;
    p.noise_mode = PLMM_NOISE_DISTRIBUTED;
    p.noise_units = UINT64_C(1) << 25; /* about the square of the clip */
    p.noise_levels = 8;
    p.length = 1000;
    p.steps = 1;
    p.batch_tokens = 1;
    p.learning_rate = .1;
    plmm_encoding e = plmm_round_encoding(&p);
    p.ring_bits = plmm_encoding_ring_bits(&e);
    return p;
}

static double epsilon_of(const plmm_round_params *p, plmm_adversary who)
{
    plmm_account cost;
    plmm_round_cost(&cost, p);
    return plmm_account_epsilon(&cost, who, 1e-5);
}

/* Bits follow the noise. */
static void fit(plmm_round_params *p)
{
    plmm_encoding e = plmm_round_encoding(p);
    p->ring_bits = plmm_encoding_ring_bits(&e);
}

static void test_modes(void)
{
    plmm_round_params p = sane();
    plmm_error err = {0};
    CHECK(plmm_round_params_check(&p, &err) == PLMM_OK, "%s", err.msg);
    double distributed = epsilon_of(&p, PLMM_ADVERSARY_SERVER);
    CHECK(distributed > 0 && distributed < 100, "%g", distributed);
    CHECK(epsilon_of(&p, PLMM_ADVERSARY_MODELS) == distributed, "everyone is eligible");
    p.rate = UINT32_MAX / 20;
    CHECK(epsilon_of(&p, PLMM_ADVERSARY_SERVER) == distributed, "the server sees the cohort (D2)");
    CHECK(epsilon_of(&p, PLMM_ADVERSARY_MODELS) < distributed, "who sees versions does not");
    p.protocol = PLMM_PROTOCOL_ONESHOT; /* rosters stay for an epoch: nothing is drawn each round */
    CHECK(epsilon_of(&p, PLMM_ADVERSARY_MODELS) == distributed, "one cohort for many rounds");
    p = sane();
    p.noise_mode = PLMM_NOISE_LOCAL;
    p.noise_levels = 0;
    fit(&p);
    CHECK(plmm_round_params_check(&p, &err) == PLMM_OK, "%s", err.msg);
    CHECK(fabs(epsilon_of(&p, PLMM_ADVERSARY_SERVER) - distributed) < 1e-9, "local: the same");
    plmm_xnoise x = plmm_round_xnoise(&p);
    CHECK(plmm_xnoise_kept(&x, 0) == p.noise_units, "a device makes all of it");
    p.noise_mode = PLMM_NOISE_CENTRAL;
    fit(&p);
    CHECK(plmm_round_params_check(&p, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_round_xnoise(&p).kind == PLMM_NOISE_NONE, "no device adds any");
    CHECK(epsilon_of(&p, PLMM_ADVERSARY_SERVER) == INFINITY, "the server adds it (D2)");
    CHECK(epsilon_of(&p, PLMM_ADVERSARY_MODELS) < 100, "versions");
    p.noise = PLMM_NOISE_NONE;
    p.noise_mode = 0;
    p.noise_units = 0;
    CHECK(epsilon_of(&p, PLMM_ADVERSARY_MODELS) == INFINITY, "no noise");
}

/* Only the honest survivors' noise is in the cost (D1). */
static void test_honest(void)
{
    plmm_round_params p = sane();
    plmm_xnoise x = plmm_round_xnoise(&p);
    CHECK(plmm_round_corrupt(&p) == 8, "gamma of 150: %u", plmm_round_corrupt(&p));
    for (uint32_t drops = 0; drops <= 40; drops++) {
        uint32_t level = plmm_xnoise_level(&x, drops), honest = 100 - drops - 8;
        uint64_t sum = honest * plmm_xnoise_kept(&x, level);
        uint32_t stays = 99;
        CHECK(plmm_round_surplus(&p, 100 - drops, &stays) == (level < 8) && stays == level,
              "%u dropped: level %u, %u", drops, level, stays);
        CHECK(sum >= p.noise_units, "%u dropped: %g of %g", drops, (double)sum,
              (double)p.noise_units);
    }
    p = sane();
    p.noise = PLMM_NOISE_GAUSSIAN;
    p.noise_levels = 0;
    fit(&p);
    plmm_release r;
    plmm_round_release(&r, &p);
    CHECK(r.mechanism == PLMM_MECHANISM_DDGAUSS && r.shares == 52, "%u shares", r.shares);
}

static void test_refused(void)
{
    static const struct {
        const char *row;
        size_t field;
        uint32_t value;
    } bad[] = {
        {"a mode that is none", offsetof(plmm_round_params, noise_mode), 4},
        {"no mode", offsetof(plmm_round_params, noise_mode), 0},
        {"a kind that is none", offsetof(plmm_round_params, noise), 3},
        {"units without noise", offsetof(plmm_round_params, noise), 0},
        {"more levels than dropouts", offsetof(plmm_round_params, noise_levels), 41},
        {"gaussians do not add up", offsetof(plmm_round_params, noise), 2},
        {"levels of central noise", offsetof(plmm_round_params, noise_mode), 2},
        {"levels of local noise", offsetof(plmm_round_params, noise_mode), 3},
        {"weights", offsetof(plmm_round_params, weight_max), 2},
        {"nobody honest", offsetof(plmm_round_params, n_min), 8},
        {"bits that would wrap", offsetof(plmm_round_params, ring_bits), 12},
        {"rotate", offsetof(plmm_round_params, rotate), 2},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        plmm_round_params p = sane();
        plmm_error err = {0};
        memcpy((char *)&p + bad[i].field, &bad[i].value, sizeof bad[i].value);
        CHECK(plmm_round_params_check(&p, &err) == PLMM_ERR_RANGE && err.msg[0] != '\0', "%s: %s",
              bad[i].row, err.msg);
    }
}

/* ---- policies ---- */

static plmm_policy policy_of(const plmm_round_params *p)
{
    plmm_anchor anchor = {0};
    plmm_policy policy;
    (void)snprintf(anchor.expert, sizeof anchor.expert, "medicine");
    plmm_policy_default(&policy, &anchor);
    policy.gamma_ppm = p->gamma_ppm;
    policy.vectors[policy.vectors_n++] = (plmm_policy_vector){.length = p->length};
    return policy;
}

static void test_policy(void)
{
    plmm_round_params p = sane();
    plmm_policy policy = policy_of(&p);
    plmm_account spent, cost;
    plmm_error err = {0};
    plmm_account_init(&spent);
    plmm_round_cost(&cost, &p);
    CHECK(plmm_policy_check(&policy, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_policy_judge(&policy, &p, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_policy_judge_budget(&policy, &spent, &p, &err) == PLMM_OK, "no bound");
    double once = plmm_account_epsilon(&cost, PLMM_ADVERSARY_SERVER, policy.budget.delta);
    policy.budget.epsilon = once * 1.2;
    CHECK(plmm_policy_judge_budget(&policy, &spent, &p, &err) == PLMM_OK, "%s", err.msg);
    plmm_account_add(&spent, &cost, 1);
    CHECK(plmm_policy_judge_budget(&policy, &spent, &p, &err) == PLMM_ERR_POLICY &&
              strstr(err.msg, "costs this device too much") != NULL,
          "the second one is beyond the budget (D4): %s", err.msg);
    plmm_account_init(&spent);
    p.noise_units /= 2; /* weaker noise than the budget allows (D3) */
    CHECK(plmm_policy_judge_budget(&policy, &spent, &p, &err) == PLMM_ERR_POLICY, "weak noise");
    p = sane();
    p.noise_mode = PLMM_NOISE_CENTRAL;
    p.noise_levels = 0;
    CHECK(plmm_policy_judge_budget(&policy, &spent, &p, &err) == PLMM_ERR_POLICY, "trusts nobody");
    policy.budget.adversary = PLMM_ADVERSARY_MODELS;
    CHECK(plmm_policy_judge_budget(&policy, &spent, &p, &err) == PLMM_OK, "trusts: %s", err.msg);
    p.noise = PLMM_NOISE_NONE;
    p.noise_mode = 0;
    p.noise_units = 0;
    CHECK(plmm_policy_judge_budget(&policy, &spent, &p, &err) == PLMM_ERR_POLICY, "no noise");
    policy.budget.epsilon = INFINITY;
    fit(&p);
    CHECK(plmm_policy_judge(&policy, &p, &err) == PLMM_OK, "%s", err.msg);
    policy.noise = 1;
    CHECK(plmm_policy_judge(&policy, &p, &err) == PLMM_ERR_POLICY, "noise is wanted");
    policy.budget.delta = 0;
    CHECK(plmm_policy_check(&policy, &err) == PLMM_ERR_RANGE, "delta 0");
}

static void test_calibrate(void)
{
    plmm_round_params p = sane(), q;
    plmm_budget b = {.epsilon = 2, .delta = 1e-6, .adversary = PLMM_ADVERSARY_SERVER};
    plmm_error err = {0};
    plmm_account spent, cost;
    CHECK(plmm_round_calibrate(&p, 20, &b, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_round_params_check(&p, &err) == PLMM_OK, "%s", err.msg);
    plmm_account_init(&spent);
    plmm_round_cost(&cost, &p);
    CHECK(plmm_account_left(&spent, &cost, &b, 1000) == 20, "%d fit",
          (int)plmm_account_left(&spent, &cost, &b, 1000));
    q = p;
    q.noise_units -= q.noise_units / 100;
    plmm_round_cost(&cost, &q);
    CHECK(plmm_account_left(&spent, &cost, &b, 1000) < 20, "and no less noise does");
    p = sane();
    p.noise_mode = PLMM_NOISE_CENTRAL;
    p.noise_levels = 0;
    q = p;
    CHECK(plmm_round_calibrate(&p, 20, &b, &err) == PLMM_ERR_RANGE, "central, against the server");
    CHECK(memcmp(&p, &q, sizeof p) == 0, "unchanged on failure");
}

static void test_central(void)
{
    enum { LANES = 1000 };
    static uint32_t x[LANES], y[LANES];
    plmm_round_params p = sane();
    plmm_error err = {0};
    plmm_seed seed = {{7}};
    CHECK(plmm_round_add_central(x, &p, &seed, &err) == PLMM_OK && x[0] == 0 && x[9] == 0,
          "not here");
    p.noise_mode = PLMM_NOISE_CENTRAL;
    p.noise_levels = 0;
    fit(&p);
    CHECK(plmm_round_add_central(x, &p, &seed, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_round_add_central(y, &p, &seed, &err) == PLMM_OK, "%s", err.msg);
    CHECK(memcmp(x, y, sizeof x) == 0, "a repetition draws nothing new");
    double squares = 0;
    for (size_t i = 0; i < LANES; i++) {
        CHECK(x[i] >> p.ring_bits == 0, "lane %zu", i);
        double v = (double)plmm_lane_signed(x[i], p.ring_bits);
        squares += v * v;
    }
    squares *= PLMM_NOISE_UNITS / (double)LANES / (double)p.noise_units;
    CHECK(squares > .8 && squares < 1.25, "variance %g of what it should be", squares);
}

/* ---- trees ---- */

enum { TREE = 13, DRAWS = 20000 };

static plmm_round_params in_tree(uint32_t leaf)
{
    plmm_round_params p = sane();
    p.noise = PLMM_NOISE_GAUSSIAN;
    p.noise_mode = PLMM_NOISE_CENTRAL;
    p.noise_levels = 0;
    p.noise_units = 16 * 40 * 40;
    p.rotate = 0;
    p.noise_tree = TREE;
    p.noise_leaf = leaf;
    p.length = DRAWS;
    fit(&p);
    return p;
}

/* The noise of the first t rounds, by the definition: of the blocks that t's binary digits name, from
 * the left. *common += blocks that the first s <= t rounds have too. */
static void prefix(int32_t *x, uint32_t t, uint32_t s, uint32_t *common)
{
    plmm_round_params p = in_tree(0);
    plmm_seed tree = {{3}}, own;
    plmm_error err = {0};
    memset(x, 0, DRAWS * sizeof *x);
    for (uint32_t at = 0, level = 32; level-- > 0;) {
        uint32_t size = UINT32_C(1) << level;
        if ((t & size) == 0) {
            continue;
        }
        plmm_seed_derive(&own, &tree, "noise.tr", (uint64_t)level << 32 | at / size);
        CHECK(at % size == 0 &&
                  plmm_noise_add(x, DRAWS, p.noise, p.noise_units, p.stream, &own, &err) == PLMM_OK,
              "%s", err.msg);
        *common += (s & size) != 0 && at + size <= s;
        at += size;
    }
}

/* What the rounds get adds up to exactly that, and its covariance over rounds is that of the blocks
 * they share. */
static void test_tree(void)
{
    static uint32_t x[DRAWS];
    static int32_t sum[TREE + 1][DRAWS], want[DRAWS];
    plmm_seed tree = {{3}};
    plmm_error err = {0};
    const double v = 40.0 * 40.0;
    for (uint32_t t = 0; t < TREE; t++) {
        plmm_round_params p = in_tree(t);
        uint32_t unused = 0;
        CHECK(plmm_round_params_check(&p, &err) == PLMM_OK, "%s", err.msg);
        memset(x, 0, sizeof x);
        CHECK(plmm_round_add_central(x, &p, &tree, &err) == PLMM_OK, "%s", err.msg);
        for (uint32_t i = 0; i < DRAWS; i++) {
            sum[t + 1][i] = sum[t][i] + plmm_lane_signed(x[i], p.ring_bits);
        }
        prefix(want, t + 1, 0, &unused);
        CHECK(memcmp(want, sum[t + 1], sizeof want) == 0, "the first %u rounds", t + 1);
    }
    for (uint32_t t = 1; t <= TREE; t++) {
        for (uint32_t s = 1; s <= t; s++) {
            double products = 0;
            uint32_t shared = 0, mine = 0, yours = 0;
            prefix(want, t, s, &shared);
            for (uint32_t i = 0; i < DRAWS; i++) {
                products += (double)sum[s][i] * sum[t][i] / DRAWS;
            }
            for (uint32_t b = 0; b < 32; b++) {
                mine += s >> b & 1;
                yours += t >> b & 1;
            }
            double deviation = v * sqrt((mine * yours + shared * shared) / (double)DRAWS);
            CHECK(fabs(products - v * shared) < 5 * deviation, "%u and %u: %g, not %g", s, t,
                  products, v * shared);
        }
    }
}

static void test_tree_cost(void)
{
    plmm_round_params p = in_tree(5), q = in_tree(0);
    plmm_account tree, other, one;
    plmm_release r;
    plmm_error err = {0};
    plmm_round_cost(&tree, &p);
    plmm_round_cost(&other, &q);
    CHECK(memcmp(&tree, &other, sizeof tree) == 0, "every leaf costs the tree");
    p.rate = UINT32_MAX / 9;
    plmm_round_cost(&other, &p);
    CHECK(memcmp(&tree, &other, sizeof tree) == 0, "no amplification");
    q.noise_tree = 0;
    plmm_round_cost(&one, &q);
    plmm_round_release(&r, &q);
    for (size_t i = 0; i < PLMM_RDP_ORDERS; i++) { /* ceil(log2(14)) = 4 */
        double want = 4 * plmm_rdp_order(i) * r.l2 * r.l2 / (2 * r.variance);
        CHECK(fabs(tree.rdp[PLMM_ADVERSARY_MODELS][i] - want) < 1e-12 * want, "order %zu", i);
        CHECK(tree.rdp[PLMM_ADVERSARY_SERVER][i] == INFINITY, "the server adds it (D2)");
    }
    CHECK(tree.distance >= one.distance * TREE, "all nodes are drawn");
    plmm_budget b = {.epsilon = 3, .delta = 1e-6, .adversary = PLMM_ADVERSARY_MODELS};
    plmm_account spent;
    plmm_account_init(&spent);
    p.length = 500;
    p.quant_bits = 6;
    CHECK(plmm_round_calibrate(&p, 5, &b, &err) == PLMM_OK, "%s", err.msg);
    plmm_round_cost(&tree, &p);
    CHECK(plmm_account_left(&spent, &tree, &b, 100) == 5, "five trees");
    CHECK(plmm_round_params_check(&p, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_round_step_scale(&p, 80) == .8 && plmm_round_step_scale(&q, 80) == 1, "one divisor");
}

static void test_tree_refused(void)
{
    static const struct {
        size_t field;
        uint32_t value;
        const char *says;
    } bad[] = {
        {offsetof(plmm_round_params, noise_mode), PLMM_NOISE_DISTRIBUTED, "noise_mode is 1"},
        {offsetof(plmm_round_params, noise_mode), PLMM_NOISE_LOCAL, "noise_mode is 3"},
        {offsetof(plmm_round_params, protocol), PLMM_PROTOCOL_ONESHOT, "protocol is 2"},
        {offsetof(plmm_round_params, groups), 2, "groups is 2"},
        {offsetof(plmm_round_params, rotate), 1, "rotate is 1"},
        {offsetof(plmm_round_params, clip_bit), 1, "clip_bit is 1"},
        {offsetof(plmm_round_params, noise_leaf), TREE, "noise_leaf is 13"},
        {offsetof(plmm_round_params, noise_tree), PLMM_TREE_MAX + 1, "noise_tree 1048577"},
        {offsetof(plmm_round_params, noise_tree), 0, "noise_leaf is 12 of noise_tree 0"},
        {offsetof(plmm_round_params, noise), 0, "noise_tree 13"},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        plmm_round_params p = in_tree(12);
        plmm_error err = {0};
        memcpy((char *)&p + bad[i].field, &bad[i].value, sizeof bad[i].value);
        p.mask = p.protocol == PLMM_PROTOCOL_ONESHOT ? PLMM_MASK_KAHE : PLMM_MASK_RING;
        CHECK(plmm_round_params_check(&p, &err) == PLMM_ERR_RANGE &&
                  strstr(err.msg, bad[i].says) != NULL,
              "%s: %s", bad[i].says, err.msg);
    }
}

static void test_adaptive(void)
{
    static uint32_t x[1001];
    plmm_round_params p = sane();
    p.clip_bit = 1;
    fit(&p);
    plmm_encoding e = plmm_round_encoding(&p);
    uint32_t a = plmm_encoding_clip_amplitude(&e);
    x[1000] = 40 * a; /* 70 within, 30 above */
    double next = plmm_round_next_clip(&p, x, 100, .5, .2);
    CHECK(fabs(next - exp(-.2 * (.7 - .5))) < 1e-12, "%g", next);
    x[1000] = 0u - 300 * a; /* noise below nobody */
    x[1000] &= (UINT32_C(1) << p.ring_bits) - 1;
    next = plmm_round_next_clip(&p, x, 100, .5, .2);
    CHECK(fabs(next - exp(.2 * .5)) < 1e-12, "%g", next);
    plmm_release with, without;
    plmm_round_release(&with, &p);
    p.clip_bit = 0;
    plmm_round_release(&without, &p);
    double z = sqrt(without.variance) / without.l2, zb = sqrt(with.variance) / a;
    CHECK(with.l2 > without.l2, "the bit is accounted");
    /* the same as Andrew et al.: a count of sensitivity 1/2 with noise sigma_b, z = 2 sigma_b here */
    CHECK(fabs(plmm_adaptive_z(sqrt(with.variance) / with.l2, zb / 2) - z) < 1e-2 * z, "%g",
          plmm_adaptive_z(sqrt(with.variance) / with.l2, zb / 2) / z);
}

int main(void)
{
    test_modes();
    test_honest();
    test_refused();
    test_policy();
    test_calibrate();
    test_central();
    test_tree();
    test_tree_cost();
    test_tree_refused();
    test_adaptive();
    return plmm_test_end();
}
