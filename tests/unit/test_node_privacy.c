/* The privacy account of an aggregator: rounds are counted once each, also through a crash and a new
 * process, and none begins that would exceed the budget (claim D6). */
#include "node.h"
#include "plmm/alloc.h"
#include "plmm/file.h"
#include "plmm/privacy.h"
#include "test.h"

#include <math.h>
#include <unistd.h>

static char dir[] = "/tmp/plmm-node-privacy-XXXXXX";

static node_config sane(void)
{
    node_config c = {.cohort = 20, .n_min = 10, .quant_bits = 16};
    c.privacy.noise = PLMM_NOISE_SKELLAM;
    c.privacy.mode = PLMM_NOISE_DISTRIBUTED - 1;
    c.privacy.epsilon = 3;
    c.privacy.delta = 1e-6;
    c.privacy.adversary = PLMM_ADVERSARY_SERVER;
    c.privacy.rounds = 3;
    c.privacy.levels = 16;
    c.privacy.overhead = .02;
    return c;
}

static plmm_round_params params_of(const node_config *c, uint64_t round, uint32_t attempt)
{
    plmm_round_params p;
    plmm_round_params_init(&p);
    (void)snprintf(p.expert, sizeof p.expert, "medicine");
    p.round = round;
    p.attempt = attempt;
    p.cohort = c->cohort;
    p.n_min = c->n_min;
    p.gamma_ppm = 100000;
    p.delta_ppm = 200000;
    p.sigma = 40;
    p.eta = 20;
    p.trust = PLMM_TRUST_SEMI_MALICIOUS;
    p.quant_bits = c->quant_bits;
    p.weight_max = 64;
    p.clip = 1;
    p.rotate = 1;
    p.length = 500;
    p.steps = 1;
    p.batch_tokens = 1;
    p.learning_rate = .1;
    return p;
}

static void reopen(node *n)
{
    char path[128];
    plmm_error err = {0};
    plmm_node_close(n->store);
    (void)snprintf(path, sizeof path, "%s/state.db", dir);
    CHECK(plmm_node_open(path, &n->store, &err) == PLMM_OK, "%s", err.msg);
}

static double spent(const node *n)
{
    plmm_account a;
    plmm_error err = {0};
    CHECK(node_account(n, &a, &err) == PLMM_OK, "%s", err.msg);
    return plmm_account_epsilon(&a, PLMM_ADVERSARY_SERVER, n->config.privacy.delta);
}

static void test_budget(node *n)
{
    plmm_error err = {0};
    double before = 0;
    CHECK(spent(n) == 0, "nothing yet");
    for (uint32_t round = 1; round <= 3; round++) {
        plmm_round_params p = params_of(&n->config, round, round == 2 ? 2 : 1);
        CHECK(node_privacy_prepare(n, &p, &err) == PLMM_OK, "round %u: %s", round, err.msg);
        CHECK(plmm_round_params_check(&p, &err) == PLMM_OK, "round %u: %s", round, err.msg);
        CHECK(p.noise_mode == PLMM_NOISE_DISTRIBUTED && p.weight_max == 1 && p.noise_levels == 10,
              "levels %u", p.noise_levels);
        CHECK(spent(n) == before, "a round that only begins costs nothing");
        CHECK(node_privacy_released(n, &p, &err) == PLMM_OK, "%s", err.msg);
        double now = spent(n);
        CHECK(now > before && now <= 3, "round %u: %g after %g", round, now, before);
        reopen(n);
        CHECK(node_privacy_released(n, &p, &err) == PLMM_OK && spent(n) == now, "once (%g)", now);
        before = now;
    }
    plmm_round_params p = params_of(&n->config, 4, 1);
    CHECK(node_privacy_prepare(n, &p, &err) == PLMM_ERR_POLICY &&
              strstr(err.msg, "privacy budget is epsilon 3") != NULL,
          "the fourth of three: %s", err.msg);
    n->config.privacy.epsilon = 0;
    n->config.privacy.multiplier = 1;
    CHECK(node_privacy_prepare(n, &p, &err) == PLMM_OK, "no bound: %s", err.msg);
    CHECK(plmm_round_params_check(&p, &err) == PLMM_OK, "%s", err.msg);
}

static void test_others(node *n)
{
    plmm_error err = {0};
    n->config = sane();
    n->config.privacy.noise = PLMM_NOISE_NONE;
    plmm_round_params p = params_of(&n->config, 9, 1), q = p;
    double before = spent(n);
    CHECK(node_privacy_prepare(n, &p, &err) == PLMM_OK && memcmp(&p, &q, sizeof p) == 0, "none");
    CHECK(node_privacy_released(n, &p, &err) == PLMM_OK && spent(n) == before, "nothing counted");
    n->config = sane();
    CHECK(node_privacy_check(&n->config, &err) == PLMM_OK, "%s", err.msg);
    n->config.privacy.mode = PLMM_NOISE_CENTRAL - 1;
    CHECK(node_privacy_check(&n->config, &err) == PLMM_ERR_CONFIG, "against itself");
    n->config = sane();
    n->config.privacy.epsilon = 0;
    CHECK(node_privacy_check(&n->config, &err) == PLMM_ERR_CONFIG, "how much noise?");
    CHECK(plmm_node_set(n->store, "privacy.account", "00ff", &err) == PLMM_OK, "%s", err.msg);
    n->config = sane();
    p = params_of(&n->config, 10, 1);
    CHECK(node_privacy_prepare(n, &p, &err) == PLMM_ERR_FORMAT,
          "a damaged account is not begun anew");
}

int main(void)
{
    node n = {.config = sane()};
    if (mkdtemp(dir) == NULL) {
        return EXIT_FAILURE;
    }
    reopen(&n);
    test_budget(&n);
    test_others(&n);
    plmm_node_close(n.store);
    plmm_error err = {0};
    CHECK(plmm_path_remove(dir, &err) == PLMM_OK, "%s", err.msg);
    return plmm_test_end();
}
