/* One-shot rounds in which somebody lies: an aggregator to one member or to half of them, a device,
 * or a member. Each lie has its refusal; no member that was lied to gives a sum; and what a liar
 * does to the others is nothing, or the round's end. Claims O1 to O6. */
#include "forge.h"

enum { N = 40 };

typedef struct lie {
    const char *name;
    uint32_t type; /* of the message that is false */
    void (*make)(fleet *f, forgery *g);
    plmm_refusal refusal;
    bool member; /* told to a member of the committee, else to a device that is none */
} lie;

typedef struct liar {
    const lie *l;
    uint32_t victim, told, sums;
    bool member[N];
} liar;

static fleet *round_new(uint64_t seed)
{
    fleet *f = fleet_new(N, 5, seed);
    fleet_oneshot(f, PLMM_MASK_KAHE);
    return f;
}

/* ---- the false messages of an aggregator ---- */

static uint32_t set_octets(void)
{
    return plmm_set_bytes(N);
}

static void deliver_few(fleet *f, forgery *g) /* boxes of two devices only */
{
    size_t record = PLMM_ONESHOT_NONCE + plmm_packed_share_bytes(PLMM_KAHE_P1) + PLMM_SEAL_OVERHEAD;
    (void)f;
    memset(g->bulk, 0, set_octets());
    g->bulk[0] = 3;
    g->f.bulk_len = (uint32_t)(set_octets() + 2 * record);
}

static void cut(fleet *f, forgery *g)
{
    (void)f;
    g->f.bulk_len -= 1;
}

static void beyond(fleet *f, forgery *g) /* a set with device N + 1 */
{
    (void)f;
    memmove(g->bulk + set_octets(), g->bulk, g->f.bulk_len);
    memset(g->bulk, 0xff, set_octets() + 1);
    g->f.bulk_len = set_octets() + 1;
}

static void session_other(fleet *f, forgery *g)
{
    (void)f;
    g->f.session.b[5] ^= 1;
}

static void foreign(fleet *f, forgery *g) /* device 7, which dropped out, survives */
{
    (void)f;
    plmm_set_put(g->bulk, 7);
}

static void chosen_few(fleet *f, forgery *g)
{
    (void)f;
    memset(g->bulk, 0, set_octets());
    g->bulk[0] = 3;
}

static void votes_lost(fleet *f, forgery *g) /* one vote fewer than a quorum, the own not counted */
{
    uint32_t m = plmm_oneshot_committee(f->tables)->m, set = plmm_set_bytes(m), kept = 0;
    uint32_t want = plmm_oneshot_committee(f->tables)->quorum - 2;
    uint8_t tags[PLMM_COMMITTEE_MAX * PLMM_TAG_BYTES], had[64];
    memcpy(had, g->bulk, set);
    memcpy(tags, g->bulk + set, g->f.bulk_len - set);
    memset(g->bulk, 0, set);
    for (uint32_t i = 0, at = 0; i < m; i++) {
        if (plmm_set_has(had, i) && kept < want) {
            plmm_set_put(g->bulk, i);
            memcpy(g->bulk + set + kept++ * PLMM_TAG_BYTES, tags + at * PLMM_TAG_BYTES,
                   PLMM_TAG_BYTES);
        }
        at += plmm_set_has(had, i);
    }
    g->f.bulk_len = set + kept * PLMM_TAG_BYTES;
}

static void votes_forged(fleet *f, forgery *g) /* everybody's, by somebody without their keys */
{
    uint32_t set = plmm_set_bytes(plmm_oneshot_committee(f->tables)->m);
    memset(g->bulk + set, 0x5a, g->f.bulk_len - set);
}

static void committee_small(fleet *f, forgery *g)
{
    plmm_roster_head h;
    (void)f;
    CHECK(plmm_roster_head_decode(&h, &g->f, NULL) == PLMM_OK, "head");
    h.k -= 2;
    g->f.body_len = plmm_roster_head_encode(g->f.body, &h);
}

static void threshold_small(fleet *f, forgery *g)
{
    plmm_roster_head h;
    (void)f;
    CHECK(plmm_roster_head_decode(&h, &g->f, NULL) == PLMM_OK, "head");
    h.t -= 1;
    g->f.body_len = plmm_roster_head_encode(g->f.body, &h);
}

static void committee_own(fleet *f, forgery *g) /* the first member is another than was drawn */
{
    (void)f;
    g->bulk[8 * N] ^= 1;
}

static void member_key(fleet *f, forgery *g) /* a channel key of the aggregator's own */
{
    (void)f;
    g->bulk[8 * N + 8 + 32 + 64 + 32 + 3] ^= 1;
}

static const lie lies[] = {
    {"boxes of too few", PLMM_MSG_DELIVER, deliver_few, PLMM_REFUSAL_TOO_FEW, true},
    {"boxes cut", PLMM_MSG_DELIVER, cut, PLMM_REFUSAL_FORM, true},
    {"boxes of another session", PLMM_MSG_DELIVER, session_other, PLMM_REFUSAL_SESSION, true},
    {"a foreign survivor", PLMM_MSG_CHOSEN, foreign, PLMM_REFUSAL_ALIVE_AND_DEAD, true},
    {"too few survivors", PLMM_MSG_CHOSEN, chosen_few, PLMM_REFUSAL_TOO_FEW, true},
    {"survivors beyond the roster", PLMM_MSG_CHOSEN, beyond, PLMM_REFUSAL_FORM, true},
    {"survivors of another session", PLMM_MSG_CHOSEN, session_other, PLMM_REFUSAL_SESSION, true},
    {"votes short of a quorum", PLMM_MSG_VOTES, votes_lost, PLMM_REFUSAL_DISAGREE, true},
    {"forged votes", PLMM_MSG_VOTES, votes_forged, PLMM_REFUSAL_DISAGREE, true},
    {"votes cut", PLMM_MSG_VOTES, cut, PLMM_REFUSAL_FORM, true},
    {"a smaller committee", PLMM_MSG_ROSTER, committee_small, PLMM_REFUSAL_DEGREE, true},
    {"a lower threshold", PLMM_MSG_ROSTER, threshold_small, PLMM_REFUSAL_DEGREE, false},
    {"a committee of its own", PLMM_MSG_ROSTER, committee_own, PLMM_REFUSAL_ENTRY, false},
    {"a key of its own", PLMM_MSG_ROSTER, member_key, PLMM_REFUSAL_ENTRY, false},
};

static bool lie_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static forgery g;
    liar *l = arg;
    plmm_frame peek;
    CHECK(plmm_frame_peek(&peek, frame->p, frame->len, NULL) == PLMM_OK, "own frame");
    if (from != FLEET_AGG) {
        fleet_watch(f, from, frame);
        l->sums += peek.type == PLMM_MSG_SUM && from == l->victim;
        return true;
    }
    if (peek.type == PLMM_MSG_DELIVER) {
        l->member[to] = true;
    }
    if (l->l == NULL || peek.type != l->l->type || to != l->victim) {
        return true;
    }
    l->told++;
    forge_open(&g, frame);
    l->l->make(f, &g);
    plmm_free(frame->p);
    *frame = forge_down(f, &g, to);
    return true;
}

/* The committee of the rounds of a seed. */
static liar scout(uint64_t seed)
{
    liar l = {.victim = UINT32_MAX};
    fleet *f = round_new(seed);
    f->d[7].quits = PLMM_MSG_CONTRIB;
    f->tap = lie_tap;
    f->tap_arg = &l;
    fleet_start(f);
    fleet_run(f);
    CHECK(f->finished, "an honest round: %s", f->text);
    fleet_check_sum(f);
    fleet_free(f);
    return l;
}

static uint32_t pick(const liar *l, bool member, uint32_t from)
{
    for (uint32_t i = from; i < N; i++) {
        if (l->member[i] == member && i != 7) {
            return i;
        }
    }
    return UINT32_MAX;
}

static void test_lies(void)
{
    liar seen = scout(500);
    for (size_t i = 0; i < COUNT(lies); i++) {
        liar l = {.l = &lies[i], .victim = pick(&seen, lies[i].member, 0)};
        fleet *f = round_new(500);
        f->d[7].quits = PLMM_MSG_CONTRIB;
        f->tap = lie_tap;
        f->tap_arg = &l;
        fleet_start(f);
        fleet_run(f);
        const fleet_device *d = &f->d[l.victim];
        CHECK(l.told > 0 && d->refusal == lies[i].refusal, "%s: refusal %s: %s", lies[i].name,
              plmm_refusal_str(d->refusal), d->text);
        CHECK(d->aborted == PLMM_ABORT_LIE || d->aborted == PLMM_ABORT_POLICY ||
                  d->aborted == PLMM_ABORT_TOO_FEW_AGREE,
              "%s: %s", lies[i].name, plmm_abort_str(d->aborted));
        CHECK(l.sums == 0, "%s: it gave a sum", lies[i].name);
        fleet_check_sum(f);
        fleet_free(f);
    }
}

/* ---- two sets of survivors ---- */

static bool split_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static forgery g;
    liar *l = arg;
    plmm_frame peek;
    CHECK(plmm_frame_peek(&peek, frame->p, frame->len, NULL) == PLMM_OK, "own frame");
    if (from != FLEET_AGG) {
        l->sums += peek.type == PLMM_MSG_SUM;
        return true;
    }
    uint32_t rank = 0;
    for (uint32_t i = 0; i < to; i++) {
        rank += l->member[i];
    }
    if (peek.type == PLMM_MSG_CHOSEN && rank % 2 == 0) { /* without device 3 */
        l->told++;
        forge_open(&g, frame);
        forge_clear(g.bulk, 3);
        plmm_free(frame->p);
        *frame = forge_down(f, &g, to);
    }
    return true;
}

/* Half of the committee is told another set: neither half is a quorum, nobody gives a sum. */
static void test_two_sets(void)
{
    liar l = scout(501);
    fleet *f = round_new(501);
    l.sums = 0;
    f->tap = split_tap;
    f->tap_arg = &l;
    fleet_start(f);
    fleet_run(f);
    uint32_t caught = 0;
    for (uint32_t i = 0; i < N; i++) {
        caught += f->d[i].refusal == PLMM_REFUSAL_DISAGREE;
    }
    CHECK(l.told > 3 && l.sums == 0, "%u were told another set, %u sums", l.told, l.sums);
    CHECK(caught == plmm_oneshot_committee(f->tables)->m, "%u members disagree", caught);
    CHECK(f->aborted && f->reason == PLMM_ABORT_TOO_FEW_REVEALS, "%s", f->text);
    fleet_free(f);
}

/* ---- one member is told two stories, one after the other ---- */

static bool twice_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static forgery g;
    liar *l = arg;
    plmm_frame peek;
    CHECK(plmm_frame_peek(&peek, frame->p, frame->len, NULL) == PLMM_OK, "own frame");
    if (from != FLEET_AGG) {
        fleet_watch(f, from, frame);
        return true;
    }
    if (peek.type == l->l->type && to == l->victim && l->told == 0) {
        l->told++;
        forge_open(&g, frame);
        l->l->make(f, &g);
        fleet_enqueue(f, from, to, fleet_copy(frame->p, frame->len));
        plmm_free(frame->p);
        *frame = forge_down(f, &g, to);
    }
    return true;
}

static void one_less(fleet *f, forgery *g)
{
    (void)f;
    forge_clear(g->bulk, 3);
}

static void one_vote_less(fleet *f, forgery *g)
{
    uint32_t set = plmm_set_bytes(plmm_oneshot_committee(f->tables)->m);
    g->bulk[set] ^= 1;
}

/* The first is taken, the second is a lie, whatever the order: the member answers once. */
static void test_two_stories(void)
{
    static const lie both[] = {
        {"two sets", PLMM_MSG_CHOSEN, one_less, PLMM_REFUSAL_TWO_STORIES, true},
        {"two quorums", PLMM_MSG_VOTES, one_vote_less, PLMM_REFUSAL_TWO_STORIES, true},
    };
    liar seen = scout(502);
    for (size_t i = 0; i < COUNT(both); i++) {
        liar l = {.l = &both[i], .victim = pick(&seen, true, 0)};
        fleet *f = round_new(502);
        f->tap = twice_tap;
        f->tap_arg = &l;
        fleet_start(f);
        fleet_run(f);
        CHECK(l.told == 1 && f->d[l.victim].refusal == both[i].refusal, "%s: refusal %s: %s",
              both[i].name, plmm_refusal_str(f->d[l.victim].refusal), f->d[l.victim].text);
        fleet_check_sum(f);
        fleet_free(f);
    }
}

/* Boxes for a device that is not on the committee. */
static bool guest_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static forgery g;
    liar *l = arg;
    plmm_frame peek;
    CHECK(plmm_frame_peek(&peek, frame->p, frame->len, NULL) == PLMM_OK, "own frame");
    if (from == FLEET_AGG && peek.type == PLMM_MSG_DELIVER && l->told == 0) {
        l->told++;
        forge_open(&g, frame);
        g.f.receiver = f->d[l->victim].cfg.certificate.device;
        fleet_enqueue(f, from, l->victim, forge_down(f, &g, l->victim));
    }
    (void)to;
    return true;
}

static void test_guest(void)
{
    liar seen = scout(503), l = {.victim = pick(&seen, false, 0)};
    fleet *f = round_new(503);
    f->tap = guest_tap;
    f->tap_arg = &l;
    fleet_start(f);
    fleet_run(f);
    CHECK(f->d[l.victim].refusal == PLMM_REFUSAL_TURN, "%s", f->d[l.victim].text);
    CHECK(f->finished, "%s", f->text);
    fleet_check_sum(f);
    fleet_free(f);
}

/* ---- replayed rounds and other models ---- */

static void test_before(void)
{
    fleet *f = round_new(504);
    f->d[0].cfg.last_round = f->cfg.params.round; /* it was in this round already */
    f->d[0].cfg.last_attempt = 1;
    f->d[1].cfg.policy.n_min = 39; /* as many as are on the roster must not drop out */
    f->d[2].cfg.model.b[0] ^= 1;
    fleet_start(f);
    fleet_run(f);
    CHECK(f->finished && !f->d[0].finished && f->d[0].masked.p == NULL, "%s", f->d[0].text);
    CHECK(f->d[1].aborted == PLMM_ABORT_POLICY && f->d[1].refusal == PLMM_REFUSAL_WEAK, "%s",
          f->d[1].text);
    CHECK(f->d[2].masked.p == NULL && f->d[2].aborted == PLMM_ABORT_MODEL, "%s", f->d[2].text);
    fleet_check_sum(f);
    fleet_free(f);
}

/* ---- lying devices and members ---- */

typedef struct device_lie {
    const char *name;
    uint32_t type;
    void (*make)(fleet *f, forgery *g);
    uint32_t liars; /* members that do it */
    bool finishes;
    uint32_t expelled; /* at least */
    uint32_t found;    /* liars that are counted */
    bool in_sum;       /* their vectors are */
} device_lie;

static void residue_high(fleet *f, forgery *g)
{
    (void)f;
    memset(g->bulk + g->f.bulk_len - 700, 0xff, 50);
}

static void grown(fleet *f, forgery *g)
{
    (void)f;
    g->f.bulk_len += 8;
}

static void complains_of_all(fleet *f, forgery *g)
{
    (void)f;
    memset(g->bulk, 0xff, set_octets());
}

static void complains_of_one(fleet *f, forgery *g)
{
    (void)f;
    plmm_set_put(g->bulk, 3);
}

static void tags_false(fleet *f, forgery *g)
{
    (void)f;
    memset(g->bulk, 7, g->f.bulk_len);
}

static void share_false(fleet *f, forgery *g)
{
    (void)f;
    g->bulk[11] ^= 4;
}

static void share_high(fleet *f, forgery *g)
{
    (void)f;
    memset(g->bulk, 0xff, 50);
}

static const device_lie device_lies[] = {
    {"a longer vector", PLMM_MSG_CONTRIB, grown, 1, true, 1, 0, false},
    {"a vector out of range", PLMM_MSG_CONTRIB, residue_high, 1, true, 1, 0, false},
    {"a shorter vector", PLMM_MSG_CONTRIB, cut, 1, true, 1, 0, false},
    {"slander of all", PLMM_MSG_COMPLAIN, complains_of_all, 2, true, 0, 0, true},
    {"slander of all by many", PLMM_MSG_COMPLAIN, complains_of_all, 4, true, 0, 0, true},
    {"slander of one", PLMM_MSG_COMPLAIN, complains_of_one, 2, true, 0, 0, true},
    {"a complaint that is none", PLMM_MSG_COMPLAIN, grown, 1, true, 1, 0, true},
    {"false votes", PLMM_MSG_VOTE, tags_false, 2, true, 0, 0, true},
    {"votes cut", PLMM_MSG_VOTE, cut, 1, true, 1, 0, true},
    {"a wrong share", PLMM_MSG_SUM, share_false, 1, true, 0, 1, true},
    {"two wrong shares", PLMM_MSG_SUM, share_false, 2, true, 0, 2, true},
    {"more wrong shares than can be found", PLMM_MSG_SUM, share_false, 12, false, 0, 0, true},
    {"a share out of the field", PLMM_MSG_SUM, share_high, 1, true, 1, 0, true},
};

typedef struct crowd {
    const device_lie *l;
    bool lies[N];
    uint32_t told;
} crowd;

static bool crowd_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static forgery g;
    crowd *c = arg;
    plmm_frame peek;
    (void)to;
    CHECK(plmm_frame_peek(&peek, frame->p, frame->len, NULL) == PLMM_OK, "own frame");
    if (from == FLEET_AGG || peek.type != c->l->type || !c->lies[from]) {
        return true;
    }
    c->told++;
    forge_open(&g, frame);
    c->l->make(f, &g);
    plmm_free(frame->p);
    *frame = forge_up(f, &g, from);
    return true;
}

static void test_devices(void)
{
    liar seen = scout(505);
    for (size_t i = 0; i < COUNT(device_lies); i++) {
        const device_lie *l = &device_lies[i];
        crowd c = {.l = l};
        fleet *f = round_new(505);
        for (uint32_t k = 0, at = 0; k < l->liars; k++) {
            at = pick(&seen, true, k == 0 ? 0 : at + 1);
            c.lies[at] = true;
        }
        f->tap = crowd_tap;
        f->tap_arg = &c;
        fleet_start(f);
        fleet_run(f);
        plmm_agg_status st;
        plmm_agg_round_status(f->agg, &st);
        CHECK(c.told >= l->liars && f->finished == l->finishes, "%s: %s", l->name, f->text);
        CHECK(st.expelled >= l->expelled && st.liars == l->found, "%s: %u expelled, %u liars",
              l->name, st.expelled, st.liars);
        CHECK(!f->finished || f->in_sum == (l->in_sum ? N : N - l->liars), "%s: %u in the sum",
              l->name, f->in_sum);
        CHECK(f->finished || f->reason == PLMM_ABORT_TOO_FEW_REVEALS, "%s: %s", l->name, f->text);
        fleet_check_sum(f);
        fleet_free(f);
    }
}

/* A contribution under the key of another device is nobody's. */
static bool sign_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static forgery g;
    plmm_frame peek;
    (void)to;
    (void)arg;
    CHECK(plmm_frame_peek(&peek, frame->p, frame->len, NULL) == PLMM_OK, "own frame");
    if (from == 4 && peek.type == PLMM_MSG_CONTRIB) {
        forge_open(&g, frame);
        plmm_free(frame->p);
        *frame = forge_up(f, &g, 5);
    }
    return true;
}

static void test_signature(void)
{
    fleet *f = round_new(506);
    f->tap = sign_tap;
    fleet_start(f);
    fleet_run(f);
    CHECK(f->finished && f->in_sum == N - 1, "%u in the sum: %s", f->in_sum, f->text);
    fleet_check_sum(f);
    fleet_free(f);
}

int main(void)
{
    plmm_error err;
    CHECK(plmm_crypto_init(&err) == PLMM_OK, "%s", err.msg);
    test_lies();
    test_two_sets();
    test_two_stories();
    test_guest();
    test_before();
    test_devices();
    test_signature();
    CHECK(plmm_alloc_live() == 0, "%ld blocks leaked", plmm_alloc_live());
    return plmm_test_end();
}
