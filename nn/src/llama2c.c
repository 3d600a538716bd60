/* The .bin files of llama2.c (https://github.com/karpathy/llama2.c, export.py and run.c): version 0
 * has seven integers and float32 weights, versions 1 (float32) and 2 (groups of int8 with a float32
 * scale) begin with "ak42" and a header of 256 bytes. */
#include "plmm/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "plmm/alloc.h"
#include "plmm/bytes.h"
#include "tensor_names.h"

enum { MAGIC = 0x616b3432, HEADER_V0 = 28, HEADER_V1 = 256 };

typedef struct reader {
    const uint8_t *p; /* the next unread byte; lengths were checked before */
    plmm_model *m;
    const plmm_model_config *cfg;
    uint32_t version, group;
    float *scratch; /* the largest matrix that is permuted */
} reader;

static const char *const layer_names[] = {
    "input_layernorm.weight",  "self_attn.q_proj.weight", "self_attn.k_proj.weight",
    "self_attn.v_proj.weight", "self_attn.o_proj.weight", "post_attention_layernorm.weight",
    "mlp.gate_proj.weight",    "mlp.down_proj.weight",    "mlp.up_proj.weight",
};
enum { ATT_NORM, WQ, WK, WV, WO, FFN_NORM, W1, W2, W3 };

static plmm_status read_header(const uint8_t *p, size_t len, plmm_model_config *c, reader *r,
                               size_t *header, plmm_error *err)
{
    uint32_t f[7];
    bool v0 = len < 4 || plmm_load_le32(p) != MAGIC;
    *header = v0 ? HEADER_V0 : HEADER_V1;
    if (len < *header) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%zu bytes are too short for a llama2.c header",
                         len);
    }
    r->version = v0 ? 0 : plmm_load_le32(p + 4);
    if (r->version > 2 || (!v0 && r->version == 0)) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                         "llama2.c version %u is not supported, only 0, 1 and 2 are", r->version);
    }
    for (size_t i = 0; i < 7; i++) {
        f[i] = plmm_load_le32(p + (v0 ? 0 : 8) + 4 * i);
    }
    bool separate = v0 ? (int32_t)f[5] < 0 : p[36] == 0;
    uint32_t vocab = (int32_t)f[5] < 0 ? 0u - f[5] : f[5];
    r->group = r->version == 2 ? plmm_load_le32(p + 37) : 1;
    *c = (plmm_model_config){.dim = f[0],
                             .hidden = f[1],
                             .layers = f[2],
                             .heads = f[3],
                             .kv_heads = f[4],
                             .vocab = vocab,
                             .context = f[6],
                             .head_dim = f[3] != 0 ? f[0] / f[3] : 0,
                             .rope_theta = 10000,
                             .norm_eps = 1e-5f,
                             .tied = !separate,
                             .bos = 1,
                             .eos = 2,
                             .pad = -1};
    PLMM_TRY(plmm_model_config_check(c, err));
    if (c->head_dim * c->heads != c->dim) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "dim %u is no multiple of %u heads", c->dim,
                         c->heads);
    }
    return PLMM_OK;
}

/* Bytes of a matrix of n elements. */
static uint64_t matrix_bytes(const reader *r, uint64_t n)
{
    return r->version == 2 ? n + n / r->group * 4 : 4 * n;
}

static plmm_status check_length(const reader *r, const plmm_model_config *c, size_t header,
                                size_t len, plmm_error *err)
{
    uint64_t dim = c->dim, kv = (uint64_t)c->kv_heads * c->head_dim;
    const uint64_t each[] = {dim * dim, kv * dim, c->hidden * dim};
    const uint64_t head = (uint64_t)c->vocab * dim;
    for (size_t i = 0; i < 3 && r->version == 2; i++) {
        if (r->group == 0 || each[i] % r->group != 0 || head % r->group != 0) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "groups of %u do not divide the matrices",
                             r->group);
        }
    }
    uint64_t need = header + 4 * dim * (2 * (uint64_t)c->layers + 1);
    need += c->layers * (2 * matrix_bytes(r, each[0]) + 2 * matrix_bytes(r, each[1]) +
                         3 * matrix_bytes(r, each[2]));
    need += matrix_bytes(r, head) * (c->tied ? 1 : 2);
    need += r->version == 0 ? 4 * (uint64_t)c->context * c->head_dim : 0;
    if (need != len) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "the header describes a file of %" PRIu64 " bytes, this one has %zu%s",
                         need, len, len < need ? ": it is truncated" : "");
    }
    return PLMM_OK;
}

static void read_floats(reader *r, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t u = plmm_load_le32(r->p + 4 * i);
        memcpy(out + i, &u, sizeof u);
    }
    r->p += 4 * n;
}

static void read_matrix(reader *r, float *out, size_t n)
{
    if (r->version != 2) {
        read_floats(r, out, n);
        return;
    }
    const uint8_t *scales = r->p + n;
    for (size_t i = 0; i < n; i++) {
        uint32_t u = plmm_load_le32(scales + i / r->group * 4);
        float s;
        memcpy(&s, &u, sizeof s);
        out[i] = s * (float)(int8_t)r->p[i];
    }
    r->p = scales + n / r->group * 4;
}

/* Rows of a head from neighbouring pairs to the two halves. */
static void permute(reader *r, float *w, size_t rows, size_t cols)
{
    memcpy(r->scratch, w, rows * cols * sizeof *w);
    for (size_t row = 0; row < rows; row++) {
        memcpy(w + row * cols, r->scratch + plmm__pair_row(r->cfg, row) * cols, cols * sizeof *w);
    }
}

static void read_layers(reader *r, unsigned which)
{
    for (uint32_t i = 0; i < r->cfg->layers; i++) {
        char name[112];
        (void)snprintf(name, sizeof name, "model.layers.%u.%s", i, layer_names[which]);
        const plmm_view *v = plmm_model_find(r->m, name);
        PLMM_ASSERT(v != NULL);
        float *w = plmm_model_params(r->m) + v->offset;
        if (which == ATT_NORM || which == FFN_NORM) {
            read_floats(r, w, v->cols);
            continue;
        }
        read_matrix(r, w, v->rows * v->cols);
        if (which == WQ || which == WK) {
            permute(r, w, v->rows, v->cols);
        }
    }
}

static void read_named(reader *r, const char *name)
{
    const plmm_view *v = plmm_model_find(r->m, name);
    PLMM_ASSERT(v != NULL);
    float *w = plmm_model_params(r->m) + v->offset;
    if (v->rows == 1) {
        read_floats(r, w, v->cols);
    } else {
        read_matrix(r, w, v->rows * v->cols);
    }
}

static void read_weights(reader *r)
{
    static const unsigned v0[] = {ATT_NORM, WQ, WK, WV, WO, FFN_NORM, W1, W2, W3};
    static const unsigned v1[] = {WQ, WK, WV, WO, W1, W2, W3};
    if (r->version == 0) {
        read_named(r, "model.embed_tokens.weight");
        for (size_t i = 0; i < sizeof v0 / sizeof v0[0]; i++) {
            read_layers(r, v0[i]);
        }
        read_named(r, "model.norm.weight");
        r->p += 4 * (size_t)r->cfg->context * r->cfg->head_dim; /* tables of angles */
    } else {
        read_layers(r, ATT_NORM);
        read_layers(r, FFN_NORM);
        read_named(r, "model.norm.weight");
        read_named(r, "model.embed_tokens.weight");
        for (size_t i = 0; i < sizeof v1 / sizeof v1[0]; i++) {
            read_layers(r, v1[i]);
        }
    }
    if (!r->cfg->tied) {
        read_named(r, "lm_head.weight");
    }
}

static plmm_status parse(const uint8_t *bytes, size_t len, plmm_model **model, plmm_error *err)
{
    reader r = {0};
    plmm_model_config cfg;
    size_t header;
    PLMM_TRY(read_header(bytes, len, &cfg, &r, &header, err));
    PLMM_TRY(check_length(&r, &cfg, header, len, err));
    PLMM_TRY(plmm_model_new(&cfg, &r.m, err));
    r.p = bytes + header;
    r.cfg = plmm_model_cfg(r.m);
    r.scratch = plmm_alloc((size_t)cfg.dim * cfg.dim, sizeof *r.scratch);
    if (r.scratch == NULL) {
        plmm_model_free(r.m);
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot hold a matrix of %u x %u", cfg.dim, cfg.dim);
    }
    read_weights(&r);
    PLMM_ASSERT(r.p == bytes + len);
    plmm_free(r.scratch);
    *model = r.m;
    return PLMM_OK;
}

plmm_status plmm_checkpoint_parse_llama2c(const uint8_t *bytes, size_t len, const char *name,
                                          plmm_model **model, plmm_error *err)
{
    plmm_status rc = parse(bytes, len, model, err);
    return rc == PLMM_OK ? rc : plmm_fail_in(err, rc, "cannot read %s", name);
}
