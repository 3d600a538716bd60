/* The registrar: checks a roster, seals it once. */
#include "plmm/registrar.h"

#include "merkle.h"
#include "plmm/alloc.h"
#include "plmm/bytes.h"
#include "plmm/channels.h"
#include "session.h"

#include <stdio.h>
#include <string.h>

static const char *const LABEL = "seal.v1.";

/* ---- seals ---- */

void plmm_round_seal_hash(plmm_hash *out, const plmm_round_seal *s, const char *expert)
{
    plmm_transcript t;
    plmm_transcript_init(&t, LABEL);
    plmm_transcript_u64(&t, PLMM_PROTOCOL_VERSION);
    plmm_transcript_str(&t, expert);
    plmm_transcript_u64(&t, s->round);
    plmm_transcript_u64(&t, s->group);
    plmm_transcript_bytes(&t, s->params.b, 32);
    plmm_transcript_bytes(&t, s->root.b, 32);
    plmm_transcript_bytes(&t, s->ids.b, 32);
    plmm_transcript_u64(&t, s->n);
    plmm_transcript_u64(&t, s->eligible);
    plmm_transcript_u64(&t, s->population);
    plmm_transcript_u64(&t, s->link.index);
    plmm_transcript_bytes(&t, s->link.value.b, 32);
    plmm_transcript_final(&t, out);
}

void plmm_round_seal_sign(plmm_round_seal *s, const char *expert, const plmm_sign_sk *registrar)
{
    plmm_hash h;
    plmm_round_seal_hash(&h, s, expert);
    plmm_sign(&s->signature, registrar, LABEL, h.b, sizeof h.b);
}

plmm_status plmm_round_seal_check(const plmm_round_seal *s, const char *expert,
                                  const plmm_sign_pk *registrar, plmm_error *err)
{
    plmm_hash h;
    plmm_round_seal_hash(&h, s, expert);
    if (plmm_verify(&s->signature, registrar, LABEL, h.b, sizeof h.b, NULL) != PLMM_OK) {
        return plmm_fail(err, PLMM_ERR_AUTH,
                         "the seal of round %llu is not by the registrar of expert %s",
                         (unsigned long long)s->round, expert);
    }
    return PLMM_OK;
}

void plmm_round_seal_beacon(plmm_hash *out, const plmm_round_seal *s)
{
    plmm_transcript t;
    plmm_transcript_init(&t, "beacon.2");
    plmm_transcript_bytes(&t, s->link.value.b, 32);
    plmm_transcript_bytes(&t, s->root.b, 32);
    plmm_transcript_bytes(&t, s->signature.b, 64);
    plmm_transcript_final(&t, out);
}

/* ---- the registrar ---- */

/* What was sealed of the last round. */
typedef struct sealing {
    uint64_t round;
    uint32_t rate, groups;
    uint32_t n; /* seals */
    plmm_round_seal seals[PLMM_GROUPS_MAX];
} sealing;

struct plmm_registrar {
    plmm_registrar_config cfg;
    plmm_sign_pk pk;
    plmm_chain *chain;
    uint64_t index; /* of the last opened link */
    sealing last;
};

plmm_status plmm_registrar_new(plmm_registrar **r, const plmm_registrar_config *config,
                               plmm_error *err)
{
    PLMM_TRY(plmm_expert_check(config->expert, err));
    plmm_registrar *n = plmm_alloc(1, sizeof *n);
    if (n == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory for a registrar");
    }
    n->cfg = *config;
    memcpy(n->pk.b, config->key.b + 32, sizeof n->pk.b);
    plmm_status rc = plmm_chain_new(&n->chain, &config->chain, config->chain_length, err);
    if (rc != PLMM_OK) {
        plmm_registrar_free(n);
        return rc;
    }
    *r = n;
    return PLMM_OK;
}

void plmm_registrar_free(plmm_registrar *r)
{
    if (r != NULL) {
        plmm_chain_free(r->chain);
        plmm_wipe(r, sizeof *r);
        plmm_free(r);
    }
}

void plmm_registrar_link(const plmm_registrar *r, plmm_link *first, plmm_link *last)
{
    plmm_chain_open(r->chain, first, 0);
    plmm_chain_open(r->chain, last, (uint32_t)r->index);
}

void plmm_registrar_status(const plmm_registrar *r, uint64_t *round, uint32_t *links_left)
{
    *round = r->last.round;
    *links_left = plmm_chain_length(r->chain) - (uint32_t)r->index;
}

/* ---- a request ---- */

typedef struct request {
    plmm_frame frame;
    plmm_round_params params;
    const uint8_t *roster;
    uint32_t n;
    plmm_round_seal seal; /* as it would be */
    plmm_registrar_answer *out;
} request;

static bool refuse(request *q, plmm_refusal why, const char *fmt, ...) PLMM_PRINTF(3, 4);
static bool refuse(request *q, plmm_refusal why, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(q->out->text, sizeof q->out->text, fmt, ap);
    va_end(ap);
    q->out->refusal = (uint32_t)why;
    return false;
}

static plmm_status request_decode(request *q, const plmm_registrar *r, const uint8_t *bytes,
                                  size_t len, plmm_error *err)
{
    plmm_frame *f = &q->frame;
    PLMM_TRY(plmm_frame_decode(f, bytes, len, err));
    if (f->type != PLMM_MSG_SEAL_REQUEST || f->sender != PLMM_AGGREGATOR_ID ||
        f->receiver != PLMM_REGISTRAR_ID || strcmp(f->expert, r->cfg.expert) != 0) {
        return plmm_fail(err, PLMM_ERR_WIRE, "the %s message is no request to this registrar",
                         plmm_message_str(f->type));
    }
    PLMM_TRY(plmm_frame_verify(f, &r->cfg.aggregator, err));
    PLMM_TRY(plmm_params_decode(&q->params, f, err));
    if (f->bulk_len % PLMM_ROSTER_ENTRY != 0) {
        return plmm_fail(err, PLMM_ERR_WIRE, "a roster of %u octets, %d each entry", f->bulk_len,
                         PLMM_ROSTER_ENTRY);
    }
    q->roster = f->bulk;
    q->n = f->bulk_len / PLMM_ROSTER_ENTRY;
    return PLMM_OK;
}

static const uint8_t *entry_at(const request *q, uint32_t i)
{
    return q->roster + (size_t)i * PLMM_ROSTER_ENTRY;
}

static bool params_good(request *q)
{
    const plmm_round_params *p = &q->params;
    plmm_error why = {0};
    if (plmm_round_params_check(p, &why) != PLMM_OK) {
        return refuse(q, PLMM_REFUSAL_FORM, "%.140s", why.msg);
    }
    if (q->n < p->n_min || q->n > p->cohort) {
        return refuse(q, PLMM_REFUSAL_COHORT, "a roster of %u devices, the round wants %u..%u",
                      q->n, p->n_min, p->cohort);
    }
    return true;
}

/* Root and ids of the roster, into the seal. PLMM_ERR_NOMEM. */
static plmm_status roots_make(request *q, plmm_error *err)
{
    plmm_hash *nodes = plmm_alloc(plmm_merkle_nodes(q->n), sizeof *nodes);
    uint8_t *ids = plmm_alloc(q->n, 8);
    if (nodes == NULL || ids == NULL) {
        plmm_free(nodes);
        plmm_free(ids);
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory for a roster of %u devices", q->n);
    }
    for (uint32_t i = 0; i < q->n; i++) {
        memcpy(ids + (size_t)i * 8, entry_at(q, i), 8);
        plmm_merkle_leaf(&nodes[i], entry_at(q, i), PLMM_ROSTER_ENTRY);
    }
    plmm_merkle_build(nodes, q->n);
    q->seal.root = nodes[plmm_merkle_nodes(q->n) - 1];
    plmm_roster_ids(&q->seal.ids, ids, q->n);
    plmm_free(nodes);
    plmm_free(ids);
    return PLMM_OK;
}

/* The seal that this very request got before; NULL if there is none. *clash: its round and group
 * have another one. */
static const plmm_round_seal *sealed_before(const plmm_registrar *r, const request *q, bool *clash)
{
    *clash = false;
    for (uint32_t i = 0; i < r->last.n && q->params.round == r->last.round; i++) {
        const plmm_round_seal *s = &r->last.seals[i];
        if (s->group == q->params.group) {
            bool same = plmm_equal(&s->params, &q->seal.params, sizeof s->params) &&
                        plmm_equal(&s->root, &q->seal.root, sizeof s->root) && s->n == q->n;
            *clash = !same;
            return same ? s : NULL;
        }
    }
    return NULL;
}

/* May this (round, group) be sealed now? Sets the link. */
static bool turn_good(request *q, const plmm_registrar *r)
{
    const plmm_round_params *p = &q->params;
    const sealing *last = &r->last;
    bool more = last->n > 0 && p->round == last->round;
    if (p->round < last->round) {
        return refuse(q, PLMM_REFUSAL_ROUND, "round %llu is over, round %llu was sealed",
                      (unsigned long long)p->round, (unsigned long long)last->round);
    }
    if (more && (p->groups != last->groups || p->rate != last->rate)) {
        return refuse(q, PLMM_REFUSAL_ELIGIBLE, "round %llu was split otherwise before",
                      (unsigned long long)p->round);
    }
    if (!more && r->index == plmm_chain_length(r->chain)) {
        return refuse(q, PLMM_REFUSAL_EXHAUSTED, "all %u links of the chain were opened",
                      plmm_chain_length(r->chain));
    }
    plmm_chain_open(r->chain, &q->seal.link, (uint32_t)r->index + (more ? 0 : 1));
    return true;
}

static bool enrolled_has(const plmm_enrolled *e, uint64_t id)
{
    uint32_t lo = 0, hi = e->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (e->ids[mid] < id) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < e->n && e->ids[lo] == id;
}

static bool keys_good(request *q, const plmm_entry *e)
{
    unsigned long long id = e->certificate.device;
    if (plmm_dh_low_order(&e->advert.channel_key)) {
        return refuse(q, PLMM_REFUSAL_KEY, "device %llu has a key of low order", id);
    }
    if (!plmm_channel_current(e->advert.since, q->params.round)) {
        return refuse(q, PLMM_REFUSAL_KEY, "the channel key of device %llu is of round %llu", id,
                      (unsigned long long)e->advert.since);
    }
    return true;
}

static bool entry_good(request *q, const plmm_registrar *r, const plmm_entry *e)
{
    plmm_error why = {0};
    if (plmm_certificate_check(&e->certificate, &r->pk, r->cfg.expert, &why) != PLMM_OK) {
        return refuse(q, PLMM_REFUSAL_CERTIFICATE, "%.140s", why.msg);
    }
    if (plmm_entry_check(e, &q->seal.params, &why) != PLMM_OK) {
        return refuse(q, PLMM_REFUSAL_ENTRY, "%.140s", why.msg);
    }
    return keys_good(q, e);
}

/* Every entry; false if one is not as it should be. *rc: PLMM_ERR_NOMEM. */
static bool roster_good(request *q, const plmm_registrar *r, const plmm_enrolled *enrolled,
                        const plmm_lottery *lottery, plmm_status *rc, plmm_error *err)
{
    uint64_t before = 0;
    bool unique;
    for (uint32_t i = 0; i < q->n; i++) {
        uint64_t id = plmm_load_le64(entry_at(q, i));
        if (id <= before) {
            return refuse(q, PLMM_REFUSAL_FORM,
                          "device %llu stands on the roster after device %llu, or twice",
                          (unsigned long long)id, (unsigned long long)before);
        }
        before = id;
        if (!enrolled_has(enrolled, id)) {
            return refuse(q, PLMM_REFUSAL_CERTIFICATE, "device %llu is not enrolled, or revoked",
                          (unsigned long long)id);
        }
        if (!plmm_lottery_has(lottery, id)) {
            return refuse(q, PLMM_REFUSAL_ELIGIBLE, "device %llu is not eligible in round %llu",
                          (unsigned long long)id, (unsigned long long)q->params.round);
        }
    }
    *rc = plmm_roster_unique(q->roster, q->n, &unique, err);
    if (*rc == PLMM_OK && !unique) {
        return refuse(q, PLMM_REFUSAL_KEY, "one public key is on the roster twice");
    }
    for (uint32_t i = 0; *rc == PLMM_OK && i < q->n; i++) {
        plmm_entry e;
        plmm_entry_decode(&e, entry_at(q, i));
        if (!entry_good(q, r, &e)) {
            return false;
        }
    }
    return *rc == PLMM_OK;
}

static void lottery_of(plmm_lottery *l, const request *q)
{
    plmm_link link;
    plmm_link_before(&link, &q->seal.link);
    plmm_lottery_init(l, &link, q->params.rate, q->params.group, q->params.groups);
}

/* Counts the eligible. With fewer than the configuration wants, an aggregator that knows the link
 * and sets the rate could look for a draw with many of its own among them. */
static bool eligible_good(request *q, const plmm_registrar *r, const plmm_enrolled *enrolled,
                          const plmm_lottery *lottery)
{
    bool all = lottery->rate == UINT32_MAX && lottery->groups == 1;
    q->seal.eligible = 0;
    for (uint32_t i = 0; i < enrolled->n; i++) {
        q->seal.eligible += plmm_lottery_has(lottery, enrolled->ids[i]);
    }
    if (!all && q->seal.eligible < r->cfg.eligible_min) {
        return refuse(q, PLMM_REFUSAL_ELIGIBLE,
                      "only %u devices are eligible in round %llu, at least %u", q->seal.eligible,
                      (unsigned long long)q->params.round, r->cfg.eligible_min);
    }
    return true;
}

/* Notes the seal as given. */
static void remember(plmm_registrar *r, const plmm_round_seal *s, uint32_t rate, uint32_t groups)
{
    if (r->last.n == 0 || r->last.round != s->round) {
        r->last = (sealing){.round = s->round, .rate = rate, .groups = groups};
    }
    PLMM_ASSERT(r->last.n < PLMM_GROUPS_MAX);
    r->last.seals[r->last.n++] = *s;
    r->index = s->link.index;
}

enum { RECORD_HEAD = 1 + 8 + 4 + 4, RECORD_SEAL = 'L' };

static void record_make(plmm_registrar_answer *out, const request *q)
{
    out->record[0] = RECORD_SEAL;
    plmm_store_le64(out->record + 1, q->params.round);
    plmm_store_le32(out->record + 9, q->params.rate);
    plmm_store_le32(out->record + 13, q->params.groups);
    out->record_len = RECORD_HEAD + plmm_round_seal_encode(out->record + RECORD_HEAD, &q->seal);
}
_Static_assert((int)RECORD_HEAD + (int)PLMM_SEAL_MAX <= (int)PLMM_REGISTRAR_RECORD, "it fits");

/* Checks and seals; false if it refuses. */
static bool consider(request *q, plmm_registrar *r, const plmm_enrolled *enrolled, plmm_status *rc,
                     plmm_error *err)
{
    plmm_lottery lottery;
    bool clash;
    if (!params_good(q)) {
        return false;
    }
    plmm_round_params_hash(&q->seal.params, &q->params);
    *rc = roots_make(q, err);
    if (*rc != PLMM_OK) {
        return false;
    }
    const plmm_round_seal *given = sealed_before(r, q, &clash);
    if (given != NULL) {
        q->seal = *given;
        return true;
    }
    if (clash) {
        return refuse(q, PLMM_REFUSAL_SECOND_SEAL,
                      "group %u of round %llu is sealed: take the next round", q->params.group,
                      (unsigned long long)q->params.round);
    }
    if (!turn_good(q, r)) {
        return false;
    }
    lottery_of(&lottery, q);
    if (!eligible_good(q, r, enrolled, &lottery) ||
        !roster_good(q, r, enrolled, &lottery, rc, err)) {
        return false;
    }
    q->seal.round = q->params.round;
    q->seal.group = q->params.group;
    q->seal.n = q->n;
    q->seal.population = enrolled->n;
    plmm_round_seal_sign(&q->seal, r->cfg.expert, &r->cfg.key);
    record_make(q->out, q);
    remember(r, &q->seal, q->params.rate, q->params.groups);
    return true;
}

static void answer_frame(request *q, const plmm_registrar *r)
{
    plmm_frame f = {.type = PLMM_MSG_SEAL,
                    .round = q->params.round,
                    .attempt = q->params.attempt,
                    .sender = PLMM_REGISTRAR_ID,
                    .receiver = PLMM_AGGREGATOR_ID};
    plmm_seal_answer a = {.refusal = q->out->refusal, .seal = q->seal};
    memcpy(f.expert, r->cfg.expert, sizeof f.expert);
    (void)snprintf(a.text, sizeof a.text, "%s", q->out->text);
    f.body_len = plmm_seal_answer_encode(f.body, &a);
    plmm_frame_sign(q->out->frame, &q->out->frame_len, &f, &r->cfg.key);
}

plmm_status plmm_registrar_seal(plmm_registrar *r, const uint8_t *bytes, size_t len,
                                const plmm_enrolled *enrolled, plmm_registrar_answer *out,
                                plmm_error *err)
{
    request q = {.out = out};
    plmm_status rc = PLMM_OK;
    memset(out, 0, sizeof *out);
    PLMM_TRY(request_decode(&q, r, bytes, len, err));
    out->sealed = consider(&q, r, enrolled, &rc, err);
    PLMM_TRY(rc);
    answer_frame(&q, r);
    return PLMM_OK;
}

plmm_status plmm_registrar_restore(plmm_registrar *r, const uint8_t *record, size_t len,
                                   plmm_error *err)
{
    plmm_round_seal s;
    plmm_link link;
    if (len <= RECORD_HEAD || len > PLMM_REGISTRAR_RECORD || record[0] != RECORD_SEAL ||
        plmm_round_seal_decode(&s, plmm_load_le64(record + 1), record + RECORD_HEAD,
                               len - RECORD_HEAD, NULL) != PLMM_OK ||
        plmm_round_seal_check(&s, r->cfg.expert, &r->pk, NULL) != PLMM_OK) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "a record of the registrar is damaged");
    }
    bool more = r->last.n > 0 && s.round == r->last.round;
    bool order = more ? s.link.index == r->index && r->last.n < PLMM_GROUPS_MAX
                      : s.round > r->last.round && s.link.index > r->index &&
                            s.link.index <= plmm_chain_length(r->chain);
    for (uint32_t i = 0; more && i < r->last.n; i++) {
        order = order && r->last.seals[i].group != s.group;
    }
    if (order) {
        plmm_chain_open(r->chain, &link, (uint32_t)s.link.index);
        order = plmm_equal(&link.value, &s.link.value, sizeof link.value);
    }
    if (!order) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "the seal of round %llu cannot stand here, or is of another chain",
                         (unsigned long long)s.round);
    }
    remember(r, &s, plmm_load_le32(record + 9), plmm_load_le32(record + 13));
    return PLMM_OK;
}
