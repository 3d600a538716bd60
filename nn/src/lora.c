#include "plmm/lora.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "nn_internal.h"
#include "plmm/alloc.h"
#include "plmm/rng.h"

struct plmm_adapter {
    plmm_model_config cfg;
    plmm_lora_spec spec;
    size_t count, split; /* A factors: [0, split), B factors: [split, count) */
    size_t views_count;
    size_t a_layer, b_layer;                         /* floats of a layer's A and B factors */
    size_t a_off[PLMM_TARGETS], b_off[PLMM_TARGETS]; /* within a layer */
    float *params;
    plmm_view *views;
};

const char *plmm_target_name(unsigned index)
{
    static const char *const names[PLMM_TARGETS] = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                    "gate_proj", "up_proj", "down_proj"};
    PLMM_ASSERT(index < PLMM_TARGETS);
    return names[index];
}

plmm_status plmm_target_parse(const char *name, size_t len, uint32_t *bits, plmm_error *err)
{
    static const char suffix[] = "_proj";
    for (unsigned t = 0; t < PLMM_TARGETS; t++) {
        const char *full = plmm_target_name(t);
        size_t n = strlen(full);
        if ((len == n || len == n - strlen(suffix)) && strncmp(full, name, len) == 0) {
            *bits |= 1u << t;
            return PLMM_OK;
        }
    }
    return plmm_fail(err, PLMM_ERR_CONFIG,
                     "\"%.*s\" is no matrix to adapt, must be of q_proj, k_proj, v_proj, o_proj, "
                     "gate_proj, up_proj, down_proj (or short: q, k, ...)",
                     len < 20 ? (int)len : 20, name);
}

void plmm_target_shape(const plmm_model_config *c, unsigned index, size_t *out, size_t *in)
{
    size_t q = plmm__q_dim(c), kv = plmm__kv_dim(c), d = c->dim, h = c->hidden;
    const size_t outs[PLMM_TARGETS] = {q, kv, kv, d, h, h, d};
    const size_t ins[PLMM_TARGETS] = {d, d, d, q, d, d, h};
    PLMM_ASSERT(index < PLMM_TARGETS);
    *out = outs[index];
    *in = ins[index];
}

static plmm_status check_spec(const plmm_lora_spec *s, plmm_error *err)
{
    if (s->targets == 0 || (s->targets & ~(uint32_t)PLMM_LORA_ALL) != 0) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "cannot make an adapter: targets is 0x%x, must name at least one of "
                         "q,k,v,o,gate,up,down",
                         s->targets);
    }
    if (s->rank < 1 || s->rank > PLMM_RANK_MAX) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "cannot make an adapter: rank is %u, must be 1..%d",
                         s->rank, PLMM_RANK_MAX);
    }
    if (!(s->alpha > 0 && isfinite(s->alpha))) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "cannot make an adapter: alpha is %g, must be positive", (double)s->alpha);
    }
    if (!(s->dropout >= 0 && s->dropout < 1)) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "cannot make an adapter: dropout is %g, must be in [0, 1)",
                         (double)s->dropout);
    }
    return PLMM_OK;
}

void plmm__factor_name(char out[112], uint32_t layer, unsigned target, char f)
{
    (void)snprintf(out, 112, "base_model.model.model.layers.%u.%s.%s.lora_%c.weight", layer,
                   target < 4 ? "self_attn" : "mlp", plmm_target_name(target), f);
}

/* One factor of one matrix; f is 'A' or 'B'. */
static void add_view(plmm_adapter *a, uint32_t l, unsigned t, char f)
{
    size_t out = 0, in = 0;
    plmm_target_shape(&a->cfg, t, &out, &in);
    plmm_view *v = &a->views[a->views_count++];
    plmm__factor_name(v->name, l, t, f);
    v->rows = f == 'A' ? a->spec.rank : out;
    v->cols = f == 'A' ? in : a->spec.rank;
    v->offset = f == 'A' ? l * a->a_layer + a->a_off[t] : a->split + l * a->b_layer + a->b_off[t];
}

static void lay_out(plmm_adapter *a)
{
    size_t r = a->spec.rank;
    for (unsigned t = 0; t < PLMM_TARGETS; t++) {
        if ((a->spec.targets >> t & 1) != 0) {
            size_t out = 0, in = 0;
            plmm_target_shape(&a->cfg, t, &out, &in);
            a->a_off[t] = a->a_layer;
            a->b_off[t] = a->b_layer;
            a->a_layer += r * in;
            a->b_layer += out * r;
        }
    }
    a->split = a->cfg.layers * a->a_layer;
    a->count = a->split + a->cfg.layers * a->b_layer;
}

static void add_views(plmm_adapter *a)
{
    for (const char *f = "AB"; *f != '\0'; f++) {
        for (uint32_t l = 0; l < a->cfg.layers; l++) {
            for (unsigned t = 0; t < PLMM_TARGETS; t++) {
                if ((a->spec.targets >> t & 1) != 0) {
                    add_view(a, l, t, *f);
                }
            }
        }
    }
}

plmm_status plmm_adapter_new(const plmm_model_config *cfg, const plmm_lora_spec *spec,
                             plmm_adapter **out, plmm_error *err)
{
    PLMM_TRY(plmm_model_config_check(cfg, err));
    PLMM_TRY(check_spec(spec, err));
    plmm_adapter *a = plmm_alloc(1, sizeof *a);
    if (a != NULL) {
        a->cfg = *cfg;
        a->spec = *spec;
        lay_out(a);
        a->params = plmm_alloc(a->count, sizeof *a->params);
        a->views = plmm_alloc((size_t)2 * PLMM_TARGETS * cfg->layers, sizeof *a->views);
    }
    if (a == NULL || a->params == NULL || a->views == NULL) {
        plmm_adapter_free(a);
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot make an adapter: out of memory");
    }
    add_views(a);
    *out = a;
    return PLMM_OK;
}

plmm_status plmm_adapter_clone(const plmm_adapter *a, plmm_adapter **out, plmm_error *err)
{
    plmm_adapter *c = NULL;
    PLMM_TRY(plmm_adapter_new(&a->cfg, &a->spec, &c, err));
    memcpy(c->params, a->params, a->count * sizeof *a->params);
    *out = c;
    return PLMM_OK;
}

void plmm_adapter_free(plmm_adapter *a)
{
    if (a != NULL) {
        plmm_free(a->views);
        plmm_free(a->params);
        plmm_free(a);
    }
}

/* ---- starting points ---- */

/* Makes row i of x [.][n] a unit vector orthogonal to the rows before it: Gram-Schmidt in double,
 * twice. */
static void orthonormal_row(float *x, size_t i, size_t n)
{
    float *row = x + i * n;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t k = 0; k < i; k++) {
            double dot = 0;
            for (size_t j = 0; j < n; j++) {
                dot += (double)row[j] * (double)x[k * n + j];
            }
            for (size_t j = 0; j < n; j++) {
                row[j] = (float)((double)row[j] - dot * (double)x[k * n + j]);
            }
        }
    }
    double norm = 0;
    for (size_t j = 0; j < n; j++) {
        norm += (double)row[j] * (double)row[j];
    }
    for (size_t j = 0; j < n; j++) {
        row[j] = (float)((double)row[j] / sqrt(norm));
    }
}

void plmm_adapter_init(plmm_adapter *a, uint64_t seed)
{
    memset(a->params, 0, a->count * sizeof *a->params);
    for (size_t v = 0; v < a->views_count / 2; v++) {
        plmm_rng r;
        plmm_rng_init(&r, seed, v);
        float *x = a->params + a->views[v].offset;
        size_t n = a->views[v].cols;
        for (size_t i = 0; i < a->views[v].rows && i < n; i++) {
            for (size_t j = 0; j < n; j++) {
                x[i * n + j] = (float)plmm_rng_normal(&r);
            }
            orthonormal_row(x, i, n);
        }
    }
}

void plmm_adapter_init_kaiming(plmm_adapter *a, uint64_t seed)
{
    memset(a->params, 0, a->count * sizeof *a->params);
    for (size_t v = 0; v < a->views_count / 2; v++) {
        plmm_rng r;
        plmm_rng_init(&r, seed, v);
        float *x = a->params + a->views[v].offset;
        double bound = 1.0 / sqrt((double)a->views[v].cols);
        for (size_t i = 0; i < a->views[v].rows * a->views[v].cols; i++) {
            x[i] = (float)(bound * (2.0 * plmm_rng_double(&r) - 1.0));
        }
    }
}

/* ---- access ---- */

const plmm_lora_spec *plmm_adapter_spec(const plmm_adapter *a)
{
    return &a->spec;
}

const plmm_model_config *plmm_adapter_cfg(const plmm_adapter *a)
{
    return &a->cfg;
}

float plmm_adapter_scale(const plmm_adapter *a)
{
    return a->spec.alpha / (float)a->spec.rank;
}

float *plmm_adapter_params(plmm_adapter *a)
{
    return a->params;
}

const float *plmm_adapter_weights(const plmm_adapter *a)
{
    return a->params;
}

size_t plmm_adapter_count(const plmm_adapter *a)
{
    return a->count;
}

void plmm_adapter_range(const plmm_adapter *a, plmm_factor f, size_t *offset, size_t *count)
{
    size_t lo = (f & PLMM_FACTOR_A) != 0 ? 0 : a->split;
    size_t hi = (f & PLMM_FACTOR_B) != 0 ? a->count : a->split;
    *offset = lo;
    *count = f == PLMM_FACTOR_NONE ? 0 : hi - lo;
}

const plmm_view *plmm_adapter_views(const plmm_adapter *a, size_t *count)
{
    *count = a->views_count;
    return a->views;
}

size_t plmm_adapter_offset(const plmm_adapter *a, uint32_t layer, unsigned index, plmm_factor f)
{
    PLMM_ASSERT(index < PLMM_TARGETS && layer < a->cfg.layers);
    PLMM_ASSERT(f == PLMM_FACTOR_A || f == PLMM_FACTOR_B);
    if ((a->spec.targets >> index & 1) == 0) {
        return SIZE_MAX;
    }
    return f == PLMM_FACTOR_A ? layer * a->a_layer + a->a_off[index]
                              : a->split + layer * a->b_layer + a->b_off[index];
}

/* ---- merging ---- */

/* Offset of the matrix in the model's block. */
static size_t weight_offset(const plmm_model *m, uint32_t l, unsigned t)
{
    const plmm__layer *y = &m->layers[l];
    size_t d = m->cfg.dim, q = plmm__q_dim(&m->cfg) * d, kv = plmm__kv_dim(&m->cfg) * d;
    const size_t at[PLMM_TARGETS] = {
        y->qkv.offset, y->qkv.offset + q, y->qkv.offset + q + kv,
        y->o.offset,   y->gate_up.offset, y->gate_up.offset + (size_t)m->cfg.hidden * d,
        y->down.offset};
    return at[t];
}

static void merge_matrix(const plmm_adapter *a, plmm_model *m, uint32_t l, unsigned t)
{
    size_t out = 0, in = 0, r = a->spec.rank;
    plmm_target_shape(&a->cfg, t, &out, &in);
    const float *fa = a->params + plmm_adapter_offset(a, l, t, PLMM_FACTOR_A);
    const float *fb = a->params + plmm_adapter_offset(a, l, t, PLMM_FACTOR_B);
    float *w = m->params + weight_offset(m, l, t);
    double s = (double)plmm_adapter_scale(a);
    for (size_t i = 0; i < out; i++) {
        for (size_t j = 0; j < in; j++) {
            double sum = 0;
            for (size_t k = 0; k < r; k++) {
                sum += (double)fb[i * r + k] * (double)fa[k * in + j];
            }
            w[i * in + j] = (float)((double)w[i * in + j] + s * sum);
        }
    }
}

plmm_status plmm_adapter_merge(const plmm_adapter *a, plmm_model *m, plmm_error *err)
{
    if (!plmm__same_shape(&a->cfg, &m->cfg)) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "cannot merge the adapter: it was made for a model of another shape");
    }
    if (m->params == NULL) {
        return plmm_fail(err, PLMM_ERR_STATE, "cannot merge the adapter: the model is frozen");
    }
    for (uint32_t l = 0; l < m->cfg.layers; l++) {
        for (unsigned t = 0; t < PLMM_TARGETS; t++) {
            if ((a->spec.targets >> t & 1) != 0) {
                merge_matrix(a, m, l, t);
            }
        }
    }
    m->sealed = false;
    return PLMM_OK;
}
