/* tests/support/tiny_model.h -- random models, adapters and batches for the tests of nn/. */
#ifndef PLMM_TEST_TINY_MODEL_H
#define PLMM_TEST_TINY_MODEL_H

#include <stdlib.h>

#include "plmm/lora.h"
#include "plmm/model.h"
#include "plmm/rng.h"
#include "plmm/train.h"

static inline plmm_model_config tiny_config(void)
{
    return (plmm_model_config){.dim = 24,
                               .layers = 2,
                               .heads = 4,
                               .kv_heads = 2,
                               .head_dim = 6,
                               .hidden = 40,
                               .vocab = 50,
                               .context = 96,
                               .rope_theta = 10000,
                               .norm_eps = 1e-5f,
                               .tied = true,
                               .bos = -1,
                               .eos = -1,
                               .pad = -1};
}

static inline void tiny_disturb(float *x, size_t n, double sd, plmm_rng *r)
{
    for (size_t i = 0; i < n; i++) {
        x[i] += (float)(sd * plmm_rng_normal(r));
    }
}

static inline plmm_model *tiny_model(const plmm_model_config *c, uint64_t seed)
{
    plmm_model *m = NULL;
    plmm_error err;
    plmm_rng r;
    plmm_rng_init(&r, seed, 100);
    PLMM_ASSERT(plmm_model_new(c, &m, &err) == PLMM_OK);
    plmm_model_init_random(m, seed);
    tiny_disturb(plmm_model_params(m), plmm_model_count(m), 0.15, &r);
    PLMM_ASSERT(plmm_model_seal(m, &err) == PLMM_OK);
    return m;
}

/* Both factors random. */
static inline plmm_adapter *tiny_adapter(const plmm_model_config *c, uint32_t targets,
                                         uint32_t rank, uint64_t seed)
{
    plmm_adapter *a = NULL;
    plmm_error err;
    plmm_rng r;
    plmm_lora_spec spec = {.targets = targets, .rank = rank, .alpha = 4};
    plmm_rng_init(&r, seed, 200);
    PLMM_ASSERT(plmm_adapter_new(c, &spec, &a, &err) == PLMM_OK);
    tiny_disturb(plmm_adapter_params(a), plmm_adapter_count(a), 0.2, &r);
    return a;
}

static inline plmm_workspace *tiny_workspace(const plmm_model_config *c, uint32_t tokens,
                                             uint32_t seq_max, plmm_workspace_use use)
{
    plmm_workspace *w = NULL;
    plmm_error err;
    plmm_workspace_params p = {.tokens = tokens, .seq_max = seq_max, .rank = 12, .use = use};
    PLMM_ASSERT(plmm_workspace_new(c, &p, &w, &err) == PLMM_OK);
    return w;
}

enum { TINY_SEQS = 9, TINY_TOKENS = 9 * 20 };

/* Sequences of 4 to 36 tokens, 180 in all, a third of them without a target. */
typedef struct tiny_batch {
    int32_t tokens[TINY_TOKENS], targets[TINY_TOKENS];
    uint32_t lens[TINY_SEQS];
    plmm_batch b;
} tiny_batch;

static inline void tiny_fill_batch(tiny_batch *t, uint32_t vocab, uint64_t seed)
{
    plmm_rng r;
    plmm_rng_init(&r, seed, 300);
    for (size_t i = 0; i < TINY_TOKENS; i++) {
        t->tokens[i] = (int32_t)plmm_rng_below(&r, vocab);
        t->targets[i] = plmm_rng_below(&r, 3) == 0 ? -1 : (int32_t)plmm_rng_below(&r, vocab);
    }
    for (uint32_t i = 0; i < TINY_SEQS; i++) {
        t->lens[i] = 4 + 4 * i;
    }
    t->b = (plmm_batch){t->tokens, t->targets, t->lens, TINY_TOKENS, TINY_SEQS};
}

#endif
