/* tests/support/tiny.h -- a model small enough to train in a test, and something to learn. */
#ifndef PLMM_TINY_H
#define PLMM_TINY_H

#include "plmm/alloc.h"
#include "plmm/lora.h"
#include "plmm/model.h"
#include "plmm/rng.h"
#include "test.h"

static const plmm_model_config tiny_cfg = {.dim = 16,
                                           .layers = 2,
                                           .heads = 4,
                                           .kv_heads = 2,
                                           .head_dim = 4,
                                           .hidden = 24,
                                           .vocab = 40,
                                           .context = 32,
                                           .rope_theta = 10000,
                                           .norm_eps = 1e-5f,
                                           .tied = true,
                                           .bos = 0,
                                           .eos = 1,
                                           .pad = -1};
static const plmm_lora_spec tiny_spec = {
    .targets = PLMM_LORA_Q | PLMM_LORA_V | PLMM_LORA_DOWN, .rank = 3, .alpha = 6, .dropout = 0};

/* Random and sealed. The initialiser's small weights are enlarged, so that gradients are not
 * tiny. */
static inline plmm_model *tiny_model(uint64_t seed)
{
    plmm_model *m = NULL;
    plmm_error err = {0};
    CHECK(plmm_model_new(&tiny_cfg, &m, &err) == PLMM_OK, "%s", err.msg);
    plmm_model_init_random(m, seed);
    float *w = plmm_model_params(m);
    size_t views = 0;
    const plmm_view *v = plmm_model_views(m, &views);
    for (size_t i = 0; i < views; i++) {
        for (size_t k = 0; v[i].rows > 1 && k < v[i].rows * v[i].cols; k++) {
            w[v[i].offset + k] *= 8;
        }
    }
    CHECK(plmm_model_seal(m, &err) == PLMM_OK, "%s", err.msg);
    return m;
}

/* Orthonormal A; B random with this sd (0: the start of an experiment). */
static inline plmm_adapter *tiny_adapter(uint64_t seed, float sd)
{
    plmm_adapter *a = NULL;
    plmm_error err = {0};
    plmm_rng r;
    size_t off = 0, n = 0;
    CHECK(plmm_adapter_new(&tiny_cfg, &tiny_spec, &a, &err) == PLMM_OK, "%s", err.msg);
    plmm_adapter_init(a, seed);
    plmm_adapter_range(a, PLMM_FACTOR_B, &off, &n);
    plmm_rng_init(&r, seed, 3);
    for (size_t i = 0; i < n; i++) {
        plmm_adapter_params(a)[off + i] = sd * (float)plmm_rng_normal(&r);
    }
    return a;
}

#endif
