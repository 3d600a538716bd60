/* The aggregator's round: events in, actions out, timers, journal. */
#include "agg_machine.h"
#include "plmm/alloc.h"

#include <stdio.h>
#include <string.h>

const char *plmm_agg_phase_str(plmm_agg_phase p)
{
    static const char *const names[PLMM_AGG_PHASES] = {
        "new",     "gather", "advertise", "seal",   "share",   "confirm", "collect",
        "deliver", "agree",  "reveal",    "unmask", "publish", "done",    "aborted"};
    return (size_t)p < PLMM_AGG_PHASES ? names[p] : "unknown";
}

/* ---- new and free ---- */

static plmm_status config_check(const plmm_agg_config *c, plmm_error *err)
{
    PLMM_TRY(plmm_round_params_check(&c->params, err));
    if (c->roster_min < c->params.n_min || c->roster_min > c->params.cohort) {
        return plmm_fail(err, PLMM_ERR_RANGE, "roster_min is %u, must be n_min (%u)..cohort (%u)",
                         c->roster_min, c->params.n_min, c->params.cohort);
    }
    if (c->checkins_max < c->params.cohort || c->checkins_max > PLMM_CHECKINS_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "checkins_max is %u, must be cohort (%u)..%d",
                         c->checkins_max, c->params.cohort, PLMM_CHECKINS_MAX);
    }
    if (c->over_ppm > 10000000) {
        return plmm_fail(err, PLMM_ERR_RANGE, "over-provisioning is %g, must be 0..10",
                         c->over_ppm / 1e6);
    }
    if (c->gather_ms == 0 || c->phase_ms == 0 || c->train_ms == 0 ||
        c->gather_ms > PLMM_PERIOD_MS_MAX || c->phase_ms > PLMM_PERIOD_MS_MAX ||
        c->train_ms > PLMM_PERIOD_MS_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "gather_ms %u, phase_ms %u and train_ms %u must be 1..%d", c->gather_ms,
                         c->phase_ms, c->train_ms, PLMM_PERIOD_MS_MAX);
    }
    if (c->params.noise_tree > 0 && plmm_is_zero(&c->tree, sizeof c->tree)) {
        return plmm_fail(err, PLMM_ERR_RANGE, "noise_tree is %u, and there is no seed of the tree",
                         c->params.noise_tree);
    }
    plmm_graph_params g = plmm_round_graph(&c->params, c->params.cohort, c->params.cohort);
    plmm_committee k;
    if (c->params.protocol == PLMM_PROTOCOL_ONESHOT) {
        return plmm_committee_solve(&k, &g, PLMM_PACKED_RHO, PLMM_COMMITTEE_SPARE, err);
    }
    plmm_graph_degree d;
    return plmm_graph_degree_solve(&d, &g, err);
}

plmm_status plmm_agg_round_new(plmm_agg_round **m, const plmm_agg_config *config, plmm_error *err)
{
    PLMM_TRY(config_check(config, err));
    const plmm_agg_config *c = config;
    if (c->known != NULL && !plmm_known_of(c->known, &c->key, &c->registrar, c->params.expert)) {
        return plmm_fail(err, PLMM_ERR_RANGE, "the table of known devices is another aggregator's");
    }
    uint32_t room = config->checkins_max, table = 4;
    while (table < 2 * room) {
        table *= 2;
    }
    plmm_agg_round *r = plmm_alloc(1, sizeof *r);
    if (r == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory for a round");
    }
    r->cfg = *config;
    r->resumed = config->epoch != NULL;
    if (r->resumed && plmm_agg_epoch_check(config, &r->seal, err) != PLMM_OK) {
        plmm_free(r);
        return PLMM_ERR_RANGE;
    }
    r->polynomials = plmm_polynomials_take(config->shelf, &config->params);
    r->table_mask = table - 1;
    r->slots = plmm_alloc(room, sizeof r->slots[0]);
    r->table = plmm_alloc(table, sizeof r->table[0]);
    r->to = plmm_alloc((size_t)2 * room + 2, sizeof r->to[0]);
    r->keys_mask = 4 * table - 1;
    r->keys = plmm_alloc((size_t)4 * table, sizeof r->keys[0]);
    r->known = config->known;
    plmm_status rc = r->known != NULL ? PLMM_OK
                                      : plmm_known_new(&r->own_known, &c->key, &c->registrar,
                                                       c->params.expert, room, err);
    r->known = r->own_known != NULL ? r->own_known : r->known;
    if (rc != PLMM_OK || r->slots == NULL || r->table == NULL || r->to == NULL || r->keys == NULL) {
        plmm_agg_round_free(r);
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory for %u check-ins", room);
    }
    r->to_too = r->to + room + 1;
    r->deadline_ms = UINT64_MAX;
    *m = r;
    return PLMM_OK;
}

void plmm_agg_round_free(plmm_agg_round *m)
{
    if (m == NULL) {
        return;
    }
    if (m->reveals != NULL && m->os == NULL) {
        plmm_wipe(m->reveals, (size_t)m->session.n * m->session.k * PLMM_REVEAL_SHARE);
    }
    plmm_agg_oneshot_free(m->os, m->session.n);
    plmm_polynomials_drop(m->polynomials);
    if (m->surplus != NULL) {
        plmm_wipe(m->surplus, m->session.n * sizeof m->surplus[0]);
    }
    plmm_known_free(m->own_known);
    if (m->slots != NULL) {
        plmm_wipe(m->slots, m->slots_n * sizeof m->slots[0]);
    }
    void *const blocks[] = {m->keys,    m->slots,       m->table,   m->to,         m->slot_of,
                            m->request, m->ids,         m->nodes,   m->near,       m->did,
                            m->boxes,   m->tags,        m->reveals, m->complaints, m->reveal_has,
                            m->sharers, m->ack_index,   m->ack_seq, m->surplus,    m->proving,
                            m->escrows, m->common.bytes};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        plmm_free(blocks[i]);
    }
    plmm_wipe(m, sizeof *m);
    plmm_free(m);
}

/* ---- the waiting room ---- */

static uint32_t table_at(const plmm_agg_round *m, uint64_t device)
{
    uint32_t at = (uint32_t)(device * UINT64_C(0x9E3779B97F4A7C15) >> 32) & m->table_mask;
    while (m->table[at] != 0 && m->slots[m->table[at] - 1].entry.certificate.device != device) {
        at = (at + 1) & m->table_mask;
    }
    return at;
}

plmm_slot *plmm_agg_find(const plmm_agg_round *m, uint64_t device)
{
    uint32_t at = table_at(m, device);
    return m->table[at] == 0 ? NULL : &m->slots[m->table[at] - 1];
}

plmm_slot *plmm_agg_seat(plmm_agg_round *m, uint64_t device)
{
    PLMM_ASSERT(m->slots_n < m->cfg.checkins_max);
    plmm_slot *slot = &m->slots[m->slots_n];
    uint32_t at = table_at(m, device);
    slot->entry.certificate.device = device;
    slot->index = PLMM_NONE;
    m->table[at] = ++m->slots_n;
    return slot;
}

/* ---- public keys: the hash is keyed by the round's seed, as devices choose what is hashed ---- */

static const uint8_t *key_of(const plmm_agg_round *m, uint32_t name)
{
    const plmm_entry *e = &m->slots[name / PLMM_KEY_KINDS].entry;
    uint32_t kind = name % PLMM_KEY_KINDS;
    return kind == PLMM_KEY_IDENTITY ? e->certificate.key.b : e->advert.channel_key.b;
}

static uint32_t key_at(const plmm_agg_round *m, const uint8_t key[32])
{
    uint32_t at = (uint32_t)plmm_short_hash(m->seed.b, key, 32) & m->keys_mask;
    while (m->keys[at] != 0 && memcmp(key_of(m, m->keys[at] - 1), key, 32) != 0) {
        at = (at + 1) & m->keys_mask;
    }
    return at;
}

bool plmm_agg_key_known(const plmm_agg_round *m, const uint8_t key[32])
{
    return m->keys[key_at(m, key)] != 0;
}

void plmm_agg_key_note(plmm_agg_round *m, const plmm_slot *slot, uint32_t kind)
{
    uint32_t name = (uint32_t)(slot - m->slots) * PLMM_KEY_KINDS + kind;
    uint32_t at = key_at(m, key_of(m, name));
    m->keys[at] = name + 1;
}

/* ---- actions ---- */

plmm_agg_action *plmm_agg_emit(plmm_agg_actions *out, plmm_agg_action_type type)
{
    PLMM_ASSERT(out->n < PLMM_AGG_ACTIONS_MAX);
    plmm_agg_action *a = &out->v[out->n++];
    memset(a, 0, sizeof *a);
    a->type = type;
    return a;
}

void plmm_agg_journal(plmm_agg_round *m, plmm_agg_actions *out, const uint8_t *bytes, size_t len)
{
    m->seq++;
    if (m->replaying) {
        m->persisted = m->seq;
        return;
    }
    plmm_agg_action *a = plmm_agg_emit(out, PLMM_AGG_DO_PERSIST);
    a->seq = m->seq;
    a->bytes = bytes;
    a->len = len;
}

static void journal_id(plmm_agg_round *m, plmm_agg_actions *out, uint8_t kind, uint64_t value)
{
    m->record[0] = kind;
    for (int i = 0; i < 8; i++) {
        m->record[1 + i] = (uint8_t)(value >> (8 * i));
    }
    plmm_agg_journal(m, out, m->record, 9);
}

void plmm_agg_announce(plmm_agg_round *m, plmm_agg_actions *out, plmm_message msg)
{
    m->pending = !m->replaying;
    m->pending_msg = msg;
    m->pending_seq = m->seq;
    m->deadline_ms = UINT64_MAX;
    plmm_agg_flush(m, out);
}

static bool concerns(const plmm_agg_round *m, plmm_message msg, const plmm_slot *slot)
{
    uint32_t i = slot->index;
    if (msg == PLMM_MSG_RESULT) {
        return true;
    }
    if (msg == PLMM_MSG_INVITE) {
        return slot->invited && !slot->advertised && (i == PLMM_NONE || plmm_agg_awaits(m, i));
    }
    return i != PLMM_NONE && plmm_agg_awaits(m, i);
}

static void emit_send(plmm_agg_actions *out, plmm_message msg, const uint64_t *to, uint32_t n)
{
    if (n > 0) {
        plmm_agg_action *a = plmm_agg_emit(out, PLMM_AGG_DO_SEND);
        a->msg = msg;
        a->to = to;
        a->to_n = n;
    }
}

/* msg to all whom it concerns and who did not answer it. */
static void emit_question(plmm_agg_round *m, plmm_agg_actions *out, plmm_message msg)
{
    uint32_t n = 0, others = 0;
    if (msg == PLMM_MSG_SEAL_REQUEST) {
        plmm_agg_action *a = plmm_agg_emit(out, PLMM_AGG_DO_SEAL);
        a->bytes = m->request;
        a->len = m->request_len;
        return;
    }
    for (uint32_t s = 0; s < m->slots_n; s++) {
        const plmm_slot *slot = &m->slots[s];
        uint64_t id = slot->entry.certificate.device;
        if (concerns(m, msg, slot)) {
            m->to[n++] = id;
        } else if (msg == PLMM_MSG_ROSTER && slot->index == PLMM_NONE) {
            m->to_too[others++] = id;
        }
    }
    plmm_agg_common_make(m, msg);
    emit_send(out, msg, m->to, n);
    emit_send(out, PLMM_MSG_RESULT, m->to_too, others); /* not selected: come again */
}

static uint64_t phase_deadline(const plmm_agg_round *m)
{
    switch (m->phase) {
    case PLMM_AGG_GATHER:
        return m->now_ms + m->cfg.gather_ms;
    case PLMM_AGG_COLLECT:
        return m->now_ms + m->cfg.train_ms;
    case PLMM_AGG_ADVERTISE:
    case PLMM_AGG_SEAL:
    case PLMM_AGG_SHARE:
    case PLMM_AGG_CONFIRM:
    case PLMM_AGG_DELIVER:
    case PLMM_AGG_AGREE:
    case PLMM_AGG_REVEAL:
        return m->now_ms + m->cfg.phase_ms;
    case PLMM_AGG_NEW:
    case PLMM_AGG_UNMASK:
    case PLMM_AGG_PUBLISH:
    case PLMM_AGG_DONE:
    case PLMM_AGG_ABORTED:
    case PLMM_AGG_PHASES:
        break;
    }
    return UINT64_MAX;
}

/* Says what became durable: receipts, then the question of the phase that began. */
void plmm_agg_flush(plmm_agg_round *m, plmm_agg_actions *out)
{
    uint32_t n = 0;
    while (m->ack_head < m->ack_tail && m->ack_seq[m->ack_head] <= m->persisted) {
        uint32_t slot = m->slot_of[m->ack_index[m->ack_head++]];
        m->to_too[n++] = m->slots[slot].entry.certificate.device;
    }
    if (n > 0 && m->phase < PLMM_AGG_DONE) {
        emit_send(out, PLMM_MSG_RECEIVED, m->to_too, n);
    }
    if (m->pending && m->pending_seq <= m->persisted) {
        m->pending = false;
        m->deadline_ms = phase_deadline(m);
        emit_question(m, out, m->pending_msg);
    }
}

/* ---- events ---- */

static plmm_status on_start(plmm_agg_round *m, plmm_agg_step *s)
{
    if (m->phase != PLMM_AGG_NEW) {
        return plmm_fail(s->err, PLMM_ERR_STATE, "the round was started before");
    }
    plmm_seed beacon;
    m->seed = s->event->seed;
    plmm_seed_derive(&beacon, &m->seed, "beacon.1", 0);
    memcpy(m->cfg.params.beacon.b, beacon.b, sizeof beacon.b);
    if (m->resumed) {
        plmm_epoch_mark(&m->cfg.params.beacon, &m->seal, m->cfg.params.expert);
    }
    plmm_round_params_hash(&m->params_hash, &m->cfg.params);
    plmm_lottery_init(&m->lottery, &m->cfg.link, m->cfg.params.rate, m->cfg.params.group,
                      m->cfg.params.groups);
    m->record[0] = PLMM_RECORD_START;
    memcpy(m->record + 1, m->seed.b, sizeof m->seed.b);
    m->phase = PLMM_AGG_GATHER;
    m->deadline_ms = phase_deadline(m);
    plmm_agg_journal(m, s->out, m->record, 33);
    return PLMM_OK;
}

static plmm_status on_tick(plmm_agg_round *m, plmm_agg_step *s)
{
    if (m->now_ms < m->deadline_ms) {
        return PLMM_OK;
    }
    journal_id(m, s->out, PLMM_RECORD_CLOSE, (uint64_t)m->phase);
    plmm_agg_close(m, s->out);
    return PLMM_OK;
}

static plmm_status on_persisted(plmm_agg_round *m, plmm_agg_step *s)
{
    if (s->event->seq > m->seq) {
        return plmm_fail(s->err, PLMM_ERR_STATE, "record %llu does not exist, the last is %llu",
                         (unsigned long long)s->event->seq, (unsigned long long)m->seq);
    }
    if (s->event->seq > m->persisted) {
        m->persisted = s->event->seq;
        plmm_agg_flush(m, s->out);
    }
    return PLMM_OK;
}

static plmm_status on_link(plmm_agg_round *m, plmm_agg_step *s)
{
    if (m->phase == PLMM_AGG_NEW || m->pending || plmm_agg_find(m, s->event->device) == NULL) {
        return PLMM_OK;
    }
    m->to[0] = s->event->device;
    emit_send(s->out, plmm_agg_latest(m, s->event->device), m->to, 1);
    return PLMM_OK;
}

static plmm_status on_unmasked(plmm_agg_round *m, plmm_agg_step *s)
{
    const plmm_agg_unmasked *u = &s->event->unmasked;
    if (m->phase != PLMM_AGG_UNMASK) {
        return plmm_fail(s->err, PLMM_ERR_STATE, "no sum was to be unmasked");
    }
    m->liars = u->liars;
    if (!u->ok) {
        journal_id(m, s->out, PLMM_RECORD_CLOSE, (uint64_t)m->phase);
        uint32_t at = s->out->n;
        plmm_agg_abort(m, s->out, PLMM_ABORT_TOO_FEW_REVEALS, "%s", u->text);
        s->out->v[at].device = u->device;
        return PLMM_OK;
    }
    m->phase = PLMM_AGG_PUBLISH;
    plmm_agg_emit(s->out, PLMM_AGG_DO_FINISH)->n = plmm_set_count(m->survivors, m->session.n);
    return PLMM_OK;
}

static void publish(plmm_agg_round *m, const plmm_hash *model)
{
    m->model = *model;
    m->phase = PLMM_AGG_DONE;
}

static plmm_status on_published(plmm_agg_round *m, plmm_agg_step *s)
{
    if (m->phase != PLMM_AGG_PUBLISH) {
        return plmm_fail(s->err, PLMM_ERR_STATE, "no version was to be published");
    }
    publish(m, &s->event->model);
    m->record[0] = PLMM_RECORD_PUBLISHED;
    memcpy(m->record + 1, m->model.b, sizeof m->model.b);
    plmm_agg_journal(m, s->out, m->record, 33);
    plmm_agg_announce(m, s->out, PLMM_MSG_RESULT);
    return PLMM_OK;
}

static plmm_status on_cancel(plmm_agg_round *m, plmm_agg_step *s)
{
    if (m->phase == PLMM_AGG_NEW || m->phase >= PLMM_AGG_DONE) {
        return plmm_fail(s->err, PLMM_ERR_STATE, "no round is going on");
    }
    journal_id(m, s->out, PLMM_RECORD_CANCEL, 0);
    plmm_agg_abort(m, s->out, PLMM_ABORT_LOCAL, "the round was cancelled while in phase %s",
                   plmm_agg_phase_str(m->phase));
    return PLMM_OK;
}

static plmm_status on_resume(plmm_agg_round *m, plmm_agg_step *s)
{
    if (m->phase == PLMM_AGG_NEW) {
        return plmm_fail(s->err, PLMM_ERR_STATE, "no journal was replayed");
    }
    m->pending = false;
    m->deadline_ms = phase_deadline(m);
    m->ack_head = m->ack_tail;
    if (m->phase == PLMM_AGG_UNMASK) {
        plmm_agg_emit(s->out, PLMM_AGG_DO_UNMASK);
    } else if (m->phase > PLMM_AGG_GATHER) {
        if (m->phase == PLMM_AGG_ABORTED) { /* the driver may have crashed before it was told */
            plmm_agg_action *a = plmm_agg_emit(s->out, PLMM_AGG_DO_ABORT);
            a->reason = m->reason;
            a->text = m->text;
        }
        emit_question(m, s->out, plmm_agg_question(m));
    }
    return PLMM_OK;
}

static plmm_status step(plmm_agg_round *m, plmm_agg_step *s)
{
    switch (s->event->type) {
    case PLMM_AGG_EV_START:
        return on_start(m, s);
    case PLMM_AGG_EV_FRAME:
        return plmm_agg_on_frame(m, s);
    case PLMM_AGG_EV_SEALED:
        return plmm_agg_on_sealed(m, s);
    case PLMM_AGG_EV_TICK:
        return on_tick(m, s);
    case PLMM_AGG_EV_PERSISTED:
        return on_persisted(m, s);
    case PLMM_AGG_EV_LINK:
        return on_link(m, s);
    case PLMM_AGG_EV_UNMASKED:
        return on_unmasked(m, s);
    case PLMM_AGG_EV_PUBLISHED:
        return on_published(m, s);
    case PLMM_AGG_EV_CANCEL:
        return on_cancel(m, s);
    case PLMM_AGG_EV_RESUME:
        return on_resume(m, s);
    }
    return plmm_fail(s->err, PLMM_ERR_STATE, "event %d does not exist", (int)s->event->type);
}

plmm_status plmm_agg_round_step(plmm_agg_round *m, const plmm_agg_event *event,
                                plmm_agg_actions *out, plmm_error *err)
{
    plmm_agg_step s = {.event = event, .out = out, .err = err};
    out->n = 0;
    out->from = 0;
    out->refusal = PLMM_REFUSAL_NONE;
    if (event->type == PLMM_AGG_EV_RESUME || event->now_ms > m->now_ms) {
        m->now_ms = event->now_ms;
    }
    return step(m, &s);
}

/* ---- journal ---- */

static uint64_t record_id(const uint8_t *record)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++) {
        v |= (uint64_t)record[1 + i] << (8 * i);
    }
    return v;
}

static plmm_status replay_masked(plmm_agg_round *m, uint64_t device, plmm_agg_actions *out,
                                 plmm_error *err)
{
    const plmm_slot *slot = plmm_agg_find(m, device);
    if (m->phase != PLMM_AGG_COLLECT || slot == NULL || slot->index == PLMM_NONE ||
        !plmm_agg_awaits(m, slot->index)) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "no vector of device %llu was awaited",
                         (unsigned long long)device);
    }
    plmm_agg_emit(out, PLMM_AGG_DO_ADD_INPUT)->device = device;
    m->seq++;
    m->persisted = m->seq;
    m->did[slot->index] |= PLMM_DID_MASK;
    plmm_agg_answered(m, out);
    return PLMM_OK;
}

static plmm_status replay_short(plmm_agg_round *m, const uint8_t *record, plmm_agg_actions *out,
                                plmm_error *err)
{
    uint64_t v = record_id(record);
    const plmm_slot *slot = plmm_agg_find(m, v);
    switch (record[0]) {
    case PLMM_RECORD_MASKED:
        return replay_masked(m, v, out, err);
    case PLMM_RECORD_EXPEL:
        if (slot == NULL || slot->index == PLMM_NONE) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "a device that was expelled is not there");
        }
        plmm_agg_expel(m, out, slot->index);
        return PLMM_OK;
    case PLMM_RECORD_CLOSE:
        if (v != (uint64_t)m->phase || m->phase == PLMM_AGG_NEW || m->phase >= PLMM_AGG_DONE) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "phase %s cannot end here",
                             plmm_agg_phase_str(m->phase));
        }
        m->persisted = ++m->seq;
        plmm_agg_close(m, out);
        return PLMM_OK;
    case PLMM_RECORD_CANCEL:
        m->persisted = ++m->seq;
        plmm_agg_abort(m, out, PLMM_ABORT_LOCAL, "the round was cancelled");
        return PLMM_OK;
    default:
        return plmm_fail(err, PLMM_ERR_FORMAT, "a record of this kind cannot stand here");
    }
}

static plmm_status replay(plmm_agg_round *m, const uint8_t *record, size_t len,
                          plmm_agg_actions *out, plmm_error *err)
{
    plmm_agg_event e = {.now_ms = m->now_ms, .bytes = record, .len = len};
    plmm_agg_step s = {.event = &e, .out = out, .err = err};
    if (len == 33 && record[0] == PLMM_RECORD_START) {
        memcpy(e.seed.b, record + 1, sizeof e.seed.b);
        return on_start(m, &s);
    }
    if (len == 33 && record[0] == PLMM_RECORD_PUBLISHED && m->phase == PLMM_AGG_UNMASK) {
        plmm_hash model;
        memcpy(model.b, record + 1, sizeof model.b);
        m->persisted = ++m->seq;
        publish(m, &model);
        return PLMM_OK;
    }
    if (len == 9) {
        return replay_short(m, record, out, err);
    }
    if (len > PLMM_FRAME_PREFIX && record[0] == PLMM_RECORD_FRAME) {
        return m->phase == PLMM_AGG_SEAL ? plmm_agg_on_sealed(m, &s) : plmm_agg_on_frame(m, &s);
    }
    return plmm_fail(err, PLMM_ERR_FORMAT, "a record of this kind cannot stand here");
}

/* Of what a replay makes the machine say only ADD_INPUT is for the driver. */
static void keep_inputs(plmm_agg_actions *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < out->n; i++) {
        if (out->v[i].type == PLMM_AGG_DO_ADD_INPUT || out->v[i].type == PLMM_AGG_DO_DROP_INPUT) {
            out->v[n++] = out->v[i];
        }
    }
    out->n = n;
}

plmm_status plmm_agg_round_replay(plmm_agg_round *m, const uint8_t *record, size_t len,
                                  plmm_agg_actions *out, plmm_error *err)
{
    plmm_error why = {0};
    out->n = 0;
    out->from = 0;
    m->replaying = true;
    plmm_status rc = replay(m, record, len, out, &why);
    m->replaying = false;
    keep_inputs(out);
    if (rc != PLMM_OK) {
        return plmm_fail(err, rc == PLMM_ERR_NOMEM ? rc : PLMM_ERR_FORMAT,
                         "the journal of the round cannot be replayed: %s", why.msg);
    }
    return PLMM_OK;
}

/* ---- reading ---- */

uint64_t plmm_agg_round_deadline(const plmm_agg_round *m)
{
    return m->deadline_ms;
}

plmm_agg_phase plmm_agg_round_phase(const plmm_agg_round *m)
{
    return m->phase;
}

const plmm_round_params *plmm_agg_round_params(const plmm_agg_round *m)
{
    return &m->cfg.params;
}

static uint32_t did_count(const plmm_agg_round *m, uint8_t what)
{
    uint32_t c = 0;
    for (uint32_t i = 0; m->did != NULL && i < m->session.n; i++) {
        c += (m->did[i] & what) != 0;
    }
    return c;
}

void plmm_agg_round_status(const plmm_agg_round *m, plmm_agg_status *out)
{
    bool roster = m->did != NULL;
    *out = (plmm_agg_status){.phase = m->phase,
                             .round = m->cfg.params.round,
                             .attempt = m->cfg.params.attempt,
                             .checked_in = m->slots_n,
                             .invited = m->invited_n,
                             .roster = roster ? m->session.n : 0,
                             .k = m->session.k,
                             .t = m->session.t,
                             .shared = roster ? plmm_set_count(m->going, m->session.n) : 0,
                             .trained = did_count(m, PLMM_DID_MASK),
                             .agreed = did_count(m, PLMM_DID_AGREE),
                             .revealed = did_count(m, PLMM_DID_REVEAL),
                             .liars = m->liars,
                             .expelled = m->expelled,
                             .spent = m->roster_n > 0,
                             .deadline_ms = m->deadline_ms};
}

bool plmm_agg_round_revealed(const plmm_agg_round *m, uint64_t device)
{
    const plmm_slot *s = plmm_agg_find(m, device);
    for (uint32_t i = 0; s != NULL && m->did != NULL && i < m->session.n; i++) {
        if (&m->slots[m->slot_of[i]] == s) {
            return (m->did[i] & PLMM_DID_REVEAL) != 0;
        }
    }
    return false;
}

void plmm_agg_round_survivors(const plmm_agg_round *m, uint64_t *ids, uint32_t *n)
{
    *n = 0;
    for (uint32_t i = 0; m->did != NULL && i < m->session.n; i++) {
        if (plmm_set_has(m->survivors, i)) {
            ids[(*n)++] = m->slots[m->slot_of[i]].entry.certificate.device;
        }
    }
}
