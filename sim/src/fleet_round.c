/* fleet_round.c -- rounds as the simulator sees them: an expert begins one in each slot, in one or
 * more groups; when the last group has its sum or has given up, what there is is merged. The
 * checker and the statistics of groups watch from outside: their books are their own. */
#include "fleet.h"

#include "plmm/alloc.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static void forget_vectors(fleet *f, expert *e)
{
    for (uint32_t i = 0; e->groups != NULL && i < f->cfg->secagg.groups; i++) {
        group_forget(&e->groups[i]);
    }
    for (size_t i = 0; e->stored != NULL && i < f->data.n_devices; i++) {
        bytes_free(&e->stored[i]);
    }
}

void expert_free(fleet *f, expert *e)
{
    forget_vectors(f, e);
    for (uint32_t i = 0; e->groups != NULL && i < f->cfg->secagg.groups; i++) {
        plmm_free(e->groups[i].survivors);
        bytes_free(&e->groups[i].epoch);
    }
    plmm_adapter_free(e->adapter);
    plmm_adapter_free(e->next);
    bytes_free(&e->file);
    plmm_free(e->stored);
    plmm_free(e->groups);
    plmm_free(e->enrolled);
    plmm_registrar_free(e->sealer);
    plmm_known_free(e->known);
    for (size_t k = 0; k < SIM_KINDS; k++) {
        plmm_examples_free(&e->questions[k]);
    }
    plmm_wipe(&e->key, sizeof e->key);
    plmm_wipe(&e->registrar_key, sizeof e->registrar_key);
    *e = (expert){0};
}

/* ---- the round's parameters ---- */

/* Is there a graph, or a committee, for n devices of `eligible`? */
static bool protects(const plmm_round_params *p, uint32_t n, uint32_t eligible)
{
    plmm_graph_params g = plmm_round_graph(p, n, eligible);
    plmm_graph_degree d;
    plmm_committee k;
    return (p->protocol == PLMM_PROTOCOL_ONESHOT
                ? plmm_committee_solve(&k, &g, PLMM_COMMITTEE_RHO, PLMM_COMMITTEE_SPARE, NULL)
                : plmm_graph_degree_solve(&d, &g, NULL)) == PLMM_OK;
}

/* Rate of the lottery: everyone, if a graph still protects a cohort when all of gamma of them are
 * in it; else about as many as that holds for. */
static uint32_t rate_of(const fleet *f, const plmm_round_params *p)
{
    uint32_t all = (uint32_t)f->data.n_devices / p->groups;
    /* Noise is made for gamma of at most 3/2 cohort that are eligible. */
    if (p->noise_mode == PLMM_NOISE_DISTRIBUTED && all > p->cohort + p->cohort / 2) {
        return plmm_lottery_rate(all, p->cohort);
    }
    for (uint32_t e = all; e > p->cohort; e -= e / 16 + 1) {
        if (protects(p, p->cohort, e)) {
            return plmm_lottery_rate(all, e);
        }
    }
    return plmm_lottery_rate(all, p->cohort);
}

static plmm_status fill_params(const fleet *f, expert *e, uint32_t index, plmm_round_params *p,
                               plmm_error *err)
{
    const plmm_sim_config *c = f->cfg;
    plmm_factor factor = plmm_method_factor(f->method, e->version);
    plmm_round_params_init(p);
    p->round = e->round;
    p->attempt = 1;
    p->cohort = c->secagg.cohort;
    p->n_min = c->secagg.n_min;
    p->gamma_ppm = e->policy.gamma_ppm;
    p->delta_ppm = (uint32_t)(c->secagg.delta * 1e6 + 0.5);
    p->sigma = c->secagg.sigma;
    p->eta = c->secagg.eta;
    p->trust = e->policy.trust;
    p->protocol = c->secagg.protocol + 1;
    p->mask = c->secagg.mask + 1;
    p->stream = c->secagg.stream + 1;
    p->group = index;
    p->groups = c->secagg.groups;
    p->quant_bits = c->secagg.quant_bits;
    p->weight_max = c->secagg.weight_max;
    p->clip = c->secagg.clip;
    p->rotate = c->secagg.rotate;
    p->length = (uint32_t)plmm_travel_count(e->adapter, factor);
    p->method = (uint32_t)f->method;
    p->factor = (uint32_t)factor;
    p->model = e->hash;
    p->steps = c->train.steps;
    p->batch_tokens = c->train.batch_tokens;
    p->learning_rate = c->train.learning_rate;
    memcpy(p->expert, e->name, strlen(e->name) + 1);
    for (uint32_t i = 0; i < e->policy.vectors_n; i++) {
        if (e->policy.vectors[i].factor == p->factor) {
            p->names = e->policy.vectors[i].names;
        }
    }
    privacy_fields(f, e, p);
    plmm_encoding enc = plmm_round_encoding(p);
    p->ring_bits = plmm_encoding_ring_bits(&enc);
    p->rate = rate_of(f, p);
    PLMM_TRY(privacy_calibrate(f, e, p, err));
    return plmm_round_params_check(p, err);
}

/* Fewest devices for which a graph protects; with the configured number if there is one. */
static uint32_t roster_min(const fleet *f, const plmm_round_params *p, uint32_t eligible)
{
    uint32_t least = f->cfg->secagg.roster_min;
    if (least == 0) {
        least = (uint32_t)ceil((1 - f->cfg->secagg.delta) * p->cohort);
    }
    least = least < p->n_min ? p->n_min : least;
    while (least < p->cohort && !protects(p, least, eligible)) {
        least++;
    }
    return least;
}

/* ---- the beginning ---- */

bool device_ready(fleet *f, const expert *e, uint32_t d)
{
    const client *c = fleet_client(f, e->index, d);
    return c->m == NULL && !c->down && privacy_rested(f, c) &&
           f->holders[d].examples[e->index].n >= f->cfg->train.examples_min;
}

static void begin_record(fleet *f, group *g)
{
    const plmm_round_params *p = &g->config.params;
    g->record = (plmm_round_record){.seed_index = f->seed_index,
                                    .expert = g->expert,
                                    .slot = f->slot,
                                    .round = (uint32_t)p->round,
                                    .attempt = p->attempt,
                                    .group = p->group,
                                    .groups = p->groups,
                                    .epoch = g->epoch_age,
                                    .bits = p->ring_bits,
                                    .length = p->length,
                                    .start_ms = f->queue.now_ms,
                                    .end_ms = f->queue.now_ms,
                                    .train_loss = (double)NAN,
                                    .update_norm = (double)NAN,
                                    .clipped = (double)NAN,
                                    .epsilon = (double)NAN,
                                    .epsilon_models = (double)NAN,
                                    .cosine = (double)NAN,
                                    .nll_alone = (double)NAN};
    g->recorded = false;
    g->phase = PLMM_AGG_NEW;
    g->phase_since_ms = f->queue.now_ms;
}

/* Calls the devices that are ready to the group that the registrar's link puts them in, if any:
 * ready[i] of the eligible[i] of group i. */
static void call_devices(fleet *f, expert *e, uint32_t *called, uint32_t *eligible)
{
    for (uint32_t d = 0; d < f->data.n_devices; d++) {
        client *c = fleet_client(f, e->index, d);
        for (uint32_t i = 0; i < f->cfg->secagg.groups; i++) {
            const plmm_round_params *p = &e->groups[i].config.params;
            plmm_lottery l;
            plmm_lottery_init(&l, &e->link, p->rate, p->group, p->groups);
            if (plmm_lottery_has(&l, c->id)) {
                c->called = device_ready(f, e, d);
                c->group = i;
                called[i] += c->called;
                eligible[i]++;
            }
        }
    }
}

static plmm_status post_checkins(fleet *f, const group *g, plmm_error *err)
{
    uint64_t name = g->config.params.round << 8 | g->config.params.attempt;
    for (uint32_t d = 0; d < f->data.n_devices; d++) {
        client *c = fleet_client(f, g->expert, d);
        if (!c->called || c->group != g->index) {
            continue;
        }
        c->fate = plmm_fate_draw(&f->cfg->faults, f->seed + (uint64_t)g->expert * 7919, d, name);
        PLMM_TRY(fleet_post(f, EV_CHECKIN, (uint32_t)(c - f->clients), c->fate.checkin_ms,
                            c->generation, err));
    }
    return PLMM_OK;
}

static plmm_status begin_group(fleet *f, expert *e, group *g, uint32_t n, uint32_t eligible,
                               plmm_error *err)
{
    const plmm_sim_config *c = f->cfg;
    plmm_agg_config *a = &g->config;
    plmm_round_params params = a->params;
    *a = (plmm_agg_config){.params = params,
                           .key = e->key,
                           .registrar = e->registrar,
                           .link = e->link,
                           .tree = e->tree,
                           .known = e->known,
                           .shelf = f->shelf,
                           .epoch = g->epoch.p,
                           .epoch_len = g->epoch.len,
                           .checkins_max = n > c->secagg.cohort ? n : c->secagg.cohort,
                           .over_ppm = (uint32_t)(c->secagg.over * 1e6 + 0.5),
                           .gather_ms = c->secagg.gather_ms,
                           .phase_ms = c->secagg.phase_ms,
                           .train_ms = c->secagg.train_ms};
    a->roster_min = a->epoch != NULL ? epoch_least(f, &a->params, eligible)
                                     : roster_min(f, &a->params, eligible);
    f->told = f->told.round == 0 ? a->params : f->told;
    begin_record(f, g);
    plmm_error why = {0};
    if (privacy_may_begin(f, e, &why) != PLMM_OK) {
        g->running = false;
        (void)snprintf(g->record.reason, sizeof g->record.reason, "%s", why.msg);
        return PLMM_OK;
    }
    g->running = n >= a->roster_min;
    if (!g->running) {
        (void)snprintf(g->record.reason, sizeof g->record.reason,
                       "only %" PRIu32 " devices have %" PRIu32 " examples or more, %" PRIu32
                       " are needed",
                       n, c->train.examples_min, a->roster_min);
        return PLMM_OK;
    }
    if (g->survivors == NULL) {
        g->survivors = plmm_alloc(c->secagg.cohort, sizeof *g->survivors);
    }
    if (g->survivors == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot begin a round: out of memory");
    }
    g->crash_step = plmm_aggregator_fate_draw(&c->faults, f->seed ^ e->index,
                                              (uint64_t)g->index << 48 | a->params.round << 8 |
                                                  a->params.attempt);
    PLMM_TRY(post_checkins(f, g, err));
    return agg_start(f, g, err);
}

plmm_status round_begin(fleet *f, expert *e, plmm_error *err)
{
    if (e->next != NULL) { /* published in the last round: from now on it is what is trained */
        plmm_adapter_free(e->adapter);
        e->adapter = e->next;
        e->next = NULL;
    }
    e->round++;
    forget_vectors(f, e);
    uint32_t called[PLMM_SIM_GROUPS_MAX] = {0}, eligible[PLMM_SIM_GROUPS_MAX] = {0};
    plmm_link first;
    plmm_registrar_link(e->sealer, &first, &e->link);
    e->settled = false;
    for (uint32_t i = 0; i < f->cfg->secagg.groups; i++) {
        e->groups[i].running = true; /* nothing is settled before all have begun */
        PLMM_TRY(fill_params(f, e, i, &e->groups[i].config.params, err));
    }
    if (!epoch_goes_on(f, e, called, eligible)) {
        call_devices(f, e, called, eligible);
    }
    for (uint32_t i = 0; i < f->cfg->secagg.groups; i++) {
        PLMM_TRY(begin_group(f, e, &e->groups[i], called[i], eligible[i], err));
    }
    return round_settle(f, e, err);
}

/* ---- the checker ---- */

plmm_status round_check(fleet *f, group *g, plmm_error *err)
{
    size_t lanes = plmm_round_lanes(&g->config.params);
    uint32_t bits = g->config.params.ring_bits;
    uint32_t *plain = plmm_alloc(lanes, sizeof *plain);
    if (plain == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot check a sum: out of memory");
    }
    plmm_agg_round_survivors(g->m, g->survivors, &g->n_survivors);
    plmm_round_record *r = &g->record;
    r->survivors = g->n_survivors;
    r->lying = 0;
    r->train_loss = 0;
    r->clipped = 0;
    uint64_t trained = g->train_from_ms;
    for (uint32_t i = 0; i < g->n_survivors; i++) {
        client *c = fleet_client(f, g->expert, (uint32_t)(g->survivors[i] - 1));
        plmm_ring_add(plain, c->plain, lanes, bits);
        r->train_loss += c->stats.loss_mean / g->n_survivors;
        r->clipped += (c->stats.delta_norm > g->config.params.clip) / (double)g->n_survivors;
        r->lying += f->holders[c->device].traits.lies;
        trained = c->trained_at_ms > trained ? c->trained_at_ms : trained;
    }
    plmm_status rc = privacy_expect(f, g, plain, err);
    if (rc != PLMM_OK) {
        plmm_free(plain);
        return rc;
    }
    if (f->options->spoil_sums) {
        g->sum[lanes / 2] ^= 1;
    }
    r->sum_checked = true;
    r->sum_exact = memcmp(plain, g->sum, lanes * sizeof *plain) == 0;
    r->phase_ms[PLMM_PHASE_TRAIN] = trained - g->train_from_ms;
    r->phase_ms[PLMM_PHASE_UPLOAD] = g->collect_end_ms - trained;
    plmm_free(plain);
    return PLMM_OK;
}

/* ---- the end ---- */

/* The open sums of a round, decoded: what each group's survivors learned, and together. */
typedef struct sums {
    double *of[PLMM_SIM_GROUPS_MAX]; /* sum of w delta, NULL: its round was aborted */
    uint64_t weight[PLMM_SIM_GROUPS_MAX];
    double *all;
    uint64_t weight_all;
    uint32_t survivors, groups;
    size_t n;
} sums;

static void sums_free(sums *s)
{
    for (uint32_t i = 0; i < PLMM_SIM_GROUPS_MAX; i++) {
        plmm_free(s->of[i]);
    }
    plmm_free(s->all);
}

static plmm_status sums_open(fleet *f, expert *e, sums *s, plmm_error *err)
{
    s->n = e->groups[0].config.params.length;
    s->all = plmm_alloc(s->n, sizeof *s->all);
    for (uint32_t i = 0; i < f->cfg->secagg.groups; i++) {
        group *g = &e->groups[i];
        if (!g->open) {
            continue;
        }
        s->of[i] = plmm_alloc(s->n, sizeof *s->of[i]);
        if (s->of[i] == NULL || s->all == NULL) {
            return plmm_fail(err, PLMM_ERR_NOMEM, "cannot merge a round: out of memory");
        }
        plmm_encoding enc = plmm_round_encoding(&g->config.params);
        PLMM_TRY(plmm_decode_sum(s->of[i], &s->weight[i], &enc, g->sum, s->n, g->n_survivors, err));
        for (size_t j = 0; j < s->n; j++) {
            s->all[j] += s->of[i][j];
        }
        s->weight_all += s->weight[i];
        s->survivors += g->n_survivors;
        s->groups++;
    }
    return PLMM_OK;
}

/* Norm of a group's mean update, and its cosine with that of all others. */
static void compare(const sums *s, uint32_t i, plmm_round_record *r)
{
    double own = 0;
    double others = 0;
    double both = 0;
    for (size_t j = 0; j < s->n; j++) {
        double x = s->of[i][j];
        double y = s->all[j] - x;
        own += x * x;
        others += y * y;
        both += x * y;
    }
    r->update_norm = sqrt(own) / (double)s->weight[i];
    if (s->groups > 1 && own > 0 && others > 0) {
        r->cosine = both / sqrt(own * others);
    }
}

static plmm_status group_statistics(fleet *f, expert *e, const sums *s, const plmm_merge_params *p,
                                    plmm_error *err)
{
    for (uint32_t i = 0; i < f->cfg->secagg.groups; i++) {
        if (s->of[i] == NULL) {
            continue;
        }
        plmm_round_record *r = &e->groups[i].record;
        compare(s, i, r);
        if (f->cfg->secagg.groups > 1) {
            plmm_adapter *alone = NULL;
            PLMM_TRY(
                plmm_merge_clear(p, e->adapter, s->of[i], (double)s->weight[i], &alone, NULL, err));
            plmm_status rc = score_alone(f, e, alone, &r->nll_alone, err);
            plmm_adapter_free(alone);
            PLMM_TRY(rc);
        }
    }
    return PLMM_OK;
}

static plmm_status merge(fleet *f, expert *e, plmm_error *err)
{
    sums s = {0};
    plmm_merge_params p = {f->method, plmm_server_opt_default(), e->version};
    plmm_status rc = sums_open(f, e, &s, err);
    p.server.lr *= (float)plmm_round_step_scale(&e->groups[0].config.params, s.survivors);
    if (rc == PLMM_OK && s.groups > 0) {
        rc = plmm_merge_clear(&p, e->adapter, s.all, (double)s.weight_all, &e->next, NULL, err);
        rc = rc != PLMM_OK ? rc : group_statistics(f, e, &s, &p, err);
        if (rc == PLMM_OK) {
            e->version++;
            rc = version_publish(f, e, e->next, s.survivors, err);
        }
    }
    sums_free(&s);
    return rc;
}

plmm_status round_settle(fleet *f, expert *e, plmm_error *err)
{
    for (uint32_t i = 0; i < f->cfg->secagg.groups; i++) {
        if (e->groups[i].running && !e->groups[i].open) {
            return PLMM_OK;
        }
    }
    if (e->settled) {
        return PLMM_OK;
    }
    e->settled = true;
    PLMM_TRY(merge(f, e, err));
    privacy_adapt(f, e);
    for (uint32_t i = 0; i < f->cfg->secagg.groups; i++) {
        privacy_record(f, e, &e->groups[i].record);
    }
    for (uint32_t i = 0; i < f->cfg->secagg.groups; i++) {
        if (e->groups[i].open) {
            PLMM_TRY(agg_published(f, &e->groups[i], err));
        }
        PLMM_TRY(epoch_keep(f, &e->groups[i], err));
    }
    PLMM_TRY(score_slot(f, e, err));
    return fleet_round_ended(f, err);
}

plmm_status round_close(fleet *f, expert *e, plmm_error *err)
{
    for (uint32_t i = 0; i < f->cfg->secagg.groups; i++) {
        group *g = &e->groups[i];
        if (!g->recorded && g->record.round != 0) {
            g->recorded = true;
            PLMM_TRY(plmm_run_add_round(f->run, &g->record, err));
        }
    }
    return PLMM_OK;
}
