/* plmm/trainer.h -- local training for one round: some optimiser steps on the device's own
 * dialogues move the factor of the expert's adapter that travels, and the difference is what the
 * device sends.
 *
 * The expert's adapter is the last of the stack; a personal adapter may lie under it: it takes part
 * in the forward pass, is never changed and never leaves. The optimiser starts afresh in each round
 * (the coordinates of a factor mean something else after a re-factorisation).
 *
 * A trainer is a reused workspace for one thread: nothing is allocated while it runs. What it
 * computes is a function of model, adapters, examples and parameters, whatever the thread, and
 * whatever it did before.
 */
#ifndef PLMM_TRAINER_H
#define PLMM_TRAINER_H

#include "plmm/chat.h"
#include "plmm/dialogue.h"
#include "plmm/federate.h"
#include "plmm/train.h"

/* ---- examples: dialogues as tokens, made once and used in many rounds ---- */

enum { PLMM_EXAMPLES_MAX = 1 << 20 };

/* Starts as {0}; free with plmm_examples_free. Fields are for reading. */
typedef struct plmm_examples {
    int32_t *tokens, *targets; /* packed, [count] */
    size_t count, cap;
    size_t *start;  /* [n] of example i in tokens */
    uint32_t *len;  /* [n] */
    uint32_t *loss; /* [n] targets of example i, at least 1 */
    size_t n, n_cap;
} plmm_examples;

/* Appends a dialogue, cut to seq_max (>= 8) tokens as plmm_chat_sample cuts. scratch is reused
 * between calls (start it as {0}). What plmm_chat_sample returns; RANGE beyond the limit; NOMEM. On
 * failure *x is unchanged. A dialogue without anything to learn (an empty response) is left out. */
PLMM_NODISCARD plmm_status plmm_examples_add(plmm_examples *x, const plmm_chat *chat,
                                             const char *prompt, const char *response,
                                             uint32_t seq_max, plmm_sample *scratch,
                                             plmm_error *err);
void plmm_examples_clear(plmm_examples *x); /* empties, keeps the memory */
void plmm_examples_free(plmm_examples *x);  /* leaves {0} */

/* ---- training ---- */

typedef enum plmm_local_opt { PLMM_LOCAL_ADAMW, PLMM_LOCAL_SGD } plmm_local_opt;

typedef struct plmm_trainer_params {
    plmm_local_opt opt;
    uint32_t epochs; /* passes over the examples, 1..10000; used when steps is 0 */
    uint32_t steps;  /* optimiser steps, 0..1000000; 0: as many as the epochs give */
    /* Whole examples are packed into a step up to so many tokens, at least one example. 1..2^20. */
    uint32_t batch_tokens;
    float lr;        /* peak, > 0 */
    float lr_floor;  /* of the schedule, a share of lr, 0..1 */
    uint32_t warmup; /* steps */
    plmm_schedule schedule;
    float clip;          /* global norm of a step's gradient; 0: none */
    float decay;         /* AdamW's weight decay, >= 0 */
    plmm_factor factors; /* what travels: plmm_method_factor() */
    bool measure;        /* also compute the loss before and after on the own examples */
    uint64_t seed;       /* order of the examples and dropout */
} plmm_trainer_params;

/* AdamW, 1 epoch of 512-token steps, lr 1e-3 constant, clip 1, no decay, factor B, no measuring. */
plmm_trainer_params plmm_trainer_params_default(void);

/* Of the device alone: none of this leaves it, but `examples` as the weight (masked). */
typedef struct plmm_trainer_stats {
    uint32_t examples; /* the device's: its weight in the average */
    uint64_t tokens;   /* processed by steps */
    uint64_t targets;
    uint32_t steps;
    double loss_mean;               /* nll a target over all steps, before each step */
    double loss_before, loss_after; /* if measured, else NaN */
    double delta_norm;              /* Euclidean norm of the delta */
} plmm_trainer_stats;

typedef struct plmm_trainer plmm_trainer;

typedef struct plmm_trainer_sizes {
    uint32_t tokens;  /* workspace: tokens processed at a time (64..512 is fastest), >= seq_max */
    uint32_t seq_max; /* longest example */
    uint32_t rank_below; /* sum of the ranks of the adapters under the expert's, 0: none */
} plmm_trainer_sizes;

/* For models of this shape and expert adapters of this spec. RANGE, CONFIG, NOMEM. */
PLMM_NODISCARD plmm_status plmm_trainer_new(const plmm_model_config *cfg,
                                            const plmm_lora_spec *spec,
                                            const plmm_trainer_sizes *sizes, plmm_trainer **out,
                                            plmm_error *err);
void plmm_trainer_free(plmm_trainer *t); /* NULL is fine */

/* The workspace, for evaluation and embeddings between runs. */
plmm_workspace *plmm_trainer_workspace(plmm_trainer *t);

/* Trains. below may be NULL or the adapters under the expert's. delta[plmm_travel_count(expert,
 * factors)] gets trained - expert in the travelling coordinates. RANGE for a parameter out of range
 * (named), an example longer than the sizes, or no example; CONFIG for an adapter of another spec;
 * STATE when the delta is not finite (training diverged); what the gradient functions return. delta
 * and *stats are unchanged on failure. */
PLMM_NODISCARD plmm_status plmm_trainer_run(plmm_trainer *t, const plmm_model *model,
                                            const plmm_adapter *expert, const plmm_stack *below,
                                            const plmm_examples *x, const plmm_trainer_params *p,
                                            float *delta, plmm_trainer_stats *stats,
                                            plmm_error *err);

/* The adapter as the last run left it (expert + delta): a device may use it before the new version
 * comes. Valid until the next run. */
const plmm_adapter *plmm_trainer_adapter(const plmm_trainer *t);

#endif
