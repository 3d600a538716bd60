/* What a verb that changes a model says of it before and after. */
#include "program.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "plmm/clock.h"

plmm_status measure_model(const plmm_model *m, const dataset *d, model_measure *out,
                          plmm_error *err)
{
    double loss = NAN;
    uint64_t start = plmm_clock_us();
    PLMM_TRY(dataset_loss(d, m, NULL, 0, &loss, err));
    uint64_t us = plmm_clock_us() - start;
    *out = (model_measure){.layers = plmm_model_cfg(m)->layers,
                           .parameters = plmm_model_count(m),
                           .perplexity = exp(loss),
                           .tokens_per_s = us > 0 ? (double)d->tokens.n * 1e6 / (double)us : 0};
    return PLMM_OK;
}

void measure_print(const char *what, const model_measure *m, plmm_dtype dtype)
{
    (void)printf("%-8s %u layers, %" PRIu64 " parameters, %.2f MB", what, m->layers, m->parameters,
                 (double)(m->parameters * (dtype == PLMM_F32 ? 4 : 2)) / 1e6);
    if (!isnan(m->perplexity)) {
        (void)printf(", perplexity %.4f, %.0f tokens/s", m->perplexity, m->tokens_per_s);
    }
    (void)printf("\n");
}

void measure_put(plmm_json_writer *w, const char *key, const model_measure *m, plmm_dtype dtype)
{
    plmm_json_put_key(w, key);
    plmm_json_open_object(w);
    plmm_json_put_key(w, "layers");
    plmm_json_put_u64(w, m->layers);
    plmm_json_put_key(w, "parameters");
    plmm_json_put_u64(w, m->parameters);
    plmm_json_put_key(w, "bytes");
    plmm_json_put_u64(w, m->parameters * (dtype == PLMM_F32 ? 4 : 2));
    if (!isnan(m->perplexity)) {
        plmm_json_put_key(w, "perplexity");
        plmm_json_put_real(w, m->perplexity);
        plmm_json_put_key(w, "tokens_per_s");
        plmm_json_put_real(w, m->tokens_per_s);
    }
    plmm_json_close_object(w);
}
