/* The whole simulator on a tiny fleet: equal bytes for equal seeds whatever the threads, sums that
 * are exact to the bit through every fault, and a checker that notices when they are not. */
#include "small_sim.h"

#include "plmm/alloc.h"
#include "plmm/file.h"

#include <math.h>
#include <unistd.h>

static char dir[] = "/tmp/plmm-test-sim-XXXXXX";

static void faults_on(small_sim *s)
{
    small_sim_set(s, "faults.drop=0.05,0.05,0.05,0.03,0.03");
    small_sim_set(s, "faults.crash=0.1,0.1,0.1,0.1,0.1");
    small_sim_set(s, "faults.aggregator_crash=0.5");
    small_sim_set(s, "faults.lose=0.05");
    small_sim_set(s, "faults.duplicate=0.1");
    small_sim_set(s, "faults.reorder=0.1");
    small_sim_set(s, "secagg.gamma=0.05");
    small_sim_set(s, "secagg.delta=0.3");
}

static uint8_t *dump(const plmm_run *run, const char *name, size_t *len)
{
    char path[256];
    plmm_error err = {0};
    uint8_t *data = NULL;
    *len = 0;
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    plmm_status rc = strcmp(name, "rounds.csv") == 0 ? plmm_run_write_csv(run, path, &err)
                     : strcmp(name, "run.db") == 0   ? plmm_run_write_db(run, path, &err)
                                                     : plmm_run_write_report(run, path, &err);
    CHECK(rc == PLMM_OK, "%s", err.msg);
    CHECK(plmm_file_read(path, 1 << 24, &data, len, &err) == PLMM_OK, "%s", err.msg);
    return data;
}

static void same_bytes(const plmm_run *a, const plmm_run *b)
{
    static const char *const names[] = {"rounds.csv", "run.db", "report.html"};
    for (size_t i = 0; i < COUNT(names); i++) {
        size_t la;
        size_t lb;
        uint8_t *x = dump(a, names[i], &la);
        uint8_t *y = dump(b, names[i], &lb);
        CHECK(la == lb && la > 0 && x != NULL && y != NULL && memcmp(x, y, la) == 0, "%s differs",
              names[i]);
        plmm_free(x);
        plmm_free(y);
    }
}

/* What must hold of every round, whatever befell it. */
static void sound(const plmm_run *run, unsigned completed_min)
{
    unsigned completed = 0;
    uint32_t gone = 0;
    for (size_t i = 0; i < run->n_rounds; i++) {
        const plmm_round_record *r = &run->rounds[i];
        completed += r->completed;
        CHECK(!r->completed || (r->sum_checked && r->sum_exact), "round %u of %s is not exact",
              r->round, run->experts[r->expert]);
        CHECK(!r->completed || (r->survivors >= 5 && r->survivors <= r->cohort),
              "round %u sums %u of %u", r->round, r->survivors, r->cohort);
        CHECK(r->completed || r->reason[0] != '\0', "an aborted round says why");
        CHECK(!r->completed || (r->bytes_up > 0 && r->bytes_down > 0 && r->bytes_version > 0 &&
                                r->end_ms > r->start_ms),
              "round %u cost nothing", r->round);
        for (unsigned k = 0; k < PLMM_STEPS; k++) {
            gone += r->dropped[k];
        }
    }
    CHECK(completed >= completed_min, "only %u rounds completed, %u dropouts", completed, gone);
    for (size_t i = 0; i < run->n_rounds && completed < completed_min; i++) {
        const plmm_round_record *r = &run->rounds[i];
        (void)fprintf(stderr, "seed %u %s round %u.%u: invited %u roster %u late %u: %s\n",
                      r->seed_index, run->experts[r->expert], r->round, r->attempt, r->invited,
                      r->cohort, r->late, r->reason);
    }
    for (size_t i = 0; i < run->n_scores; i++) {
        CHECK(isfinite(run->scores[i].nll) && run->scores[i].items > 0, "a score is missing");
    }
}

static void calm(small_sim *s)
{
    plmm_run *run = small_sim_run(s, 1, false);
    if (run != NULL) {
        sound(run, 8); /* 2 seeds, 2 experts, 2 rounds: nothing goes wrong */
        CHECK(run->n_scores == 2 * 2 * 2 * 3, "%zu scores", run->n_scores);
        plmm_summary m = plmm_run_summary(run, 0, 0);
        CHECK(m.nll_gain.lo > 0, "training does not lower the loss: %g", m.nll_gain.lo);
    }
    plmm_run_free(run);
}

static void stormy(small_sim *s)
{
    faults_on(s);
    plmm_run *one = small_sim_run(s, 1, false);
    plmm_run *two = small_sim_run(s, 2, false);
    if (one != NULL && two != NULL) {
        sound(one, 4);
        same_bytes(one, two);
        uint32_t gone = 0;
        uint32_t restarts = 0;
        for (size_t i = 0; i < one->n_rounds; i++) {
            restarts += one->rounds[i].restarts;
            for (unsigned k = 0; k < PLMM_STEPS; k++) {
                gone += one->rounds[i].dropped[k];
            }
        }
        CHECK(gone > 5 && restarts > 5, "%u dropouts and %u restarts are no storm", gone, restarts);
    }
    plmm_run_free(one);
    plmm_run_free(two);
}

/* A coarse quantiser with error feedback: sums stay exact through faults, threads change nothing, and
 * the second round is another than without it. */
static void fed_back(small_sim *s)
{
    faults_on(s);
    small_sim_set(s, "train.method=ffa");
    small_sim_set(s, "secagg.quant_bits=6");
    plmm_run *without = small_sim_run(s, 1, false);
    small_sim_set(s, "secagg.error_feedback=1");
    plmm_run *one = small_sim_run(s, 1, false);
    plmm_run *two = small_sim_run(s, 2, false);
    if (without != NULL && one != NULL && two != NULL) {
        sound(one, 4);
        same_bytes(one, two);
        bool differs = false;
        for (size_t i = 0; i < one->n_scores && one->n_scores == without->n_scores; i++) {
            differs = differs || one->scores[i].nll != without->scores[i].nll;
        }
        CHECK(differs, "feedback changes nothing");
    }
    plmm_run_free(without);
    plmm_run_free(one);
    plmm_run_free(two);
}

/* Rounds in groups: disjoint, each exact; and the groups in which a device lied differ from the
 * others by their length. */
static void grouped(small_sim *s)
{
    small_sim_set(s, "secagg.groups=2");
    small_sim_set(s, "secagg.cohort=9");
    small_sim_set(s, "secagg.roster_min=6");
    small_sim_set(s, "faults.lie=0.05");
    plmm_run *run = small_sim_run(s, 2, false);
    if (run == NULL) {
        return;
    }
    sound(run, 10);
    CHECK(run->n_rounds == 2 * 2 * 2 * 2, "%zu rounds", run->n_rounds);
    double honest = 0;
    double lying = HUGE_VAL;
    uint32_t liars = 0;
    for (size_t i = 0; i + 1 < run->n_rounds; i += 2) {
        const plmm_round_record *a = &run->rounds[i];
        CHECK(a->slot == a[1].slot && a->group == 0 && a[1].group == 1, "order");
        CHECK(a->survivors + a[1].survivors <= 20, "a device is in both groups");
        bool both = a->completed && a[1].completed;
        CHECK(!both || (fabs(a->cosine - a[1].cosine) < 1e-9 && fabs(a->cosine) <= 1),
              "cosine %g, %g", a->cosine, a[1].cosine);
        for (int g = 0; g < 2; g++) {
            CHECK(!a[g].completed || isfinite(a[g].nll_alone), "a group's loss");
            liars += a[g].lying;
            if (a[g].completed && a[g].lying > 0) {
                lying = fmin(lying, a[g].update_norm);
            } else if (a[g].completed) {
                honest = fmax(honest, a[g].update_norm);
            }
        }
    }
    CHECK(liars > 0 && honest > 0 && lying > 2 * honest, "%u lie: %g beside %g", liars, lying,
          honest);
    size_t len;
    uint8_t *page = dump(run, "report.html", &len);
    CHECK(page != NULL && strstr((const char *)page, "stands out") != NULL, "nobody stands out");
    plmm_free(page);
    plmm_run_free(run);
}

static void spoilt(small_sim *s)
{
    small_sim_set(s, "seeds=[1]");
    small_sim_set(s, "rounds=1");
    plmm_run *run = small_sim_run(s, 1, true);
    if (run != NULL) {
        size_t checked;
        size_t exact;
        plmm_run_checked(run, &checked, &exact);
        CHECK(checked > 0 && exact == 0, "a flipped bit went unnoticed in %zu of %zu sums", exact,
              checked);
    }
    plmm_run_free(run);
}

/* Real dialogues: two users' files with a domain field, held out by user and by time. */
static void write_dialogues(const char *path, unsigned users)
{
    static char text[1 << 16];
    size_t n = 0;
    for (unsigned u = 0; u < users; u++) {
        for (unsigned i = 0; i < 10; i++) {
            n += (size_t)snprintf(text + n, sizeof text - n,
                                  "{\"user\":\"u%u\",\"domain\":\"%s\",\"prompt\":\"what is %u\","
                                  "\"response\":\"it is the word of %u\"}\n",
                                  u, i % 5 == 4 ? "Small Talk" : "it", i, i);
        }
    }
    plmm_error err = {0};
    CHECK(plmm_file_write(path, text, n, PLMM_MODE_PUBLIC, &err) == PLMM_OK, "%s", err.msg);
}

static void from_files(small_sim *s)
{
    char path[256];
    char set[300];
    (void)snprintf(path, sizeof path, "%s/d.jsonl", dir);
    write_dialogues(path, 16);
    (void)snprintf(set, sizeof set, "data.files=%s", path);
    small_sim_set(s, set);
    small_sim_set(s, "data.source=files");
    small_sim_set(s, "experts=it");
    small_sim_set(s, "data.devices=13");
    small_sim_set(s, "data.users_out=0.15");
    small_sim_set(s, "data.time_out=0.3");
    small_sim_set(s, "seeds=[1]");
    small_sim_set(s, "rounds=1");
    plmm_run *run = small_sim_run(s, 1, false);
    if (run != NULL) {
        sound(run, 1);
        CHECK(run->n_scores == 4, "%zu scores", run->n_scores);
        for (size_t i = 0; i < run->n_scores; i++) {
            CHECK(isnan(run->scores[i].exact) && run->scores[i].items == 12, "%u questions",
                  run->scores[i].items);
        }
    }
    plmm_run_free(run);
    small_sim_set(s, "data.devices=20");
    plmm_sim_options o = {.threads = 1, .quiet = true};
    plmm_sim_timing timing;
    plmm_error err = {0};
    CHECK(plmm_sim_run_model(&s->cfg, &o, s->model, s->tokenizer, &run, &timing, &err) ==
                  PLMM_ERR_CONFIG &&
              strstr(err.msg, "16 users") != NULL,
          "too few users: %s", err.msg);
}

/* The record holds the configuration, which gives the same run again. */
static void replayed(small_sim *s)
{
    small_sim_set(s, "seeds=[2]");
    small_sim_set(s, "rounds=1");
    plmm_run *run = small_sim_run(s, 1, false);
    small_sim again = *s;
    if (run != NULL) {
        plmm_error err = {0};
        plmm_sim_config_default(&again.cfg);
        CHECK(plmm_config_parse(plmm_sim_config_table(), run->config, strlen(run->config), "run.db",
                                &again.cfg, &err) == PLMM_OK,
              "%s", err.msg);
        plmm_run *twin = small_sim_run(&again, 1, false);
        if (twin != NULL) {
            same_bytes(run, twin);
        }
        plmm_run_free(twin);
    }
    plmm_run_free(run);
}

/* Memory runs out at one allocation after another (a sample of them): never a leak, never a half
 * run. */
static void out_of_memory(small_sim *s)
{
    small_sim_set(s, "seeds=[1]");
    small_sim_set(s, "rounds=1");
    small_sim_set(s, "experts=medicine");
    plmm_sim_options o = {.threads = 1, .quiet = true};
    plmm_sim_timing timing;
    plmm_status rc = PLMM_ERR_NOMEM;
    long k = 0;
    for (; rc != PLMM_OK && k < 100000; k += 1 + k / 4) {
        plmm_run *run = NULL;
        plmm_error err = {0};
        long live = plmm_alloc_live();
        plmm_alloc_fail_at(k);
        rc = plmm_sim_run_model(&s->cfg, &o, s->model, s->tokenizer, &run, &timing, &err);
        plmm_alloc_fail_at(-1);
        CHECK(rc == PLMM_OK || rc == PLMM_ERR_NOMEM, "failure %ld is %d: %s", k, rc, err.msg);
        CHECK((rc == PLMM_OK) == (run != NULL), "failure %ld gives half a run", k);
        plmm_run_free(run);
        CHECK(plmm_alloc_live() == live, "failure %ld leaks %ld blocks", k,
              plmm_alloc_live() - live);
    }
    CHECK(rc == PLMM_OK && k > 1000, "it takes %ld allocations", k);
}

static void stopped(small_sim *s)
{
    static const volatile sig_atomic_t now = 1;
    plmm_sim_options o = {.threads = 1, .quiet = true, .stop = &now};
    plmm_sim_timing timing;
    plmm_run *run = NULL;
    plmm_error err = {0};
    plmm_status rc = plmm_sim_run_model(&s->cfg, &o, s->model, s->tokenizer, &run, &timing, &err);
    CHECK(rc == PLMM_ERR_STATE && run == NULL, "a stopped run gives %d", rc);
}

int main(void)
{
    CHECK(mkdtemp(dir) != NULL, "a directory for files");
    long live = plmm_alloc_live();
    small_sim s;
    small_sim_open(&s);
    calm(&s);
    spoilt(&s);
    stopped(&s);
    small_sim_close(&s);
    small_sim_open(&s);
    stormy(&s);
    replayed(&s);
    from_files(&s);
    small_sim_close(&s);
    small_sim_open(&s);
    fed_back(&s);
    small_sim_close(&s);
    small_sim_open(&s);
    grouped(&s);
    small_sim_close(&s);
    small_sim_open(&s);
    out_of_memory(&s);
    small_sim_close(&s);
    CHECK(plmm_alloc_live() == live, "%ld blocks leak", plmm_alloc_live() - live);
    plmm_error err;
    CHECK(plmm_path_remove(dir, &err) == PLMM_OK, "%s", err.msg);
    return plmm_test_end();
}
