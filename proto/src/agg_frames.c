/* The frames the aggregator sends: each a function of the machine, the same octets each time. */
#include "agg_machine.h"
#include "plmm/alloc.h"

#include <string.h>

size_t plmm_agg_round_frame_max(const plmm_agg_round *m)
{
    size_t most = 0;
    if (m->did != NULL) {
        size_t n = m->session.n, k = m->session.k, levels = 0, near = m->os != NULL ? n : k;
        while ((size_t)1 << levels < n) {
            levels++;
        }
        size_t roster = n * 8 + near * PLMM_ROSTER_ENTRY + (k + 1) * levels * sizeof(plmm_hash);
        size_t inbox = plmm_set_bytes(m->session.n) + plmm_set_bytes(m->session.k) + k * PLMM_BOX;
        most = roster > inbox ? roster : inbox;
        size_t deliver = m->os != NULL ? plmm_agg_oneshot_frame_max(m) : 0;
        most = most > deliver ? most : deliver;
    }
    return PLMM_FRAME_SMALL + most;
}

/* Where the record of device i for device j lies in an n x k table. */
static size_t place_of(const plmm_agg_round *m, uint32_t i, uint32_t j)
{
    uint32_t at = plmm_find(plmm_agg_near(m, i), m->session.k, j);
    PLMM_ASSERT(at < m->session.k);
    return (size_t)i * m->session.k + at;
}

/* set(k) of i's neighbours in `among` | their records for i. */
static size_t gather(const plmm_agg_round *m, uint8_t *out, uint32_t i, const uint8_t *among,
                     const uint8_t *table, size_t record)
{
    uint32_t k = m->session.k, set_k = plmm_set_bytes(k);
    const uint32_t *near = plmm_agg_near(m, i);
    uint8_t *at = out + set_k;
    memset(out, 0, set_k);
    for (uint32_t s = 0; s < k; s++) {
        if (plmm_set_has(among, near[s])) {
            plmm_set_put(out, s);
            memcpy(at, table + place_of(m, near[s], i) * record, record);
            at += record;
        }
    }
    return (size_t)(at - out);
}

static size_t put_set(const plmm_agg_round *m, uint8_t *out, const uint8_t *set)
{
    memcpy(out, set, plmm_set_bytes(m->session.n));
    return plmm_set_bytes(m->session.n);
}

static void result_body(const plmm_agg_round *m, plmm_frame *f, const plmm_slot *slot)
{
    plmm_result r = {.reason = (uint32_t)PLMM_ABORT_NOT_SELECTED, .model = m->cfg.params.model};
    if (m->phase == PLMM_AGG_DONE) {
        r.reason = PLMM_ABORT_NONE;
        r.model = m->model;
        r.survivors = plmm_set_count(m->survivors, m->session.n);
    } else if (m->phase == PLMM_AGG_ABORTED) {
        r.reason = (uint32_t)m->reason;
    } else if (slot != NULL && slot->index != PLMM_NONE) {
        r.reason = (uint32_t)PLMM_ABORT_DROPPED;
    } else if (m->phase == PLMM_AGG_GATHER && plmm_agg_admits(m, f->receiver)) {
        r.reason = (uint32_t)PLMM_ABORT_MODEL;
    }
    const plmm_away *away = &m->away[f->receiver % PLMM_AWAY];
    if (slot != NULL) {
        memcpy(r.nonce, slot->nonce, sizeof r.nonce);
    } else if (away->device == f->receiver) {
        memcpy(r.nonce, away->nonce, sizeof r.nonce);
    }
    f->body_len = plmm_result_encode(f->body, &r);
}

/* The roster as device i gets it: ids, its neighbours' entries, a proof for them and its own. */
static size_t roster_bulk(const plmm_agg_round *m, uint8_t *out, uint32_t i)
{
    uint32_t n = m->session.n, k = m->session.k, count = 0;
    uint32_t *at = m->proving, *scratch = at + n, *others = scratch + n;
    const uint32_t *near = m->os != NULL ? others : plmm_agg_near(m, i);
    if (m->os != NULL) {
        k = plmm_agg_oneshot_near(m, others, i);
    }
    uint8_t *p = out + (size_t)n * 8;
    memcpy(out, m->ids, (size_t)n * 8);
    for (uint32_t s = 0; s < k; s++) {
        memcpy(p, m->roster + (size_t)near[s] * PLMM_ROSTER_ENTRY, PLMM_ROSTER_ENTRY);
        p += PLMM_ROSTER_ENTRY;
        if (near[s] > i && count == s) {
            at[count++] = i;
        }
        at[count++] = near[s];
    }
    if (count == k) {
        at[count++] = i;
    }
    size_t hashes = plmm_merkle_proof((plmm_hash *)(void *)p, m->nodes, n, at, count, scratch);
    return (size_t)(p - out) + hashes * sizeof(plmm_hash);
}

/* Bulk of what members of a committee are sent; false if there is no such message now. */
static bool oneshot_fill(const plmm_agg_round *m, uint32_t type, uint32_t index, uint8_t *bulk,
                         size_t *len)
{
    uint32_t seat = index == PLMM_NONE ? PLMM_NO_SEAT : plmm_seat_of(&m->os->seats, index);
    if (type == PLMM_MSG_DELIVER && seat != PLMM_NO_SEAT && m->phase >= PLMM_AGG_DELIVER) {
        *len = plmm_agg_put_deliver(m, bulk, seat);
        return true;
    }
    if (type == PLMM_MSG_CHOSEN && m->phase >= PLMM_AGG_AGREE) {
        *len = put_set(m, bulk, m->survivors);
        return true;
    }
    if (type == PLMM_MSG_VOTES && seat != PLMM_NO_SEAT && m->phase >= PLMM_AGG_REVEAL) {
        *len = plmm_agg_put_votes(m, bulk, seat);
        return true;
    }
    return false;
}

/* Body and bulk of what concerns a whole phase; false if there is no such message now. */
static bool fill(const plmm_agg_round *m, plmm_frame *f, const plmm_slot *slot, uint8_t *bulk,
                 size_t *len)
{
    bool roster = m->did != NULL;
    uint32_t i = slot != NULL ? slot->index : PLMM_NONE;
    bool member = roster && i != PLMM_NONE;
    *len = 0;
    if (f->type == PLMM_MSG_INVITE && m->phase >= PLMM_AGG_ADVERTISE) {
        f->body_len = plmm_params_encode(f->body, &m->cfg.params);
        return true;
    }
    if (f->type == PLMM_MSG_ROSTER && member) {
        plmm_roster_head h = {.k = m->session.k, .t = m->session.t, .seal = m->seal};
        f->body_len = plmm_roster_head_encode(f->body, &h);
        *len = roster_bulk(m, bulk, i);
        return true;
    }
    if (f->type == PLMM_MSG_INBOX && member && m->phase >= PLMM_AGG_CONFIRM) {
        *len = put_set(m, bulk, m->sharers);
        *len += gather(m, bulk + *len, i, m->sharers, m->boxes, PLMM_BOX);
        return true;
    }
    if (f->type == PLMM_MSG_GO && roster && m->phase >= PLMM_AGG_COLLECT) {
        *len = put_set(m, bulk, m->going);
        return true;
    }
    if (f->type == PLMM_MSG_SURVIVORS && roster && m->phase >= PLMM_AGG_AGREE) {
        *len = put_set(m, bulk, m->survivors);
        return true;
    }
    if (f->type == PLMM_MSG_AGREED && member && m->phase >= PLMM_AGG_REVEAL) {
        *len = gather(m, bulk, i, m->agreed, m->tags, PLMM_TAG_BYTES);
        return true;
    }
    if (m->os != NULL && oneshot_fill(m, f->type, i, bulk, len)) {
        return true;
    }
    if (f->type == PLMM_MSG_RESULT) {
        result_body(m, f, slot);
        return true;
    }
    return f->type == PLMM_MSG_RECEIVED;
}

/* The frame of msg but for its tag, the bulk not yet behind the head; false if there is none now. */
static bool compose(const plmm_agg_round *m, plmm_common *c, plmm_message msg, uint64_t to,
                    const plmm_slot *slot)
{
    plmm_frame f = {.type = msg,
                    .round = m->cfg.params.round,
                    .attempt = m->cfg.params.attempt,
                    .sender = PLMM_AGGREGATOR_ID,
                    .receiver = to};
    memcpy(f.expert, m->cfg.params.expert, sizeof f.expert);
    f.has_session = msg == PLMM_MSG_INBOX || msg == PLMM_MSG_GO || msg == PLMM_MSG_SURVIVORS ||
                    msg == PLMM_MSG_AGREED || msg >= PLMM_MSG_CONTRIB;
    f.session = m->session.id;
    if (!fill(m, &f, slot, c->bytes + PLMM_FRAME_SMALL, &c->bulk)) {
        return false;
    }
    f.bulk_len = (uint32_t)c->bulk;
    plmm_bulk_hash(&f.bulk_hash, c->bytes + PLMM_FRAME_SMALL, c->bulk);
    plmm_frame_begin(c->bytes, &c->head, &c->digest, &f);
    return true;
}

static bool same_for_all(plmm_message msg)
{
    return msg == PLMM_MSG_INVITE || msg == PLMM_MSG_GO || msg == PLMM_MSG_SURVIVORS ||
           msg == PLMM_MSG_CHOSEN;
}

void plmm_agg_common_make(plmm_agg_round *m, plmm_message msg)
{
    plmm_common *c = &m->common;
    if (!same_for_all(msg)) {
        return;
    }
    plmm_free(c->bytes);
    size_t set = m->did != NULL ? plmm_set_bytes(m->session.n) : 0;
    *c = (plmm_common){.bytes = plmm_alloc(1, PLMM_FRAME_SMALL + set)};
    if (c->bytes != NULL && compose(m, c, msg, PLMM_BROADCAST, NULL)) {
        c->msg = msg;
    }
}

/* Key of the frames with a device that checked in, or was just turned away; NULL: neither. */
static const plmm_key *key_for(const plmm_agg_round *m, const plmm_slot *slot, uint64_t device)
{
    const plmm_away *away = &m->away[device % PLMM_AWAY];
    if (slot != NULL) {
        return slot->known ? &slot->frames : NULL;
    }
    return away->device == device ? &away->frames : NULL;
}

plmm_status plmm_agg_round_render(const plmm_agg_round *m, plmm_message msg, uint64_t to,
                                  uint8_t *out, size_t cap, size_t *len, plmm_error *err)
{
    if (cap < plmm_agg_round_frame_max(m)) {
        return plmm_fail(err, PLMM_ERR_RANGE, "a buffer of %zu octets, at least %zu", cap,
                         plmm_agg_round_frame_max(m));
    }
    const plmm_slot *slot = plmm_agg_find(m, to);
    const plmm_key *key = key_for(m, slot, to);
    bool common = msg == m->common.msg;
    plmm_common own = {.bytes = out};
    if (key == NULL ||
        (!common && !compose(m, &own, msg, same_for_all(msg) ? PLMM_BROADCAST : to, slot))) {
        return plmm_fail(err, PLMM_ERR_STATE, "there is no %s message for device %llu now",
                         plmm_message_str(msg), (unsigned long long)to);
    }
    const plmm_common *c = common ? &m->common : &own;
    size_t head = c->head;
    if (common) {
        memcpy(out, c->bytes, head);
    }
    plmm_frame_finish(out, &head, &c->digest, key, PLMM_TO_DEVICE);
    memmove(out + head, c->bytes + PLMM_FRAME_SMALL, c->bulk);
    *len = head + c->bulk;
    return PLMM_OK;
}

void plmm_agg_result_frame(uint8_t out[PLMM_FRAME_SMALL], size_t *len, const char *expert,
                           uint64_t round, uint32_t attempt, uint64_t device,
                           const plmm_result *result, const plmm_key *frames)
{
    plmm_frame f = {.type = PLMM_MSG_RESULT,
                    .round = round,
                    .attempt = attempt,
                    .sender = PLMM_AGGREGATOR_ID,
                    .receiver = device};
    PLMM_ASSERT(plmm_expert_check(expert, NULL) == PLMM_OK);
    memcpy(f.expert, expert, strlen(expert));
    f.body_len = plmm_result_encode(f.body, result);
    plmm_frame_head(out, len, &f, frames, PLMM_TO_DEVICE);
}
