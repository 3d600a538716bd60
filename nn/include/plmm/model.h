/* plmm/model.h -- a language model of the Llama family: its shape and its weights.
 *
 * RMSNorm before attention and before the feed-forward part, rotary positions (Hugging Face's
 * rotate-half convention), grouped-query attention, SwiGLU, a tied or a separate output head, and
 * optionally biases on q, k and v (Qwen2). All weights are float32 and lie in ONE flat block with
 * named views, so that clipping, saving and averaging see one vector.
 *
 * Two phases. FILLING: one thread writes plmm_model_params() (a loader, an initialiser, an
 * optimiser). SEALED: after plmm_model_seal() the weights are only read, by any number of threads.
 * Training the base itself alternates between the two: change, seal, compute.
 */
#ifndef PLMM_MODEL_H
#define PLMM_MODEL_H

#include "plmm/status.h"

/* Llama 3.1's stretched positions (rope_type "llama3"): an angle's frequency f with the wavelength
 * w = 2 pi / f becomes f / factor where w > original / low, stays where w < original / high, and in
 * between is blended linearly in original / w. factor 0: none. */
typedef struct plmm_rope_scaling {
    float factor;      /* 0, or 1..1e6; 8 or 32 in published models */
    float low, high;   /* 0 < low < high; usually 1 and 4 */
    uint32_t original; /* positions before the stretching, 1..1048576; usually 8192 */
} plmm_rope_scaling;

typedef struct plmm_model_config {
    uint32_t dim;      /* width of the residual stream, 1..65536 */
    uint32_t layers;   /* 1..1024 */
    uint32_t heads;    /* query heads, 1..4096 */
    uint32_t kv_heads; /* key/value heads; divides heads */
    uint32_t head_dim; /* even, 2..1024; usually dim / heads */
    uint32_t hidden;   /* width of the feed-forward part, 1..1048576 */
    uint32_t vocab;    /* 1..1048576 */
    uint32_t context;  /* positions 0..context-1, 1..1048576 */
    float rope_theta;  /* base of the rotary angles, > 0; usually 10000 */
    plmm_rope_scaling rope_scaling;
    float norm_eps; /* RMSNorm's epsilon, >= 0; 1e-5 or 1e-6 */
    bool tied;      /* the output head is the embedding */
    bool qkv_bias;
    int32_t bos, eos, pad; /* special token ids; -1: none */
} plmm_model_config;

/* One tensor of a flat block: row-major [rows][cols] at block + offset (in floats); a vector has
 * rows == 1. Views tile their block without gaps, in order of offset. */
typedef struct plmm_view {
    char name[112]; /* as Hugging Face or PEFT names it */
    size_t offset, rows, cols;
} plmm_view;

typedef struct plmm_model plmm_model;

/* PLMM_ERR_CONFIG naming the field, its value and its range, when cfg is not a model we can run. */
plmm_status plmm_model_config_check(const plmm_model_config *cfg, plmm_error *err) PLMM_NODISCARD;

/* A model with all weights zero (copies cfg). PLMM_ERR_CONFIG, PLMM_ERR_NOMEM. */
plmm_status plmm_model_new(const plmm_model_config *cfg, plmm_model **out,
                           plmm_error *err) PLMM_NODISCARD;
void plmm_model_free(plmm_model *m); /* NULL is fine */

/* Fills the weights: norms 1, biases 0, matrices normal with sd 0.02, those that write into the
 * residual stream (o_proj, down_proj) with sd 0.02 / sqrt(2 layers) (GPT-2's rule). A function of
 * cfg and seed. */
void plmm_model_init_random(plmm_model *m, uint64_t seed);

const plmm_model_config *plmm_model_cfg(const plmm_model *m);

/* The flat block of plmm_model_count() floats (NULL when frozen), row-major, in the order of the views; owned by the
 * model. A sealed model does not notice that it is written to: call plmm_model_seal() again before
 * the next computation, which otherwise uses the old packed copies. */
float *plmm_model_params(plmm_model *m);
const float *plmm_model_weights(const plmm_model *m); /* the same block, for reading */
size_t plmm_model_count(const plmm_model *m);

/* The tensors under Hugging Face names, matrices as [out][in]:
 *   model.embed_tokens.weight                       [vocab][dim]
 *   model.layers.I.input_layernorm.weight           [1][dim]
 *   model.layers.I.self_attn.q_proj.weight          [heads * head_dim][dim]
 *   model.layers.I.self_attn.{k,v}_proj.weight      [kv_heads * head_dim][dim]
 *   model.layers.I.self_attn.{q,k,v}_proj.bias      [1][rows of the weight], only with qkv_bias
 *   model.layers.I.self_attn.o_proj.weight          [dim][heads * head_dim]
 *   model.layers.I.post_attention_layernorm.weight  [1][dim]
 *   model.layers.I.mlp.{gate,up}_proj.weight        [hidden][dim]
 *   model.layers.I.mlp.down_proj.weight             [dim][hidden]
 *   model.norm.weight                               [1][dim]
 *   lm_head.weight                                  [vocab][dim], only when not tied
 * Owned by the model; *count is written. */
const plmm_view *plmm_model_views(const plmm_model *m, size_t *count);

/* View called name, or NULL. */
const plmm_view *plmm_model_find(const plmm_model *m, const char *name);

/* Builds what the kernels want (transposed panels of every matrix: as many bytes again as the
 * weights). May be called again after the weights changed. PLMM_ERR_NOMEM only at the first call;
 * PLMM_ERR_RANGE when a weight is not finite, naming its tensor. */
plmm_status plmm_model_seal(plmm_model *m, plmm_error *err) PLMM_NODISCARD;
bool plmm_model_sealed(const plmm_model *m);

/* ---- a frozen base ---- */

/* What the matrices of a model are kept as. Vectors (norms, biases) are always f32. */
typedef enum plmm_base {
    PLMM_BASE_F32,
    PLMM_BASE_BF16, /* bfloat16 in both directions: 4 octets a weight, and products of half width
                       where the processor is fast at them */
    PLMM_BASE_INT8, /* blocks of 32 with a scale, GGUF's Q8_0: 8.5 bits a weight */
    PLMM_BASE_INT4  /* the same with 4 bits, Q4_0: 4.5 bits a weight */
} plmm_base;

/* Rounds the matrices to `base` and gives the flat block and its panels back: the model can then be
 * trained by adapters, scored and generated with, but its weights neither changed nor read
 * (plmm_model_params() and _weights() give NULL). It is sealed. PLMM_BASE_F32 only seals. Allocates
 * what the new form takes before it frees the old. PLMM_ERR_STATE when it is frozen already;
 * PLMM_ERR_RANGE as plmm_model_seal(); PLMM_ERR_NOMEM; the model is unchanged on failure. */
plmm_status plmm_model_freeze(plmm_model *m, plmm_base base, plmm_error *err) PLMM_NODISCARD;
plmm_base plmm_model_base(const plmm_model *m);

/* Gives view i (of plmm_model_views) as rows * cols float32. */
typedef plmm_status (*plmm_view_reader)(void *ctx, const plmm_view *view, size_t i, float *out,
                                        plmm_error *err);

/* A model frozen from the start: read is called for each view in turn, and each matrix rounded
 * before the next is asked for, so that no more than the largest matrix (of q, k, v together, of gate
 * and up, the embedding) is ever there in float32. Equal to the bit to a model that was filled and
 * then frozen; PLMM_BASE_F32 gives that model, sealed. The errors of plmm_model_new(), of
 * plmm_model_freeze() and of read. */
plmm_status plmm_model_new_frozen(const plmm_model_config *cfg, plmm_base base,
                                  plmm_view_reader read, void *ctx, plmm_model **out,
                                  plmm_error *err) PLMM_NODISCARD;

/* Name of the instruction set that the kernels of this process use: "avx512", "avx2" or "baseline".
 * Results are equal to the bit between runs on one instruction set, not between two. */
const char *plmm_nn_isa(void);

#endif
