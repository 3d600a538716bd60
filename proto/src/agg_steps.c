/* The aggregator's handling of each message of a device: every check first, then the record, then
 * the change. A device whose frame is authentic and whose message is not good is out of the round. */
#include "agg_machine.h"
#include "plmm/channels.h"

#include <stdio.h>
#include <string.h>

/* ---- what a device should have had last ---- */

plmm_message plmm_agg_question(const plmm_agg_round *m)
{
    bool oneshot = m->os != NULL;
    switch (m->phase) {
    case PLMM_AGG_ADVERTISE:
        return PLMM_MSG_INVITE;
    case PLMM_AGG_SEAL:
        return PLMM_MSG_SEAL_REQUEST;
    case PLMM_AGG_SHARE:
        return PLMM_MSG_ROSTER;
    case PLMM_AGG_CONFIRM:
        return PLMM_MSG_INBOX;
    case PLMM_AGG_COLLECT:
        return m->resumed ? PLMM_MSG_INVITE : oneshot ? PLMM_MSG_ROSTER : PLMM_MSG_GO;
    case PLMM_AGG_DELIVER:
        return PLMM_MSG_DELIVER;
    case PLMM_AGG_AGREE:
        return oneshot ? PLMM_MSG_CHOSEN : PLMM_MSG_SURVIVORS;
    case PLMM_AGG_REVEAL:
        return oneshot ? PLMM_MSG_VOTES : PLMM_MSG_AGREED;
    case PLMM_AGG_DONE:
    case PLMM_AGG_ABORTED:
        return PLMM_MSG_RESULT;
    case PLMM_AGG_NEW:
    case PLMM_AGG_GATHER:
    case PLMM_AGG_UNMASK:
    case PLMM_AGG_PUBLISH:
    case PLMM_AGG_PHASES:
        break;
    }
    return PLMM_MSG_RECEIVED;
}

plmm_message plmm_agg_latest(const plmm_agg_round *m, uint64_t device)
{
    const plmm_slot *slot = plmm_agg_find(m, device);
    if (slot == NULL || m->phase >= PLMM_AGG_DONE) {
        return PLMM_MSG_RESULT;
    }
    if (m->phase == PLMM_AGG_GATHER) {
        return PLMM_MSG_RECEIVED;
    }
    if (m->phase == PLMM_AGG_ADVERTISE) {
        return !slot->invited     ? PLMM_MSG_RESULT
               : slot->advertised ? PLMM_MSG_RECEIVED
                                  : PLMM_MSG_INVITE;
    }
    if (m->phase == PLMM_AGG_SEAL) {
        return slot->advertised ? PLMM_MSG_RECEIVED : PLMM_MSG_RESULT;
    }
    if (slot->index == PLMM_NONE) {
        return PLMM_MSG_RESULT;
    }
    if (plmm_agg_awaits(m, slot->index)) {
        return plmm_agg_question(m);
    }
    bool survivor = (m->did[slot->index] & PLMM_DID_MASK) != 0;
    return (m->did[slot->index] & PLMM_IS_OUT) != 0 && !survivor ? PLMM_MSG_RESULT
                                                                 : PLMM_MSG_RECEIVED;
}

/* The repeated answer to a repeated message, unless it is not durable yet. */
static void repeat(plmm_agg_round *m, plmm_agg_step *s)
{
    if (m->pending || m->replaying) {
        return;
    }
    m->to[0] = s->frame.sender;
    plmm_agg_action *a = plmm_agg_emit(s->out, PLMM_AGG_DO_SEND);
    a->msg = plmm_agg_latest(m, s->frame.sender);
    a->to = m->to;
    a->to_n = 1;
}

static plmm_status stale(plmm_agg_round *m, plmm_agg_step *s)
{
    repeat(m, s);
    return plmm_fail(s->err, PLMM_ERR_STALE,
                     "the %s message of device %llu is late or a repetition",
                     plmm_message_str(s->frame.type), (unsigned long long)s->frame.sender);
}

/* Of the device and wrong: it is out. */
static plmm_status expel(plmm_agg_round *m, plmm_agg_step *s, plmm_refusal refusal,
                         const char *what)
{
    s->out->refusal = refusal;
    if (s->slot->index != PLMM_NONE && m->phase < PLMM_AGG_UNMASK &&
        (m->did[s->slot->index] & PLMM_IS_OUT) == 0) {
        plmm_agg_expel(m, s->out, s->slot->index);
    }
    return plmm_fail(s->err, PLMM_ERR_PEER, "the %s message of device %llu %s",
                     plmm_message_str(s->frame.type), (unsigned long long)s->frame.sender, what);
}

plmm_status plmm_agg_refuse(plmm_agg_round *m, plmm_agg_step *s, const char *what)
{
    return expel(m, s, PLMM_REFUSAL_FORM, what);
}

static void take(plmm_agg_round *m, plmm_agg_step *s)
{
    plmm_agg_journal(m, s->out, s->event->bytes, s->event->len);
}

/* ---- check-in ---- */

bool plmm_agg_admits(const plmm_agg_round *m, uint64_t device)
{
    uint32_t lo = 0, hi = m->cfg.resting_n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (m->cfg.resting[mid] < device) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    bool rests = lo < m->cfg.resting_n && m->cfg.resting[lo] == device;
    return !rests && plmm_lottery_has(&m->lottery, device);
}

/* Whose it is: one whom the registrar certified, and who has the key of the frames with it. */
static plmm_status checkin_check(plmm_agg_round *m, plmm_agg_step *s, plmm_checkin *c,
                                 plmm_key *frames)
{
    s->out->refusal = PLMM_REFUSAL_FORM;
    PLMM_TRY(plmm_checkin_decode(c, &s->frame, s->err));
    s->out->refusal = PLMM_REFUSAL_CERTIFICATE;
    PLMM_TRY(plmm_known_meet(m->known, frames, &c->certificate, s->err));
    s->out->refusal = PLMM_REFUSAL_SIGNATURE;
    PLMM_TRY(plmm_frame_authentic(&s->frame, frames, PLMM_TO_AGGREGATOR, s->err));
    s->out->refusal = PLMM_REFUSAL_NONE;
    s->out->from = s->frame.sender;
    return PLMM_OK;
}

static plmm_status checkin_take(plmm_agg_round *m, plmm_agg_step *s, const plmm_checkin *c,
                                const plmm_key *frames)
{
    if (m->cfg.params.stream > 31 || (c->streams >> m->cfg.params.stream & 1) == 0) {
        return plmm_fail(s->err, PLMM_ERR_PEER, "device %llu does not have mask stream %u",
                         (unsigned long long)s->frame.sender, m->cfg.params.stream);
    }
    plmm_away *away = &m->away[s->frame.sender % PLMM_AWAY];
    away->device = s->frame.sender;
    away->frames = *frames;
    memcpy(away->nonce, c->nonce, sizeof c->nonce);
    bool other = !plmm_equal(&c->model, &m->cfg.params.model, sizeof c->model);
    bool eligible =
        m->resumed ? plmm_agg_epoch_has(m, &c->certificate) : plmm_agg_admits(m, s->frame.sender);
    if (m->phase != PLMM_AGG_GATHER || other || !eligible) {
        repeat(m, s); /* the result: not selected, or another version to fetch */
        s->out->refusal = other       ? PLMM_REFUSAL_MODEL
                          : !eligible ? PLMM_REFUSAL_ELIGIBLE
                                      : PLMM_REFUSAL_ROUND;
        return plmm_fail(s->err, PLMM_ERR_STALE, "device %llu %s",
                         (unsigned long long)s->frame.sender,
                         other       ? "has another version of the expert"
                         : !eligible ? "is not eligible in this round"
                                     : "checked in too late");
    }
    if (plmm_agg_key_known(m, c->certificate.key.b)) {
        s->out->refusal = PLMM_REFUSAL_KEY;
        return plmm_fail(s->err, PLMM_ERR_PEER, "the key of device %llu is there under another id",
                         (unsigned long long)s->frame.sender);
    }
    take(m, s);
    plmm_slot *slot = plmm_agg_seat(m, c->certificate.device);
    slot->entry.certificate = c->certificate;
    slot->known = true;
    slot->frames = *frames;
    memcpy(slot->nonce, c->nonce, sizeof c->nonce);
    plmm_agg_key_note(m, slot, PLMM_KEY_IDENTITY);
    if (m->slots_n == (m->resumed ? m->seal.n : m->cfg.checkins_max)) {
        plmm_agg_close(m, s->out);
    }
    return PLMM_OK;
}

static plmm_status on_checkin(plmm_agg_round *m, plmm_agg_step *s)
{
    plmm_checkin c;
    plmm_key frames;
    plmm_status rc = checkin_check(m, s, &c, &frames);
    rc = rc == PLMM_OK ? checkin_take(m, s, &c, &frames) : rc;
    plmm_wipe(&frames, sizeof frames);
    return rc;
}

/* Of a device that has its place: it may have begun anew, so what answers it is for this one. */
static plmm_status again(plmm_agg_round *m, plmm_agg_step *s)
{
    plmm_checkin c;
    PLMM_TRY(plmm_checkin_decode(&c, &s->frame, s->err));
    memcpy(s->slot->nonce, c.nonce, sizeof c.nonce);
    return stale(m, s);
}

/* ---- R0 ---- */

static plmm_status on_advert(plmm_agg_round *m, plmm_agg_step *s)
{
    plmm_entry e = {.certificate = s->slot->entry.certificate};
    if (!s->slot->invited || s->slot->advertised) {
        return stale(m, s);
    }
    PLMM_TRY(plmm_advert_decode(&e.advert, &s->frame, s->err));
    if (plmm_entry_check(&e, &m->params_hash, NULL) != PLMM_OK) {
        return expel(m, s, PLMM_REFUSAL_ENTRY,
                     "has keys that it did not sign for these parameters");
    }
    if (plmm_dh_low_order(&e.advert.channel_key)) {
        return expel(m, s, PLMM_REFUSAL_KEY, "has a public key of low order");
    }
    if (!plmm_channel_current(e.advert.since, m->cfg.params.round)) {
        return expel(m, s, PLMM_REFUSAL_KEY, "has a channel key of another epoch");
    }
    if (plmm_agg_key_known(m, e.advert.channel_key.b)) {
        return expel(m, s, PLMM_REFUSAL_KEY, "has a public key that is there already");
    }
    take(m, s);
    s->slot->entry.advert = e.advert;
    s->slot->advertised = true;
    plmm_agg_key_note(m, s->slot, PLMM_KEY_CHANNEL);
    m->adverts_n++;
    plmm_agg_answered(m, s->out);
    return PLMM_OK;
}

/* ---- R1 ---- */

static plmm_status on_shares(plmm_agg_round *m, plmm_agg_step *s)
{
    size_t boxes = (size_t)m->session.k * PLMM_BOX, escrows = (size_t)m->session.k * PLMM_ESCROW;
    uint32_t i = s->slot->index;
    if (s->frame.bulk_len != boxes + escrows || s->frame.body_len != 0) {
        return expel(m, s, PLMM_REFUSAL_FORM, "does not have a box for each neighbour");
    }
    take(m, s);
    memcpy(m->boxes + i * boxes, s->frame.bulk, boxes);
    memcpy(m->escrows + i * escrows, s->frame.bulk + boxes, escrows);
    m->did[i] |= PLMM_DID_SHARE;
    plmm_agg_answered(m, s->out);
    return PLMM_OK;
}

static plmm_status on_confirm(plmm_agg_round *m, plmm_agg_step *s)
{
    uint32_t i = s->slot->index, k = m->session.k;
    const uint32_t *near = plmm_agg_near(m, i);
    const uint8_t *bad = s->frame.bulk;
    if (s->frame.bulk_len != plmm_set_bytes(k) || s->frame.body_len != 0 ||
        !plmm_set_canonical(bad, k)) {
        return expel(m, s, PLMM_REFUSAL_FORM, "is not a set of neighbours");
    }
    for (uint32_t p = 0; p < k; p++) {
        if (plmm_set_has(bad, p) && !plmm_set_has(m->sharers, near[p])) {
            return expel(m, s, PLMM_REFUSAL_FORM, "complains of a box that it was not sent");
        }
    }
    take(m, s);
    for (uint32_t p = 0; p < k; p++) {
        m->complaints[near[p]] += plmm_set_has(bad, p);
    }
    m->did[i] |= PLMM_DID_CONFIRM;
    plmm_agg_answered(m, s->out);
    return PLMM_OK;
}

/* ---- R2 ---- */

static plmm_status on_masked(plmm_agg_round *m, plmm_agg_step *s)
{
    uint32_t i = s->slot->index;
    size_t len = s->frame.bulk_len;
    if (s->frame.body_len != 0 ||
        plmm_round_payload_check(&m->cfg.params, s->frame.bulk, len, NULL) != PLMM_OK) {
        return expel(m, s, PLMM_REFUSAL_VECTOR,
                     "has a vector that is none: its length, padding or a residue is wrong");
    }
    plmm_agg_action *a = plmm_agg_emit(s->out, PLMM_AGG_DO_ADD_INPUT);
    a->device = s->frame.sender;
    a->bytes = s->frame.bulk;
    a->len = len;
    m->record[0] = PLMM_RECORD_MASKED;
    for (int b = 0; b < 8; b++) {
        m->record[1 + b] = (uint8_t)(s->frame.sender >> (8 * b));
    }
    plmm_agg_journal(m, s->out, m->record, 9);
    m->ack_index[m->ack_tail] = i;
    m->ack_seq[m->ack_tail++] = m->seq;
    m->did[i] |= PLMM_DID_MASK;
    plmm_agg_answered(m, s->out);
    return PLMM_OK;
}

/* ---- R3 ---- */

static plmm_status on_agree(plmm_agg_round *m, plmm_agg_step *s)
{
    uint32_t i = s->slot->index, k = m->session.k, set_k = plmm_set_bytes(k), tag = 0;
    const uint32_t *near = plmm_agg_near(m, i);
    const uint8_t *set = s->frame.bulk;
    if (s->frame.bulk_len < set_k || s->frame.body_len != 0 || !plmm_set_canonical(set, k) ||
        s->frame.bulk_len != set_k + (size_t)plmm_set_count(set, k) * PLMM_TAG_BYTES) {
        return expel(m, s, PLMM_REFUSAL_FORM, "does not have the MACs it announces");
    }
    for (uint32_t p = 0; p < k; p++) {
        if (plmm_set_has(set, p) != plmm_set_has(m->survivors, near[p])) {
            return expel(m, s, PLMM_REFUSAL_FORM,
                         "does not have a MAC for each surviving neighbour");
        }
    }
    take(m, s);
    for (uint32_t p = 0; p < k; p++) {
        if (plmm_set_has(set, p)) {
            memcpy(m->tags + ((size_t)i * k + p) * PLMM_TAG_BYTES,
                   set + set_k + (size_t)tag++ * PLMM_TAG_BYTES, PLMM_TAG_BYTES);
        }
    }
    m->did[i] |= PLMM_DID_AGREE;
    plmm_agg_answered(m, s->out);
    return PLMM_OK;
}

/* ---- R4 ---- */

static plmm_status on_reveal(plmm_agg_round *m, plmm_agg_step *s)
{
    uint32_t i = s->slot->index, k = m->session.k, set_k = plmm_set_bytes(k);
    const uint32_t *near = plmm_agg_near(m, i);
    const uint8_t *set = s->frame.bulk, *share;
    uint32_t level, survivors = plmm_set_count(m->survivors, m->session.n);
    size_t seed =
        plmm_round_surplus(&m->cfg.params, survivors, &level) ? sizeof m->surplus[0].b : 0;
    if (s->frame.bulk_len < set_k || s->frame.body_len != 0 || !plmm_set_canonical(set, k) ||
        s->frame.bulk_len != set_k + (size_t)plmm_set_count(set, k) * PLMM_SHARE_BYTES + seed) {
        return expel(m, s, PLMM_REFUSAL_FORM, "does not have the shares it announces");
    }
    share = set + set_k;
    for (uint32_t p = 0; p < k; p++) {
        plmm_share unused;
        if (!plmm_set_has(set, p)) {
            continue;
        }
        if (!plmm_set_has(m->going, near[p]) ||
            plmm_share_decode(&unused, i + 1, share, PLMM_SHARE_BYTES, NULL) != PLMM_OK) {
            return expel(m, s, PLMM_REFUSAL_SHARE,
                         "has a share that nobody asked for, or out of the field");
        }
        share += PLMM_SHARE_BYTES;
    }
    take(m, s);
    share = set + set_k;
    memcpy(m->reveal_has + (size_t)i * set_k, set, set_k);
    for (uint32_t p = 0; p < k; p++) {
        if (plmm_set_has(set, p)) {
            memcpy(m->reveals + ((size_t)i * k + p) * PLMM_REVEAL_SHARE, share, PLMM_SHARE_BYTES);
            share += PLMM_SHARE_BYTES;
        }
    }
    memcpy(m->surplus[i].b, share, seed);
    m->did[i] |= PLMM_DID_REVEAL;
    plmm_agg_answered(m, s->out);
    return PLMM_OK;
}

/* ---- dispatch ---- */

static const struct row {
    plmm_agg_phase phase;
    plmm_status (*handle)(plmm_agg_round *m, plmm_agg_step *s);
} rows[PLMM_MSG_COUNT] = {
    [PLMM_MSG_ADVERT] = {PLMM_AGG_ADVERTISE, on_advert},
    [PLMM_MSG_SHARES] = {PLMM_AGG_SHARE, on_shares},
    [PLMM_MSG_CONFIRM] = {PLMM_AGG_CONFIRM, on_confirm},
    [PLMM_MSG_MASKED] = {PLMM_AGG_COLLECT, on_masked},
    [PLMM_MSG_AGREE] = {PLMM_AGG_AGREE, on_agree},
    [PLMM_MSG_REVEAL] = {PLMM_AGG_REVEAL, on_reveal},
    [PLMM_MSG_CONTRIB] = {PLMM_AGG_COLLECT, plmm_agg_on_contrib},
    [PLMM_MSG_COMPLAIN] = {PLMM_AGG_DELIVER, plmm_agg_on_complain},
    [PLMM_MSG_VOTE] = {PLMM_AGG_AGREE, plmm_agg_on_vote},
    [PLMM_MSG_SUM] = {PLMM_AGG_REVEAL, plmm_agg_on_sum},
};

static plmm_status dispatch(plmm_agg_round *m, plmm_agg_step *s)
{
    const struct row *row = &rows[s->frame.type];
    bool other =
        s->frame.type != PLMM_MSG_ADVERT &&
        (s->frame.type >= PLMM_MSG_CONTRIB) != (m->cfg.params.protocol == PLMM_PROTOCOL_ONESHOT);
    if (row->handle == NULL || other) {
        return plmm_fail(s->err, PLMM_ERR_PEER, "a %s message is not for an aggregator",
                         plmm_message_str(s->frame.type));
    }
    if (m->phase > row->phase) {
        return stale(m, s);
    }
    if (m->phase < row->phase) {
        return expel(m, s, PLMM_REFUSAL_TURN, "answers what was not asked yet");
    }
    if (s->frame.type == PLMM_MSG_ADVERT) {
        return row->handle(m, s);
    }
    if (s->slot->index == PLMM_NONE || !plmm_agg_awaits(m, s->slot->index)) {
        return stale(m, s);
    }
    bool session =
        s->frame.has_session && plmm_equal(&s->frame.session, &m->session.id, sizeof m->session.id);
    return session ? row->handle(m, s) : expel(m, s, PLMM_REFUSAL_SESSION, "is of another session");
}

/* Who sent it, and is it of this round? */
static plmm_status frame_check(plmm_agg_round *m, plmm_agg_step *s)
{
    const plmm_frame *f = &s->frame;
    if (strcmp(f->expert, m->cfg.params.expert) != 0 || f->receiver != PLMM_AGGREGATOR_ID ||
        f->sender == PLMM_AGGREGATOR_ID || f->sender == PLMM_BROADCAST) {
        return plmm_fail(s->err, PLMM_ERR_PEER, "the %s message is for somebody else",
                         plmm_message_str(f->type));
    }
    s->out->refusal = PLMM_REFUSAL_SIGNATURE;
    if (s->slot == NULL || !s->slot->known) {
        return plmm_fail(s->err, PLMM_ERR_AUTH, "device %llu did not check in",
                         (unsigned long long)f->sender);
    }
    PLMM_TRY(plmm_frame_authentic(f, &s->slot->frames, PLMM_TO_AGGREGATOR, s->err));
    s->out->refusal = PLMM_REFUSAL_ROUND;
    s->out->from = f->sender;
    bool lobby = f->type == PLMM_MSG_CHECKIN || (f->type == PLMM_MSG_POLL && f->round == 0);
    if (!lobby && (f->round != m->cfg.params.round || f->attempt != m->cfg.params.attempt)) {
        return plmm_fail(s->err, PLMM_ERR_STALE,
                         "a %s message of round %llu attempt %u, this is round %llu attempt %u",
                         plmm_message_str(f->type), (unsigned long long)f->round, f->attempt,
                         (unsigned long long)m->cfg.params.round, m->cfg.params.attempt);
    }
    s->out->refusal = PLMM_REFUSAL_NONE;
    return PLMM_OK;
}

/* A contribution's record has its frame without the ciphertext, which is stored apart. */
static plmm_status frame_take(const plmm_agg_round *m, plmm_agg_step *s)
{
    const plmm_agg_event *e = s->event;
    if (m->replaying && m->os != NULL) {
        PLMM_TRY(plmm_frame_peek(&s->frame, e->bytes, e->len, s->err));
        if (s->frame.type == PLMM_MSG_CONTRIB) {
            return e->len == plmm_agg_head(s) + plmm_oneshot_boxes(&m->cfg.params, m->session.k)
                       ? PLMM_OK
                       : plmm_fail(s->err, PLMM_ERR_WIRE, "a contribution's record is cut");
        }
    }
    return plmm_frame_decode(&s->frame, e->bytes, e->len, s->err);
}

plmm_status plmm_agg_on_frame(plmm_agg_round *m, plmm_agg_step *s)
{
    if (m->phase == PLMM_AGG_NEW) {
        return plmm_fail(s->err, PLMM_ERR_STATE, "the round was not started");
    }
    s->out->refusal = PLMM_REFUSAL_FORM;
    PLMM_TRY(frame_take(m, s));
    s->out->refusal = PLMM_REFUSAL_NONE;
    s->slot = plmm_agg_find(m, s->frame.sender);
    if (s->frame.type == PLMM_MSG_CHECKIN && s->slot == NULL &&
        s->frame.receiver == PLMM_AGGREGATOR_ID &&
        strcmp(s->frame.expert, m->cfg.params.expert) == 0) {
        return on_checkin(m, s);
    }
    PLMM_TRY(frame_check(m, s));
    if (s->frame.type == PLMM_MSG_CHECKIN) {
        return again(m, s);
    }
    if (s->frame.type == PLMM_MSG_POLL) {
        repeat(m, s);
        return PLMM_OK;
    }
    return dispatch(m, s);
}
