/* What one lying device can do to a round: nothing but leave it. The others finish and their sum is
 * exact. The lie is authentic, under the key of a device that is certified. Claims C7, C10, C12. */
#include "forge.h"

enum { N = 20, LIAR = 3 }; /* k = 12, t = 8; up to 2 corrupt neighbours */

typedef struct row {
    const char *name;
    uint32_t type;
    void (*lie)(fleet *f, forgery *g);
    uint32_t in_sum;
    uint32_t liars, expelled;
    plmm_refusal refusal;
} row;

static void advert_edit(forgery *g, void (*edit)(plmm_advert *))
{
    plmm_advert a;
    CHECK(plmm_advert_decode(&a, &g->f, NULL) == PLMM_OK, "advert");
    edit(&a);
    g->f.body_len = plmm_advert_encode(g->f.body, &a);
}

static void commit_edit(plmm_advert *a)
{
    a->commit.b[0] ^= 1;
}

static void advert_unsigned(fleet *f, forgery *g)
{
    (void)f;
    advert_edit(g, commit_edit);
}

static void advert_again(fleet *f, plmm_advert *a)
{
    plmm_hash h;
    plmm_transcript t;
    const plmm_certificate *c = &f->d[LIAR].cfg.certificate;
    plmm_round_params_hash(&h, plmm_agg_round_params(f->agg));
    plmm_transcript_init(&t, "advert.1");
    plmm_transcript_bytes(&t, h.b, 32);
    plmm_transcript_u64(&t, c->device);
    plmm_transcript_bytes(&t, c->key.b, 32);
    plmm_transcript_bytes(&t, a->escrow.b, 32);
    plmm_transcript_bytes(&t, a->channel_key.b, 32);
    plmm_transcript_u64(&t, a->since);
    plmm_transcript_bytes(&t, a->commit.b, 32);
    plmm_transcript_bytes(&t, a->nonce, 16);
    plmm_transcript_final(&t, &h);
    plmm_sign(&a->signature, &f->d[LIAR].cfg.key, "advert.1", h.b, sizeof h.b);
}

static void advert_low_order(fleet *f, forgery *g)
{
    plmm_advert a;
    CHECK(plmm_advert_decode(&a, &g->f, NULL) == PLMM_OK, "advert");
    memset(&a.channel_key, 0, sizeof a.channel_key);
    advert_again(f, &a);
    g->f.body_len = plmm_advert_encode(g->f.body, &a);
}

static plmm_dh_pk seen_key; /* of device 0 */

static void advert_copies(fleet *f, forgery *g)
{
    plmm_advert a;
    CHECK(plmm_advert_decode(&a, &g->f, NULL) == PLMM_OK, "advert");
    a.channel_key = seen_key;
    advert_again(f, &a);
    g->f.body_len = plmm_advert_encode(g->f.body, &a);
}

/* An Ed25519 key is as good a point as any: a roster with it would have one key twice. */
static void advert_identity(fleet *f, forgery *g)
{
    plmm_advert a;
    CHECK(plmm_advert_decode(&a, &g->f, NULL) == PLMM_OK, "advert");
    memcpy(a.channel_key.b, f->d[LIAR].cfg.certificate.key.b, sizeof a.channel_key);
    advert_again(f, &a);
    g->f.body_len = plmm_advert_encode(g->f.body, &a);
}

static void advert_others_identity(fleet *f, forgery *g)
{
    plmm_advert a;
    CHECK(plmm_advert_decode(&a, &g->f, NULL) == PLMM_OK, "advert");
    memcpy(a.channel_key.b, f->d[7].cfg.certificate.key.b, sizeof a.channel_key);
    advert_again(f, &a);
    g->f.body_len = plmm_advert_encode(g->f.body, &a);
}

static void tail(fleet *f, forgery *g)
{
    (void)f;
    g->f.bulk_len = FORGE_BULK;
}

static void cut(fleet *f, forgery *g)
{
    (void)f;
    g->f.bulk_len -= 1;
}

static void longer(fleet *f, forgery *g)
{
    (void)f;
    g->f.bulk_len += 1;
}

static void extra_body(fleet *f, forgery *g)
{
    (void)f;
    g->f.body_len = 1;
}

static void boxes_garbage(fleet *f, forgery *g)
{
    fleet_random(f, g->bulk, g->f.bulk_len);
}

static void one_box_garbage(fleet *f, forgery *g)
{
    fleet_random(f, g->bulk, PLMM_BOX);
}

static void three_boxes_garbage(fleet *f, forgery *g)
{
    fleet_random(f, g->bulk, 3 * PLMM_BOX);
}

static void boxes_swapped(fleet *f, forgery *g)
{
    (void)f;
    uint8_t box[PLMM_BOX];
    memcpy(box, g->bulk, sizeof box);
    memcpy(g->bulk, g->bulk + PLMM_BOX, sizeof box);
    memcpy(g->bulk + PLMM_BOX, box, sizeof box);
}

static void slander(fleet *f, forgery *g)
{
    (void)f;
    g->bulk[0] = 0xff;
    g->bulk[1] = 0x0f;
}

static void bits_beyond(fleet *f, forgery *g)
{
    (void)f;
    g->bulk[1] |= 0x80;
}

static void padding(fleet *f, forgery *g)
{
    (void)f;
    g->bulk[g->f.bulk_len - 1] |= 0x80;
}

static void no_residue(fleet *f, forgery *g)
{
    (void)f;
    memset(g->bulk + g->f.bulk_len - 7, 0xff, 7); /* 2^50 - 1 is above every prime */
}

static void some_residue(fleet *f, forgery *g)
{
    (void)f;
    memset(g->bulk + g->f.bulk_len - 7, 0, 7); /* a ciphertext of something: only the sum is lost */
}

static void other_session(fleet *f, forgery *g)
{
    (void)f;
    g->f.session.b[5] ^= 1;
}

static void no_session(fleet *f, forgery *g)
{
    (void)f;
    g->f.has_session = false;
}

static void too_early(fleet *f, forgery *g)
{
    (void)f;
    g->f.type = PLMM_MSG_REVEAL;
}

static void reveals_nothing_early(fleet *f, forgery *g)
{
    (void)f;
    g->f.type = PLMM_MSG_REVEAL;
    memset(g->bulk, 0, 2);
    g->f.bulk_len = 2;
}

static void tags_garbage(fleet *f, forgery *g)
{
    fleet_random(f, g->bulk + 2, g->f.bulk_len - 2);
}

static void agree_with_fewer(fleet *f, forgery *g)
{
    (void)f;
    forge_clear(g->bulk, 4);
    g->f.bulk_len -= PLMM_TAG_BYTES;
}

static void false_shares(fleet *f, forgery *g)
{
    (void)f;
    for (uint32_t at = g->f.bulk_len % PLMM_SHARE_BYTES; at < g->f.bulk_len;
         at += PLMM_SHARE_BYTES) { /* behind the set */
        g->bulk[at] ^= 1;
    }
}

static void share_beyond_field(fleet *f, forgery *g)
{
    (void)f;
    memset(g->bulk + 2, 0xff, 4);
}

static void no_shares(fleet *f, forgery *g)
{
    (void)f;
    memset(g->bulk, 0, 2);
    g->f.bulk_len = 2;
}

static const row rows[] = {
    {"honest", PLMM_MSG_COUNT, NULL, 20, 0, 0, PLMM_REFUSAL_NONE},
    {"keys it did not sign", PLMM_MSG_ADVERT, advert_unsigned, 19, 0, 0, PLMM_REFUSAL_ENTRY},
    {"a key of low order", PLMM_MSG_ADVERT, advert_low_order, 19, 0, 0, PLMM_REFUSAL_KEY},
    {"another's key", PLMM_MSG_ADVERT, advert_copies, 19, 0, 0, PLMM_REFUSAL_KEY},
    {"its identity as a key", PLMM_MSG_ADVERT, advert_identity, 19, 0, 0, PLMM_REFUSAL_KEY},
    {"another's identity as a key", PLMM_MSG_ADVERT, advert_others_identity, 19, 0, 0,
     PLMM_REFUSAL_KEY},
    {"keys with a tail", PLMM_MSG_ADVERT, tail, 19, 0, 0, PLMM_REFUSAL_FORM},
    {"a check-in with a tail", PLMM_MSG_CHECKIN, tail, 19, 0, 0, PLMM_REFUSAL_FORM},
    {"shares cut", PLMM_MSG_SHARES, cut, 19, 0, 1, PLMM_REFUSAL_FORM},
    {"shares with a body", PLMM_MSG_SHARES, extra_body, 19, 0, 1, PLMM_REFUSAL_FORM},
    {"shares: all boxes garbage", PLMM_MSG_SHARES, boxes_garbage, 19, 0, 0, PLMM_REFUSAL_NONE},
    {"shares: one box garbage", PLMM_MSG_SHARES, one_box_garbage, 20, 0, 0, PLMM_REFUSAL_NONE},
    {"shares: three boxes garbage", PLMM_MSG_SHARES, three_boxes_garbage, 19, 0, 0,
     PLMM_REFUSAL_NONE},
    {"shares: boxes swapped", PLMM_MSG_SHARES, boxes_swapped, 20, 0, 0, PLMM_REFUSAL_NONE},
    {"shares of another session", PLMM_MSG_SHARES, other_session, 19, 0, 1, PLMM_REFUSAL_SESSION},
    {"shares without a session", PLMM_MSG_SHARES, no_session, 19, 0, 1, PLMM_REFUSAL_SESSION},
    {"reveals too early", PLMM_MSG_SHARES, too_early, 19, 0, 1, PLMM_REFUSAL_TURN},
    {"slanders everybody", PLMM_MSG_CONFIRM, slander, 20, 0, 0, PLMM_REFUSAL_NONE},
    {"a set with bits beyond", PLMM_MSG_CONFIRM, bits_beyond, 19, 0, 1, PLMM_REFUSAL_FORM},
    {"a set cut", PLMM_MSG_CONFIRM, cut, 19, 0, 1, PLMM_REFUSAL_FORM},
    {"a short vector", PLMM_MSG_MASKED, cut, 19, 0, 1, PLMM_REFUSAL_VECTOR},
    {"a long vector", PLMM_MSG_MASKED, longer, 19, 0, 1, PLMM_REFUSAL_VECTOR},
    {"a vector with padding", PLMM_MSG_MASKED, padding, 19, 0, 1, PLMM_REFUSAL_VECTOR},
    {"a vector of another session", PLMM_MSG_MASKED, other_session, 19, 0, 1, PLMM_REFUSAL_SESSION},
    {"reveals nothing, too early", PLMM_MSG_MASKED, reveals_nothing_early, 19, 0, 1,
     PLMM_REFUSAL_TURN},
    {"MACs garbage", PLMM_MSG_AGREE, tags_garbage, 20, 0, 0, PLMM_REFUSAL_NONE},
    {"MACs for too few", PLMM_MSG_AGREE, agree_with_fewer, 20, 0, 1, PLMM_REFUSAL_FORM},
    {"MACs cut", PLMM_MSG_AGREE, cut, 20, 0, 1, PLMM_REFUSAL_FORM},
    {"false shares", PLMM_MSG_REVEAL, false_shares, 20, 1, 0, PLMM_REFUSAL_NONE},
    {"a share beyond the field", PLMM_MSG_REVEAL, share_beyond_field, 20, 0, 1, PLMM_REFUSAL_SHARE},
    {"no shares", PLMM_MSG_REVEAL, no_shares, 20, 0, 0, PLMM_REFUSAL_NONE},
    {"shares cut at the end", PLMM_MSG_REVEAL, cut, 20, 0, 1, PLMM_REFUSAL_FORM},
};

/* Under Ring-LWE. */
static const row rows_kahe[] = {
    {"honest", PLMM_MSG_COUNT, NULL, 20, 0, 0, PLMM_REFUSAL_NONE},
    {"a short ciphertext", PLMM_MSG_MASKED, cut, 19, 0, 1, PLMM_REFUSAL_VECTOR},
    {"a long ciphertext", PLMM_MSG_MASKED, longer, 19, 0, 1, PLMM_REFUSAL_VECTOR},
    {"no residue", PLMM_MSG_MASKED, no_residue, 19, 0, 1, PLMM_REFUSAL_VECTOR},
    {"a ciphertext of another session", PLMM_MSG_MASKED, other_session, 19, 0, 1,
     PLMM_REFUSAL_SESSION},
    {"false shares", PLMM_MSG_REVEAL, false_shares, 20, 1, 0, PLMM_REFUSAL_NONE},
};

static bool tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    const row *r = arg;
    static forgery g;
    (void)to;
    if (from == FLEET_AGG) {
        return true;
    }
    forge_open(&g, frame);
    if (from == 0 && g.f.type == PLMM_MSG_ADVERT) {
        plmm_advert a;
        CHECK(plmm_advert_decode(&a, &g.f, NULL) == PLMM_OK, "advert");
        seen_key = a.channel_key;
    }
    if (from == LIAR && g.f.type == r->type) {
        r->lie(f, &g);
        plmm_free(frame->p);
        *frame = forge_up(f, &g, LIAR);
    }
    return true;
}

static fleet *fleet_of_20(uint64_t seed)
{
    fleet *f = fleet_new(N, 3, seed); /* 4 lanes of 15 bits: 4 bits of padding */
    f->cfg.params.n_min = 10;
    f->cfg.roster_min = 10;
    return f;
}

static void test_row(row r, uint32_t mask)
{
    fleet *f = fleet_of_20(31);
    f->cfg.params.mask = mask;
    plmm_agg_status s;
    f->tap = tap;
    f->tap_arg = &r;
    fleet_start(f);
    fleet_run(f);
    plmm_agg_round_status(f->agg, &s);
    CHECK(f->finished && f->in_sum == r.in_sum, "%s: %u in the sum: %s", r.name, f->in_sum,
          f->text);
    CHECK(f->refusal == r.refusal, "%s: %s, expected %s", r.name, plmm_refusal_str(f->refusal),
          plmm_refusal_str(r.refusal));
    CHECK(s.liars == r.liars && s.expelled == r.expelled, "%s: %u liars, %u expelled", r.name,
          s.liars, s.expelled);
    fleet_check_sum(f);
    for (uint32_t i = 0; i < N; i++) {
        CHECK(i == LIAR || f->d[i].finished, "%s: device %u: %s", r.name, i, f->d[i].text);
    }
    fleet_free(f);
}

/* A ciphertext that is one, but not its own: the round ends with a sum that is not the truth, and
 * nobody is blamed (C12). */
static void test_spoilt(uint32_t mask)
{
    row r[] = {{"honest", PLMM_MSG_COUNT, NULL, 20, 0, 0, PLMM_REFUSAL_NONE},
               {"spoils the sum", PLMM_MSG_MASKED, some_residue, 20, 0, 0, PLMM_REFUSAL_NONE}};
    uint32_t result[2][4];
    for (size_t i = 0; i < 2; i++) {
        fleet *f = fleet_of_20(31);
        f->cfg.params.mask = mask;
        f->tap = tap;
        f->tap_arg = &r[i];
        fleet_start(f);
        fleet_run(f);
        CHECK(f->finished && f->in_sum == 20, "%u in the sum: %s", f->in_sum, f->text);
        memcpy(result[i], f->result, sizeof result[i]);
        fleet_free(f);
    }
    CHECK(memcmp(result[0], result[1], sizeof result[0]) != 0, "what one device sent is felt");
}

/* ---- many liars: above what the parameters allow there is no sum, and no wrong one either ---- */

static bool liars_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static forgery g;
    uint32_t liars = *(uint32_t *)arg;
    (void)to;
    if (from >= liars) {
        return true;
    }
    forge_open(&g, frame);
    if (g.f.type == PLMM_MSG_REVEAL) {
        false_shares(f, &g);
        plmm_free(frame->p);
        *frame = forge_up(f, &g, from);
    }
    return true;
}

static void test_many_liars(void)
{
    for (uint32_t liars = 1; liars <= 8; liars++) {
        fleet *f = fleet_of_20(32);
        plmm_agg_status s;
        f->tap = liars_tap;
        f->tap_arg = &liars;
        fleet_start(f);
        fleet_run(f);
        plmm_agg_round_status(f->agg, &s);
        CHECK(f->finished || f->reason == PLMM_ABORT_TOO_FEW_REVEALS, "%u liars: %s", liars,
              f->text);
        CHECK(f->finished || liars > 3, "%u liars are survived: %s", liars,
              f->text); /* by search */
        CHECK(!f->finished || s.liars == liars, "%u liars, %u found", liars, s.liars);
        fleet_check_sum(f);
        fleet_free(f);
    }
}

/* Ten of 64 devices lie: around some devices more than decoding can find, and too many to search
 * for. Around others it finds them, and who is known there is known everywhere. */
static void test_found_elsewhere(void)
{
    fleet *f = fleet_new(64, 3, 7);
    plmm_agg_status s;
    uint32_t liars = 10;
    f->cfg.params.gamma_ppm = 200000;
    f->cfg.params.delta_ppm = 100000;
    f->tap = liars_tap;
    f->tap_arg = &liars;
    fleet_start(f);
    fleet_run(f);
    plmm_agg_round_status(f->agg, &s);
    CHECK(s.k == 26 && s.t == 20, "k %u t %u", s.k, s.t);
    CHECK(f->finished && f->in_sum == 64 && s.liars == liars, "%u liars found: %s", s.liars,
          f->text);
    fleet_check_sum(f);
    fleet_free(f);
}

/* ---- hardly enough shares are left, and one is false: with exactly t nothing but the commitment
 * can tell. No sum, or the true one. ---- */

static void test_thin(void)
{
    uint32_t aborted = 0, liars = 1;
    for (uint64_t seed = 40; seed < 52; seed++) {
        fleet *f = fleet_of_20(seed);
        f->d[6].quits = f->d[7].quits = PLMM_MSG_MASKED;
        f->d[8].quits = f->d[9].quits = PLMM_MSG_REVEAL;
        f->tap = liars_tap;
        f->tap_arg = &liars;
        fleet_start(f);
        fleet_run(f);
        CHECK(f->finished || f->reason == PLMM_ABORT_TOO_FEW_REVEALS, "%s", f->text);
        aborted += f->aborted;
        fleet_check_sum(f);
        fleet_free(f);
    }
    CHECK(aborted > 0, "somebody was left with exactly t shares, one of them false");
}

/* The same of a device that dropped: device 0, whose escrow secret only its commitment can vouch for.
 * One of its neighbours lies about it and about nobody else; of the others just t - 1 answer. */
typedef struct thin_ctx {
    bool known;
    uint32_t near[12], liar;
} thin_ctx;

static bool thin_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static forgery g;
    thin_ctx *c = arg;
    (void)to;
    forge_open(&g, frame);
    if (from == FLEET_AGG || g.f.type != PLMM_MSG_REVEAL) {
        return true;
    }
    if (!c->known) {
        c->known = true;
        forge_near(f, c->near, 12, 0);
        c->liar = c->near[11];
    }
    for (uint32_t s = 0; s < 4; s++) {
        if (from == c->near[s]) {
            return false; /* it is not heard of again */
        }
    }
    if (from == c->liar) {
        uint32_t mine[12], at = 2;
        forge_near(f, mine, 12, c->liar);
        for (uint32_t s = 0; mine[s] != 0; s++) {
            at += plmm_set_has(g.bulk, s) ? PLMM_SHARE_BYTES : 0;
        }
        g.bulk[at] ^= 1;
        plmm_free(frame->p);
        *frame = forge_up(f, &g, from);
    }
    return true;
}

static void test_thin_dropped(void)
{
    uint32_t caught = 0;
    for (uint64_t seed = 60; seed < 70; seed++) {
        thin_ctx c = {.known = false};
        fleet *f = fleet_of_20(seed);
        f->d[0].quits = PLMM_MSG_MASKED;
        f->tap = thin_tap;
        f->tap_arg = &c;
        fleet_start(f);
        fleet_run(f);
        CHECK(f->finished || f->reason == PLMM_ABORT_TOO_FEW_REVEALS, "%s", f->text);
        if (strstr(f->text, "shares of device 1000 do not give") != NULL) {
            caught++;
            CHECK(f->blamed == 1000, "it is named: %llu", (unsigned long long)f->blamed);
        }
        fleet_check_sum(f);
        fleet_free(f);
    }
    CHECK(caught > 0, "a false share of an escrow secret was seen by the commitment");
}

/* ---- pair secrets of a device that dropped: by its neighbours' word, or from its escrow ---- */

typedef struct escrow_ctx {
    uint32_t secrets, tags; /* of so many neighbours the liar gives these falsely in R1 */
    uint32_t drops;         /* a neighbour of the liar's */
} escrow_ctx;

static bool escrow_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static forgery g;
    const escrow_ctx *c = arg;
    (void)to;
    if (from == FLEET_AGG) {
        return true;
    }
    forge_open(&g, frame);
    bool shares = from == LIAR && g.f.type == PLMM_MSG_SHARES && c->secrets + c->tags > 0;
    for (uint32_t s = 0; shares && s < 12; s++) {
        uint8_t *escrow = g.bulk + 12 * PLMM_BOX + s * PLMM_ESCROW;
        escrow[0] ^= s < c->secrets;
        escrow[32] ^= s < c->tags;
    }
    if (shares) {
        plmm_free(frame->p);
        *frame = forge_up(f, &g, from);
    }
    return true;
}

/* LIAR drops before it masks, unless it `stays` and its neighbour does; two more devices reveal
 * nothing. */
static fleet *escrow_fleet(uint32_t mask, escrow_ctx *c, bool stays)
{
    fleet *f = fleet_of_20(80);
    uint32_t near[12];
    f->cfg.params.mask = mask;
    f->tap = escrow_tap;
    f->tap_arg = c;
    f->d[stays ? c->drops : LIAR].quits = PLMM_MSG_MASKED;
    f->d[LIAR + 1].quits = f->d[LIAR + 2].quits = PLMM_MSG_REVEAL;
    fleet_start(f);
    fleet_run(f);
    CHECK(f->finished || f->reason == PLMM_ABORT_TOO_FEW_REVEALS, "%s", f->text);
    fleet_check_sum(f);
    forge_near(f, near, 12, LIAR);
    c->drops = near[6];
    return f;
}

/* Pair secrets of a device that dropped come from what it left; who lies about them costs the round
 * its sum, and is named if that is certain. */
static void test_escrow(uint32_t mask)
{
    const struct {
        const char *name;
        escrow_ctx c;
        bool stays, sum, named;
    } cases[] = {
        {"honest", {0}, false, true, false},
        {"its own tags only", {.tags = 12}, false, true, false},
        {"false secrets", {.secrets = 12}, false, false, true},
        {"one false secret", {.secrets = 1}, false, false, true},
        {"one false secret and tag", {.secrets = 1, .tags = 1}, false, false, false},
        {"false secrets and tags", {.secrets = 12, .tags = 12}, false, false, true},
        {"false tags of who stays", {.tags = 12}, true, false, false},
    };
    uint32_t drops = 0;
    for (size_t i = 0; i < COUNT(cases); i++) {
        escrow_ctx c = cases[i].c;
        c.drops = drops;
        fleet *f = escrow_fleet(mask, &c, cases[i].stays);
        drops = c.drops;
        CHECK(f->finished == cases[i].sum && (!f->finished || f->in_sum == 19), "%s: %s",
              cases[i].name, f->text);
        CHECK(f->blamed == (cases[i].named ? f->d[LIAR].cfg.certificate.device : 0),
              "%s: %llu is named", cases[i].name, (unsigned long long)f->blamed);
        fleet_free(f);
    }
}

/* ---- who is not enrolled does not get in; who repeats itself changes nothing ---- */

static void agg_feed(fleet *f, const fleet_bytes *b, plmm_status want, const char *what)
{
    plmm_status rc = PLMM_OK;
    fleet_agg_event(f, (plmm_agg_event){.type = PLMM_AGG_EV_FRAME, .bytes = b->p, .len = b->len},
                    &rc);
    CHECK(rc == want, "%s: %s: %s", what, plmm_status_str(rc), f->text);
}

static void test_outsider(void)
{
    fleet *f = fleet_of_20(33);
    plmm_error err;
    CHECK(plmm_certificate_issue(&f->d[LIAR].cfg.certificate, &f->agg_sk, "medicine", 1021,
                                 &f->d[LIAR].cfg.certificate.key, &err) == PLMM_OK,
          "issue"); /* by the aggregator's key: it cannot enroll devices itself */
    fleet_start(f);
    fleet_run(f);
    CHECK(f->finished && f->in_sum == 19 && !f->d[LIAR].finished, "%u in the sum", f->in_sum);
    fleet_free(f);
}

/* One key enrolled under two ids counts once: else nobody could take the roster, which has it
 * twice. */
static void test_two_ids(void)
{
    fleet *f = fleet_of_20(35);
    plmm_error err;
    f->d[LIAR].cfg.key = f->d[LIAR + 1].cfg.key;
    CHECK(plmm_certificate_issue(&f->d[LIAR].cfg.certificate, &f->registrar_sk, "medicine", 1021,
                                 &f->d[LIAR + 1].cfg.certificate.key, &err) == PLMM_OK,
          "issue");
    fleet_start(f);
    fleet_run(f);
    CHECK(f->finished && f->in_sum == 19, "%u in the sum: %s", f->in_sum, f->text);
    fleet_check_sum(f);
    fleet_free(f);
}

typedef struct flood_ctx {
    bool busy;
    uint32_t times;
} flood_ctx;

static bool flood_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    flood_ctx *c = arg;
    static forgery g;
    if (from != LIAR || to != FLEET_AGG || c->busy) {
        return !c->busy;
    }
    c->busy = true;
    plmm_status rc = PLMM_OK;
    forge_open(&g, frame);
    if (g.f.type != PLMM_MSG_CHECKIN) { /* of another round, and not seen before: not taken */
        g.f.round++;
        fleet_bytes early = forge_up(f, &g, LIAR);
        agg_feed(f, &early, PLMM_ERR_STALE, "another round");
        plmm_free(early.p);
        g.f.round--;
        g.f.attempt++;
        early = forge_up(f, &g, LIAR);
        agg_feed(f, &early, PLMM_ERR_STALE, "another attempt");
        plmm_free(early.p);
        g.f.attempt--;
    }
    for (uint32_t i = 0; i < 20; i++) {
        fleet_agg_event(
            f, (plmm_agg_event){.type = PLMM_AGG_EV_FRAME, .bytes = frame->p, .len = frame->len},
            &rc);
        if (rc == PLMM_OK) {
            c->times++;
        }
        CHECK(rc == PLMM_OK || rc == PLMM_ERR_STALE, "%s: %s", plmm_message_str(g.f.type), f->text);
        CHECK(i == 0 || rc == PLMM_ERR_STALE || g.f.type == PLMM_MSG_POLL, "repetition %u of %s", i,
              plmm_message_str(g.f.type));
    }
    g.f.round++;
    fleet_bytes other = forge_up(f, &g, LIAR);
    agg_feed(f, &other, PLMM_ERR_STALE, "another round");
    other.p[other.len - 1] ^= 1;
    agg_feed(f, &other, g.f.bulk_len > 0 ? PLMM_ERR_WIRE : PLMM_ERR_AUTH, "a bit flipped");
    plmm_free(other.p);
    c->busy = false;
    return true;
}

static void test_flood(void)
{
    fleet *f = fleet_of_20(34);
    flood_ctx c = {0};
    f->tap = flood_tap;
    f->tap_arg = &c;
    fleet_start(f);
    c.busy = false;
    fleet_run(f);
    CHECK(f->finished && f->in_sum == 20 && c.times >= 6, "%u in the sum, %u taken", f->in_sum,
          c.times);
    fleet_check_sum(f);
    fleet_free(f);
}

/* ---- frames in the name of a device that are not its own ---- */

enum { VICTIM = 6 };

typedef struct pretender {
    fleet_bytes told; /* the last message to the liar, as it came */
    uint32_t tried, checked_in;
} pretender;

static void agg_try(fleet *f, fleet_bytes b, plmm_status want, plmm_refusal refusal,
                    const char *what)
{
    f->refusal = PLMM_REFUSAL_NONE;
    agg_feed(f, &b, want, what);
    CHECK(f->refusal == refusal, "%s: %s", what, plmm_refusal_str(f->refusal));
    plmm_free(b.p);
}

/* Its own certificate and key, under the id of a device that is known; then that device's certificate,
 * which is no secret, without its key. */
static void check_in_as(fleet *f, forgery *g, const fleet_bytes *of_victim)
{
    static forgery h;
    plmm_key own = forge_key(f, LIAR), none = {{0}};
    const uint64_t victim = f->d[VICTIM].cfg.certificate.device;
    h = *g;
    h.f.sender = victim;
    agg_try(f, forge_seal(&h, &own, PLMM_TO_AGGREGATOR), PLMM_ERR_AUTH, PLMM_REFUSAL_CERTIFICATE,
            "the certificate of another device");
    forge_open(&h, of_victim);
    agg_try(f, forge_seal(&h, &own, PLMM_TO_AGGREGATOR), PLMM_ERR_AUTH, PLMM_REFUSAL_SIGNATURE,
            "a check-in under another device's key");
    agg_try(f, forge_seal(&h, &none, PLMM_TO_AGGREGATOR), PLMM_ERR_AUTH, PLMM_REFUSAL_SIGNATURE,
            "a check-in under no key");
    agg_try(f, forge_sign(f, &h, &f->d[LIAR].cfg.key), PLMM_ERR_AUTH, PLMM_REFUSAL_SIGNATURE,
            "a check-in the way down");
}

/* A frame of the victim, by somebody else, changed, or sent back; and one of the liar in its name. */
static void speak_as(fleet *f, pretender *p, const fleet_bytes *of_victim)
{
    static forgery h;
    plmm_key own = forge_key(f, LIAR), hers = forge_key(f, VICTIM);
    forge_open(&h, of_victim);
    const size_t bulk = h.f.bulk_len;
    agg_try(f, forge_seal(&h, &own, PLMM_TO_AGGREGATOR), PLMM_ERR_AUTH, PLMM_REFUSAL_SIGNATURE,
            "another device's key");
    agg_try(f, forge_seal(&h, &hers, PLMM_TO_DEVICE), PLMM_ERR_AUTH, PLMM_REFUSAL_SIGNATURE,
            "the way down");
    fleet_bytes b = fleet_copy(of_victim->p, of_victim->len);
    b.p[b.len - bulk - 1] ^= 1;
    agg_try(f, b, PLMM_ERR_AUTH, PLMM_REFUSAL_SIGNATURE, "a bit of the tag");
    if (bulk > 0) {
        b = fleet_copy(of_victim->p, of_victim->len);
        b.p[b.len - 1] ^= 1;
        agg_try(f, b, PLMM_ERR_WIRE, PLMM_REFUSAL_FORM, "a bit of the bulk");
        h.bulk[0] ^= 1;
        agg_try(f, forge_seal(&h, &own, PLMM_TO_AGGREGATOR), PLMM_ERR_AUTH, PLMM_REFUSAL_SIGNATURE,
                "another bulk");
    }
    agg_try(f, fleet_copy(p->told.p, p->told.len), PLMM_ERR_PEER, PLMM_REFUSAL_NONE,
            "the aggregator's own frame, sent back");
    p->tried++;
}

static bool pretend_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static forgery g;
    static bool busy;
    static fleet_bytes of_victim;
    pretender *p = arg;
    if (busy) {
        return true;
    }
    busy = true;
    forge_open(&g, frame);
    if (to == LIAR) {
        plmm_free(p->told.p);
        p->told = fleet_copy(frame->p, frame->len);
    } else if (g.f.type == PLMM_MSG_CHECKIN && from == LIAR) {
        of_victim = fleet_copy(frame->p, frame->len);
    } else if (g.f.type == PLMM_MSG_CHECKIN && from == VICTIM) {
        forgery *liar = plmm_alloc(1, sizeof *liar);
        forge_open(liar, &of_victim);
        check_in_as(f, liar, frame); /* before the aggregator has met it in this process ... */
        plmm_key k;
        CHECK(f->known == NULL ||
                  plmm_known_meet(f->known, &k, &f->d[VICTIM].cfg.certificate, NULL) == PLMM_OK,
              "met");
        check_in_as(f, liar, frame); /* ... and after */
        plmm_free(liar);
        plmm_free(of_victim.p);
        of_victim = (fleet_bytes){NULL, 0};
        p->checked_in++;
    } else if (from == VICTIM && p->told.p != NULL) {
        speak_as(f, p, frame);
    }
    busy = false;
    return true;
}

static void test_pretender(void)
{
    for (uint64_t seed = 36; seed < 38; seed++) { /* with a table of known devices, and without */
        pretender p = {.tried = 0};
        fleet *f = fleet_of_20(seed);
        f->tap = pretend_tap;
        f->tap_arg = &p;
        fleet_start(f);
        fleet_run(f);
        CHECK(f->finished && f->in_sum == 20 && p.checked_in == 1 && p.tried >= 6,
              "%u in the sum, %u checked in, %u tried: %s", f->in_sum, p.checked_in, p.tried,
              f->text);
        fleet_check_sum(f);
        plmm_free(p.told.p);
        fleet_free(f);
    }
}

/* A table of another aggregator's, registrar's or expert's devices says nothing about these. */
static void test_other_table(void)
{
    fleet *f = fleet_of_20(38);
    plmm_agg_round *m = NULL;
    plmm_error err = {0};
    CHECK(plmm_known_new(&f->known, &f->registrar_sk, &f->anchor.registrar, "medicine", 9, &err) ==
              PLMM_OK,
          "%s", err.msg);
    f->cfg.known = f->known;
    CHECK(plmm_agg_round_new(&m, &f->cfg, &err) == PLMM_ERR_RANGE && m == NULL, "%s", err.msg);
    fleet_free(f);
}

int main(int argc, char **argv)
{
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (argc < 2 || strcmp(argv[1], rows[i].name) == 0) {
            test_row(rows[i], PLMM_MASK_RING);
        }
    }
    static const uint32_t kahe[] = {PLMM_MASK_KAHE, PLMM_MASK_KAHE_LONG};
    for (size_t k = 0; k < COUNT(kahe); k++) {
        for (size_t i = 0; i < COUNT(rows_kahe); i++) {
            test_row(rows_kahe[i], kahe[k]);
        }
        test_spoilt(kahe[k]);
    }
    test_many_liars();
    test_found_elsewhere();
    test_thin();
    test_thin_dropped();
    test_escrow(PLMM_MASK_RING);
    test_escrow(PLMM_MASK_KAHE);
    test_outsider();
    test_two_ids();
    test_flood();
    test_pretender();
    test_other_table();
    CHECK(plmm_alloc_live() == 0, "%ld blocks leaked", plmm_alloc_live());
    return plmm_test_end();
}
