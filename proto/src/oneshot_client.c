/* A device in a one-shot round, and what it does more if it is a member of the committee: every
 * check first, then the change. Numbers in brackets are the claims of docs/protocol.md. */
#include "client_machine.h"
#include "plmm/alloc.h"
#include "plmm/bytes.h"

#include <string.h>

static plmm_status lie(plmm_client_round *m, plmm_client_step *s, plmm_refusal refusal,
                       const char *what)
{
    s->out->refusal = refusal;
    return plmm_client_leave(m, s->out, PLMM_ABORT_LIE, NULL, "the aggregator lied: %s", what);
}

/* ---- the part of the machine ---- */

void plmm_oneshot_wipe(plmm_oneshot *o)
{
    if (o == NULL) {
        return;
    }
    plmm_wipe(&o->own, sizeof o->own);
    if (o->shares != NULL) {
        plmm_wipe(o->shares, o->n * o->share_bytes);
    }
    if (o->sum != NULL) {
        plmm_wipe(o->sum, o->share_residues * sizeof o->sum[0]);
    }
}

void plmm_oneshot_free(plmm_oneshot *o)
{
    if (o != NULL) {
        plmm_oneshot_wipe(o);
        plmm_free(o->shares);
        plmm_free(o->sum);
        plmm_free(o->delivered);
        plmm_tables_drop(o->tables);
        plmm_free(o);
    }
}

size_t plmm_client_round_payload(const plmm_client_round *m)
{
    if (m->near == NULL) {
        return 0;
    }
    return m->os != NULL ? plmm_oneshot_bytes(&m->params, m->os->seats.m)
                         : plmm_round_payload_bytes(&m->params);
}

void plmm_oneshot_secret(const plmm_client_round *m, const char *label, plmm_seed *out)
{
    plmm_seed root;
    plmm_kdf(root.b, m->seed.b, "round.rt", m->params_hash.b, sizeof m->params_hash.b);
    plmm_seed_derive(out, &root, label, 0);
    plmm_wipe(&root, sizeof root);
}

/* ---- ROSTER: the committee ---- */

static plmm_status judge(plmm_oneshot *o, const plmm_client_round *m, const plmm_round_seal *seal,
                         const plmm_roster_head *told, plmm_refusal *refusal, plmm_error *err)
{
    uint32_t n = seal->n;
    *refusal = PLMM_REFUSAL_COHORT;
    if (n > m->params.cohort || n < m->params.n_min || n < m->cfg.policy.n_min ||
        n > seal->eligible) {
        return plmm_fail(err, PLMM_ERR_POLICY,
                         "the roster has %u devices, of %u that may take part, the round allows "
                         "%u..%u and this device wants at least %u",
                         n, seal->eligible, m->params.n_min, m->params.cohort, m->cfg.policy.n_min);
    }
    *refusal = PLMM_REFUSAL_DEGREE;
    PLMM_TRY(plmm_tables_take(&o->tables, m->cfg.shelf, &m->params, n, seal->eligible, err));
    const plmm_committee *k = plmm_oneshot_committee(o->tables);
    if (told != NULL && (told->k != k->m || told->t != k->need)) {
        return plmm_fail(err, PLMM_ERR_POLICY,
                         "the aggregator announced a committee of %u of whom %u open the sum of %u "
                         "devices, this device computes %u and %u",
                         told->k, told->t, n, k->m, k->need);
    }
    PLMM_TRY(plmm_policy_judge_noise(&m->params, n, seal->eligible, err));
    *refusal = PLMM_REFUSAL_NONE;
    return PLMM_OK;
}

plmm_status plmm_oneshot_new(plmm_oneshot **o, const plmm_client_round *m,
                             const plmm_round_seal *seal, const plmm_roster_head *told,
                             plmm_refusal *refusal, plmm_error *err)
{
    plmm_oneshot *r = plmm_alloc(1, sizeof *r);
    if (r == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory for a one-shot round");
    }
    plmm_status rc = judge(r, m, seal, told, refusal, err);
    if (rc != PLMM_OK) {
        plmm_oneshot_free(r);
        return rc;
    }
    plmm_oneshot_secret(m, "own.seat", (plmm_seed *)&r->own);
    *o = r;
    return PLMM_OK;
}

/* What a member needs besides: a place for each device's share. */
static plmm_status seat_take(plmm_oneshot *o, uint32_t n, plmm_error *err)
{
    uint32_t set = o->tables->set;
    o->n = n;
    o->share_bytes = plmm_packed_share_bytes(set);
    o->share_residues = plmm_packed_share_residues(set);
    o->delivered = plmm_alloc(3, plmm_set_bytes(n));
    o->shares = plmm_alloc(n, o->share_bytes);
    o->sum = plmm_alloc(o->share_residues, sizeof o->sum[0]);
    if (o->delivered == NULL || o->shares == NULL || o->sum == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory for the boxes of %u devices", n);
    }
    o->opened = o->delivered + plmm_set_bytes(n);
    o->chosen = o->opened + plmm_set_bytes(n);
    return PLMM_OK;
}

plmm_status plmm_oneshot_sit(plmm_oneshot *o, const plmm_session *s, uint32_t self,
                             uint32_t *near_n, plmm_error *err)
{
    PLMM_TRY(plmm_seats_draw(&o->seats, s->k, s->n, &s->beacon, err));
    o->seat = plmm_seat_of(&o->seats, self);
    *near_n = o->seat == PLMM_NO_SEAT ? s->k : s->n - 1;
    return o->seat == PLMM_NO_SEAT ? PLMM_OK : seat_take(o, s->n, err);
}

void plmm_oneshot_near(const plmm_oneshot *o, uint32_t *at, uint32_t self)
{
    if (o->seat == PLMM_NO_SEAT) {
        plmm_seats_sorted(&o->seats, at);
        return;
    }
    for (uint32_t i = 0, count = 0; i < o->n; i++) {
        if (i != self) {
            at[count++] = i;
        }
    }
}

size_t plmm_oneshot_room(const plmm_oneshot *o, uint32_t n)
{
    size_t votes = (size_t)o->seats.m * PLMM_TAG_BYTES, set = plmm_set_bytes(n);
    size_t most = votes > set ? votes : set;
    return most > o->share_bytes ? most : o->share_bytes;
}

/* The chain key of the pair with a device whose entry came with the roster, or of itself. */
const plmm_key *plmm_oneshot_channel(const plmm_client_round *m, uint32_t index)
{
    uint32_t lo = 0, hi = m->near_n;
    if (index == m->self) {
        return &m->os->own;
    }
    if (m->near_n + 1 == m->session.n) { /* a member's: everybody but itself */
        lo = index - (index > m->self ? 1 : 0);
        hi = lo + 1;
    }
    while (lo + 1 < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (m->near[mid].index <= index) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    PLMM_ASSERT(m->near[lo].index == index);
    return &m->near[lo].channel;
}

/* ---- DELIVER: the boxes for this seat ---- */

/* The share of `from` in its box, to o->shares; false if it did not seal one for this seat and
 * session, or one that is out of the field. */
static bool box_open(plmm_client_round *m, uint32_t from, const uint8_t *record)
{
    plmm_oneshot *o = m->os;
    uint8_t ad[PLMM_ONESHOT_AD], *share = o->shares + from * o->share_bytes;
    plmm_nonce nonce;
    memcpy(nonce.b, record, sizeof nonce.b);
    plmm_oneshot_ad(ad, PLMM_MSG_CONTRIB, &m->session, from, m->self);
    return plmm_open(share, record + sizeof nonce.b, o->share_bytes + PLMM_SEAL_OVERHEAD, ad,
                     sizeof ad, &nonce, plmm_oneshot_channel(m, from), NULL) == PLMM_OK &&
           plmm_packed_add(o->sum, o->tables->set, share, o->share_bytes, NULL) == PLMM_OK;
}

static uint32_t survivors_min(const plmm_client_round *m)
{
    return plmm_policy_survivors_min(&m->cfg.policy, &m->params, m->session.n);
}

plmm_status plmm_oneshot_on_deliver(plmm_client_round *m, plmm_client_step *s)
{
    plmm_oneshot *o = m->os;
    uint32_t n = m->session.n, set = plmm_set_bytes(n);
    if (o == NULL || o->seat == PLMM_NO_SEAT) {
        return lie(m, s, PLMM_REFUSAL_TURN,
                   "it gave this device boxes of a committee it is not on");
    }
    size_t record = PLMM_ONESHOT_NONCE + o->share_bytes + PLMM_SEAL_OVERHEAD;
    const uint8_t *from = s->frame.bulk;
    if (s->frame.bulk_len < set || !plmm_set_canonical(from, n) ||
        s->frame.bulk_len != set + plmm_set_count(from, n) * record) {
        return lie(m, s, PLMM_REFUSAL_FORM, "it did not deliver the boxes it announced");
    }
    if (plmm_set_count(from, n) < survivors_min(m)) { /* (C3) */
        s->out->refusal = PLMM_REFUSAL_TOO_FEW;
        return plmm_client_leave(m, s->out, PLMM_ABORT_LIE, NULL,
                                 "the aggregator lied: only %u of %u devices contributed, at "
                                 "least %u",
                                 plmm_set_count(from, n), n, survivors_min(m));
    }
    memcpy(o->delivered, from, set);
    const uint8_t *at = from + set;
    uint8_t *bad = plmm_client_bulk(m);
    memset(bad, 0, set);
    for (uint32_t i = 0; i < n; i++) {
        if (!plmm_set_has(from, i)) {
            continue;
        }
        plmm_set_put(box_open(m, i, at) ? o->opened : bad, i);
        at += record;
    }
    plmm_frame f;
    plmm_client_frame_init(m, &f, PLMM_MSG_COMPLAIN);
    plmm_client_compose(m, &f, set);
    plmm_client_accept(m, s, PLMM_CLIENT_OPENED, PLMM_AFTER_SEND);
    return PLMM_OK;
}

/* ---- CHOSEN: one set of survivors; a vote for it to each member ---- */

static bool subset(const uint8_t *a, const uint8_t *b, uint32_t n)
{
    for (uint32_t i = 0; i < plmm_set_bytes(n); i++) {
        if ((a[i] & ~b[i]) != 0) {
            return false;
        }
    }
    return true;
}

plmm_status plmm_oneshot_on_chosen(plmm_client_round *m, plmm_client_step *s)
{
    plmm_oneshot *o = m->os;
    uint32_t n = m->session.n;
    const uint8_t *set = s->frame.bulk;
    if (s->frame.bulk_len != plmm_set_bytes(n) || !plmm_set_canonical(set, n)) {
        return lie(m, s, PLMM_REFUSAL_FORM, "the set of survivors is none of this roster");
    }
    if (!subset(set, o->delivered, n)) {
        return lie(m, s, PLMM_REFUSAL_ALIVE_AND_DEAD,
                   "the survivors have a device that did not contribute");
    }
    if (plmm_set_count(set, n) < survivors_min(m)) { /* (C3) */
        s->out->refusal = PLMM_REFUSAL_TOO_FEW;
        return plmm_client_leave(m, s->out, PLMM_ABORT_LIE, NULL,
                                 "the aggregator lied: only %u of %u devices survived, at least %u",
                                 plmm_set_count(set, n), n, survivors_min(m));
    }
    memcpy(o->chosen, set, s->frame.bulk_len);
    plmm_hash vote;
    plmm_vote_hash(&vote, &m->session, o->chosen);
    uint8_t *tags = plmm_client_bulk(m);
    for (uint32_t i = 0; i < o->seats.m; i++) {
        plmm_tag t;
        uint32_t to = o->seats.member[i];
        plmm_vote_tag(&t, plmm_oneshot_channel(m, to), &vote, &m->session, m->self, to);
        memcpy(tags + (size_t)i * PLMM_TAG_BYTES, t.b, sizeof t.b);
    }
    plmm_frame f;
    plmm_client_frame_init(m, &f, PLMM_MSG_VOTE);
    plmm_client_compose(m, &f, (size_t)o->seats.m * PLMM_TAG_BYTES);
    plmm_client_accept(m, s, PLMM_CLIENT_AGREEING, PLMM_AFTER_SEND);
    return PLMM_OK;
}

/* ---- VOTES: a quorum named the same survivors; only now does a sum leave the device ---- */

static uint32_t votes_count(const plmm_client_round *m, const uint8_t *set, const uint8_t *tags)
{
    const plmm_oneshot *o = m->os;
    uint32_t good = 1; /* its own */
    plmm_hash vote;
    plmm_vote_hash(&vote, &m->session, o->chosen);
    for (uint32_t i = 0; i < o->seats.m; i++) {
        plmm_tag t;
        uint32_t from = o->seats.member[i];
        if (!plmm_set_has(set, i)) {
            continue;
        }
        plmm_vote_tag(&t, plmm_oneshot_channel(m, from), &vote, &m->session, from, m->self);
        good += i != o->seat && plmm_equal(t.b, tags, sizeof t.b);
        tags += PLMM_TAG_BYTES;
    }
    return good;
}

/* The sum of the survivors' shares to out; false if one of them did not open. */
static bool sum_make(plmm_client_round *m, uint8_t *out)
{
    plmm_oneshot *o = m->os;
    uint32_t n = m->session.n, set = o->tables->set;
    if (!subset(o->chosen, o->opened, n)) {
        return false;
    }
    if (memcmp(o->chosen, o->opened, plmm_set_bytes(n)) != 0) { /* the sum has all that opened */
        memset(o->sum, 0, o->share_residues * sizeof o->sum[0]);
        for (uint32_t i = 0; i < n; i++) {
            if (plmm_set_has(o->chosen, i)) {
                plmm_status rc = plmm_packed_add(o->sum, set, o->shares + i * o->share_bytes,
                                                 o->share_bytes, NULL);
                PLMM_ASSERT(rc == PLMM_OK); /* it was added before */
            }
        }
    }
    plmm_packed_pack(out, set, o->sum);
    return true;
}

plmm_status plmm_oneshot_on_votes(plmm_client_round *m, plmm_client_step *s)
{
    plmm_oneshot *o = m->os;
    uint32_t k = o->seats.m, set_k = plmm_set_bytes(k);
    uint32_t quorum = plmm_oneshot_committee(o->tables)->quorum;
    const uint8_t *set = s->frame.bulk;
    if (s->frame.bulk_len < set_k || !plmm_set_canonical(set, k) ||
        s->frame.bulk_len != set_k + (size_t)plmm_set_count(set, k) * PLMM_TAG_BYTES) {
        return lie(m, s, PLMM_REFUSAL_FORM, "it did not bring the votes it announced");
    }
    uint32_t good = votes_count(m, set, set + set_k);
    if (good < quorum) { /* (C2) */
        s->out->refusal = PLMM_REFUSAL_DISAGREE;
        return plmm_client_leave(m, s->out, PLMM_ABORT_TOO_FEW_AGREE, NULL,
                                 "only %u of %u members saw the same survivors, at least %u: the "
                                 "aggregator told others something else, or members lied",
                                 good, k, quorum);
    }
    bool whole = sum_make(m, plmm_client_bulk(m));
    plmm_frame f;
    plmm_client_frame_init(m, &f, PLMM_MSG_SUM);
    plmm_client_compose(m, &f, whole ? o->share_bytes : 0);
    plmm_client_accept(m, s, PLMM_CLIENT_REVEALED, PLMM_AFTER_SEND);
    return PLMM_OK;
}
