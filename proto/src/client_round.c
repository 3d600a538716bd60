/* The device's round: events in, actions out, timers, journal. Checks of messages:
 * client_steps.c. */
#include "client_machine.h"
#include "plmm/alloc.h"

#include <stdio.h>
#include <string.h>

const char *plmm_client_state_str(plmm_client_state s)
{
    static const char *const names[] = {
        "new",      "checked in", "advertised", "shared",   "confirmed", "training", "masking",
        "uploaded", "opened",     "agreeing",   "revealed", "done",      "aborted"};
    return (size_t)s < sizeof names / sizeof names[0] ? names[s] : "unknown";
}

plmm_status plmm_client_round_new(plmm_client_round **m, const plmm_client_config *config,
                                  plmm_error *err)
{
    PLMM_TRY(plmm_policy_check(&config->policy, err));
    if (config->resend_ms == 0 || config->silence_ms <= config->resend_ms ||
        config->silence_ms > PLMM_PERIOD_MS_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "resend_ms is %u and silence_ms %u: must be positive, increasing and at "
                         "most %d",
                         config->resend_ms, config->silence_ms, PLMM_PERIOD_MS_MAX);
    }
    plmm_client_round *r = plmm_alloc(1, sizeof *r);
    uint8_t *out = plmm_alloc(1, PLMM_FRAME_SMALL);
    if (r == NULL || out == NULL) {
        plmm_free(r);
        plmm_free(out);
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory for a round");
    }
    r->cfg = *config;
    r->out = out;
    r->out_cap = PLMM_FRAME_SMALL;
    if (plmm_is_zero(&r->cfg.frames, sizeof r->cfg.frames)) {
        const plmm_anchor *a = &config->policy.anchor;
        if (plmm_frame_key(&r->cfg.frames, &config->key, &a->aggregator, a->expert, err) !=
            PLMM_OK) {
            plmm_client_round_free(r);
            return PLMM_ERR_RANGE;
        }
    }
    r->link = plmm_is_zero(&config->link.value, sizeof config->link.value)
                  ? config->policy.anchor.link
                  : config->link;
    *m = r;
    return PLMM_OK;
}

/* The round is over: its chain keys are not needed again, so the table steps past them. */
static void channels_commit(plmm_client_round *m)
{
    plmm_channels *c = m->cfg.channels;
    if (c == NULL || m->near == NULL || m->replaying) {
        return;
    }
    if (plmm_channels_own(c, m->params.round) == NULL) {
        plmm_channels_begin(c, &m->channel);
    }
    for (uint32_t s = 0; s < m->near_n; s++) {
        plmm_channels_put(c, &m->near[s].peer, m->params.round, &m->near[s].channel);
    }
}

static void wipe_secrets(plmm_client_round *m)
{
    plmm_wipe(&m->seed, sizeof m->seed);
    plmm_wipe(&m->self_mask, sizeof m->self_mask);
    plmm_wipe(&m->sharing, sizeof m->sharing);
    plmm_wipe(&m->rounding, sizeof m->rounding);
    plmm_wipe(&m->errors, sizeof m->errors);
    plmm_wipe(&m->escrow, sizeof m->escrow);
    plmm_wipe(&m->nonces, sizeof m->nonces);
    plmm_wipe(&m->channel, sizeof m->channel);
    plmm_wipe(m->record, sizeof m->record);
    if (m->near != NULL) {
        plmm_wipe(m->near, m->near_n * sizeof m->near[0]);
    }
    plmm_oneshot_wipe(m->os);
}

void plmm_client_round_free(plmm_client_round *m)
{
    if (m == NULL) {
        return;
    }
    wipe_secrets(m);
    plmm_free(m->near);
    plmm_oneshot_free(m->os);
    plmm_polynomials_drop(m->polynomials);
    plmm_free(m->epoch);
    plmm_free(m->sharers);
    plmm_free(m->out);
    plmm_wipe(m, sizeof *m);
    plmm_free(m);
}

/* ---- actions ---- */

plmm_client_action *plmm_client_emit(plmm_client_actions *out, plmm_client_action_type type)
{
    PLMM_ASSERT(out->n < PLMM_CLIENT_ACTIONS_MAX);
    plmm_client_action *a = &out->v[out->n++];
    memset(a, 0, sizeof *a);
    a->type = type;
    return a;
}

void plmm_client_frame_init(const plmm_client_round *m, plmm_frame *f, plmm_message type)
{
    memset(f, 0, sizeof *f);
    f->type = type;
    memcpy(f->expert, m->cfg.policy.anchor.expert, sizeof f->expert);
    f->sender = m->cfg.certificate.device;
    f->receiver = PLMM_AGGREGATOR_ID;
    f->round = m->params.round;
    f->attempt = m->params.attempt;
    f->has_session = m->near != NULL;
    f->session = m->session.id;
}

uint8_t *plmm_client_bulk(plmm_client_round *m)
{
    return m->out + PLMM_FRAME_SMALL;
}

void plmm_client_compose(plmm_client_round *m, plmm_frame *f, size_t bulk_len)
{
    PLMM_ASSERT(bulk_len <= m->out_cap - PLMM_FRAME_SMALL);
    f->bulk_len = (uint32_t)bulk_len;
    plmm_bulk_hash(&f->bulk_hash, plmm_client_bulk(m), bulk_len);
    size_t head;
    plmm_frame_head(m->out, &head, f, &m->cfg.frames, PLMM_TO_AGGREGATOR);
    memmove(m->out + head, plmm_client_bulk(m), bulk_len);
    m->out_len = head + bulk_len;
    m->acked = false;
}

static void emit_send(plmm_client_round *m, plmm_client_actions *out, const uint8_t *bytes,
                      size_t len)
{
    plmm_client_action *a = plmm_client_emit(out, PLMM_CLIENT_DO_SEND);
    a->bytes = bytes;
    a->len = len;
    m->sent_ms = m->now_ms;
}

static void emit_upload(plmm_client_round *m, plmm_client_actions *out)
{
    plmm_client_action *a = plmm_client_emit(out, PLMM_CLIENT_DO_SEND_UPLOAD);
    a->bytes = m->upload;
    a->len = m->upload_len;
    a->payload_len = plmm_client_round_payload(m);
    m->sent_ms = m->now_ms;
}

static void emit_train(plmm_client_round *m, plmm_client_actions *out)
{
    plmm_client_emit(out, PLMM_CLIENT_DO_TRAIN)->params = &m->params;
}

static void emit_after(plmm_client_round *m, plmm_client_actions *out)
{
    switch (m->after) {
    case PLMM_AFTER_SEND:
        emit_send(m, out, m->out, m->out_len);
        break;
    case PLMM_AFTER_TRAIN:
        emit_train(m, out);
        break;
    case PLMM_AFTER_UPLOAD:
        emit_upload(m, out);
        break;
    }
}

plmm_status plmm_client_leave(plmm_client_round *m, plmm_client_actions *out, plmm_abort reason,
                              const plmm_hash *model, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(m->text, sizeof m->text, fmt, ap);
    va_end(ap);
    plmm_client_action *a = plmm_client_emit(out, PLMM_CLIENT_DO_ABORT);
    bool joined = m->state >= PLMM_CLIENT_ADVERTISED;
    a->round = joined ? m->params.round : 0;
    a->attempt = joined ? m->params.attempt : 0;
    a->reason = reason;
    a->refusal = out->refusal;
    a->text = m->text;
    if (model != NULL) {
        a->model = *model;
    }
    a->link = m->link;
    m->state = PLMM_CLIENT_ABORTED;
    m->waiting = false;
    channels_commit(m);
    wipe_secrets(m);
    return PLMM_OK;
}

/* The frame of *s is taken: remember it, write it down, go on. */
void plmm_client_accept(plmm_client_round *m, plmm_client_step *s, plmm_client_state next,
                        plmm_client_after after)
{
    m->have[s->frame.type] = true;
    m->seen[s->frame.type] = s->frame.signed_hash;
    m->state = next;
    m->after = after;
    m->seq++;
    if (m->replaying) {
        return;
    }
    m->waiting = true;
    plmm_client_action *a = plmm_client_emit(s->out, PLMM_CLIENT_DO_PERSIST);
    a->seq = m->seq;
    a->bytes = s->event->bytes;
    a->len = s->event->len;
    if (s->frame.type == PLMM_MSG_INVITE) { /* the record that begins a journal has the seed too */
        PLMM_ASSERT(s->event->len <= sizeof m->record - 33); /* an invitation has no bulk */
        m->record[0] = PLMM_RECORD_JOIN;
        memcpy(m->record + 1, m->seed.b, sizeof m->seed.b);
        memcpy(m->record + 33, s->event->bytes, s->event->len);
        a->bytes = m->record;
        a->len = 33 + s->event->len;
    }
}

/* ---- frames ---- */

/* The state that the answer to a message put this device in, and where its repetition is a
 * question. */
static plmm_client_state asked_in(uint32_t type)
{
    switch (type) {
    case PLMM_MSG_INVITE:
        return PLMM_CLIENT_ADVERTISED;
    case PLMM_MSG_ROSTER:
        return PLMM_CLIENT_SHARED;
    case PLMM_MSG_INBOX:
        return PLMM_CLIENT_CONFIRMED;
    case PLMM_MSG_GO:
        return PLMM_CLIENT_UPLOADED;
    case PLMM_MSG_SURVIVORS:
        return PLMM_CLIENT_AGREEING;
    case PLMM_MSG_AGREED:
        return PLMM_CLIENT_REVEALED;
    case PLMM_MSG_DELIVER:
        return PLMM_CLIENT_OPENED;
    case PLMM_MSG_CHOSEN:
        return PLMM_CLIENT_AGREEING;
    case PLMM_MSG_VOTES:
        return PLMM_CLIENT_REVEALED;
    default:
        return PLMM_CLIENT_NEW;
    }
}

/* A message of a type that was taken before: the same again, or a second story (claim C2). */
static plmm_status on_repeated(plmm_client_round *m, plmm_client_step *s)
{
    if (!plmm_equal(&m->seen[s->frame.type], &s->frame.signed_hash, sizeof(plmm_hash))) {
        s->out->refusal = PLMM_REFUSAL_TWO_STORIES;
        return plmm_client_leave(m, s->out, PLMM_ABORT_LIE, NULL,
                                 "the aggregator sent two different %s messages in one round",
                                 plmm_message_str(s->frame.type));
    }
    if (m->state != asked_in(s->frame.type)) {
        return plmm_fail(s->err, PLMM_ERR_STALE, "the %s message came before",
                         plmm_message_str(s->frame.type));
    }
    m->acked = false; /* it was not received, or forgotten */
    if (m->now_ms - m->sent_ms >= m->cfg.resend_ms / 4) {
        emit_after(m, s->out);
    }
    return PLMM_OK;
}

static plmm_status on_received(plmm_client_round *m, plmm_client_step *s)
{
    if (m->state == PLMM_CLIENT_NEW || m->state == PLMM_CLIENT_TRAINING ||
        m->state == PLMM_CLIENT_MASKING) {
        return plmm_fail(s->err, PLMM_ERR_STALE, "nothing waits for a receipt");
    }
    m->acked = true; /* again: it answers a poll, the aggregator waits for others */
    return PLMM_OK;
}

static plmm_status on_result(plmm_client_round *m, plmm_client_step *s)
{
    plmm_result r;
    PLMM_TRY(plmm_result_decode(&r, &s->frame, s->err));
    if (m->state == PLMM_CLIENT_CHECKED_IN && memcmp(r.nonce, m->nonce, sizeof r.nonce) != 0) {
        s->out->refusal = PLMM_REFUSAL_ROUND;
        return plmm_fail(s->err, PLMM_ERR_STALE, "a result that answers another check-in");
    }
    if (r.reason == PLMM_ABORT_NONE && m->state >= PLMM_CLIENT_UPLOADED) {
        plmm_client_action *a = plmm_client_emit(s->out, PLMM_CLIENT_DO_FINISH);
        a->round = m->params.round;
        a->attempt = m->params.attempt;
        a->model = r.model;
        a->survivors = r.survivors;
        a->link = m->link;
        m->state = PLMM_CLIENT_DONE;
        channels_commit(m);
        wipe_secrets(m);
        return PLMM_OK;
    }
    uint32_t why = r.reason == PLMM_ABORT_NONE ? (uint32_t)PLMM_ABORT_DROPPED : r.reason;
    if (why > PLMM_ABORT_NO_SEAL) {
        return plmm_fail(s->err, PLMM_ERR_WIRE, "result has reason %u, at most %d", why,
                         PLMM_ABORT_NO_SEAL);
    }
    return plmm_client_leave(m, s->out, (plmm_abort)why, &r.model,
                             "the aggregator ended the round: %s", plmm_abort_str(why));
}

/* Steps after the roster are those of one protocol. */
static bool other_protocol(const plmm_client_round *m, uint32_t type)
{
    bool secagg = type == PLMM_MSG_INBOX || type == PLMM_MSG_GO || type == PLMM_MSG_SURVIVORS ||
                  type == PLMM_MSG_AGREED;
    bool oneshot = type == PLMM_MSG_DELIVER || type == PLMM_MSG_CHOSEN || type == PLMM_MSG_VOTES;
    return m->os != NULL ? secagg : oneshot;
}

static plmm_status dispatch(plmm_client_round *m, plmm_client_step *s)
{
    static const struct {
        uint32_t type;
        plmm_client_state in;
        plmm_status (*handle)(plmm_client_round *m, plmm_client_step *s);
    } steps[] = {
        {PLMM_MSG_INVITE, PLMM_CLIENT_CHECKED_IN, plmm_client_on_invite},
        {PLMM_MSG_ROSTER, PLMM_CLIENT_ADVERTISED, plmm_client_on_roster},
        {PLMM_MSG_INBOX, PLMM_CLIENT_SHARED, plmm_client_on_inbox},
        {PLMM_MSG_GO, PLMM_CLIENT_CONFIRMED, plmm_client_on_go},
        {PLMM_MSG_SURVIVORS, PLMM_CLIENT_UPLOADED, plmm_client_on_survivors},
        {PLMM_MSG_AGREED, PLMM_CLIENT_AGREEING, plmm_client_on_agreed},
        {PLMM_MSG_DELIVER, PLMM_CLIENT_UPLOADED, plmm_oneshot_on_deliver},
        {PLMM_MSG_CHOSEN, PLMM_CLIENT_OPENED, plmm_oneshot_on_chosen},
        {PLMM_MSG_VOTES, PLMM_CLIENT_AGREEING, plmm_oneshot_on_votes},
    };
    if (s->frame.type == PLMM_MSG_RECEIVED) {
        return on_received(m, s);
    }
    if (s->frame.type == PLMM_MSG_RESULT) {
        return on_result(m, s);
    }
    if (other_protocol(m, s->frame.type)) {
        s->out->refusal = PLMM_REFUSAL_TURN;
        return plmm_fail(s->err, PLMM_ERR_PEER, "a %s message is of the other protocol",
                         plmm_message_str(s->frame.type));
    }
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        if (steps[i].type == s->frame.type && m->have[s->frame.type]) {
            return on_repeated(m, s);
        }
        if (steps[i].type == s->frame.type && steps[i].in == m->state) {
            return steps[i].handle(m, s);
        }
    }
    s->out->refusal = PLMM_REFUSAL_TURN;
    return plmm_fail(s->err, PLMM_ERR_PEER, "a %s message is out of turn while %s",
                     plmm_message_str(s->frame.type), plmm_client_state_str(m->state));
}

static bool has_session(uint32_t type)
{
    return type == PLMM_MSG_INBOX || type == PLMM_MSG_GO || type == PLMM_MSG_SURVIVORS ||
           type == PLMM_MSG_AGREED || type == PLMM_MSG_DELIVER || type == PLMM_MSG_CHOSEN ||
           type == PLMM_MSG_VOTES;
}

/* Is it for this device, by its aggregator, of this round? */
static plmm_status frame_check(const plmm_client_round *m, const plmm_frame *f,
                               plmm_refusal *refusal, plmm_error *err)
{
    *refusal = PLMM_REFUSAL_SIGNATURE;
    if (strcmp(f->expert, m->cfg.policy.anchor.expert) != 0 || f->sender != PLMM_AGGREGATOR_ID ||
        (f->receiver != m->cfg.certificate.device && f->receiver != PLMM_BROADCAST)) {
        return plmm_fail(err, PLMM_ERR_PEER, "the %s message is for somebody else",
                         plmm_message_str(f->type));
    }
    PLMM_TRY(plmm_frame_authentic(f, &m->cfg.frames, PLMM_TO_DEVICE, err));
    *refusal = PLMM_REFUSAL_ROUND;
    bool joined = m->state >= PLMM_CLIENT_ADVERTISED;
    bool lobby =
        f->type == PLMM_MSG_RECEIVED || f->type == PLMM_MSG_RESULT || f->type == PLMM_MSG_INVITE;
    if (m->state == PLMM_CLIENT_CHECKED_IN && !lobby) {
        return plmm_fail(err, PLMM_ERR_STALE, "a %s message of a round this device is not in",
                         plmm_message_str(f->type));
    }
    if (joined && (f->round != m->params.round || f->attempt != m->params.attempt)) {
        return plmm_fail(err, PLMM_ERR_STALE,
                         "a %s message of round %llu attempt %u, this is round %llu attempt %u",
                         plmm_message_str(f->type), (unsigned long long)f->round, f->attempt,
                         (unsigned long long)m->params.round, m->params.attempt);
    }
    *refusal = PLMM_REFUSAL_NONE;
    return PLMM_OK;
}

static plmm_status on_frame(plmm_client_round *m, plmm_client_step *s)
{
    if (m->state == PLMM_CLIENT_NEW || m->state >= PLMM_CLIENT_DONE) {
        return plmm_fail(s->err, PLMM_ERR_STALE, "no round is going on");
    }
    if (m->waiting) {
        return plmm_fail(s->err, PLMM_ERR_STATE, "record %llu is not yet durable",
                         (unsigned long long)m->seq);
    }
    s->out->refusal = PLMM_REFUSAL_FORM;
    PLMM_TRY(plmm_frame_decode(&s->frame, s->event->bytes, s->event->len, s->err));
    PLMM_TRY(frame_check(m, &s->frame, &s->out->refusal, s->err));
    bool wants = has_session(s->frame.type) && m->near != NULL;
    if (s->frame.has_session != has_session(s->frame.type)) {
        s->out->refusal = PLMM_REFUSAL_FORM;
        return plmm_fail(s->err, PLMM_ERR_WIRE, "a %s message %s a session",
                         plmm_message_str(s->frame.type),
                         s->frame.has_session ? "must not have" : "must have");
    }
    if (wants && !plmm_equal(&s->frame.session, &m->session.id, sizeof m->session.id)) {
        s->out->refusal = PLMM_REFUSAL_SESSION;
        return plmm_client_leave(m, s->out, PLMM_ABORT_LIE, NULL,
                                 "the aggregator's %s message is of another session: it showed "
                                 "others another roster, model or parameters",
                                 plmm_message_str(s->frame.type));
    }
    plmm_status rc = dispatch(m, s);
    if (rc == PLMM_OK) {
        m->heard_ms = m->now_ms;
    }
    return rc;
}

/* ---- other events ---- */

static plmm_status on_start(plmm_client_round *m, plmm_client_step *s)
{
    if (m->state != PLMM_CLIENT_NEW) {
        return plmm_fail(s->err, PLMM_ERR_STATE, "the round was started before");
    }
    m->seed = s->event->seed;
    plmm_frame f;
    plmm_client_frame_init(m, &f, PLMM_MSG_CHECKIN);
    plmm_seed fresh;
    plmm_seed_derive(&fresh, &m->seed, "nonce.ci", 0);
    memcpy(m->nonce, fresh.b, sizeof m->nonce);
    plmm_checkin c = {
        .certificate = m->cfg.certificate, .model = m->cfg.model, .streams = m->cfg.policy.streams};
    memcpy(c.nonce, m->nonce, sizeof c.nonce);
    f.body_len = plmm_checkin_encode(f.body, &c);
    plmm_frame_head(m->out, &m->out_len, &f, &m->cfg.frames, PLMM_TO_AGGREGATOR);
    m->state = PLMM_CLIENT_CHECKED_IN;
    m->heard_ms = m->now_ms;
    m->after = PLMM_AFTER_SEND;
    emit_send(m, s->out, m->out, m->out_len);
    return PLMM_OK;
}

static plmm_status on_persisted(plmm_client_round *m, plmm_client_step *s)
{
    if (!m->waiting || s->event->seq != m->seq) {
        return plmm_fail(s->err, PLMM_ERR_STATE, "record %llu is not awaited",
                         (unsigned long long)s->event->seq);
    }
    m->waiting = false;
    emit_after(m, s->out);
    return PLMM_OK;
}

static plmm_status on_trained(plmm_client_round *m, plmm_client_step *s)
{
    if (m->state != PLMM_CLIENT_TRAINING || m->waiting) {
        return plmm_fail(s->err, PLMM_ERR_STATE, "no training was asked for");
    }
    if (s->event->weight == 0) {
        return plmm_fail(s->err, PLMM_ERR_RANGE, "an update from no examples has no weight");
    }
    m->weight = s->event->weight < m->params.weight_max ? s->event->weight : m->params.weight_max;
    m->state = PLMM_CLIENT_MASKING;
    plmm_client_action *a = plmm_client_emit(s->out, PLMM_CLIENT_DO_MASK);
    a->params = &m->params;
    a->weight = m->weight;
    a->payload_len = plmm_client_round_payload(m);
    return PLMM_OK;
}

/* The frame of the masked vector, fixed from here on by the digest of its bulk (claim C4). */
static void upload_take(plmm_client_round *m, const plmm_hash *digest)
{
    plmm_frame f;
    plmm_client_frame_init(m, &f, m->os != NULL ? PLMM_MSG_CONTRIB : PLMM_MSG_MASKED);
    f.bulk_len = (uint32_t)plmm_client_round_payload(m);
    f.bulk_hash = *digest;
    plmm_frame_head(m->upload, &m->upload_len, &f, &m->cfg.frames, PLMM_TO_AGGREGATOR);
    m->state = PLMM_CLIENT_UPLOADED;
    m->after = PLMM_AFTER_UPLOAD;
    m->acked = false;
    m->seq++;
}

static plmm_status on_masked(plmm_client_round *m, plmm_client_step *s)
{
    if (m->state != PLMM_CLIENT_MASKING) {
        return plmm_fail(s->err, PLMM_ERR_STATE, "no masking was asked for");
    }
    upload_take(m, &s->event->digest);
    m->waiting = true;
    m->record[0] = PLMM_RECORD_UPLOAD;
    memcpy(m->record + 1, s->event->digest.b, sizeof s->event->digest.b);
    plmm_client_action *a = plmm_client_emit(s->out, PLMM_CLIENT_DO_PERSIST_UPLOAD);
    a->seq = m->seq;
    a->bytes = m->record;
    a->len = 33;
    a->params = &m->params;
    a->payload_len = plmm_client_round_payload(m);
    m->heard_ms = m->now_ms;
    return PLMM_OK;
}

static plmm_status on_failed(plmm_client_round *m, plmm_client_step *s)
{
    if (m->state == PLMM_CLIENT_NEW || m->state >= PLMM_CLIENT_DONE) {
        return plmm_fail(s->err, PLMM_ERR_STATE, "no round is going on");
    }
    return plmm_client_leave(m, s->out, PLMM_ABORT_LOCAL, NULL, "training or masking failed");
}

/* Says the last thing again, or asks for the last thing. */
static void again(plmm_client_round *m, plmm_client_actions *out)
{
    if (!m->acked) {
        emit_after(m, out);
        return;
    }
    plmm_frame f;
    size_t len;
    plmm_client_frame_init(m, &f, PLMM_MSG_POLL);
    plmm_frame_head(m->poll, &len, &f, &m->cfg.frames, PLMM_TO_AGGREGATOR);
    emit_send(m, out, m->poll, len);
}

static bool speaking(const plmm_client_round *m)
{
    return m->state != PLMM_CLIENT_NEW && m->state < PLMM_CLIENT_DONE && !m->waiting &&
           m->state != PLMM_CLIENT_TRAINING && m->state != PLMM_CLIENT_MASKING;
}

static plmm_status on_tick(plmm_client_round *m, plmm_client_step *s)
{
    if (!speaking(m)) {
        return PLMM_OK;
    }
    if (m->now_ms - m->heard_ms >= m->cfg.silence_ms) {
        return plmm_client_leave(m, s->out, PLMM_ABORT_SILENCE, NULL,
                                 "nothing was heard of the aggregator for %u ms while %s",
                                 m->cfg.silence_ms, plmm_client_state_str(m->state));
    }
    if (m->now_ms - m->sent_ms >= m->cfg.resend_ms) {
        again(m, s->out);
    }
    return PLMM_OK;
}

static plmm_status on_link(plmm_client_round *m, plmm_client_step *s)
{
    if (speaking(m)) {
        again(m, s->out);
    }
    return PLMM_OK;
}

static plmm_status on_resume(plmm_client_round *m, plmm_client_step *s)
{
    if (m->state < PLMM_CLIENT_ADVERTISED || m->state >= PLMM_CLIENT_DONE || m->waiting) {
        return plmm_fail(s->err, PLMM_ERR_STATE, "no journal was replayed");
    }
    m->heard_ms = m->now_ms;
    m->acked = false;
    emit_after(m, s->out);
    return PLMM_OK;
}

static plmm_status on_upload_lost(plmm_client_round *m, plmm_client_step *s)
{
    if (m->state < PLMM_CLIENT_UPLOADED || m->state >= PLMM_CLIENT_DONE) {
        return plmm_fail(s->err, PLMM_ERR_STATE, "no vector was masked");
    }
    return plmm_client_leave(m, s->out, PLMM_ABORT_LOST, NULL,
                             "the masked vector of round %llu is gone; masking another one with "
                             "the same masks would give this device away",
                             (unsigned long long)m->params.round);
}

static plmm_status step(plmm_client_round *m, plmm_client_step *s)
{
    switch (s->event->type) {
    case PLMM_CLIENT_EV_START:
        return on_start(m, s);
    case PLMM_CLIENT_EV_FRAME:
        return on_frame(m, s);
    case PLMM_CLIENT_EV_TICK:
        return on_tick(m, s);
    case PLMM_CLIENT_EV_PERSISTED:
        return on_persisted(m, s);
    case PLMM_CLIENT_EV_TRAINED:
        return on_trained(m, s);
    case PLMM_CLIENT_EV_MASKED:
        return on_masked(m, s);
    case PLMM_CLIENT_EV_FAILED:
        return on_failed(m, s);
    case PLMM_CLIENT_EV_LINK:
        return on_link(m, s);
    case PLMM_CLIENT_EV_UPLOAD_LOST:
        return on_upload_lost(m, s);
    case PLMM_CLIENT_EV_RESUME:
        return on_resume(m, s);
    }
    return plmm_fail(s->err, PLMM_ERR_STATE, "event %d does not exist", (int)s->event->type);
}

plmm_status plmm_client_round_step(plmm_client_round *m, const plmm_client_event *event,
                                   plmm_client_actions *out, plmm_error *err)
{
    plmm_client_step s = {.event = event, .out = out, .err = err};
    out->n = 0;
    out->refusal = PLMM_REFUSAL_NONE;
    uint64_t before = m->now_ms;
    m->now_ms =
        event->type == PLMM_CLIENT_EV_RESUME || event->now_ms > before ? event->now_ms : before;
    plmm_status rc = step(m, &s);
    if (rc != PLMM_OK) {
        m->now_ms = before;
        out->n = 0;
    }
    return rc;
}

/* ---- journal ---- */

static plmm_status replay_frame(plmm_client_round *m, const uint8_t *bytes, size_t len,
                                plmm_error *err)
{
    plmm_client_actions unused = {0};
    plmm_client_event e = {
        .type = PLMM_CLIENT_EV_FRAME, .now_ms = m->now_ms, .bytes = bytes, .len = len};
    plmm_client_step s = {.event = &e, .out = &unused, .err = err};
    plmm_status rc = on_frame(m, &s);
    return rc == PLMM_OK && m->state == PLMM_CLIENT_ABORTED
               ? plmm_fail(err, PLMM_ERR_FORMAT, "%s", m->text)
               : rc;
}

static plmm_status replay(plmm_client_round *m, const uint8_t *record, size_t len, plmm_error *err)
{
    if (len > 33 && record[0] == PLMM_RECORD_JOIN && m->state == PLMM_CLIENT_NEW) {
        memcpy(m->seed.b, record + 1, sizeof m->seed.b);
        m->state = PLMM_CLIENT_CHECKED_IN;
        return replay_frame(m, record + 33, len - 33, err);
    }
    if (len == 33 && record[0] == PLMM_RECORD_UPLOAD && m->state == PLMM_CLIENT_TRAINING) {
        plmm_hash digest;
        memcpy(digest.b, record + 1, sizeof digest.b);
        upload_take(m, &digest);
        return PLMM_OK;
    }
    if (len > 0 && record[0] == PLMM_RECORD_FRAME && m->state >= PLMM_CLIENT_ADVERTISED) {
        return replay_frame(m, record, len, err);
    }
    return plmm_fail(err, PLMM_ERR_FORMAT, "a record of this kind cannot stand here");
}

plmm_status plmm_client_round_replay(plmm_client_round *m, const uint8_t *record, size_t len,
                                     plmm_error *err)
{
    plmm_error why = {0};
    m->replaying = true;
    plmm_status rc = replay(m, record, len, &why);
    m->replaying = false;
    if (rc != PLMM_OK && rc != PLMM_ERR_NOMEM) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "the journal of the round is damaged: %s", why.msg);
    }
    return rc == PLMM_OK ? PLMM_OK : plmm_fail(err, rc, "%s", why.msg);
}

/* ---- reading ---- */

uint64_t plmm_client_round_deadline(const plmm_client_round *m)
{
    if (!speaking(m)) {
        return UINT64_MAX;
    }
    uint64_t again_ms = m->sent_ms + m->cfg.resend_ms, end_ms = m->heard_ms + m->cfg.silence_ms;
    return again_ms < end_ms ? again_ms : end_ms;
}

plmm_client_state plmm_client_round_state(const plmm_client_round *m)
{
    return m->state;
}

void plmm_client_round_name(const plmm_client_round *m, uint64_t *round, uint32_t *attempt)
{
    *round = m->params.round;
    *attempt = m->params.attempt;
}
