#include "plmm/privacy.h"

#include <math.h>

const char *plmm_noise_mode_name(uint32_t mode)
{
    static const char *const names[] = {NULL, "distributed", "central", "local"};
    return mode < sizeof names / sizeof names[0] ? names[mode] : NULL;
}

uint32_t plmm_round_corrupt(const plmm_round_params *p)
{
    uint64_t eligible = (uint64_t)p->cohort + p->cohort / 2;
    uint64_t a = (eligible * p->gamma_ppm + 999999) / 1000000;
    return a == 0 ? 1 : (uint32_t)a;
}

plmm_xnoise plmm_round_xnoise(const plmm_round_params *p)
{
    plmm_xnoise x = {.kind = p->noise,
                     .stream = p->stream,
                     .units = p->noise_units,
                     .n = p->cohort,
                     .least = p->n_min,
                     .corrupt = plmm_round_corrupt(p),
                     .levels = p->noise_levels};
    if (p->noise_mode == PLMM_NOISE_LOCAL) { /* one honest device makes all of it */
        x.n = 2;
        x.least = 2;
        x.corrupt = 1;
    }
    if (p->noise_mode == PLMM_NOISE_CENTRAL) {
        x.kind = PLMM_NOISE_NONE;
    }
    return x;
}

bool plmm_round_surplus(const plmm_round_params *p, uint32_t survivors, uint32_t *level)
{
    if (p->noise == PLMM_NOISE_NONE || p->noise_mode != PLMM_NOISE_DISTRIBUTED) {
        return false;
    }
    plmm_xnoise x = plmm_round_xnoise(p);
    *level = plmm_xnoise_level(&x, p->cohort - survivors);
    return *level < x.levels;
}

/* A tree, if there is one: what would make its noise another's, or not cancel. */
static plmm_status tree_check(const plmm_round_params *p, plmm_error *err)
{
    const struct {
        const char *field;
        uint32_t is, must;
        const char *why;
    } need[] = {
        {"noise_mode", p->noise_mode, PLMM_NOISE_CENTRAL,
         "only the aggregator's noise can be taken out of a later sum"},
        {"protocol", p->protocol, PLMM_PROTOCOL_SECAGG,
         "a one-shot roster stays for an epoch, and a device is in one round of a tree"},
        {"groups", p->groups, 1, "each group's sum would need noise of its own"},
        {"rotate", p->rotate, 0, "each round would turn the noise differently"},
        {"clip_bit", p->clip_bit, 0, "the noise is of one clip"},
    };
    for (size_t i = 0; p->noise_tree > 0 && i < sizeof need / sizeof need[0]; i++) {
        if (need[i].is != need[i].must) {
            return plmm_fail(err, PLMM_ERR_RANGE, "%s is %u, must be %u with noise_tree %u: %s",
                             need[i].field, need[i].is, need[i].must, p->noise_tree, need[i].why);
        }
    }
    if (p->noise_tree > PLMM_TREE_MAX || p->noise_leaf >= (p->noise_tree > 0 ? p->noise_tree : 1)) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "noise_leaf is %u of noise_tree %u: below it, of at most %d",
                         p->noise_leaf, p->noise_tree, PLMM_TREE_MAX);
    }
    return PLMM_OK;
}

plmm_status plmm_round_noise_check(const plmm_round_params *p, plmm_error *err)
{
    if (p->rotate > 1 || p->clip_bit > 1) {
        return plmm_fail(err, PLMM_ERR_RANGE, "rotate is %u and clip_bit %u, must be 0 or 1",
                         p->rotate, p->clip_bit);
    }
    if (p->noise == PLMM_NOISE_NONE) {
        if (p->noise_mode != 0 || p->noise_units != 0 || p->noise_levels != 0 ||
            p->noise_tree != 0 || p->noise_leaf != 0) {
            return plmm_fail(err, PLMM_ERR_RANGE,
                             "no noise, but noise_mode %u, noise_units %llu, noise_levels %u, "
                             "noise_tree %u, noise_leaf %u",
                             p->noise_mode, (unsigned long long)p->noise_units, p->noise_levels,
                             p->noise_tree, p->noise_leaf);
        }
        return PLMM_OK;
    }
    if (plmm_noise_name(p->noise) == NULL || plmm_noise_mode_name(p->noise_mode) == NULL) {
        return plmm_fail(err, PLMM_ERR_RANGE, "noise is %u and noise_mode %u: at most 2 and 3",
                         p->noise, p->noise_mode);
    }
    if (p->noise_mode != PLMM_NOISE_DISTRIBUTED && p->noise_levels != 0) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "noise_levels is %u: only distributed noise is taken out again",
                         p->noise_levels);
    }
    PLMM_TRY(tree_check(p, err));
    plmm_xnoise x = plmm_round_xnoise(p);
    if (p->noise_mode == PLMM_NOISE_CENTRAL) {
        return plmm_noise_check(p->noise, p->noise_units, err);
    }
    if (p->noise_mode == PLMM_NOISE_DISTRIBUTED && p->n_min <= x.corrupt) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "n_min is %u and up to %u of %u devices may be corrupt: nobody honest is "
                         "sure to add noise",
                         p->n_min, x.corrupt, p->cohort);
    }
    return plmm_xnoise_check(&x, err);
}

void plmm_round_release(plmm_release *out, const plmm_round_params *p)
{
    *out = (plmm_release){.mechanism = PLMM_MECHANISM_NONE, .shares = 1, .rate = 1.0};
    if (p->noise == PLMM_NOISE_NONE) {
        return;
    }
    plmm_encoding e = plmm_round_encoding(p);
    double lanes = plmm_round_lanes(p), devices = 1.0;
    plmm_encoding_sensitivity(&e, &out->l2, &out->l1);
    out->dim = lanes;
    out->variance = (double)p->noise_units / PLMM_NOISE_UNITS;
    /* The roster of a one-shot round stays for an epoch: not drawn anew each round. */
    out->rate = p->protocol == PLMM_PROTOCOL_ONESHOT ? 1.0 : ((double)p->rate + 1.0) / 0x1p32;
    out->server_adds = p->noise_mode == PLMM_NOISE_CENTRAL;
    out->mechanism =
        p->noise == PLMM_NOISE_SKELLAM ? PLMM_MECHANISM_SKELLAM : PLMM_MECHANISM_GAUSSIAN;
    if (p->noise_mode == PLMM_NOISE_DISTRIBUTED) {
        devices = p->cohort;
        out->shares = p->n_min - plmm_round_corrupt(p);
        if (p->noise == PLMM_NOISE_GAUSSIAN) {
            out->mechanism = PLMM_MECHANISM_DDGAUSS;
        }
    }
    double draws = devices * ((double)p->noise_levels + 1.0);
    if (p->noise_tree > 0) {
        out->leaves = p->noise_tree;
        out->rate = 1.0;
        draws = 2.0 * p->noise_tree; /* nodes of the tree */
    }
    out->distance = draws * lanes * plmm_noise_tv(p->noise, p->noise_units);
}

void plmm_round_cost(plmm_account *out, const plmm_round_params *p)
{
    plmm_release r;
    plmm_round_release(&r, p);
    plmm_account_release(out, &r);
}

/* x += or -= the noise of the node of 2^level rounds that begins at index 2^level. */
static plmm_status node(int32_t *x, const plmm_round_params *p, const plmm_seed *tree,
                        uint32_t level, uint32_t index, bool add, plmm_error *err)
{
    plmm_seed own;
    size_t lanes = plmm_round_lanes(p);
    plmm_seed_derive(&own, tree, "noise.tr", (uint64_t)level << 32 | index);
    plmm_status rc = add ? plmm_noise_add(x, lanes, p->noise, p->noise_units, p->stream, &own, err)
                         : plmm_noise_sub(x, lanes, p->noise, p->noise_units, p->stream, &own, err);
    plmm_wipe(&own, sizeof own);
    return rc;
}

/* N(leaf + 1) - N(leaf): the low ones of leaf are the nodes that become part of a larger one. */
static plmm_status add_leaf(int32_t *x, const plmm_round_params *p, const plmm_seed *tree,
                            plmm_error *err)
{
    uint32_t level = 0;
    for (; (p->noise_leaf >> level & 1) != 0; level++) {
        PLMM_TRY(node(x, p, tree, level, (p->noise_leaf >> level) - 1, false, err));
    }
    return node(x, p, tree, level, p->noise_leaf >> level, true, err);
}

plmm_status plmm_round_add_central(uint32_t *x, const plmm_round_params *p, const plmm_seed *seed,
                                   plmm_error *err)
{
    if (p->noise == PLMM_NOISE_NONE || p->noise_mode != PLMM_NOISE_CENTRAL) {
        return PLMM_OK;
    }
    size_t lanes = plmm_round_lanes(p);
    if (p->noise_tree > 0) {
        PLMM_TRY(add_leaf((int32_t *)x, p, seed, err));
    } else {
        PLMM_TRY(
            plmm_noise_add((int32_t *)x, lanes, p->noise, p->noise_units, p->stream, seed, err));
    }
    plmm_lanes_reduce((int32_t *)x, lanes, p->ring_bits);
    return PLMM_OK;
}

double plmm_round_step_scale(const plmm_round_params *p, uint32_t devices)
{
    return p->noise_tree > 0 ? (double)devices / p->cohort : 1.0;
}

/* Bits that a sum with this noise needs, or 0. */
static uint32_t bits_for(const plmm_round_params *p)
{
    plmm_encoding e = plmm_round_encoding(p);
    return plmm_encoding_ring_bits(&e);
}

plmm_status plmm_round_calibrate(plmm_round_params *p, uint64_t times, const plmm_budget *budget,
                                 plmm_error *err)
{
    plmm_release r;
    plmm_round_params q = *p;
    q.noise_units = PLMM_NOISE_UNITS;
    PLMM_TRY(plmm_round_noise_check(&q, err));
    plmm_round_release(&r, &q);
    /* The true noise is a little farther from the ideal one with larger variances. */
    r.distance *= 2.0 * PLMM_NOISE_DRAWS_MAX;
    PLMM_TRY(plmm_calibrate_units(&q.noise_units, &r, times, budget, err));
    PLMM_TRY(plmm_round_noise_check(&q, err));
    q.ring_bits = bits_for(&q);
    if (q.ring_bits == 0) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "a sum of %u devices with noise of standard deviation %g needs more than "
                         "%d bits: use fewer quant_bits than %u",
                         q.cohort, sqrt((double)q.noise_units / PLMM_NOISE_UNITS),
                         PLMM_RING_BITS_MAX, q.quant_bits);
    }
    *p = q;
    return PLMM_OK;
}

double plmm_round_next_clip(const plmm_round_params *p, const uint32_t *x, uint32_t devices,
                            double quantile, double rate)
{
    PLMM_ASSERT(p->clip_bit != 0 && devices > 0);
    plmm_encoding e = plmm_round_encoding(p);
    double part = plmm_decode_clip_count(&e, x, p->length, devices) / devices;
    part = fmin(1.0, fmax(0.0, part));
    return p->clip * exp(-rate * (part - quantile));
}
