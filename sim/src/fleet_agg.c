/* fleet_agg.c -- the driver of one machine of an aggregator: obeys it, keeps its journal and its
 * vectors, and plays its crash. */
#include "fleet.h"

#include "plmm/alloc.h"
#include "plmm/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static plmm_status step(fleet *f, group *g, plmm_agg_event *ev, plmm_error *err);

void group_forget(group *g)
{
    journal_clear(&g->log);
    plmm_agg_round_free(g->m);
    g->m = NULL;
    plmm_free(g->sum);
    g->sum = NULL;
    g->open = false;
    g->generation++;
    g->tick_at_ms = UINT64_MAX;
}

static const char *name_of(const fleet *f, const group *g)
{
    return f->experts[g->expert].name;
}

/* ---- what the actions ask for ---- */

static plmm_status send_all(fleet *f, group *g, const plmm_agg_action *a, plmm_error *err)
{
    size_t cap = plmm_agg_round_frame_max(g->m);
    uint8_t *frame = plmm_alloc(cap, 1);
    if (frame == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot make a frame of %zu bytes: out of memory",
                         cap);
    }
    plmm_status rc = PLMM_OK;
    size_t len = 0;
    for (uint32_t i = 0; i < a->to_n && rc == PLMM_OK; i++) {
        rc = plmm_agg_round_render(g->m, a->msg, a->to[i], frame, cap, &len, err);
        if (rc == PLMM_OK && a->to[i] >= 1 && a->to[i] <= f->data.n_devices) {
            client *c = fleet_client(f, g->expert, (uint32_t)(a->to[i] - 1));
            rc = fleet_send(f, c, TO_CLIENT, (span){frame, len}, (span){NULL, 0}, err);
        }
    }
    plmm_free(frame);
    return rc;
}

static plmm_status add_input(fleet *f, group *g, const plmm_agg_action *a, plmm_error *err)
{
    bytes *kept = &f->experts[g->expert].stored[a->device - 1];
    if (a->bytes != NULL) {
        PLMM_TRY(bytes_copy(kept, a->bytes, a->len, err));
    }
    return plmm_agg_round_add(g->m, g->sum, kept->p, kept->len, err);
}

static plmm_status drop_inputs(fleet *f, group *g, const plmm_agg_action *a, plmm_error *err)
{
    for (uint32_t i = 0; i < a->to_n; i++) {
        const bytes *kept = &f->experts[g->expert].stored[a->to[i] - 1];
        PLMM_TRY(plmm_agg_round_drop(g->m, g->sum, kept->p, kept->len, err));
    }
    return PLMM_OK;
}

/* What an action leaves to be done once all actions of the step are obeyed. */
typedef struct later {
    uint64_t seq; /* UINT64_MAX: none */
    bool unmask, finished;
    bool seal; /* the answer is there */
    plmm_registrar_answer answer;
} later;

/* The registrar answers at once, and what it wrote down is not lost: it never crashes here. */
static plmm_status ask_seal(fleet *f, group *g, const plmm_agg_action *a, later *l, plmm_error *err)
{
    expert *e = &f->experts[g->expert];
    plmm_enrolled enrolled = {e->enrolled, (uint32_t)f->data.n_devices};
    l->seal = true;
    return plmm_registrar_seal(e->sealer, a->bytes, a->len, &enrolled, &l->answer, err);
}

static plmm_status obey(fleet *f, group *g, const plmm_agg_action *a, later *l, plmm_error *err)
{
    switch (a->type) {
    case PLMM_AGG_DO_SEND:
        return send_all(f, g, a, err);
    case PLMM_AGG_DO_PERSIST:
        l->seq = a->seq;
        return journal_add(&g->log, a->bytes, a->len, err);
    case PLMM_AGG_DO_ADD_INPUT:
        return add_input(f, g, a, err);
    case PLMM_AGG_DO_DROP_INPUT:
        return drop_inputs(f, g, a, err);
    case PLMM_AGG_DO_SEAL:
        return ask_seal(f, g, a, l, err);
    case PLMM_AGG_DO_UNMASK:
        l->unmask = true;
        return PLMM_OK;
    case PLMM_AGG_DO_FINISH:
        l->finished = true;
        return round_check(f, g, err);
    case PLMM_AGG_DO_ABORT:
        (void)snprintf(g->record.reason, sizeof g->record.reason, "%s",
                       a->text != NULL ? a->text : plmm_abort_str(a->reason));
        return PLMM_OK;
    }
    return PLMM_OK;
}

/* ---- phases ---- */

static int phase_kind(plmm_agg_phase p)
{
    switch (p) {
    case PLMM_AGG_GATHER:
        return PLMM_PHASE_CHECKIN;
    case PLMM_AGG_ADVERTISE:
    case PLMM_AGG_SEAL:
        return PLMM_PHASE_ADVERTISE;
    case PLMM_AGG_SHARE:
    case PLMM_AGG_CONFIRM:
        return PLMM_PHASE_SHARE;
    case PLMM_AGG_COLLECT:
        return PLMM_PHASE_TRAIN;
    case PLMM_AGG_DELIVER:
    case PLMM_AGG_AGREE:
        return PLMM_PHASE_AGREE;
    case PLMM_AGG_REVEAL:
    case PLMM_AGG_UNMASK:
        return PLMM_PHASE_REVEAL;
    case PLMM_AGG_NEW:
    case PLMM_AGG_PUBLISH:
    case PLMM_AGG_DONE:
    case PLMM_AGG_ABORTED:
    case PLMM_AGG_PHASES:
        break;
    }
    return -1;
}

/* The step R0..R4 at whose beginning a phase stands, or -1. */
static int phase_step(plmm_agg_phase p)
{
    return p == PLMM_AGG_ADVERTISE ? 0
           : p == PLMM_AGG_SHARE   ? 1
           : p == PLMM_AGG_COLLECT ? 2
           : p == PLMM_AGG_AGREE   ? 3
           : p == PLMM_AGG_REVEAL  ? 4
                                   : -1;
}

/* Books the time since the last change of phase, and notices the end of the round. */
static void watch_phase(fleet *f, group *g)
{
    plmm_agg_status s;
    if (plmm_agg_round_phase(g->m) == g->phase) {
        return;
    }
    plmm_agg_round_status(g->m, &s);
    g->record.invited = s.invited > g->record.invited ? s.invited : g->record.invited;
    g->record.cohort = s.roster;
    g->record.neighbours = s.k;
    g->record.threshold = s.t;
    uint64_t now = f->queue.now_ms;
    int kind = phase_kind(g->phase);
    if (kind >= 0) {
        g->record.phase_ms[kind] += now - g->phase_since_ms;
    }
    if (g->phase == PLMM_AGG_COLLECT) {
        g->collect_end_ms = now;
    }
    if (s.phase == PLMM_AGG_COLLECT) {
        g->train_from_ms = now;
    }
    g->phase = s.phase;
    g->phase_since_ms = now;
    g->record.end_ms = now;
    if (s.phase >= PLMM_AGG_AGREE && s.phase <= PLMM_AGG_PUBLISH) {
        privacy_released(f, g);
    }
    if (s.phase == PLMM_AGG_DONE || s.phase == PLMM_AGG_ABORTED) {
        g->running = false;
        g->record.completed = s.phase == PLMM_AGG_DONE;
    }
}

static plmm_status arm(fleet *f, group *g, plmm_error *err)
{
    uint64_t at = plmm_agg_round_deadline(g->m);
    if (at == UINT64_MAX || at >= g->tick_at_ms) {
        return PLMM_OK;
    }
    at = at > f->queue.now_ms ? at : f->queue.now_ms + 1;
    g->tick_at_ms = at;
    return fleet_post(f, EV_AGG_TICK, fleet_party(f, g), at - f->queue.now_ms, g->generation, err);
}

/* Memory is lost: the machine and the running sum. The journal and the stored vectors are not. */
static plmm_status crash(fleet *f, group *g, plmm_error *err)
{
    plmm_agg_round_free(g->m);
    g->m = NULL;
    g->crash_step = -1;
    g->generation++;
    g->tick_at_ms = UINT64_MAX;
    g->record.restarts++;
    return fleet_post(f, EV_AGG_BACK, fleet_party(f, g), f->cfg->faults.restart_ms, 0, err);
}

static plmm_status follow(fleet *f, group *g, later *l, plmm_agg_event *ev, bool *more,
                          plmm_error *err)
{
    *more = true;
    if (l->seq != UINT64_MAX) {
        *ev = (plmm_agg_event){.type = PLMM_AGG_EV_PERSISTED, .seq = l->seq};
    } else if (l->seal) {
        *ev = (plmm_agg_event){
            .type = PLMM_AGG_EV_SEALED, .bytes = l->answer.frame, .len = l->answer.frame_len};
        l->seal = false;
    } else if (l->unmask) {
        uint64_t start = plmm_clock_us();
        *ev = (plmm_agg_event){.type = PLMM_AGG_EV_UNMASKED};
        PLMM_TRY(plmm_agg_round_unmask(g->m, g->sum, &ev->unmasked, err));
        f->watch.sum_us += plmm_clock_us() - start;
    } else {
        g->open = g->open || l->finished;
        *more = false;
    }
    ev->now_ms = f->queue.now_ms;
    return PLMM_OK;
}

static plmm_status step(fleet *f, group *g, plmm_agg_event *ev, plmm_error *err)
{
    plmm_agg_actions acts;
    ev->now_ms = f->queue.now_ms;
    later l = {.seq = UINT64_MAX};
    for (bool more = true; more;) {
        plmm_error why;
        plmm_status rc = plmm_agg_round_step(g->m, ev, &acts, &why);
        if (rc == PLMM_ERR_PEER) {
            return plmm_fail(err, rc, "expert %s blames an honest device: %s", name_of(f, g),
                             why.msg);
        }
        if (rc != PLMM_OK && rc != PLMM_ERR_STALE) {
            return plmm_fail(err, rc, "expert %s in phase %s: %s", name_of(f, g),
                             plmm_agg_phase_str(g->phase), why.msg);
        }
        l.seq = UINT64_MAX;
        l.unmask = l.unmask && ev->type == PLMM_AGG_EV_PERSISTED;
        l.finished = l.finished && ev->type == PLMM_AGG_EV_PERSISTED;
        for (uint32_t i = 0; i < acts.n; i++) {
            PLMM_TRY(obey(f, g, &acts.v[i], &l, err));
        }
        watch_phase(f, g);
        if (g->crash_step >= 0 && g->crash_step == phase_step(g->phase)) {
            return crash(f, g, err);
        }
        PLMM_TRY(follow(f, g, &l, ev, &more, err));
    }
    PLMM_TRY(arm(f, g, err));
    return round_settle(f, &f->experts[g->expert], err);
}

plmm_status agg_start(fleet *f, group *g, plmm_error *err)
{
    g->sum = plmm_alloc(plmm_round_sum_bytes(&g->config.params), 1);
    if (g->sum == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot hold a sum of %" PRIu32 ": out of memory",
                         g->config.params.length);
    }
    PLMM_TRY(plmm_agg_round_new(&g->m, &g->config, err));
    plmm_agg_event ev = {.type = PLMM_AGG_EV_START};
    fleet_seed(f, &ev.seed, "aggregator round", (uint64_t)g->index << 32 | g->expert,
               g->generation);
    g->seed = ev.seed;
    return step(f, g, &ev, err);
}

plmm_status agg_published(fleet *f, group *g, plmm_error *err)
{
    g->open = false;
    plmm_agg_event ev = {.type = PLMM_AGG_EV_PUBLISHED, .model = f->experts[g->expert].hash};
    return step(f, g, &ev, err);
}

plmm_status agg_frame(fleet *f, group *g, const uint8_t *p, size_t len, plmm_error *err)
{
    if (g->m == NULL) {
        return PLMM_OK; /* nobody is there; the device will try again */
    }
    plmm_frame peek;
    if (plmm_frame_peek(&peek, p, len, NULL) == PLMM_OK && peek.round != 0 &&
        peek.round < g->config.params.round) {
        return PLMM_OK; /* it was down for longer than its round, and will give up */
    }
    plmm_agg_event ev = {.type = PLMM_AGG_EV_FRAME, .bytes = p, .len = len};
    return step(f, g, &ev, err);
}

plmm_status agg_tick(fleet *f, group *g, plmm_error *err)
{
    if (g->m == NULL || f->queue.now_ms < g->tick_at_ms) {
        return PLMM_OK;
    }
    g->tick_at_ms = UINT64_MAX;
    if (plmm_agg_round_deadline(g->m) > f->queue.now_ms) {
        return arm(f, g, err);
    }
    plmm_agg_event ev = {.type = PLMM_AGG_EV_TICK};
    return step(f, g, &ev, err);
}

plmm_status agg_back(fleet *f, group *g, plmm_error *err)
{
    PLMM_TRY(plmm_agg_round_new(&g->m, &g->config, err));
    memset(g->sum, 0, plmm_round_sum_bytes(&g->config.params));
    plmm_agg_actions acts;
    later none = {.seq = UINT64_MAX};
    for (size_t i = 0; i < g->log.n; i++) {
        PLMM_TRY(plmm_agg_round_replay(g->m, g->log.v[i].p, g->log.v[i].len, &acts, err));
        for (uint32_t k = 0; k < acts.n; k++) {
            PLMM_TRY(obey(f, g, &acts.v[k], &none, err));
        }
    }
    plmm_agg_event ev = {.type = PLMM_AGG_EV_RESUME};
    PLMM_TRY(step(f, g, &ev, err));
    for (uint32_t d = 0; d < f->data.n_devices; d++) { /* every connection is a new one */
        client *c = fleet_client(f, g->expert, d);
        if (c->group != g->index) {
            continue;
        }
        PLMM_TRY(client_linked(f, c, err));
        if (g->m != NULL && c->m != NULL) {
            plmm_agg_event link = {.type = PLMM_AGG_EV_LINK, .device = c->id};
            PLMM_TRY(step(f, g, &link, err));
        }
    }
    return PLMM_OK;
}
