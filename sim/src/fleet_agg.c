/* fleet_agg.c -- the driver of an expert's aggregator: obeys its machine, keeps its journal and its
 * vectors, plays its crash, merges the sum, and watches from outside: the checker's books are its
 * own. */
#include "fleet.h"

#include "plmm/alloc.h"
#include "plmm/clock.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static plmm_status step(fleet *f, expert *e, plmm_agg_event *ev, plmm_error *err);

static void forget_vectors(fleet *f, expert *e)
{
    journal_clear(&e->log);
    for (size_t i = 0; e->stored != NULL && i < f->data.n_devices; i++) {
        bytes_free(&e->stored[i]);
    }
}

void expert_free(fleet *f, expert *e)
{
    forget_vectors(f, e);
    plmm_agg_round_free(e->m);
    plmm_adapter_free(e->adapter);
    plmm_adapter_free(e->next);
    bytes_free(&e->file);
    plmm_free(e->stored);
    plmm_free(e->survivors);
    plmm_free(e->sum);
    for (size_t k = 0; k < SIM_KINDS; k++) {
        plmm_examples_free(&e->questions[k]);
    }
    plmm_wipe(&e->key, sizeof e->key);
    plmm_wipe(&e->registrar_key, sizeof e->registrar_key);
    *e = (expert){0};
}

/* ---- the round's parameters ---- */

static plmm_status fill_params(const fleet *f, const expert *e, plmm_round_params *p,
                               plmm_error *err)
{
    const plmm_sim_config *c = f->cfg;
    plmm_factor factor = plmm_method_factor(f->method, e->round - 1);
    *p = (plmm_round_params){.round = e->round,
                             .attempt = e->attempt,
                             .cohort = c->secagg.cohort,
                             .n_min = c->secagg.n_min,
                             .gamma_ppm = e->policy.gamma_ppm,
                             .delta_ppm = (uint32_t)(c->secagg.delta * 1e6 + 0.5),
                             .sigma = c->secagg.sigma,
                             .eta = c->secagg.eta,
                             .trust = e->policy.trust,
                             .protocol = PLMM_PROTOCOL_SECAGG,
                             .mask = PLMM_MASK_RING,
                             .stream = PLMM_STREAM_CHACHA20,
                             .rate = UINT32_MAX,
                             .groups = 1,
                             .quant_bits = c->secagg.quant_bits,
                             .weight_max = c->secagg.weight_max,
                             .clip = c->secagg.clip,
                             .length = (uint32_t)plmm_travel_count(e->adapter, factor),
                             .method = (uint32_t)f->method,
                             .factor = (uint32_t)factor,
                             .model = e->hash,
                             .steps = c->train.steps,
                             .batch_tokens = c->train.batch_tokens,
                             .learning_rate = c->train.learning_rate};
    memcpy(p->expert, e->name, strlen(e->name) + 1);
    for (uint32_t i = 0; i < e->policy.vectors_n; i++) {
        if (e->policy.vectors[i].factor == p->factor) {
            p->names = e->policy.vectors[i].names;
        }
    }
    plmm_encoding enc = plmm_round_encoding(p);
    p->ring_bits = plmm_encoding_ring_bits(&enc);
    return plmm_round_params_check(p, err);
}

/* Fewest devices for which a graph protects; with the configured number if there is one. */
static uint32_t roster_min(const fleet *f, const plmm_round_params *p)
{
    uint32_t least = f->cfg->secagg.roster_min;
    if (least == 0) {
        least = (uint32_t)ceil((1 - f->cfg->secagg.delta) * p->cohort);
    }
    least = least < p->n_min ? p->n_min : least;
    plmm_graph_params g = plmm_round_graph(p, p->cohort);
    uint32_t n = plmm_graph_smallest(&g, least, p->cohort);
    return n == 0 ? p->cohort : n;
}

static bool eligible(fleet *f, const expert *e, uint32_t d)
{
    const client *c = fleet_client(f, e->index, d);
    return c->m == NULL && !c->down &&
           f->holders[d].examples[e->index].n >= f->cfg->train.examples_min;
}

static void begin_record(fleet *f, expert *e)
{
    e->record = (plmm_round_record){.seed_index = f->seed_index,
                                    .expert = e->index,
                                    .slot = f->slot,
                                    .round = (uint32_t)e->round,
                                    .attempt = e->attempt,
                                    .bits = e->config.params.ring_bits,
                                    .length = e->config.params.length,
                                    .start_ms = f->queue.now_ms,
                                    .end_ms = f->queue.now_ms,
                                    .train_loss = (double)NAN,
                                    .update_norm = (double)NAN,
                                    .clipped = (double)NAN};
    e->recorded = false;
    e->phase = PLMM_AGG_NEW;
    e->phase_since_ms = f->queue.now_ms;
}

/* A round without enough devices to begin with: recorded as such. */
static plmm_status skip_round(fleet *f, expert *e, uint32_t n, plmm_error *err)
{
    e->running = false;
    (void)snprintf(e->record.reason, sizeof e->record.reason,
                   "only %" PRIu32 " devices have %" PRIu32 " examples or more, %" PRIu32
                   " are needed",
                   n, f->cfg->train.examples_min, e->config.roster_min);
    PLMM_TRY(score_slot(f, e, err));
    return fleet_round_ended(f, err);
}

static plmm_status call_devices(fleet *f, expert *e, plmm_error *err)
{
    uint64_t name = e->round << 8 | (e->attempt & 0xff);
    e->crash_step = plmm_aggregator_fate_draw(&f->cfg->faults, f->seed ^ e->index, name);
    for (uint32_t d = 0; d < f->data.n_devices; d++) {
        client *c = fleet_client(f, e->index, d);
        c->entered = false;
        c->fate = (plmm_round_fate){-1, -1, 0};
        if (eligible(f, e, d)) {
            c->fate = plmm_fate_draw(&f->cfg->faults, f->seed + (uint64_t)e->index * 7919, d, name);
            PLMM_TRY(fleet_post(f, EV_CHECKIN, (uint32_t)(c - f->clients), c->fate.checkin_ms,
                                c->generation, err));
        }
    }
    return PLMM_OK;
}

plmm_status agg_start_round(fleet *f, expert *e, plmm_error *err)
{
    const plmm_sim_config *c = f->cfg;
    if (e->next != NULL) { /* published in the last round: from now on it is what is trained */
        plmm_adapter_free(e->adapter);
        e->adapter = e->next;
        e->next = NULL;
        e->round++;
        e->attempt = 0;
    }
    e->attempt++;
    forget_vectors(f, e);
    plmm_agg_round_free(e->m);
    e->m = NULL;
    e->generation++;
    e->tick_at_ms = UINT64_MAX;
    uint32_t n = 0;
    for (uint32_t d = 0; d < f->data.n_devices; d++) {
        n += eligible(f, e, d);
    }
    plmm_agg_config *g = &e->config;
    *g = (plmm_agg_config){.key = e->key,
                           .registrar = e->registrar,
                           .checkins_max = n > c->secagg.cohort ? n : c->secagg.cohort,
                           .over_ppm = (uint32_t)(c->secagg.over * 1e6 + 0.5),
                           .gather_ms = c->secagg.gather_ms,
                           .phase_ms = c->secagg.phase_ms,
                           .train_ms = c->secagg.train_ms};
    PLMM_TRY(fill_params(f, e, &g->params, err));
    g->roster_min = roster_min(f, &g->params);
    f->told = f->told.round == 0 ? g->params : f->told;
    begin_record(f, e);
    e->running = true;
    if (n < g->roster_min) {
        return skip_round(f, e, n, err);
    }
    plmm_free(e->sum);
    e->sum = plmm_alloc(plmm_round_sum_bytes(&g->params), 1);
    if (e->sum == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot hold a sum of %" PRIu32 ": out of memory",
                         g->params.length);
    }
    PLMM_TRY(call_devices(f, e, err));
    PLMM_TRY(plmm_agg_round_new(&e->m, g, err));
    plmm_agg_event ev = {.type = PLMM_AGG_EV_START};
    fleet_seed(f, &ev.seed, "aggregator round", e->index, e->generation);
    return step(f, e, &ev, err);
}

/* ---- the checker ---- */

/* The unmasked sum against the plain sum of what the survivors put in, to the bit. */
static plmm_status check_sum(fleet *f, expert *e, uint32_t n, plmm_error *err)
{
    size_t lanes = plmm_round_lanes(&e->config.params);
    uint32_t bits = e->config.params.ring_bits;
    uint32_t *plain = plmm_alloc(lanes, sizeof *plain);
    if (plain == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot check a sum: out of memory");
    }
    double loss = 0;
    double clipped = 0;
    uint64_t trained = e->train_from_ms;
    for (uint32_t i = 0; i < n; i++) {
        client *c = fleet_client(f, e->index, (uint32_t)(e->survivors[i] - 1));
        plmm_ring_add(plain, c->plain, lanes, bits);
        loss += c->stats.loss_mean;
        clipped += c->stats.delta_norm > e->config.params.clip;
        trained = c->trained_at_ms > trained ? c->trained_at_ms : trained;
    }
    if (f->options->spoil_sums) {
        e->sum[lanes / 2] ^= 1;
    }
    e->record.sum_checked = true;
    e->record.sum_exact = memcmp(plain, e->sum, lanes * sizeof *plain) == 0;
    e->record.train_loss = loss / n;
    e->record.clipped = clipped / n;
    e->record.phase_ms[PLMM_PHASE_TRAIN] = trained - e->train_from_ms;
    e->record.phase_ms[PLMM_PHASE_UPLOAD] = e->collect_end_ms - trained;
    plmm_free(plain);
    return PLMM_OK;
}

/* ---- what the actions ask for ---- */

static plmm_status send_all(fleet *f, expert *e, const plmm_agg_action *a, plmm_error *err)
{
    size_t cap = plmm_agg_round_frame_max(e->m);
    uint8_t *frame = plmm_alloc(cap, 1);
    if (frame == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot make a frame of %zu bytes: out of memory",
                         cap);
    }
    plmm_status rc = PLMM_OK;
    size_t len = 0;
    for (uint32_t i = 0; i < a->to_n && rc == PLMM_OK; i++) {
        if (i == 0 || !a->same) {
            rc = plmm_agg_round_render(e->m, a->msg, a->to[i], frame, cap, &len, err);
        }
        if (rc == PLMM_OK && a->to[i] >= 1 && a->to[i] <= f->data.n_devices) {
            client *c = fleet_client(f, e->index, (uint32_t)(a->to[i] - 1));
            rc = fleet_send(f, c, TO_CLIENT, (span){frame, len}, (span){NULL, 0}, err);
        }
    }
    plmm_free(frame);
    return rc;
}

static plmm_status add_input(expert *e, const plmm_agg_action *a, plmm_error *err)
{
    bytes *kept = &e->stored[a->device - 1];
    if (a->bytes != NULL) {
        PLMM_TRY(bytes_copy(kept, a->bytes, a->len, err));
    }
    return plmm_agg_round_add(e->m, e->sum, kept->p, kept->len, err);
}

static plmm_status merge(fleet *f, expert *e, uint32_t n, plmm_error *err)
{
    uint32_t count = 0;
    plmm_agg_round_survivors(e->m, e->survivors, &count);
    PLMM_ASSERT(count == n);
    PLMM_TRY(check_sum(f, e, n, err));
    plmm_merge_params p = {f->method, plmm_server_opt_default(), e->round - 1};
    plmm_encoding enc = plmm_round_encoding(&e->config.params);
    plmm_merge_stats stats;
    PLMM_TRY(plmm_merge(&p, &enc, e->adapter, e->sum, plmm_round_lanes(&e->config.params), n,
                        &e->next, &stats, err));
    e->record.update_norm = stats.mean_norm;
    e->record.survivors = n;
    e->version = e->round;
    return version_publish(f, e, e->next, n, err);
}

/* What an action leaves to be done once all actions of the step are obeyed. */
typedef struct later {
    uint64_t seq; /* UINT64_MAX: none */
    bool unmask, finished;
} later;

static plmm_status obey(fleet *f, expert *e, const plmm_agg_action *a, later *l, plmm_error *err)
{
    switch (a->type) {
    case PLMM_AGG_DO_SEND:
        return send_all(f, e, a, err);
    case PLMM_AGG_DO_PERSIST:
        l->seq = a->seq;
        return journal_add(&e->log, a->bytes, a->len, err);
    case PLMM_AGG_DO_ADD_INPUT:
        return add_input(e, a, err);
    case PLMM_AGG_DO_UNMASK:
        l->unmask = true;
        return PLMM_OK;
    case PLMM_AGG_DO_FINISH:
        l->finished = true;
        return merge(f, e, a->n, err);
    case PLMM_AGG_DO_ABORT:
        (void)snprintf(e->record.reason, sizeof e->record.reason, "%s",
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
        return PLMM_PHASE_ADVERTISE;
    case PLMM_AGG_SHARE:
    case PLMM_AGG_CONFIRM:
        return PLMM_PHASE_SHARE;
    case PLMM_AGG_COLLECT:
        return PLMM_PHASE_TRAIN;
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
static plmm_status watch_phase(fleet *f, expert *e, plmm_error *err)
{
    plmm_agg_status s;
    plmm_agg_round_status(e->m, &s);
    e->record.invited = s.invited > e->record.invited ? s.invited : e->record.invited;
    e->record.cohort = s.roster;
    e->record.neighbours = s.k;
    e->record.threshold = s.t;
    if (s.phase == e->phase) {
        return PLMM_OK;
    }
    uint64_t now = f->queue.now_ms;
    int kind = phase_kind(e->phase);
    if (kind >= 0) {
        e->record.phase_ms[kind] += now - e->phase_since_ms;
    }
    if (e->phase == PLMM_AGG_COLLECT) {
        e->collect_end_ms = now;
    }
    if (s.phase == PLMM_AGG_COLLECT) {
        e->train_from_ms = now;
    }
    e->phase = s.phase;
    e->phase_since_ms = now;
    e->record.end_ms = now;
    if ((s.phase == PLMM_AGG_DONE || s.phase == PLMM_AGG_ABORTED) && e->running) {
        e->running = false;
        e->record.completed = s.phase == PLMM_AGG_DONE;
        PLMM_TRY(score_slot(f, e, err));
        return fleet_round_ended(f, err);
    }
    return PLMM_OK;
}

static plmm_status arm(fleet *f, expert *e, plmm_error *err)
{
    uint64_t at = plmm_agg_round_deadline(e->m);
    if (at == UINT64_MAX || at >= e->tick_at_ms) {
        return PLMM_OK;
    }
    at = at > f->queue.now_ms ? at : f->queue.now_ms + 1;
    e->tick_at_ms = at;
    return fleet_post(f, EV_AGG_TICK, e->index, at - f->queue.now_ms, e->generation, err);
}

/* Memory is lost: the machine and the running sum. The journal and the stored vectors are not. */
static plmm_status crash(fleet *f, expert *e, plmm_error *err)
{
    plmm_agg_round_free(e->m);
    e->m = NULL;
    e->crash_step = -1;
    e->generation++;
    e->tick_at_ms = UINT64_MAX;
    e->record.restarts++;
    return fleet_post(f, EV_AGG_BACK, e->index, f->cfg->faults.restart_ms, 0, err);
}

static plmm_status follow(fleet *f, expert *e, const later *l, plmm_agg_event *ev, bool *more,
                          plmm_error *err)
{
    *more = true;
    if (l->seq != UINT64_MAX) {
        *ev = (plmm_agg_event){.type = PLMM_AGG_EV_PERSISTED, .seq = l->seq};
    } else if (l->unmask) {
        uint64_t start = plmm_clock_us();
        *ev = (plmm_agg_event){.type = PLMM_AGG_EV_UNMASKED};
        PLMM_TRY(plmm_agg_round_unmask(e->m, e->sum, &ev->unmasked, err));
        f->watch.sum_us += plmm_clock_us() - start;
    } else if (l->finished) {
        *ev = (plmm_agg_event){.type = PLMM_AGG_EV_PUBLISHED, .model = e->hash};
    } else {
        *more = false;
    }
    ev->now_ms = f->queue.now_ms;
    return PLMM_OK;
}

static plmm_status step(fleet *f, expert *e, plmm_agg_event *ev, plmm_error *err)
{
    plmm_agg_actions acts;
    ev->now_ms = f->queue.now_ms;
    later l = {UINT64_MAX, false, false};
    for (bool more = true; more;) {
        plmm_error why;
        plmm_status rc = plmm_agg_round_step(e->m, ev, &acts, &why);
        if (rc == PLMM_ERR_PEER) {
            return plmm_fail(err, rc, "expert %s blames an honest device: %s", e->name, why.msg);
        }
        if (rc != PLMM_OK && rc != PLMM_ERR_STALE) {
            return plmm_fail(err, rc, "expert %s in phase %s: %s", e->name,
                             plmm_agg_phase_str(e->phase), why.msg);
        }
        l.seq = UINT64_MAX;
        l.unmask = l.unmask && ev->type == PLMM_AGG_EV_PERSISTED;
        l.finished = l.finished && ev->type == PLMM_AGG_EV_PERSISTED;
        for (uint32_t i = 0; i < acts.n; i++) {
            PLMM_TRY(obey(f, e, &acts.v[i], &l, err));
        }
        PLMM_TRY(watch_phase(f, e, err));
        if (e->crash_step >= 0 && e->crash_step == phase_step(e->phase)) {
            return crash(f, e, err);
        }
        PLMM_TRY(follow(f, e, &l, ev, &more, err));
    }
    return arm(f, e, err);
}

plmm_status agg_frame(fleet *f, expert *e, const uint8_t *p, size_t len, plmm_error *err)
{
    if (e->m == NULL) {
        return PLMM_OK; /* nobody is there; the device will try again */
    }
    plmm_agg_event ev = {.type = PLMM_AGG_EV_FRAME, .bytes = p, .len = len};
    return step(f, e, &ev, err);
}

plmm_status agg_tick(fleet *f, expert *e, plmm_error *err)
{
    if (e->m == NULL || f->queue.now_ms < e->tick_at_ms) {
        return PLMM_OK;
    }
    e->tick_at_ms = UINT64_MAX;
    if (plmm_agg_round_deadline(e->m) > f->queue.now_ms) {
        return arm(f, e, err);
    }
    plmm_agg_event ev = {.type = PLMM_AGG_EV_TICK};
    return step(f, e, &ev, err);
}

plmm_status agg_back(fleet *f, expert *e, plmm_error *err)
{
    PLMM_TRY(plmm_agg_round_new(&e->m, &e->config, err));
    memset(e->sum, 0, plmm_round_sum_bytes(&e->config.params));
    plmm_agg_actions acts;
    later none = {UINT64_MAX, false, false};
    for (size_t i = 0; i < e->log.n; i++) {
        PLMM_TRY(plmm_agg_round_replay(e->m, e->log.v[i].p, e->log.v[i].len, &acts, err));
        for (uint32_t k = 0; k < acts.n; k++) {
            PLMM_TRY(obey(f, e, &acts.v[k], &none, err));
        }
    }
    plmm_agg_event ev = {.type = PLMM_AGG_EV_RESUME};
    PLMM_TRY(step(f, e, &ev, err));
    for (uint32_t d = 0; d < f->data.n_devices; d++) { /* every connection is a new one */
        client *c = fleet_client(f, e->index, d);
        PLMM_TRY(client_linked(f, c, err));
        if (e->m != NULL && c->m != NULL) {
            plmm_agg_event link = {.type = PLMM_AGG_EV_LINK, .device = c->id};
            PLMM_TRY(step(f, e, &link, err));
        }
    }
    return PLMM_OK;
}

plmm_status agg_close_record(fleet *f, expert *e, plmm_error *err)
{
    if (e->recorded || e->record.round == 0) {
        return PLMM_OK;
    }
    e->recorded = true;
    return plmm_run_add_round(f->run, &e->record, err);
}
