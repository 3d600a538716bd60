/* Whole rounds: dropouts at every step, at each threshold and one past it, lost, repeated, late and
 * reordered frames, crashes of both sides. The sum over the survivors is exact to the bit, or the
 * round aborts with a reason. Claims C1, C2, C4, C8, C10, C11. */
#include "fleet.h"

static const uint32_t steps[] = {PLMM_MSG_CHECKIN, PLMM_MSG_ADVERT, PLMM_MSG_SHARES,
                                 PLMM_MSG_CONFIRM, PLMM_MSG_MASKED, PLMM_MSG_AGREE,
                                 PLMM_MSG_REVEAL};

static const plmm_abort reasons[] = {PLMM_ABORT_TOO_FEW_CHECKINS, PLMM_ABORT_TOO_FEW_KEYS,
                                     PLMM_ABORT_TOO_FEW_SHARES,   PLMM_ABORT_TOO_FEW_SHARES,
                                     PLMM_ABORT_TOO_FEW_VECTORS,  PLMM_ABORT_TOO_FEW_AGREE,
                                     PLMM_ABORT_TOO_FEW_REVEALS};

/* The ways to hide a vector: streams over Z_{2^b}, keys of Ring-LWE. */
static const struct {
    const char *name;
    uint32_t mask, stream;
} ways[] = {{"ring, ChaCha20", PLMM_MASK_RING, PLMM_STREAM_CHACHA20},
            {"ring, AES", PLMM_MASK_RING, PLMM_STREAM_AES256CTR},
            {"Ring-LWE", PLMM_MASK_KAHE, PLMM_STREAM_CHACHA20},
            {"Ring-LWE, long", PLMM_MASK_KAHE_LONG, PLMM_STREAM_AES256CTR}};

static void set_way(fleet *f, size_t way)
{
    f->cfg.params.mask = ways[way].mask;
    f->cfg.params.stream = ways[way].stream;
}

static void test_happy(void)
{
    for (uint32_t n = 3; n <= 48; n += n < 8 ? 1 : 13) {
        fleet *f = fleet_new(n, 33, n);
        set_way(f, n % COUNT(ways));
        fleet_start(f);
        fleet_run(f);
        CHECK(f->finished && f->in_sum == n, "n %u: %s", n, f->text);
        fleet_check_sum(f);
        for (uint32_t i = 0; i < n; i++) {
            CHECK(f->d[i].finished, "n %u: device %u", n, i);
        }
        fleet_free(f);
    }
}

/* n = 20, gamma = 0.1, delta = 0.2: k = 12, t = 8. Drops of `count` devices at one step. */
static void test_drops(void)
{
    for (size_t s = 0; s < COUNT(steps); s++) {
        for (uint32_t count = 1; count <= 12; count += count == 1 ? 3 : count == 4 ? 1 : 7) {
            fleet *f = fleet_new(20, 5, 100 + count);
            set_way(f, (s + count) % COUNT(ways));
            f->cfg.params.n_min = 6;
            f->cfg.roster_min = 6;
            for (uint32_t i = 0; i < count; i++) {
                f->d[(i * 7) % 20].quits = steps[s];
            }
            fleet_start(f);
            fleet_run(f);
            CHECK(f->finished != f->aborted, "step %u count %u", steps[s], count);
            CHECK(f->finished || count > 4, "step %u: %u of 20 drop: %s", steps[s], count, f->text);
            CHECK(f->text[0] != '\0' || f->finished, "a reason");
            CHECK(!f->aborted || f->reason == reasons[s], "step %u: %u drop: %s", steps[s], count,
                  plmm_abort_str(f->reason));
            fleet_check_sum(f);
            fleet_free(f);
        }
    }
}

/* Exactly n_min survivors are summed, one fewer are not. */
static void test_minimum(void)
{
    for (size_t s = 0; s < 5; s++) {
        for (uint32_t count = 2; count <= 3; count++) {
            fleet *f = fleet_new(20, 5, 200 + count);
            f->cfg.params.n_min = 18;
            f->cfg.roster_min = 18;
            for (uint32_t i = 0; i < count; i++) {
                f->d[5 * i].quits = steps[s];
            }
            fleet_start(f);
            fleet_run(f);
            CHECK(f->finished == (count == 2), "step %u: %u of 20 drop: %s", steps[s], count,
                  f->text);
            CHECK(f->finished || f->reason == reasons[s], "step %u: %s", steps[s], f->text);
            fleet_check_sum(f);
            fleet_free(f);
        }
    }
}

/* Who has sent its vector waits for the slowest, longer than it bears silence: its questions are
 * answered. */
static void test_patience(void)
{
    fleet *f = fleet_new(20, 5, 7);
    for (uint32_t i = 0; i < 20; i++) {
        f->d[i].cfg.silence_ms = 3000; /* train_ms is 8000 */
    }
    f->d[4].quits = PLMM_MSG_MASKED;
    fleet_start(f);
    fleet_run(f);
    CHECK(f->finished && f->in_sum == 19, "%u in the sum: %s", f->in_sum, f->text);
    fleet_check_sum(f);
    fleet_free(f);
}

/* One random round. Whatever happens, it ends, the books hold, and a finished sum is exact. */
static bool random_round(uint64_t seed, size_t way, bool crashes, uint32_t *crashed)
{
    plmm_rng r;
    plmm_rng_init(&r, seed, 2);
    uint32_t n = 4 + (uint32_t)plmm_rng_below(&r, 5) + (plmm_rng_below(&r, 20) == 0 ? 10 : 0);
    fleet *f = fleet_new(n, 1 + (uint32_t)plmm_rng_below(&r, 9), seed);
    set_way(f, way);
    f->cfg.params.delta_ppm = (uint32_t)plmm_rng_below(&r, 4) * 100000;
    f->cfg.params.stream = seed % 2 == 0 ? PLMM_STREAM_CHACHA20 : PLMM_STREAM_AES256CTR;
    plmm_graph_params g = plmm_round_graph(&f->cfg.params, n, n);
    plmm_graph_degree d;
    while (plmm_graph_degree_solve(&d, &g, NULL) != PLMM_OK) {
        f->cfg.params.delta_ppm = g.delta_ppm -= 100000;
    }
    uint32_t quitters = (uint32_t)plmm_rng_below(&r, n / 2 + 1);
    for (uint32_t q = 0; q < quitters; q++) {
        f->d[plmm_rng_below(&r, n)].quits = steps[plmm_rng_below(&r, COUNT(steps))];
    }
    if (plmm_rng_below(&r, 2) == 0) {
        f->lose = (uint32_t)plmm_rng_below(&r, 120);
        f->twice = (uint32_t)plmm_rng_below(&r, 200);
        f->delay = (uint32_t)plmm_rng_below(&r, 400);
    }
    f->crash = crashes ? 40 : 0;
    fleet_start(f);
    fleet_run(f);
    bool finished = f->finished;
    plmm_agg_status at;
    plmm_agg_round_status(f->agg, &at);
    CHECK(f->finished || f->aborted, "seed %" PRIu64 " hangs in %s at %" PRIu64 " of %" PRIu64,
          seed, plmm_agg_phase_str(at.phase), f->now, at.deadline_ms);
    if (plmm_test_failures == 0) {
        fleet_check_sum(f);
    }
    if (plmm_test_failures != 0) {
        (void)fprintf(stderr, "seed %" PRIu64 " n %u, %s, crashes %d\n", seed, n, ways[way].name,
                      crashes);
    }
    *crashed += f->crashes;
    fleet_free(f);
    return finished;
}

int main(int argc, char **argv)
{
    uint64_t rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 120;
    uint64_t seed = plmm_test_seed(1), first = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    if (first == 0) { /* else: again from a seed that failed */
        test_happy();
        test_drops();
        test_patience();
        test_minimum();
    }
    uint32_t finished = 0, crashed = 0;
    for (uint64_t i = first; i < first + rounds && plmm_test_failures == 0; i++) {
        size_t way = i / 4 % COUNT(ways); /* each with and without crashes */
        finished += random_round(seed * 1000000 + i, way, i % 4 == 0, &crashed);
    }
    (void)fprintf(stderr, "%u of %" PRIu64 " random rounds finished, %u crashes\n", finished,
                  rounds, crashed);
    CHECK(first > 0 || (finished > rounds / 3 && finished < rounds), "rounds finish and abort");
    CHECK(first > 0 || crashed > rounds / 20, "there were crashes");
    CHECK(plmm_alloc_live() == 0, "%ld blocks leaked", plmm_alloc_live());
    return plmm_test_end();
}
