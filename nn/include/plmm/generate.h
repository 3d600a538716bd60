/* plmm/generate.h -- text from a model: a key-value cache, sampling, and greedy answers in batches.
 *
 * A decoder belongs to one thread at a time; the model and the adapters are only read.
 * Sampling draws from a generator seeded by the caller: equal inputs give equal texts.
 */
#ifndef PLMM_GENERATE_H
#define PLMM_GENERATE_H

#include "plmm/lora.h"
#include "plmm/model.h"

enum { PLMM_STOP_MAX = 8 };

typedef struct plmm_sampling {
    float temperature; /* 0: greedy (the smallest id among the most probable) */
    uint32_t top_k;    /* 0: all */
    float top_p;       /* 1: all; otherwise the smallest set that holds this probability */
    uint64_t seed;
    uint32_t max_new;            /* tokens at most; the context's end stops earlier */
    int32_t stop[PLMM_STOP_MAX]; /* ids that end the text and are not reported */
    uint32_t stops;
} plmm_sampling;

/* Greedy, 64 tokens, no stop id. */
plmm_sampling plmm_sampling_default(void);

typedef struct plmm_decoder plmm_decoder;

typedef struct plmm_decoder_params {
    uint32_t slots;     /* texts decoded at the same time, 1..1024 */
    uint32_t positions; /* longest prompt + answer, 1..context */
    uint32_t rank;      /* sum of the ranks in the deepest stack */
} plmm_decoder_params;

/* Takes about slots * positions * layers * kv_heads * head_dim * 8 bytes. PLMM_ERR_RANGE,
 * PLMM_ERR_NOMEM. */
plmm_status plmm_decoder_new(const plmm_model_config *cfg, const plmm_decoder_params *p,
                             plmm_decoder **out, plmm_error *err) PLMM_NODISCARD;
void plmm_decoder_free(plmm_decoder *d);

/* Called with each new token; returning false ends the text. */
typedef bool plmm_token_fn(void *user, int32_t token);

/* Continues prompt[n]. stack may be NULL. n >= 1. Prefill is batched. *made (may be NULL) is the
 * number of tokens reported. PLMM_ERR_RANGE when the prompt does not fit positions or holds a bad
 * id. */
plmm_status plmm_generate(plmm_decoder *d, const plmm_model *m, const plmm_stack *stack,
                          const int32_t *prompt, size_t n, const plmm_sampling *s,
                          plmm_token_fn *each, void *user, size_t *made,
                          plmm_error *err) PLMM_NODISCARD;

/* A prompt of a batch and its answer; the caller provides out[cap]. */
typedef struct plmm_query {
    const int32_t *prompt;
    size_t n;
    int32_t *out;
    size_t cap, made;
} plmm_query;

/* Answers many prompts at once: as many as there are slots advance together, and the next one takes
 * the place of a finished one. Query i samples from stream (seed, i). At most min(cap, max_new)
 * tokens each. The texts do not depend on the number of slots except where two tokens are equally
 * probable to rounding. */
plmm_status plmm_generate_batch(plmm_decoder *d, const plmm_model *m, const plmm_stack *stack,
                                plmm_query *queries, size_t count, const plmm_sampling *s,
                                plmm_error *err) PLMM_NODISCARD;

#endif
