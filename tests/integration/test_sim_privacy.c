/* The simulator with differential privacy: sums of noisy vectors exact to the bit through dropouts and
 * crashes, an expert that stops before its budget is exceeded, devices that leave it before theirs is,
 * a clip that follows the norms, and a report that names unit and adversary. Claims D2, D4, D6. */
#include "small_sim.h"

#include <math.h>
#include <unistd.h>

static void noisy(small_sim *s, const char *noise, const char *mode)
{
    char set[64];
    (void)snprintf(set, sizeof set, "privacy.noise=%s", noise);
    small_sim_set(s, set);
    (void)snprintf(set, sizeof set, "privacy.mode=%s", mode);
    small_sim_set(s, set);
    small_sim_set(s, "privacy.epsilon=20");
    small_sim_set(s, "privacy.adversary=server");
    small_sim_set(s, "privacy.multiplier=0");
    small_sim_set(s, "privacy.levels=5");
    small_sim_set(s, "privacy.device_epsilon=0");
    small_sim_set(s, "privacy.adaptive=0");
    small_sim_set(s, "world.devices=12");
    small_sim_set(s, "rounds=2");
}

/* Of the rounds of all seeds: how many completed; and that each is exact and within the budget. */
static unsigned sound(const plmm_run *run, double budget)
{
    unsigned completed = 0;
    double before = 0;
    for (size_t i = 0; i < run->n_rounds; i++) {
        const plmm_round_record *r = &run->rounds[i];
        completed += r->completed;
        CHECK(!r->completed || (r->sum_checked && r->sum_exact), "round %u is not exact", r->round);
        CHECK(!(r->epsilon > budget), "round %u: %g is spent of %g", r->round, r->epsilon, budget);
        bool same = i > 0 && r[-1].seed_index == r->seed_index && r[-1].expert == r->expert;
        CHECK(!same || isnan(r->epsilon) || r->epsilon >= before, "an account never shrinks");
        before = r->epsilon;
    }
    return completed;
}

static const char *fact(const plmm_run *run, const char *key)
{
    for (size_t i = 0; i < run->n_facts; i++) {
        if (strcmp(run->facts[i].key, key) == 0) {
            return run->facts[i].value;
        }
    }
    return "";
}

static void test_modes(small_sim *s)
{
    static const struct {
        const char *noise, *mode, *adversary;
    } row[] = {{"skellam", "distributed", "server"},
               {"skellam", "central", "models"},
               {"skellam", "local", "server"},
               {"gaussian", "distributed", "server"}};
    for (size_t i = 0; i < COUNT(row); i++) {
        char set[64];
        noisy(s, row[i].noise, row[i].mode);
        (void)snprintf(set, sizeof set, "privacy.adversary=%s", row[i].adversary);
        small_sim_set(s, set);
        small_sim_set(s, strcmp(row[i].noise, "gaussian") == 0 ? "privacy.levels=0"
                                                               : "privacy.levels=5");
        plmm_run *run = small_sim_run(s, 2, false);
        CHECK(sound(run, 20) >= 4, "%s %s: %u rounds", row[i].noise, row[i].mode, sound(run, 20));
        const char *server = fact(run, "spent, against the aggregator");
        const char *models = fact(run, "spent, versions");
        CHECK(strstr(server, "unit: one device") != NULL && strstr(server, "assuming") != NULL,
              "%s", server);
        CHECK((strstr(server, "unbounded") != NULL) == (strcmp(row[i].mode, "central") == 0),
              "%s: %s", row[i].mode, server);
        CHECK(strstr(models, "unbounded") == NULL && strstr(models, "versions only") != NULL, "%s",
              models);
        plmm_run_free(run);
    }
}

static void test_faults(small_sim *s)
{
    noisy(s, "skellam", "distributed");
    small_sim_set(s, "rounds=3");
    small_sim_set(s, "secagg.gamma=0.05");
    small_sim_set(s, "secagg.delta=0.3");
    small_sim_set(s, "faults.drop=0.03,0.03,0.05,0.03,0.05");
    small_sim_set(s, "faults.crash=0.05,0.05,0.1,0.1,0.1");
    small_sim_set(s, "faults.aggregator_crash=0.5");
    small_sim_set(s, "faults.lose=0.05");
    plmm_run *run = small_sim_run(s, 2, false);
    CHECK(sound(run, 20) >= 4, "%u rounds", sound(run, 20));
    plmm_run_free(run);
    small_sim_set(s, "faults.drop=0,0,0,0,0");
    small_sim_set(s, "faults.crash=0,0,0,0,0");
    small_sim_set(s, "faults.aggregator_crash=0");
    small_sim_set(s, "faults.lose=0");
}

/* A multiplier that spends the budget in a few rounds: the rest does not begin. */
static void test_budget(small_sim *s)
{
    noisy(s, "skellam", "distributed");
    small_sim_set(s, "rounds=5");
    small_sim_set(s, "privacy.multiplier=2");
    small_sim_set(s, "privacy.epsilon=4.5");
    plmm_run *run = small_sim_run(s, 2, false);
    unsigned completed = sound(run, 4.5), stopped = 0;
    for (size_t i = 0; i < run->n_rounds; i++) {
        const plmm_round_record *r = &run->rounds[i];
        stopped += strstr(r->reason, "privacy budget") != NULL;
        CHECK(!r->completed || r->slot < 5, "a round after the budget");
    }
    CHECK(completed >= 4 && stopped >= 4, "%u completed, %u stopped", completed, stopped);
    plmm_run_free(run);
    /* The same, but each device for itself: the aggregator would go on. */
    small_sim_set(s, "privacy.epsilon=0");
    small_sim_set(s, "privacy.device_epsilon=4.5");
    run = small_sim_run(s, 2, false);
    completed = sound(run, INFINITY);
    const char *own = fact(run, "spent, most of any device");
    CHECK(completed >= 4, "%u completed", completed);
    CHECK(strncmp(own, "epsilon ", 8) == 0 && strtod(own + 8, NULL) > 2 &&
              strtod(own + 8, NULL) <= 4.5,
          "%s", own);
    plmm_run_free(run);
}

static void test_adaptive(small_sim *s)
{
    noisy(s, "skellam", "distributed");
    small_sim_set(s, "privacy.epsilon=0");
    small_sim_set(s, "privacy.multiplier=0.02"); /* hardly any noise */
    small_sim_set(s, "privacy.adaptive=0.5");
    plmm_run *run = small_sim_run(s, 2, false);
    CHECK(sound(run, INFINITY) >= 4, "%u rounds", sound(run, INFINITY));
    for (size_t i = 0; i < run->n_rounds; i++) {
        const plmm_round_record *r = &run->rounds[i];
        if (r->slot == 1) {
            CHECK(r->clip == s->cfg.secagg.clip, "slot 1: clip %g", r->clip);
        } else if (r[-1].completed) {
            double want = r[-1].clip * exp(-.2 * (1 - r[-1].clipped - .5));
            CHECK(fabs(r->clip - want) < .02 * want,
                  "slot %u: clip %g after %g of which %g were above, not %g", r->slot, r->clip,
                  r[-1].clip, r[-1].clipped, want);
        }
    }
    plmm_run_free(run);
}

/* Correlated noise: a tree of two rounds is charged once, at its first; its two rounds have no device
 * in common, by the devices' own accounts; sums are exact, crashes and all, and the third tree is beyond
 * the budget. */
static void test_tree(small_sim *s)
{
    noisy(s, "gaussian", "central");
    small_sim_set(s, "privacy.adversary=models");
    small_sim_set(s, "privacy.levels=0");
    small_sim_set(s, "privacy.tree=2");
    small_sim_set(s, "train.method=ffa");
    small_sim_set(s, "world.devices=30");
    small_sim_set(s, "secagg.cohort=8");
    small_sim_set(s, "rounds=4");
    small_sim_set(s, "faults.aggregator_crash=0.5");
    plmm_run *run = small_sim_run(s, 2, false);
    CHECK(sound(run, INFINITY) >= 12, "%u rounds of 16", sound(run, INFINITY));
    double before = 0;
    for (size_t i = 0; i < run->n_rounds; i++) {
        const plmm_round_record *r = &run->rounds[i];
        bool same = i > 0 && r[-1].seed_index == r->seed_index && r[-1].expert == r->expert;
        CHECK(!(r->epsilon_models > 20) && isnan(r->epsilon), "round %u: %g", r->round,
              r->epsilon_models);
        CHECK(!same || !r->completed || !r[-1].completed || r->round % 2 == 1 ||
                  r->epsilon_models == before,
              "round %u: a tree is charged once (%g, %g)", r->round, before, r->epsilon_models);
        before = r->epsilon_models;
    }
    const char *most = fact(run, "spent, versions"), *tree = fact(run, "tree of noise");
    CHECK(strstr(most, "a tree of noise over 2 rounds") != NULL, "%s", most);
    CHECK(strstr(tree, "at most 2 of its nodes") != NULL, "%s", tree);
    /* A device in both rounds of a tree would have charged itself twice for it. */
    const char *own = fact(run, "spent, most of any device");
    double device = strtod(own + 8, NULL);
    CHECK(device > 1 && device <= strtod(strstr(most, "= (") + 3, NULL), "%s of %s", own, most);
    plmm_run_free(run);
    small_sim_set(s, "faults.aggregator_crash=0");
    small_sim_set(s, "rounds=6");
    small_sim_set(s, "privacy.epsilon=6");
    small_sim_set(s, "privacy.multiplier=1.6"); /* two trees */
    run = small_sim_run(s, 2, false);
    unsigned stopped = 0;
    for (size_t i = 0; i < run->n_rounds; i++) {
        stopped += strstr(run->rounds[i].reason, "privacy budget") != NULL;
        CHECK(!(run->rounds[i].epsilon_models > 6), "%g", run->rounds[i].epsilon_models);
    }
    CHECK(stopped >= 4, "%u stopped", stopped);
    plmm_run_free(run);
    small_sim_set(s, "privacy.tree=0");
    small_sim_set(s, "train.method=alternate");
    small_sim_set(s, "secagg.cohort=10");
}

int main(void)
{
    small_sim s = {0};
    small_sim_open(&s);
    test_modes(&s);
    test_faults(&s);
    test_budget(&s);
    test_adaptive(&s);
    test_tree(&s);
    small_sim_close(&s);
    return plmm_test_end();
}
