/* Lies that cross a border: a box or a set that is right in another direction or half of the cohort,
 * a message of the other protocol, noise that is made for other numbers. Claims C2, C7, C13, D1. */
#include "forge.h"

enum { N = 20, NEAR = 12, THRESHOLD = 8, DEVICES = 56 };

typedef struct story {
    fleet_bytes own; /* what the victim sent */
    uint32_t told, seen;
    bool bad; /* the victim said so */
} story;

static fleet *secagg_new(uint64_t seed)
{
    fleet *f = fleet_new(N, 3, seed);
    f->cfg.params.n_min = 10;
    f->cfg.roster_min = 10;
    return f;
}

static fleet *oneshot_new(uint64_t seed)
{
    fleet *f = fleet_new(24, 5, seed);
    fleet_oneshot(f, PLMM_MASK_KAHE);
    return f;
}

/* Runs with a man in the middle. */
static void run(fleet *f, fleet_tap tap, story *s)
{
    f->tap = tap;
    f->tap_arg = s;
    fleet_start(f);
    fleet_run(f);
}

static uint32_t type_of(const fleet_bytes *frame)
{
    plmm_frame peek;
    CHECK(plmm_frame_peek(&peek, frame->p, frame->len, NULL) == PLMM_OK, "own frame");
    return peek.type;
}

/* ---- a device is given its own box, as if the neighbour it is for had made it ---- */

static bool mirror_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static forgery g, mine;
    story *s = arg;
    uint32_t type = type_of(frame), at = plmm_set_bytes(N) + plmm_set_bytes(NEAR);
    if (from == 0 && type == PLMM_MSG_SHARES && s->own.p == NULL) {
        s->own = fleet_copy(frame->p, frame->len);
    }
    if (from == 0 && type == PLMM_MSG_CONFIRM) {
        forge_open(&g, frame);
        s->bad = plmm_set_has(g.bulk, 0) && plmm_set_count(g.bulk, NEAR) == 1;
        s->seen++;
    }
    if (from == FLEET_AGG && to == 0 && type == PLMM_MSG_INBOX) {
        forge_open(&g, frame);
        forge_open(&mine, &s->own);
        memcpy(g.bulk + at, mine.bulk, PLMM_BOX);
        plmm_free(frame->p);
        *frame = forge_down(f, &g, to);
        s->told++;
    }
    return true;
}

static void test_mirror(void)
{
    story s = {.told = 0};
    fleet *f = secagg_new(90);
    run(f, mirror_tap, &s);
    CHECK(s.told > 0 && s.seen > 0 && s.bad, "its own box is no neighbour's");
    CHECK(f->finished && f->in_sum == N, "%s", f->text);
    fleet_check_sum(f);
    plmm_free(s.own.p);
    fleet_free(f);
}

/* ---- the same to a member of a committee: member[1] gets its own box in place of member[0]'s ---- */

static void seats_of(fleet *f, uint32_t *member)
{
    uint32_t order[2 * FLEET_MAX];
    plmm_hash beacon;
    plmm_round_seal_beacon(&beacon, plmm_agg_round_seal(f->agg));
    plmm_committee_draw(member, plmm_oneshot_committee(f->tables)->m, f->n, &beacon, order);
}

static bool mirror_member_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static forgery g, mine;
    static uint32_t member[FLEET_MAX];
    story *s = arg;
    uint32_t type = type_of(frame);
    size_t box = plmm_packed_share_bytes(PLMM_KAHE_P1) + PLMM_SEAL_OVERHEAD;
    if (type == PLMM_MSG_CONTRIB) {
        seats_of(f, member);
    }
    if (from == member[1] && type == PLMM_MSG_CONTRIB && s->own.p == NULL) {
        s->own = fleet_copy(frame->p, frame->len);
    }
    if (from == member[1] && type == PLMM_MSG_COMPLAIN) {
        forge_open(&g, frame);
        s->bad = plmm_set_has(g.bulk, member[0]) && plmm_set_count(g.bulk, f->n) == 1;
        s->seen++;
    }
    if (type == PLMM_MSG_DELIVER && to == member[1]) {
        forge_open(&g, frame);
        forge_open(&mine, &s->own);
        uint8_t *record = g.bulk + plmm_set_bytes(f->n) + member[0] * (PLMM_ONESHOT_NONCE + box);
        memcpy(record, mine.bulk, PLMM_ONESHOT_NONCE + box); /* nonce; the box for seat 0 */
        plmm_free(frame->p);
        *frame = forge_down(f, &g, to);
        s->told++;
    }
    return true;
}

static void test_mirror_member(void)
{
    story s = {.told = 0};
    fleet *f = oneshot_new(91);
    run(f, mirror_member_tap, &s);
    CHECK(s.told > 0 && s.seen > 0 && s.bad, "its own box is no other member's");
    CHECK(f->finished && f->in_sum == f->n, "%s", f->text);
    fleet_check_sum(f);
    plmm_free(s.own.p);
    fleet_free(f);
}

/* ---- two sets of devices that go on, and one set of survivors ---- */

static bool go_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static forgery g;
    story *s = arg;
    if (from != FLEET_AGG) {
        fleet_watch(f, from, frame);
    }
    if (from != FLEET_AGG || type_of(frame) != PLMM_MSG_GO) {
        return true;
    }
    if (to == 18 || to == 2) {
        return false;
    }
    forge_open(&g, frame);
    forge_clear(g.bulk, to < N / 2 ? 18 : 2);
    plmm_free(frame->p);
    *frame = forge_down(f, &g, to);
    s->told++;
    return true;
}

static void test_two_goes(void)
{
    story s = {.told = 0};
    uint32_t revealed = 0;
    fleet *f = secagg_new(92);
    run(f, go_tap, &s);
    for (uint32_t i = 0; i < N; i++) {
        revealed += f->d[i].reveal.p != NULL;
        CHECK(f->d[i].refusal == PLMM_REFUSAL_DISAGREE || i == 2 || i == 18 ||
                  f->d[i].aborted == PLMM_ABORT_TOO_FEW_REVEALS,
              "device %u: %s", i, f->d[i].text);
    }
    CHECK(s.told >= N - 2 && !f->finished && revealed < THRESHOLD, "%u revealed: %s", revealed,
          f->text);
    fleet_free(f);
}

/* ---- messages of the other protocol, to a device ---- */

static void feed_other(fleet *f, uint32_t to, const fleet_bytes *like, uint32_t type)
{
    static forgery g;
    plmm_status rc = PLMM_OK;
    plmm_client_state before = plmm_client_round_state(f->d[to].m);
    forge_open(&g, like);
    g.f.type = type;
    memset(g.bulk, 0xff, sizeof g.bulk);
    g.bulk[plmm_set_bytes(f->n) - 1] = (uint8_t)((1u << (f->n % 8 == 0 ? 8 : f->n % 8)) - 1);
    g.f.bulk_len = plmm_set_bytes(f->n);
    fleet_bytes b = forge_down(f, &g, to);
    fleet_client_event(
        f, to, (plmm_client_event){.type = PLMM_CLIENT_EV_FRAME, .bytes = b.p, .len = b.len}, &rc);
    CHECK(rc == PLMM_ERR_PEER && plmm_client_round_state(f->d[to].m) == before &&
              strstr(f->text, "other protocol") != NULL,
          "a %s message while %s: %s: %s", plmm_message_str(type), plmm_client_state_str(before),
          plmm_status_str(rc), f->text);
    plmm_free(b.p);
}

static bool other_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static const uint32_t secagg[] = {PLMM_MSG_INBOX, PLMM_MSG_GO, PLMM_MSG_SURVIVORS,
                                      PLMM_MSG_AGREED};
    static const uint32_t oneshot[] = {PLMM_MSG_DELIVER, PLMM_MSG_CHOSEN, PLMM_MSG_VOTES};
    story *s = arg;
    uint32_t type = type_of(frame);
    if (from != FLEET_AGG || s->told > 0) {
        return true;
    }
    if (type == PLMM_MSG_DELIVER) {
        for (size_t i = 0; i < COUNT(secagg); i++) {
            feed_other(f, to, frame, secagg[i]);
        }
        s->told++;
    }
    if (type == PLMM_MSG_SURVIVORS) {
        for (size_t i = 0; i < COUNT(oneshot); i++) {
            feed_other(f, to, frame, oneshot[i]);
        }
        s->told++;
    }
    return true;
}

/* ---- and to the aggregator: device 3 calls its vector by the other name ---- */

static bool rename_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static forgery g;
    story *s = arg;
    uint32_t type = type_of(frame);
    (void)to;
    if (from != 3 || (type != PLMM_MSG_CONTRIB && type != PLMM_MSG_MASKED)) {
        return true;
    }
    forge_open(&g, frame);
    if (type == PLMM_MSG_CONTRIB) { /* the ciphertext without the boxes */
        size_t len = plmm_round_payload_bytes(&f->cfg.params);
        memmove(g.bulk, g.bulk + g.f.bulk_len - len, len);
        g.f.bulk_len = (uint32_t)len;
    }
    g.f.type = type == PLMM_MSG_CONTRIB ? PLMM_MSG_MASKED : PLMM_MSG_CONTRIB;
    plmm_free(frame->p);
    *frame = forge_up(f, &g, 3);
    s->told++;
    return true;
}

static void test_other_protocol(void)
{
    for (uint32_t one = 0; one < 2; one++) {
        story s = {.told = 0};
        fleet *f = one == 1 ? oneshot_new(93) : secagg_new(93);
        run(f, other_tap, &s);
        CHECK(s.told == 1 && f->finished && f->in_sum == f->n, "%s", f->text);
        fleet_check_sum(f);
        fleet_free(f);
        s.told = 0;
        f = one == 1 ? oneshot_new(94) : secagg_new(94);
        run(f, rename_tap, &s);
        CHECK(s.told > 0 && f->finished && f->in_sum == f->n - 1, "%u in the sum: %s", f->in_sum,
              f->text);
        fleet_check_sum(f);
        fleet_free(f);
    }
}

/* ---- noise that is made for fewer corrupt devices than may be among those eligible ---- */

/* The roster as it would be with twice the eligible devices, sealed, with the k and t for them. */
static bool many_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static forgery g;
    story *s = arg;
    plmm_roster_head h;
    plmm_graph_degree d;
    plmm_committee c;
    if (from != FLEET_AGG || to != 0 || type_of(frame) != PLMM_MSG_ROSTER) {
        return true;
    }
    forge_open(&g, frame);
    CHECK(plmm_roster_head_decode(&h, &g.f, NULL) == PLMM_OK, "head");
    h.seal.eligible = 2 * f->n;
    plmm_graph_params p = plmm_round_graph(&f->cfg.params, f->n, h.seal.eligible);
    if (f->cfg.params.protocol == PLMM_PROTOCOL_ONESHOT) {
        CHECK(plmm_committee_solve(&c, &p, PLMM_PACKED_RHO, PLMM_COMMITTEE_SPARE, NULL) == PLMM_OK,
              "there is such a committee");
        h.k = c.m;
        h.t = c.need;
    } else {
        CHECK(plmm_graph_degree_solve(&d, &p, NULL) == PLMM_OK, "there is such a graph");
        h.k = d.k;
        h.t = d.t;
    }
    plmm_round_seal_sign(&h.seal, "medicine", &f->registrar_sk);
    g.f.body_len = plmm_roster_head_encode(g.f.body, &h);
    plmm_free(frame->p);
    *frame = forge_down(f, &g, to);
    s->told++;
    return true;
}

static void test_noise(void)
{
    for (uint32_t one = 0; one < 2; one++) {
        story s = {.told = 0};
        fleet *f = fleet_new(DEVICES, 5, 95);
        plmm_round_params *p = &f->cfg.params;
        p->weight_max = 1;
        p->n_min = DEVICES / 2;
        f->cfg.roster_min = DEVICES / 2;
        p->noise = PLMM_NOISE_SKELLAM;
        p->noise_mode = PLMM_NOISE_DISTRIBUTED;
        p->noise_units = 1600;
        plmm_encoding e = plmm_round_encoding(p);
        p->ring_bits = plmm_encoding_ring_bits(&e);
        if (one == 1) {
            fleet_oneshot(f, PLMM_MASK_KAHE);
        }
        f->until_abort = true;
        run(f, many_tap, &s);
        CHECK(s.told > 0 && f->d[0].aborted == PLMM_ABORT_POLICY &&
                  f->d[0].refusal == PLMM_REFUSAL_DEGREE &&
                  strstr(f->d[0].text, "noise is made for at most") != NULL,
              "protocol %u: %s: %s", one, plmm_refusal_str(f->d[0].refusal), f->d[0].text);
        fleet_free(f);
    }
}

/* ---- a committee of nobody, or a threshold of nothing ---- */

static bool nobody_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static forgery g;
    story *s = arg;
    plmm_roster_head h;
    if (from != FLEET_AGG || to > 1 || type_of(frame) != PLMM_MSG_ROSTER) {
        return true;
    }
    forge_open(&g, frame);
    CHECK(plmm_roster_head_decode(&h, &g.f, NULL) == PLMM_OK, "head");
    h.k = to == 0 ? 0 : h.k;
    h.t = 0;
    g.f.body_len = plmm_roster_head_encode(g.f.body, &h);
    if (to == 0) { /* nobody's entry, and no proof */
        g.f.bulk_len = f->n * 8;
    }
    plmm_free(frame->p);
    *frame = forge_down(f, &g, to);
    s->told++;
    return true;
}

static void test_nobody(void)
{
    for (uint32_t one = 0; one < 2; one++) {
        story s = {.told = 0};
        fleet *f = one == 1 ? oneshot_new(96) : secagg_new(96);
        run(f, nobody_tap, &s);
        for (uint32_t i = 0; i < 2; i++) {
            CHECK(s.told >= 2 && f->d[i].aborted == PLMM_ABORT_POLICY &&
                      f->d[i].refusal == PLMM_REFUSAL_DEGREE && f->d[i].masked.p == NULL,
                  "protocol %u, device %u: %s: %s", one, i, plmm_refusal_str(f->d[i].refusal),
                  f->d[i].text);
        }
        fleet_free(f);
    }
}

int main(void)
{
    plmm_error err;
    CHECK(plmm_crypto_init(&err) == PLMM_OK, "%s", err.msg);
    test_mirror();
    test_mirror_member();
    test_two_goes();
    test_other_protocol();
    test_noise();
    test_nobody();
    CHECK(plmm_alloc_live() == 0, "%ld blocks leaked", plmm_alloc_live());
    return plmm_test_end();
}
