/* The backward pass of a chunk, layers from the last to the first: gradients of the last adapter,
 * of the base, or of both. It stops where nothing below is trained. */
#include <string.h>

#include "engine.h"

/* Index of the lowest group with a trained factor, PLMM__GROUPS if none. */
static unsigned lowest_group(const plmm_workspace *w)
{
    for (unsigned t = 0; w->trained != NULL && t < PLMM_TARGETS; t++) {
        if (w->pack.trained[t] != SIZE_MAX) {
            return plmm__target_group(t);
        }
    }
    return PLMM__GROUPS;
}

/* Is the gradient of the input of layer l's group g used by anyone? */
static bool input_needed(const plmm_workspace *w, uint32_t l, unsigned g)
{
    return w->full_grads != NULL || l > 0 || g > lowest_group(w);
}

/* Gradients of the trained factors of one matrix: x[rows][in] is what A read, dy what B's output
 * got. */
static void factor_grads(plmm_workspace *w, uint32_t l, unsigned t, const float *x, const float *dy,
                         size_t ldy)
{
    const plmm__pack *p = &w->pack;
    unsigned g = plmm__target_group(t);
    size_t out = 0, in = 0, rows = w->chunk.count, r = p->rank, width = p->width[g];
    plmm_target_shape(&w->cfg, t, &out, &in);
    if ((w->factors & PLMM_FACTOR_A) != 0) {
        float *grad = w->lora_grads + plmm_adapter_offset(w->trained, l, t, PLMM_FACTOR_A);
        w->k->gemm(r, in, rows, w->dh + p->trained[t], 1, width, x, in, grad, in, true);
    }
    if ((w->factors & PLMM_FACTOR_B) != 0) {
        float *grad = w->lora_grads + plmm_adapter_offset(w->trained, l, t, PLMM_FACTOR_B);
        w->k->gemm(r, out, rows, w->acts[l].h[g] + p->trained[t], 1, width, dy, ldy, w->dbt, out,
                   false);
        for (size_t i = 0; i < out; i++) {
            for (size_t j = 0; j < r; j++) {
                grad[i * r + j] += w->dbt[j * out + i];
            }
        }
    }
}

/* dx += dh A under dropout: the trained columns' part goes through the mask. */
static void masked_input(plmm_workspace *w, uint32_t l, unsigned g, float *dx)
{
    const plmm__pack *p = &w->pack;
    plmm__group group = plmm__group_of(&w->cfg, g);
    size_t rows = w->chunk.count, in = group.in, width = p->width[g];
    const float *a = p->a[g] + l * width * in;
    bool any = false;
    for (unsigned t = group.first; t < group.first + group.count; t++) {
        size_t frozen = p->trained[t] == SIZE_MAX ? p->cols[t] : p->trained[t] - p->col[t];
        if (frozen > 0) {
            w->k->gemm(rows, in, frozen, w->dh + p->col[t], width, 1, a + p->col[t] * in, in, dx,
                       in, true);
        }
        if (p->trained[t] != SIZE_MAX) {
            w->k->gemm(rows, in, p->rank, w->dh + p->trained[t], width, 1, a + p->trained[t] * in,
                       in, w->drop2, in, any);
            any = true;
        }
    }
    if (any) {
        plmm__drop(w, l, g, in, w->drop2, w->drop);
        w->k->add(dx, w->drop, rows * in);
    }
}

/* Adapters of a group, given the gradient dy of the group's output and its input x; adds to dx
 * unless it is NULL (nobody needs it). */
static void adapt_back(plmm_workspace *w, uint32_t l, unsigned g, const float *x, const float *dy,
                       size_t ldy, float *dx)
{
    const plmm__pack *p = &w->pack;
    plmm__group group = plmm__group_of(&w->cfg, g);
    size_t rows = w->chunk.count, in = group.in, width = p->width[g];
    if (width == 0) {
        return;
    }
    bool masked = w->dropout != 0.0f;
    if (masked) {
        plmm__drop(w, l, g, in, x, w->drop);
    }
    for (unsigned t = group.first; t < group.first + group.count; t++) {
        size_t out = 0, cols = p->cols[t];
        plmm_target_shape(&w->cfg, t, &out, &in);
        const float *dyt = dy + plmm__target_column(&w->cfg, t);
        if (cols > 0 && (dx != NULL || (w->factors & PLMM_FACTOR_A) != 0)) {
            w->k->gemm(rows, cols, out, dyt, ldy, 1, p->bs[t] + l * out * cols, cols,
                       w->dh + p->col[t], width, false);
        }
        if (w->trained != NULL && p->trained[t] != SIZE_MAX) {
            factor_grads(w, l, t, masked ? w->drop : x, dyt, ldy);
        }
    }
    if (dx != NULL && masked) {
        masked_input(w, l, g, dx);
    } else if (dx != NULL) {
        w->k->gemm(rows, in, width, w->dh, width, 1, p->a[g] + l * width * in, in, dx, in, true);
    }
}

/* Gradient of a base matrix: += dy^T x. */
static void matrix_grad(plmm_workspace *w, const plmm__matrix *f, const float *dy, const float *x)
{
    if (w->full_grads != NULL) {
        w->k->gemm(f->out, f->in, w->chunk.count, dy, 1, f->out, x, f->in,
                   w->full_grads + f->offset, f->in, true);
    }
}

/* dx[rows][in] = dy[rows][out] W. */
static void linear_back(const plmm_workspace *w, const plmm__matrix *f, const float *dy, float *dx)
{
    plmm__linear_back(f, w->chunk.count, dy, dx, w->scratch);
}

static float *grad_at(const plmm_workspace *w, size_t offset)
{
    return w->full_grads == NULL ? NULL : w->full_grads + offset;
}

/* dx (gradient of the layer's output) becomes that of x2. False: nothing below is needed. */
static bool feed_forward_back(plmm_workspace *w, uint32_t l)
{
    const plmm_model_config *c = &w->cfg;
    const plmm__layer *f = &w->m->layers[l];
    plmm__acts *y = &w->acts[l];
    size_t rows = w->chunk.count, d = c->dim, h = c->hidden;
    bool below = input_needed(w, l, 3);
    if (w->full_grads != NULL || w->pack.width[3] > 0) {
        w->k->silu_mul(rows, h, y->gu, w->act);
        matrix_grad(w, &f->down, w->dx, w->act);
    }
    /* act is input of down's adapters, then memory for its gradient: the adapters' part comes
     * first. */
    float *dact = w->dact;
    if (below) {
        linear_back(w, &f->down, w->dx, dact);
    }
    adapt_back(w, l, 3, w->act, w->dx, d, below ? dact : NULL);
    if (!below) {
        return false;
    }
    w->k->silu_mul_back(rows, h, y->gu, dact, NULL);
    if (w->full_grads != NULL || w->pack.width[2] > 0) {
        w->k->rmsnorm(rows, d, y->x2, f->norm2.x, c->norm_eps, w->n, y->rstd2);
        matrix_grad(w, &f->gate_up, y->gu, w->n);
    }
    below = input_needed(w, l, 2);
    if (below) {
        linear_back(w, &f->gate_up, y->gu, w->dn);
    }
    adapt_back(w, l, 2, w->n, y->gu, 2 * h, below ? w->dn : NULL);
    if (below) {
        w->k->rmsnorm_back(rows, d, y->x2, f->norm2.x, y->rstd2, w->dn, w->dx,
                           grad_at(w, f->norm2.offset));
    }
    return below;
}

/* dx (gradient of x2) becomes that of the layer's input. */
static void attention_half_back(plmm_workspace *w, uint32_t l)
{
    const plmm_model_config *c = &w->cfg;
    const plmm__layer *f = &w->m->layers[l];
    plmm__acts *y = &w->acts[l];
    size_t rows = w->chunk.count, d = c->dim, qkv = plmm__qkv_dim(c);
    bool below = input_needed(w, l, 1);
    matrix_grad(w, &f->o, w->dx, y->mix);
    if (below) {
        linear_back(w, &f->o, w->dx, w->dmix);
    }
    adapt_back(w, l, 1, y->mix, w->dx, d, below ? w->dmix : NULL);
    if (!below) {
        return;
    }
    plmm__attention_back(w, y);
    plmm__rotate_back(w, w->dqkv);
    if (w->full_grads != NULL || w->pack.width[0] > 0) {
        w->k->rmsnorm(rows, d, y->x, f->norm1.x, c->norm_eps, w->n, y->rstd1);
        matrix_grad(w, &f->qkv, w->dqkv, w->n);
    }
    if (w->full_grads != NULL && c->qkv_bias) {
        w->k->sum_rows(w->full_grads + f->bias.offset, w->dqkv, qkv, rows, qkv);
    }
    below = input_needed(w, l, 0);
    if (below) {
        linear_back(w, &f->qkv, w->dqkv, w->dn);
    }
    adapt_back(w, l, 0, w->n, w->dqkv, qkv, below ? w->dn : NULL);
    if (below) {
        w->k->rmsnorm_back(rows, d, y->x, f->norm1.x, y->rstd1, w->dn, w->dx,
                           grad_at(w, f->norm1.offset));
    }
}

void plmm__backward(plmm_workspace *w)
{
    size_t d = w->cfg.dim;
    for (uint32_t l = w->cfg.layers; l-- > 0;) {
        if (w->params.recompute && l + 1 < w->cfg.layers) { /* the last layer is still there */
            plmm__forward_again(w, l);
        }
        if (!feed_forward_back(w, l)) {
            return;
        }
        attention_half_back(w, l);
    }
    for (size_t t = 0; w->full_grads != NULL && t < w->chunk.count; t++) {
        float *row = w->full_grads + w->m->embed.offset + (size_t)w->chunk.tokens[t] * d;
        w->k->add(row, w->dx + t * d, d);
    }
}
