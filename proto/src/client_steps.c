/* The device's answer to each message of the aggregator: every check first, then the change.
 * Numbers in brackets are the claims of docs/protocol.md. */
#include "client_machine.h"
#include "merkle.h"
#include "plmm/alloc.h"
#include "plmm/bytes.h"

#include <string.h>

/* ---- INVITE: parameters; fresh keys ---- */

/* All secrets of the round come from the seed, apart for each use and bound to the parameters. */
static void keys_make(plmm_client_round *m)
{
    plmm_seed root, part;
    plmm_kdf(root.b, m->seed.b, "round.rt", m->params_hash.b, sizeof m->params_hash.b);
    plmm_entry *e = &m->own;
    e->certificate = m->cfg.certificate;
    const plmm_channel_key *own =
        m->cfg.channels == NULL ? NULL : plmm_channels_own(m->cfg.channels, m->params.round);
    if (own != NULL) {
        m->channel = *own;
    } else { /* a new epoch */
        plmm_seed_derive(&part, &root, "dh.chan.", 0);
        plmm_dh_keypair(&m->channel.pk, &m->channel.sk, &part);
        m->channel.since = m->params.round;
    }
    e->advert.channel_key = m->channel.pk;
    e->advert.since = m->channel.since;
    plmm_seed_derive(&m->self_mask, &root, "self.msk", 0);
    plmm_seed_derive(&m->escrow, &root, "escrow.0", 0);
    plmm_seed_derive(&m->sharing, &root, "sharing.", 0);
    plmm_seed_derive(&m->rounding, &root, "rounding", 0);
    plmm_seed_derive(&m->nonces, &root, "nonces.1", 0);
    plmm_seed_derive(&m->errors, &root, "errors.1", 0);
    plmm_seed_derive(&part, &root, "nonce.r0", 0);
    memcpy(e->advert.nonce, part.b, sizeof e->advert.nonce);
    plmm_secret_commit(&e->advert.commit, PLMM_LABEL_SELF, m->self_mask.b);
    plmm_secret_commit(&e->advert.escrow, PLMM_LABEL_ESCROW, m->escrow.b);
    plmm_entry_sign(e, &m->params_hash, &m->cfg.key);
    plmm_wipe(&root, sizeof root);
    plmm_wipe(&part, sizeof part);
}

plmm_status plmm_client_on_invite(plmm_client_round *m, plmm_client_step *s)
{
    plmm_round_params p;
    plmm_error why = {0};
    PLMM_TRY(plmm_params_decode(&p, &s->frame, s->err));
    if (p.round < m->cfg.last_round ||
        (p.round == m->cfg.last_round && p.attempt <= m->cfg.last_attempt)) { /* (C6) */
        s->out->refusal = PLMM_REFUSAL_ROUND;
        return plmm_fail(s->err, PLMM_ERR_STALE,
                         "an invitation to round %llu attempt %u, this device was in %llu attempt "
                         "%u already",
                         (unsigned long long)p.round, p.attempt,
                         (unsigned long long)m->cfg.last_round, m->cfg.last_attempt);
    }
    if (plmm_policy_judge(&m->cfg.policy, &p, &why) != PLMM_OK) { /* (C5) */
        s->out->refusal = PLMM_REFUSAL_WEAK;
        return plmm_client_leave(m, s->out, PLMM_ABORT_POLICY, NULL, "%s", why.msg);
    }
    if (!m->replaying && /* what is replayed was judged, and may be in the account by now (D4) */
        plmm_policy_judge_budget(&m->cfg.policy, &m->cfg.spent, &p, &why) != PLMM_OK) {
        s->out->refusal = PLMM_REFUSAL_WEAK;
        return plmm_client_leave(m, s->out, PLMM_ABORT_POLICY, NULL, "%s", why.msg);
    }
    if (!plmm_equal(&p.model, &m->cfg.model, sizeof p.model)) { /* (C9) */
        s->out->refusal = PLMM_REFUSAL_MODEL;
        return plmm_client_leave(m, s->out, PLMM_ABORT_MODEL, &p.model,
                                 "the round trains another version of %s than this device has",
                                 p.expert);
    }
    m->params = p;
    plmm_polynomials_drop(m->polynomials);
    m->polynomials = plmm_polynomials_take(m->cfg.shelf, &p);
    plmm_round_params_hash(&m->params_hash, &p);
    plmm_round_seal seal;
    if (plmm_client_epoch_goes_on(m, &p, &seal)) {
        return plmm_client_epoch_resume(m, s, &seal);
    }
    keys_make(m);
    plmm_frame f;
    plmm_client_frame_init(m, &f, PLMM_MSG_ADVERT);
    f.body_len = plmm_advert_encode(f.body, &m->own.advert);
    plmm_frame_head(m->out, &m->out_len, &f, &m->cfg.frames, PLMM_TO_AGGREGATOR);
    m->acked = false;
    plmm_client_accept(m, s, PLMM_CLIENT_ADVERTISED, PLMM_AFTER_SEND);
    return PLMM_OK;
}

/* ---- ROSTER: who takes part, sealed; the neighbours' keys; graph, session; their boxes ---- */

/* Everything the roster brings, apart from the machine until all of it is good. */
typedef struct arrival {
    plmm_session session;
    const plmm_round_seal *seal;
    const uint8_t *ids, *entries, *proof; /* in the frame */
    size_t len, proof_n;
    uint32_t self, near_n;
    plmm_oneshot *os; /* one-shot rounds only */
    plmm_neighbour *near;
    uint8_t *sets, *out;
    size_t out_cap;
    uint32_t *order, *place, *at;
    plmm_share *shares; /* shares_n: k of b, then k of e */
    size_t shares_n;
    plmm_hash *leaves;
    plmm_refusal refusal; /* of what is not good */
} arrival;

static void arrival_free(arrival *a)
{
    if (a->shares != NULL) {
        plmm_wipe(a->shares, a->shares_n * sizeof a->shares[0]);
    }
    if (a->near != NULL) {
        plmm_wipe(a->near, a->near_n * sizeof a->near[0]);
    }
    plmm_free(a->near);
    plmm_free(a->sets);
    plmm_free(a->out);
    plmm_free(a->order);
    plmm_free(a->shares);
    plmm_free(a->leaves);
    plmm_oneshot_free(a->os);
}

static plmm_status arrival_alloc(arrival *a, plmm_error *err)
{
    uint32_t n = a->session.n, k = a->near_n;
    a->out_cap = PLMM_FRAME_SMALL +
                 (a->os != NULL ? plmm_oneshot_room(a->os, n)
                                : plmm_set_bytes(k) + (size_t)k * (PLMM_BOX + PLMM_ESCROW));
    a->near = plmm_alloc(k, sizeof a->near[0]);
    a->sets = plmm_alloc(3, plmm_set_bytes(n));
    a->out = plmm_alloc(1, a->out_cap);
    a->order = plmm_alloc((size_t)2 * n + k + 1, sizeof a->order[0]);
    a->shares_n = a->os != NULL ? 0 : (size_t)2 * k;
    a->shares = plmm_alloc(a->shares_n, sizeof a->shares[0]);
    a->leaves = plmm_alloc((size_t)k + 1, sizeof a->leaves[0]);
    if (a->near == NULL || a->sets == NULL || a->out == NULL || a->order == NULL ||
        a->shares == NULL || a->leaves == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory for %u neighbours of %u devices", k, n);
    }
    a->place = a->order + n;
    a->at = a->place + n;
    return PLMM_OK;
}

static plmm_status caught(arrival *a, plmm_refusal what, plmm_error *err, const char *text)
{
    a->refusal = what;
    return plmm_fail(err, PLMM_ERR_PEER, "%s", text);
}

/* The seal is the registrar's, for these parameters and these ids, and opens a later link (C14). */
static plmm_status seal_verify(const plmm_client_round *m, arrival *a, plmm_error *err)
{
    const plmm_anchor *anchor = &m->cfg.policy.anchor;
    const plmm_round_seal *seal = a->seal;
    plmm_hash ids;
    a->refusal = PLMM_REFUSAL_SEAL;
    PLMM_TRY(plmm_round_seal_check(seal, anchor->expert, &anchor->registrar, err));
    if (!plmm_equal(&seal->params, &m->params_hash, sizeof seal->params) ||
        seal->group != m->params.group) {
        return caught(a, PLMM_REFUSAL_ROSTER, err, "the seal is for other parameters");
    }
    plmm_roster_ids(&ids, a->ids, seal->n);
    if (!plmm_equal(&seal->ids, &ids, sizeof ids)) {
        return caught(a, PLMM_REFUSAL_ROSTER, err, "the seal is for other devices");
    }
    a->refusal = PLMM_REFUSAL_LINK;
    PLMM_TRY(plmm_link_follow(&m->link, &seal->link, err));
    a->refusal = PLMM_REFUSAL_NONE;
    return PLMM_OK;
}

/* All ids increase and may take part (C14); finds this device. */
static plmm_status ids_verify(const plmm_client_round *m, arrival *a, plmm_error *err)
{
    plmm_lottery lottery;
    plmm_link before;
    uint64_t last = 0, own = m->own.certificate.device;
    a->self = a->seal->n;
    plmm_link_before(&before, &a->seal->link);
    plmm_lottery_init(&lottery, &before, m->params.rate, m->params.group, m->params.groups);
    for (uint32_t i = 0; i < a->seal->n; i++) {
        uint64_t id = plmm_load_le64(a->ids + (size_t)i * 8);
        if (id <= last) {
            return caught(a, PLMM_REFUSAL_FORM, err, "the ids of the roster do not increase");
        }
        if (!plmm_lottery_has(&lottery, id)) {
            a->refusal = PLMM_REFUSAL_ELIGIBLE;
            return plmm_fail(err, PLMM_ERR_PEER, "device %llu may not take part in this round",
                             (unsigned long long)id);
        }
        a->self = id == own ? i : a->self;
        last = id;
    }
    return a->self < a->seal->n
               ? PLMM_OK
               : caught(a, PLMM_REFUSAL_NOT_LISTED, err, "the roster does not have this device");
}

/* The neighbours' entries and the own one are of the sealed roster (C7). at[] is where they are. */
static plmm_status entries_verify(const plmm_client_round *m, arrival *a, plmm_error *err)
{
    uint32_t k = a->near_n, count = 0;
    uint8_t own[PLMM_ROSTER_ENTRY];
    plmm_entry_encode(own, &m->own);
    for (uint32_t s = 0; s <= k; s++) {
        if (count == s && (s == k || a->near[s].index > a->self)) {
            a->at[count] = a->self;
            plmm_merkle_leaf(&a->leaves[count++], own, sizeof own);
        }
        if (s == k) {
            break;
        }
        const uint8_t *entry = a->entries + (size_t)s * PLMM_ROSTER_ENTRY;
        if (memcmp(entry, a->ids + (size_t)a->near[s].index * 8, 8) != 0) {
            return caught(a, PLMM_REFUSAL_ENTRY, err, "a neighbour's entry is another device's");
        }
        a->at[count] = a->near[s].index;
        plmm_merkle_leaf(&a->leaves[count++], entry, PLMM_ROSTER_ENTRY);
    }
    if (!plmm_merkle_verify(&a->seal->root, a->session.n, a->at, a->leaves, count, a->proof,
                            a->proof_n)) {
        return caught(a, PLMM_REFUSAL_ENTRY, err,
                      "its own or a neighbour's entry is not of the roster that was sealed");
    }
    return PLMM_OK;
}

/* nonce | box of the two shares for neighbour i. The nonce is random, from the round's seed, so
 * that the journal gives it again. */
static void box_make(const plmm_client_round *m, const arrival *a, uint32_t i, uint8_t *box)
{
    uint8_t pair[PLMM_SHARE_PAIR];
    plmm_key key;
    plmm_hash ad;
    plmm_seed fresh;
    plmm_nonce nonce;
    uint32_t to = a->near[i].index;
    plmm_share_encode(pair, &a->shares[i]);
    plmm_share_encode(pair + PLMM_SHARE_BYTES, &a->shares[a->session.k + i]);
    plmm_direction_key(&key, &a->near[i].channel, PLMM_LABEL_BOX, &a->session, a->self, to);
    plmm_box_binding(&ad, &a->session, a->self, to);
    plmm_seed_derive(&fresh, &m->nonces, "nonce.b1", to);
    memcpy(nonce.b, fresh.b, sizeof nonce.b);
    memcpy(box, nonce.b, sizeof nonce.b);
    plmm_seal(box + sizeof nonce.b, pair, sizeof pair, ad.b, sizeof ad.b, &nonce, &key);
    plmm_wipe(pair, sizeof pair);
    plmm_wipe(&key, sizeof key);
}

/* The pair's secret, sealed under e, and its tag: for the aggregator, if this device drops. */
static void escrow_put(const plmm_client_round *m, const arrival *a, uint32_t i, uint8_t *out)
{
    plmm_escrow_turn(out, a->near[i].mask.b, m->escrow.b, &a->session, a->self, a->near[i].index);
    plmm_pair_tag(out + 32, &a->near[i].mask, &a->session);
}

/* Shares of b and of e for each neighbour, at the point index + 1, and sealed into boxes; then what is kept of the pairs. */
static plmm_status boxes_make(const plmm_client_round *m, arrival *a, plmm_error *err)
{
    uint32_t k = a->session.k, *points = a->at;
    uint8_t *out = a->out + PLMM_FRAME_SMALL;
    plmm_seed b, e;
    plmm_seed_derive(&b, &m->sharing, "share.b.", 0);
    plmm_seed_derive(&e, &m->sharing, "share.e.", 0);
    for (uint32_t i = 0; i < k; i++) {
        points[i] = a->near[i].index + 1;
    }
    plmm_status rc = plmm_shamir_split(a->shares, k, a->session.t, points, m->self_mask.b, &b, err);
    if (rc == PLMM_OK) {
        rc = plmm_shamir_split(a->shares + k, k, a->session.t, points, m->escrow.b, &e, err);
    }
    for (uint32_t i = 0; rc == PLMM_OK && i < k; i++) {
        box_make(m, a, i, out + (size_t)i * PLMM_BOX);
        escrow_put(m, a, i, out + (size_t)k * PLMM_BOX + (size_t)i * PLMM_ESCROW);
    }
    plmm_wipe(&b, sizeof b);
    plmm_wipe(&e, sizeof e);
    return rc;
}

static void neighbours_find(arrival *a)
{
    uint32_t n = a->session.n, k = a->near_n;
    if (a->os != NULL) {
        plmm_oneshot_near(a->os, a->at, a->self);
    } else {
        plmm_graph_init(a->order, a->place, n, &a->session.beacon);
        plmm_graph_neighbours(a->at, a->self, a->order, a->place, n, k);
    }
    for (uint32_t i = 0; i < k; i++) {
        a->near[i].index = a->at[i];
    }
}

static plmm_status neighbours_agree(const plmm_client_round *m, arrival *a, plmm_error *err)
{
    a->refusal = PLMM_REFUSAL_KEY;
    for (uint32_t i = 0; i < a->near_n; i++) {
        plmm_entry e;
        plmm_neighbour *p = &a->near[i];
        plmm_entry_decode(&e, a->entries + (size_t)i * PLMM_ROSTER_ENTRY);
        p->peer = (plmm_channel_peer){
            .device = e.certificate.device, .pk = e.advert.channel_key, .since = e.advert.since};
        PLMM_TRY(plmm_channels_key(m->cfg.channels, &p->channel, NULL, &m->channel, &p->peer,
                                   m->params.round, err));
        if (a->os == NULL) {
            plmm_pair_secret(&p->mask, &p->channel, &a->session, a->self, p->index);
        }
    }
    a->refusal = PLMM_REFUSAL_NONE;
    return PLMM_OK;
}

/* Where the parts behind the ids lie; PLMM_ERR_PEER if the bulk has another form. */
static plmm_status arrival_layout(arrival *a, plmm_error *err)
{
    size_t fixed = (size_t)a->seal->n * 8 + (size_t)a->near_n * PLMM_ROSTER_ENTRY;
    if (a->len < fixed || (a->len - fixed) % sizeof(plmm_hash) != 0) {
        a->refusal = PLMM_REFUSAL_FORM;
        return plmm_fail(err, PLMM_ERR_PEER, "the roster of %u devices has %zu octets", a->seal->n,
                         a->len);
    }
    a->entries = a->ids + (size_t)a->seal->n * 8;
    a->proof = a->ids + fixed;
    a->proof_n = (a->len - fixed) / sizeof(plmm_hash);
    return PLMM_OK;
}

static void arrival_commit(plmm_client_round *m, arrival *a)
{
    m->session = a->session;
    m->link = a->seal->link;
    m->self = a->self;
    m->near = a->near;
    m->near_n = a->near_n;
    m->os = a->os;
    m->sharers = a->sets;
    m->going = a->sets + plmm_set_bytes(a->session.n);
    m->survivors = m->going + plmm_set_bytes(a->session.n);
    plmm_free(m->out);
    m->out = a->out;
    m->out_cap = a->out_cap;
    a->near = NULL;
    a->os = NULL;
    a->sets = NULL;
    a->out = NULL;
}

/* PLMM_ERR_NOMEM stays an error of the step; everything else about a signed roster is a lie. */
static plmm_status lie_or_memory(plmm_client_round *m, plmm_client_step *s, plmm_status rc,
                                 const plmm_error *why)
{
    if (rc == PLMM_ERR_NOMEM) {
        return plmm_fail(s->err, rc, "%s", why->msg);
    }
    return plmm_client_leave(m, s->out, PLMM_ABORT_LIE, NULL, "the aggregator lied: %s", why->msg);
}

/* All checks, in the order of their cost; then keys and boxes. */
static plmm_status arrive(const plmm_client_round *m, arrival *a, plmm_error *err)
{
    PLMM_TRY(seal_verify(m, a, err));
    PLMM_TRY(ids_verify(m, a, err));
    plmm_session_make(&a->session, a->seal, &m->params);
    a->near_n = a->session.k;
    if (a->os != NULL) {
        PLMM_TRY(plmm_oneshot_sit(a->os, &a->session, a->self, &a->near_n, err));
    }
    PLMM_TRY(arrival_layout(a, err));
    PLMM_TRY(arrival_alloc(a, err));
    neighbours_find(a);
    PLMM_TRY(entries_verify(m, a, err));
    PLMM_TRY(neighbours_agree(m, a, err));
    return a->os != NULL ? PLMM_OK : boxes_make(m, a, err);
}

/* k and t are what this device computes, for neighbours or a committee (C5). */
static plmm_status degree_judge(const plmm_client_round *m, arrival *a, const plmm_roster_head *h,
                                plmm_error *err)
{
    if (m->params.protocol == PLMM_PROTOCOL_ONESHOT) {
        return plmm_oneshot_new(&a->os, m, &h->seal, h, &a->refusal, err);
    }
    return plmm_policy_judge_degree(&m->cfg.policy, &m->params, h->seal.n, h->seal.eligible, h->k,
                                    h->t, &a->refusal, err);
}

/* What follows the roster: shares for the neighbours; or nothing, and training begins. */
static void answer(plmm_client_round *m, plmm_client_step *s)
{
    if (m->os != NULL) {
        plmm_client_accept(m, s, PLMM_CLIENT_TRAINING, PLMM_AFTER_TRAIN);
        return;
    }
    plmm_frame f;
    plmm_client_frame_init(m, &f, PLMM_MSG_SHARES);
    plmm_client_compose(m, &f, (size_t)m->session.k * (PLMM_BOX + PLMM_ESCROW));
    plmm_client_accept(m, s, PLMM_CLIENT_SHARED, PLMM_AFTER_SEND);
}

plmm_status plmm_client_on_roster(plmm_client_round *m, plmm_client_step *s)
{
    plmm_roster_head h;
    plmm_error why = {0};
    arrival a = {.seal = &h.seal, .ids = s->frame.bulk, .len = s->frame.bulk_len};
    PLMM_TRY(plmm_roster_head_decode(&h, &s->frame, s->err));
    plmm_status rc = degree_judge(m, &a, &h, &why);
    if (rc != PLMM_OK && rc != PLMM_ERR_NOMEM) {
        s->out->refusal = a.refusal;
        return plmm_client_leave(m, s->out, PLMM_ABORT_POLICY, NULL, "%s", why.msg);
    }
    a.session = (plmm_session){.n = h.seal.n, .k = h.k, .t = h.t};
    if (rc == PLMM_OK && a.len / 8 < h.seal.n) {
        rc = caught(&a, PLMM_REFUSAL_FORM, &why, "the roster does not have its ids");
    }
    rc = rc == PLMM_OK ? arrive(m, &a, &why) : rc;
    if (rc != PLMM_OK) {
        arrival_free(&a);
        s->out->refusal = a.refusal;
        return lie_or_memory(m, s, rc, &why);
    }
    arrival_commit(m, &a);
    arrival_free(&a);
    if (m->os != NULL) {
        plmm_client_epoch_note(m, &h.seal);
    }
    answer(m, s);
    return PLMM_OK;
}

/* ---- sets ---- */

static bool subset(const uint8_t *a, const uint8_t *b, uint32_t n)
{
    for (uint32_t i = 0; i < plmm_set_bytes(n); i++) {
        if ((a[i] & ~b[i]) != 0) {
            return false;
        }
    }
    return true;
}

static uint32_t neighbours_in(const plmm_client_round *m, const uint8_t *set)
{
    uint32_t c = 0;
    for (uint32_t s = 0; s < m->session.k; s++) {
        c += plmm_set_has(set, m->near[s].index);
    }
    return c;
}

/* A set of devices as the aggregator may announce it: of this roster, within `within` (or NULL),
 * with this device, with enough devices and neighbours (C3). Else which of these it is not, and
 * *why says it. */
static plmm_refusal set_judge(const plmm_client_round *m, const uint8_t *set, const uint8_t *within,
                              const char *what, plmm_error *why)
{
    uint32_t n = m->session.n;
    uint32_t least = plmm_policy_survivors_min(&m->cfg.policy, &m->params, n);
    if (!plmm_set_canonical(set, n)) {
        (void)plmm_fail(why, PLMM_ERR_PEER, "the set of %s names devices beyond the roster", what);
        return PLMM_REFUSAL_FORM;
    }
    if (within != NULL && !subset(set, within, n)) {
        (void)plmm_fail(why, PLMM_ERR_PEER,
                        "the set of %s names a device that was out of the round before", what);
        return PLMM_REFUSAL_ALIVE_AND_DEAD;
    }
    if (!plmm_set_has(set, m->self)) {
        (void)plmm_fail(why, PLMM_ERR_PEER, "the set of %s does not have this device", what);
        return PLMM_REFUSAL_NOT_IN_SET;
    }
    if (plmm_set_count(set, n) < least) {
        (void)plmm_fail(why, PLMM_ERR_PEER, "only %u of %u devices are among the %s, at least %u",
                        plmm_set_count(set, n), n, what, least);
        return PLMM_REFUSAL_TOO_FEW;
    }
    if (neighbours_in(m, set) < m->session.t) {
        (void)plmm_fail(why, PLMM_ERR_PEER,
                        "only %u of this device's %u neighbours are among the %s, at least %u",
                        neighbours_in(m, set), m->session.k, what, m->session.t);
        return PLMM_REFUSAL_TOO_FEW;
    }
    return PLMM_REFUSAL_NONE;
}

static plmm_status lie(plmm_client_round *m, plmm_client_step *s, plmm_refusal refusal,
                       const char *what)
{
    s->out->refusal = refusal;
    return plmm_client_leave(m, s->out, PLMM_ABORT_LIE, NULL, "the aggregator lied: %s", what);
}

/* ---- INBOX: the neighbours' boxes ---- */

/* Opens one box into *p; false if its maker did not make it for this session and this device. */
static bool box_open(const plmm_client_round *m, plmm_neighbour *p, const uint8_t *box)
{
    uint8_t pair[PLMM_SHARE_PAIR];
    plmm_key key;
    plmm_hash ad;
    plmm_nonce nonce;
    plmm_direction_key(&key, &p->channel, PLMM_LABEL_BOX, &m->session, p->index, m->self);
    plmm_box_binding(&ad, &m->session, p->index, m->self);
    memcpy(nonce.b, box, sizeof nonce.b);
    bool ok = plmm_open(pair, box + sizeof nonce.b, PLMM_BOX - sizeof nonce.b, ad.b, sizeof ad.b,
                        &nonce, &key, NULL) == PLMM_OK &&
              plmm_share_decode(&p->self, m->self + 1, pair, PLMM_SHARE_BYTES, NULL) == PLMM_OK &&
              plmm_share_decode(&p->pair, m->self + 1, pair + PLMM_SHARE_BYTES, PLMM_SHARE_BYTES,
                                NULL) == PLMM_OK;
    plmm_wipe(pair, sizeof pair);
    plmm_wipe(&key, sizeof key);
    return ok;
}

plmm_status plmm_client_on_inbox(plmm_client_round *m, plmm_client_step *s)
{
    uint32_t n = m->session.n, k = m->session.k;
    uint32_t set_n = plmm_set_bytes(n), set_k = plmm_set_bytes(k);
    plmm_error why = {0};
    if (s->frame.bulk_len < set_n + set_k) {
        return lie(m, s, PLMM_REFUSAL_FORM, "the inbox is too short");
    }
    const uint8_t *sharers = s->frame.bulk, *present = sharers + set_n, *box = present + set_k;
    uint32_t boxes = plmm_set_count(present, k);
    if (!plmm_set_canonical(present, k) ||
        s->frame.bulk_len != set_n + set_k + (size_t)boxes * PLMM_BOX) {
        return lie(m, s, PLMM_REFUSAL_FORM, "the inbox does not have the boxes it announces");
    }
    plmm_refusal bad_set = set_judge(m, sharers, NULL, "devices that shared", &why);
    if (bad_set != PLMM_REFUSAL_NONE) {
        return lie(m, s, bad_set, why.msg);
    }
    for (uint32_t i = 0; i < k; i++) {
        if (plmm_set_has(present, i) != plmm_set_has(sharers, m->near[i].index)) {
            return lie(m, s, PLMM_REFUSAL_FORM,
                       "the inbox has not exactly the boxes of the neighbours that shared");
        }
    }
    memcpy(m->sharers, sharers, set_n);
    uint8_t *bad = plmm_client_bulk(m);
    memset(bad, 0, set_k);
    for (uint32_t i = 0; i < k; i++) {
        if (plmm_set_has(present, i)) {
            m->near[i].opened = box_open(m, &m->near[i], box);
            box += PLMM_BOX;
            if (!m->near[i].opened) {
                plmm_set_put(bad, i);
            }
        }
    }
    plmm_frame f;
    plmm_client_frame_init(m, &f, PLMM_MSG_CONFIRM);
    plmm_client_compose(m, &f, set_k);
    plmm_client_accept(m, s, PLMM_CLIENT_CONFIRMED, PLMM_AFTER_SEND);
    return PLMM_OK;
}

/* ---- GO: who goes on ---- */

plmm_status plmm_client_on_go(plmm_client_round *m, plmm_client_step *s)
{
    plmm_error why = {0};
    if (s->frame.bulk_len != plmm_set_bytes(m->session.n)) {
        return lie(m, s, PLMM_REFUSAL_FORM, "the set of devices that go on has a wrong length");
    }
    plmm_refusal bad_set = set_judge(m, s->frame.bulk, m->sharers, "devices that go on", &why);
    if (bad_set != PLMM_REFUSAL_NONE) {
        return lie(m, s, bad_set, why.msg);
    }
    memcpy(m->going, s->frame.bulk, s->frame.bulk_len);
    plmm_client_accept(m, s, PLMM_CLIENT_TRAINING, PLMM_AFTER_TRAIN);
    return PLMM_OK;
}

/* ---- SURVIVORS: one set, for all; a MAC over it for each surviving neighbour ---- */

static void tag_key(plmm_key *key, plmm_hash *message, const plmm_client_round *m,
                    const plmm_neighbour *p, uint32_t from, uint32_t to)
{
    plmm_direction_key(key, &p->channel, PLMM_LABEL_AGREE, &m->session, from, to);
    plmm_agree_message(message, &m->statement, from, to);
}

plmm_status plmm_client_on_survivors(plmm_client_round *m, plmm_client_step *s)
{
    uint32_t k = m->session.k, set_k = plmm_set_bytes(k);
    plmm_error why = {0};
    if (s->frame.bulk_len != plmm_set_bytes(m->session.n)) {
        return lie(m, s, PLMM_REFUSAL_FORM, "the set of survivors has a wrong length");
    }
    plmm_refusal bad_set = set_judge(m, s->frame.bulk, m->going, "survivors", &why);
    if (bad_set != PLMM_REFUSAL_NONE) {
        return lie(m, s, bad_set, why.msg);
    }
    memcpy(m->survivors, s->frame.bulk, s->frame.bulk_len);
    plmm_agree_statement(&m->statement, &m->session, m->sharers, m->going, m->survivors);
    uint8_t *set = plmm_client_bulk(m), *tag = set + set_k;
    memset(set, 0, set_k);
    for (uint32_t i = 0; i < k; i++) {
        const plmm_neighbour *p = &m->near[i];
        if (!plmm_set_has(m->survivors, p->index)) {
            continue;
        }
        plmm_key key;
        plmm_hash message;
        plmm_tag t;
        tag_key(&key, &message, m, p, m->self, p->index);
        plmm_mac(&t, &key, PLMM_LABEL_AGREE, message.b, sizeof message.b);
        memcpy(tag, t.b, sizeof t.b);
        tag += sizeof t.b;
        plmm_set_put(set, i);
        plmm_wipe(&key, sizeof key);
    }
    plmm_frame f;
    plmm_client_frame_init(m, &f, PLMM_MSG_AGREE);
    plmm_client_compose(m, &f, (size_t)(tag - set));
    plmm_client_accept(m, s, PLMM_CLIENT_AGREEING, PLMM_AFTER_SEND);
    return PLMM_OK;
}

/* ---- AGREED: at least t neighbours saw the same; only now shares leave the device ---- */

static uint32_t agreeing(const plmm_client_round *m, const uint8_t *set, const uint8_t *tags)
{
    uint32_t good = 0;
    for (uint32_t i = 0; i < m->session.k; i++) {
        if (!plmm_set_has(set, i)) {
            continue;
        }
        const plmm_neighbour *p = &m->near[i];
        plmm_key key;
        plmm_hash message;
        plmm_tag t;
        memcpy(t.b, tags, sizeof t.b);
        tags += sizeof t.b;
        tag_key(&key, &message, m, p, p->index, m->self);
        good += plmm_set_has(m->survivors, p->index) &&
                plmm_mac_verify(&t, &key, PLMM_LABEL_AGREE, message.b, sizeof message.b, NULL) ==
                    PLMM_OK;
        plmm_wipe(&key, sizeof key);
    }
    return good;
}

/* The seed of the noise that so many survivors can do without: 0 or 32 octets. (D5) */
static size_t surplus_put(const plmm_client_round *m, uint8_t *out)
{
    uint32_t level;
    if (!plmm_round_surplus(&m->params, plmm_set_count(m->survivors, m->session.n), &level)) {
        return 0;
    }
    plmm_seed g;
    plmm_xnoise_root(&g, &m->rounding);
    plmm_xnoise_chain(&g, &g, level + 1);
    memcpy(out, g.b, sizeof g.b);
    plmm_wipe(&g, sizeof g);
    return sizeof g.b;
}

plmm_status plmm_client_on_agreed(plmm_client_round *m, plmm_client_step *s)
{
    uint32_t k = m->session.k, set_k = plmm_set_bytes(k);
    const uint8_t *set = s->frame.bulk;
    if (s->frame.bulk_len < set_k || !plmm_set_canonical(set, k) ||
        s->frame.bulk_len != set_k + (size_t)plmm_set_count(set, k) * PLMM_TAG_BYTES) {
        return lie(m, s, PLMM_REFUSAL_FORM, "the agreement does not have the MACs it announces");
    }
    uint32_t good = agreeing(m, set, set + set_k);
    if (good < m->session.t) { /* (C2) */
        s->out->refusal = PLMM_REFUSAL_DISAGREE;
        return plmm_client_leave(m, s->out, PLMM_ABORT_TOO_FEW_AGREE, NULL,
                                 "only %u neighbours saw the same survivors, at least %u: the "
                                 "aggregator told others something else, or neighbours lied",
                                 good, m->session.t);
    }
    uint8_t *out = plmm_client_bulk(m), *share = out + set_k;
    memset(out, 0, set_k);
    for (uint32_t i = 0; i < k; i++) {
        const plmm_neighbour *p = &m->near[i];
        if (!p->opened || !plmm_set_has(m->going, p->index)) {
            continue;
        }
        /* alive or dead follows from the one set: never both shares of anybody (C1) */
        plmm_share_encode(share, plmm_set_has(m->survivors, p->index) ? &p->self : &p->pair);
        share += PLMM_SHARE_BYTES;
        plmm_set_put(out, i);
    }
    share += surplus_put(m, share);
    plmm_frame f;
    plmm_client_frame_init(m, &f, PLMM_MSG_REVEAL);
    plmm_client_compose(m, &f, (size_t)(share - out));
    plmm_client_accept(m, s, PLMM_CLIENT_REVEALED, PLMM_AFTER_SEND);
    return PLMM_OK;
}
