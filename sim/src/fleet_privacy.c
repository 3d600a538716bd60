/* fleet_privacy.c -- differential privacy of a simulated run: noise and clip of each round, the
 * aggregator's account with its budget, the accounts of the devices, and what the checker must
 * expect of a noisy sum. */
#include "fleet.h"

#include "plmm/alloc.h"

#include <math.h>
#include <string.h>

enum { QUANT_BITS_LEAST = 4 };

plmm_budget privacy_budget(const plmm_sim_config *c)
{
    return (plmm_budget){.epsilon = c->privacy.epsilon > 0 ? c->privacy.epsilon : (double)INFINITY,
                         .delta = c->privacy.delta,
                         .adversary = c->privacy.adversary};
}

void privacy_policy(const plmm_sim_config *c, plmm_policy *p)
{
    if (c->privacy.noise == PLMM_NOISE_NONE) {
        return;
    }
    p->noise = 1;
    p->budget = privacy_budget(c);
    p->budget.epsilon =
        c->privacy.device_epsilon > 0 ? c->privacy.device_epsilon : (double)INFINITY;
    if (c->privacy.adaptive > 0) {
        p->clip_max = 1e6; /* the aggregator moves it; the sensitivity moves along */
    }
}

/* The leaf that the version to be trained is, of a new tree if the last one is complete. */
static void tree_fields(const fleet *f, expert *e, plmm_round_params *p)
{
    p->noise_tree = f->cfg->privacy.tree;
    if (p->noise_tree == 0) {
        return;
    }
    if (e->trees == 0 || e->version - e->tree_version >= p->noise_tree) {
        e->trees++;
        e->tree_version = e->version;
        fleet_seed(f, &e->tree, "tree of noise", e->index, e->trees);
    }
    p->noise_leaf = (uint32_t)(e->version - e->tree_version);
}

bool privacy_rested(const fleet *f, const client *c)
{
    return f->cfg->privacy.tree == 0 || c->tree != f->experts[c->expert].trees;
}

/* What is charged once: a round (its groups are disjoint: a device is in one of them), or a tree. */
static uint64_t charge_of(const fleet *f, const expert *e)
{
    return f->cfg->privacy.tree > 0 ? e->trees : e->round;
}

void privacy_fields(const fleet *f, expert *e, plmm_round_params *p)
{
    const plmm_sim_config *c = f->cfg;
    if (c->privacy.noise == PLMM_NOISE_NONE) {
        return;
    }
    p->noise = c->privacy.noise;
    p->noise_mode = c->privacy.mode + 1;
    tree_fields(f, e, p);
    bool removable = p->noise_mode == PLMM_NOISE_DISTRIBUTED && p->protocol == PLMM_PROTOCOL_SECAGG;
    p->noise_levels = removable ? c->privacy.levels : 0; /* one-shot has no message for it */
    p->weight_max = 1;
    p->clip = e->clip > 0 ? e->clip : c->secagg.clip;
    p->clip_bit = c->privacy.adaptive > 0;
    uint32_t room = p->cohort - p->n_min;
    p->noise_levels = p->noise_levels < room ? p->noise_levels : room;
    plmm_encoding enc = plmm_round_encoding(p);
    uint32_t bits = plmm_encoding_quant_bits(&enc, c->privacy.overhead);
    p->quant_bits = p->quant_bits < bits ? p->quant_bits : bits;
}

plmm_status privacy_calibrate(const fleet *f, expert *e, plmm_round_params *p, plmm_error *err)
{
    const plmm_sim_config *c = f->cfg;
    if (c->privacy.noise == PLMM_NOISE_NONE) {
        return PLMM_OK;
    }
    plmm_budget b = privacy_budget(c);
    if (c->privacy.multiplier > 0) {
        plmm_encoding enc = plmm_round_encoding(p);
        p->noise_units = plmm_encoding_noise_units(&enc, c->privacy.multiplier);
        enc = plmm_round_encoding(p);
        p->ring_bits = plmm_encoding_ring_bits(&enc);
    } else {
        uint64_t leaves = p->noise_tree > 0 ? p->noise_tree : 1;
        uint64_t times = (c->rounds + leaves - 1) / leaves;
        plmm_status rc = plmm_round_calibrate(p, times, &b, err);
        while (rc == PLMM_ERR_RANGE && p->quant_bits > QUANT_BITS_LEAST) {
            p->quant_bits--; /* a coarser lattice: noise that a table can draw */
            rc = plmm_round_calibrate(p, times, &b, err);
        }
        PLMM_TRY(rc);
    }
    plmm_round_cost(&e->cost, p);
    return PLMM_OK;
}

plmm_status privacy_may_begin(const fleet *f, const expert *e, plmm_error *err)
{
    if (f->cfg->privacy.noise == PLMM_NOISE_NONE) {
        return PLMM_OK;
    }
    plmm_budget b = privacy_budget(f->cfg);
    return plmm_account_fits(&e->spent, &e->cost, e->charged != charge_of(f, e), &b, err);
}

void privacy_released(const fleet *f, const group *g)
{
    expert *e = &f->experts[g->expert];
    if (f->cfg->privacy.noise != PLMM_NOISE_NONE && e->charged != charge_of(f, e)) {
        e->charged = charge_of(f, e);
        plmm_account_add(&e->spent, &e->cost, 1);
    }
}

plmm_status privacy_uploads(const fleet *f, client *c, plmm_error *err)
{
    if (f->cfg->privacy.noise == PLMM_NOISE_NONE) {
        return PLMM_OK;
    }
    if (c->spent == NULL) {
        c->spent = plmm_alloc(1, sizeof *c->spent);
    }
    if (c->spent == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot keep a device's account: out of memory");
    }
    plmm_account_add(c->spent, &f->experts[c->expert].cost, 1);
    c->tree = f->experts[c->expert].trees;
    return PLMM_OK;
}

void privacy_record(const fleet *f, const expert *e, plmm_round_record *r)
{
    r->clip = e->groups[r->group].config.params.clip;
    if (f->cfg->privacy.noise == PLMM_NOISE_NONE) {
        return;
    }
    double delta = f->cfg->privacy.delta;
    double server = plmm_account_epsilon(&e->spent, PLMM_ADVERSARY_SERVER, delta);
    double models = plmm_account_epsilon(&e->spent, PLMM_ADVERSARY_MODELS, delta);
    r->epsilon = isfinite(server) ? server : (double)NAN;
    r->epsilon_models = isfinite(models) ? models : (double)NAN;
}

/* ---- the checker ---- */

/* Takes the surplus of c out of the lanes: what the aggregator must have done. */
static plmm_status remove_surplus(const client *c, const plmm_round_params *p, uint32_t level,
                                  uint32_t *lanes, plmm_error *err)
{
    plmm_hash params;
    plmm_seed root, rounding, g;
    plmm_xnoise x = plmm_round_xnoise(p);
    plmm_round_params_hash(&params, p);
    plmm_kdf(root.b, c->seed.b, "round.rt", params.b, sizeof params.b);
    plmm_seed_derive(&rounding, &root, "rounding", 0);
    plmm_xnoise_root(&g, &rounding);
    plmm_xnoise_chain(&g, &g, level + 1);
    return plmm_xnoise_remove((int32_t *)lanes, plmm_round_lanes(p), &x, level, &g, err);
}

plmm_status privacy_expect(fleet *f, const group *g, uint32_t *plain, plmm_error *err)
{
    const plmm_round_params *p = plmm_agg_round_params(g->m);
    uint32_t level;
    if (plmm_round_surplus(p, g->n_survivors, &level)) {
        for (uint32_t i = 0; i < g->n_survivors; i++) {
            const client *c = fleet_client(f, g->expert, (uint32_t)(g->survivors[i] - 1));
            if (plmm_agg_round_revealed(g->m, c->id)) {
                PLMM_TRY(remove_surplus(c, p, level, plain, err));
            }
        }
        plmm_lanes_reduce((int32_t *)plain, plmm_round_lanes(p), p->ring_bits);
    }
    plmm_seed own;
    if (p->noise_tree > 0) {
        own = f->experts[g->expert].tree;
    } else {
        plmm_seed_derive(&own, &g->seed, "noise.01", p->attempt);
    }
    return plmm_round_add_central(plain, p, &own, err);
}

/* ---- adaptive clipping ---- */

void privacy_adapt(const fleet *f, expert *e)
{
    const plmm_sim_config *c = f->cfg;
    double sum = 0.0, groups = 0.0; /* of logarithms: the groups' estimates together */
    for (uint32_t i = 0; c->privacy.adaptive > 0 && i < c->secagg.groups; i++) {
        const group *g = &e->groups[i];
        if (g->open && g->config.params.clip_bit != 0) {
            sum += log(plmm_round_next_clip(&g->config.params, g->sum, g->n_survivors,
                                            c->privacy.adaptive, c->privacy.adaptive_rate));
            groups += 1.0;
        }
    }
    if (groups > 0.0) {
        e->clip = fmin(1e5, fmax(1e-5, exp(sum / groups)));
    }
}
