/* engine.h -- the computation: packed adapters, the workspace, forward, backward.
 *
 * Matrices that read the same input form a group: {q, k, v}, {o}, {gate, up}, {down}. The adapters
 * of a group are packed side by side, so that a whole stack costs one narrow product in and one out
 * a matrix. A computation is: plmm__begin (checks, packs), then for each chunk of whole sequences
 * plmm__forward, plmm__head and, for gradients, plmm__backward.
 */
#ifndef PLMM_NN_ENGINE_H
#define PLMM_NN_ENGINE_H

#include "nn_internal.h"
#include "plmm/train.h"

enum { PLMM__GROUPS = 4, PLMM__HEAD_ROWS = 64, PLMM__QUERY_ROWS = 32 };

/* ---- memory carved from one block ---- */

/* With base NULL only the size is counted. */
typedef struct plmm__arena {
    char *base;
    size_t used;
    bool overflow;
} plmm__arena;

/* n elements of size bytes, aligned to PLMM_ALIGN; NULL while counting. */
void *plmm__carve(plmm__arena *a, size_t n, size_t size);
float *plmm__carve_floats(plmm__arena *a, size_t rows, size_t cols);

/* ---- groups of targets ---- */

typedef struct plmm__group {
    unsigned first, count; /* target indices */
    size_t in;
} plmm__group;

plmm__group plmm__group_of(const plmm_model_config *c, unsigned g);
unsigned plmm__target_group(unsigned target);
/* Column of a target's output in its group's output row: k after q, up after gate. */
size_t plmm__target_column(const plmm_model_config *c, unsigned target);

/* ---- a packed stack ---- */

typedef struct plmm__pack {
    size_t width[PLMM__GROUPS];                   /* columns of a group */
    size_t col[PLMM_TARGETS], cols[PLMM_TARGETS]; /* of a target, within its group */
    size_t trained[PLMM_TARGETS]; /* first column of the last adapter; SIZE_MAX: none */
    size_t rank;                  /* of the last adapter */
    /* All layers; a layer's part is in * width or out * cols floats. */
    float *at[PLMM__GROUPS]; /* [in][width], scaled */
    float *a[PLMM__GROUPS];  /* [width][in] */
    float *bt[PLMM_TARGETS]; /* [cols][out] */
    float *bs[PLMM_TARGETS]; /* [out][cols], scaled */
    float *mem;
    uint32_t rank_max;
    bool backward;
} plmm__pack;

/* Reserves memory for stacks of at most rank in total; backward: also a and bs. */
void plmm__pack_carve(plmm__pack *p, plmm__arena *arena, const plmm_model_config *c, uint32_t rank,
                      bool backward);
/* PLMM_ERR_CONFIG: another model's adapter; PLMM_ERR_RANGE: too many or too high ranks. */
plmm_status plmm__pack_check(const plmm__pack *p, const plmm_model_config *c,
                             const plmm_stack *stack, plmm_error *err);
/* Writes the stack (NULL: no adapters), which was checked. */
void plmm__pack_fill(plmm__pack *p, const plmm_model_config *c, const plmm_stack *stack);

/* y[rows][..] += what the group's adapters do to x[rows][in]; h[rows][width] keeps the inner
 * values. */
void plmm__pack_apply(const plmm__pack *p, const plmm_model_config *c, uint32_t layer, unsigned g,
                      size_t rows, const float *x, float *h, float *y, size_t ldy);

/* ---- the workspace ---- */

/* What a layer keeps for its backward pass. */
typedef struct plmm__acts {
    float *x;               /* [T][dim] input */
    float *rstd1;           /* [T] */
    float *qkv;             /* [T][qkv_dim], q and k rotated */
    float *probs;           /* attention: for each sequence and head [len][len rounded up to 16] */
    float *mix;             /* [T][q_dim] attention's output */
    float *x2;              /* [T][dim] after attention */
    float *rstd2;           /* [T] */
    float *gu;              /* [T][2 hidden] gate | up */
    float *h[PLMM__GROUPS]; /* [T][width] inside the adapters */
} plmm__acts;

struct plmm_workspace {
    plmm_model_config cfg;
    plmm_workspace_params params;
    char *mem;
    plmm__acts *acts; /* [layers]; in a workspace for evaluation all the same memory */
    plmm__pack pack;

    float *xf;                        /* [T][dim] after the last layer */
    float *sel, *nsel, *rstdf, *dsel; /* [T][dim] rows with a target, normed, and their gradient */
    plmm_loss_sum *sums;              /* [T] of the chunk's sequences */
    uint32_t *rows;                   /* [T] where they come from */
    float *logits;                    /* [64][vocab] */
    float *scratch;                   /* of products */
    float *n;                         /* [T][dim] a norm's output */
    float *act, *dact;                /* [T][hidden] */
    float *rope_cos, *rope_sin;       /* [seq_max][head_dim / 2] */
    float *kt, *vt, *ds; /* attention: [head_dim][S], the same, [S][S] with S rounded up to 16 */
    float *dx, *dn;      /* [T][dim] */
    float *dqkv, *dmix;  /* [T][qkv_dim], [T][q_dim] */
    float *dh;           /* [T][widest group] */
    float *dbt;          /* [rank][widest output] */
    float *drop, *drop2; /* [T][widest input], dropout only */

    /* The running computation. */
    const plmm_model *m;
    const plmm__kernels *k;
    plmm_batch chunk;   /* whole sequences, at most params.tokens */
    size_t chunk_first; /* index of its first token in the batch */
    plmm_factor factors;
    float *lora_grads;
    const plmm_adapter *trained; /* NULL: none */
    float *full_grads;
    float scale;
    float dropout;
    uint64_t dropout_seed;
    const plmm_teaching *teaching; /* NULL: none */
    plmm_workspace *tutor; /* the teacher's, for as many tokens; its computation has begun */
    float *tutor_row;      /* [vocab] */
};

/* plmm_grad_full with a teacher (NULL: none), whose workspace takes chunks as long as w does. */
plmm_status plmm__grad_taught(plmm_workspace *w, const plmm_model *m, const plmm_teaching *t,
                              plmm_workspace *tutor, float *row, const plmm_batch *b, float scale,
                              float *grads, plmm_loss_sum *sum, plmm_error *err);

/* Checks everything a caller may get wrong and packs the stack. */
plmm_status plmm__begin(plmm_workspace *w, const plmm_model *m, const plmm_stack *stack,
                        const plmm_batch *b, plmm_error *err);

/* Advances the chunk to the next sequences of b; false at the end. Start with chunk = {0}. */
bool plmm__next_chunk(plmm_workspace *w, const plmm_batch *b);

/* Runs the chunk to xf. */
void plmm__forward(plmm_workspace *w);

/* Fills what layer l's backward pass needs from its input again; changes n, act and dn. */
void plmm__forward_again(plmm_workspace *w, uint32_t l);

/* Losses of the chunk, one record a sequence from per_seq on; with gradients (scale not 0) also
 * dx. */
void plmm__head(plmm_workspace *w, plmm_loss_sum *per_seq);

/* out[T][in] = the chunk's x under the dropout mask of a layer's group. */
void plmm__drop(const plmm_workspace *w, uint32_t l, unsigned g, size_t in, const float *x,
                float *out);

/* Undoes the rotation of q and k in gradients. */
void plmm__rotate_back(const plmm_workspace *w, float *dqkv);

/* From dx to the gradients asked for. */
void plmm__backward(plmm_workspace *w);

/* Mixed attention of the chunk's rotated qkv into mix, keeping probs; and back from dmix to
 * dqkv. */
void plmm__attention(plmm_workspace *w, plmm__acts *y);
void plmm__attention_back(plmm_workspace *w, const plmm__acts *y);

static inline size_t plmm__round16(size_t n)
{
    return (n + 15) / 16 * 16;
}

#endif
