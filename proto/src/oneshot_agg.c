/* The aggregator in a one-shot round: each message of a device or a member, and how each phase
 * ends. As in agg_steps.c: every check first, then the record, then the change. */
#include "agg_machine.h"
#include "plmm/alloc.h"
#include "plmm/bytes.h"

#include <stdio.h>
#include <string.h>

/* ---- the part of the machine ---- */

void plmm_agg_oneshot_free(plmm_agg_oneshot *o, uint32_t n)
{
    if (o == NULL) {
        return;
    }
    for (uint32_t i = 0; o->boxes != NULL && i < n; i++) {
        plmm_free(o->boxes[i]);
    }
    plmm_free(o->boxes);
    plmm_free(o->bad);
    plmm_free(o->tags);
    plmm_free(o->sums);
    plmm_free(o->contributed);
    plmm_free(o->dropped);
    plmm_tables_drop(o->tables);
    plmm_free(o);
}

static bool room_make(plmm_agg_oneshot *o, uint32_t n)
{
    size_t m = o->tables->committee.m;
    o->share_bytes = plmm_packed_share_bytes(o->tables->set);
    o->contributed = plmm_alloc(1, plmm_set_bytes(n));
    o->dropped = plmm_alloc(n, sizeof o->dropped[0]);
    o->boxes = plmm_alloc(n, sizeof o->boxes[0]);
    o->bad = plmm_alloc(m, plmm_set_bytes(n));
    o->tags = plmm_alloc(m * m, PLMM_TAG_BYTES);
    o->sums = plmm_alloc(m, o->share_bytes);
    return o->contributed != NULL && o->dropped != NULL && o->boxes != NULL && o->bad != NULL &&
           o->tags != NULL && o->sums != NULL;
}

plmm_status plmm_agg_oneshot_new(plmm_agg_round *m, uint32_t n, uint32_t eligible, plmm_error *err)
{
    plmm_agg_oneshot *o = plmm_alloc(1, sizeof *o);
    if (o == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory for a one-shot round");
    }
    plmm_status rc = plmm_tables_take(&o->tables, m->cfg.shelf, &m->cfg.params, n, eligible, err);
    if (rc == PLMM_OK && !room_make(o, n)) {
        rc = plmm_fail(err, PLMM_ERR_NOMEM, "no memory for a one-shot round of %u devices", n);
    }
    if (rc != PLMM_OK) {
        plmm_agg_oneshot_free(o, n);
        return rc;
    }
    m->os = o;
    m->session.k = o->tables->committee.m;
    m->session.t = o->tables->committee.need;
    m->corrupt = o->tables->corrupt;
    return PLMM_OK;
}

/* Session and seats are known. */
plmm_status plmm_agg_oneshot_seats(plmm_agg_round *m, plmm_error *err)
{
    return plmm_seats_draw(&m->os->seats, m->session.k, m->session.n, &m->session.beacon, err);
}

static const plmm_committee *committee(const plmm_agg_round *m)
{
    return plmm_oneshot_committee(m->os->tables);
}

/* Members without which no sum is opened. */
static uint32_t wanted(const plmm_agg_round *m)
{
    const plmm_committee *k = committee(m);
    return k->quorum > k->need ? k->quorum : k->need;
}

/* ---- CONTRIB ---- */

plmm_status plmm_agg_on_contrib(plmm_agg_round *m, plmm_agg_step *s)
{
    plmm_agg_oneshot *o = m->os;
    uint32_t i = s->slot->index;
    size_t boxes = plmm_oneshot_boxes(&m->cfg.params, m->session.k);
    if (s->frame.bulk_len != plmm_oneshot_bytes(&m->cfg.params, m->session.k) ||
        s->frame.body_len != 0) {
        return plmm_agg_refuse(m, s, "does not have a box for each member and a vector");
    }
    const uint8_t *payload = s->frame.bulk != NULL ? s->frame.bulk + boxes : NULL;
    size_t len = s->frame.bulk_len - boxes;
    if (payload != NULL &&
        plmm_round_payload_check(&m->cfg.params, payload, len, NULL) != PLMM_OK) {
        return plmm_agg_refuse(m, s, "has a vector with a number out of its range");
    }
    if (o->boxes[i] == NULL) {
        o->boxes[i] = plmm_alloc_unset(boxes, 1);
    }
    if (o->boxes[i] == NULL) {
        return plmm_fail(s->err, PLMM_ERR_NOMEM, "no memory for the boxes of a device");
    }
    const uint8_t *bulk = s->event->bytes + plmm_agg_head(s);
    memcpy(o->boxes[i], bulk, boxes);
    plmm_agg_action *a = plmm_agg_emit(s->out, PLMM_AGG_DO_ADD_INPUT);
    a->device = s->frame.sender;
    a->bytes = payload;
    a->len = len;
    plmm_agg_journal(m, s->out, s->event->bytes, plmm_agg_head(s) + boxes);
    if (!m->replaying) {
        m->ack_index[m->ack_tail] = i;
        m->ack_seq[m->ack_tail++] = m->seq;
    }
    m->did[i] |= PLMM_DID_MASK;
    plmm_agg_answered(m, s->out);
    return PLMM_OK;
}

/* Who contributed, and of the committee who may now open its boxes. */
void plmm_agg_contrib_close(plmm_agg_round *m, plmm_agg_actions *out)
{
    uint32_t n = m->session.n, count = 0;
    memset(m->survivors, 0, plmm_set_bytes(n));
    for (uint32_t i = 0; i < n; i++) {
        if ((m->did[i] & PLMM_DID_MASK) != 0) {
            plmm_set_put(m->survivors, i);
            count++;
        } else {
            m->did[i] |= PLMM_IS_OUT;
        }
    }
    memset(m->sharers, 0, plmm_set_bytes(n));
    uint32_t seats = 0;
    for (uint32_t i = 0; i < m->session.k; i++) {
        uint32_t at = m->os->seats.member[i];
        if (plmm_set_has(m->survivors, at)) {
            plmm_set_put(m->sharers, at);
            seats++;
        }
    }
    memcpy(m->os->contributed, m->survivors, plmm_set_bytes(n));
    if (count < m->cfg.params.n_min) {
        plmm_agg_abort(m, out, PLMM_ABORT_TOO_FEW_VECTORS,
                       "only %u of %u contributions arrived within %u ms, at least %u", count, n,
                       m->cfg.train_ms, m->cfg.params.n_min);
    } else if (seats < wanted(m)) {
        plmm_agg_abort(m, out, PLMM_ABORT_TOO_FEW_SHARES,
                       "only %u of the committee's %u members are there, at least %u", seats,
                       m->session.k, wanted(m));
    } else {
        plmm_agg_enter(m, out, PLMM_AGG_DELIVER);
    }
}

/* ---- COMPLAIN: boxes that do not open ---- */

plmm_status plmm_agg_on_complain(plmm_agg_round *m, plmm_agg_step *s)
{
    uint32_t n = m->session.n, seat = plmm_seat_of(&m->os->seats, s->slot->index);
    const uint8_t *bad = s->frame.bulk;
    if (s->frame.bulk_len != plmm_set_bytes(n) || s->frame.body_len != 0 ||
        !plmm_set_canonical(bad, n)) {
        return plmm_agg_refuse(m, s, "is not a set of devices");
    }
    for (uint32_t b = 0; b < plmm_set_bytes(n); b++) {
        if ((bad[b] & ~m->survivors[b]) != 0) {
            return plmm_agg_refuse(m, s, "complains of a box that it was not sent");
        }
    }
    plmm_agg_journal(m, s->out, s->event->bytes, s->event->len);
    memcpy(m->os->bad + (size_t)seat * plmm_set_bytes(n), bad, plmm_set_bytes(n));
    m->did[s->slot->index] |= PLMM_DID_CONFIRM;
    plmm_agg_answered(m, s->out);
    return PLMM_OK;
}

/* Members that complain of more devices than can be corrupt lie: nobody listens to them. */
static bool heard(const plmm_agg_round *m, uint32_t seat)
{
    uint32_t at = m->os->seats.member[seat], n = m->session.n;
    return (m->did[at] & (PLMM_DID_CONFIRM | PLMM_IS_OUT)) == PLMM_DID_CONFIRM &&
           plmm_set_count(m->os->bad + (size_t)seat * plmm_set_bytes(n), n) <= m->corrupt;
}

/* Members that can open every box of the survivors. */
static uint32_t clean(const plmm_agg_round *m)
{
    uint32_t c = 0, set = plmm_set_bytes(m->session.n);
    for (uint32_t seat = 0; seat < m->session.k; seat++) {
        const uint8_t *bad = m->os->bad + (size_t)seat * set;
        bool ok = heard(m, seat);
        for (uint32_t b = 0; ok && b < set; b++) {
            ok = (bad[b] & m->survivors[b]) == 0;
        }
        c += ok;
    }
    return c;
}

static uint32_t complaints(const plmm_agg_round *m, uint32_t device)
{
    uint32_t c = 0;
    for (uint32_t seat = 0; seat < m->session.k; seat++) {
        c += plmm_set_has(m->os->bad + (size_t)seat * plmm_set_bytes(m->session.n), device) &&
             heard(m, seat);
    }
    return c;
}

static void leave_out(plmm_agg_round *m, uint32_t device)
{
    m->survivors[device / 8] = (uint8_t)(m->survivors[device / 8] & ~(1u << (device % 8)));
    m->did[device] |= PLMM_LEFT_OUT;
    m->expelled++;
}

/* Leaves out whom more members complain of than can lie, then, as long as too few members can open
 * the rest, the device most complained of. Returns how many members can. */
static uint32_t choose(plmm_agg_round *m)
{
    uint32_t n = m->session.n, able = clean(m);
    for (uint32_t i = 0; i < n; i++) {
        if (plmm_set_has(m->survivors, i) && complaints(m, i) > committee(m)->c) {
            leave_out(m, i);
        }
    }
    for (able = clean(m); able < wanted(m); able = clean(m)) {
        uint32_t most = 0, worst = PLMM_NONE;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t c = plmm_set_has(m->survivors, i) ? complaints(m, i) : 0;
            worst = c > most ? i : worst;
            most = c > most ? c : most;
        }
        if (worst == PLMM_NONE) {
            break;
        }
        leave_out(m, worst);
    }
    return able;
}

/* The ciphertexts of those left out are in the sum: out with them. */
static void emit_drops(plmm_agg_round *m, plmm_agg_actions *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->session.n; i++) {
        if ((m->did[i] & PLMM_LEFT_OUT) != 0) {
            m->os->dropped[n++] = m->slots[m->slot_of[i]].entry.certificate.device;
        }
    }
    if (n > 0) {
        plmm_agg_action *a = plmm_agg_emit(out, PLMM_AGG_DO_DROP_INPUT);
        a->to = m->os->dropped;
        a->to_n = n;
    }
}

void plmm_agg_deliver_close(plmm_agg_round *m, plmm_agg_actions *out)
{
    uint32_t n = m->session.n, able = choose(m), count = plmm_set_count(m->survivors, n);
    for (uint32_t i = 0; i < m->session.k; i++) {
        uint32_t at = m->os->seats.member[i];
        if ((m->did[at] & PLMM_DID_CONFIRM) == 0) {
            m->did[at] |= PLMM_IS_OUT;
        }
    }
    if (count < m->cfg.params.n_min) {
        plmm_agg_abort(m, out, PLMM_ABORT_TOO_FEW_VECTORS,
                       "only %u of %u devices sealed boxes that the committee can open, at least "
                       "%u",
                       count, plmm_set_count(m->os->contributed, n), m->cfg.params.n_min);
    } else if (able < wanted(m)) {
        plmm_agg_abort(m, out, PLMM_ABORT_TOO_FEW_SHARES,
                       "only %u of the committee's %u members can open the boxes of the survivors "
                       "within %u ms, at least %u",
                       able, m->session.k, m->cfg.phase_ms, wanted(m));
    } else {
        emit_drops(m, out);
        plmm_agg_enter(m, out, PLMM_AGG_AGREE);
    }
}

/* ---- VOTE ---- */

plmm_status plmm_agg_on_vote(plmm_agg_round *m, plmm_agg_step *s)
{
    size_t len = (size_t)m->session.k * PLMM_TAG_BYTES;
    uint32_t seat = plmm_seat_of(&m->os->seats, s->slot->index);
    if (s->frame.bulk_len != len || s->frame.body_len != 0) {
        return plmm_agg_refuse(m, s, "does not have a vote for each member");
    }
    plmm_agg_journal(m, s->out, s->event->bytes, s->event->len);
    memcpy(m->os->tags + seat * len, s->frame.bulk, len);
    m->did[s->slot->index] |= PLMM_DID_AGREE;
    plmm_agg_answered(m, s->out);
    return PLMM_OK;
}

void plmm_agg_vote_close(plmm_agg_round *m, plmm_agg_actions *out)
{
    uint32_t n = m->session.n, count = 0;
    memset(m->agreed, 0, plmm_set_bytes(n));
    for (uint32_t i = 0; i < n; i++) {
        if ((m->did[i] & (PLMM_DID_AGREE | PLMM_IS_OUT)) == PLMM_DID_AGREE) {
            plmm_set_put(m->agreed, i);
            count++;
        }
    }
    if (count < wanted(m)) {
        plmm_agg_abort(m, out, PLMM_ABORT_TOO_FEW_AGREE,
                       "only %u of the committee's %u members agreed within %u ms, at least %u",
                       count, m->session.k, m->cfg.phase_ms, wanted(m));
        return;
    }
    plmm_agg_enter(m, out, PLMM_AGG_REVEAL);
}

/* ---- SUM ---- */

plmm_status plmm_agg_on_sum(plmm_agg_round *m, plmm_agg_step *s)
{
    plmm_agg_oneshot *o = m->os;
    uint32_t seat = plmm_seat_of(&o->seats, s->slot->index);
    uint64_t unused[PLMM_PACKED_SHARE_MAX];
    if ((s->frame.bulk_len != o->share_bytes && s->frame.bulk_len != 0) || s->frame.body_len != 0) {
        return plmm_agg_refuse(m, s, "is no sum of shares");
    }
    if (s->frame.bulk_len != 0 && plmm_packed_unpack(unused, o->tables->set, s->frame.bulk,
                                                     o->share_bytes, NULL) != PLMM_OK) {
        return plmm_agg_refuse(m, s, "has a share out of the field");
    }
    plmm_agg_journal(m, s->out, s->event->bytes, s->event->len);
    if (s->frame.bulk_len != 0) {
        memcpy(o->sums + seat * o->share_bytes, s->frame.bulk, o->share_bytes);
        o->summed[seat] = true;
    }
    m->did[s->slot->index] |= PLMM_DID_REVEAL;
    plmm_agg_answered(m, s->out);
    return PLMM_OK;
}

void plmm_agg_sum_close(plmm_agg_round *m, plmm_agg_actions *out)
{
    uint32_t count = 0;
    for (uint32_t seat = 0; seat < m->session.k; seat++) {
        count += m->os->summed[seat];
    }
    if (count < m->session.t) {
        plmm_agg_abort(m, out, PLMM_ABORT_TOO_FEW_REVEALS,
                       "only %u of the committee's %u members gave a sum within %u ms, at least %u",
                       count, m->session.k, m->cfg.phase_ms, m->session.t);
        return;
    }
    m->phase = PLMM_AGG_UNMASK;
    m->deadline_ms = UINT64_MAX;
    if (!m->replaying) {
        plmm_agg_emit(out, PLMM_AGG_DO_UNMASK);
    }
}

/* ---- what devices are sent ---- */

uint32_t plmm_agg_oneshot_near(const plmm_agg_round *m, uint32_t *at, uint32_t index)
{
    uint32_t count = 0;
    if (plmm_seat_of(&m->os->seats, index) == PLMM_NO_SEAT) {
        plmm_seats_sorted(&m->os->seats, at);
        return m->session.k;
    }
    for (uint32_t i = 0; i < m->session.n; i++) {
        if (i != index) {
            at[count++] = i;
        }
    }
    return count;
}

/* set(n) of who contributed | nonce and box of each for the seat. */
size_t plmm_agg_put_deliver(const plmm_agg_round *m, uint8_t *out, uint32_t seat)
{
    uint32_t n = m->session.n;
    size_t box = m->os->share_bytes + PLMM_SEAL_OVERHEAD;
    uint8_t *at = out + plmm_set_bytes(n);
    memcpy(out, m->os->contributed, plmm_set_bytes(n));
    for (uint32_t i = 0; i < n; i++) {
        if (plmm_set_has(m->os->contributed, i)) {
            memcpy(at, m->os->boxes[i], PLMM_ONESHOT_NONCE);
            memcpy(at + PLMM_ONESHOT_NONCE, m->os->boxes[i] + PLMM_ONESHOT_NONCE + seat * box, box);
            at += PLMM_ONESHOT_NONCE + box;
        }
    }
    return (size_t)(at - out);
}

/* set(m) of who voted | their tags for the seat. */
size_t plmm_agg_put_votes(const plmm_agg_round *m, uint8_t *out, uint32_t seat)
{
    uint32_t k = m->session.k;
    uint8_t *at = out + plmm_set_bytes(k);
    memset(out, 0, plmm_set_bytes(k));
    for (uint32_t i = 0; i < k; i++) {
        if (plmm_set_has(m->agreed, m->os->seats.member[i])) {
            plmm_set_put(out, i);
            memcpy(at, m->os->tags + ((size_t)i * k + seat) * PLMM_TAG_BYTES, PLMM_TAG_BYTES);
            at += PLMM_TAG_BYTES;
        }
    }
    return (size_t)(at - out);
}

size_t plmm_agg_oneshot_frame_max(const plmm_agg_round *m)
{
    size_t record = PLMM_ONESHOT_NONCE + m->os->share_bytes + PLMM_SEAL_OVERHEAD;
    return plmm_set_bytes(m->session.n) + m->session.n * record +
           (size_t)m->session.k * (PLMM_TAG_BYTES + 1);
}
