/* The registrar: what it seals, what it refuses, and that it does so once. Every refusal is for a
 * request that the aggregator signed with its true key; colluding devices sign what is wanted.
 * Claims C7, C14, C15. Guards proto/src/registrar.c and proto/src/chain.c line by line: the name of
 * a row is the check. */
#include "forge.h"

enum { N = 12 };

static plmm_registrar_answer answer;

/* ---- entries of a request ---- */

static uint8_t *entry(forgery *g, uint32_t i)
{
    return g->bulk + (size_t)i * PLMM_ROSTER_ENTRY;
}

/* Device `signer` signs entry i, for the parameters of the request. */
static void resign(fleet *f, forgery *g, uint32_t i, uint32_t signer)
{
    plmm_hash h;
    plmm_transcript t;
    plmm_round_params p;
    uint8_t *e = entry(g, i);
    plmm_signature sig;
    CHECK(plmm_params_decode(&p, &g->f, NULL) == PLMM_OK, "params");
    plmm_round_params_hash(&h, &p);
    plmm_transcript_init(&t, "advert.1");
    plmm_transcript_bytes(&t, h.b, 32);
    plmm_transcript_u64(&t, plmm_load_le64(e));
    plmm_transcript_bytes(&t, e + 8, 32);
    plmm_transcript_bytes(&t, e + 104, 32);
    plmm_transcript_bytes(&t, e + 136, 32);
    plmm_transcript_u64(&t, plmm_load_le64(e + 168));
    plmm_transcript_bytes(&t, e + 176, 32);
    plmm_transcript_bytes(&t, e + 208, 16);
    plmm_transcript_final(&t, &h);
    plmm_sign(&sig, &f->d[signer].cfg.key, "advert.1", h.b, sizeof h.b);
    memcpy(e + 224, sig.b, sizeof sig.b);
}

static void params_edit(fleet *f, forgery *g, void (*edit)(plmm_round_params *))
{
    plmm_round_params p;
    CHECK(plmm_params_decode(&p, &g->f, NULL) == PLMM_OK, "params");
    edit(&p);
    g->f.round = p.round;
    g->f.attempt = p.attempt;
    g->f.body_len = plmm_params_encode(g->f.body, &p);
    for (uint32_t i = 0; i < g->f.bulk_len / PLMM_ROSTER_ENTRY; i++) { /* all devices go along */
        resign(f, g, i, i);
    }
}

/* ---- what is refused ---- */

static void self_certified(fleet *f, forgery *g)
{
    plmm_certificate c;
    CHECK(plmm_certificate_issue(&c, &f->agg_sk, "medicine", plmm_load_le64(entry(g, 4)),
                                 &f->d[4].cfg.certificate.key, NULL) == PLMM_OK,
          "issue");
    memcpy(entry(g, 4) + 40, c.signature.b, 64);
}

/* A cohort of the aggregator's own making: keys and ids of devices that nobody enrolled. */
static void own_cohort(fleet *f, forgery *g)
{
    for (uint32_t i = 0; i < N; i++) {
        plmm_seed s;
        plmm_sign_pk pk;
        plmm_certificate c;
        fleet_random(f, &s, sizeof s);
        plmm_sign_keypair(&pk, &f->d[i].cfg.key, &s);
        CHECK(plmm_certificate_issue(&c, &f->agg_sk, "medicine", 1000 + 7 * (uint64_t)i, &pk,
                                     NULL) == PLMM_OK,
              "issue");
        memcpy(entry(g, i) + 8, pk.b, 32);
        memcpy(entry(g, i) + 40, c.signature.b, 64);
        resign(f, g, i, i);
    }
}

static void not_enrolled(fleet *f, forgery *g)
{
    (void)g;
    f->enrolled[3] = f->enrolled[2] + 1; /* device 3 was revoked, somebody else came */
}

static void key_of_another(fleet *f, forgery *g)
{
    (void)f;
    entry(g, 7)[136] ^= 1;
}

static void key_twice(fleet *f, forgery *g)
{
    memcpy(entry(g, 5) + 136, entry(g, 9) + 136, 32);
    resign(f, g, 5, 5);
}

static void identity_as_key(fleet *f, forgery *g)
{
    memcpy(entry(g, 5) + 136, entry(g, 9) + 8, 32);
    resign(f, g, 5, 5);
}

static void low_order(fleet *f, forgery *g)
{
    memset(entry(g, 5) + 136, 0, 32);
    entry(g, 5)[136] = 1;
    entry(g, 5)[167] = 0x80; /* the top bit is not looked at */
    resign(f, g, 5, 5);
}

static void zero_key(fleet *f, forgery *g)
{
    memset(entry(g, 5) + 136, 0, 32);
    resign(f, g, 5, 5);
}

static void old_channel(fleet *f, forgery *g)
{
    plmm_store_le64(entry(g, 6) + 168, 0);
    resign(f, g, 6, 6);
}

static void future_channel(fleet *f, forgery *g)
{
    plmm_store_le64(entry(g, 6) + 168, 8);
    resign(f, g, 6, 6);
}

static void device_twice(fleet *f, forgery *g)
{
    (void)f;
    memcpy(entry(g, 5), entry(g, 4), PLMM_ROSTER_ENTRY);
}

static void unsorted(fleet *f, forgery *g)
{
    (void)f;
    uint8_t e[PLMM_ROSTER_ENTRY];
    memcpy(e, entry(g, 5), sizeof e);
    memcpy(entry(g, 5), entry(g, 6), sizeof e);
    memcpy(entry(g, 6), e, sizeof e);
}

static void one_device(fleet *f, forgery *g)
{
    (void)f;
    g->f.bulk_len = PLMM_ROSTER_ENTRY;
}

static void nobody(fleet *f, forgery *g)
{
    (void)f;
    g->f.bulk_len = 0;
}

static void other_params(fleet *f, forgery *g)
{
    plmm_round_params p;
    (void)f;
    CHECK(plmm_params_decode(&p, &g->f, NULL) == PLMM_OK, "params");
    p.n_min = 3; /* the devices signed for others */
    p.steps++;
    g->f.body_len = plmm_params_encode(g->f.body, &p);
}

static void impossible_edit(plmm_round_params *p)
{
    p->cohort = 0;
}

static void impossible(fleet *f, forgery *g)
{
    params_edit(f, g, impossible_edit);
}

static void small_edit(plmm_round_params *p)
{
    p->cohort = 11;
    p->n_min = 3;
}

static void beyond_cohort(fleet *f, forgery *g)
{
    params_edit(f, g, small_edit);
}

static void rate_edit(plmm_round_params *p)
{
    p->rate = UINT32_C(1) << 30;
}

static void high_edit(plmm_round_params *p) /* all of a few devices, nearly surely */
{
    p->rate = UINT32_MAX - 1;
}

static void not_eligible(fleet *f, forgery *g) /* about a quarter may take part, 12 come */
{
    params_edit(f, g, rate_edit);
}

static void group_edit(plmm_round_params *p)
{
    p->groups = 3;
    p->group = 1;
}

static void other_group(fleet *f, forgery *g)
{
    params_edit(f, g, group_edit);
}

static const struct row {
    const char *name;
    void (*lie)(fleet *f, forgery *g);
    plmm_refusal refusal;
} rows[] = {
    {"honest", NULL, PLMM_REFUSAL_NONE},
    {"certified by the aggregator", self_certified, PLMM_REFUSAL_CERTIFICATE},
    {"a cohort of its own making", own_cohort, PLMM_REFUSAL_CERTIFICATE},
    {"revoked", not_enrolled, PLMM_REFUSAL_CERTIFICATE},
    {"a key its owner did not sign", key_of_another, PLMM_REFUSAL_ENTRY},
    {"signed for other parameters", other_params, PLMM_REFUSAL_ENTRY},
    {"a key twice", key_twice, PLMM_REFUSAL_KEY},
    {"an identity as a key", identity_as_key, PLMM_REFUSAL_KEY},
    {"a channel key of low order", low_order, PLMM_REFUSAL_KEY},
    {"a channel key of zeros", zero_key, PLMM_REFUSAL_KEY},
    {"a channel key too old", old_channel, PLMM_REFUSAL_KEY},
    {"a channel key of the future", future_channel, PLMM_REFUSAL_KEY},
    {"a device twice", device_twice, PLMM_REFUSAL_FORM},
    {"out of order", unsorted, PLMM_REFUSAL_FORM},
    {"impossible parameters", impossible, PLMM_REFUSAL_FORM},
    {"a cohort of one", one_device, PLMM_REFUSAL_COHORT},
    {"an empty cohort", nobody, PLMM_REFUSAL_COHORT},
    {"more than the cohort", beyond_cohort, PLMM_REFUSAL_COHORT},
    {"not eligible", not_eligible, PLMM_REFUSAL_ELIGIBLE},
    {"of another group", other_group, PLMM_REFUSAL_ELIGIBLE},
};

/* ---- a registrar of its own beside a fleet's request ---- */

static plmm_registrar *registrar_of(fleet *f, uint32_t links)
{
    plmm_registrar *r = NULL;
    plmm_registrar_config c = {.expert = "medicine",
                               .key = f->registrar_sk,
                               .aggregator = f->anchor.aggregator,
                               .chain = {{5}},
                               .chain_length = links};
    CHECK(plmm_registrar_new(&r, &c, NULL) == PLMM_OK, "registrar");
    return r;
}

static fleet *fleet_with_request(void)
{
    fleet *f = fleet_new(N, 3, 41);
    fleet_start(f);
    fleet_run(f);
    CHECK(f->finished && f->request.p != NULL && f->seals == 1, "a round: %s", f->text);
    return f;
}

static plmm_status ask(fleet *f, plmm_registrar *r, forgery *g, const plmm_sign_sk *key)
{
    plmm_enrolled all = {f->enrolled, f->enrolled_n};
    plmm_error err = {0};
    fleet_bytes b = forge_sign(f, g, key);
    plmm_status rc = plmm_registrar_seal(r, b.p, b.len, &all, &answer, &err);
    plmm_free(b.p);
    return rc;
}

/* The answer is a frame that says the same. */
static plmm_seal_answer told(const fleet *f)
{
    static plmm_frame frame;
    plmm_seal_answer a = {0};
    plmm_error err = {0};
    CHECK(plmm_frame_decode(&frame, answer.frame, answer.frame_len, &err) == PLMM_OK &&
              plmm_frame_verify(&frame, &f->anchor.registrar, &err) == PLMM_OK &&
              plmm_seal_answer_decode(&a, &frame, &err) == PLMM_OK,
          "%s", err.msg);
    CHECK(a.refusal == answer.refusal && (a.refusal == 0) == answer.sealed, "one story");
    return a;
}

static void test_refusals(void)
{
    static forgery g;
    for (size_t i = 0; i < COUNT(rows); i++) {
        fleet *f = fleet_with_request();
        plmm_registrar *r = registrar_of(f, 8);
        uint64_t round;
        uint32_t left;
        forge_open(&g, &f->request);
        if (rows[i].lie != NULL) {
            rows[i].lie(f, &g);
        }
        CHECK(ask(f, r, &g, &f->agg_sk) == PLMM_OK, "%s: it answers", rows[i].name);
        CHECK(answer.refusal == (uint32_t)rows[i].refusal, "%s: %s: %s", rows[i].name,
              plmm_refusal_str(answer.refusal), answer.text);
        (void)told(f);
        plmm_registrar_status(r, &round, &left);
        bool sealed = rows[i].refusal == PLMM_REFUSAL_NONE;
        CHECK(left == (sealed ? 7u : 8u) && round == (sealed ? 7u : 0u) &&
                  (answer.record_len > 0) == sealed,
              "%s: no link is opened for a refusal", rows[i].name);
        plmm_registrar_free(r);
        fleet_free(f);
    }
}

static void test_strangers(void)
{
    static forgery g, h;
    fleet *f = fleet_with_request();
    plmm_registrar *r = registrar_of(f, 8);
    forge_open(&g, &f->request);
    h = g;
    CHECK(ask(f, r, &h, &f->d[0].cfg.key) == PLMM_ERR_AUTH, "signed by a device");
    h = g;
    memcpy(h.f.expert, "finance", 8);
    CHECK(ask(f, r, &h, &f->agg_sk) == PLMM_ERR_WIRE, "of another expert");
    h = g;
    h.f.receiver = 5;
    CHECK(ask(f, r, &h, &f->agg_sk) == PLMM_ERR_WIRE, "for somebody else");
    h = g;
    h.f.type = PLMM_MSG_ROSTER;
    CHECK(ask(f, r, &h, &f->agg_sk) == PLMM_ERR_WIRE, "another message");
    h = g;
    h.f.bulk_len -= 1;
    CHECK(ask(f, r, &h, &f->agg_sk) == PLMM_ERR_WIRE, "half an entry");
    plmm_registrar_free(r);
    fleet_free(f);
}

/* ---- exactly once for each (round, group), also after a crash ---- */

static void next_edit(plmm_round_params *p)
{
    p->round++;
}

static void test_once(void)
{
    static forgery g, h;
    static plmm_registrar_answer first;
    fleet *f = fleet_with_request();
    plmm_registrar *r = registrar_of(f, 2);
    forge_open(&g, &f->request);
    CHECK(ask(f, r, &g, &f->agg_sk) == PLMM_OK && answer.sealed, "%s", answer.text);
    first = answer;
    plmm_seal_answer one = told(f);
    CHECK(one.seal.link.index == 1 && one.seal.n == N && one.seal.eligible == N &&
              one.seal.population == N,
          "the first link, all of them");
    CHECK(ask(f, r, &g, &f->agg_sk) == PLMM_OK && answer.sealed && answer.record_len == 0 &&
              answer.frame_len == first.frame_len &&
              memcmp(answer.frame, first.frame, first.frame_len) == 0,
          "the same request gets the same seal, and nothing to write down");
    h = g; /* another roster for the same round: device 11 left out */
    h.f.bulk_len -= PLMM_ROSTER_ENTRY;
    CHECK(ask(f, r, &h, &f->agg_sk) == PLMM_OK && answer.refusal == PLMM_REFUSAL_SECOND_SEAL,
          "a second roster: %s", answer.text);
    plmm_registrar_free(r);

    r = registrar_of(f, 2); /* a crash: what was written down is all there is */
    plmm_error err = {0};
    CHECK(plmm_registrar_restore(r, first.record, first.record_len, &err) == PLMM_OK, "%s",
          err.msg);
    CHECK(ask(f, r, &h, &f->agg_sk) == PLMM_OK && answer.refusal == PLMM_REFUSAL_SECOND_SEAL,
          "a second roster after a crash: %s", answer.text);
    CHECK(ask(f, r, &g, &f->agg_sk) == PLMM_OK && answer.sealed &&
              memcmp(answer.frame, first.frame, first.frame_len) == 0,
          "the same seal after a crash");
    h = g; /* device 11 stays away, and might have come */
    h.f.bulk_len -= PLMM_ROSTER_ENTRY;
    params_edit(f, &h, next_edit);
    CHECK(ask(f, r, &h, &f->agg_sk) == PLMM_OK && answer.sealed, "the next round: %s", answer.text);
    plmm_seal_answer two = told(f);
    CHECK(two.seal.link.index == 2, "opens the next link");
    CHECK(two.seal.n == N - 1 && two.seal.eligible == N, "%u of %u eligible", two.seal.n,
          two.seal.eligible);
    CHECK(plmm_link_follow(&one.seal.link, &two.seal.link, &err) == PLMM_OK, "%s", err.msg);
    CHECK(ask(f, r, &g, &f->agg_sk) == PLMM_OK && answer.refusal == PLMM_REFUSAL_ROUND,
          "a round that is over: %s", answer.text);
    params_edit(f, &h, next_edit);
    CHECK(ask(f, r, &h, &f->agg_sk) == PLMM_OK && answer.refusal == PLMM_REFUSAL_EXHAUSTED,
          "no link is left: %s", answer.text);
    plmm_registrar_free(r);
    fleet_free(f);
}

static void test_damaged_records(void)
{
    static forgery g;
    fleet *f = fleet_with_request();
    plmm_registrar *r = registrar_of(f, 4), *other;
    forge_open(&g, &f->request);
    CHECK(ask(f, r, &g, &f->agg_sk) == PLMM_OK && answer.sealed, "%s", answer.text);
    for (uint32_t at = 0; at < answer.record_len; at++) {
        other = registrar_of(f, 4);
        bool free_field = at >= 9 && at < 17; /* rate and groups: for the same round's groups */
        answer.record[at] ^= 0x40;
        CHECK(free_field || plmm_registrar_restore(other, answer.record, answer.record_len, NULL) ==
                                PLMM_ERR_FORMAT,
              "octet %u", at);
        answer.record[at] ^= 0x40;
        CHECK(plmm_registrar_restore(other, answer.record, at, NULL) == PLMM_ERR_FORMAT, "cut %u",
              at);
        plmm_registrar_free(other);
    }
    CHECK(plmm_registrar_restore(r, answer.record, answer.record_len, NULL) == PLMM_ERR_FORMAT,
          "a record twice");
    plmm_registrar_config c = {.expert = "medicine",
                               .key = f->registrar_sk,
                               .aggregator = f->anchor.aggregator,
                               .chain = {{6}},
                               .chain_length = 4};
    CHECK(plmm_registrar_new(&other, &c, NULL) == PLMM_OK, "registrar");
    CHECK(plmm_registrar_restore(other, answer.record, answer.record_len, NULL) == PLMM_ERR_FORMAT,
          "of another chain");
    plmm_registrar_free(other);
    plmm_registrar_free(r);
    fleet_free(f);
}

/* ---- groups: disjoint, each with its seal, all under one link ---- */

static uint32_t split_group;
static void split_edit(plmm_round_params *p)
{
    p->groups = 2;
    p->group = split_group;
    p->n_min = 3;
}

static void thirds_edit(plmm_round_params *p)
{
    p->groups = 3;
    p->group = 2; /* the two that are sealed have no such place */
}

static void test_groups(void)
{
    static forgery g, h;
    fleet *f = fleet_with_request();
    plmm_registrar *r = registrar_of(f, 4);
    plmm_link first, last;
    plmm_seal_answer seals[2];
    plmm_registrar_link(r, &first, &last);
    forge_open(&g, &f->request);
    for (split_group = 0; split_group < 2; split_group++) {
        plmm_lottery l;
        uint32_t n = 0;
        h = g;
        plmm_lottery_init(&l, &first, UINT32_MAX, split_group, 2);
        plmm_round_params p;
        CHECK(plmm_params_decode(&p, &h.f, NULL) == PLMM_OK, "params");
        split_edit(&p);
        h.f.body_len = plmm_params_encode(h.f.body, &p);
        for (uint32_t i = 0; i < N; i++) {
            if (plmm_lottery_has(&l, plmm_load_le64(entry(&g, i)))) {
                memcpy(entry(&h, n), entry(&g, i), PLMM_ROSTER_ENTRY);
                resign(f, &h, n++, i);
            }
        }
        h.f.bulk_len = n * PLMM_ROSTER_ENTRY;
        CHECK(ask(f, r, &h, &f->agg_sk) == PLMM_OK && answer.sealed, "group %u of %u: %s",
              split_group, n, answer.text);
        seals[split_group] = told(f);
        CHECK(seals[split_group].seal.eligible == n, "group %u", split_group);
    }
    CHECK(seals[0].seal.n + seals[1].seal.n == N, "every device is in one group");
    CHECK(seals[0].seal.link.index == 1 && seals[1].seal.link.index == 1, "one link");
    plmm_hash a, b;
    plmm_round_seal_beacon(&a, &seals[0].seal);
    plmm_round_seal_beacon(&b, &seals[1].seal);
    CHECK(memcmp(&a, &b, sizeof a) != 0, "two graphs");
    CHECK(ask(f, r, &g, &f->agg_sk) == PLMM_OK && answer.refusal == PLMM_REFUSAL_SECOND_SEAL,
          "the round is not sealed as a whole, too: %s", answer.text);
    h = g;
    params_edit(f, &h, thirds_edit);
    CHECK(ask(f, r, &h, &f->agg_sk) == PLMM_OK && answer.refusal == PLMM_REFUSAL_ELIGIBLE &&
              strstr(answer.text, "split otherwise") != NULL,
          "nor in three groups: %s", answer.text);
    plmm_registrar_free(r);
    fleet_free(f);
}

/* ---- a round of part of the devices ---- */

static void test_rate(void)
{
    fleet *f = fleet_new(40, 3, 43);
    uint64_t ids[FLEET_MAX];
    uint32_t n = 0, may = 0;
    plmm_lottery l;
    f->cfg.params.rate = plmm_lottery_rate(40, 24);
    f->cfg.params.cohort = 32;
    plmm_lottery_init(&l, &f->anchor.link, f->cfg.params.rate, 0, 1);
    fleet_start(f);
    fleet_run(f);
    CHECK(f->finished, "%s", f->text);
    plmm_agg_round_survivors(f->agg, ids, &n);
    for (uint32_t i = 0; i < 40; i++) {
        bool has = plmm_lottery_has(&l, f->d[i].cfg.certificate.device);
        may += has;
        CHECK(has ? f->d[i].finished : f->d[i].aborted == PLMM_ABORT_NOT_SELECTED,
              "device %u is %s: %s", i, has ? "eligible" : "not eligible", f->d[i].text);
    }
    CHECK(n == may && may > 12 && may < 36, "%u of %u survive", n, may);
    CHECK(plmm_agg_round_seal(f->agg)->eligible == may, "all of them are counted");
    fleet_check_sum(f);
    fleet_free(f);
}

/* A round of part of the devices needs as many eligible ones as the registrar wants; one of all of
 * them does not. */
static void test_eligible_min(void)
{
    static forgery g, h;
    fleet *f = fleet_with_request();
    for (uint32_t least = N - 1; least <= N + 1; least += 2) {
        plmm_registrar *r = NULL;
        plmm_registrar_config c = {.expert = "medicine",
                                   .key = f->registrar_sk,
                                   .aggregator = f->anchor.aggregator,
                                   .chain = {{5}},
                                   .chain_length = 4,
                                   .eligible_min = least};
        CHECK(plmm_registrar_new(&r, &c, NULL) == PLMM_OK, "registrar");
        forge_open(&g, &f->request);
        h = g;
        params_edit(f, &h, high_edit);
        CHECK(ask(f, r, &h, &f->agg_sk) == PLMM_OK, "it answers");
        CHECK(answer.refusal == (uint32_t)(least > N ? PLMM_REFUSAL_ELIGIBLE : PLMM_REFUSAL_NONE),
              "at least %u: %s", least, answer.text);
        h = g;
        params_edit(f, &h, next_edit);
        CHECK(ask(f, r, &h, &f->agg_sk) == PLMM_OK && answer.sealed, "of all devices: %s",
              answer.text);
        plmm_registrar_free(r);
    }
    fleet_free(f);
}

/* An aggregator that adds one that may not take part; sealed by a registrar that does not look. */
static bool stranger_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static forgery g;
    uint32_t *victim = arg;
    if (from != FLEET_AGG) {
        return true;
    }
    forge_open(&g, frame);
    if (g.f.type != PLMM_MSG_ROSTER || (*victim != UINT32_MAX && *victim != to)) {
        return true;
    }
    plmm_roster_head h;
    CHECK(plmm_roster_head_decode(&h, &g.f, NULL) == PLMM_OK, "head");
    uint64_t own = f->d[to].cfg.certificate.device, last = 0;
    for (uint32_t i = 0; i < h.seal.n; i++) { /* the gap between two ids has one that may not */
        uint64_t id = plmm_load_le64(g.bulk + (size_t)i * 8);
        if (id != own && id > last + 7 && i > 0) {
            plmm_store_le64(g.bulk + (size_t)i * 8, last + 7);
            *victim = to;
            break;
        }
        last = id;
    }
    plmm_hash_bytes(&h.seal.ids, "ids.v1..", g.bulk, (size_t)h.seal.n * 8);
    plmm_round_seal_sign(&h.seal, "medicine", &f->registrar_sk);
    g.f.body_len = plmm_roster_head_encode(g.f.body, &h);
    plmm_free(frame->p);
    *frame = forge_down(f, &g, to);
    return true;
}

static void test_stranger(void)
{
    uint32_t victim = UINT32_MAX;
    fleet *f = fleet_new(40, 3, 43);
    f->cfg.params.rate = plmm_lottery_rate(40, 24);
    f->cfg.params.cohort = 32;
    f->tap = stranger_tap;
    f->tap_arg = &victim;
    fleet_start(f);
    fleet_run(f);
    CHECK(victim != UINT32_MAX && f->d[victim].aborted == PLMM_ABORT_LIE &&
              f->d[victim].refusal == PLMM_REFUSAL_ELIGIBLE,
          "a device that may not take part is seen: %s",
          victim == UINT32_MAX ? "" : f->d[victim].text);
    fleet_free(f);
}

/* ---- the aggregator without a seal ---- */

static void test_no_seal(void)
{
    fleet *f = fleet_new(N, 3, 44);
    f->enrolled_n = N - 1; /* the last device was revoked after it checked in */
    fleet_start(f);
    fleet_run(f);
    plmm_agg_status s;
    plmm_agg_round_status(f->agg, &s);
    CHECK(f->aborted && f->reason == PLMM_ABORT_NO_SEAL && s.spent &&
              strstr(f->text, "not certified") != NULL,
          "a refused roster ends the round: %s", f->text);
    for (uint32_t i = 0; i < N; i++) {
        CHECK(f->d[i].aborted == PLMM_ABORT_NO_SEAL && f->d[i].masked.p == NULL, "device %u", i);
    }
    fleet_free(f);
}

/* Answers that are not the registrar's, or not to this request, change nothing; the true one comes
 * after them. */
static void feed_seal(fleet *f, forgery *g, const plmm_sign_sk *key, plmm_status want,
                      const char *what)
{
    plmm_agg_actions out;
    plmm_error err = {0};
    fleet_bytes b = forge_sign(f, g, key);
    plmm_agg_event e = {.type = PLMM_AGG_EV_SEALED, .now_ms = f->now, .bytes = b.p, .len = b.len};
    plmm_status rc = plmm_agg_round_step(f->agg, &e, &out, &err);
    CHECK(rc == want && out.n == 0, "%s: %s: %s", what, plmm_status_str(rc), err.msg);
    plmm_free(b.p);
}

static void false_answers(fleet *f)
{
    static forgery g, h;
    plmm_enrolled all = {f->enrolled, f->enrolled_n};
    plmm_seal_answer a;
    CHECK(plmm_registrar_seal(f->registrar, f->request.p, f->request.len, &all, &answer, NULL) ==
              PLMM_OK,
          "an answer");
    fleet_bytes frame = {answer.frame, answer.frame_len};
    forge_open(&g, &frame);
    CHECK(plmm_seal_answer_decode(&a, &g.f, NULL) == PLMM_OK, "decode");
    h = g;
    feed_seal(f, &h, &f->agg_sk, PLMM_ERR_AUTH, "by the aggregator");
    h.f.attempt++;
    feed_seal(f, &h, &f->registrar_sk, PLMM_ERR_PEER, "of another attempt");
    h = g;
    h.f.sender = 1000;
    feed_seal(f, &h, &f->registrar_sk, PLMM_ERR_PEER, "by a device");
    h = g;
    plmm_seal_answer other = a;
    other.seal.root.b[0] ^= 1;
    plmm_round_seal_sign(&other.seal, "medicine", &f->registrar_sk);
    h.f.body_len = plmm_seal_answer_encode(h.f.body, &other);
    feed_seal(f, &h, &f->registrar_sk, PLMM_ERR_PEER, "of another roster");
    other = a;
    other.seal.signature.b[0] ^= 1;
    h.f.body_len = plmm_seal_answer_encode(h.f.body, &other);
    feed_seal(f, &h, &f->registrar_sk, PLMM_ERR_AUTH, "a seal that is not signed");
}

static void test_false_answers(void)
{
    fleet *f = fleet_new(N, 3, 45);
    f->mute_registrar = true;
    fleet_start(f);
    fleet_run(f);
    CHECK(f->aborted && f->reason == PLMM_ABORT_NO_SEAL && strstr(f->text, "did not answer"),
          "a silent registrar ends the round: %s", f->text);
    fleet_free(f);
    f = fleet_new(N, 3, 45);
    f->before_seal = false_answers;
    fleet_start(f);
    fleet_run(f);
    CHECK(f->finished, "false answers do not: %s", f->text);
    fleet_free(f);
}

/* ---- the chain ---- */

static void test_chain(void)
{
    static const uint32_t lengths[] = {1, 2, 3, 7, 16, 17, 100, 1000};
    plmm_seed seed = {{9}};
    plmm_error err = {0};
    plmm_chain *c = NULL;
    for (size_t i = 0; i < COUNT(lengths); i++) {
        uint32_t n = lengths[i];
        plmm_link l, before, first;
        CHECK(plmm_chain_new(&c, &seed, n, &err) == PLMM_OK, "%s", err.msg);
        plmm_chain_open(c, &first, 0);
        plmm_link prev = first;
        for (uint32_t at = 1; at <= n; at++) {
            plmm_chain_open(c, &l, at);
            plmm_link_before(&before, &l);
            CHECK(before.index == prev.index &&
                      memcmp(&before.value, &prev.value, sizeof before.value) == 0,
                  "length %u: link %u hashes to link %u", n, at, at - 1);
            CHECK(plmm_link_follow(&first, &l, &err) == PLMM_OK, "%u: %s", at, err.msg);
            CHECK(plmm_link_follow(&l, &first, NULL) == PLMM_ERR_AUTH, "backwards");
            CHECK(plmm_link_follow(&l, &l, NULL) == PLMM_ERR_AUTH, "itself");
            prev = l;
        }
        l.value.b[3] ^= 1;
        CHECK(plmm_link_follow(&first, &l, NULL) == PLMM_ERR_AUTH, "changed");
        plmm_chain_free(c);
    }
    CHECK(plmm_chain_new(&c, &seed, 0, NULL) == PLMM_ERR_RANGE, "no link");
    CHECK(plmm_chain_new(&c, &seed, PLMM_CHAIN_MAX + 1, NULL) == PLMM_ERR_RANGE, "too long");
}

/* As many as wanted are eligible, each group has its part, nobody is in two. */
static void test_lottery(void)
{
    enum { ALL = 100000, GROUPS = 5 };
    plmm_link link = {.index = 3, .value = {{77}}};
    uint32_t rate = plmm_lottery_rate(ALL, 5000), count[GROUPS] = {0}, all = 0;
    plmm_lottery whole, part[GROUPS];
    plmm_lottery_init(&whole, &link, rate, 0, 1);
    for (uint32_t g = 0; g < GROUPS; g++) {
        plmm_lottery_init(&part[g], &link, rate, g, GROUPS);
    }
    for (uint64_t id = 1; id <= ALL; id++) {
        uint32_t in = 0;
        for (uint32_t g = 0; g < GROUPS; g++) {
            bool has = plmm_lottery_has(&part[g], id);
            in += has;
            count[g] += has;
        }
        CHECK(in == plmm_lottery_has(&whole, id), "device %" PRIu64 " is in %u groups", id, in);
        all += in;
    }
    CHECK(all > 4600 && all < 5400, "%u of about 5000", all);
    for (uint32_t g = 0; g < GROUPS; g++) {
        CHECK(count[g] > 850 && count[g] < 1150, "group %u: %u of about 1000", g, count[g]);
    }
    CHECK(plmm_lottery_rate(10, 10) == UINT32_MAX && plmm_lottery_rate(10, 11) == UINT32_MAX,
          "everyone");
}

int main(void)
{
    test_chain();
    test_lottery();
    test_refusals();
    test_strangers();
    test_once();
    test_damaged_records();
    test_groups();
    test_rate();
    test_eligible_min();
    test_stranger();
    test_no_seal();
    test_false_answers();
    CHECK(plmm_alloc_live() == 0, "%ld blocks leaked", plmm_alloc_live());
    return plmm_test_end();
}
