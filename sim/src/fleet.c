/* The loop of a seed: takes events in the order of virtual time, hands each to its party, delivers
 * frames over links with their faults, and begins a slot when the one before is over. */
#include "fleet.h"

#include "plmm/alloc.h"
#include "plmm/clock.h"
#include "plmm/version.h"

#include <string.h>

/* After the last round the stragglers still get their results; this long. */
static const uint64_t aftermath_ms = 60000;

enum { SHELF = 64 }; /* rosters differ in length by a few */

void fleet_seed(const fleet *f, plmm_seed *out, const char *what, uint64_t a, uint64_t b)
{
    plmm_transcript t;
    plmm_hash h;
    plmm_transcript_init(&t, "sim.seed");
    plmm_transcript_u64(&t, f->seed);
    plmm_transcript_str(&t, what);
    plmm_transcript_u64(&t, a);
    plmm_transcript_u64(&t, b);
    plmm_transcript_final(&t, &h);
    memcpy(out->b, h.b, sizeof out->b);
}

client *fleet_client(fleet *f, uint32_t index, uint32_t device)
{
    return &f->clients[(size_t)index * f->data.n_devices + device];
}

group *fleet_group(fleet *f, uint32_t party)
{
    uint32_t n = f->cfg->secagg.groups;
    return &f->experts[party / n].groups[party % n];
}

group *fleet_group_of(fleet *f, const client *c)
{
    return &f->experts[c->expert].groups[c->group];
}

uint32_t fleet_party(const fleet *f, const group *g)
{
    return g->expert * f->cfg->secagg.groups + g->index;
}

plmm_status fleet_post(fleet *f, uint32_t kind, uint32_t party, uint64_t after_ms, uint64_t tag,
                       plmm_error *err)
{
    plmm_sim_event ev = {
        .at_ms = f->queue.now_ms + after_ms, .kind = kind, .party = party, .tag = tag};
    return plmm_event_queue_post(&f->queue, &ev, err);
}

/* ---- small owners ---- */

plmm_status bytes_copy(bytes *b, const uint8_t *p, size_t len, plmm_error *err)
{
    uint8_t *q = plmm_alloc(len, 1);
    if (q == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot keep %zu bytes: out of memory", len);
    }
    memcpy(q, p, len);
    plmm_free(b->p);
    *b = (bytes){q, len};
    return PLMM_OK;
}

void bytes_free(bytes *b)
{
    plmm_free(b->p);
    *b = (bytes){0};
}

plmm_status journal_add(journal *j, const uint8_t *p, size_t len, plmm_error *err)
{
    if (j->n == j->cap) {
        size_t cap = j->cap == 0 ? 8 : 2 * j->cap;
        bytes *v = plmm_grow(j->v, j->cap, cap, sizeof *v);
        if (v == NULL) {
            return plmm_fail(err, PLMM_ERR_NOMEM, "cannot keep a journal: out of memory");
        }
        j->v = v;
        j->cap = cap;
    }
    j->v[j->n] = (bytes){0};
    PLMM_TRY(bytes_copy(&j->v[j->n], p, len, err));
    j->n++;
    return PLMM_OK;
}

void journal_clear(journal *j)
{
    for (size_t i = 0; i < j->n; i++) {
        bytes_free(&j->v[i]);
    }
    plmm_free(j->v);
    *j = (journal){0};
}

/* ---- links ---- */

int step_of_message(uint32_t type)
{
    switch (type) {
    case PLMM_MSG_ADVERT:
        return 0;
    case PLMM_MSG_SHARES:
        return 1;
    case PLMM_MSG_MASKED:
        return 2;
    case PLMM_MSG_AGREE:
    case PLMM_MSG_COMPLAIN:
    case PLMM_MSG_VOTE:
        return 3;
    case PLMM_MSG_REVEAL:
    case PLMM_MSG_SUM:
        return 4;
    default:
        return -1;
    }
}

static plmm_status deliver(fleet *f, plmm_sim_event ev, span head, span tail, plmm_error *err)
{
    uint8_t *copy = plmm_alloc(head.len + tail.len, 1);
    if (copy == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot send a frame of %zu bytes: out of memory",
                         head.len + tail.len);
    }
    memcpy(copy, head.p, head.len);
    if (tail.len > 0) {
        memcpy(copy + head.len, tail.p, tail.len);
    }
    ev.data = copy;
    ev.len = head.len + tail.len;
    plmm_status rc = plmm_event_queue_post(&f->queue, &ev, err);
    if (rc != PLMM_OK) {
        plmm_free(copy);
    }
    return rc;
}

plmm_status fleet_send(fleet *f, client *c, way to, span head, span tail, plmm_error *err)
{
    const plmm_device_traits *t = &f->holders[c->device].traits;
    size_t len = head.len + tail.len;
    plmm_delivery d = plmm_delivery_draw(&f->cfg->faults, f->seed, f->frames++, len,
                                         to == TO_AGG ? t->up_kbps : t->down_kbps);
    plmm_round_record *r = &fleet_group_of(f, c)->record;
    r->frames++;
    r->lost += d.lost;
    r->duplicates += d.copies - 1;
    *(to == TO_AGG ? &r->bytes_up : &r->bytes_down) += (uint64_t)len * (1 + d.lost);
    for (unsigned i = 0; i < d.copies; i++) {
        plmm_sim_event ev = {.at_ms = f->queue.now_ms + d.after_ms[i],
                             .kind = to == TO_AGG ? EV_TO_AGG : EV_TO_CLIENT,
                             .party = to == TO_AGG ? fleet_party(f, fleet_group_of(f, c))
                                                   : (uint32_t)(c - f->clients)};
        PLMM_TRY(deliver(f, ev, head, tail, err));
    }
    return PLMM_OK;
}

/* ---- slots: the n-th round of every expert begins together ---- */

static plmm_status begin_slot(fleet *f, plmm_error *err)
{
    for (uint32_t e = 0; e < f->data.n_experts; e++) {
        PLMM_TRY(round_close(f, &f->experts[e], err));
    }
    if (f->slot == f->cfg->rounds) {
        f->end_ms = f->queue.now_ms;
        return PLMM_OK;
    }
    f->slot++;
    f->slot_start_ms = f->queue.now_ms;
    PLMM_TRY(feed_until(f, f->slot, err));
    f->running = f->data.n_experts;
    for (uint32_t e = 0; e < f->data.n_experts; e++) {
        PLMM_TRY(round_begin(f, &f->experts[e], err));
    }
    return PLMM_OK;
}

plmm_status fleet_round_ended(fleet *f, plmm_error *err)
{
    ++*f->done;
    plmm_progress_update(f->progress, *f->done, NULL);
    if (--f->running > 0) {
        return PLMM_OK;
    }
    uint64_t next = f->slot == f->cfg->rounds ? f->queue.now_ms + aftermath_ms
                                              : f->slot_start_ms + f->cfg->secagg.period_ms;
    uint64_t soonest = f->queue.now_ms + 1;
    next = next < soonest ? soonest : next;
    return fleet_post(f, EV_SLOT, 0, next - f->queue.now_ms, 0, err);
}

/* ---- the loop ---- */

static plmm_status client_event(fleet *f, const plmm_sim_event *ev, plmm_error *err)
{
    client *c = &f->clients[ev->party];
    if (ev->kind == EV_TO_CLIENT) {
        return client_frame(f, c, ev->data, ev->len, err);
    }
    if (ev->tag != c->generation) {
        return PLMM_OK; /* of a machine that is no more */
    }
    switch (ev->kind) {
    case EV_CHECKIN:
        return client_check_in(f, c, err);
    case EV_CLIENT_TICK:
        return client_tick(f, c, err);
    case EV_CLIENT_BACK:
        return client_back(f, c, err);
    case EV_TRAINED:
        return client_trained(f, c, err);
    default:
        return client_mask(f, c, err);
    }
}

static plmm_status handle(fleet *f, const plmm_sim_event *ev, plmm_error *err)
{
    switch (ev->kind) {
    case EV_SLOT:
        return begin_slot(f, err);
    case EV_TO_AGG:
        return agg_frame(f, fleet_group(f, ev->party), ev->data, ev->len, err);
    case EV_AGG_TICK:
        return ev->tag == fleet_group(f, ev->party)->generation
                   ? agg_tick(f, fleet_group(f, ev->party), err)
                   : PLMM_OK;
    case EV_AGG_BACK:
        return agg_back(f, fleet_group(f, ev->party), err);
    default:
        return client_event(f, ev, err);
    }
}

static plmm_status loop(fleet *f, plmm_error *err)
{
    PLMM_TRY(fleet_post(f, EV_SLOT, 0, 0, 0, err));
    plmm_sim_event ev;
    while (f->end_ms == 0 && plmm_event_queue_pop(&f->queue, &ev)) {
        plmm_status rc = handle(f, &ev, err);
        plmm_free(ev.data);
        PLMM_TRY(rc);
        if (f->options->stop != NULL && *f->options->stop != 0) {
            return plmm_fail(err, PLMM_ERR_STATE, "interrupted; nothing was written");
        }
    }
    PLMM_ASSERT(f->end_ms != 0); /* a round that neither ends nor waits would be a bug */
    return PLMM_OK;
}

/* ---- making and unmaking ---- */

static plmm_status open_workers(fleet *f, plmm_error *err)
{
    uint32_t n = plmm_pool_threads(f->pool);
    f->workers = plmm_alloc(n, sizeof *f->workers);
    if (f->workers == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot start %u workers: out of memory", n);
    }
    uint32_t context = plmm_model_cfg(f->model)->context;
    uint32_t longest = f->cfg->train.seq_max < context ? f->cfg->train.seq_max : context;
    longest = f->cfg->select.seq_max > longest ? f->cfg->select.seq_max : longest;
    longest = longest < context ? longest : context;
    uint32_t tokens = f->cfg->train.batch_tokens > longest ? f->cfg->train.batch_tokens : longest;
    tokens = tokens > 512 ? (longest > 512 ? longest : 512) : tokens;
    plmm_trainer_sizes sizes = {tokens, longest, 0};
    for (uint32_t i = 0; i < n; i++) {
        PLMM_TRY(plmm_trainer_new(plmm_model_cfg(f->model), &f->spec, &sizes,
                                  &f->workers[i].trainer, err));
    }
    return PLMM_OK;
}

static plmm_status lora_spec(const plmm_sim_config *c, plmm_lora_spec *spec, plmm_error *err)
{
    *spec = (plmm_lora_spec){0, c->lora.rank, (float)c->lora.alpha, (float)c->lora.dropout};
    for (uint32_t i = 0; i < c->lora.targets_n; i++) {
        const char *name = c->lora.targets[i];
        plmm_status rc = plmm_target_parse(name, strlen(name), &spec->targets, err);
        if (rc != PLMM_OK) {
            return plmm_fail_in(err, rc, "lora.targets");
        }
    }
    return PLMM_OK;
}

/* The registrar's and the aggregator's key, and what every device of the expert insists on. */
static void expert_keys(fleet *f, expert *e)
{
    plmm_seed seed;
    fleet_seed(f, &seed, "aggregator", e->index, 0);
    plmm_sign_keypair(&e->key_public, &e->key, &seed);
    fleet_seed(f, &seed, "registrar", e->index, 0);
    plmm_sign_keypair(&e->registrar, &e->registrar_key, &seed);
}

/* The registrar has a link for each round. */
static plmm_status expert_registrar(fleet *f, expert *e, plmm_error *err)
{
    plmm_registrar_config c = {
        .key = e->registrar_key, .aggregator = e->key_public, .chain_length = f->cfg->rounds};
    memcpy(c.expert, e->name, strlen(e->name) + 1);
    fleet_seed(f, &c.chain, "registrar's chain", e->index, 0);
    plmm_status rc = plmm_registrar_new(&e->sealer, &c, err);
    plmm_wipe(&c, sizeof c);
    PLMM_TRY(rc);
    plmm_link first;
    plmm_registrar_link(e->sealer, &first, &e->link);
    return plmm_known_new(&e->known, &e->key, &e->registrar, e->name, (uint32_t)f->data.n_devices,
                          err);
}

static plmm_status expert_policy(fleet *f, expert *e, plmm_error *err)
{
    plmm_anchor anchor = {.aggregator = e->key_public, .registrar = e->registrar, .link = e->link};
    memcpy(anchor.expert, e->name, strlen(e->name) + 1);
    plmm_policy *p = &e->policy;
    plmm_policy_default(p, &anchor);
    const plmm_sim_config *c = f->cfg;
    p->n_min = c->secagg.n_min;
    p->gamma_ppm = (uint32_t)(c->secagg.gamma * 1e6 + 0.5);
    p->sigma = c->secagg.sigma;
    p->eta = c->secagg.eta;
    p->trust = c->secagg.trust == 0 ? PLMM_TRUST_CURIOUS : PLMM_TRUST_SEMI_MALICIOUS;
    p->weight_max = c->secagg.weight_max;
    p->clip_max = c->secagg.clip;
    p->steps_max = c->train.steps;
    privacy_policy(c, p);
    for (uint64_t round = 0; round < 2; round++) {
        plmm_factor factor = plmm_method_factor(f->method, round);
        if (p->vectors_n > 0 && p->vectors[0].factor == (uint32_t)factor) {
            continue;
        }
        plmm_policy_vector *v = &p->vectors[p->vectors_n++];
        v->method = (uint32_t)f->method;
        v->factor = (uint32_t)factor;
        v->length = (uint32_t)plmm_travel_count(e->adapter, factor);
        PLMM_TRY(plmm_version_names(&v->names, e->adapter, factor, err));
    }
    return PLMM_OK;
}

static plmm_status enrol(fleet *f, expert *e, plmm_error *err)
{
    for (uint32_t d = 0; d < f->data.n_devices; d++) {
        client *c = fleet_client(f, e->index, d);
        *c = (client){.device = d,
                      .expert = e->index,
                      .id = (uint64_t)d + 1,
                      .version = e->hash,
                      .version_no = e->manifest.version,
                      .tick_at_ms = UINT64_MAX};
        e->enrolled[d] = c->id;
        plmm_seed seed;
        plmm_sign_pk pk;
        fleet_seed(f, &seed, "device", e->index, c->id);
        plmm_sign_keypair(&pk, &c->key, &seed);
        PLMM_TRY(
            plmm_certificate_issue(&c->certificate, &e->registrar_key, e->name, c->id, &pk, err));
    }
    return PLMM_OK;
}

static plmm_status open_expert(fleet *f, uint32_t index, plmm_error *err)
{
    expert *e = &f->experts[index];
    e->index = index;
    e->name = f->data.experts[index];
    e->stored = plmm_alloc(f->data.n_devices, sizeof *e->stored);
    e->groups = plmm_alloc(f->cfg->secagg.groups, sizeof *e->groups);
    e->enrolled = plmm_alloc(f->data.n_devices, sizeof *e->enrolled);
    if (e->stored == NULL || e->groups == NULL || e->enrolled == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot open expert %s: out of memory", e->name);
    }
    for (uint32_t i = 0; i < f->cfg->secagg.groups; i++) {
        e->groups[i] = (group){.expert = index, .index = i, .tick_at_ms = UINT64_MAX};
    }
    expert_keys(f, e);
    PLMM_TRY(expert_registrar(f, e, err));
    PLMM_TRY(plmm_adapter_new(plmm_model_cfg(f->model), &f->spec, &e->adapter, err));
    plmm_adapter_init(e->adapter, f->seed * 1000003 + index);
    PLMM_TRY(plmm_method_prepare(f->method, 0, e->adapter, err));
    PLMM_TRY(expert_policy(f, e, err));
    PLMM_TRY(version_publish(f, e, e->adapter, 0, err));
    return enrol(f, e, err);
}

static plmm_status open_fleet(fleet *f, plmm_error *err)
{
    plmm_lora_spec spec;
    PLMM_TRY(lora_spec(f->cfg, &spec, err));
    f->spec = spec;
    PLMM_TRY(plmm_method_parse(f->cfg->train.method, &f->method, err));
    const plmm_model_config *m = plmm_model_cfg(f->model);
    plmm_chat_init(&f->chat, f->tokenizer, m->bos, m->eos);
    plmm_version_base(&f->model_hash, f->model);
    PLMM_TRY(sim_data_load(&f->data, f->cfg, f->seed, err));
    PLMM_TRY(open_workers(f, err));
    size_t n = f->data.n_devices;
    PLMM_TRY(plmm_shelf_new(&f->shelf, SHELF, err));
    f->holders = plmm_alloc(n, sizeof *f->holders);
    f->clients = plmm_alloc(n * f->data.n_experts, sizeof *f->clients);
    f->experts = plmm_alloc(f->data.n_experts, sizeof *f->experts);
    f->waiting = plmm_alloc(n * f->data.n_experts, sizeof *f->waiting);
    if (f->holders == NULL || f->clients == NULL || f->experts == NULL || f->waiting == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot open a fleet of %zu devices: out of memory",
                         n);
    }
    for (uint32_t e = 0; e < f->data.n_experts; e++) {
        PLMM_TRY(open_expert(f, e, err));
    }
    PLMM_TRY(feed_open(f, err));
    return score_open(f, err);
}

static void close_fleet(fleet *f)
{
    plmm_sim_event ev;
    while (plmm_event_queue_pop(&f->queue, &ev)) {
        plmm_free(ev.data);
    }
    plmm_event_queue_free(&f->queue);
    for (uint32_t e = 0; f->experts != NULL && e < f->data.n_experts; e++) {
        expert_free(f, &f->experts[e]);
    }
    for (size_t i = 0; f->clients != NULL && i < f->data.n_devices * f->data.n_experts; i++) {
        client_free(&f->clients[i]);
    }
    for (size_t i = 0; f->holders != NULL && i < f->data.n_devices; i++) {
        plmm_buffer_free(f->holders[i].buffer);
        for (uint32_t e = 0; f->holders[i].examples != NULL && e < f->data.n_experts; e++) {
            plmm_examples_free(&f->holders[i].examples[e]);
        }
        plmm_free(f->holders[i].examples);
    }
    for (uint32_t i = 0; f->workers != NULL && i < plmm_pool_threads(f->pool); i++) {
        plmm_trainer_free(f->workers[i].trainer);
        plmm_embedder_free(&f->workers[i].embedder);
        plmm_sample_free(&f->workers[i].sample);
    }
    plmm_shelf_free(f->shelf);
    plmm_free(f->workers);
    plmm_free(f->holders);
    plmm_free(f->clients);
    plmm_free(f->experts);
    plmm_free(f->waiting);
    sim_data_free(&f->data);
}

static plmm_status save_experts(fleet *f, plmm_error *err)
{
    for (uint32_t e = 0; f->options->save != NULL && e < f->data.n_experts; e++) {
        expert *x = &f->experts[e];
        PLMM_TRY(version_save(f, x, f->options->save, err));
    }
    return PLMM_OK;
}

plmm_status fleet_run(fleet *f, plmm_error *err)
{
    uint64_t start = plmm_clock_us();
    plmm_status rc = open_fleet(f, err);
    f->watch.load_us += plmm_clock_us() - start;
    for (uint32_t e = 0; rc == PLMM_OK && e < f->data.n_experts; e++) {
        rc = score_slot(f, &f->experts[e], err);
    }
    rc = rc != PLMM_OK ? rc : loop(f, err);
    rc = rc != PLMM_OK ? rc : fleet_tell(f, err);
    rc = rc != PLMM_OK ? rc : save_experts(f, err);
    close_fleet(f);
    f->watch.total_us += plmm_clock_us() - start;
    return rc;
}
