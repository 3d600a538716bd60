#include "plmm/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "nn_internal.h"
#include "plmm/alloc.h"
#include "plmm/rng.h"

/* ---- shape ---- */

static plmm_status check_range(const char *name, uint32_t v, uint32_t min, uint32_t max,
                               plmm_error *err)
{
    if (v < min || v > max) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "cannot use the model: %s is %u, must be %u..%u",
                         name, v, min, max);
    }
    return PLMM_OK;
}

static plmm_status check_token(const char *name, int32_t id, uint32_t vocab, plmm_error *err)
{
    if (id < -1 || id >= (int64_t)vocab) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "cannot use the model: %s is %d, must be -1 (none) or below vocab (%u)",
                         name, id, vocab);
    }
    return PLMM_OK;
}

static plmm_status check_rope(const plmm_model_config *c, plmm_error *err)
{
    const plmm_rope_scaling *s = &c->rope_scaling;
    if (!(c->rope_theta > 0 && isfinite(c->rope_theta))) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "cannot use the model: rope_theta is %g, must be positive",
                         (double)c->rope_theta);
    }
    if (s->factor == 0) {
        return PLMM_OK;
    }
    if (!(s->factor >= 1 && s->factor <= 1e6f)) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "cannot use the model: rope_scaling's factor is %g, must be 1..1e6",
                         (double)s->factor);
    }
    if (!(s->low > 0 && s->high > s->low && isfinite(s->high))) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "cannot use the model: rope_scaling's low_freq_factor %g and "
                         "high_freq_factor %g must be positive and rise",
                         (double)s->low, (double)s->high);
    }
    return check_range("rope_scaling's original_max_position_embeddings", s->original, 1, 1048576,
                       err);
}

plmm_status plmm_model_config_check(const plmm_model_config *c, plmm_error *err)
{
    PLMM_TRY(check_range("dim", c->dim, 1, 65536, err));
    PLMM_TRY(check_range("layers", c->layers, 1, 1024, err));
    PLMM_TRY(check_range("heads", c->heads, 1, 4096, err));
    PLMM_TRY(check_range("kv_heads", c->kv_heads, 1, c->heads, err));
    PLMM_TRY(check_range("head_dim", c->head_dim, 2, 1024, err));
    PLMM_TRY(check_range("hidden", c->hidden, 1, 1048576, err));
    PLMM_TRY(check_range("vocab", c->vocab, 1, 1048576, err));
    PLMM_TRY(check_range("context", c->context, 1, 1048576, err));
    if (c->heads % c->kv_heads != 0) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "cannot use the model: heads (%u) is not a multiple of kv_heads (%u)",
                         c->heads, c->kv_heads);
    }
    if (c->head_dim % 2 != 0) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "cannot use the model: head_dim (%u) is odd",
                         c->head_dim);
    }
    PLMM_TRY(check_rope(c, err));
    if (!(c->norm_eps >= 0 && c->norm_eps < 1)) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "cannot use the model: norm_eps is %g, must be in [0, 1)",
                         (double)c->norm_eps);
    }
    PLMM_TRY(check_token("bos", c->bos, c->vocab, err));
    PLMM_TRY(check_token("eos", c->eos, c->vocab, err));
    return check_token("pad", c->pad, c->vocab, err);
}

bool plmm__same_shape(const plmm_model_config *a, const plmm_model_config *b)
{
    return a->dim == b->dim && a->layers == b->layers && a->heads == b->heads &&
           a->kv_heads == b->kv_heads && a->head_dim == b->head_dim && a->hidden == b->hidden &&
           a->vocab == b->vocab && a->context == b->context && a->tied == b->tied &&
           a->qkv_bias == b->qkv_bias;
}

/* ---- layout ---- */

/* Appends a view; names are bounded by the fixed strings below and 10 digits. */
static size_t add_view(plmm_model *m, const char *name, size_t rows, size_t cols)
{
    plmm_view *v = &m->views[m->views_count++];
    (void)snprintf(v->name, sizeof v->name, "%s", name);
    v->offset = m->count;
    v->rows = rows;
    v->cols = cols;
    m->count += rows * cols;
    return v->offset;
}

static size_t add_layer_view(plmm_model *m, uint32_t l, const char *part, size_t rows, size_t cols)
{
    char name[112];
    (void)snprintf(name, sizeof name, "model.layers.%u.%s", l, part);
    return add_view(m, name, rows, cols);
}

/* The matrix [out][in] that begins with the next view. */
static plmm__matrix matrix_at(const plmm_model *m, size_t out, size_t in)
{
    return (plmm__matrix){.offset = m->count, .out = out, .in = in};
}

static void add_layer(plmm_model *m, uint32_t l)
{
    const plmm_model_config *c = &m->cfg;
    plmm__layer *y = &m->layers[l];
    size_t d = c->dim, q = plmm__q_dim(c), kv = plmm__kv_dim(c), h = c->hidden;
    y->norm1.offset = add_layer_view(m, l, "input_layernorm.weight", 1, d);
    y->qkv = matrix_at(m, q + 2 * kv, d);
    (void)add_layer_view(m, l, "self_attn.q_proj.weight", q, d);
    (void)add_layer_view(m, l, "self_attn.k_proj.weight", kv, d);
    (void)add_layer_view(m, l, "self_attn.v_proj.weight", kv, d);
    if (c->qkv_bias) {
        y->bias.offset = add_layer_view(m, l, "self_attn.q_proj.bias", 1, q);
        (void)add_layer_view(m, l, "self_attn.k_proj.bias", 1, kv);
        (void)add_layer_view(m, l, "self_attn.v_proj.bias", 1, kv);
    }
    y->o = matrix_at(m, d, q);
    (void)add_layer_view(m, l, "self_attn.o_proj.weight", d, q);
    y->norm2.offset = add_layer_view(m, l, "post_attention_layernorm.weight", 1, d);
    y->gate_up = matrix_at(m, 2 * h, d);
    (void)add_layer_view(m, l, "mlp.gate_proj.weight", h, d);
    (void)add_layer_view(m, l, "mlp.up_proj.weight", h, d);
    y->down = matrix_at(m, d, h);
    (void)add_layer_view(m, l, "mlp.down_proj.weight", d, h);
}

static void add_all(plmm_model *m)
{
    const plmm_model_config *c = &m->cfg;
    m->embed = matrix_at(m, c->vocab, c->dim);
    (void)add_view(m, "model.embed_tokens.weight", c->vocab, c->dim);
    for (uint32_t l = 0; l < c->layers; l++) {
        add_layer(m, l);
    }
    m->norm.offset = add_view(m, "model.norm.weight", 1, c->dim);
    m->head = m->embed;
    if (!c->tied) {
        m->head = matrix_at(m, c->vocab, c->dim);
        (void)add_view(m, "lm_head.weight", c->vocab, c->dim);
    }
}

plmm_status plmm__model_outline(const plmm_model_config *cfg, plmm_model **out, plmm_error *err)
{
    PLMM_TRY(plmm_model_config_check(cfg, err));
    plmm_model *m = plmm_alloc(1, sizeof *m);
    if (m != NULL) {
        m->cfg = *cfg;
        m->views = plmm_alloc(3 + 12 * (size_t)cfg->layers, sizeof *m->views);
        m->layers = plmm_alloc(cfg->layers, sizeof *m->layers);
    }
    if (m == NULL || m->views == NULL || m->layers == NULL) {
        plmm_model_free(m);
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot make a model: out of memory");
    }
    add_all(m);
    *out = m;
    return PLMM_OK;
}

plmm_status plmm_model_new(const plmm_model_config *cfg, plmm_model **out, plmm_error *err)
{
    plmm_model *m;
    PLMM_TRY(plmm__model_outline(cfg, &m, err));
    m->params = plmm_alloc(m->count, sizeof *m->params);
    if (m->params == NULL) {
        size_t mib = m->count * sizeof *m->params >> 20;
        plmm_model_free(m);
        return plmm_fail(err, PLMM_ERR_NOMEM,
                         "cannot make a model: no memory for %zu MiB of weights", mib);
    }
    plmm__bind(m);
    *out = m;
    return PLMM_OK;
}

void plmm_model_free(plmm_model *m)
{
    if (m != NULL) {
        plmm_free(m->packed);
        plmm_free(m->frozen);
        plmm_free(m->params);
        plmm_free(m->layers);
        plmm_free(m->views);
        plmm_free(m);
    }
}

/* ---- weights ---- */

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), k = strlen(tail);
    return n >= k && strcmp(s + n - k, tail) == 0;
}

void plmm_model_init_random(plmm_model *m, uint64_t seed)
{
    PLMM_ASSERT(m->params != NULL);
    plmm_rng r;
    double residual = 0.02 / sqrt(2.0 * m->cfg.layers);
    for (size_t i = 0; i < m->views_count; i++) {
        const plmm_view *v = &m->views[i];
        float *w = m->params + v->offset;
        plmm_rng_init(&r, seed, i);
        bool norm = ends_with(v->name, "norm.weight"), bias = ends_with(v->name, ".bias");
        bool writer = ends_with(v->name, "o_proj.weight") || ends_with(v->name, "down_proj.weight");
        for (size_t j = 0; j < v->rows * v->cols; j++) {
            w[j] = norm   ? 1.0f
                   : bias ? 0.0f
                          : (float)(plmm_rng_normal(&r) * (writer ? residual : 0.02));
        }
    }
    m->sealed = false;
}

const plmm_model_config *plmm_model_cfg(const plmm_model *m)
{
    return &m->cfg;
}

float *plmm_model_params(plmm_model *m)
{
    return m->params;
}

const float *plmm_model_weights(const plmm_model *m)
{
    return m->params;
}

size_t plmm_model_count(const plmm_model *m)
{
    return m->count;
}

const plmm_view *plmm_model_views(const plmm_model *m, size_t *count)
{
    *count = m->views_count;
    return m->views;
}

const plmm_view *plmm_model_find(const plmm_model *m, const char *name)
{
    for (size_t i = 0; i < m->views_count; i++) {
        if (strcmp(m->views[i].name, name) == 0) {
            return &m->views[i];
        }
    }
    return NULL;
}
