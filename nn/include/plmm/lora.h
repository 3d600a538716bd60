/* plmm/lora.h -- low-rank adapters (Hu et al., "LoRA", 2021):
 *
 *   W x  becomes  W x + s B (A x),   s = alpha / rank,   A [rank][in], B [out][rank]
 *
 * An adapter is one flat float32 block, all A factors first and all B factors after them, so that a
 * factor is a contiguous range:
 *
 *   [ A of layer 0 .. L-1 | B of layer 0 .. L-1 ]
 *
 * within a layer in the order q, k, v, o, gate, up, down. Views carry PEFT's names, so that a saved
 * adapter is a PEFT directory. A plain container: any number of threads may read it while none
 * writes.
 */
#ifndef PLMM_LORA_H
#define PLMM_LORA_H

#include "plmm/model.h"

enum { PLMM_TARGETS = 7, PLMM_RANK_MAX = 256 };

typedef enum plmm_target {
    PLMM_LORA_Q = 1,
    PLMM_LORA_K = 2,
    PLMM_LORA_V = 4,
    PLMM_LORA_O = 8,
    PLMM_LORA_GATE = 16,
    PLMM_LORA_UP = 32,
    PLMM_LORA_DOWN = 64,
    PLMM_LORA_ATTENTION = 15,
    PLMM_LORA_ALL = 127
} plmm_target;

/* The factors of s B A, as bits: what is trained, and what travels. */
typedef enum plmm_factor {
    PLMM_FACTOR_NONE = 0,
    PLMM_FACTOR_A = 1,
    PLMM_FACTOR_B = 2,
    PLMM_FACTOR_AB = 3
} plmm_factor;

typedef struct plmm_lora_spec {
    uint32_t targets; /* bits of plmm_target, not 0 */
    uint32_t rank;    /* 1..PLMM_RANK_MAX */
    float alpha;      /* > 0; scale s = alpha / rank */
    /* 0 <= p < 1, on the input of A while training; q, k, v (and gate, up) share a mask. */
    float dropout;
} plmm_lora_spec;

typedef struct plmm_adapter plmm_adapter;

/* Adapters on top of one another: effective weights W + sum over i of s_i B_i A_i. Borrows. */
typedef struct plmm_stack {
    const plmm_adapter *const *adapters;
    size_t count; /* 0..PLMM_STACK_MAX */
} plmm_stack;
enum { PLMM_STACK_MAX = 8 };

/* "q_proj" .. "down_proj" for the index 0..6 of a target bit. */
const char *plmm_target_name(unsigned index);

/* Sets in *bits the bit of the matrix called name[0..len): "q_proj" or "q", and so on.
 * PLMM_ERR_CONFIG listing the names, for any other; *bits is then unchanged. */
plmm_status plmm_target_parse(const char *name, size_t len, uint32_t *bits,
                              plmm_error *err) PLMM_NODISCARD;

/* All zero. PLMM_ERR_CONFIG names the field of spec that is out of range; PLMM_ERR_NOMEM. */
plmm_status plmm_adapter_new(const plmm_model_config *cfg, const plmm_lora_spec *spec,
                             plmm_adapter **out, plmm_error *err) PLMM_NODISCARD;
plmm_status plmm_adapter_clone(const plmm_adapter *a, plmm_adapter **out,
                               plmm_error *err) PLMM_NODISCARD;
void plmm_adapter_free(plmm_adapter *a); /* NULL is fine */

/* B = 0 and every A with orthonormal rows (of the row space of a normal matrix drawn from seed), so
 * that the adapter starts as no change at all and a bound on B's change is one on the weights'
 * change. With rank > columns the rows beyond cannot be orthogonal and stay zero. */
void plmm_adapter_init(plmm_adapter *a, uint64_t seed);

/* B = 0 and A uniform in +-1/sqrt(in): PEFT's default (kaiming_uniform with a = sqrt 5). */
void plmm_adapter_init_kaiming(plmm_adapter *a, uint64_t seed);

const plmm_lora_spec *plmm_adapter_spec(const plmm_adapter *a);
const plmm_model_config *plmm_adapter_cfg(const plmm_adapter *a);
float plmm_adapter_scale(const plmm_adapter *a); /* alpha / rank */

float *plmm_adapter_params(plmm_adapter *a);
const float *plmm_adapter_weights(const plmm_adapter *a);
size_t plmm_adapter_count(const plmm_adapter *a); /* floats */

/* The contiguous range of the block that holds the factors (A, B or both). */
void plmm_adapter_range(const plmm_adapter *a, plmm_factor f, size_t *offset, size_t *count);

/* The factors under PEFT's names:
 *   base_model.model.model.layers.I.{self_attn,mlp}.X_proj.lora_A.weight  [rank][in]
 *   base_model.model.model.layers.I.{self_attn,mlp}.X_proj.lora_B.weight  [out][rank]
 * Owned by the adapter; *count is written. */
const plmm_view *plmm_adapter_views(const plmm_adapter *a, size_t *count);

/* Offset of the factor (A or B, not both) of target index 0..6 in a layer; SIZE_MAX if not
 * adapted. */
size_t plmm_adapter_offset(const plmm_adapter *a, uint32_t layer, unsigned index, plmm_factor f);

/* [out][in] of the matrix a target adapts. */
void plmm_target_shape(const plmm_model_config *cfg, unsigned index, size_t *out, size_t *in);

/* Adds s B A to m's weights (which must then be sealed again). PLMM_ERR_CONFIG when the shapes
 * differ, PLMM_ERR_STATE when m is frozen. */
plmm_status plmm_adapter_merge(const plmm_adapter *a, plmm_model *m,
                               plmm_error *err) PLMM_NODISCARD;

#endif
