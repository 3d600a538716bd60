/* What a model's weights lie in: the flat block and its sealed panels, or, frozen, numbers of fewer
 * bits. */
#include <math.h>
#include <string.h>

#include "engine.h"
#include "plmm/alloc.h"
#include "plmm/safetensors.h"

/* ---- sealing ---- */

static plmm_status make_panels(plmm_model *m, plmm_error *err)
{
    if (m->packed == NULL) {
        m->packed = plmm_alloc(m->count, sizeof *m->packed);
        plmm__bind(m);
    }
    return m->packed != NULL
               ? PLMM_OK
               : plmm_fail(err, PLMM_ERR_NOMEM, "cannot seal the model: no memory for %zu MiB",
                           m->count * sizeof *m->packed >> 20);
}

static void pack_matrix(plmm_model *m, const plmm__matrix *w)
{
    float *panels = m->packed + w->offset;
    for (size_t n = 0; n < w->out; n += PLMM__PANEL) {
        size_t width = w->out - n < PLMM__PANEL ? w->out - n : PLMM__PANEL;
        plmm__kernels_best()->transpose(width, w->in, w->rows + n * w->in, w->in,
                                        panels + n * w->in, width);
    }
}

static plmm_status check_view(const plmm_view *v, const float *x, plmm_error *err)
{
    return plmm__kernels_best()->finite(x, v->rows * v->cols)
               ? PLMM_OK
               : plmm_fail(err, PLMM_ERR_RANGE,
                           "cannot use the model: %s holds a value that is not finite", v->name);
}

static plmm_status check_finite(const plmm_model *m, plmm_error *err)
{
    for (size_t i = 0; i < m->views_count; i++) {
        PLMM_TRY(check_view(&m->views[i], m->params + m->views[i].offset, err));
    }
    return PLMM_OK;
}

plmm_status plmm_model_seal(plmm_model *m, plmm_error *err)
{
    if (m->base != PLMM_BASE_F32) {
        return PLMM_OK;
    }
    PLMM_TRY(check_finite(m, err));
    PLMM_TRY(make_panels(m, err));
    for (uint32_t l = 0; l < m->cfg.layers; l++) {
        const plmm__layer *y = &m->layers[l];
        pack_matrix(m, &y->qkv);
        pack_matrix(m, &y->o);
        pack_matrix(m, &y->gate_up);
        pack_matrix(m, &y->down);
    }
    pack_matrix(m, &m->head);
    m->sealed = true;
    return PLMM_OK;
}

bool plmm_model_sealed(const plmm_model *m)
{
    return m->sealed;
}

/* ---- where the tensors lie ---- */

static void bind_matrix(plmm_model *m, plmm__matrix *w)
{
    w->rows = m->params + w->offset;
    w->panels = m->packed == NULL ? NULL : m->packed + w->offset;
}

void plmm__bind(plmm_model *m)
{
    for (uint32_t l = 0; l < m->cfg.layers; l++) {
        plmm__layer *y = &m->layers[l];
        y->norm1.x = m->params + y->norm1.offset;
        y->bias.x = m->params + y->bias.offset;
        y->norm2.x = m->params + y->norm2.offset;
        bind_matrix(m, &y->qkv);
        bind_matrix(m, &y->o);
        bind_matrix(m, &y->gate_up);
        bind_matrix(m, &y->down);
    }
    m->norm.x = m->params + m->norm.offset;
    bind_matrix(m, &m->embed);
    bind_matrix(m, &m->head);
}

/* ---- freezing ---- */

static bool by_blocks(plmm_base base)
{
    return base == PLMM_BASE_INT8 || base == PLMM_BASE_INT4;
}

static plmm__quant quant_of(plmm_base base)
{
    return base == PLMM_BASE_INT8 ? PLMM__Q8_0 : PLMM__Q4_0;
}

static size_t even(size_t n)
{
    return n + n % 2;
}

/* Numbers of the panels of columns columns and k rows. */
static size_t half_numbers(size_t columns, size_t k)
{
    return (columns + PLMM__PANEL - 1) / PLMM__PANEL * PLMM__PANEL * even(k);
}

static void fill_blocks(const plmm__matrix *w, uint8_t *blocks)
{
    for (size_t r = 0; r < w->out; r++) {
        plmm__quantize_row(w->quant, w->rows + r * w->in, w->in, blocks + r * w->row_bytes);
    }
}

/* front may be NULL. */
static void fill_halves(const plmm__matrix *w, uint16_t *front, uint16_t *back)
{
    for (size_t r = 0; r < w->out; r++) {
        size_t n0 = r / PLMM__PANEL * PLMM__PANEL;
        for (size_t k = 0; k < w->in; k++) {
            size_t k0 = k / PLMM__PANEL * PLMM__PANEL;
            uint16_t h = plmm_f32_to_bf16(w->rows[r * w->in + k]);
            back[k0 * even(w->out) + r * PLMM__PANEL + k - k0] = h;
            if (front != NULL) {
                front[n0 * even(w->in) + k * PLMM__PANEL + r - n0] = h;
            }
        }
    }
}

/* The power of two that brings the matrix's bfloat16 numbers to at most 1. */
static float half_scale(const plmm__matrix *w)
{
    float most = 0;
    for (size_t i = 0; i < w->out * w->in; i++) {
        most = fabsf(w->rows[i]) > most ? fabsf(w->rows[i]) : most;
    }
    int e = 0;
    (void)frexpf(most * 1.01f, &e);
    return most == 0 ? 1.0f : ldexpf(1.0f, e < -120 ? 120 : -e);
}

static void prepare_halves(const plmm__half *half, uint16_t *panels, size_t columns, size_t k,
                           float scale)
{
    for (size_t n = 0; half != NULL && panels != NULL && n < columns; n += PLMM__PANEL) {
        half->prepare(panels + n * even(k), even(k), scale);
    }
}

/* Reserves a matrix's memory; with `copy`, fills it from w->rows and leaves them. Rows of a matrix
 * that is only looked up need no forward panels. */
static void store_matrix(plmm__arena *a, plmm_base base, plmm__matrix *w, bool product, bool copy)
{
    enum { HALF_FROM = 128 }; /* below, packing the left factor takes what the product gains */
    bool blocks = by_blocks(base);
    w->quant = quant_of(base);
    w->row_bytes = blocks ? plmm__quant_row_bytes(w->quant, w->in) : 0;
    uint8_t *q = blocks ? plmm__carve(a, w->out, w->row_bytes) : NULL;
    uint16_t *back = blocks ? NULL : plmm__carve(a, half_numbers(w->in, w->out), sizeof *back);
    uint16_t *front =
        blocks || !product ? NULL : plmm__carve(a, half_numbers(w->out, w->in), sizeof *front);
    if (!copy) {
        return;
    }
    if (blocks) {
        fill_blocks(w, q);
    } else {
        w->half = w->in >= HALF_FROM && w->out >= HALF_FROM ? plmm__half_best() : NULL;
        w->half_scale = half_scale(w);
        fill_halves(w, front, back);
        prepare_halves(w->half, front, w->out, w->in, w->half_scale);
        prepare_halves(w->half, back, w->in, w->out, w->half_scale);
    }
    w->blocks = q;
    w->backward = back;
    w->forward = front;
    w->rows = NULL;
    w->panels = NULL;
}

/* Where the numbers of a frozen model come from. */
typedef struct origin {
    plmm_view_reader read; /* NULL: from the flat block */
    void *ctx;
    float *scratch; /* of the largest matrix */
    size_t next;    /* the view that is read next */
    plmm_status status;
    plmm_error *err;
} origin;

/* The next n numbers in the order of the views: x, or what read gives. */
static const float *fetch(plmm_model *m, origin *o, const float *x, size_t n)
{
    if (o->read == NULL) {
        return x;
    }
    for (size_t at = 0; at < n && o->status == PLMM_OK; o->next++) {
        const plmm_view *v = &m->views[o->next];
        o->status = o->read(o->ctx, v, o->next, o->scratch + at, o->err);
        if (o->status == PLMM_OK) {
            o->status = check_view(v, o->scratch + at, o->err);
        }
        at += v->rows * v->cols;
    }
    return o->scratch;
}

/* o is NULL while memory is only counted. */
static void freeze_vector(plmm_model *m, plmm__arena *a, origin *o, plmm__vector *v, size_t n)
{
    float *x = plmm__carve_floats(a, 1, n);
    if (o != NULL && n > 0) {
        memcpy(x, fetch(m, o, v->x, n), n * sizeof *x);
        v->x = x;
    }
}

static void freeze_matrix(plmm_model *m, plmm__arena *a, origin *o, plmm__matrix *w, bool product,
                          plmm_base base)
{
    if (o != NULL) {
        w->rows = fetch(m, o, w->rows, w->out * w->in);
    }
    store_matrix(a, base, w, product, o != NULL && o->status == PLMM_OK);
}

/* Counts, or copies, everything, in the order of the views. */
static void store_all(plmm_model *m, plmm__arena *a, plmm_base base, origin *o)
{
    const plmm_model_config *c = &m->cfg;
    freeze_matrix(m, a, o, &m->embed, c->tied, base);
    for (uint32_t l = 0; l < c->layers; l++) {
        plmm__layer *y = &m->layers[l];
        freeze_vector(m, a, o, &y->norm1, c->dim);
        freeze_matrix(m, a, o, &y->qkv, true, base);
        freeze_vector(m, a, o, &y->bias, c->qkv_bias ? plmm__qkv_dim(c) : 0);
        freeze_matrix(m, a, o, &y->o, true, base);
        freeze_vector(m, a, o, &y->norm2, c->dim);
        freeze_matrix(m, a, o, &y->gate_up, true, base);
        freeze_matrix(m, a, o, &y->down, true, base);
    }
    freeze_vector(m, a, o, &m->norm, c->dim);
    if (!c->tied) {
        freeze_matrix(m, a, o, &m->head, true, base);
    } else if (o != NULL) {
        m->head = m->embed;
    }
}

static plmm_status freeze(plmm_model *m, plmm_base base, origin *o, plmm_error *err)
{
    plmm__arena a = {0};
    store_all(m, &a, base, NULL);
    m->frozen = a.overflow ? NULL : plmm_alloc(a.used, 1);
    if (m->frozen == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot freeze the model: no memory for %zu MiB",
                         a.used >> 20);
    }
    a = (plmm__arena){.base = m->frozen};
    store_all(m, &a, base, o);
    m->base = base;
    m->sealed = true;
    return o->status;
}

plmm_status plmm_model_freeze(plmm_model *m, plmm_base base, plmm_error *err)
{
    if (m->base != PLMM_BASE_F32) {
        return plmm_fail(err, PLMM_ERR_STATE, "cannot freeze the model: it is frozen already");
    }
    if (base == PLMM_BASE_F32) {
        return plmm_model_seal(m, err);
    }
    origin o = {.read = NULL};
    PLMM_TRY(check_finite(m, err));
    PLMM_TRY(freeze(m, base, &o, err));
    plmm_free(m->packed);
    plmm_free(m->params);
    m->packed = NULL;
    m->params = NULL;
    return PLMM_OK;
}

static size_t largest_matrix(const plmm_model_config *c)
{
    size_t dim = c->dim, q = plmm__qkv_dim(c) * dim, best = (size_t)c->vocab * dim;
    size_t gate_up = 2 * (size_t)c->hidden * dim;
    best = q > best ? q : best;
    return gate_up > best ? gate_up : best;
}

static plmm_status fill_frozen(plmm_model *m, plmm_base base, origin *o, plmm_error *err)
{
    o->scratch = plmm_alloc(largest_matrix(&m->cfg), sizeof *o->scratch);
    if (o->scratch == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot freeze the model: no memory for %zu MiB",
                         largest_matrix(&m->cfg) * sizeof *o->scratch >> 20);
    }
    plmm_status rc = freeze(m, base, o, err);
    plmm_free(o->scratch);
    return rc;
}

static plmm_status fill_plain(plmm_model *m, const origin *o, plmm_error *err)
{
    for (size_t i = 0; i < m->views_count; i++) {
        PLMM_TRY(o->read(o->ctx, &m->views[i], i, m->params + m->views[i].offset, err));
    }
    return plmm_model_seal(m, err);
}

plmm_status plmm_model_new_frozen(const plmm_model_config *cfg, plmm_base base,
                                  plmm_view_reader read, void *ctx, plmm_model **out,
                                  plmm_error *err)
{
    plmm_model *m;
    origin o = {.read = read, .ctx = ctx, .err = err};
    PLMM_TRY(base == PLMM_BASE_F32 ? plmm_model_new(cfg, &m, err)
                                   : plmm__model_outline(cfg, &m, err));
    plmm_status rc = base == PLMM_BASE_F32 ? fill_plain(m, &o, err) : fill_frozen(m, base, &o, err);
    if (rc != PLMM_OK) {
        plmm_model_free(m);
        return rc;
    }
    *out = m;
    return PLMM_OK;
}

size_t plmm__base_bytes(const plmm_model_config *c, plmm_base base)
{
    size_t d = c->dim, q = plmm__q_dim(c), h = c->hidden;
    plmm__layer layer = {.qkv = {.out = plmm__qkv_dim(c), .in = d},
                         .o = {.out = d, .in = q},
                         .gate_up = {.out = 2 * h, .in = d},
                         .down = {.out = d, .in = h}};
    plmm_model m = {.cfg = *c, .layers = &layer, .embed = {.out = c->vocab, .in = d}};
    m.head = m.embed;
    plmm__arena a = {0}, with = {0}, angles = {0};
    (void)plmm__carve_floats(&angles, (size_t)c->context * 2, c->head_dim / 2);
    if (base == PLMM_BASE_F32) { /* the block and its panels */
        size_t numbers =
            layer.qkv.out * d + d * q + 3 * h * d + 2 * d + (c->qkv_bias ? plmm__qkv_dim(c) : 0);
        size_t all = c->layers * numbers + d + (c->tied ? 1 : 2) * (size_t)c->vocab * d;
        return 2 * all * sizeof(float) + angles.used;
    }
    m.cfg.layers = 0; /* once without layers, once with one */
    store_all(&m, &a, base, false);
    m.cfg.layers = 1;
    store_all(&m, &with, base, false);
    return a.used + c->layers * (with.used - a.used) + angles.used;
}

plmm_base plmm_model_base(const plmm_model *m)
{
    return m->base;
}

void plmm__matrix_row(const plmm__matrix *w, size_t i, float *out)
{
    if (w->rows != NULL) {
        memcpy(out, w->rows + i * w->in, w->in * sizeof *out);
    } else if (w->blocks != NULL) {
        plmm__dequantize_row(w->quant, w->blocks + i * w->row_bytes, w->in, out);
    } else {
        for (size_t k = 0; k < w->in; k += PLMM__PANEL) {
            size_t wide = w->in - k < PLMM__PANEL ? w->in - k : PLMM__PANEL;
            const uint16_t *panel = w->backward + k * even(w->out);
            float x[PLMM__PANEL];
            if (w->half != NULL) {
                w->half->row(panel, i, w->half_scale, x);
            } else {
                plmm__kernels_best()->from_bf16(panel + i * PLMM__PANEL, x, PLMM__PANEL);
            }
            memcpy(out + k, x, wide * sizeof *x);
        }
    }
}
