/* plmm/generate.h -- text from a model: a key-value cache, sampling, answers in batches, beginnings
 * that are kept, and drafts.
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

enum { PLMM_LOOKAHEAD_MAX = 16 };

typedef struct plmm_decoder_params {
    uint32_t slots;     /* texts decoded at the same time, 1..1024 */
    uint32_t positions; /* longest prefix + prompt + answer, 1..context */
    uint32_t rank;      /* sum of the ranks in the deepest stack */
    uint32_t lookahead; /* tokens that a draft may propose at once, 0..PLMM_LOOKAHEAD_MAX */
    bool own_adapters;  /* each text may have its own stack: room for one a slot */
} plmm_decoder_params;

/* Takes about slots * positions * layers * kv_heads * head_dim * 8 bytes, and rank * 4 bytes for
 * each row and column of an adapted matrix (once, or once a slot). PLMM_ERR_RANGE, PLMM_ERR_NOMEM. */
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

/* ---- the beginning that many prompts share ---- */

/* What a model with a stack has in its cache after some tokens: a device's profile, an expert's
 * instructions. Made once, it saves each query that begins so its passes, and changes no bit of
 * their texts. Immutable: any number of decoders may use it while the model lives. */
typedef struct plmm_prefix plmm_prefix;

/* Runs tokens[n], n >= 1. Takes n * layers * kv_heads * head_dim * 8 bytes. PLMM_ERR_RANGE as
 * plmm_generate; PLMM_ERR_NOMEM. */
plmm_status plmm_prefix_new(plmm_decoder *d, const plmm_model *m, const plmm_stack *stack,
                            const int32_t *tokens, size_t n, plmm_prefix **out,
                            plmm_error *err) PLMM_NODISCARD;
void plmm_prefix_free(plmm_prefix *p); /* NULL is fine */
size_t plmm_prefix_count(const plmm_prefix *p);

/* ---- many texts ---- */

/* A prompt of a batch and its answer. Borrows everything. */
typedef struct plmm_query {
    const int32_t *prompt;
    size_t n;                  /* >= 1 */
    int32_t *out;              /* [cap]; or NULL: not kept, cap does not count */
    size_t cap, made;          /* made: tokens reported */
    const plmm_prefix *prefix; /* stands before the prompt; made with the stack of this query; or
                                  NULL */
    const plmm_stack *stack;   /* instead of the batch's; or NULL. Only with own_adapters */
    plmm_token_fn *each;       /* called with each token, in the text's order; or NULL */
    void *user;
} plmm_query;

/* Answers many prompts at once: as many as there are slots advance together, and the next one takes
 * the place of a finished one. Query i samples from stream (seed, i). At most min(cap, max_new)
 * tokens each. Texts with adapters of their own share the passes over the base's weights. The texts
 * do not depend on their company, nor on the number of slots; only over a base of int8 or 4 bits
 * decoders of up to 8 slots are a kind of their own, which multiplies integers: there the input of
 * each product is rounded to 8 bits by blocks of 32 (as llama.cpp does). PLMM_ERR_RANGE as plmm_generate,
 * PLMM_ERR_STATE for a stack without own_adapters, PLMM_ERR_CONFIG for a prefix of another model. */
plmm_status plmm_generate_batch(plmm_decoder *d, const plmm_model *m, const plmm_stack *stack,
                                plmm_query *queries, size_t count, const plmm_sampling *s,
                                plmm_error *err) PLMM_NODISCARD;

/* ---- a draft that proposes ---- */

typedef struct plmm_draft {
    plmm_decoder *decoder;   /* made for the draft model, one slot is used */
    const plmm_model *model; /* of the same vocabulary */
    const plmm_stack *stack; /* or NULL */
    uint32_t ahead;          /* tokens proposed at once, 1..lookahead of the model's decoder */
} plmm_draft;

typedef struct plmm_draft_count {
    size_t made, passes, proposed, accepted; /* passes: of the model, after its prompt */
} plmm_draft_count;

/* plmm_generate, and the same text to the id, greedy or drawn: a cheaper model proposes what comes
 * next and one pass checks it. Pays where the draft agrees often and costs little. count may be
 * NULL. PLMM_ERR_CONFIG for another vocabulary, PLMM_ERR_RANGE for another `ahead`, PLMM_ERR_STATE
 * for one decoder as both. */
plmm_status plmm_generate_drafted(plmm_decoder *d, const plmm_model *m, const plmm_stack *stack,
                                  const plmm_draft *draft, const int32_t *prompt, size_t n,
                                  const plmm_sampling *s, plmm_token_fn *each, void *user,
                                  plmm_draft_count *count, plmm_error *err) PLMM_NODISCARD;

#endif
