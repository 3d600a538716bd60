/* fleet_client.c -- the driver of a device's machine: it obeys actions, plays crashes and restarts,
 * and holds no decision of the protocol. */
#include "fleet.h"

#include "plmm/alloc.h"

#include <string.h>

static plmm_status step(fleet *f, client *c, plmm_client_event *ev, plmm_error *err);

static void drop_round(fleet *f, client *c)
{
    job_forget(f, c);
    journal_clear(&c->log);
    bytes_free(&c->upload);
    plmm_client_round_free(c->m);
    c->m = NULL;
    c->down = false;
    c->generation++;
    c->tick_at_ms = UINT64_MAX;
}

void client_free(client *c)
{
    journal_clear(&c->log);
    bytes_free(&c->upload);
    bytes_free(&c->epoch);
    plmm_client_round_free(c->m);
    plmm_channels_free(c->channels);
    plmm_free(c->plain);
    plmm_free(c->delta);
    plmm_free(c->spent);
    plmm_feedback_free(&c->feedback);
    plmm_wipe(&c->key, sizeof c->key);
    plmm_wipe(&c->frames, sizeof c->frames);
    *c = (client){0};
}

plmm_status client_frames(fleet *f, client *c, plmm_error *err)
{
    const plmm_anchor *a = &f->experts[c->expert].policy.anchor;
    return plmm_is_zero(&c->frames, sizeof c->frames)
               ? plmm_frame_key(&c->frames, &c->key, &a->aggregator, a->expert, err)
               : PLMM_OK;
}

static plmm_status new_machine(fleet *f, client *c, plmm_error *err)
{
    expert *e = &f->experts[c->expert];
    PLMM_TRY(client_frames(f, c, err));
    if (c->channels == NULL && f->cfg->secagg.channels > 0) {
        PLMM_TRY(plmm_channels_new(&c->channels, f->cfg->secagg.channels, err));
    }
    plmm_client_config config = {.policy = e->policy,
                                 .certificate = c->certificate,
                                 .key = c->key,
                                 .frames = c->frames,
                                 .model = c->version,
                                 .last_round = c->last_round,
                                 .last_attempt = c->last_attempt,
                                 .resend_ms = f->cfg->secagg.resend_ms,
                                 .silence_ms = f->cfg->secagg.silence_ms,
                                 .link = c->link,
                                 .channels = c->channels,
                                 .shelf = f->shelf,
                                 .epoch = c->epoch.p,
                                 .epoch_len = c->epoch.len};
    if (c->spent != NULL) {
        config.spent = *c->spent;
    }
    plmm_status rc = plmm_client_round_new(&c->m, &config, err);
    plmm_wipe(&config.key, sizeof config.key);
    plmm_wipe(&config.frames, sizeof config.frames);
    return rc;
}

/* The queue holds at most one tick that counts: the earliest. */
static plmm_status arm(fleet *f, client *c, plmm_error *err)
{
    if (c->m == NULL) {
        return PLMM_OK;
    }
    uint64_t at = plmm_client_round_deadline(c->m);
    if (at == UINT64_MAX || at >= c->tick_at_ms) {
        return PLMM_OK;
    }
    at = at > f->queue.now_ms ? at : f->queue.now_ms + 1;
    c->tick_at_ms = at;
    return fleet_post(f, EV_CLIENT_TICK, (uint32_t)(c - f->clients), at - f->queue.now_ms,
                      c->generation, err);
}

/* What a machine that hears nothing any more, or cannot do its part, does in the end: it leaves, and
 * steps the channels on. */
static void give_up(fleet *f, client *c)
{
    plmm_client_state s = plmm_client_round_state(c->m);
    bool busy = s == PLMM_CLIENT_TRAINING || s == PLMM_CLIENT_MASKING;
    plmm_client_event ev = {.type = busy ? PLMM_CLIENT_EV_FAILED : PLMM_CLIENT_EV_TICK,
                            .now_ms = f->queue.now_ms + f->cfg->secagg.silence_ms};
    plmm_client_actions acts;
    plmm_status rc = plmm_client_round_step(c->m, &ev, &acts, NULL);
    PLMM_ASSERT(rc == PLMM_OK && acts.n == 1 && acts.v[0].type == PLMM_CLIENT_DO_ABORT);
    c->link = acts.v[0].link;
}

/* The device is gone for this round, and with it whatever it had not sent. */
static plmm_status vanish(fleet *f, client *c, int step_gone, plmm_error *err)
{
    if (step_gone >= 0) {
        fleet_group_of(f, c)->record.dropped[step_gone]++;
    }
    uint64_t round = 0;
    uint32_t attempt = 0;
    plmm_client_round_name(c->m, &round, &attempt);
    if (round != 0) {
        c->last_round = round;
        c->last_attempt = attempt;
    }
    give_up(f, c);
    plmm_status rc = epoch_left(c, err);
    drop_round(f, c);
    return rc;
}

/* Memory is lost, the journal is not. */
static plmm_status crash(fleet *f, client *c, plmm_error *err)
{
    plmm_client_round_free(c->m);
    plmm_feedback_free(&c->feedback);
    c->m = NULL;
    c->down = true;
    c->generation++;
    c->tick_at_ms = UINT64_MAX;
    c->fate.crash_step = -1;
    fleet_group_of(f, c)->record.restarts++;
    return fleet_post(f, EV_CLIENT_BACK, (uint32_t)(c - f->clients), f->cfg->faults.restart_ms,
                      c->generation, err);
}

/* Whether the fates let c send its answer to a step; if not it is gone or down. */
static plmm_status may_answer(fleet *f, client *c, int answers, bool *may, plmm_error *err)
{
    *may = true;
    if (answers < 0) {
        return PLMM_OK;
    }
    if (c->fate.drop_step == answers) {
        *may = false;
        return vanish(f, c, answers, err);
    } else if (c->fate.crash_step == answers) {
        *may = false;
        return crash(f, c, err);
    }
    return PLMM_OK;
}

static plmm_status send(fleet *f, client *c, const plmm_client_action *a, bool *gone,
                        plmm_error *err)
{
    bool upload = a->type == PLMM_CLIENT_DO_SEND_UPLOAD;
    int answers = 2;
    if (!upload) {
        plmm_frame frame;
        PLMM_TRY(plmm_frame_decode(&frame, a->bytes, a->len, err));
        answers = step_of_message(frame.type);
    }
    bool may = true;
    PLMM_TRY(may_answer(f, c, answers, &may, err));
    *gone = !may;
    if (!may) {
        return PLMM_OK;
    }
    span head = {a->bytes, a->len};
    span tail = {upload ? c->upload.p : NULL, upload ? c->upload.len : 0};
    return fleet_send(f, c, TO_AGG, head, tail, err);
}

static plmm_status train(fleet *f, client *c, const plmm_client_action *a, bool *gone,
                         plmm_error *err)
{
    if (c->fate.drop_step == 2) { /* it leaves while it trains: nobody will see what it learned */
        *gone = true;
        return vanish(f, c, 2, err);
    }
    c->params = *a->params;
    holder *h = &f->holders[c->device];
    uint64_t from = h->busy_until_ms > f->queue.now_ms ? h->busy_until_ms : f->queue.now_ms;
    h->busy_until_ms = from + job_training_ms(f, c, a->params);
    PLMM_TRY(job_train(f, c, err));
    return fleet_post(f, EV_TRAINED, (uint32_t)(c - f->clients), h->busy_until_ms - f->queue.now_ms,
                      c->generation, err);
}

/* The round is over for c: it notes it, forgets its secrets, and fetches what is new. */
static plmm_status finish(fleet *f, client *c, const plmm_client_action *a, plmm_error *err)
{
    bool again = a->type == PLMM_CLIENT_DO_ABORT && a->reason == PLMM_ABORT_MODEL;
    bool fetch = again || a->type == PLMM_CLIENT_DO_FINISH;
    if (a->type == PLMM_CLIENT_DO_ABORT && a->reason == PLMM_ABORT_DROPPED && c->entered) {
        fleet_group_of(f, c)->record.late++;
    }
    c->link = a->link;
    if (a->round != 0) {
        c->last_round = a->round;
        c->last_attempt = a->attempt;
    }
    plmm_feedback_settle(&c->feedback, a->type == PLMM_CLIENT_DO_FINISH);
    PLMM_TRY(epoch_left(c, err));
    drop_round(f, c);
    if (!fetch) {
        return PLMM_OK;
    }
    uint64_t ms = 0;
    PLMM_TRY(version_fetch(f, c, &ms, err));
    return again ? fleet_post(f, EV_CHECKIN, (uint32_t)(c - f->clients), ms, c->generation, err)
                 : PLMM_OK;
}

static plmm_status persist(client *c, const plmm_client_action *a, uint64_t *seq, plmm_error *err)
{
    *seq = a->seq;
    return journal_add(&c->log, a->bytes, a->len, err);
}

/* Obeys one action. *gone: the machine is no more. *seq: a record to be reported durable. */
static plmm_status obey(fleet *f, client *c, const plmm_client_action *a, bool *gone, uint64_t *seq,
                        plmm_error *err)
{
    switch (a->type) {
    case PLMM_CLIENT_DO_SEND:
    case PLMM_CLIENT_DO_SEND_UPLOAD:
        return send(f, c, a, gone, err);
    case PLMM_CLIENT_DO_PERSIST_UPLOAD: /* the vector is in c->upload already */
        PLMM_TRY(privacy_uploads(f, c, err));
        return persist(c, a, seq, err);
    case PLMM_CLIENT_DO_PERSIST:
        return persist(c, a, seq, err);
    case PLMM_CLIENT_DO_TRAIN:
        return train(f, c, a, gone, err);
    case PLMM_CLIENT_DO_MASK:
        return fleet_post(f, EV_MASK, (uint32_t)(c - f->clients), 1, c->generation, err);
    case PLMM_CLIENT_DO_FINISH:
    case PLMM_CLIENT_DO_ABORT:
        *gone = true;
        return finish(f, c, a, err);
    }
    return PLMM_OK;
}

static plmm_status step(fleet *f, client *c, plmm_client_event *ev, plmm_error *err)
{
    plmm_client_actions acts;
    ev->now_ms = f->queue.now_ms;
    for (bool more = true; more;) {
        more = false;
        plmm_error why;
        plmm_status rc = plmm_client_round_step(c->m, ev, &acts, &why);
        if (rc == PLMM_ERR_STALE || rc == PLMM_ERR_PEER) {
            return arm(f, c, err); /* late, doubled or overtaken: links do that */
        }
        if (rc != PLMM_OK) {
            return plmm_fail(err, rc, "device %u of %s in state %s: %s", c->device,
                             f->experts[c->expert].name,
                             plmm_client_state_str(plmm_client_round_state(c->m)), why.msg);
        }
        bool gone = false;
        uint64_t seq = UINT64_MAX;
        c->entered = c->entered || plmm_client_round_state(c->m) == PLMM_CLIENT_ADVERTISED;
        for (uint32_t i = 0; i < acts.n && !gone; i++) {
            PLMM_TRY(obey(f, c, &acts.v[i], &gone, &seq, err));
        }
        if (gone) {
            return PLMM_OK;
        }
        if (seq != UINT64_MAX) { /* the journal is durable at once */
            *ev = (plmm_client_event){
                .type = PLMM_CLIENT_EV_PERSISTED, .seq = seq, .now_ms = f->queue.now_ms};
            more = true;
        }
    }
    return arm(f, c, err);
}

plmm_status client_check_in(fleet *f, client *c, plmm_error *err)
{
    if (c->m != NULL || c->down) {
        return PLMM_OK; /* still busy with an earlier round */
    }
    PLMM_TRY(new_machine(f, c, err));
    plmm_client_event ev = {.type = PLMM_CLIENT_EV_START};
    fleet_seed(f, &ev.seed, "client round", (uint64_t)c->expert << 32 | c->device, c->generation);
    c->seed = ev.seed;
    return step(f, c, &ev, err);
}

plmm_status client_frame(fleet *f, client *c, const uint8_t *p, size_t len, plmm_error *err)
{
    if (c->m == NULL) {
        return PLMM_OK;
    }
    plmm_client_event ev = {.type = PLMM_CLIENT_EV_FRAME, .bytes = p, .len = len};
    return step(f, c, &ev, err);
}

plmm_status client_tick(fleet *f, client *c, plmm_error *err)
{
    if (c->m == NULL || f->queue.now_ms < c->tick_at_ms) {
        return PLMM_OK; /* an earlier tick took its place */
    }
    c->tick_at_ms = UINT64_MAX;
    if (plmm_client_round_deadline(c->m) > f->queue.now_ms) {
        return arm(f, c, err);
    }
    plmm_client_event ev = {.type = PLMM_CLIENT_EV_TICK};
    return step(f, c, &ev, err);
}

plmm_status client_linked(fleet *f, client *c, plmm_error *err)
{
    if (c->m == NULL) {
        return PLMM_OK;
    }
    plmm_client_event ev = {.type = PLMM_CLIENT_EV_LINK};
    return step(f, c, &ev, err);
}

plmm_status client_back(fleet *f, client *c, plmm_error *err)
{
    c->down = false;
    if (c->log.n == 0) {
        return client_check_in(f, c, err);
    }
    PLMM_TRY(new_machine(f, c, err));
    for (size_t i = 0; i < c->log.n; i++) {
        PLMM_TRY(plmm_client_round_replay(c->m, c->log.v[i].p, c->log.v[i].len, err));
    }
    plmm_client_event ev = {.type = PLMM_CLIENT_EV_RESUME};
    return step(f, c, &ev, err);
}

plmm_status client_trained(fleet *f, client *c, plmm_error *err)
{
    if (c->m == NULL || plmm_client_round_state(c->m) != PLMM_CLIENT_TRAINING) {
        return PLMM_OK;
    }
    PLMM_TRY(job_need(f, c, err));
    c->trained_at_ms = f->queue.now_ms;
    plmm_client_event ev = {.type =
                                c->job == JOB_DONE ? PLMM_CLIENT_EV_TRAINED : PLMM_CLIENT_EV_FAILED,
                            .weight = c->stats.examples};
    return step(f, c, &ev, err);
}

plmm_status client_mask(fleet *f, client *c, plmm_error *err)
{
    if (c->m == NULL || plmm_client_round_state(c->m) != PLMM_CLIENT_MASKING) {
        return PLMM_OK;
    }
    plmm_client_event ev = {.type = PLMM_CLIENT_EV_MASKED};
    PLMM_TRY(job_mask(f, c, &ev.digest, err));
    return step(f, c, &ev, err);
}
