/* One-shot rounds: devices and members of the committee drop out at every step, at each threshold
 * and one past it; frames are lost, repeated, late and reordered; both sides crash; boxes do not
 * open. The sum over the survivors is exact to the bit, or the round aborts with a reason. Claims
 * C4, C10, C11, O2, O4, O5. */
#include "forge.h"
#include "plmm/channels.h"

static fleet *round_new(uint32_t n, uint32_t length, uint64_t seed, uint32_t mask)
{
    fleet *f = fleet_new(n, length, seed);
    fleet_oneshot(f, mask);
    return f;
}

static void test_happy(void)
{
    for (uint32_t n = 24; n <= 56; n += 16) {
        for (uint32_t mask = PLMM_MASK_KAHE; mask <= PLMM_MASK_KAHE_LONG; mask++) {
            fleet *f = round_new(n, 33, n, mask);
            fleet_start(f);
            fleet_run(f);
            CHECK(f->finished && f->in_sum == n, "n %u: %s", n, f->text);
            fleet_check_sum(f);
            CHECK(plmm_shelf_made(f->shelf) == 2, "tables and polynomials: made %u times",
                  plmm_shelf_made(f->shelf));
            for (uint32_t i = 0; i < n; i++) {
                CHECK(f->d[i].finished, "n %u: device %u: %s", n, i, f->d[i].text);
            }
            fleet_free(f);
        }
    }
}

/* A shelf with one place: what a machine took stays with it. Longer polynomials serve shorter
 * vectors, not the other way round. */
static void test_shelf(void)
{
    plmm_shelf *one = NULL;
    CHECK(plmm_shelf_new(&one, 1, NULL) == PLMM_OK, "a shelf");
    for (uint32_t i = 0; i < 3; i++) {
        const plmm_oneshot_tables *other = NULL;
        fleet *f = round_new(24 + i, i == 1 ? 40 : 33, i, PLMM_MASK_KAHE);
        plmm_round_params shape = f->cfg.params;
        for (uint32_t d = 0; d < f->n; d++) {
            f->d[d].cfg.shelf = one;
        }
        f->cfg.shelf = one;
        fleet_start(f);
        fleet_run(f);
        CHECK(plmm_shelf_tables(one, &other, &shape, 60, 60, NULL) == PLMM_OK &&
                  plmm_oneshot_committee(other)->m != plmm_oneshot_committee(f->tables)->m,
              "those of 60 devices");
        shape.length = 20 + 15 * i;
        CHECK(plmm_shelf_polynomials(one, &shape, NULL) == PLMM_OK, "polynomials");
        CHECK(plmm_shelf_made(one) == 3 + 2 * i + (i >= 1) + (i == 2), "%u: made %u times", i,
              plmm_shelf_made(one));
        CHECK(f->finished, "%u: %s", i, f->text);
        fleet_check_sum(f);
        fleet_free(f);
    }
    plmm_shelf_free(one);
}

/* Lengths around what a group of blocks holds. */
static void test_lengths(void)
{
    for (uint32_t length = 1; length <= 64; length += 21) {
        fleet *f = round_new(24, length, length, PLMM_MASK_KAHE);
        fleet_start(f);
        fleet_run(f);
        CHECK(f->finished, "length %u: %s", length, f->text);
        fleet_check_sum(f);
        fleet_free(f);
    }
}

static const uint32_t steps[] = {PLMM_MSG_CHECKIN,  PLMM_MSG_ADVERT, PLMM_MSG_CONTRIB,
                                 PLMM_MSG_COMPLAIN, PLMM_MSG_VOTE,   PLMM_MSG_SUM};
static const plmm_abort reasons[] = {PLMM_ABORT_TOO_FEW_CHECKINS, PLMM_ABORT_TOO_FEW_KEYS,
                                     PLMM_ABORT_TOO_FEW_SHARES,   PLMM_ABORT_TOO_FEW_SHARES,
                                     PLMM_ABORT_TOO_FEW_AGREE,    PLMM_ABORT_TOO_FEW_REVEALS};

/* Who is on the committee: whoever is sent boxes. The same devices from the same seed. */
typedef struct watch {
    bool member[FLEET_MAX];
} watch;

static bool watch_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    watch *w = arg;
    plmm_frame peek;
    fleet_watch(f, from, frame);
    if (from == FLEET_AGG && plmm_frame_peek(&peek, frame->p, frame->len, NULL) == PLMM_OK &&
        peek.type == PLMM_MSG_DELIVER) {
        w->member[to] = true;
    }
    return true;
}

static uint32_t members(uint32_t *out, uint32_t n, uint64_t seed)
{
    watch w = {{false}};
    uint32_t count = 0;
    fleet *f = round_new(n, 5, seed, PLMM_MASK_KAHE);
    f->tap = watch_tap;
    f->tap_arg = &w;
    fleet_start(f);
    fleet_run(f);
    for (uint32_t i = 0; i < n; i++) {
        if (w.member[i]) {
            out[count++] = i;
        }
    }
    CHECK(count == plmm_oneshot_committee(f->tables)->m, "%u members", count);
    fleet_free(f);
    return count;
}

/* A member that is gone is tolerated as long as enough are there, whatever it had done before; one
 * fewer is not. */
static void test_members(void)
{
    enum { N = 40 };
    uint32_t member[N], m = members(member, N, 300);
    for (size_t s = 2; s < COUNT(steps); s++) {
        for (uint32_t over = 0; over < 2; over++) {
            fleet *f = round_new(N, 5, 300, PLMM_MASK_KAHE);
            const plmm_committee *k = plmm_oneshot_committee(f->tables);
            uint32_t needed = k->need > k->quorum ? k->need : k->quorum;
            uint32_t opens = steps[s] == PLMM_MSG_SUM ? k->need : needed, gone = m - opens + over;
            CHECK(gone >= 2 && k->m == m, "%u members, %u needed", m, needed);
            for (uint32_t i = 0; i < gone; i++) {
                f->d[member[i]].quits = steps[s];
            }
            fleet_start(f);
            fleet_run(f);
            CHECK(f->finished == (over == 0), "step %u: %u of %u drop: %s", steps[s], gone, m,
                  f->text);
            CHECK(f->finished || f->reason == reasons[s], "step %u: %s", steps[s], f->text);
            uint32_t in = steps[s] == PLMM_MSG_CONTRIB ? N - gone : N;
            CHECK(!f->finished || f->in_sum == in, "step %u: %u in the sum", steps[s], f->in_sum);
            fleet_check_sum(f);
            fleet_free(f);
        }
    }
}

/* Exactly n_min survivors are summed, one fewer are not. */
static void test_minimum(void)
{
    for (uint32_t count = 2; count <= 3; count++) {
        fleet *f = round_new(24, 5, 200 + count, PLMM_MASK_KAHE);
        f->cfg.params.n_min = 22;
        f->cfg.roster_min = 22;
        for (uint32_t i = 0; i < count; i++) {
            f->d[5 * i].quits = PLMM_MSG_CONTRIB;
        }
        fleet_start(f);
        fleet_run(f);
        CHECK(f->finished == (count == 2), "%u of 24 drop: %s", count, f->text);
        CHECK(f->finished || f->reason == PLMM_ABORT_TOO_FEW_VECTORS, "%s", f->text);
        fleet_check_sum(f);
        fleet_free(f);
    }
}

/* Device 3 spoils its boxes for the seats from..to-1, and signs that. */
typedef struct spoil {
    uint32_t from, to;
} spoil;

static bool spoil_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static forgery g;
    const spoil *s = arg;
    (void)to;
    plmm_frame peek;
    if (from != 3 || plmm_frame_peek(&peek, frame->p, frame->len, NULL) != PLMM_OK ||
        peek.type != PLMM_MSG_CONTRIB) {
        return true;
    }
    forge_open(&g, frame);
    size_t box = plmm_packed_share_bytes(PLMM_KAHE_P1) + PLMM_SEAL_OVERHEAD;
    for (uint32_t seat = s->from; seat < s->to; seat++) {
        g.bulk[PLMM_ONESHOT_NONCE + seat * box + 9] ^= 1;
    }
    plmm_free(frame->p);
    *frame = forge_up(f, &g, 3);
    return true;
}

/* n = 24: 22 members, c = 2. Two members can do without; from three on nobody slanders: the device
 * is left out, and its vector comes out of the sum again, also after a crash. */
static void test_boxes(void)
{
    for (uint32_t bad = 1; bad <= 22; bad += bad < 6 ? 1 : 8) {
        spoil s = {0, bad};
        fleet *f = round_new(24, 5, 400 + bad, PLMM_MASK_KAHE);
        f->tap = spoil_tap;
        f->tap_arg = &s;
        f->crash = bad % 2 == 0 ? 30 : 0;
        fleet_start(f);
        fleet_run(f);
        bool out = bad > 2;
        CHECK(f->finished && f->in_sum == (out ? 23 : 24), "%u bad boxes: %u in the sum: %s", bad,
              f->in_sum, f->text);
        plmm_agg_status st;
        plmm_agg_round_status(f->agg, &st);
        CHECK(st.liars == 0, "%u bad boxes: who cannot open one gives no sum", bad);
        CHECK((f->dropped > 0) == out, "%u bad boxes: %u inputs taken out", bad, f->dropped);
        fleet_check_sum(f);
        fleet_free(f);
    }
}

/* One random round. Whatever happens, it ends, the books hold, and a finished sum is exact. */
static bool random_round(uint64_t seed, bool crashes, uint32_t *crashed)
{
    plmm_rng r;
    plmm_rng_init(&r, seed, 2);
    uint32_t n = 24 + (uint32_t)plmm_rng_below(&r, 17);
    uint32_t mask = plmm_rng_below(&r, 4) == 0 ? PLMM_MASK_KAHE_LONG : PLMM_MASK_KAHE;
    fleet *f = round_new(n, 1 + (uint32_t)plmm_rng_below(&r, 9), seed, mask);
    uint32_t quitters = (uint32_t)plmm_rng_below(&r, n / 4 + 1);
    for (uint32_t q = 0; q < quitters; q++) {
        f->d[plmm_rng_below(&r, n)].quits = steps[plmm_rng_below(&r, COUNT(steps))];
    }
    if (plmm_rng_below(&r, 2) == 0) {
        f->lose = (uint32_t)plmm_rng_below(&r, 120);
        f->twice = (uint32_t)plmm_rng_below(&r, 200);
        f->delay = (uint32_t)plmm_rng_below(&r, 400);
    }
    f->crash = crashes ? 30 : 0;
    fleet_start(f);
    fleet_run(f);
    bool finished = f->finished;
    CHECK(f->finished || f->aborted, "seed %" PRIu64 " hangs", seed);
    if (plmm_test_failures == 0) {
        fleet_check_sum(f);
    }
    if (plmm_test_failures != 0) {
        (void)fprintf(stderr, "seed %" PRIu64 " n %u crashes %d\n", seed, n, crashes);
    }
    *crashed += f->crashes;
    fleet_free(f);
    return finished;
}

/* A crash at each durable point of a round, before and after, changes nothing but time. */
static void test_every_crash(void)
{
    uint32_t step = PLMM_TEST_SLOW == 1 ? 29 : 97;
    for (uint32_t at = 1; at < 400; at += step) {
        for (uint32_t before = 0; before < 2; before++) {
            fleet *f = round_new(24, 3, 77, PLMM_MASK_KAHE);
            f->crash_at = at;
            f->crash_before = before == 1;
            fleet_start(f);
            fleet_run(f);
            CHECK(f->finished && f->in_sum == 24, "crash at %u: %u in the sum: %s", at, f->in_sum,
                  f->text);
            fleet_check_sum(f);
            fleet_free(f);
        }
    }
}

/* ---- epochs ---- */

static void forget(fleet_bytes *b)
{
    plmm_free(b->p);
    *b = (fleet_bytes){NULL, 0};
}

/* What an epoch leaves with each party. */
typedef struct epoch {
    fleet_bytes device[FLEET_MAX], agg;
    uint32_t seals;
} epoch;

static void epoch_free(epoch *e)
{
    for (uint32_t i = 0; i < FLEET_MAX; i++) {
        forget(&e->device[i]);
    }
    forget(&e->agg);
}

/* Parties keep what the round left them. */
static void epoch_keep(epoch *e, fleet *f)
{
    size_t len = plmm_agg_round_epoch(f->agg, NULL);
    if (len > 0) {
        forget(&e->agg);
        e->agg = (fleet_bytes){plmm_alloc(len, 1), len};
        CHECK(plmm_agg_round_epoch(f->agg, e->agg.p) == len, "an epoch");
    }
    for (uint32_t i = 0; i < f->n; i++) {
        const uint8_t *p = plmm_client_round_epoch(f->d[i].m, &len);
        if (p != NULL) {
            forget(&e->device[i]);
            e->device[i] = fleet_copy(p, len);
        }
        f->d[i].cfg.epoch = e->device[i].p;
        f->d[i].cfg.epoch_len = e->device[i].len;
        f->d[i].cfg.link = plmm_agg_round_seal(f->agg)->link;
    }
    f->cfg.epoch = e->agg.p;
    f->cfg.epoch_len = e->agg.len;
    f->cfg.link = plmm_agg_round_seal(f->agg)->link;
    e->seals = f->seals;
}

/* The next round of the same devices. */
static void again(fleet *f)
{
    for (uint32_t i = 0; i < f->n; i++) {
        fleet_device *d = &f->d[i];
        plmm_client_round_free(d->m);
        d->m = NULL;
        fleet_journal_clear(&d->journal);
        forget(&d->payload);
        forget(&d->stored);
        forget(&d->reveal);
        forget(&d->masked);
        forget(&f->inputs[i]);
        d->finished = false;
        d->aborted = PLMM_ABORT_NONE;
        d->quits = 0;
        d->gone = false;
        d->cfg.last_round = f->cfg.params.round;
        d->cfg.last_attempt = 1;
        fleet_random(f, &d->seed, sizeof d->seed);
    }
    for (uint32_t i = 0; i < f->queue_n; i++) {
        plmm_free(f->queue[i].frame.p);
    }
    f->queue_n = 0;
    plmm_agg_round_free(f->agg);
    fleet_journal_clear(&f->journal);
    forget(&f->survivors);
    plmm_free(f->sum);
    fleet_random(f, &f->agg_seed, sizeof f->agg_seed);
    f->finished = f->aborted = false;
    f->cfg.params.round++;
}

static fleet *epoch_round(uint32_t n, uint64_t seed)
{
    fleet *f = round_new(n, 5, seed, PLMM_MASK_KAHE);
    for (uint32_t i = 0; i < n; i++) {
        CHECK(plmm_channels_new(&f->d[i].cfg.channels, FLEET_MAX, NULL) == PLMM_OK, "channels");
    }
    fleet_start(f);
    fleet_run(f);
    CHECK(f->finished && f->in_sum == n, "first round: %s", f->text);
    fleet_check_sum(f);
    return f;
}

static void epoch_end(fleet *f)
{
    for (uint32_t i = 0; i < f->n; i++) {
        plmm_channels_free(f->d[i].cfg.channels);
        f->d[i].cfg.channels = NULL;
    }
    fleet_free(f);
}

typedef struct tally {
    uint32_t sent[PLMM_MSG_COUNT];
} tally;

static bool tally_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    tally *t = arg;
    plmm_frame peek;
    (void)to;
    fleet_watch(f, from, frame);
    if (plmm_frame_peek(&peek, frame->p, frame->len, NULL) == PLMM_OK) {
        t->sent[peek.type]++;
    }
    return true;
}

/* Later rounds: no keys, no seal; a device sends its contribution and nothing else. Dropouts,
 * losses and crashes as in the first. */
static void test_epoch(void)
{
    epoch e = {.seals = 0};
    fleet *f = epoch_round(32, 900);
    for (uint32_t round = 0; round < 6; round++) {
        tally t = {{0}};
        epoch_keep(&e, f);
        again(f);
        f->tap = tally_tap;
        f->tap_arg = &t;
        f->crash = round == 3 ? 20 : 0;
        f->lose = round == 4 ? 60 : 0;
        f->d[round].quits = round % 2 == 1 ? PLMM_MSG_CONTRIB : PLMM_MSG_CHECKIN;
        fleet_start(f);
        fleet_run(f);
        CHECK(f->finished && f->in_sum == 31, "round %u: %u in the sum: %s", round, f->in_sum,
              f->text);
        CHECK(f->seals == e.seals && t.sent[PLMM_MSG_ADVERT] == 0 && t.sent[PLMM_MSG_ROSTER] == 0,
              "round %u: %u keys advertised", round, t.sent[PLMM_MSG_ADVERT]);
        fleet_check_sum(f);
    }
    f->tap = NULL;
    epoch_free(&e);
    epoch_end(f);
}

/* Rounds of one epoch have nothing in common but the roster: session and boxes are of their own. */
static void test_epoch_sessions(void)
{
    epoch e = {.seals = 0};
    static plmm_frame one, two;
    fleet *f = epoch_round(24, 901);
    epoch_keep(&e, f);
    again(f);
    fleet_start(f);
    fleet_run(f);
    plmm_hash first;
    CHECK(plmm_frame_decode(&one, f->d[3].masked.p, f->d[3].masked.len, NULL) == PLMM_OK, "one");
    first = one.session;
    epoch_keep(&e, f);
    again(f);
    fleet_start(f);
    fleet_run(f);
    CHECK(f->finished &&
              plmm_frame_decode(&two, f->d[3].masked.p, f->d[3].masked.len, NULL) == PLMM_OK,
          "two: %s", f->text);
    CHECK(memcmp(&first, &two.session, sizeof first) != 0, "one session for two rounds");
    epoch_free(&e);
    epoch_end(f);
}

/* Who lost the epoch, or its channel key, cannot be had for it; the round ends without it. */
static void test_epoch_lost(void)
{
    epoch e = {.seals = 0};
    fleet *f = epoch_round(32, 902);
    epoch_keep(&e, f);
    again(f);
    f->d[4].cfg.epoch = NULL;
    plmm_channels_clear(f->d[5].cfg.channels);
    fleet_start(f);
    fleet_run(f);
    CHECK(f->finished && f->in_sum == 30, "%u in the sum: %s", f->in_sum, f->text);
    fleet_check_sum(f);
    epoch_free(&e);
    epoch_end(f);
}

int main(int argc, char **argv)
{
    uint64_t rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 32 / PLMM_TEST_SLOW;
    uint64_t seed = plmm_test_seed(1), first = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    plmm_error err;
    CHECK(plmm_crypto_init(&err) == PLMM_OK, "%s", err.msg);
    if (first == 0) { /* else: again from a seed that failed */
        test_happy();
        test_shelf();
        test_lengths();
        test_members();
        test_minimum();
        test_boxes();
        test_every_crash();
        test_epoch();
        test_epoch_sessions();
        test_epoch_lost();
    }
    uint32_t finished = 0, crashed = 0;
    for (uint64_t i = first; i < first + rounds && plmm_test_failures == 0; i++) {
        finished += random_round(seed * 1000000 + i, i % 4 == 0, &crashed);
    }
    (void)fprintf(stderr, "%u of %" PRIu64 " random rounds finished, %u crashes\n", finished,
                  rounds, crashed);
    CHECK(first > 0 || rounds < 32 || (finished > rounds / 4 && finished < rounds),
          "rounds finish and abort");
    CHECK(plmm_alloc_live() == 0, "%ld blocks leaked", plmm_alloc_live());
    return plmm_test_end();
}
