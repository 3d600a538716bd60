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
        CHECK(node_privacy_prepare(n, 1, &p, &err) == PLMM_OK, "round %u: %s", round, err.msg);
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
    CHECK(node_privacy_prepare(n, 1, &p, &err) == PLMM_ERR_POLICY &&
              strstr(err.msg, "privacy budget is epsilon 3") != NULL,
          "the fourth of three: %s", err.msg);
    n->config.privacy.epsilon = 0;
    n->config.privacy.multiplier = 1;
    CHECK(node_privacy_prepare(n, 1, &p, &err) == PLMM_OK, "no bound: %s", err.msg);
    CHECK(plmm_round_params_check(&p, &err) == PLMM_OK, "%s", err.msg);
}

static void test_others(node *n)
{
    plmm_error err = {0};
    n->config = sane();
    n->config.privacy.noise = PLMM_NOISE_NONE;
    plmm_round_params p = params_of(&n->config, 9, 1), q = p;
    double before = spent(n);
    CHECK(node_privacy_prepare(n, 1, &p, &err) == PLMM_OK && memcmp(&p, &q, sizeof p) == 0, "none");
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
    CHECK(node_privacy_prepare(n, 1, &p, &err) == PLMM_ERR_FORMAT,
          "a damaged account is not begun anew");
}

/* ---- trees ---- */

static node_config with_tree(void)
{
    node_config c = sane();
    c.privacy.mode = PLMM_NOISE_CENTRAL - 1;
    c.privacy.adversary = PLMM_ADVERSARY_MODELS;
    c.privacy.rounds = 8;
    c.privacy.tree = 4;
    c.method = PLMM_METHOD_FFA;
    return c;
}

static plmm_round_params unturned(const node_config *c, uint64_t round, uint32_t attempt)
{
    plmm_round_params p = params_of(c, round, attempt);
    p.rotate = 0;
    return p;
}

static double spent_by_models(const node *n)
{
    plmm_account a;
    plmm_error err = {0};
    CHECK(node_account(n, &a, &err) == PLMM_OK, "%s", err.msg);
    CHECK(a.releases == 0 ||
              plmm_account_epsilon(&a, PLMM_ADVERSARY_SERVER, 1e-6) == (double)INFINITY,
          "nothing is promised against the aggregator");
    return plmm_account_epsilon(&a, PLMM_ADVERSARY_MODELS, n->config.privacy.delta);
}

static void take_part(node *n, uint64_t round, uint64_t device)
{
    static const uint8_t octets[4] = {1, 2, 3, 4};
    plmm_error err = {0};
    CHECK(plmm_node_round_begin(n->store, round, 1, octets, 4, 0, &err) == PLMM_OK &&
              plmm_node_journal_append(n->store, 1, octets, 4, device, octets, 4, &err) == PLMM_OK,
          "%s", err.msg);
}

static void leave(node *n, uint64_t round)
{
    plmm_error err = {0};
    plmm_node_round r = {.round = round, .attempt = 1, .state = PLMM_NODE_ABORTED};
    CHECK(plmm_node_round_end(n->store, &r, &err) == PLMM_OK, "%s", err.msg);
}

static uint32_t resting(node *n, uint64_t before)
{
    uint64_t *ids = NULL;
    uint32_t count = 99;
    plmm_error err = {0};
    CHECK(plmm_node_part_before(n->store, before, &ids, &count, &err) == PLMM_OK, "%s", err.msg);
    plmm_free(ids);
    return count;
}

/* Eight versions make two trees of four leaves: the seed stays within a tree, through aborted rounds
 * and new processes; it is charged once, when its first sum can be opened; who took part rests until
 * the next tree; and a third tree is beyond the budget. */
static void test_trees(node *n)
{
    plmm_error err = {0};
    plmm_seed seed[3], again;
    double after[3] = {0};
    n->config = with_tree();
    CHECK(node_privacy_check(&n->config, &err) == PLMM_OK, "%s", err.msg);
    for (uint64_t version = 1, round = 1; version <= 8; round++) {
        plmm_round_params p = unturned(&n->config, round, 1);
        uint64_t tree = (version - 1) / 4, leaf = (version - 1) % 4;
        CHECK(node_privacy_prepare(n, version, &p, &err) == PLMM_OK, "round %d: %s", (int)round,
              err.msg);
        CHECK(plmm_round_params_check(&p, &err) == PLMM_OK, "%s", err.msg);
        CHECK(p.noise_tree == 4 && p.noise_leaf == leaf, "version %d: leaf %u", (int)version,
              p.noise_leaf);
        CHECK(node_privacy_tree(n, &again, &err) == PLMM_OK, "%s", err.msg);
        CHECK(leaf == 0 || plmm_equal(&again, &seed[tree], sizeof again), "one seed a tree");
        CHECK(tree == 0 || !plmm_equal(&again, &seed[0], sizeof again), "a new one for the next");
        seed[tree] = again;
        bool first = leaf == 0 && round % 2 == 1;
        CHECK(spent_by_models(n) == (first ? after[tree] : after[tree + 1]), "nothing yet");
        take_part(n, round, 100 + round);
        CHECK(node_privacy_released(n, &p, &err) == PLMM_OK, "%s", err.msg);
        CHECK(resting(n, round) == 2 * leaf + (round % 2 == 0), "round %d: %u rest", (int)round,
              resting(n, round));
        leave(n, round);
        double now = spent_by_models(n);
        after[tree + 1] = first ? now : after[tree + 1];
        CHECK(now == after[tree + 1] && now > after[tree] && now <= 3, "tree %d: %g after %g",
              (int)tree, now, after[tree]);
        reopen(n);
        version += round % 2 == 0; /* every other round is aborted */
    }
    plmm_round_params p = unturned(&n->config, 20, 1);
    CHECK(node_privacy_prepare(n, 9, &p, &err) == PLMM_ERR_POLICY &&
              strstr(err.msg, "privacy budget is epsilon 3") != NULL,
          "the third of two trees: %s", err.msg);
}

/* Noise must not be used for two sums, nor in another lattice. */
static void test_new_trees(node *n)
{
    plmm_error err = {0};
    plmm_seed one, two;
    plmm_node_version v = {.version = 31};
    n->config = with_tree();
    n->config.privacy.epsilon = 0;
    n->config.privacy.multiplier = 4;
    plmm_round_params p = unturned(&n->config, 30, 1);
    CHECK(node_privacy_prepare(n, 30, &p, &err) == PLMM_OK &&
              node_privacy_tree(n, &one, &err) == PLMM_OK && p.noise_leaf == 0,
          "%s", err.msg);
    p = unturned(&n->config, 31, 1);
    p.steps = 77; /* not of the lattice */
    CHECK(node_privacy_prepare(n, 31, &p, &err) == PLMM_OK &&
              node_privacy_tree(n, &two, &err) == PLMM_OK && plmm_equal(&one, &two, 32) &&
              p.noise_leaf == 1,
          "it goes on: leaf %u", p.noise_leaf);
    p = unturned(&n->config, 32, 1);
    p.clip = 2;
    CHECK(node_privacy_prepare(n, 31, &p, &err) == PLMM_OK &&
              node_privacy_tree(n, &two, &err) == PLMM_OK && !plmm_equal(&one, &two, 32) &&
              p.noise_leaf == 0,
          "another clip, another tree: leaf %u", p.noise_leaf);
    CHECK(plmm_node_version_put(n->store, &v, &err) == PLMM_OK, "%s", err.msg);
    p = unturned(&n->config, 33, 1);
    p.clip = 2;
    CHECK(node_privacy_prepare(n, 31, &p, &err) == PLMM_OK && p.noise_leaf == 0 &&
              node_privacy_tree(n, &one, &err) == PLMM_OK && plmm_equal(&one, &two, 32),
          "the newest is what is trained");
    v.version = 32;
    CHECK(plmm_node_version_put(n->store, &v, &err) == PLMM_OK, "%s", err.msg);
    p = unturned(&n->config, 34, 1);
    p.clip = 2;
    CHECK(node_privacy_prepare(n, 31, &p, &err) == PLMM_OK && p.noise_leaf == 0 &&
              node_privacy_tree(n, &one, &err) == PLMM_OK && !plmm_equal(&one, &two, 32),
          "its leaf was published before an older version was put back");
}

static void test_tree_refused(void)
{
    static const char *const says[] = {
        "privacy.noise is none",   "privacy.mode must be central", "round.protocol must be secagg",
        "vector.rotate must be 0", "method is alternate",          "privacy.adaptive must be 0"};
    for (size_t i = 0; i < COUNT(says); i++) {
        node_config c = with_tree();
        plmm_error err = {0};
        c.privacy.noise = i == 0 ? PLMM_NOISE_NONE : c.privacy.noise;
        c.privacy.mode = i == 1 ? PLMM_NOISE_DISTRIBUTED - 1 : c.privacy.mode;
        c.protocol = i == 2 ? PLMM_PROTOCOL_ONESHOT - 1 : c.protocol;
        c.rotate = i == 3;
        c.method = i == 4 ? PLMM_METHOD_ALTERNATE : c.method;
        c.privacy.adaptive = i == 5 ? .5 : 0;
        CHECK(node_privacy_check(&c, &err) == PLMM_ERR_CONFIG && strstr(err.msg, says[i]) != NULL &&
                  strstr(err.msg, "privacy.tree is 4") != NULL,
              "%s: %s", says[i], err.msg);
    }
}

/* The clip follows the noised bits, across processes, and costs what its bit adds. */
static void test_adaptive(node *n)
{
    static uint32_t sum[502];
    plmm_error err = {0};
    plmm_release with, without;
    n->config = sane();
    n->config.clip = 2;
    n->config.privacy.adaptive = .5;
    n->config.privacy.adaptive_rate = .2;
    CHECK(node_privacy_check(&n->config, &err) == PLMM_OK, "%s", err.msg);
    double clip = 2;
    for (uint32_t round = 1; round <= 4; round++) {
        plmm_round_params p = params_of(&n->config, round, 1), q = p;
        CHECK(node_privacy_prepare(n, round, &p, &err) == PLMM_OK, "%s", err.msg);
        CHECK(plmm_round_params_check(&p, &err) == PLMM_OK, "%s", err.msg);
        CHECK(p.clip_bit == 1 && p.clip == clip, "round %u: clip %g, not %g", round, p.clip, clip);
        plmm_encoding e = plmm_round_encoding(&p);
        uint32_t a = plmm_encoding_clip_amplitude(&e);
        uint32_t within = round == 1 ? 10 : 3; /* of ten */
        sum[500] = (2 * within - 10) * a & ((UINT32_C(1) << p.ring_bits) - 1);
        double next = node_privacy_next_clip(n, &p, sum, 10);
        clip *= exp(-.2 * (within / 10. - .5));
        CHECK(fabs(next - clip) < 1e-9 * clip, "round %u: %g, not %g", round, next, clip);
        plmm_round_release(&with, &p);
        q = p;
        q.clip_bit = 0;
        plmm_round_release(&without, &q);
        CHECK(with.l2 > without.l2 && with.dim == without.dim + 1, "the bit is accounted");
        CHECK(node_privacy_keep_clip(n, next, &err) == PLMM_OK, "%s", err.msg);
        clip = next;
        reopen(n);
    }
    n->config.clip = 5;
    plmm_round_params p = params_of(&n->config, 5, 1);
    CHECK(node_privacy_prepare(n, 5, &p, &err) == PLMM_OK && p.clip == 5,
          "another vector.clip begins anew: %g", p.clip);
    n->config.privacy.adaptive = 0;
    p = params_of(&n->config, 5, 1);
    CHECK(node_privacy_prepare(n, 5, &p, &err) == PLMM_OK && p.clip == 1 && p.clip_bit == 0 &&
              node_privacy_next_clip(n, &p, sum, 10) == 1,
          "it stays");
    n->config.privacy.adaptive = .5;
    CHECK(plmm_node_set(n->store, "privacy.clip", "5 -1", &err) == PLMM_OK, "%s", err.msg);
    CHECK(node_privacy_prepare(n, 5, &p, &err) == PLMM_ERR_FORMAT, "damaged");
    n->config.privacy.noise = PLMM_NOISE_NONE;
    CHECK(node_privacy_check(&n->config, &err) == PLMM_ERR_CONFIG, "%s", err.msg);
}

int main(void)
{
    node n = {.config = sane()};
    char path[128];
    if (mkdtemp(dir) == NULL) {
        return EXIT_FAILURE;
    }
    reopen(&n);
    test_trees(&n);
    test_new_trees(&n);
    test_tree_refused();
    plmm_error err = {0};
    plmm_node_close(n.store);
    n.store = NULL;
    (void)snprintf(path, sizeof path, "%s/state.db", dir);
    CHECK(plmm_path_remove(path, &err) == PLMM_OK, "%s", err.msg);
    n.config = sane();
    reopen(&n);
    test_adaptive(&n);
    plmm_node_close(n.store);
    CHECK(plmm_path_remove(path, &err) == PLMM_OK, "%s", err.msg);
    n.config = sane();
    n.store = NULL;
    reopen(&n);
    test_budget(&n);
    test_others(&n);
    plmm_node_close(n.store);
    CHECK(plmm_path_remove(dir, &err) == PLMM_OK, "%s", err.msg);
    return plmm_test_end();
}
