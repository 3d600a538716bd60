/* Causal attention of packed sequences, by tiles of 32 queries: what lies above the diagonal is
 * computed only inside a tile. Probabilities are kept for the way back. */
#include "engine.h"

#include <math.h>
#include <string.h>

/* One head of one sequence. */
typedef struct head {
    const float *q, *k, *v; /* [len][.] with leading dimension ld */
    float *probs;           /* [len][width] */
    size_t len, width, ld, hd;
} head;

static head head_of(const plmm_workspace *w, const plmm__acts *y, size_t first, size_t len,
                    uint32_t i, float *probs)
{
    const plmm_model_config *c = &w->cfg;
    size_t ld = plmm__qkv_dim(c), q = plmm__q_dim(c), kv = plmm__kv_dim(c);
    size_t shared = i / (c->heads / c->kv_heads);
    const float *row = y->qkv + first * ld;
    return (head){.q = row + (size_t)i * c->head_dim,
                  .k = row + q + shared * c->head_dim,
                  .v = row + q + kv + shared * c->head_dim,
                  .probs = probs,
                  .len = len,
                  .width = plmm__round16(len),
                  .ld = ld,
                  .hd = c->head_dim};
}

/* out[hd][width] = x^T, columns from len on zero. */
static void turn(const plmm_workspace *w, const head *h, const float *x, float *out)
{
    w->k->transpose(h->len, h->hd, x, h->ld, out, h->width);
    for (size_t j = 0; h->len < h->width && j < h->hd; j++) {
        memset(out + j * h->width + h->len, 0, (h->width - h->len) * sizeof *out);
    }
}

static size_t tile_rows(const head *h, size_t s0)
{
    return h->len - s0 < PLMM__QUERY_ROWS ? h->len - s0 : PLMM__QUERY_ROWS;
}

/* Columns that a tile of queries from s0 may look at, rounded up to 16. */
static size_t tile_width(const head *h, size_t s0)
{
    size_t end = s0 + PLMM__QUERY_ROWS;
    return end < h->width ? end : h->width;
}

static void attend(const plmm_workspace *w, const head *h, float *out, size_t ldo)
{
    const plmm__kernels *k = w->k;
    for (size_t s0 = 0; s0 < h->len; s0 += PLMM__QUERY_ROWS) {
        size_t rows = tile_rows(h, s0), cols = tile_width(h, s0);
        float *p = h->probs + s0 * h->width;
        k->gemm(rows, cols, h->hd, h->q + s0 * h->ld, h->ld, 1, w->kt, h->width, p, h->width,
                false);
        for (size_t i = 0; i < rows; i++) {
            k->softmax(p + i * h->width, s0 + i + 1, cols);
        }
        k->gemm(rows, h->hd, s0 + rows, p, h->width, 1, h->v, h->ld, out + s0 * ldo, ldo, false);
    }
}

void plmm__attention(plmm_workspace *w, plmm__acts *y)
{
    const plmm_model_config *c = &w->cfg;
    size_t first = 0, group = c->heads / c->kv_heads, q = plmm__q_dim(c);
    float *probs = y->probs;
    for (size_t s = 0; s < w->chunk.seqs; s++) {
        size_t len = w->chunk.lens[s];
        for (uint32_t i = 0; i < c->heads; i++) {
            head h = head_of(w, y, first, len, i, probs);
            if (i % group == 0) {
                turn(w, &h, h.k, w->kt);
                w->k->scale(w->kt, h.hd * h.width, 1.0f / sqrtf((float)h.hd));
            }
            attend(w, &h, y->mix + first * q + (size_t)i * h.hd, q);
            probs += len * h.width;
        }
        first += len;
    }
}

/* ds = gradient of the scores; dq from it. */
static void queries_back(const plmm_workspace *w, const head *h, const float *dout, size_t ldo,
                         float *dq)
{
    const plmm__kernels *k = w->k;
    float scale = 1.0f / sqrtf((float)h->hd);
    for (size_t s0 = 0; s0 < h->len; s0 += PLMM__QUERY_ROWS) {
        size_t rows = tile_rows(h, s0), cols = tile_width(h, s0);
        float *ds = w->ds + s0 * h->width;
        k->gemm(rows, cols, h->hd, dout + s0 * ldo, ldo, 1, w->vt, h->width, ds, h->width, false);
        for (size_t i = 0; i < rows; i++) {
            k->softmax_back(h->probs + (s0 + i) * h->width, ds + i * h->width, s0 + i + 1, cols,
                            scale);
        }
        k->gemm(rows, h->hd, s0 + rows, ds, h->width, 1, h->k, h->ld, dq + s0 * h->ld, h->ld,
                false);
    }
}

/* dk and dv of the keys, from the queries at and after them; the heads of a group add up. */
static void keys_back(const plmm_workspace *w, const head *h, const float *dout, size_t ldo,
                      float *dk, float *dv, bool accumulate)
{
    const plmm__kernels *k = w->k;
    for (size_t s0 = 0; s0 < h->len; s0 += PLMM__QUERY_ROWS) {
        size_t keys = tile_rows(h, s0), queries = h->len - s0, at = s0 * h->width + s0;
        k->gemm(keys, h->hd, queries, w->ds + at, 1, h->width, h->q + s0 * h->ld, h->ld,
                dk + s0 * h->ld, h->ld, accumulate);
        k->gemm(keys, h->hd, queries, h->probs + at, 1, h->width, dout + s0 * ldo, ldo,
                dv + s0 * h->ld, h->ld, accumulate);
    }
}

void plmm__attention_back(plmm_workspace *w, const plmm__acts *y)
{
    const plmm_model_config *c = &w->cfg;
    size_t first = 0, group = c->heads / c->kv_heads, q = plmm__q_dim(c), kv = plmm__kv_dim(c);
    float *probs = y->probs;
    for (size_t s = 0; s < w->chunk.seqs; s++) {
        size_t len = w->chunk.lens[s];
        for (uint32_t i = 0; i < c->heads; i++) {
            head h = head_of(w, y, first, len, i, probs);
            const float *dout = w->dmix + first * q + (size_t)i * h.hd;
            float *row = w->dqkv + first * h.ld, *dk = row + q + i / group * h.hd;
            if (i % group == 0) {
                turn(w, &h, h.v, w->vt);
            }
            queries_back(w, &h, dout, q, row + (size_t)i * h.hd);
            keys_back(w, &h, dout, q, dk, dk + kv, i % group != 0);
            probs += len * h.width;
        }
        first += len;
    }
}
