/* decode.h -- the decoder's inside: a cache for each text, one pass of rows through the model, and
 * the texts that are being written. */
#ifndef PLMM_NN_DECODE_H
#define PLMM_NN_DECODE_H

#include "engine.h"
#include "plmm/generate.h"
#include "plmm/rng.h"

/* One token on its way through the model. */
typedef struct plmm__row {
    int32_t token;
    uint32_t slot, pos;
} plmm__row;

typedef struct plmm__candidate {
    float logit;
    int32_t id;
} plmm__candidate;

/* A text being written. */
typedef struct plmm__slot {
    plmm_query *query; /* NULL: free */
    plmm_rng rng;
    size_t fed;    /* tokens in the cache, those of a prefix included */
    size_t before; /* those of the prefix */
    size_t limit;  /* new tokens at most */
    int32_t next;  /* to be fed after the prompt */
    size_t logits; /* where its logits are after a pass, SIZE_MAX: nowhere */
} plmm__slot;

struct plmm_decoder {
    plmm_model_config cfg;
    plmm_decoder_params params;
    plmm__pack *packs; /* one, or one a slot */
    char *mem;
    size_t rows_max, logits_max, ld; /* ld: positions rounded up to 16 */
    bool integers;                   /* few slots: see plmm__decoder_pass */
    float *keys;                     /* [slot][layer][kv_head][head_dim][ld] */
    float *values;                   /* [slot][layer][kv_head][ld][head_dim] */
    float *rope_cos, *rope_sin;      /* [positions][head_dim / 2] */
    float *x, *n, *qkv, *mix, *gu, *act, *h, *rstd, *scores, *logits, *scratch;
    plmm__row *rows;
    size_t *wanted; /* rows whose logits are asked for, in order */
    plmm__slot *slots;
    plmm__candidate *candidates;
    const plmm_model *m; /* of the running call */
    const plmm__kernels *k;
};

/* The running call's model; frees all slots. PLMM_ERR_STATE, PLMM_ERR_CONFIG. */
plmm_status plmm__decoder_begin(plmm_decoder *d, const plmm_model *m,
                                plmm_error *err) PLMM_NODISCARD;

/* Packs the stack (may be NULL) for a slot; without packs of their own it is the stack of all.
 * PLMM_ERR_RANGE, PLMM_ERR_CONFIG as plmm__pack_check. */
plmm_status plmm__decoder_adapt(plmm_decoder *d, uint32_t slot, const plmm_stack *stack,
                                plmm_error *err) PLMM_NODISCARD;

/* Runs d->rows[0..n), each after what its slot's cache holds of smaller positions, and scores those
 * of d->wanted[0..wanted), in order: row i of d->logits. The first `single` rows are single tokens
 * of texts. In a decoder of few slots their products with a base in blocks are made of integers,
 * which is faster for few rows; those of prompts never, nor any in a decoder of many slots. So a
 * text depends on the kind of its decoder, and not on its company. */
void plmm__decoder_pass(plmm_decoder *d, size_t n, size_t single, size_t wanted);

/* Where the keys and values of a head begin. */
size_t plmm__cache_at(const plmm_decoder *d, uint32_t slot, uint32_t layer, uint32_t kv_head);

/* Draws a token from logits. */
int32_t plmm__sample(plmm_decoder *d, const float *logits, const plmm_sampling *s, plmm_rng *rng);

plmm_status plmm__sampling_check(const plmm_sampling *s, plmm_error *err) PLMM_NODISCARD;
plmm_status plmm__query_check(const plmm_decoder *d, const plmm_model *m, const plmm_query *q,
                              size_t i, plmm_error *err) PLMM_NODISCARD;

/* Puts a query into a slot: its adapters, its prefix, its generator. */
plmm_status plmm__query_start(plmm_decoder *d, uint32_t slot, const plmm_stack *stack,
                              plmm_query *q, const plmm_sampling *s, uint64_t stream,
                              plmm_error *err) PLMM_NODISCARD;

/* Puts the slot's next tokens into the pass at row n, at most `room` of them; returns their
 * number. */
size_t plmm__query_feed(plmm_decoder *d, uint32_t slot, size_t n, size_t room, size_t *wanted);

/* Reports a token of a text, or its end; frees the slot at the end. */
void plmm__query_take(plmm__slot *s, const plmm_sampling *p, int32_t token);

/* PLMM_ERR_CONFIG unless m made it. */
plmm_status plmm__prefix_check(const plmm_prefix *p, const plmm_model *m,
                               plmm_error *err) PLMM_NODISCARD;

/* Copies a prefix into a slot's cache. */
void plmm__prefix_put(plmm_decoder *d, uint32_t slot, const plmm_prefix *p);

#endif
