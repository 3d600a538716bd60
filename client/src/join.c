#include "plmm/join.h"

#include "plmm/feedback.h"
#include "plmm/line.h"

#include "plmm/address.h"
#include "plmm/alloc.h"
#include "plmm/clock.h"
#include "plmm/log.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

enum {
    WAIT_MAX_MS = 500,   /* so that a stop is seen */
    EMPTY_PAUSE_MS = 50, /* after an empty answer that came at once */
    LOST_PAUSE_MS = 100,
    TURNED_AWAY_MS = 1000,
    ANSWER_MS = 10000, /* a request with frames is answered at once: longer, and it is lost */
    HELD_MS = 60000,   /* an empty one is held for a while */
    FETCH_TRIES = 5,
    SHELF = 2,      /* the round's roster, and the one before */
    CHANNELS = 4096 /* pairs that are remembered, 96 octets each */
};

static volatile sig_atomic_t stop_wanted;

void plmm_join_stop(void)
{
    stop_wanted = 1;
}

/* Octets that wait to be sent, frame after frame. */
typedef struct outbox {
    uint8_t *v;
    size_t len, cap;
} outbox;

typedef struct join {
    const plmm_join_config *c;
    plmm_join_result *result;
    plmm_policy policy;
    plmm_store_expert me;
    plmm_key frames; /* SECRET: of the frames with the aggregator */
    plmm_line *line;
    plmm_client_round *m;
    plmm_account spent; /* privacy, in all rounds with this expert */
    plmm_shelf *shelf;
    uint8_t *epoch; /* of one-shot rounds, or NULL */
    size_t epoch_len;
    plmm_channels *channels; /* SECRET: with other devices; changed by the step that ends a round */
    outbox out;
    uint8_t *vector; /* the masked one, as stored */
    size_t vector_len;
    bool train, mask; /* wanted by the machine, by these: */
    plmm_round_params params;
    size_t payload_len;
    float *delta;
    uint8_t *residual; /* SECRET: of the update that is masked; NULL: none */
    size_t residual_len;
    char why[200]; /* training failed, if it did */
    bool over;
    plmm_abort reason; /* how it ended: NONE is completed */
    plmm_hash target;  /* version to fetch then */
    uint64_t aborted_round;
    uint32_t turned_away; /* check-ins in a row that led to no round */
    uint64_t asked_ms;
    bool asked_frames;  /* the request under way carries some */
    uint64_t joined_ms; /* when a round was last joined, or the run began */
    plmm_client_state state;
    plmm_status fatal;
    plmm_error err;
} join;

static void fail(join *j, plmm_status rc, const plmm_error *err)
{
    if (j->fatal == PLMM_OK) {
        j->fatal = rc;
        j->err = *err;
    }
}

static plmm_status put(outbox *o, const uint8_t *bytes, size_t len, plmm_error *err)
{
    if (o->cap - o->len < len) {
        size_t cap = 2 * o->cap > o->len + len ? 2 * o->cap : o->len + len;
        uint8_t *v = plmm_grow(o->v, o->cap, cap, 1);
        if (v == NULL) {
            return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for a message of %zu bytes", len);
        }
        o->v = v;
        o->cap = cap;
    }
    if (len > 0) {
        memcpy(o->v + o->len, bytes, len);
    }
    o->len += len;
    return PLMM_OK;
}

/* ---- obeying the machine ---- */

static void forget_vector(join *j)
{
    plmm_free(j->vector);
    j->vector = NULL;
    j->vector_len = 0;
}

static void forget_residual(join *j)
{
    if (j->residual != NULL) {
        plmm_wipe(j->residual, j->residual_len);
        plmm_free(j->residual);
    }
    j->residual = NULL;
    j->residual_len = 0;
}

static plmm_status append(join *j, const plmm_client_action *a, plmm_error *err)
{
    if (a->type == PLMM_CLIENT_DO_PERSIST) {
        return plmm_store_round_append(j->c->store, j->c->expert, a->seq, a->bytes, a->len, err);
    }
    PLMM_ASSERT(j->vector != NULL && j->vector_len == a->payload_len);
    uint8_t bytes[PLMM_ACCOUNT_BYTES];
    plmm_account cost, after = j->spent;
    plmm_round_cost(&cost, a->params);
    plmm_account_add(&after, &cost, 1);
    plmm_account_encode(bytes, &after);
    plmm_store_note notes[] = {{"account", bytes, sizeof bytes},
                               {PLMM_STORE_RESIDUAL_NOW, j->residual, j->residual_len}};
    PLMM_TRY(plmm_store_round_upload(j->c->store, j->c->expert, a->seq, a->bytes, a->len, j->vector,
                                     j->vector_len, notes, j->residual != NULL ? 2 : 1, err));
    forget_residual(j);
    j->spent = after; /* from now on the vector can be in a sum */
    return PLMM_OK;
}

/* Writes an outcome, the channels as they are now, and what the machine leaves of an epoch. */
static plmm_status write_end(join *j, plmm_store_outcome *outcome, plmm_error *err)
{
    size_t len = plmm_channels_bytes(j->channels);
    uint8_t *bytes = plmm_alloc(len, 1);
    if (bytes == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for %zu octets of channels", len);
    }
    plmm_channels_encode(j->channels, bytes);
    size_t epoch_len = 0;
    const uint8_t *epoch = plmm_client_round_epoch(j->m, &epoch_len);
    plmm_store_note notes[] = {{"channels", bytes, len}, {"epoch", epoch, epoch_len}};
    outcome->notes = notes;
    outcome->notes_n = epoch != NULL ? 2 : 1;
    plmm_status rc = plmm_store_round_end(j->c->store, j->c->expert, outcome, err);
    plmm_wipe(bytes, len);
    plmm_free(bytes);
    return rc;
}

static void end(join *j, const plmm_client_action *a)
{
    bool done = a->type == PLMM_CLIENT_DO_FINISH;
    plmm_error err = {0};
    plmm_store_outcome outcome = {.round = a->round,
                                  .link = a->link,
                                  .attempt = a->attempt,
                                  .reason = done ? 0 : (uint32_t)a->reason,
                                  .survivors = a->survivors,
                                  .time = plmm_clock_wall_ms(),
                                  .text = done ? NULL : a->text};
    plmm_status rc = write_end(j, &outcome, &err);
    if (rc != PLMM_OK) {
        fail(j, rc, &err);
    }
    if (a->link.index > j->me.anchor.link.index) {
        j->me.anchor.link = j->policy.anchor.link = a->link;
    }
    j->over = true;
    j->reason = done ? PLMM_ABORT_NONE : a->reason;
    j->target = a->model;
    j->aborted_round = a->round;
    j->turned_away = a->round != 0 ? 0 : j->turned_away;
    j->result->rounds += done;
    j->result->aborted += !done && a->round != 0;
    if (!done) {
        const char *text = a->text != NULL ? a->text : plmm_abort_str((uint32_t)a->reason);
        bool local = a->reason == PLMM_ABORT_LOCAL && j->why[0] != '\0';
        (void)snprintf(j->result->last, sizeof j->result->last, "%s", local ? j->why : text);
    }
    if (a->round != 0) {
        j->me.last_round = a->round;
        j->me.last_attempt = a->attempt;
    }
    plmm_log(done ? PLMM_LOG_INFO : PLMM_LOG_WARN, done ? "round.done" : "round.abort",
             "device=%llu round=%llu attempt=%u%s%s%s",
             (unsigned long long)j->me.certificate.device, (unsigned long long)a->round, a->attempt,
             done ? "" : " why=\"", done ? "" : j->result->last, done ? "" : "\"");
    if (a->refusal != PLMM_REFUSAL_NONE) {
        plmm_log(PLMM_LOG_ERROR, "round.caught", "device=%llu refusal=\"%s\"",
                 (unsigned long long)j->me.certificate.device, plmm_refusal_str(a->refusal));
    }
}

/* Does what one step asks for; *seq = the last record written, 0 if none. */
static void obey(join *j, const plmm_client_actions *acts, uint64_t *seq)
{
    plmm_error err = {0};
    *seq = 0;
    for (uint32_t i = 0; i < acts->n && j->fatal == PLMM_OK; i++) {
        const plmm_client_action *a = &acts->v[i];
        plmm_status rc = PLMM_OK;
        switch (a->type) {
        case PLMM_CLIENT_DO_SEND_UPLOAD:
        case PLMM_CLIENT_DO_SEND:
            rc = put(&j->out, a->bytes, a->len, &err);
            if (rc == PLMM_OK && a->type == PLMM_CLIENT_DO_SEND_UPLOAD) {
                PLMM_ASSERT(j->vector != NULL);
                rc = put(&j->out, j->vector, j->vector_len, &err);
            }
            break;
        case PLMM_CLIENT_DO_PERSIST:
        case PLMM_CLIENT_DO_PERSIST_UPLOAD:
            rc = append(j, a, &err);
            *seq = a->seq;
            break;
        case PLMM_CLIENT_DO_TRAIN:
            j->train = true;
            j->params = *a->params;
            break;
        case PLMM_CLIENT_DO_MASK:
            j->mask = true;
            j->params = *a->params;
            j->payload_len = a->payload_len;
            break;
        case PLMM_CLIENT_DO_FINISH:
        case PLMM_CLIENT_DO_ABORT:
            end(j, a);
            break;
        }
        if (rc != PLMM_OK) {
            fail(j, rc, &err);
        }
    }
}

static void note_state(join *j)
{
    plmm_client_state now = plmm_client_round_state(j->m);
    uint64_t round;
    uint32_t attempt;
    if (now == j->state) {
        return;
    }
    j->state = now;
    plmm_client_round_name(j->m, &round, &attempt);
    if (round != 0) {
        j->joined_ms = plmm_clock_ms();
    }
    plmm_log(PLMM_LOG_INFO, "round.state", "device=%llu round=%llu attempt=%u state=\"%s\"",
             (unsigned long long)j->me.certificate.device, (unsigned long long)round, attempt,
             plmm_client_state_str(now));
}

/* Steps the machine, obeys, and goes on until nothing is to be persisted any more. */
static void step(join *j, plmm_client_event ev)
{
    uint64_t seq = 0;
    do {
        plmm_client_actions acts;
        plmm_error err = {0};
        ev.now_ms = plmm_clock_ms();
        plmm_status rc = plmm_client_round_step(j->m, &ev, &acts, &err);
        if (rc == PLMM_ERR_NOMEM || rc == PLMM_ERR_STATE) {
            fail(j, rc, &err);
            return;
        }
        if (rc != PLMM_OK) {
            if (rc != PLMM_ERR_STALE) {
                plmm_log(PLMM_LOG_WARN, "frame.refused", "device=%llu why=\"%s\"",
                         (unsigned long long)j->me.certificate.device, err.msg);
            }
            return;
        }
        obey(j, &acts, &seq);
        note_state(j);
        ev = (plmm_client_event){.type = PLMM_CLIENT_EV_PERSISTED, .seq = seq};
    } while (seq != 0 && j->fatal == PLMM_OK && !j->over);
}

/* ---- work ---- */

/* Adds what rounding took before, as the store has it: it is read each time, since the user may have
 * forgotten it meanwhile. One that cannot be read is lost, which costs no more than not having it. */
static plmm_status add_residual(join *j, plmm_error *err)
{
    uint8_t *bytes = NULL;
    size_t len = 0;
    plmm_feedback f = {0};
    plmm_error why = {0};
    PLMM_TRY(
        plmm_store_note_get(j->c->store, j->c->expert, PLMM_STORE_RESIDUAL, &bytes, &len, err));
    if (bytes == NULL) {
        return PLMM_OK;
    }
    if (plmm_feedback_decode(&f, bytes, len, &why) == PLMM_OK) {
        plmm_feedback_add(&f, &j->params, j->delta);
    } else {
        plmm_log(PLMM_LOG_WARN, "residual.lost", "why=\"%s\"", why.msg);
    }
    plmm_feedback_free(&f);
    plmm_wipe(bytes, len);
    plmm_free(bytes);
    return PLMM_OK;
}

/* What rounding takes from the update that is masked now, for the store. */
static plmm_status take_residual(join *j, uint32_t *lanes, plmm_error *err)
{
    plmm_feedback f = {0};
    forget_residual(j);
    plmm_status rc = plmm_feedback_take(&f, j->m, &j->params, lanes, j->delta, err);
    rc = rc == PLMM_OK ? plmm_feedback_encode(&f, &j->residual, &j->residual_len, err) : rc;
    plmm_feedback_free(&f);
    return rc;
}

static void do_train(join *j)
{
    plmm_error err = {0};
    plmm_client_event ev = {.type = PLMM_CLIENT_EV_TRAINED};
    j->train = false;
    plmm_free(j->delta);
    j->delta = plmm_alloc(j->params.length, sizeof *j->delta);
    plmm_status rc = j->delta != NULL ? j->c->hooks.train(j->c->hooks.ctx, &j->params, j->delta,
                                                          &ev.weight, &err)
                                      : plmm_fail(&err, PLMM_ERR_NOMEM, "out of memory");
    if (rc == PLMM_OK && j->c->error_feedback) {
        rc = add_residual(j, &err);
    }
    if (rc != PLMM_OK) {
        (void)snprintf(j->why, sizeof j->why, "training failed: %s", err.msg);
        ev.type = PLMM_CLIENT_EV_FAILED;
    }
    step(j, ev);
}

static void forget_delta(join *j)
{
    if (j->delta != NULL) {
        plmm_wipe(j->delta, j->params.length * sizeof *j->delta);
        plmm_free(j->delta);
        j->delta = NULL;
    }
}

static void do_mask(join *j)
{
    plmm_error err = {0};
    plmm_client_event ev = {.type = PLMM_CLIENT_EV_MASKED};
    uint32_t *lanes = plmm_alloc(plmm_round_lanes(&j->params), sizeof *lanes);
    j->mask = false;
    forget_vector(j);
    j->vector = plmm_alloc(j->payload_len, 1);
    plmm_status rc = plmm_fail(&err, PLMM_ERR_NOMEM, "out of memory");
    if (lanes != NULL && j->vector != NULL && j->delta != NULL) {
        j->vector_len = j->payload_len;
        rc = plmm_client_round_mask(j->m, j->vector, &ev.digest, lanes, j->delta, j->params.length,
                                    &err);
        if (rc == PLMM_OK && j->c->error_feedback) {
            rc = take_residual(j, lanes, &err);
        }
    }
    forget_delta(j);
    plmm_free(lanes);
    if (rc != PLMM_OK) {
        (void)snprintf(j->why, sizeof j->why, "masking failed: %s", err.msg);
        ev.type = PLMM_CLIENT_EV_FAILED;
    }
    step(j, ev);
}

/* ---- one round ---- */

/* Feeds the frames of a reply to the machine. */
static void take_reply(join *j)
{
    const uint8_t *bytes;
    size_t len, size = 0;
    plmm_line_reply(j->line, &bytes, &len);
    for (size_t at = 0; at < len && j->fatal == PLMM_OK && !j->over; at += size) {
        plmm_error err = {0};
        if (len - at < PLMM_FRAME_PREFIX || plmm_frame_size(&size, bytes + at, &err) != PLMM_OK ||
            size > len - at) {
            plmm_log(PLMM_LOG_WARN, "reply.refused", "why=\"it is no sequence of frames\"");
            return;
        }
        step(j,
             (plmm_client_event){.type = PLMM_CLIENT_EV_FRAME, .bytes = bytes + at, .len = size});
    }
    if (len == 0 && plmm_clock_ms() - j->asked_ms < EMPTY_PAUSE_MS) {
        plmm_clock_sleep_ms(EMPTY_PAUSE_MS); /* nobody there knows us yet */
    }
}

/* Sends what waits, or asks for news. A request that carries frames is not given up for another. */
static void ask(join *j)
{
    plmm_error err = {0};
    if (plmm_line_asked(j->line) && (j->asked_frames || j->out.len == 0)) {
        return;
    }
    plmm_status rc = plmm_line_ask(j->line, j->out.v, j->out.len, NULL, 0, &err);
    j->asked_frames = j->out.len > 0;
    j->asked_ms = plmm_clock_ms();
    j->out.len = 0;
    if (rc != PLMM_OK) {
        fail(j, rc, &err);
    }
}

static uint64_t wait_ms(const join *j)
{
    uint64_t now = plmm_clock_ms();
    uint64_t deadline = plmm_client_round_deadline(j->m);
    uint64_t wait = deadline > now ? deadline - now : 0;
    return wait < WAIT_MAX_MS ? wait : WAIT_MAX_MS;
}

static void lost(join *j)
{
    plmm_line_give_up(j->line);
    j->asked_frames = false;
    plmm_clock_sleep_ms(LOST_PAUSE_MS);
}

static void one_turn(join *j)
{
    if (j->train) {
        do_train(j);
        return;
    }
    if (j->mask) {
        do_mask(j);
        return;
    }
    ask(j);
    uint64_t limit = j->asked_frames ? ANSWER_MS : HELD_MS;
    switch (plmm_line_wait(j->line, wait_ms(j))) {
    case PLMM_LINE_REPLY:
        j->asked_frames = false;
        take_reply(j);
        break;
    case PLMM_LINE_NEW:
        step(j, (plmm_client_event){.type = PLMM_CLIENT_EV_LINK});
        break;
    case PLMM_LINE_LOST:
        lost(j);
        break;
    case PLMM_LINE_TIMEOUT:
        if (plmm_clock_ms() - j->asked_ms > limit) {
            lost(j);
        }
        break;
    }
    if (!j->over && j->fatal == PLMM_OK && plmm_client_round_deadline(j->m) <= plmm_clock_ms()) {
        step(j, (plmm_client_event){.type = PLMM_CLIENT_EV_TICK});
    }
}

typedef struct replay {
    join *j;
    uint64_t n;
} replay;

static plmm_status replay_record(void *ctx, uint64_t seq, const uint8_t *record, size_t len,
                                 plmm_error *err)
{
    replay *r = ctx;
    (void)seq;
    r->n++;
    return plmm_client_round_replay(r->j->m, record, len, err);
}

/* A journal that cannot be replayed: the round is lost, its secrets go, and it is not entered
 * again. */
static plmm_status drop_journal(join *j, const plmm_error *why)
{
    plmm_store_outcome lost = {
        .reason = PLMM_ABORT_LOST, .time = plmm_clock_wall_ms(), .text = why->msg};
    plmm_client_round_name(j->m, &lost.round, &lost.attempt);
    if (lost.round != 0) {
        j->me.last_round = lost.round;
        j->me.last_attempt = lost.attempt;
    }
    plmm_log(PLMM_LOG_WARN, "journal.lost", "why=\"%s\"", why->msg);
    plmm_client_round_free(j->m);
    j->m = NULL;
    return plmm_store_round_end(j->c->store, j->c->expert, &lost, &j->err);
}

static plmm_status make_machine(join *j, plmm_error *err)
{
    plmm_client_config config = {.policy = j->policy,
                                 .certificate = j->me.certificate,
                                 .key = j->c->key,
                                 .frames = j->frames,
                                 .model = j->me.manifest,
                                 .channels = j->channels,
                                 .shelf = j->shelf,
                                 .epoch = j->epoch,
                                 .epoch_len = j->epoch_len,
                                 .spent = j->spent,
                                 .last_round = j->me.last_round,
                                 .last_attempt = j->me.last_attempt,
                                 .resend_ms = j->c->resend_ms,
                                 .silence_ms = j->c->silence_ms};
    plmm_status rc = plmm_client_round_new(&j->m, &config, err);
    plmm_wipe(&config, sizeof config);
    return rc;
}

/* What the last sealed one-shot round left: the next one may go on with it. */
static plmm_status load_epoch(join *j, plmm_error *err)
{
    plmm_free(j->epoch);
    j->epoch = NULL;
    j->epoch_len = 0;
    return plmm_store_note_get(j->c->store, j->c->expert, "epoch", &j->epoch, &j->epoch_len, err);
}

/* A machine that goes on where the journal ends, or a new one. */
static plmm_status start_machine(join *j, plmm_error *err)
{
    replay r = {.j = j};
    plmm_error why = {0};
    PLMM_TRY(load_epoch(j, err));
    PLMM_TRY(make_machine(j, err));
    j->over = j->train = j->mask = j->asked_frames = false;
    j->out.len = 0;
    j->why[0] = '\0';
    j->state = PLMM_CLIENT_NEW;
    forget_vector(j);
    plmm_status rc = plmm_store_round_each(j->c->store, j->c->expert, replay_record, &r, &why);
    if (rc != PLMM_OK) {
        PLMM_TRY(drop_journal(j, &why));
        PLMM_TRY(make_machine(j, err));
        r.n = 0;
    }
    plmm_client_event ev = {.type = r.n == 0 ? PLMM_CLIENT_EV_START : PLMM_CLIENT_EV_RESUME};
    if (r.n == 0) {
        PLMM_TRY(plmm_seed_system(&ev.seed, err));
    } else {
        rc = plmm_store_round_vector(j->c->store, j->c->expert, &j->vector, &j->vector_len, err);
        plmm_client_state state = plmm_client_round_state(j->m);
        if (rc == PLMM_ERR_NOTFOUND && state >= PLMM_CLIENT_UPLOADED) {
            step(j, (plmm_client_event){.type = PLMM_CLIENT_EV_UPLOAD_LOST});
            return PLMM_OK; /* that ended the round */
        } else if (rc != PLMM_OK && rc != PLMM_ERR_NOTFOUND) {
            return rc;
        }
        plmm_log(PLMM_LOG_INFO, "round.resume", "device=%llu records=%llu",
                 (unsigned long long)j->me.certificate.device, (unsigned long long)r.n);
    }
    step(j, ev);
    plmm_wipe(&ev.seed, sizeof ev.seed);
    return PLMM_OK;
}

static bool patient(const join *j)
{
    return plmm_clock_ms() - j->joined_ms < j->c->patience_ms;
}

static plmm_status one_round(join *j, plmm_error *err)
{
    plmm_status rc = start_machine(j, err);
    while (rc == PLMM_OK && j->fatal == PLMM_OK && !j->over && stop_wanted == 0) {
        if (j->state <= PLMM_CLIENT_CHECKED_IN && !patient(j)) {
            rc = plmm_fail(err, PLMM_ERR_TIMEOUT, "%s at %s did not begin a round within %u s",
                           j->c->expert, j->me.address, j->c->patience_ms / 1000);
            break;
        }
        one_turn(j);
    }
    forget_delta(j);
    plmm_client_round_free(j->m);
    j->m = NULL;
    if (rc == PLMM_OK && j->fatal != PLMM_OK) {
        *err = j->err;
        rc = j->fatal;
    }
    return rc;
}

/* ---- versions ---- */

/* One request and its answer's first frame. PLMM_ERR_TIMEOUT when there was none. */
static plmm_status exchange(join *j, const uint8_t *head, size_t len, const uint8_t **bytes,
                            size_t *size, plmm_error *err)
{
    uint64_t until = plmm_clock_ms() + ANSWER_MS;
    PLMM_TRY(plmm_line_ask(j->line, head, len, NULL, 0, err));
    for (;;) {
        uint64_t now = plmm_clock_ms();
        plmm_line_news news =
            now < until ? plmm_line_wait(j->line, until - now) : PLMM_LINE_TIMEOUT;
        if (news == PLMM_LINE_REPLY) {
            plmm_line_reply(j->line, bytes, size);
            if (*size >= PLMM_FRAME_PREFIX) {
                return plmm_frame_size(size, *bytes, err);
            }
            return plmm_fail(err, PLMM_ERR_NOTFOUND,
                             "%s at %s has no such version, or does not "
                             "know this device",
                             j->c->expert, j->me.address);
        }
        if (news != PLMM_LINE_NEW) {
            plmm_line_give_up(j->line);
            return plmm_fail(err, PLMM_ERR_TIMEOUT, "%s at %s does not answer", j->c->expert,
                             j->me.address);
        }
    }
}

/* The next part of a download; *f.complete at its end. */
static plmm_status fetch_part(join *j, plmm_fetch *f, plmm_error *err)
{
    uint8_t ask_for[PLMM_FRAME_SMALL];
    size_t len = 0, size = 0;
    const uint8_t *bytes = NULL;
    plmm_fetch_part part;
    PLMM_TRY(plmm_fetch_request(f, &j->frames, ask_for, &len, err));
    PLMM_TRY(exchange(j, ask_for, len, &bytes, &size, err));
    size_t got;
    plmm_line_reply(j->line, &bytes, &got);
    if (size > got) {
        return plmm_fail(err, PLMM_ERR_WIRE, "the answer ends inside a frame");
    }
    bool had = f->have_manifest;
    PLMM_TRY(plmm_fetch_receive(f, &j->frames, bytes, size, &part, err));
    if (f->have_manifest && !had) {
        if (f->manifest.version == j->me.version && plmm_equal(&f->hash, &j->me.manifest, 32)) {
            f->complete = true; /* it is the one in use */
            return PLMM_OK;
        }
        PLMM_TRY(plmm_expert_begin(j->c->folder, err));
    }
    return part.len > 0 ? plmm_expert_write(j->c->folder, &f->manifest, &part, err) : PLMM_OK;
}

/* *want NULL: the newest. Downloads, verifies, installs, uses. The old version stays in use until
 * the new one is whole; whatever fails leaves it there. */
static plmm_status fetch(join *j, const plmm_hash *want, plmm_error *err)
{
    plmm_fetch f;
    plmm_fetch_init(&f, &j->me.anchor, j->me.certificate.device, want, j->me.version);
    while (!f.complete) {
        PLMM_TRY(fetch_part(j, &f, err));
    }
    uint64_t old = j->me.version;
    if (f.manifest.version != old || !plmm_equal(&f.hash, &j->me.manifest, 32)) {
        PLMM_TRY(plmm_expert_install(j->c->folder, &f.manifest, err));
        PLMM_TRY(
            plmm_store_expert_use(j->c->store, j->c->expert, f.manifest.version, &f.hash, err));
        j->me.version = f.manifest.version;
        j->me.manifest = f.hash;
        PLMM_TRY(plmm_expert_prune(j->c->folder, j->me.version, old, err));
        plmm_log(PLMM_LOG_INFO, "version.installed", "device=%llu version=%llu bytes=%llu",
                 (unsigned long long)j->me.certificate.device,
                 (unsigned long long)f.manifest.version, (unsigned long long)f.bytes_down);
    }
    j->result->version = j->me.version;
    return j->c->hooks.installed(j->c->hooks.ctx, &f.manifest, &j->policy, err);
}

/* fetch, again while the aggregator is away. */
static plmm_status fetch_patiently(join *j, const plmm_hash *want, plmm_error *err)
{
    plmm_status rc = PLMM_OK;
    for (uint32_t i = 0; i < FETCH_TRIES && stop_wanted == 0; i++) {
        rc = fetch(j, want, err);
        if (rc != PLMM_ERR_TIMEOUT && rc != PLMM_ERR_STALE && rc != PLMM_ERR_NOTFOUND) {
            return rc;
        }
        plmm_clock_sleep_ms((uint64_t)LOST_PAUSE_MS << i);
    }
    return rc;
}

/* ---- the run ---- */

/* What follows from how a round ended. */
static plmm_status after_round(join *j, plmm_error *err)
{
    switch (j->reason) {
    case PLMM_ABORT_NONE:
        return fetch_patiently(j, &j->target, err);
    case PLMM_ABORT_MODEL:
        return fetch_patiently(j, NULL, err);
    case PLMM_ABORT_POLICY:
        return plmm_fail(err, PLMM_ERR_POLICY, "%s", j->result->last);
    case PLMM_ABORT_LIE:
        return plmm_fail(err, PLMM_ERR_PEER, "%s", j->result->last);
    case PLMM_ABORT_LOCAL:
        return plmm_fail(err, PLMM_ERR_STATE, "%s", j->result->last);
    case PLMM_ABORT_TOO_FEW_CHECKINS:
    case PLMM_ABORT_TOO_FEW_KEYS:
    case PLMM_ABORT_TOO_FEW_SHARES:
    case PLMM_ABORT_TOO_FEW_VECTORS:
    case PLMM_ABORT_TOO_FEW_AGREE:
    case PLMM_ABORT_TOO_FEW_REVEALS:
    case PLMM_ABORT_NOT_SELECTED:
    case PLMM_ABORT_DROPPED:
    case PLMM_ABORT_LOST:
    case PLMM_ABORT_SILENCE:
    case PLMM_ABORT_NO_SEAL:
        break;
    }
    if (!patient(j)) {
        return plmm_fail(err, PLMM_ERR_TIMEOUT, "no round completed within %u s; the last one: %s",
                         j->c->patience_ms / 1000, j->result->last);
    }
    /* It may have missed a version; and when it was turned away before it joined a round (over, or
     * full), another begins in a while. */
    plmm_status rc = fetch(j, NULL, err);
    if (rc != PLMM_OK && rc != PLMM_ERR_TIMEOUT && rc != PLMM_ERR_STALE &&
        rc != PLMM_ERR_NOTFOUND) {
        return rc;
    }
    j->turned_away = j->aborted_round != 0 ? 0 : j->turned_away + 1;
    uint64_t pause = (uint64_t)LOST_PAUSE_MS << (j->turned_away < 6 ? j->turned_away : 6);
    /* Not chosen, for example because it is not eligible: only another round can be for it. */
    uint64_t most = j->turned_away > 10 ? 4 * TURNED_AWAY_MS : TURNED_AWAY_MS;
    plmm_clock_sleep_ms(pause < most ? pause : most);
    return PLMM_OK;
}

static plmm_status load_installed(join *j, plmm_error *err)
{
    plmm_manifest m;
    PLMM_TRY(plmm_expert_verify(j->c->folder, j->me.version, &m, err));
    j->result->version = j->me.version;
    return j->c->hooks.installed(j->c->hooks.ctx, &m, &j->policy, err);
}

/* The channels as the last round left them. A table that cannot be read is begun anew: its peers
 * see another key. */
static plmm_status load_channels(join *j, plmm_error *err)
{
    uint8_t *bytes = NULL;
    size_t len = 0;
    plmm_error why = {0};
    PLMM_TRY(plmm_channels_new(&j->channels, CHANNELS, err));
    PLMM_TRY(plmm_store_note_get(j->c->store, j->c->expert, "channels", &bytes, &len, err));
    if (bytes != NULL) {
        if (plmm_channels_decode(j->channels, bytes, len, &why) != PLMM_OK) {
            plmm_log(PLMM_LOG_WARN, "channels.lost", "why=\"%s\"", why.msg);
        }
        plmm_wipe(bytes, len);
        plmm_free(bytes);
    }
    return PLMM_OK;
}

/* What rounds so far cost. An account that cannot be read is not begun anew: that would spend twice. */
static plmm_status load_account(join *j, plmm_error *err)
{
    uint8_t *bytes = NULL;
    size_t len = 0;
    plmm_account_init(&j->spent);
    PLMM_TRY(plmm_store_note_get(j->c->store, j->c->expert, "account", &bytes, &len, err));
    plmm_status rc = bytes == NULL ? PLMM_OK : plmm_account_decode(&j->spent, bytes, len, err);
    plmm_free(bytes);
    return rc;
}

static plmm_status open_all(join *j, plmm_error *err)
{
    char url[PLMM_ADDRESS_BYTES];
    PLMM_TRY(plmm_store_expert_get(j->c->store, j->c->expert, &j->me, err));
    PLMM_TRY(plmm_address_loopback(j->me.address, "cannot join", url, err));
    j->policy = j->c->policy;
    j->policy.anchor = j->me.anchor;
    PLMM_TRY(plmm_frame_key(&j->frames, &j->c->key, &j->me.anchor.aggregator, j->c->expert, err));
    PLMM_TRY(load_channels(j, err));
    PLMM_TRY(load_account(j, err));
    if (!j->c->error_feedback) { /* what was kept is of no use, and tells of the device's data */
        PLMM_TRY(plmm_store_residual_forget(j->c->store, j->c->expert, err));
    }
    PLMM_TRY(plmm_shelf_new(&j->shelf, SHELF, err));
    size_t reply_max = (size_t)PLMM_ROSTER_MAX + (1 << 20);
    PLMM_TRY(plmm_line_open(&j->line, url, reply_max, err));
    j->joined_ms = plmm_clock_ms();
    return PLMM_OK;
}

static plmm_status close_all(join *j, plmm_status rc)
{
    if (j->line != NULL) {
        plmm_line_traffic(j->line, &j->result->bytes_up, &j->result->bytes_down);
        plmm_error err = {0};
        if (plmm_store_expert_traffic(j->c->store, j->c->expert, j->result->bytes_up,
                                      j->result->bytes_down, &err) != PLMM_OK) {
            plmm_log(PLMM_LOG_WARN, "traffic.lost", "why=\"%s\"", err.msg);
        }
    }
    plmm_line_close(j->line);
    plmm_channels_free(j->channels);
    forget_residual(j);
    plmm_shelf_free(j->shelf);
    plmm_free(j->epoch);
    forget_vector(j);
    plmm_free(j->out.v);
    plmm_wipe(&j->frames, sizeof j->frames);
    plmm_free(j);
    return rc;
}

static plmm_status begin(join **out, const plmm_join_config *c, plmm_join_result *result,
                         plmm_error *err)
{
    *result = (plmm_join_result){0};
    join *j = plmm_alloc(1, sizeof *j);
    if (j == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory");
    }
    j->c = c;
    j->result = result;
    *out = j;
    return PLMM_OK;
}

static plmm_status run(join *j, plmm_error *err)
{
    PLMM_TRY(open_all(j, err));
    PLMM_TRY(j->me.version == 0 ? fetch_patiently(j, NULL, err) : load_installed(j, err));
    while (stop_wanted == 0 && (j->c->rounds == 0 || j->result->rounds < j->c->rounds)) {
        PLMM_TRY(one_round(j, err));
        if (j->over) {
            PLMM_TRY(after_round(j, err));
        }
    }
    return PLMM_OK;
}

plmm_status plmm_join_run(const plmm_join_config *c, plmm_join_result *result, plmm_error *err)
{
    join *j = NULL;
    PLMM_TRY(begin(&j, c, result, err));
    return close_all(j, run(j, err));
}

static plmm_status update(join *j, plmm_error *err)
{
    PLMM_TRY(open_all(j, err));
    return fetch_patiently(j, NULL, err);
}

plmm_status plmm_join_update(const plmm_join_config *c, plmm_join_result *result, plmm_error *err)
{
    join *j = NULL;
    PLMM_TRY(begin(&j, c, result, err));
    return close_all(j, update(j, err));
}
