/* Size of a committee: exact hypergeometric tails, as for the graph. */
#include "plmm/committee.h"

#include "degree.h"
#include "plmm/limits.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool try_size(plmm_committee *out, const plmm_graph_params *p, const plmm_counts *c,
                     uint32_t m, uint32_t rho, uint32_t spare)
{
    double pmf[PLMM_COMMITTEE_MAX + 1];
    plmm_committee k = {.m = m};
    plmm_hypergeometric(pmf, p->n, c->corrupt, m);
    k.c = plmm_upper_quantile(pmf, m, exp2(-(double)p->sigma));
    plmm_hypergeometric(pmf, p->n, c->surviving, m);
    k.alive = plmm_lower_quantile(pmf, m, exp2(-(double)p->eta));
    k.need = rho + k.c + spare;
    k.quorum = p->trust == PLMM_TRUST_CURIOUS ? 1 : (m + k.c) / 2 + 1;
    if (k.alive < k.need || k.alive < k.quorum) {
        return false;
    }
    *out = k;
    return true;
}

static bool find(plmm_committee *out, const plmm_graph_params *p, uint32_t rho, uint32_t spare)
{
    plmm_counts c = plmm_counts_of(p);
    uint32_t last = p->n < PLMM_COMMITTEE_MAX ? p->n : PLMM_COMMITTEE_MAX;
    if (c.corrupt >= p->n) {
        return false;
    }
    for (uint32_t m = 4; m <= last; m += 2) {
        if (try_size(out, p, &c, m, rho, spare)) {
            return true;
        }
    }
    return last == p->n && last % 2 == 1 && try_size(out, p, &c, last, rho, spare);
}

/* Nearest n above p->n in steps of a sixteenth; 0 if none up to the bound. */
static uint32_t nearest_n(const plmm_graph_params *p, uint32_t rho, uint32_t spare)
{
    plmm_graph_params q = *p;
    plmm_committee unused;
    for (q.n = p->n + 1; q.n <= PLMM_DEVICES_MAX; q.n += 1 + q.n / 16) {
        if (find(&unused, &q, rho, spare)) {
            return q.n;
        }
    }
    return 0;
}

/* Largest whole per cent below *field for which the rest is enough; UINT32_MAX if none. */
static uint32_t nearest_part(plmm_graph_params *q, uint32_t *field, uint32_t rho, uint32_t spare)
{
    plmm_committee unused;
    for (uint32_t step = (*field + 9999) / 10000; step > 0; step--) {
        *field = (step - 1) * 10000;
        if (find(&unused, q, rho, spare)) {
            return *field;
        }
    }
    return UINT32_MAX;
}

static plmm_status refuse(const plmm_graph_params *p, uint32_t rho, uint32_t spare, plmm_error *err)
{
    plmm_graph_params q = *p, r = *p;
    uint32_t n = nearest_n(p, rho, spare);
    uint32_t delta = nearest_part(&q, &q.delta_ppm, rho, spare);
    uint32_t gamma = nearest_part(&r, &r.gamma_ppm, rho, spare);
    char hint[3][48] = {"", "", ""};
    if (n != 0) {
        (void)snprintf(hint[0], sizeof hint[0], ", %u devices", n);
    }
    if (delta != UINT32_MAX) {
        (void)snprintf(hint[1], sizeof hint[1], ", delta %.2f", delta / 1e6);
    }
    if (gamma != UINT32_MAX) {
        (void)snprintf(hint[2], sizeof hint[2], ", gamma %.2f", gamma / 1e6);
    }
    bool any = n != 0 || delta != UINT32_MAX || gamma != UINT32_MAX;
    return plmm_fail(err, PLMM_ERR_RANGE,
                     "no committee of up to %d of %u devices protects with gamma %g, delta %g, "
                     "sigma %u, eta %u; nearest that is enough%s%s%s%s",
                     PLMM_COMMITTEE_MAX, p->n, p->gamma_ppm / 1e6, p->delta_ppm / 1e6, p->sigma,
                     p->eta, any ? "" : ": none", hint[0], hint[1], hint[2]);
}

plmm_status plmm_committee_solve(plmm_committee *out, const plmm_graph_params *p, uint32_t rho,
                                 uint32_t spare, plmm_error *err)
{
    if (!plmm_graph_in_range(p) || rho < 1 || rho > 64 || spare > 64) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "a committee of %u devices: must be 3..%d with gamma %g in 0..0.499999, "
                         "delta %g in 0..0.999999, sigma %u in 1..80, eta %u in 1..60, trust %u 1 "
                         "or 2, rho %u in 1..64, spare %u in 0..64",
                         p->n, PLMM_DEVICES_MAX, p->gamma_ppm / 1e6, p->delta_ppm / 1e6, p->sigma,
                         p->eta, p->trust, rho, spare);
    }
    plmm_committee found;
    if (!find(&found, p, rho, spare)) {
        return refuse(p, rho, spare, err);
    }
    *out = found;
    return PLMM_OK;
}

void plmm_committee_draw(uint32_t *out, uint32_t m, uint32_t n, const plmm_hash *seed,
                         uint32_t *order)
{
    PLMM_ASSERT(m <= n);
    plmm_hash own;
    plmm_hash_bytes(&own, "committe", seed->b, sizeof seed->b);
    plmm_graph_init(order, order + n, n, &own);
    memcpy(out, order, m * sizeof out[0]);
}
