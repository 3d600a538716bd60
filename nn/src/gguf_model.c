/* A model from a GGUF file: its hyper-parameters, its tensors, its rotary angles. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "nn_internal.h"
#include "plmm/alloc.h"
#include "plmm/checkpoint.h"
#include "tensor_names.h"

enum { ANGLES_MAX = 512, KEY_MAX = 96 };

/* The keys of one architecture begin with its name. */
typedef struct reader {
    const plmm_gguf *g;
    const char *arch;
    char key[KEY_MAX];
} reader;

static const char *key_of(reader *r, const char *rest)
{
    (void)snprintf(r->key, sizeof r->key, "%s.%s", r->arch, rest);
    return r->key;
}

static plmm_status refuse(const char *key, plmm_error *err)
{
    return plmm_fail(err, PLMM_ERR_UNSUPPORTED, "%s is not supported", key);
}

static plmm_status read_architecture(reader *r, plmm_error *err)
{
    static const char *const known[] = {"llama", "qwen2"};
    const plmm_gguf_value *v = plmm_gguf_find(r->g, "general.architecture");
    const plmm_gguf_value *type = plmm_gguf_find(r->g, "general.type");
    if (type != NULL && !plmm_gguf_text_is(type, "model")) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED, "general.type is not \"model\"");
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (plmm_gguf_text_is(v, known[i])) {
            r->arch = known[i];
            return PLMM_OK;
        }
    }
    bool text = v != NULL && v->kind == PLMM_GGUF_TEXT;
    return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                     "general.architecture %.*s is not supported, only llama and qwen2 are",
                     text ? (int)(v->count < 40 ? v->count : 40) : 6,
                     text ? (const char *)v->data : "(none)");
}

/* What would make the model compute something else. */
static plmm_status check_features(reader *r, uint32_t context, plmm_error *err)
{
    static const char *const zero[] = {
        "expert_count",   "attention.clamp_kqv", "attention.max_alibi_bias", "logit_scale",
        "residual_scale", "embedding_scale",     "attention.scale"};
    for (size_t i = 0; i < sizeof zero / sizeof zero[0]; i++) {
        double x = 0;
        const char *key = key_of(r, zero[i]);
        PLMM_TRY(plmm_gguf_may_real(r->g, key, -1e300, 1e300, &x, err));
        if (x != 0) {
            return refuse(key, err);
        }
    }
    uint32_t window = 0;
    PLMM_TRY(plmm_gguf_may_u32(r->g, key_of(r, "attention.sliding_window"), 0, UINT32_MAX, &window,
                               err));
    if (window != 0 && window < context) {
        return refuse(r->key, err);
    }
    const plmm_gguf_value *v = plmm_gguf_find(r->g, key_of(r, "rope.scaling.type"));
    if (v != NULL && !plmm_gguf_text_is(v, "none")) {
        return refuse(r->key, err);
    }
    double linear = 1;
    PLMM_TRY(plmm_gguf_may_real(r->g, key_of(r, "rope.scale_linear"), 0, 1e6, &linear, err));
    return linear == 1 ? PLMM_OK : refuse(r->key, err);
}

static plmm_status read_heads(reader *r, plmm_model_config *c, plmm_error *err)
{
    uint32_t turned, value;
    PLMM_TRY(plmm_gguf_need_u32(r->g, key_of(r, "attention.head_count"), 1, 4096, &c->heads, err));
    c->kv_heads = c->heads;
    PLMM_TRY(
        plmm_gguf_may_u32(r->g, key_of(r, "attention.head_count_kv"), 1, 4096, &c->kv_heads, err));
    c->head_dim = c->dim / c->heads;
    PLMM_TRY(
        plmm_gguf_may_u32(r->g, key_of(r, "attention.key_length"), 2, 1024, &c->head_dim, err));
    value = turned = c->head_dim;
    PLMM_TRY(plmm_gguf_may_u32(r->g, key_of(r, "attention.value_length"), 0, 65536, &value, err));
    if (value != c->head_dim) {
        return refuse(r->key, err);
    }
    PLMM_TRY(plmm_gguf_may_u32(r->g, key_of(r, "rope.dimension_count"), 0, 65536, &turned, err));
    return turned == c->head_dim ? PLMM_OK : refuse(r->key, err);
}

/* A token id that is there and a row of the model, else -1. */
static plmm_status read_id(const plmm_gguf *g, const char *key, uint32_t vocab, int32_t *out,
                           plmm_error *err)
{
    uint32_t id = UINT32_MAX;
    PLMM_TRY(plmm_gguf_may_u32(g, key, 0, UINT32_MAX, &id, err));
    *out = id < vocab ? (int32_t)id : -1;
    return PLMM_OK;
}

static plmm_status read_vocab(const plmm_gguf *g, plmm_model_config *c, plmm_error *err)
{
    const plmm_gguf_tensor *embed = plmm_gguf_tensor_of(g, "token_embd.weight");
    if (embed == NULL || embed->dims != 2 || embed->shape[1] > 1048576) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "token_embd.weight, of two dimensions and up to 1048576 rows, is missing");
    }
    c->vocab = (uint32_t)embed->shape[1];
    c->tied = plmm_gguf_tensor_of(g, "output.weight") == NULL;
    PLMM_TRY(read_id(g, "tokenizer.ggml.bos_token_id", c->vocab, &c->bos, err));
    PLMM_TRY(read_id(g, "tokenizer.ggml.eos_token_id", c->vocab, &c->eos, err));
    return read_id(g, "tokenizer.ggml.padding_token_id", c->vocab, &c->pad, err);
}

/* rope_freqs.weight holds what each frequency is divided by. Llama 3's rule is sought among its
 * usual numbers; other divisors are refused. */
static plmm_status read_divisors(const plmm_gguf_tensor *t, plmm_model_config *c, plmm_error *err)
{
    float have[ANGLES_MAX];
    size_t half = c->head_dim / 2;
    plmm_model_config plain = *c;
    if (t->count != half || t->shape[0] != half || half > ANGLES_MAX) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "rope_freqs.weight has %" PRIu64 " values, not %zu",
                         t->count, half);
    }
    plmm_gguf_read_row(t, 0, have);
    plmm_rope_scaling s = {.low = 1, .high = 4};
    for (size_t j = 0; j < half; j++) {
        s.factor = have[j] > s.factor ? have[j] : s.factor;
    }
    for (s.original = 1; s.original <= 1048576 && s.factor >= 1; s.original *= 2) {
        bool equal = true;
        for (size_t j = 0; j < half && equal; j++) {
            double f = plmm__rope_factor(&s, (double)plmm__rope_freq(&plain, j));
            equal = fabs(f - (double)have[j]) <= 1e-4 * f;
        }
        if (equal) {
            c->rope_scaling = s;
            return PLMM_OK;
        }
    }
    return plmm_fail(
        err, PLMM_ERR_UNSUPPORTED,
        "rope_freqs.weight is not supported: only Llama 3's divisors (low 1, high 4, a "
        "power of two of original positions) are");
}

static plmm_status read_config(reader *r, plmm_model_config *c, plmm_error *err)
{
    const plmm_gguf_tensor *divisors = plmm_gguf_tensor_of(r->g, "rope_freqs.weight");
    double theta = 10000, eps = 1e-5;
    *c = (plmm_model_config){0};
    PLMM_TRY(read_architecture(r, err));
    PLMM_TRY(plmm_gguf_need_u32(r->g, key_of(r, "embedding_length"), 1, 65536, &c->dim, err));
    PLMM_TRY(plmm_gguf_need_u32(r->g, key_of(r, "block_count"), 1, 1024, &c->layers, err));
    PLMM_TRY(
        plmm_gguf_need_u32(r->g, key_of(r, "feed_forward_length"), 1, 1 << 20, &c->hidden, err));
    PLMM_TRY(plmm_gguf_need_u32(r->g, key_of(r, "context_length"), 1, 1 << 20, &c->context, err));
    PLMM_TRY(read_heads(r, c, err));
    PLMM_TRY(check_features(r, c->context, err));
    PLMM_TRY(plmm_gguf_may_real(r->g, key_of(r, "rope.freq_base"), 1, 1e12, &theta, err));
    PLMM_TRY(
        plmm_gguf_need_real(r->g, key_of(r, "attention.layer_norm_rms_epsilon"), 0, 1, &eps, err));
    PLMM_TRY(read_vocab(r->g, c, err));
    c->rope_theta = (float)theta;
    c->norm_eps = (float)eps;
    c->qkv_bias = strcmp(r->arch, "qwen2") == 0;
    PLMM_TRY(plmm_model_config_check(c, err));
    return divisors != NULL ? read_divisors(divisors, c, err) : PLMM_OK;
}

/* Marks the tensors that the model has; each must be there in its shape. */
static plmm_status mark_tensors(const plmm_gguf *g, const plmm_model_config *c, bool *used,
                                plmm_error *err)
{
    size_t n = plmm__named_count(c), held;
    const plmm_gguf_tensor *all = plmm_gguf_tensors(g, &held);
    for (size_t i = 0; i < n; i++) {
        plmm__named want;
        plmm__named_at(c, i, &want);
        const plmm_gguf_tensor *t = plmm_gguf_tensor_of(g, want.gguf);
        if (t == NULL) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "the tensor %s is missing", want.gguf);
        }
        if (t->shape[0] != want.cols || t->shape[1] != want.rows ||
            t->count != (uint64_t)want.cols * want.rows) {
            return plmm_fail(err, PLMM_ERR_FORMAT,
                             "tensor %s has shape [%" PRIu64 ", %" PRIu64 "], expected [%zu, %zu]",
                             want.gguf, t->shape[1], t->shape[0], want.rows, want.cols);
        }
        used[t - all] = true;
    }
    for (size_t i = 0; i < held; i++) {
        if (!used[i] && strcmp(all[i].name, "rope_freqs.weight") != 0) {
            return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                             "tensor %s is not supported: no part of this model has it",
                             all[i].name);
        }
    }
    return PLMM_OK;
}

/* Every tensor of the shape is there, and no other. */
static plmm_status check_tensors(const plmm_gguf *g, const plmm_model_config *c, plmm_error *err)
{
    size_t held;
    (void)plmm_gguf_tensors(g, &held);
    bool *used = plmm_alloc(held, sizeof *used);
    if (used == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for %zu tensors", held);
    }
    plmm_status rc = mark_tensors(g, c, used, err);
    plmm_free(used);
    return rc;
}

typedef struct weights {
    const plmm_model_config *cfg;
    const plmm_gguf *g;
} weights;

/* A row at a time, so that permuting them copies nothing. */
static plmm_status read_view(void *ctx, const plmm_view *v, size_t i, float *out, plmm_error *err)
{
    const weights *w = ctx;
    bool pairs = strcmp(plmm__gguf_architecture(w->cfg), "llama") == 0;
    plmm__named at;
    (void)err;
    plmm__named_at(w->cfg, i, &at);
    PLMM_ASSERT(strcmp(at.hf, v->name) == 0);
    const plmm_gguf_tensor *t = plmm_gguf_tensor_of(w->g, at.gguf);
    for (size_t row = 0; row < v->rows; row++) {
        size_t from = pairs && at.rotated ? plmm__pair_row(w->cfg, row) : row;
        plmm_gguf_read_row(t, from, out + row * v->cols);
    }
    return PLMM_OK;
}

plmm_status plmm_checkpoint_gguf_config(const plmm_gguf *g, plmm_model_config *cfg, plmm_error *err)
{
    plmm_model_config c;
    reader r = {.g = g};
    PLMM_TRY(read_config(&r, &c, err));
    *cfg = c;
    return PLMM_OK;
}

plmm_status plmm_checkpoint_from_gguf(const plmm_gguf *g, const char *name, plmm_base base,
                                      plmm_model **model, plmm_error *err)
{
    plmm_model_config c;
    plmm_status rc = plmm_checkpoint_gguf_config(g, &c, err);
    if (rc == PLMM_OK) {
        rc = check_tensors(g, &c, err);
    }
    if (rc == PLMM_OK) {
        weights w = {&c, g};
        rc = plmm_model_new_frozen(&c, base, read_view, &w, model, err);
    }
    return rc == PLMM_OK ? rc : plmm_fail_in(err, rc, "cannot read %s", name);
}
