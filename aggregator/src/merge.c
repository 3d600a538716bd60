#include "plmm/merge.h"

#include "plmm/alloc.h"

#include <math.h>

size_t plmm_merge_lanes(const plmm_adapter *a, plmm_method method, uint64_t round)
{
    return plmm_travel_count(a, plmm_method_factor(method, round)) + 1;
}

static double norm_of(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i] * x[i];
    }
    return sqrt(sum);
}

double plmm_merge_norm_max(const plmm_encoding *e, size_t d, uint32_t devices)
{
    double step = 1 / plmm_encoding_scale(e);
    if (e->noise != PLMM_NOISE_NONE && e->noise_sum == 0) {
        return (double)INFINITY; /* the aggregator's own noise: not known here */
    }
    /* Chi-squared with d degrees: above d + 2 sqrt(20 d) + 40 with probability below e^-20. */
    double spread = (double)d + 2 * sqrt(20.0 * (double)d) + 40;
    double noise = sqrt((double)e->noise_sum / PLMM_NOISE_UNITS * spread) * step / devices;
    return e->clip * (1 + 1e-6) + sqrt((double)d) * step + noise;
}

bool plmm_merge_bound(double *sum, double *norm, size_t d, uint64_t weight, const plmm_encoding *e,
                      uint32_t devices)
{
    double most = plmm_merge_norm_max(e, d, devices);
    double is = norm_of(sum, d) / (double)weight;
    if (norm != NULL) {
        *norm = is;
    }
    if (is <= most) {
        return false;
    }
    for (size_t i = 0; i < d; i++) {
        sum[i] *= most / is;
    }
    return true;
}

plmm_status plmm_merge_clear(const plmm_merge_params *p, const plmm_adapter *old, const double *sum,
                             double weight, plmm_adapter **next, plmm_merge_stats *stats,
                             plmm_error *err)
{
    plmm_factor f = plmm_method_factor(p->method, p->round);
    plmm_adapter *a = NULL;
    PLMM_TRY(plmm_adapter_clone(old, &a, err));
    plmm_status rc = plmm_server_apply(&p->server, a, f, sum, weight, err);
    if (rc == PLMM_OK) {
        rc = plmm_method_prepare(p->method, p->round + 1, a, err);
    }
    if (rc != PLMM_OK) {
        plmm_adapter_free(a);
        return rc;
    }
    if (stats != NULL) {
        *stats = (plmm_merge_stats){.weight = (uint64_t)weight,
                                    .mean_norm = norm_of(sum, plmm_travel_count(old, f)) / weight,
                                    .factor = f,
                                    .next = plmm_method_factor(p->method, p->round + 1)};
    }
    *next = a;
    return PLMM_OK;
}

plmm_status plmm_merge(const plmm_merge_params *p, const plmm_encoding *e, const plmm_adapter *old,
                       const uint32_t *x, size_t lanes, uint32_t devices, plmm_adapter **next,
                       plmm_merge_stats *stats, plmm_error *err)
{
    size_t d = plmm_travel_count(old, plmm_method_factor(p->method, p->round));
    size_t want = plmm_encoding_lanes(e, d);
    if (lanes != want) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "the sum has %zu lanes, this adapter sends %zu in round %llu", lanes, want,
                         (unsigned long long)p->round);
    }
    PLMM_TRY(plmm_encoding_check(e, err));
    double *sum = plmm_alloc(lanes, sizeof *sum);
    if (sum == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot merge %zu lanes: out of memory", lanes);
    }
    uint64_t weight = 0;
    plmm_status rc = plmm_decode_sum(sum, &weight, e, x, d, devices, err);
    double norm = 0;
    bool shortened = false;
    if (rc == PLMM_OK) {
        shortened = plmm_merge_bound(sum, &norm, d, weight, e, devices);
        rc = plmm_merge_clear(p, old, sum, (double)weight, next, stats, err);
    }
    if (rc == PLMM_OK && stats != NULL) {
        stats->devices = devices;
        stats->mean_norm = norm;
        stats->shortened = shortened;
    }
    plmm_free(sum);
    return rc;
}
