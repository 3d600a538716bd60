/* plmm/train.h -- loss, exact gradients and optimisers.
 *
 * Batches are packed: sequences of any lengths one after another, without padding. Everything a
 * step needs lies in a workspace made beforehand, one a thread; nothing is allocated in a step.
 * Sums over tokens run in a fixed order, so that a result depends on the batch and on the
 * workspace's size (which decides how sequences are grouped), never on the thread or on what the
 * workspace did before.
 *
 * A LoRA step computes no gradient of frozen weights and nothing below the lowest trained factor.
 */
#ifndef PLMM_TRAIN_H
#define PLMM_TRAIN_H

#include "plmm/lora.h"
#include "plmm/model.h"
#include "plmm/pool.h"

/* ---- batches ---- */

/* Packed sequences. Borrows. */
typedef struct plmm_batch {
    const int32_t *tokens;  /* [count] ids, 0..vocab-1 */
    const int32_t *targets; /* [count] id to be predicted from here, or -1: no loss here */
    const uint32_t *lens;   /* [seqs] lengths, each 1..context; they sum to count */
    size_t count, seqs;
} plmm_batch;

/* Number of positions with a target. */
size_t plmm_batch_targets(const plmm_batch *b);

/* ---- workspaces ---- */

typedef enum plmm_workspace_use {
    PLMM_USE_EVAL, /* loss, scores, hidden states */
    PLMM_USE_LORA, /* and gradients of an adapter */
    PLMM_USE_FULL  /* and gradients of the base */
} plmm_workspace_use;

/* tokens: processed at a time, at most (at least seq_max; larger batches are cut between
 * sequences). Beyond 64 tokens (narrow models) or 128 a chunk gains nothing, and no more are taken
 * unless a sequence is longer. */
typedef struct plmm_workspace_params {
    uint32_t tokens;
    uint32_t seq_max; /* longest sequence, 1..tokens */
    uint32_t rank;    /* sum of the ranks in the deepest stack that will be used; 0: no adapters */
    plmm_workspace_use use;
    /* Keep of each layer only its input and compute the rest again on the way back: the same
     * results to the bit for a fraction of the memory and a third more time. */
    bool recompute;
} plmm_workspace_params;

typedef struct plmm_workspace plmm_workspace;

/* Bytes that plmm_workspace_new() will take; SIZE_MAX on overflow. */
size_t plmm_workspace_bytes(const plmm_model_config *cfg, const plmm_workspace_params *p);

/* What training an adapter takes, in octets, all of it allocated before the first step. */
typedef struct plmm_train_memory {
    size_t base;      /* sealed f32 weights, or frozen ones; and the rotary angles */
    size_t workspace; /* one a thread */
    size_t adapter;   /* one a device: the trained factors */
    size_t moments;   /* one a device that keeps them between rounds: AdamW's */
    size_t gradients; /* one a thread */
    size_t total;     /* of one device on one thread; SIZE_MAX on overflow */
} plmm_train_memory;

/* For a model of this shape kept as `base`, an adapter of this spec (a fine one) and no other. p->rank
 * is taken from the spec. */
plmm_train_memory plmm_train_memory_of(const plmm_model_config *cfg, plmm_base base,
                                       const plmm_lora_spec *spec, const plmm_workspace_params *p);

/* For models of exactly this shape. PLMM_ERR_RANGE for sizes outside the ranges above;
 * PLMM_ERR_NOMEM. */
plmm_status plmm_workspace_new(const plmm_model_config *cfg, const plmm_workspace_params *p,
                               plmm_workspace **out, plmm_error *err) PLMM_NODISCARD;
void plmm_workspace_free(plmm_workspace *w); /* NULL is fine */

/* ---- loss and scores (no gradient) ---- */

typedef struct plmm_loss_sum {
    double nll;     /* sum of -log p(target), in nats */
    uint64_t count; /* positions with a target */
    uint64_t hits;  /* of these, positions where the target has the highest probability */
} plmm_loss_sum;

/* Adds the batch's sums to *sum. stack may be NULL (the base alone). Statuses of all computing
 * functions: PLMM_ERR_RANGE for a token, a target, a length or a total rank outside what model and
 * workspace take, PLMM_ERR_STATE for an unsealed model or a workspace made for less,
 * PLMM_ERR_CONFIG for a model or an adapter of another shape. Outputs are unchanged on failure. */
plmm_status plmm_loss(plmm_workspace *w, const plmm_model *m, const plmm_stack *stack,
                      const plmm_batch *b, plmm_loss_sum *sum, plmm_error *err) PLMM_NODISCARD;

/* The same for each sequence: writes per_seq[0..seqs-1]. A sequence whose hits equal its count is
 * one that greedy decoding would answer word for word: thousands of short questions are scored by
 * one pass. */
plmm_status plmm_score(plmm_workspace *w, const plmm_model *m, const plmm_stack *stack,
                       const plmm_batch *b, plmm_loss_sum *per_seq, plmm_error *err) PLMM_NODISCARD;

/* Logits of every position of one sequence: out[n][vocab]. */
plmm_status plmm_logits(plmm_workspace *w, const plmm_model *m, const plmm_stack *stack,
                        const int32_t *tokens, size_t n, float *out,
                        plmm_error *err) PLMM_NODISCARD;

typedef enum plmm_hidden_kind {
    PLMM_HIDDEN_RAW,   /* residual stream after the last layer */
    PLMM_HIDDEN_NORMED /* after the final norm: last_hidden_state of Transformers */
} plmm_hidden_kind;

/* Last hidden states of one sequence: out[n][dim]. Their mean is the embedding of a text. */
plmm_status plmm_hidden(plmm_workspace *w, const plmm_model *m, const plmm_stack *stack,
                        const int32_t *tokens, size_t n, plmm_hidden_kind kind, float *out,
                        plmm_error *err) PLMM_NODISCARD;

/* ---- gradients ---- */

/* Adds scale * d(sum of nll)/d(adapter) to grads, laid out as the block of the LAST adapter of the
 * stack; only the given factors are computed and touched. scale 1/targets gives the mean's
 * gradient; calling again accumulates. dropout_seed names the masks if the spec's dropout is not 0:
 * equal seeds give equal masks at any thread; use a new one for each step. */
plmm_status plmm_grad_lora(plmm_workspace *w, const plmm_model *m, const plmm_stack *stack,
                           plmm_factor factors, const plmm_batch *b, float scale,
                           uint64_t dropout_seed, float *grads, plmm_loss_sum *sum,
                           plmm_error *err) PLMM_NODISCARD;

/* Adds scale * d(sum of nll)/d(base weights) to grads, laid out as plmm_model_params(). */
plmm_status plmm_grad_full(plmm_workspace *w, const plmm_model *m, const plmm_batch *b, float scale,
                           float *grads, plmm_loss_sum *sum, plmm_error *err) PLMM_NODISCARD;

/* ---- data-parallel full gradients ---- */

/* A fixed number of shards, each with a workspace and gradients of its own. A batch is cut into the
 * same shards (runs of whole sequences) and summed in shard order whatever runs them: the result
 * depends on the number of shards, not on the number of threads. */
typedef struct plmm_shards plmm_shards;

plmm_status plmm_shards_new(const plmm_model_config *cfg, const plmm_workspace_params *p,
                            size_t count, plmm_shards **out, plmm_error *err) PLMM_NODISCARD;
void plmm_shards_free(plmm_shards *s);

/* As plmm_grad_full(); with pool NULL the shards run here, one after another. */
plmm_status plmm_shards_grad(plmm_shards *s, plmm_pool *pool, const plmm_model *m,
                             const plmm_batch *b, float scale, float *grads, plmm_loss_sum *sum,
                             plmm_error *err) PLMM_NODISCARD;

/* Another model whose distributions the gradients draw this one to. The gradient becomes that of
 *
 *   (1 - weight) nll + weight temperature^2 KL(teacher || student) + hidden |h_t - h_s|^2 / dim
 *
 * summed over the targets, both distributions softened by the temperature (Hinton, Vinyals and Dean,
 * 2015), h the last hidden states after the final norm. */
typedef struct plmm_teaching {
    const plmm_model *teacher; /* sealed or frozen; borrowed */
    float weight;              /* 0..1 */
    float temperature;         /* in (0, 100]; 2 is usual */
    float hidden;              /* 0..1e6; not 0 only between models of one width */
} plmm_teaching;

/* From now on plmm_shards_grad() and plmm_step_full() learn from a teacher (*t is copied); NULL ends
 * it. Sums of losses stay those of the student alone. PLMM_ERR_CONFIG if the vocabularies, contexts
 * or, for hidden states, widths do not fit; PLMM_ERR_RANGE; PLMM_ERR_NOMEM; then nothing is
 * taught. A teacher that is not sealed makes the gradients fail with PLMM_ERR_STATE. */
plmm_status plmm_shards_teach(plmm_shards *s, const plmm_teaching *t,
                              plmm_error *err) PLMM_NODISCARD;

/* As plmm_loss() without adapters, by shards. */
plmm_status plmm_shards_loss(plmm_shards *s, plmm_pool *pool, const plmm_model *m,
                             const plmm_batch *b, plmm_loss_sum *sum,
                             plmm_error *err) PLMM_NODISCARD;

/* ---- optimiser ---- */

/* Decoupled weight decay (Loshchilov and Hutter, 2019), as torch.optim.AdamW computes it. */
typedef struct plmm_adamw_params {
    float beta1, beta2, eps, decay; /* 0.9, 0.999, 1e-8, 0.01 */
} plmm_adamw_params;
plmm_adamw_params plmm_adamw_params_default(void);

typedef struct plmm_adamw plmm_adamw; /* two moments for each of n parameters, and the step count */

plmm_status plmm_adamw_new(size_t n, const plmm_adamw_params *p, plmm_adamw **out,
                           plmm_error *err) PLMM_NODISCARD;
void plmm_adamw_free(plmm_adamw *o);
void plmm_adamw_reset(plmm_adamw *o); /* moments and step count to 0 */

/* One step over the n parameters the optimiser was made for. */
void plmm_adamw_step(plmm_adamw *o, float *params, const float *grads, float lr);
/* The same for a part of them: only factors of the adapter are read, decayed and changed. */
void plmm_adamw_step_lora(plmm_adamw *o, plmm_adapter *a, plmm_factor factors, const float *grads,
                          float lr);
/* The same for a model, without decay on norms and biases. The model must be sealed again
 * afterwards. */
void plmm_adamw_step_model(plmm_adamw *o, plmm_model *m, const float *grads, float lr);

/* Scales g[n] so that its Euclidean norm is at most max_norm (<= 0: no limit); gives the norm
 * before. */
double plmm_clip_norm(float *g, size_t n, double max_norm);

typedef enum plmm_schedule {
    PLMM_SCHEDULE_CONSTANT,
    PLMM_SCHEDULE_LINEAR,
    PLMM_SCHEDULE_COSINE
} plmm_schedule;

/* Learning rate of step 0..total-1: linear warm-up over the first `warmup` steps to peak, then
 * constant, or falling linearly or as half a cosine to floor * peak at the last step. */
float plmm_schedule_lr(plmm_schedule kind, float peak, float floor, uint64_t step, uint64_t warmup,
                       uint64_t total);

/* ---- one call a step ---- */

typedef struct plmm_step_params {
    float lr;
    float clip;            /* global norm; <= 0: none */
    plmm_factor factors;   /* plmm_step_lora: what is trained */
    uint64_t dropout_seed; /* plmm_step_lora */
} plmm_step_params;

/* Mean gradient over the batch's targets, clipping, AdamW. The adapter trained is the last of the
 * stack, which must be `trained`. grads is scratch of as many floats as the adapter has. *loss (may
 * be NULL) is the mean nll before the step. A batch without targets changes nothing and gives loss
 * 0. */
plmm_status plmm_step_lora(plmm_workspace *w, const plmm_model *m, const plmm_stack *stack,
                           plmm_adapter *trained, plmm_adamw *o, const plmm_batch *b,
                           const plmm_step_params *p, float *grads, double *loss,
                           plmm_error *err) PLMM_NODISCARD;

typedef struct plmm_mezo_params {
    float lr;
    float eps;           /* size of the perturbation, > 0; usually 1e-3 */
    plmm_factor factors; /* what is trained */
    uint64_t seed;       /* names the perturbation: use a new one for each step */
} plmm_mezo_params;

/* A step without a backward pass (MeZO: Malladi et al., "Fine-Tuning Language Models with Just Forward
 * Passes", 2023, algorithm 1): the slope g of the mean loss along a normal vector z drawn from seed,
 * from two losses at +-eps z, then factors -= lr g z. z is drawn again each time it is needed, so a
 * step needs a workspace for evaluation and no memory beside the adapter. Factors differ from their
 * values before +-eps z by rounding. *loss (may be NULL) is the mean of the two. `trained` must be the
 * last of the stack. On failure the adapter is as far as it came within rounding of what it was. */
plmm_status plmm_step_mezo(plmm_workspace *w, const plmm_model *m, const plmm_stack *stack,
                           plmm_adapter *trained, const plmm_batch *b, const plmm_mezo_params *p,
                           double *loss, plmm_error *err) PLMM_NODISCARD;

/* plmm_step_lora() for the base by shards, sealing the model afterwards. */
plmm_status plmm_step_full(plmm_shards *s, plmm_pool *pool, plmm_model *m, plmm_adamw *o,
                           const plmm_batch *b, const plmm_step_params *p, float *grads,
                           double *loss, plmm_error *err) PLMM_NODISCARD;

#endif
