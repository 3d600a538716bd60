/* The simulator with one-shot epochs: a sealed roster serves the rounds that follow, through dropouts,
 * crashes of both sides and bad links; sums are exact to the bit, threads change nothing, and an epoch
 * ends when it is old or when too few of its devices come. Claim O5. */
#include "small_sim.h"

#include "plmm/alloc.h"
#include "plmm/file.h"

#include <unistd.h>

static char dir[] = "/tmp/plmm-test-epochs-XXXXXX";

static void oneshot(small_sim *s)
{
    static const char *const sets[] = {"experts=medicine",   "world.devices=44",
                                       "world.dialogues=40", "select.before=1",
                                       "seeds=[1]",          "rounds=5",
                                       "train.steps=1",      "secagg.protocol=oneshot",
                                       "secagg.mask=kahe",   "secagg.cohort=34",
                                       "secagg.n_min=12",    "secagg.gamma=0.05",
                                       "secagg.delta=0.15",  "secagg.epoch_rounds=3",
                                       "score.every=100"};
    for (size_t i = 0; i < COUNT(sets); i++) {
        small_sim_set(s, sets[i]);
    }
}

/* Ages of the rounds' rosters, and that every finished sum is exact. */
static void check_rounds(const plmm_run *run, const uint32_t *epoch, size_t n)
{
    CHECK(run->n_rounds == n, "%zu rounds", run->n_rounds);
    for (size_t i = 0; i < run->n_rounds && i < n; i++) {
        const plmm_round_record *r = &run->rounds[i];
        CHECK(r->completed && r->sum_exact, "round %u: %s", r->round, r->reason);
        CHECK(r->epoch == epoch[i], "round %u is number %u of its epoch", r->round, r->epoch);
    }
}

/* Nothing goes wrong: three rounds to a seal. A device that goes on sends and gets less, since it has
 * no keys to advertise, and waits for no seal. */
static void calm(small_sim *s)
{
    static const uint32_t threes[] = {0, 1, 2, 0, 1}, sealed[] = {0, 0, 0, 0, 0};
    plmm_run *run = small_sim_run(s, 1, false);
    if (run != NULL) {
        check_rounds(run, threes, 5);
        const plmm_round_record *r = run->rounds;
        CHECK(r[1].frames + 2 * r[1].cohort <= r[0].frames && r[1].bytes_down < r[0].bytes_down &&
                  r[1].phase_ms[PLMM_PHASE_ADVERTISE] == 0,
              "%u frames after %u", r[1].frames, r[0].frames);
        CHECK(r[1].cohort == r[0].cohort && r[1].neighbours == r[0].neighbours, "another roster");
    }
    plmm_run_free(run);
    small_sim_set(s, "secagg.epoch_rounds=1");
    run = small_sim_run(s, 1, false);
    if (run != NULL) {
        check_rounds(run, sealed, 5);
    }
    plmm_run_free(run);
    small_sim_set(s, "secagg.epoch_rounds=3");
    small_sim_set(s, "secagg.channels=0"); /* nobody remembers a key: nothing to go on with */
    run = small_sim_run(s, 1, false);
    if (run != NULL) {
        check_rounds(run, sealed, 5);
    }
    plmm_run_free(run);
    small_sim_set(s, "secagg.channels=64");
}

/* Who drops out of a round is there again in the next one of its epoch. */
static void come_back(small_sim *s)
{
    small_sim_set(s, "faults.drop=0,0,0.04,0,0");
    plmm_run *run = small_sim_run(s, 1, false);
    uint32_t gone = 0;
    for (size_t i = 0; run != NULL && i < run->n_rounds; i++) {
        const plmm_round_record *r = &run->rounds[i];
        gone += r->dropped[2];
        CHECK(r->completed && r->sum_exact, "round %u: %s", r->round, r->reason);
        CHECK(r->epoch == 0 || r->invited == r->cohort, "round %u: %u of %u came", r->round,
              r->invited, r->cohort);
        CHECK(r->survivors + r->dropped[2] == r->cohort, "round %u: %u of %u, %u are gone",
              r->round, r->survivors, r->cohort, r->dropped[2]);
    }
    CHECK(gone > 0, "nobody dropped out");
    plmm_run_free(run);
}

static void compare(const plmm_run *a, const plmm_run *b)
{
    char path[2][128];
    uint8_t *csv[2] = {NULL, NULL};
    size_t len[2] = {0, 0};
    const plmm_run *run[] = {a, b};
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(path[i], sizeof path[i], "%s/%zu.csv", dir, i);
        CHECK(plmm_run_write_csv(run[i], path[i], NULL) == PLMM_OK &&
                  plmm_file_read(path[i], 1 << 24, &csv[i], &len[i], NULL) == PLMM_OK,
              "%s", path[i]);
    }
    CHECK(len[0] == len[1] && csv[0] != NULL && csv[1] != NULL &&
              memcmp(csv[0], csv[1], len[0]) == 0,
          "threads change the result");
    plmm_free(csv[0]);
    plmm_free(csv[1]);
}

/* Everything goes wrong. Rounds abort if many drop, and a roster that gave no sum is not used
 * again. */
static void storm(small_sim *s, const char *drop, uint32_t go_on, uint32_t no_sum)
{
    small_sim_set(s, "seeds=[1,2,3]");
    small_sim_set(s, "rounds=8");
    small_sim_set(s, "secagg.epoch_rounds=6");
    small_sim_set(s, "secagg.delta=0.25");
    small_sim_set(s, drop);
    small_sim_set(s, "faults.crash=0.1,0.1,0.1,0.1,0.1");
    small_sim_set(s, "faults.aggregator_crash=0.5");
    small_sim_set(s, "faults.lose=0.05");
    small_sim_set(s, "faults.duplicate=0.1");
    small_sim_set(s, "faults.reorder=0.1");
    plmm_run *one = small_sim_run(s, 1, false);
    plmm_run *two = small_sim_run(s, 2, false);
    uint32_t went_on = 0, lost = 0, restarts = 0;
    for (size_t i = 0; one != NULL && i < one->n_rounds; i++) {
        const plmm_round_record *r = &one->rounds[i], *before = i > 0 ? r - 1 : r;
        bool first = i == 0 || before->seed_index != r->seed_index;
        CHECK(!r->completed || (r->sum_checked && r->sum_exact), "round %u is not exact", r->round);
        CHECK(r->epoch == 0 || (!first && before->completed && r->epoch == before->epoch + 1),
              "round %u goes on with a roster that gave no sum", r->round);
        CHECK(first || !before->completed || r->epoch != 0 || before->epoch >= 4 ||
                  r->cohort != before->cohort,
              "round %u was sealed for nothing", r->round);
        went_on += r->completed && r->epoch > 0;
        lost += !r->completed;
        restarts += r->restarts;
    }
    (void)fprintf(stderr, "%s: %u rounds went on, %u gave no sum, %u restarts\n", drop, went_on,
                  lost, restarts);
    CHECK(went_on >= go_on && lost >= no_sum && restarts > 10, "no storm");
    if (one != NULL && two != NULL) {
        compare(one, two);
    }
    plmm_run_free(one);
    plmm_run_free(two);
}

static void stormy(small_sim *s)
{
    storm(s, "faults.drop=0.03,0.03,0.05,0.03,0.03", 12, 0);
    storm(s, "faults.drop=0.03,0,0.05,0.1,0.1", 10, 3);
}

/* Devices are down for longer than a round: an epoch that too few are left of gives way to a new one at
 * once, of those who are there. */
static void too_few(small_sim *s)
{
    small_sim_set(s, "seeds=[1,2,3,4,5,6]");
    small_sim_set(s, "rounds=3");
    small_sim_set(s, "secagg.epoch_rounds=6");
    small_sim_set(s, "faults.crash=0,0,0.1,0.06,0.06");
    small_sim_set(s, "faults.restart_ms=5000000");
    plmm_run *run = small_sim_run(s, 1, false);
    uint32_t sealed = 0;
    for (size_t i = 1; run != NULL && i < run->n_rounds; i++) {
        const plmm_round_record *r = &run->rounds[i], *before = r - 1;
        CHECK(!r->completed || r->sum_exact, "round %u is not exact", r->round);
        CHECK(r->invited <= r->cohort || r->epoch == 0, "round %u: %u of %u", r->round, r->invited,
              r->cohort);
        sealed += before->seed_index == r->seed_index && before->completed && r->completed &&
                  r->epoch == 0;
    }
    CHECK(sealed > 0, "no epoch ran out of devices");
    plmm_run_free(run);
}

/* Groups go on together, or are sealed together. */
static void grouped(small_sim *s)
{
    small_sim_set(s, "world.devices=96");
    small_sim_set(s, "rounds=3");
    small_sim_set(s, "secagg.groups=2");
    small_sim_set(s, "secagg.roster_min=20");
    small_sim_set(s, "secagg.epoch_rounds=2");
    plmm_run *run = small_sim_run(s, 2, false);
    CHECK(run == NULL || run->n_rounds == 6, "three rounds of two groups");
    for (size_t i = 0; run != NULL && i < run->n_rounds; i++) {
        const plmm_round_record *r = &run->rounds[i];
        CHECK(r->completed && r->sum_exact, "round %u: %s", r->round, r->reason);
        CHECK(r->epoch == (i / 2) % 2 && r->group == i % 2, "round %u, group %u: %u", r->round,
              r->group, r->epoch);
    }
    plmm_run_free(run);
}

/* The same devices in each round of an epoch: no epsilon is amplified by who was drawn, though only
 * some are. */
static void not_amplified(small_sim *s)
{
    small_sim_set(s, "world.devices=96");
    small_sim_set(s, "rounds=2");
    small_sim_set(s, "privacy.noise=skellam");
    small_sim_set(s, "privacy.multiplier=1");
    small_sim_set(s, "privacy.epsilon=0");
    small_sim_set(s, "privacy.adversary=models");
    small_sim_set(s, "secagg.roster_min=14");
    plmm_run *run = small_sim_run(s, 1, false);
    for (size_t i = 0; run != NULL && i < run->n_rounds; i++) {
        const plmm_round_record *r = &run->rounds[i];
        CHECK(r->completed && r->sum_exact && r->epoch == i, "round %u: %s", r->round, r->reason);
        CHECK(r->epsilon > 0 && r->epsilon_models >= r->epsilon, "round %u: %g, %g", r->round,
              r->epsilon, r->epsilon_models);
    }
    plmm_run_free(run);
}

static void with(void (*test)(small_sim *))
{
    small_sim s;
    small_sim_open(&s);
    oneshot(&s);
    test(&s);
    small_sim_close(&s);
}

int main(void)
{
    CHECK(mkdtemp(dir) != NULL, "a directory for files");
    long live = plmm_alloc_live();
    with(calm);
    with(come_back);
    with(stormy);
    with(too_few);
    with(grouped);
    with(not_amplified);
    CHECK(plmm_alloc_live() == live, "%ld blocks leaked", plmm_alloc_live() - live);
    CHECK(plmm_path_remove(dir, NULL) == PLMM_OK, "clean up");
    return plmm_test_end();
}
