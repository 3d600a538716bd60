/* Every lie an aggregator could tell a device, each caught: the device leaves, and none of its
 * shares leaves it. Research: "Malicious server" of Bonawitz, Bell, Pasquini and the tests of fcp.
 * The lie goes to device 0 (or to some), signed with the aggregator's true key. Claims C1 to C7,
 * C9. */
#include "forge.h"

enum { N = 20 }; /* k = 12, t = 8 */

typedef void (*lie_fn)(fleet *f, forgery *g, uint32_t to);

typedef struct row {
    const char *name;
    uint32_t type; /* of the message that is changed */
    lie_fn lie;
    plmm_abort reason; /* of device 0 */
    const char *says;
} row;

/* ---- INVITE ---- */

static void params_edit(forgery *g, void (*edit)(plmm_round_params *))
{
    plmm_round_params p;
    CHECK(plmm_params_decode(&p, &g->f, NULL) == PLMM_OK, "params");
    edit(&p);
    g->f.body_len = plmm_params_encode(g->f.body, &p);
}

#define PARAM_LIE(name, change)                                                                    \
    static void name##_edit(plmm_round_params *p)                                                  \
    {                                                                                              \
        change;                                                                                    \
    }                                                                                              \
    static void name(fleet *f, forgery *g, uint32_t to)                                            \
    {                                                                                              \
        (void)f;                                                                                   \
        (void)to;                                                                                  \
        params_edit(g, name##_edit);                                                               \
    }

PARAM_LIE(low_n_min, p->n_min = 3)
PARAM_LIE(low_gamma, p->gamma_ppm = 50000)
PARAM_LIE(low_sigma, p->sigma = 20)
PARAM_LIE(curious, p->trust = PLMM_TRUST_CURIOUS)
PARAM_LIE(other_stream, p->stream = 2)
PARAM_LIE(wrap, p->ring_bits -= 1)
PARAM_LIE(heavy, p->weight_max = 1 << 20; p->quant_bits = 2; p->ring_bits = 32)
PARAM_LIE(loose_clip, p->clip = 1e6)
PARAM_LIE(long_training, p->steps = 1u << 30)
PARAM_LIE(other_length, p->length += 1)
PARAM_LIE(other_names, p->names.b[0] ^= 1)
PARAM_LIE(other_method, p->method = 77)
PARAM_LIE(other_model, p->model.b[0] ^= 1)

/* Larger than anything a device keeps an invitation in. */
static void invite_tail(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    g->f.bulk_len = FORGE_BULK;
}

/* ---- ROSTER ---- */

static uint8_t *entry(forgery *g, uint32_t i)
{
    return g->bulk + (size_t)i * PLMM_ROSTER_ENTRY;
}

static void head_set(forgery *g, uint32_t n, uint32_t k, uint32_t t)
{
    plmm_roster_head h;
    CHECK(plmm_roster_head_decode(&h, &g->f, NULL) == PLMM_OK, "head");
    h = (plmm_roster_head){n, k == 0 ? h.k : k, t == 0 ? h.t : t};
    g->f.body_len = plmm_roster_head_encode(g->f.body, &h);
}

static void degree_set(fleet *f, forgery *g, uint32_t n)
{
    plmm_graph_params p = plmm_round_graph(plmm_agg_round_params(f->agg), n);
    plmm_graph_degree d = {0};
    CHECK(plmm_graph_degree_solve(&d, &p, NULL) == PLMM_OK, "degree");
    head_set(g, n, d.k, d.t);
    g->f.bulk_len = n * PLMM_ROSTER_ENTRY;
}

static void without_me(fleet *f, forgery *g, uint32_t to)
{
    memmove(entry(g, to), entry(g, to + 1), (size_t)(N - 1 - to) * PLMM_ROSTER_ENTRY);
    degree_set(f, g, N - 1);
}

static void other_key_for_me(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    entry(g, to)[8 + 32 + 64] ^= 1; /* the mask key */
}

static void me_twice(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    memcpy(entry(g, to + 1), entry(g, to), PLMM_ROSTER_ENTRY);
}

/* A colluding device signs whatever is wanted. */
static void resign(fleet *f, forgery *g, uint32_t i)
{
    plmm_hash h;
    plmm_transcript t;
    uint8_t *e = entry(g, i);
    plmm_signature sig;
    plmm_round_params_hash(&h, plmm_agg_round_params(f->agg));
    plmm_transcript_init(&t, "advert.1");
    plmm_transcript_bytes(&t, h.b, 32);
    plmm_transcript_u64(&t, plmm_load_le64(e));
    plmm_transcript_bytes(&t, e + 8, 32);
    plmm_transcript_bytes(&t, e + 104, 32);
    plmm_transcript_bytes(&t, e + 136, 32);
    plmm_transcript_bytes(&t, e + 168, 32);
    plmm_transcript_bytes(&t, e + 200, 16);
    plmm_transcript_final(&t, &h);
    plmm_sign(&sig, &f->d[i].cfg.key, "advert.1", h.b, sizeof h.b);
    memcpy(e + 216, sig.b, sizeof sig.b);
}

static void foreign_key_twice(fleet *f, forgery *g, uint32_t to)
{
    (void)to;
    memcpy(entry(g, 5) + 104, entry(g, 9) + 104, 32);
    resign(f, g, 5);
}

static void low_order(fleet *f, forgery *g, uint32_t to)
{
    (void)to;
    for (uint32_t i = 1; i < N; i++) { /* whoever is a neighbour; not all the same key */
        memset(entry(g, i) + 104, 0, 32);
        entry(g, i)[104] = (uint8_t)(i == 3);
    }
    for (uint32_t i = 1; i < N; i++) {
        if (i > 2) {
            entry(g, i)[104 + 31] = 0;
            fleet_random(f, entry(g, i) + 104, 32);
        }
        resign(f, g, i);
    }
}

static void made_up_devices(fleet *f, forgery *g, uint32_t to)
{
    (void)to;
    plmm_certificate c;
    CHECK(plmm_certificate_issue(&c, &f->agg_sk, "medicine", f->d[4].cfg.certificate.device,
                                 &f->d[4].cfg.certificate.key, NULL) == PLMM_OK,
          "issue");
    memcpy(entry(g, 4) + 40, c.signature.b, 64); /* by the aggregator, not the registrar */
}

static void swapped_key(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    entry(g, 7)[136] ^= 1; /* a channel key that its owner did not sign */
}

static void unsorted(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    uint8_t e[PLMM_ROSTER_ENTRY];
    memcpy(e, entry(g, 10), sizeof e);
    memcpy(entry(g, 10), entry(g, 11), sizeof e);
    memcpy(entry(g, 11), e, sizeof e);
}

static void truncated(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    g->f.bulk_len -= 1;
}

static void oversize(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    head_set(g, N + 1, 0, 0);
    g->f.bulk_len = (N + 1) * PLMM_ROSTER_ENTRY;
}

static void one_device(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    memmove(entry(g, 0), entry(g, to), PLMM_ROSTER_ENTRY);
    head_set(g, 1, 0, 0);
    g->f.bulk_len = PLMM_ROSTER_ENTRY;
}

static void fewer_neighbours(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    head_set(g, N, 4, 0);
}

static void lower_threshold(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    head_set(g, N, 0, 2);
}

/* ---- INBOX, GO ---- */

static void inbox_without_me(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    forge_clear(g->bulk, to);
}

static void inbox_hides_a_box(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    uint32_t set_n = plmm_set_bytes(N);
    forge_clear(g->bulk + set_n, 0);
    uint8_t *box = g->bulk + set_n + 2;
    memmove(box, box + PLMM_BOX, 11 * PLMM_BOX);
    g->f.bulk_len -= PLMM_BOX;
}

static void inbox_short(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    g->f.bulk_len -= 1;
}

static void inbox_few(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    uint32_t set_n = plmm_set_bytes(N);
    memset(g->bulk, 0, set_n);
    plmm_set_put(g->bulk, to);
}

static void other_session(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    g->f.session.b[0] ^= 1;
}

static void set_without_me(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    forge_clear(g->bulk, to);
}

static void set_with_unknown(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    plmm_set_put(g->bulk, N + 1);
}

static void set_with_dead(fleet *f, forgery *g, uint32_t to) /* device 13 is gone by then */
{
    (void)f;
    (void)to;
    plmm_set_put(g->bulk, 13);
}

static void set_with_late_dead(fleet *f, forgery *g, uint32_t to) /* 14 shared, and was gone then */
{
    (void)f;
    (void)to;
    plmm_set_put(g->bulk, 14);
}

static void set_tiny(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    memset(g->bulk, 0, plmm_set_bytes(N));
    for (uint32_t i = 0; i < 5; i++) {
        plmm_set_put(g->bulk, (to + i) % N);
    }
}

static void set_wrong_length(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    g->f.bulk_len += 1;
}

/* Enough survivors, but not enough of this device's neighbours. */
static void set_starves_me(fleet *f, forgery *g, uint32_t to)
{
    uint32_t near[12];
    forge_near(f, near, 12, to);
    for (uint32_t i = 0; i < 5; i++) {
        forge_clear(g->bulk, near[i]); /* 7 of 12 are left, t = 8 */
    }
}

/* ---- AGREED ---- */

static void agreed_few(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    memset(g->bulk, 0, 2);
    for (uint32_t i = 0; i < 7; i++) {
        plmm_set_put(g->bulk, i);
    }
    g->f.bulk_len = 2 + 7 * PLMM_TAG_BYTES;
}

static void agreed_forged(fleet *f, forgery *g, uint32_t to)
{
    (void)to;
    fleet_random(f, g->bulk + 2, 12 * PLMM_TAG_BYTES);
}

static void agreed_short(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    g->f.bulk_len -= 3;
}

/* The tags this device itself sent, given back to it. */
static fleet_bytes own_agree;
static void agreed_reflected(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    static plmm_frame frame;
    CHECK(plmm_frame_decode(&frame, own_agree.p, own_agree.len, NULL) == PLMM_OK, "own agree");
    memcpy(g->bulk, frame.bulk, frame.bulk_len);
    g->f.bulk_len = frame.bulk_len;
}

static const row rows[] = {
    {"parameters: n_min", PLMM_MSG_INVITE, low_n_min, PLMM_ABORT_POLICY, "may sum only 3 devices"},
    {"parameters: gamma", PLMM_MSG_INVITE, low_gamma, PLMM_ABORT_POLICY, "to be corrupt"},
    {"parameters: sigma", PLMM_MSG_INVITE, low_sigma, PLMM_ABORT_POLICY, "sigma 20"},
    {"parameters: trust", PLMM_MSG_INVITE, curious, PLMM_ABORT_POLICY, "semi-malicious"},
    {"parameters: stream", PLMM_MSG_INVITE, other_stream, PLMM_ABORT_POLICY, "stream 2"},
    {"parameters: the sum wraps", PLMM_MSG_INVITE, wrap, PLMM_ABORT_POLICY, ""},
    {"parameters: weight", PLMM_MSG_INVITE, heavy, PLMM_ABORT_POLICY, "weigh"},
    {"parameters: clip", PLMM_MSG_INVITE, loose_clip, PLMM_ABORT_POLICY, "clips"},
    {"parameters: steps", PLMM_MSG_INVITE, long_training, PLMM_ABORT_POLICY, "steps"},
    {"parameters: length", PLMM_MSG_INVITE, other_length, PLMM_ABORT_POLICY, "coordinates"},
    {"parameters: names", PLMM_MSG_INVITE, other_names, PLMM_ABORT_POLICY, "names or shapes"},
    {"parameters: method", PLMM_MSG_INVITE, other_method, PLMM_ABORT_POLICY, "method 77"},
    {"a private model", PLMM_MSG_INVITE, other_model, PLMM_ABORT_MODEL, "another version"},
    {"an invitation with a tail", PLMM_MSG_INVITE, invite_tail, PLMM_ABORT_NOT_SELECTED, ""},

    {"roster without me", PLMM_MSG_ROSTER, without_me, PLMM_ABORT_LIE, "does not have this device"},
    {"my key changed", PLMM_MSG_ROSTER, other_key_for_me, PLMM_ABORT_LIE, "other keys for this"},
    {"me twice", PLMM_MSG_ROSTER, me_twice, PLMM_ABORT_LIE, "or twice"},
    {"a foreign key twice", PLMM_MSG_ROSTER, foreign_key_twice, PLMM_ABORT_LIE, "key is on the ro"},
    {"keys of low order", PLMM_MSG_ROSTER, low_order, PLMM_ABORT_LIE, "lied"},
    {"devices of its own making", PLMM_MSG_ROSTER, made_up_devices, PLMM_ABORT_LIE, "not enrolled"},
    {"a key in the middle", PLMM_MSG_ROSTER, swapped_key, PLMM_ABORT_LIE, "not signed by it"},
    {"roster out of order", PLMM_MSG_ROSTER, unsorted, PLMM_ABORT_LIE,
     "stands on the roster after"},
    {"roster cut", PLMM_MSG_ROSTER, truncated, PLMM_ABORT_LIE, "has 5599 octets"},
    {"roster too large", PLMM_MSG_ROSTER, oversize, PLMM_ABORT_POLICY, "the roster has 21 devices"},
    {"a cohort of one", PLMM_MSG_ROSTER, one_device, PLMM_ABORT_POLICY, "the roster has 1 devices"},
    {"fewer neighbours", PLMM_MSG_ROSTER, fewer_neighbours, PLMM_ABORT_POLICY, "announced 4"},
    {"a lower threshold", PLMM_MSG_ROSTER, lower_threshold, PLMM_ABORT_POLICY, "threshold 2"},

    {"inbox: I did not share", PLMM_MSG_INBOX, inbox_without_me, PLMM_ABORT_LIE, "not have this"},
    {"inbox hides a box", PLMM_MSG_INBOX, inbox_hides_a_box, PLMM_ABORT_LIE, "exactly the boxes"},
    {"inbox cut", PLMM_MSG_INBOX, inbox_short, PLMM_ABORT_LIE, "boxes it announces"},
    {"inbox: hardly anybody", PLMM_MSG_INBOX, inbox_few, PLMM_ABORT_LIE, "only 1 of 20"},
    {"inbox of another session", PLMM_MSG_INBOX, other_session, PLMM_ABORT_LIE, "another session"},
    {"go without me", PLMM_MSG_GO, set_without_me, PLMM_ABORT_LIE, "does not have this device"},
    {"go with an unknown", PLMM_MSG_GO, set_with_unknown, PLMM_ABORT_LIE, "beyond the roster"},
    {"go with the dead", PLMM_MSG_GO, set_with_dead, PLMM_ABORT_LIE, "was out of the round"},
    {"go: too few", PLMM_MSG_GO, set_tiny, PLMM_ABORT_LIE, "only 5 of 20"},
    {"go: a wrong length", PLMM_MSG_GO, set_wrong_length, PLMM_ABORT_LIE, "wrong length"},
    {"go: my neighbours are gone", PLMM_MSG_GO, set_starves_me, PLMM_ABORT_LIE, "neighbours are"},

    {"I am dead", PLMM_MSG_SURVIVORS, set_without_me, PLMM_ABORT_LIE, "does not have this device"},
    {"an unknown id", PLMM_MSG_SURVIVORS, set_with_unknown, PLMM_ABORT_LIE, "beyond the roster"},
    {"the dead live", PLMM_MSG_SURVIVORS, set_with_dead, PLMM_ABORT_LIE, "was out of the round"},
    {"the dead live again", PLMM_MSG_SURVIVORS, set_with_late_dead, PLMM_ABORT_LIE, "out of the r"},
    {"fewer than n_min", PLMM_MSG_SURVIVORS, set_tiny, PLMM_ABORT_LIE, "only 5 of 20"},
    {"survivors: length", PLMM_MSG_SURVIVORS, set_wrong_length, PLMM_ABORT_LIE, "wrong length"},
    {"too few neighbours", PLMM_MSG_SURVIVORS, set_starves_me, PLMM_ABORT_LIE, "neighbours are"},
    {"survivors of a session", PLMM_MSG_SURVIVORS, other_session, PLMM_ABORT_LIE, "another sess"},

    {"too few agree", PLMM_MSG_AGREED, agreed_few, PLMM_ABORT_TOO_FEW_AGREE, "only 7 neighbours"},
    {"forged agreement", PLMM_MSG_AGREED, agreed_forged, PLMM_ABORT_TOO_FEW_AGREE,
     "only 0 neighbours"},
    {"agreement cut", PLMM_MSG_AGREED, agreed_short, PLMM_ABORT_LIE, "MACs it announces"},
    {"my own MACs", PLMM_MSG_AGREED, agreed_reflected, PLMM_ABORT_TOO_FEW_AGREE,
     "only 0 neighbours"},
};

typedef struct lie_ctx {
    const row *r;
    uint32_t told;
} lie_ctx;

static bool tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    lie_ctx *c = arg;
    static forgery g;
    if (from != FLEET_AGG) {
        fleet_watch(f, from, frame);
        plmm_frame peek;
        CHECK(plmm_frame_peek(&peek, frame->p, frame->len, NULL) == PLMM_OK, "peek");
        if (from == 0 && peek.type == PLMM_MSG_AGREE && own_agree.p == NULL) {
            own_agree = fleet_copy(frame->p, frame->len);
        }
        return true;
    }
    forge_open(&g, frame);
    if (to == 0 && g.f.type == c->r->type) {
        c->r->lie(f, &g, to);
        plmm_free(frame->p);
        *frame = forge_seal(&g, &f->agg_sk);
        c->told++;
    }
    return true;
}

static fleet *fleet_of_20(uint64_t seed)
{
    fleet *f = fleet_new(N, 3, seed);
    f->cfg.params.n_min = 10;
    f->cfg.roster_min = 10;
    for (uint32_t i = 0; i < N; i++) {
        f->d[i].cfg.policy.n_min = 10;
        f->d[i].cfg.policy.weight_max = 16;
    }
    f->d[13].quits = PLMM_MSG_SHARES;
    f->d[14].quits = PLMM_MSG_CONFIRM;
    return f;
}

static void test_row(const row *r)
{
    fleet *f = fleet_of_20(77);
    lie_ctx c = {.r = r};
    if (r->type == PLMM_MSG_AGREED) {
        f->d[13].quits = f->d[14].quits = 0;
    }
    f->tap = tap;
    f->tap_arg = &c;
    f->until_abort = r->type == PLMM_MSG_INVITE || r->type == PLMM_MSG_ROSTER;
    fleet_start(f);
    fleet_run(f);
    const fleet_device *d = &f->d[0];
    CHECK(c.told > 0, "%s: the lie was told", r->name);
    CHECK(d->aborted == r->reason, "%s: %s: %s", r->name, plmm_abort_str(d->aborted), d->text);
    CHECK(strstr(d->text, r->says) != NULL, "%s: %s", r->name, d->text);
    CHECK(d->reveal.p == NULL && !d->finished, "%s: no share left the device", r->name);
    fleet_check_sum(f); /* the others go on without it */
    plmm_free(own_agree.p);
    own_agree = (fleet_bytes){0};
    fleet_free(f);
}

/* ---- two stories: each half is told that one device of the other half died, and the MACs are
 * carried to and fro as if nothing were. Whoever reveals shares then gives b of a device away in
 * one half and s in the other; hardly anybody has t neighbours that tell the same. ---- */

typedef struct split_ctx {
    fleet_bytes agree[N]; /* what each device sent */
    uint32_t had;
    bool done;
} split_ctx;

static const uint8_t *tag_for(const fleet_bytes *agree, plmm_frame *frame, const uint32_t *near,
                              uint32_t to)
{
    uint32_t slot = plmm_find(near, 12, to), at = 0;
    CHECK(plmm_frame_decode(frame, agree->p, agree->len, NULL) == PLMM_OK, "agree");
    if (slot == 12 || !plmm_set_has(frame->bulk, slot)) {
        return NULL;
    }
    for (uint32_t s = 0; s < slot; s++) {
        at += plmm_set_has(frame->bulk, s);
    }
    return frame->bulk + 2 + (size_t)at * PLMM_TAG_BYTES;
}

/* AGREED for each device, from what its neighbours sent. */
static void split_deliver(fleet *f, split_ctx *c)
{
    static forgery g;
    static plmm_frame frame;
    uint32_t mine[12], theirs[12];
    for (uint32_t i = 0; i < N; i++) {
        if (c->agree[i].p == NULL) {
            continue;
        }
        forge_open(&g, &c->agree[i]);
        g.f.type = PLMM_MSG_AGREED;
        g.f.sender = PLMM_AGGREGATOR_ID;
        g.f.receiver = f->d[i].cfg.certificate.device;
        memset(g.bulk, 0, 2);
        g.f.bulk_len = 2;
        forge_near(f, mine, 12, i);
        for (uint32_t s = 0; s < 12; s++) {
            forge_near(f, theirs, 12, mine[s]);
            const uint8_t *tag =
                c->agree[mine[s]].p == NULL ? NULL : tag_for(&c->agree[mine[s]], &frame, theirs, i);
            if (tag != NULL) {
                plmm_set_put(g.bulk, s);
                memcpy(g.bulk + g.f.bulk_len, tag, PLMM_TAG_BYTES);
                g.f.bulk_len += PLMM_TAG_BYTES;
            }
        }
        fleet_enqueue(f, FLEET_AGG, i, forge_seal(&g, &f->agg_sk));
    }
}

static bool split_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static forgery g;
    split_ctx *c = arg;
    forge_open(&g, frame);
    if (from != FLEET_AGG) {
        fleet_watch(f, from, frame);
        if (g.f.type == PLMM_MSG_AGREE && c->agree[from].p == NULL) {
            c->agree[from] = fleet_copy(frame->p, frame->len);
            if (++c->had == N - 2) { /* all but the two who were told nothing */
                c->done = true;
                split_deliver(f, c);
            }
        }
        return g.f.type != PLMM_MSG_AGREE; /* the honest machine need not see */
    }
    if (g.f.type == PLMM_MSG_SURVIVORS) {
        if (to == 18 || to == 2) {
            return false;
        }
        forge_clear(g.bulk, to < N / 2 ? 18 : 2);
        plmm_free(frame->p);
        *frame = forge_seal(&g, &f->agg_sk);
    }
    return true;
}

static void test_split(void)
{
    split_ctx c = {.had = 0};
    fleet *f = fleet_of_20(78);
    f->d[13].quits = f->d[14].quits = 0;
    f->tap = split_tap;
    f->tap_arg = &c;
    fleet_start(f);
    fleet_run(f);
    CHECK(c.done && !f->finished, "two stories were told, and do not end in a sum");
    uint32_t revealed = 0;
    for (uint32_t i = 0; i < N; i++) {
        revealed += f->d[i].reveal.p != NULL;
        CHECK(i == 2 || i == 18 || f->d[i].reveal.p != NULL ||
                  f->d[i].aborted == PLMM_ABORT_TOO_FEW_AGREE,
              "device %u: %s", i, f->d[i].text);
        plmm_free(c.agree[i].p);
    }
    /* 2t > k + corrupt: not both shares of anybody t times */
    CHECK(revealed < 8, "%u devices revealed shares, t = 8", revealed);
    fleet_free(f);
}

/* ---- a second, different message of each kind that is answered ---- */

typedef struct second_ctx {
    uint32_t type, after;
    bool done;
} second_ctx;

static fleet_bytes first_of[PLMM_MSG_COUNT];

static void second_change(forgery *g)
{
    if (g->f.type == PLMM_MSG_ROSTER) {
        head_set(g, N, 14, 9);
    } else {
        forge_clear(g->bulk, 6);
    }
    if (g->f.type == PLMM_MSG_AGREED) {
        g->f.bulk_len -= PLMM_TAG_BYTES;
    }
}

static bool second_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    second_ctx *c = arg;
    static forgery g;
    if (from != FLEET_AGG) {
        fleet_watch(f, from, frame);
        forge_open(&g, frame);
        if (from == 0 && g.f.type == c->after &&
            !c->done) { /* it has answered: now another story */
            c->done = true;
            forge_open(&g, &first_of[c->type]);
            second_change(&g);
            fleet_enqueue(f, FLEET_AGG, 0, forge_seal(&g, &f->agg_sk));
        }
        return true;
    }
    forge_open(&g, frame);
    if (to == 0 && first_of[g.f.type].p == NULL) {
        first_of[g.f.type] = fleet_copy(frame->p, frame->len);
    }
    return true;
}

static void test_second(void)
{
    static const second_ctx kinds[] = {
        {PLMM_MSG_ROSTER, PLMM_MSG_SHARES, false},    {PLMM_MSG_INBOX, PLMM_MSG_CONFIRM, false},
        {PLMM_MSG_GO, PLMM_MSG_MASKED, false},        {PLMM_MSG_SURVIVORS, PLMM_MSG_AGREE, false},
        {PLMM_MSG_SURVIVORS, PLMM_MSG_REVEAL, false}, {PLMM_MSG_AGREED, PLMM_MSG_REVEAL, false}};
    for (size_t k = 0; k < COUNT(kinds); k++) {
        fleet *f = fleet_of_20(79);
        f->d[13].quits = f->d[14].quits = 0;
        second_ctx c = kinds[k];
        f->tap = second_tap;
        f->tap_arg = &c;
        fleet_start(f);
        fleet_run(f);
        const fleet_device *d = &f->d[0];
        CHECK(c.done && d->aborted == PLMM_ABORT_LIE && strstr(d->text, "two different") != NULL,
              "second %s after %s: %s", plmm_message_str(c.type), plmm_message_str(c.after),
              d->text);
        for (uint32_t i = 0; i < PLMM_MSG_COUNT; i++) {
            plmm_free(first_of[i].p);
            first_of[i] = (fleet_bytes){0};
        }
        fleet_free(f);
    }
}

/* ---- frames that are no lies but noise: not of the aggregator, of another round, out of turn
 * ---- */

static void feed(fleet *f, uint32_t to, forgery *g, const plmm_sign_sk *sk, plmm_status want,
                 const char *what)
{
    plmm_status rc = PLMM_OK;
    fleet_bytes b = forge_seal(g, sk);
    plmm_client_state before = plmm_client_round_state(f->d[to].m);
    fleet_client_event(
        f, to, (plmm_client_event){.type = PLMM_CLIENT_EV_FRAME, .bytes = b.p, .len = b.len}, &rc);
    CHECK(rc == want, "%s: %s: %s", what, plmm_status_str(rc), f->text);
    CHECK(plmm_client_round_state(f->d[to].m) == before, "%s: the state is as it was", what);
    plmm_free(b.p);
}

static bool noise_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static forgery g;
    bool *done = arg;
    if (from != FLEET_AGG || to != 0 || *done) {
        return true;
    }
    forge_open(&g, frame);
    if (g.f.type != PLMM_MSG_SURVIVORS) {
        return true;
    }
    *done = true;
    plmm_seed s = {{1}};
    plmm_sign_pk pk;
    plmm_sign_sk other;
    plmm_sign_keypair(&pk, &other, &s);
    forgery h = g;
    feed(f, 0, &h, &other, PLMM_ERR_AUTH, "signed by somebody else");
    h = g;
    h.f.round -= 1;
    feed(f, 0, &h, &f->agg_sk, PLMM_ERR_STALE, "of an earlier round");
    h = g;
    h.f.attempt += 1;
    feed(f, 0, &h, &f->agg_sk, PLMM_ERR_STALE, "of another attempt");
    h = g;
    h.f.receiver = 1007;
    feed(f, 0, &h, &f->agg_sk, PLMM_ERR_PEER, "for another device");
    h = g;
    memcpy(h.f.expert, "finance", 8);
    feed(f, 0, &h, &f->agg_sk, PLMM_ERR_PEER, "of another expert");
    h = g;
    h.f.sender = 1007;
    feed(f, 0, &h, &f->agg_sk, PLMM_ERR_PEER, "by a device");
    h = g;
    h.f.type = PLMM_MSG_AGREED;
    feed(f, 0, &h, &f->agg_sk, PLMM_ERR_PEER, "out of turn");
    h = g;
    h.f.type = PLMM_MSG_MASKED;
    h.f.has_session = false;
    feed(f, 0, &h, &f->agg_sk, PLMM_ERR_PEER, "a device's message");
    h = g;
    h.f.has_session = false;
    feed(f, 0, &h, &f->agg_sk, PLMM_ERR_WIRE, "without a session");
    return true;
}

static void test_noise(void)
{
    bool done = false;
    fleet *f = fleet_of_20(80);
    f->tap = noise_tap;
    f->tap_arg = &done;
    fleet_start(f);
    fleet_run(f);
    CHECK(done && f->finished && f->d[0].finished, "noise does not stop a round: %s", f->text);
    fleet_check_sum(f);
    fleet_free(f);
}

/* A round this device was in before, or an older one, is not entered again (C6). */
static void test_replayed_round(void)
{
    static const struct {
        uint64_t round;
        uint32_t attempt;
    } last[] = {{7, 1}, {7, 2}, {8, 1}};
    for (size_t i = 0; i < COUNT(last); i++) {
        fleet *f = fleet_of_20(81);
        f->d[0].cfg.last_round = last[i].round;
        f->d[0].cfg.last_attempt = last[i].attempt;
        fleet_start(f);
        fleet_run(f);
        CHECK(!f->d[0].finished && f->d[0].reveal.p == NULL && f->d[0].masked.p == NULL,
              "row %zu: it sat the round out", i);
        CHECK(f->finished, "row %zu: the others did not: %s", i, f->text);
        fleet_free(f);
    }
}

int main(int argc, char **argv)
{
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (argc < 2 || strcmp(argv[1], rows[i].name) == 0) {
            test_row(&rows[i]);
        }
    }
    test_split();
    test_second();
    test_noise();
    test_replayed_round();
    CHECK(plmm_alloc_live() == 0, "%ld blocks leaked", plmm_alloc_live());
    return plmm_test_end();
}
