/* Decoding with a key-value cache. A pass takes rows of any mix, prompts and single tokens of many
 * texts, through the model together; only attention looks at each text's own cache, and adapters at
 * each text's own. Every product sums in the same order whatever its rows, so a text does not depend
 * on its company. */
#include "decode.h"

#include <math.h>
#include <string.h>

#include "few.h"
#include "plmm/alloc.h"

enum { PREFILL_ROWS = 64 };

/* ---- memory ---- */

static void carve(plmm_decoder *d, plmm__arena *a)
{
    const plmm_model_config *c = &d->cfg;
    size_t rows = d->rows_max, slots = d->params.slots;
    size_t cache = (size_t)c->layers * plmm__kv_dim(c), packs = d->params.own_adapters ? slots : 1;
    plmm__pack *p = plmm__carve(a, packs, sizeof *p);
    d->packs = p;
    for (size_t i = 0; i < packs; i++) {
        plmm__pack ignored; /* while counting there are none */
        plmm__pack_carve(p != NULL ? &p[i] : &ignored, a, c, d->params.rank, false);
    }
    d->keys = plmm__carve_floats(a, slots * cache, d->ld);
    d->values = plmm__carve_floats(a, slots * cache, d->ld);
    d->rope_cos = plmm__carve_floats(a, d->params.positions, c->head_dim / 2);
    d->rope_sin = plmm__carve_floats(a, d->params.positions, c->head_dim / 2);
    d->x = plmm__carve_floats(a, rows, c->dim);
    d->n = plmm__carve_floats(a, rows, c->dim);
    d->qkv = plmm__carve_floats(a, rows, plmm__qkv_dim(c));
    d->mix = plmm__carve_floats(a, rows, plmm__q_dim(c));
    d->gu = plmm__carve_floats(a, rows, 2 * (size_t)c->hidden);
    d->act = plmm__carve_floats(a, rows, c->hidden);
    d->h = plmm__carve_floats(a, rows, (size_t)3 * d->params.rank);
    d->rstd = plmm__carve_floats(a, rows, 1);
    d->scores = plmm__carve_floats(a, c->heads / c->kv_heads, d->ld);
    d->logits = plmm__carve_floats(a, d->logits_max, c->vocab);
    d->scratch = plmm__carve_floats(a, 1, PLMM__SCRATCH);
    d->rows = plmm__carve(a, rows, sizeof *d->rows);
    d->wanted = plmm__carve(a, d->logits_max, sizeof *d->wanted);
    d->slots = plmm__carve(a, slots, sizeof *d->slots);
    d->candidates = plmm__carve(a, c->vocab, sizeof *d->candidates);
}

static plmm_status check_params(const plmm_model_config *c, const plmm_decoder_params *p,
                                plmm_error *err)
{
    PLMM_TRY(plmm_model_config_check(c, err));
    if (p->slots < 1 || p->slots > 1024) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot make a decoder: slots is %u, must be 1..1024",
                         p->slots);
    }
    if (p->positions < 1 || p->positions > c->context) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot make a decoder: positions is %u, must be 1..%u (the context)",
                         p->positions, c->context);
    }
    if (p->lookahead > PLMM_LOOKAHEAD_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot make a decoder: lookahead is %u, at most %d",
                         p->lookahead, (int)PLMM_LOOKAHEAD_MAX);
    }
    if (p->rank > PLMM_STACK_MAX * PLMM_RANK_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot make a decoder: rank is %u, at most %d",
                         p->rank, PLMM_STACK_MAX * PLMM_RANK_MAX);
    }
    return PLMM_OK;
}

plmm_status plmm_decoder_new(const plmm_model_config *cfg, const plmm_decoder_params *p,
                             plmm_decoder **out, plmm_error *err)
{
    PLMM_TRY(check_params(cfg, p, err));
    plmm_decoder *d = plmm_alloc(1, sizeof *d);
    plmm__arena a = {0};
    if (d != NULL) {
        d->cfg = *cfg;
        d->params = *p;
        d->rows_max = p->slots > PREFILL_ROWS ? p->slots : PREFILL_ROWS;
        d->logits_max = p->slots > p->lookahead + 1 ? p->slots : p->lookahead + 1;
        d->ld = plmm__round16(p->positions);
        d->integers = p->slots <= PLMM__FEW;
        carve(d, &a);
        d->mem = a.overflow ? NULL : plmm_alloc(a.used, 1);
    }
    if (d == NULL || d->mem == NULL) {
        plmm_decoder_free(d);
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot make a decoder: no memory for %zu MiB",
                         a.used >> 20);
    }
    a = (plmm__arena){.base = d->mem};
    carve(d, &a);
    plmm__rope_tables(&d->cfg, d->params.positions, d->rope_cos, d->rope_sin);
    *out = d;
    return PLMM_OK;
}

void plmm_decoder_free(plmm_decoder *d)
{
    if (d != NULL) {
        plmm_free(d->mem);
        plmm_free(d);
    }
}

/* ---- one pass ---- */

size_t plmm__cache_at(const plmm_decoder *d, uint32_t slot, uint32_t l, uint32_t kv_head)
{
    const plmm_model_config *c = &d->cfg;
    size_t heads = ((size_t)slot * c->layers + l) * c->kv_heads + kv_head;
    return heads * c->head_dim * d->ld;
}

/* Rotates a row's q and k and stores its k and v. */
static void remember(plmm_decoder *d, uint32_t l, const plmm__row *r, float *qkv)
{
    const plmm_model_config *c = &d->cfg;
    size_t hd = c->head_dim, q = plmm__q_dim(c), kv = plmm__kv_dim(c), angle = r->pos * (hd / 2);
    d->k->rope(1, qkv, 0, c->heads + c->kv_heads, hd, d->rope_cos + angle, d->rope_sin + angle,
               1.0f);
    for (uint32_t i = 0; i < c->kv_heads; i++) {
        size_t at = plmm__cache_at(d, r->slot, l, i);
        for (size_t j = 0; j < hd; j++) {
            d->keys[at + j * d->ld + r->pos] = qkv[q + i * hd + j];
        }
        memcpy(d->values + at + r->pos * hd, qkv + q + kv + i * hd, hd * sizeof *qkv);
    }
}

/* Attention of a row over its text's cache; the query heads of a key head go together. */
static void attend(plmm_decoder *d, uint32_t l, const plmm__row *r, const float *qkv, float *mix)
{
    const plmm_model_config *c = &d->cfg;
    size_t hd = c->head_dim, group = c->heads / c->kv_heads, n = r->pos + 1,
           width = plmm__round16(n);
    for (uint32_t i = 0; i < c->kv_heads; i++) {
        size_t at = plmm__cache_at(d, r->slot, l, i), first = i * group * hd;
        d->k->gemm(group, width, hd, qkv + first, hd, 1, d->keys + at, d->ld, d->scores, d->ld,
                   false);
        for (size_t j = 0; j < group; j++) {
            d->k->scale(d->scores + j * d->ld, n, 1.0f / sqrtf((float)hd));
            d->k->softmax(d->scores + j * d->ld, n, width);
        }
        d->k->gemm(group, hd, n, d->scores, d->ld, 1, d->values + at, hd, mix + first, hd, false);
    }
}

/* A product with the base; the first `single` of n rows are single tokens of texts. */
static void linear(const plmm_decoder *d, const plmm__matrix *w, size_t n, size_t single,
                   const float *x, float *y, size_t ldy, bool accumulate)
{
    size_t few = d->integers && plmm__few_integers(w) ? single : 0;
    if (few > 0) {
        plmm__linear_few(w, few, x, y, ldy, accumulate, d->scratch);
    }
    if (few < n) {
        plmm__linear(w, n - few, x + few * w->in, y + few * ldy, ldy, accumulate, d->scratch);
    }
}

/* The adapters of a group, for each run of rows that share them. */
static void adapt(plmm_decoder *d, uint32_t l, unsigned g, size_t n, size_t in, const float *x,
                  float *y, size_t ldy)
{
    for (size_t i = 0, next; i < n; i = next) {
        next = d->params.own_adapters ? i + 1 : n;
        while (next < n && d->rows[next].slot == d->rows[i].slot) {
            next++;
        }
        const plmm__pack *p = &d->packs[d->params.own_adapters ? d->rows[i].slot : 0];
        plmm__pack_apply(p, &d->cfg, l, g, next - i, x + i * in, d->h, y + i * ldy, ldy);
    }
}

static void run_layer(plmm_decoder *d, uint32_t l, size_t n, size_t single)
{
    const plmm_model_config *c = &d->cfg;
    const plmm__layer *f = &d->m->layers[l];
    size_t qkv = plmm__qkv_dim(c), q = plmm__q_dim(c), h = c->hidden;
    d->k->rmsnorm(n, c->dim, d->x, f->norm1.x, c->norm_eps, d->n, d->rstd);
    linear(d, &f->qkv, n, single, d->n, d->qkv, qkv, false);
    if (c->qkv_bias) {
        d->k->add_rows(d->qkv, qkv, f->bias.x, n, qkv);
    }
    adapt(d, l, 0, n, c->dim, d->n, d->qkv, qkv);
    for (size_t i = 0; i < n; i++) {
        remember(d, l, &d->rows[i], d->qkv + i * qkv);
    }
    for (size_t i = 0; i < n; i++) {
        attend(d, l, &d->rows[i], d->qkv + i * qkv, d->mix + i * q);
    }
    linear(d, &f->o, n, single, d->mix, d->x, c->dim, true);
    adapt(d, l, 1, n, q, d->mix, d->x, c->dim);
    d->k->rmsnorm(n, c->dim, d->x, f->norm2.x, c->norm_eps, d->n, d->rstd);
    linear(d, &f->gate_up, n, single, d->n, d->gu, 2 * h, false);
    adapt(d, l, 2, n, c->dim, d->n, d->gu, 2 * h);
    d->k->silu_mul(n, h, d->gu, d->act);
    linear(d, &f->down, n, single, d->act, d->x, c->dim, true);
    adapt(d, l, 3, n, h, d->act, d->x, c->dim);
}

void plmm__decoder_pass(plmm_decoder *d, size_t n, size_t single, size_t wanted)
{
    size_t scored = 0; /* single ones among the wanted */
    const plmm_model_config *c = &d->cfg;
    for (size_t i = 0; i < n; i++) {
        plmm__matrix_row(&d->m->embed, (size_t)d->rows[i].token, d->x + i * c->dim);
    }
    for (uint32_t l = 0; l < c->layers; l++) {
        run_layer(d, l, n, single);
    }
    for (size_t i = 0; i < wanted; i++) {
        memcpy(d->n + i * c->dim, d->x + d->wanted[i] * c->dim, c->dim * sizeof *d->n);
        scored += d->wanted[i] < single;
    }
    d->k->rmsnorm(wanted, c->dim, d->n, d->m->norm.x, c->norm_eps, d->n, d->rstd);
    linear(d, &d->m->head, wanted, scored, d->n, d->logits, c->vocab, false);
}

plmm_status plmm__decoder_begin(plmm_decoder *d, const plmm_model *m, plmm_error *err)
{
    if (!m->sealed) {
        return plmm_fail(err, PLMM_ERR_STATE, "cannot generate: the model is not sealed");
    }
    if (!plmm__same_shape(&m->cfg, &d->cfg)) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "cannot generate: the decoder was made for a model of another shape");
    }
    if (!plmm__same_angles(&m->cfg, &d->cfg)) {
        d->cfg = m->cfg;
        plmm__rope_tables(&d->cfg, d->params.positions, d->rope_cos, d->rope_sin);
    }
    d->m = m;
    d->k = plmm__kernels_best();
    memset(d->slots, 0, d->params.slots * sizeof *d->slots);
    return PLMM_OK;
}

plmm_status plmm__decoder_adapt(plmm_decoder *d, uint32_t slot, const plmm_stack *stack,
                                plmm_error *err)
{
    plmm__pack *p = &d->packs[d->params.own_adapters ? slot : 0];
    PLMM_TRY(plmm__pack_check(p, &d->cfg, stack, err));
    plmm__pack_fill(p, &d->cfg, stack);
    return PLMM_OK;
}
