/* Components of noise that can be taken out of a sum again (XNoise). The algebra is in noise.h. */
#include "plmm/mask.h"
#include "plmm/noise.h"

/* Dropouts that level l is made for. */
static uint32_t drops(const plmm_xnoise *p, uint32_t l)
{
    uint32_t most = p->n - p->least;
    return p->levels == 0 ? most : (uint32_t)((uint64_t)l * most / p->levels);
}

/* ceil(units / honest survivors). */
static uint64_t kept(const plmm_xnoise *p, uint32_t l)
{
    uint64_t honest = (uint64_t)p->n - drops(p, l) - p->corrupt;
    return p->units / honest + (p->units % honest != 0 ? 1 : 0);
}

plmm_status plmm_xnoise_check(const plmm_xnoise *p, plmm_error *err)
{
    if (p->kind == PLMM_NOISE_NONE) {
        return PLMM_OK;
    }
    if (p->least > p->n || p->corrupt >= p->least) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot add noise for %u devices, at least %u survivors, %u corrupt: "
                         "survivors are at most all and more than the corrupt",
                         p->n, p->least, p->corrupt);
    }
    if (p->levels > PLMM_NOISE_LEVELS_MAX || p->levels > p->n - p->least) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot have %u levels of noise: at most %d, and one a dropout (%u)",
                         p->levels, PLMM_NOISE_LEVELS_MAX, p->n - p->least);
    }
    if (p->levels > 0 && p->kind != PLMM_NOISE_SKELLAM) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot add removable noise of kind %u: only skellam's variances add "
                         "exactly; use noise skellam or 0 levels",
                         p->kind);
    }
    if (p->units < 1) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot add %s noise of variance 0",
                         plmm_noise_name(p->kind) == NULL ? "unknown" : plmm_noise_name(p->kind));
    }
    if (plmm_stream_name(p->stream) == NULL) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot draw noise from stream %u: not in this build",
                         p->stream);
    }
    return plmm_noise_check(p->kind, kept(p, p->levels), err);
}

static void assert_checked(const plmm_xnoise *p, uint32_t l)
{
    PLMM_ASSERT(p->kind != PLMM_NOISE_NONE && plmm_xnoise_check(p, NULL) == PLMM_OK);
    PLMM_ASSERT(l <= p->levels);
}

uint64_t plmm_xnoise_units(const plmm_xnoise *p, uint32_t l)
{
    assert_checked(p, l);
    return l == 0 ? kept(p, 0) : kept(p, l) - kept(p, l - 1);
}

uint64_t plmm_xnoise_kept(const plmm_xnoise *p, uint32_t level)
{
    assert_checked(p, level);
    return kept(p, level);
}

uint32_t plmm_xnoise_level(const plmm_xnoise *p, uint32_t dropped)
{
    assert_checked(p, 0);
    uint32_t l = 0;
    while (l < p->levels && drops(p, l) < dropped) {
        l++;
    }
    return l;
}

void plmm_xnoise_root(plmm_seed *g0, const plmm_seed *round_seed)
{
    plmm_seed_derive(g0, round_seed, "xnoise.0", 0);
}

void plmm_xnoise_chain(plmm_seed *gl, const plmm_seed *g0, uint32_t l)
{
    plmm_seed g = *g0;
    for (uint32_t i = 0; i < l; i++) {
        plmm_seed_derive(&g, &g, "xnoise.g", 0);
    }
    *gl = g;
    plmm_wipe(&g, sizeof g);
}

/* Adds or takes out components first..levels; g is g_first, and is spent. */
static plmm_status apply(int32_t *x, size_t n, const plmm_xnoise *p, uint32_t first, plmm_seed *g,
                         bool remove, plmm_error *err)
{
    plmm_status rc = PLMM_OK;
    for (uint32_t l = first; l <= p->levels && rc == PLMM_OK; l++) {
        plmm_seed own;
        uint64_t units = plmm_xnoise_units(p, l);
        plmm_seed_derive(&own, g, "xnoise.c", 0);
        rc = remove ? plmm_noise_sub(x, n, p->kind, units, p->stream, &own, err)
                    : plmm_noise_add(x, n, p->kind, units, p->stream, &own, err);
        plmm_xnoise_chain(g, g, 1);
        plmm_wipe(&own, sizeof own);
    }
    plmm_wipe(g, sizeof *g);
    return rc;
}

plmm_status plmm_xnoise_add(int32_t *x, size_t n, const plmm_xnoise *p, const plmm_seed *g0,
                            plmm_error *err)
{
    if (p->kind == PLMM_NOISE_NONE) {
        return PLMM_OK;
    }
    PLMM_TRY(plmm_xnoise_check(p, err));
    plmm_seed g = *g0;
    return apply(x, n, p, 0, &g, false, err);
}

plmm_status plmm_xnoise_remove(int32_t *sum, size_t n, const plmm_xnoise *p, uint32_t level,
                               const plmm_seed *revealed, plmm_error *err)
{
    assert_checked(p, level);
    plmm_seed g = *revealed;
    return apply(sum, n, p, level + 1, &g, true, err);
}
