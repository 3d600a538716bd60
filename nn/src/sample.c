/* Drawing the next token. */
#include <math.h>
#include <stdlib.h>

#include "decode.h"

plmm_sampling plmm_sampling_default(void)
{
    return (plmm_sampling){.top_p = 1.0f, .max_new = 64};
}

static int by_logit(const void *pa, const void *pb)
{
    const plmm__candidate *a = pa, *b = pb;
    if (a->logit != b->logit) {
        return a->logit > b->logit ? -1 : 1;
    }
    return a->id < b->id ? -1 : 1;
}

static int32_t argmax(const float *x, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        best = x[i] > x[best] ? i : best;
    }
    return (int32_t)best;
}

/* The tokens that may be drawn, most probable first; *total is the sum of their e^(logit -
 * first). */
static size_t choose(plmm_decoder *d, const float *logits, const plmm_sampling *s, double *total)
{
    size_t n = d->cfg.vocab;
    plmm__candidate *c = d->candidates;
    for (size_t i = 0; i < n; i++) {
        c[i] = (plmm__candidate){.logit = logits[i] / s->temperature, .id = (int32_t)i};
    }
    qsort(c, n, sizeof *c, by_logit);
    n = s->top_k > 0 && s->top_k < n ? s->top_k : n;
    double sum = 0, kept = 0;
    for (size_t i = 0; i < n; i++) {
        sum += exp((double)c[i].logit - (double)c[0].logit);
    }
    size_t m = 0;
    while (m < n && (m == 0 || kept < (double)s->top_p * sum)) {
        kept += exp((double)c[m].logit - (double)c[0].logit);
        m++;
    }
    *total = kept;
    return m;
}

int32_t plmm__sample(plmm_decoder *d, const float *logits, const plmm_sampling *s, plmm_rng *rng)
{
    if (s->temperature <= 0.0f) {
        return argmax(logits, d->cfg.vocab);
    }
    double total = 0;
    size_t n = choose(d, logits, s, &total), i = 0;
    double at = plmm_rng_double(rng) * total;
    for (; i + 1 < n; i++) {
        at -= exp((double)d->candidates[i].logit - (double)d->candidates[0].logit);
        if (at < 0) {
            break;
        }
    }
    return d->candidates[i].id;
}

plmm_status plmm__sampling_check(const plmm_sampling *s, plmm_error *err)
{
    if (!(s->temperature >= 0 && isfinite(s->temperature)) || !(s->top_p > 0 && s->top_p <= 1)) {
        return plmm_fail(
            err, PLMM_ERR_RANGE,
            "cannot generate: temperature is %g (must be >= 0), top_p is %g (must be in "
            "(0, 1])",
            (double)s->temperature, (double)s->top_p);
    }
    if (s->stops > PLMM_STOP_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot generate: %u stop tokens, at most %d",
                         s->stops, PLMM_STOP_MAX);
    }
    return PLMM_OK;
}
