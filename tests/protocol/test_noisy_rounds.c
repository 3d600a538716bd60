/* Rounds with differential privacy: the sum is to the bit that of the survivors' noisy vectors, less
 * what was taken out again; its noise is what was agreed, whoever drops; devices keep to their own
 * budgets. Claims D1, D3, D4, D5. */
#include "fleet.h"

#include <math.h>

static fleet *noisy(uint32_t n, uint32_t mode, uint32_t levels, uint64_t seed)
{
    fleet *f = fleet_new(n, FLEET_LENGTH_MAX, seed);
    plmm_round_params *p = &f->cfg.params;
    p->weight_max = 1;
    p->rotate = 1;
    p->clip_bit = 1;
    p->quant_bits = 8;
    p->n_min = n / 2;
    f->cfg.roster_min = n / 2;
    p->noise = PLMM_NOISE_SKELLAM;
    p->noise_mode = mode;
    p->noise_levels = levels;
    p->noise_units = 16 * 200 * 200;
    plmm_encoding e = plmm_round_encoding(p);
    p->ring_bits = plmm_encoding_ring_bits(&e);
    return f;
}

static void test_exact(void)
{
    static const struct {
        uint32_t mode, levels, quitters, step;
    } row[] = {
        {PLMM_NOISE_DISTRIBUTED, 0, 0, 0},
        {PLMM_NOISE_DISTRIBUTED, 10, 0, 0},
        {PLMM_NOISE_DISTRIBUTED, 10, 3, PLMM_MSG_MASKED},
        {PLMM_NOISE_DISTRIBUTED, 4, 2, PLMM_MSG_SHARES},
        {PLMM_NOISE_DISTRIBUTED, 10, 3, PLMM_MSG_REVEAL},
        {PLMM_NOISE_CENTRAL, 0, 2, PLMM_MSG_MASKED},
        {PLMM_NOISE_LOCAL, 0, 1, PLMM_MSG_MASKED},
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        fleet *f = noisy(20, row[i].mode, row[i].levels, 10 + i);
        for (uint32_t q = 0; q < row[i].quitters; q++) {
            f->d[7 * q % 20].quits = row[i].step;
        }
        fleet_start(f);
        fleet_run(f);
        CHECK(f->finished, "row %zu: %s", i, f->text);
        bool in_sum = row[i].step == 0 || row[i].step == PLMM_MSG_REVEAL;
        CHECK(f->in_sum == 20 - (in_sum ? 0 : row[i].quitters), "row %zu: %u", i, f->in_sum);
        fleet_check_sum(f);
        CHECK(f->d[1].cfg.spent.releases == 1, "row %zu: the device counts it", i);
        fleet_free(f);
    }
}

/* The noise in the sum: what came out less what the vectors are without noise. */
static void noise_in(const fleet *f, int64_t noise[FLEET_LENGTH_MAX + 2])
{
    uint32_t lanes[FLEET_LENGTH_MAX + 2], n;
    int64_t plain[FLEET_LENGTH_MAX + 2] = {0};
    uint64_t ids[FLEET_MAX];
    plmm_round_params p = *plmm_agg_round_params(f->agg);
    plmm_hash h;
    plmm_error err;
    plmm_encoding e = plmm_round_encoding(&p);
    size_t all = plmm_round_lanes(&p);
    plmm_round_params_hash(&h, &p);
    plmm_agg_round_survivors(f->agg, ids, &n);
    for (uint32_t s = 0; s < n; s++) {
        const fleet_device *d = &f->d[fleet_place(f, ids[s])];
        plmm_seed root, rounding;
        plmm_kdf(root.b, d->seed.b, "round.rt", h.b, sizeof h.b);
        plmm_seed_derive(&rounding, &root, "rounding", 0);
        CHECK(plmm_encode_int((int32_t *)lanes, NULL, &e, d->delta, f->length, 1, NULL, &rounding,
                              &err) == PLMM_OK,
              "%s", err.msg);
        for (size_t i = 0; i < all; i++) {
            plain[i] += (int32_t)lanes[i];
        }
    }
    for (size_t i = 0; i < all; i++) {
        noise[i] = plmm_lane_signed(f->result[i], p.ring_bits) - plain[i];
    }
}

static double noise_squares(const fleet *f)
{
    int64_t noise[FLEET_LENGTH_MAX + 2];
    size_t all = plmm_round_lanes(&f->cfg.params);
    double sum = 0;
    noise_in(f, noise);
    for (size_t i = 0; i < all; i++) {
        sum += (double)noise[i] * (double)noise[i];
    }
    return sum / (double)all;
}

/* Of 20 devices A = 3 may be corrupt: the survivors together put in units * s / (s - 3), whatever
 * s is, so that the honest ones alone make the target. */
static void test_variance(void)
{
    for (uint32_t quitters = 0; quitters <= 4; quitters += 2) {
        double sum = 0, want = 0;
        for (uint64_t seed = 0; seed < 12; seed++) {
            fleet *f = noisy(20, PLMM_NOISE_DISTRIBUTED, 10, 100 + seed);
            for (uint32_t q = 0; q < quitters; q++) {
                f->d[(seed + 3 * q) % 20].quits = PLMM_MSG_MASKED;
            }
            fleet_start(f);
            fleet_run(f);
            CHECK(f->finished && f->in_sum == 20 - quitters, "%s", f->text);
            sum += noise_squares(f);
            want += 200.0 * 200.0 * f->in_sum / (f->in_sum - 3);
            fleet_free(f);
        }
        /* 12 x 65 draws: the mean square has deviation 5 % */
        CHECK(sum / want > .8 && sum / want < 1.2, "%u dropped: %g of %g", quitters, sum, want);
    }
}

/* A device refuses the round that would take it beyond its budget, by itself, and others go on. */
static void test_budget(void)
{
    fleet *f = noisy(20, PLMM_NOISE_DISTRIBUTED, 10, 5);
    plmm_account cost;
    plmm_round_cost(&cost, &f->cfg.params);
    double once = plmm_account_epsilon(&cost, PLMM_ADVERSARY_SERVER, 1e-6);
    CHECK(once > 0 && once < 1000, "%g", once);
    f->d[3].cfg.policy.budget.epsilon = once * .99;
    f->d[4].cfg.policy.budget.epsilon = once * 1.01;
    f->d[5].cfg.policy.budget.epsilon = once * 1.01;
    plmm_account_add(&f->d[5].cfg.spent, &cost, 1);
    fleet_start(f);
    fleet_run(f);
    CHECK(f->finished && f->in_sum == 18, "%u in the sum: %s", f->in_sum, f->text);
    fleet_check_sum(f);
    CHECK(f->d[3].aborted == PLMM_ABORT_POLICY && f->d[5].aborted == PLMM_ABORT_POLICY, "refused");
    CHECK(strstr(f->d[5].text, "costs this device too much") != NULL, "%s", f->d[5].text);
    CHECK(f->d[4].finished && f->d[4].cfg.spent.releases == 1, "within its budget");
    CHECK(f->d[3].cfg.spent.releases == 0, "what it refused costs nothing");
    fleet_free(f);
}

/* A crash after the cost is in the account: what is replayed was judged before. */
static void test_budget_crash(void)
{
    for (uint32_t at = 1; at < 200; at += 9) {
        fleet *f = noisy(8, PLMM_NOISE_DISTRIBUTED, 2, 6);
        plmm_account cost;
        plmm_round_cost(&cost, &f->cfg.params);
        for (uint32_t i = 0; i < 8; i++) {
            f->d[i].cfg.policy.budget.epsilon =
                1.01 * plmm_account_epsilon(&cost, PLMM_ADVERSARY_SERVER, 1e-6);
        }
        f->crash_at = at;
        f->crash_before = at % 2 == 0;
        fleet_start(f);
        fleet_run(f);
        CHECK(f->finished, "crash at %u: %s", at, f->text);
        fleet_check_sum(f);
        for (uint32_t i = 0; i < 8; i++) {
            CHECK(f->d[i].cfg.spent.releases == 1, "crash at %u: device %u", at, i);
        }
        fleet_free(f);
    }
}

/* ---- correlated noise: a tree of four rounds ---- */

enum { LEAVES = 4, TREE_N = 8 };

static fleet *leaf(uint32_t at, uint32_t crash_at)
{
    fleet *f = noisy(TREE_N, PLMM_NOISE_CENTRAL, 0, 40 + at);
    plmm_round_params *p = &f->cfg.params;
    p->rotate = p->clip_bit = 0;
    p->noise_tree = LEAVES;
    p->noise_leaf = at;
    memset(f->cfg.tree.b, 0x5c, sizeof f->cfg.tree.b);
    plmm_encoding e = plmm_round_encoding(p);
    p->ring_bits = plmm_encoding_ring_bits(&e);
    f->crash_at = crash_at;
    f->d[3].quits =
        at == 2 ? PLMM_MSG_MASKED : 0; /* whoever is in the sum: the noise is the same */
    fleet_start(f);
    fleet_run(f);
    CHECK(f->finished, "leaf %u, crash at %u: %s", at, crash_at, f->text);
    fleet_check_sum(f);
    return f;
}

/* After four rounds all that is left of their noise is that of the one node over all four; a crash
 * at any point, another attempt or a repetition draws the same again. */
static void test_tree(void)
{
    int64_t total[FLEET_LENGTH_MAX] = {0}, one[FLEET_LENGTH_MAX + 2];
    int32_t root[FLEET_LENGTH_MAX] = {0};
    for (uint32_t at = 0; at < LEAVES; at++) {
        fleet *f = leaf(at, 0);
        noise_in(f, one);
        for (uint32_t i = 0; i < FLEET_LENGTH_MAX; i++) {
            total[i] += one[i];
        }
        for (uint32_t crash = 1; crash <= f->persists; crash += 5) {
            fleet *again = leaf(at, crash);
            CHECK(again->crashes == 1 && memcmp(again->result, f->result, sizeof f->result) == 0,
                  "leaf %u, crash at %u: another sum", at, crash);
            fleet_free(again);
        }
        fleet_free(f);
    }
    fleet *f = leaf(0, 0);
    plmm_seed node;
    plmm_error err = {0};
    plmm_seed_derive(&node, &f->cfg.tree, "noise.tr", UINT64_C(2) << 32);
    CHECK(plmm_noise_add(root, FLEET_LENGTH_MAX, PLMM_NOISE_SKELLAM, f->cfg.params.noise_units,
                         f->cfg.params.stream, &node, &err) == PLMM_OK,
          "%s", err.msg);
    for (uint32_t i = 0; i < FLEET_LENGTH_MAX; i++) {
        CHECK(total[i] == root[i], "lane %u: %d is left, not %d", i, (int)total[i], root[i]);
    }
    fleet_free(f);
}

/* Without the seed there is no round; and who was in the tree is told to come another time. */
static void test_tree_guards(void)
{
    plmm_agg_round *m = NULL;
    plmm_error err = {0};
    fleet *f = noisy(TREE_N, PLMM_NOISE_CENTRAL, 0, 70);
    uint64_t resting[] = {900, 1007, 1021, 5000}; /* devices 1 and 3 */
    f->cfg.params.rotate = f->cfg.params.clip_bit = 0;
    f->cfg.params.noise_tree = LEAVES;
    plmm_encoding e = plmm_round_encoding(&f->cfg.params);
    f->cfg.params.ring_bits = plmm_encoding_ring_bits(&e);
    CHECK(plmm_agg_round_new(&m, &f->cfg, &err) == PLMM_ERR_RANGE &&
              strstr(err.msg, "no seed of the tree") != NULL,
          "%s", err.msg);
    f->cfg.tree.b[7] = 1;
    f->cfg.resting = resting;
    f->cfg.resting_n = COUNT(resting);
    fleet_start(f);
    fleet_run(f);
    CHECK(f->finished && f->in_sum == TREE_N - 2, "%u in the sum: %s", f->in_sum, f->text);
    fleet_check_sum(f);
    CHECK(f->d[1].aborted == PLMM_ABORT_NOT_SELECTED && f->d[3].aborted == PLMM_ABORT_NOT_SELECTED,
          "told %d %d", (int)f->d[1].aborted, (int)f->d[3].aborted);
    CHECK(f->d[0].finished && f->d[2].finished, "the others took part");
    fleet_free(f);
}

int main(void)
{
    test_tree();
    test_tree_guards();
    test_exact();
    test_variance();
    test_budget();
    test_budget_crash();
    return plmm_test_end();
}
