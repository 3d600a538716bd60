/* nn_internal.h -- what the sources of nn/ share: the sealed model, the kernels of this machine. */
#ifndef PLMM_NN_INTERNAL_H
#define PLMM_NN_INTERNAL_H

#include "half.h"
#include "kernels.h"
#include "plmm/lora.h"
#include "plmm/model.h"
#include "quant.h"

/* A frozen matrix, or one of the flat block. Products read it through linear.c alone. */
typedef struct plmm__matrix {
    size_t offset;         /* of its first row in the flat block */
    size_t out, in;        /* it is [out][in] */
    const float *rows;     /* f32, in the flat block; NULL when frozen */
    const float *panels;   /* f32, sealed: its transpose, by panels [in][64] of 64 outputs each */
    const uint8_t *blocks; /* int8, 4-bit: rows of row_bytes, see quant.h */
    size_t row_bytes;
    plmm__quant quant;        /* of blocks */
    const uint16_t *forward;  /* bf16: the panels above, [in rounded up to even][64] */
    const uint16_t *backward; /* bf16: panels [out rounded up to even][64] of 64 inputs each */
    const plmm__half *half;   /* what they are prepared for; NULL: they are plain bfloat16 */
    float half_scale;
} plmm__matrix;

typedef struct plmm__vector {
    size_t offset; /* in the flat block */
    const float *x;
} plmm__vector;

/* A layer's tensors. q, k, v lie one after another in the flat block, so that they are also one
 * matrix [q_dim + 2 kv_dim][dim]; so are their biases; so are gate and up. */
typedef struct plmm__layer {
    plmm__vector norm1, bias, norm2;
    plmm__matrix qkv, o, gate_up, down;
} plmm__layer;

/* Columns of a panel. */
enum { PLMM__PANEL = 64 };

struct plmm_model {
    plmm_model_config cfg;
    plmm_base base;
    size_t count, views_count;
    float *params; /* the flat block; NULL when frozen */
    plmm_view *views;
    plmm__layer *layers;
    plmm__matrix embed, head; /* equal when tied */
    plmm__vector norm;
    float *packed; /* panels of every matrix, at the matrix's own offset; NULL when frozen */
    void *frozen;  /* everything, when frozen */
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

/* PEFT's name of factor f, 'A' or 'B', of a target's matrix. */
void plmm__factor_name(char out[112], uint32_t layer, unsigned target, char f);

/* What a frequency f is divided by; 1 without scaling. */
double plmm__rope_factor(const plmm_rope_scaling *s, double f);

/* Radians a position of pair j of a head's head_dim / 2, as Transformers rounds them: the plain
 * frequency to float32, and the scaled one again. */
float plmm__rope_freq(const plmm_model_config *c, size_t j);

/* A model without memory for its weights: its views and where its matrices lie. */
plmm_status plmm__model_outline(const plmm_model_config *cfg, plmm_model **out,
                                plmm_error *err) PLMM_NODISCARD;

/* ---- storage.c ---- */

/* Points the matrices and vectors to where they lie: the flat block, the panels, the frozen block.
 */
void plmm__bind(plmm_model *m);

/* Octets of a sealed or frozen model's weights and angles. */
size_t plmm__base_bytes(const plmm_model_config *c, plmm_base base);

/* out[in] = row i of w, as products see it. */
void plmm__matrix_row(const plmm__matrix *w, size_t i, float *out);

/* ---- linear.c ---- */

/* Floats of scratch memory that a product needs. */
enum { PLMM__BLOCK_K = 256, PLMM__SCRATCH = 2 * PLMM__BLOCK_K * PLMM__PANEL };

/* y[rows][out] (+)= x[rows][in] W^T, of a sealed or frozen matrix; y has the leading dimension ldy.
 */
void plmm__linear(const plmm__matrix *w, size_t rows, const float *x, float *y, size_t ldy,
                  bool accumulate, float *scratch);

/* dx[rows][in] = dy[rows][out] W. */
void plmm__linear_back(const plmm__matrix *w, size_t rows, const float *dy, float *dx,
                       float *scratch);

/* Cosines and sines [positions][head_dim / 2], whose angles are rounded to float32 as Transformers
 * does. */
void plmm__rope_tables(const plmm_model_config *c, size_t positions, float *cosines, float *sines);

/* Do equal positions of both have equal angles (of models of one shape)? */
bool plmm__same_angles(const plmm_model_config *a, const plmm_model_config *b);

/* Same shape, whatever the names and special tokens? */
bool plmm__same_shape(const plmm_model_config *a, const plmm_model_config *b);

#endif
