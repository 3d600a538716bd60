/* nn_internal.h -- what the sources of nn/ share: the sealed model, the kernels of this machine. */
#ifndef PLMM_NN_INTERNAL_H
#define PLMM_NN_INTERNAL_H

#include "kernels.h"
#include "plmm/lora.h"
#include "plmm/model.h"

/* Offsets of a layer's tensors in the flat block. q, k, v lie one after another, so that they are
 * also one matrix [q_dim + 2 kv_dim][dim]; so are their biases; so are gate and up. */
typedef struct plmm__layer {
    size_t norm1, qkv, bias, o, norm2, gate_up, down;
} plmm__layer;

/* Columns of a packed panel: W [out][in] is kept as panels [in][64] of 64 outputs each. */
enum { PLMM__PANEL = 64 };

struct plmm_model {
    plmm_model_config cfg;
    size_t count, views_count;
    float *params;
    plmm_view *views;
    plmm__layer *layers;
    size_t embed, norm, head;   /* head == embed when tied */
    float *packed;              /* transposed panels of every matrix, at the matrix's own offset */
    float *rope_cos, *rope_sin; /* [context][head_dim / 2] */
    bool sealed;
};

static inline size_t plmm__q_dim(const plmm_model_config *c)
{
    return (size_t)c->heads * c->head_dim;
}

static inline size_t plmm__kv_dim(const plmm_model_config *c)
{
    return (size_t)c->kv_heads * c->head_dim;
}

static inline size_t plmm__qkv_dim(const plmm_model_config *c)
{
    return plmm__q_dim(c) + 2 * plmm__kv_dim(c);
}

/* What a frequency f is divided by; 1 without scaling. */
double plmm__rope_factor(const plmm_rope_scaling *s, double f);

/* Radians a position of pair j of a head's head_dim / 2, as Transformers rounds them: the plain
 * frequency to float32, and the scaled one again. */
float plmm__rope_freq(const plmm_model_config *c, size_t j);

/* Same shape, whatever the names and special tokens? */
bool plmm__same_shape(const plmm_model_config *a, const plmm_model_config *b);

#endif
