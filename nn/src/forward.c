/* The forward pass of a chunk of packed sequences: norms, products with the sealed panels, rotary
 * positions, attention (attention.c), SwiGLU, and the adapters on top of each product. What the
 * backward pass needs is kept in the workspace, a layer after the other. */
#include <math.h>
#include <string.h>

#include "engine.h"
#include "teach.h"

/* Names the mask of a layer's group: unrelated seeds give unrelated masks. */
static uint64_t mask_seed(const plmm_workspace *w, uint32_t l, unsigned g)
{
    uint64_t x = w->dropout_seed + (l * (uint64_t)PLMM__GROUPS + g + 1) * 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

void plmm__drop(const plmm_workspace *w, uint32_t l, unsigned g, size_t in, const float *x,
                float *out)
{
    w->k->dropout(x, out, w->chunk.count * in, mask_seed(w, l, g), (uint64_t)w->chunk_first * in,
                  w->dropout);
}

/* The adapters of a group. Under dropout the trained one reads a masked copy of x. */
static void adapt(plmm_workspace *w, uint32_t l, unsigned g, const float *x, float *y, size_t ldy)
{
    const plmm__pack *p = &w->pack;
    plmm__group group = plmm__group_of(&w->cfg, g);
    size_t rows = w->chunk.count, width = p->width[g];
    float *h = w->acts[l].h[g];
    if (width == 0) {
        return;
    }
    if (w->dropout == 0.0f) {
        plmm__pack_apply(p, &w->cfg, l, g, rows, x, h, y, ldy);
        return;
    }
    const float *at = p->at[g] + l * group.in * width;
    w->k->gemm(rows, width, group.in, x, group.in, 1, at, width, h, width, false);
    plmm__drop(w, l, g, group.in, x, w->drop);
    for (unsigned t = group.first; t < group.first + group.count; t++) {
        size_t col = p->trained[t];
        if (col != SIZE_MAX) {
            w->k->gemm(rows, p->rank, group.in, w->drop, group.in, 1, at + col, width, h + col,
                       width, false);
        }
    }
    plmm__pack_apply(p, &w->cfg, l, g, rows, NULL, h, y, ldy);
}

static void rotate(const plmm_workspace *w, float *qkv, float sign)
{
    const plmm_model_config *c = &w->cfg;
    size_t first = 0, ld = plmm__qkv_dim(c);
    for (size_t s = 0; s < w->chunk.seqs; s++) {
        w->k->rope(w->chunk.lens[s], qkv + first * ld, ld, c->heads + c->kv_heads, c->head_dim,
                   w->rope_cos, w->rope_sin, sign);
        first += w->chunk.lens[s];
    }
}

void plmm__rotate_back(const plmm_workspace *w, float *dqkv)
{
    rotate(w, dqkv, -1.0f);
}

static void attention_half(plmm_workspace *w, uint32_t l)
{
    const plmm_model_config *c = &w->cfg;
    const plmm__layer *f = &w->m->layers[l];
    plmm__acts *y = &w->acts[l];
    size_t rows = w->chunk.count, qkv = plmm__qkv_dim(c);
    w->k->rmsnorm(rows, c->dim, y->x, f->norm1.x, c->norm_eps, w->n, y->rstd1);
    plmm__linear(&f->qkv, rows, w->n, y->qkv, qkv, false, w->scratch);
    if (c->qkv_bias) {
        w->k->add_rows(y->qkv, qkv, f->bias.x, rows, qkv);
    }
    adapt(w, l, 0, w->n, y->qkv, qkv);
    rotate(w, y->qkv, 1.0f);
    plmm__attention(w, y);
    memcpy(y->x2, y->x, rows * c->dim * sizeof *y->x);
    plmm__linear(&f->o, rows, y->mix, y->x2, c->dim, true, w->scratch);
    adapt(w, l, 1, y->mix, y->x2, c->dim);
}

/* gu of the layer, and act. */
static void gate_up(plmm_workspace *w, uint32_t l)
{
    const plmm_model_config *c = &w->cfg;
    const plmm__layer *f = &w->m->layers[l];
    plmm__acts *y = &w->acts[l];
    size_t rows = w->chunk.count, h = c->hidden;
    w->k->rmsnorm(rows, c->dim, y->x2, f->norm2.x, c->norm_eps, w->n, y->rstd2);
    plmm__linear(&f->gate_up, rows, w->n, y->gu, 2 * h, false, w->scratch);
    adapt(w, l, 2, w->n, y->gu, 2 * h);
    w->k->silu_mul(rows, h, y->gu, w->act);
}

static void feed_forward_half(plmm_workspace *w, uint32_t l, float *out)
{
    const plmm_model_config *c = &w->cfg;
    const plmm__layer *f = &w->m->layers[l];
    plmm__acts *y = &w->acts[l];
    size_t rows = w->chunk.count;
    gate_up(w, l);
    memcpy(out, y->x2, rows * c->dim * sizeof *out);
    plmm__linear(&f->down, rows, w->act, out, c->dim, true, w->scratch);
    adapt(w, l, 3, w->act, out, c->dim);
}

void plmm__forward_again(plmm_workspace *w, uint32_t l)
{
    attention_half(w, l);
    if (w->pack.width[3] > 0) { /* the inner values of down's adapters */
        feed_forward_half(w, l, w->dn);
    } else {
        gate_up(w, l);
    }
}

void plmm__forward(plmm_workspace *w)
{
    const plmm_model_config *c = &w->cfg;
    for (size_t t = 0; t < w->chunk.count; t++) {
        plmm__matrix_row(&w->m->embed, (size_t)w->chunk.tokens[t], w->acts[0].x + t * c->dim);
    }
    for (uint32_t l = 0; l < c->layers; l++) {
        attention_half(w, l);
        feed_forward_half(w, l, l + 1 < c->layers ? w->acts[l + 1].x : w->xf);
    }
}

/* ---- the output head ---- */

/* Gathers the rows of xf that have a target; returns their number. */
static size_t select_rows(plmm_workspace *w)
{
    size_t n = 0, d = w->cfg.dim;
    for (size_t t = 0; t < w->chunk.count; t++) {
        if (w->chunk.targets[t] >= 0) {
            memcpy(w->sel + n * d, w->xf + t * d, d * sizeof *w->sel);
            w->rows[n++] = (uint32_t)t;
        }
    }
    return n;
}

/* Losses of the selected rows i0.. of a block whose logits are computed, in row order. */
static void block_losses(plmm_workspace *w, size_t i0, size_t rows, plmm_loss_sum *per_seq,
                         size_t *seq, size_t *seq_end)
{
    for (size_t i = 0; i < rows; i++) {
        size_t t = w->rows[i0 + i];
        while (t >= *seq_end) {
            *seq_end += w->chunk.lens[++*seq];
        }
        bool hit = false;
        per_seq[*seq].nll +=
            w->k->cross_entropy(w->logits + i * w->cfg.vocab, w->cfg.vocab,
                                (size_t)w->chunk.targets[t], plmm__own_scale(w), &hit);
        per_seq[*seq].count++;
        per_seq[*seq].hits += hit;
    }
}

/* From the block's logit gradients to dsel (still before the norm) and the head's gradient. */
static void block_back(plmm_workspace *w, size_t i0, size_t rows)
{
    size_t d = w->cfg.dim, vocab = w->cfg.vocab;
    plmm__linear_back(&w->m->head, rows, w->logits, w->dn + i0 * d, w->scratch);
    if (w->full_grads != NULL) {
        w->k->gemm(vocab, d, rows, w->logits, 1, vocab, w->nsel + i0 * d, d,
                   w->full_grads + w->m->head.offset, d, true);
    }
}

/* Through the final norm, and the rows back to their places in dx. */
static void scatter_back(plmm_workspace *w, size_t n)
{
    size_t d = w->cfg.dim;
    float *gain = w->full_grads == NULL ? NULL : w->full_grads + w->m->norm.offset;
    memset(w->dsel, 0, n * d * sizeof *w->dsel);
    w->k->rmsnorm_back(n, d, w->sel, w->m->norm.x, w->rstdf, w->dn, w->dsel, gain);
    memset(w->dx, 0, w->chunk.count * d * sizeof *w->dx);
    for (size_t i = 0; i < n; i++) {
        memcpy(w->dx + w->rows[i] * d, w->dsel + i * d, d * sizeof *w->dx);
    }
}

void plmm__head(plmm_workspace *w, plmm_loss_sum *per_seq)
{
    const plmm_model_config *c = &w->cfg;
    size_t n = select_rows(w), d = c->dim, seq = 0, seq_end = w->chunk.lens[0];
    bool taught = w->teaching != NULL;
    w->k->rmsnorm(n, d, w->sel, w->m->norm.x, c->norm_eps, w->nsel, w->rstdf);
    if (taught) {
        plmm__teach_forward(w, n);
    }
    for (size_t i = 0; i < n; i += PLMM__HEAD_ROWS) {
        size_t rows = n - i < PLMM__HEAD_ROWS ? n - i : PLMM__HEAD_ROWS;
        plmm__linear(&w->m->head, rows, w->nsel + i * d, w->logits, c->vocab, false, w->scratch);
        if (taught) {
            plmm__teach_logits(w, i, rows);
        }
        block_losses(w, i, rows, per_seq, &seq, &seq_end);
        if (taught) {
            plmm__teach_add(w, rows);
        }
        if (w->scale != 0.0f) {
            block_back(w, i, rows);
        }
    }
    if (taught) {
        plmm__teach_hidden(w, n);
    }
    if (w->scale != 0.0f) {
        scatter_back(w, n);
    }
}
