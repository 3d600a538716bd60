/* Writer of GGUF: the header is built in memory, the weights go row by row to the file. */
#include "plmm/gguf_save.h"

#include <stdio.h>
#include <string.h>

#include "nn_internal.h"
#include "number_writer.h"
#include "plmm/alloc.h"
#include "plmm/bytes.h"
#include "plmm/gguf.h"
#include "plmm/json.h"
#include "quant.h"
#include "tensor_names.h"

enum { VERSION = 3, ALIGN = 32 };

/* A tensor to write: a matrix [rows][cols], or a float32 vector. */
typedef struct item {
    char name[PLMM_GGUF_NAME_MAX + 1];
    const float *data;
    size_t rows, cols;
    plmm_gguf_type type;
    bool vector, rotated;
} item;

typedef struct writer {
    const plmm_model_config *cfg;
    item *items;
    size_t n;
    plmm_text keys; /* bytes of the keys */
    size_t n_keys;
    plmm_status status; /* the first failure of put_ */
    plmm_error *err;
} writer;

/* --- header --- */

static void put(writer *w, plmm_text *out, const void *bytes, size_t n)
{
    if (w->status == PLMM_OK) {
        w->status = plmm_text_sink(out, bytes, n, w->err);
    }
}

static void put_u32(writer *w, plmm_text *out, uint32_t v)
{
    uint8_t b[4];
    plmm_store_le32(b, v);
    put(w, out, b, sizeof b);
}

static void put_u64(writer *w, plmm_text *out, uint64_t v)
{
    uint8_t b[8];
    plmm_store_le64(b, v);
    put(w, out, b, sizeof b);
}

static void put_text(writer *w, plmm_text *out, const char *s)
{
    put_u64(w, out, strlen(s));
    put(w, out, s, strlen(s));
}

static void key_text(writer *w, const char *key, const char *value)
{
    put_text(w, &w->keys, key);
    put_u32(w, &w->keys, PLMM_GGUF_TEXT);
    put_text(w, &w->keys, value);
    w->n_keys++;
}

static void key_u32(writer *w, const char *key, uint32_t value)
{
    put_text(w, &w->keys, key);
    put_u32(w, &w->keys, PLMM_GGUF_U32);
    put_u32(w, &w->keys, value);
    w->n_keys++;
}

static void key_float(writer *w, const char *key, float value)
{
    uint32_t u;
    memcpy(&u, &value, sizeof u);
    put_text(w, &w->keys, key);
    put_u32(w, &w->keys, PLMM_GGUF_F32);
    put_u32(w, &w->keys, u);
    w->n_keys++;
}

static bool quantised(plmm_gguf_type type)
{
    return type == PLMM_GGUF_TYPE_Q8_0 || type == PLMM_GGUF_TYPE_Q4_0;
}

static plmm__quant quant_of(plmm_gguf_type type)
{
    return type == PLMM_GGUF_TYPE_Q8_0 ? PLMM__Q8_0 : PLMM__Q4_0;
}

static plmm_dtype dtype_of(plmm_gguf_type type)
{
    return type == PLMM_GGUF_TYPE_F32   ? PLMM_F32
           : type == PLMM_GGUF_TYPE_F16 ? PLMM_F16
                                        : PLMM_BF16;
}

static size_t bytes_of(const item *t)
{
    return t->rows * (quantised(t->type) ? plmm__quant_row_bytes(quant_of(t->type), t->cols)
                                         : t->cols * plmm__number_bytes(dtype_of(t->type)));
}

static size_t padding(size_t n)
{
    return (ALIGN - n % ALIGN) % ALIGN;
}

static void build_header(writer *w, plmm_text *out)
{
    uint64_t offset = 0;
    put(w, out, "GGUF", 4);
    put_u32(w, out, VERSION);
    put_u64(w, out, w->n);
    put_u64(w, out, w->n_keys);
    put(w, out, w->keys.text, w->keys.len);
    for (size_t i = 0; i < w->n; i++) {
        const item *t = &w->items[i];
        put_text(w, out, t->name);
        put_u32(w, out, t->vector ? 1 : 2);
        put_u64(w, out, t->cols);
        if (!t->vector) {
            put_u64(w, out, t->rows);
        }
        put_u32(w, out, (uint32_t)t->type);
        put_u64(w, out, offset);
        offset += bytes_of(t) + padding(bytes_of(t));
    }
    static const char zeros[ALIGN] = {0};
    put(w, out, zeros, padding(out->len));
}

/* --- data --- */

/* Ours of llama.cpp's row: the inverse of plmm__pair_row. */
static size_t half_row(const plmm_model_config *c, size_t row)
{
    size_t k = row % c->head_dim;
    return row - k + k % 2 * (c->head_dim / 2) + k / 2;
}

/* A row of whole blocks. */
static plmm_status write_blocks(plmm__numbers *out, plmm__quant kind, const float *x, size_t n,
                                plmm_error *err)
{
    enum { AT_ONCE = 1024 };
    uint8_t bytes[AT_ONCE / PLMM__QUANT_BLOCK * PLMM__Q8_BYTES];
    PLMM_TRY(plmm__numbers_flush(out, err));
    for (size_t at = 0; at < n; at += AT_ONCE) {
        size_t some = n - at < AT_ONCE ? n - at : AT_ONCE;
        plmm__quantize_row(kind, x + at, some, bytes);
        PLMM_TRY(plmm_file_writer_write(out->file, bytes, plmm__quant_row_bytes(kind, some), err));
    }
    return PLMM_OK;
}

static plmm_status write_item(const writer *w, plmm__numbers *out, const item *t, plmm_error *err)
{
    bool pairs = t->rotated && strcmp(plmm__gguf_architecture(w->cfg), "llama") == 0;
    out->dtype = dtype_of(t->type);
    for (size_t row = 0; row < t->rows; row++) {
        const float *x = t->data + (pairs ? half_row(w->cfg, row) : row) * t->cols;
        PLMM_TRY(quantised(t->type) ? write_blocks(out, quant_of(t->type), x, t->cols, err)
                                    : plmm__numbers_put(out, t->name, x, t->cols, err));
    }
    return plmm__numbers_pad(out, padding(bytes_of(t)), err);
}

static plmm_status write_all(const writer *w, const plmm_text *header, plmm_file_writer *file,
                             plmm_error *err)
{
    plmm__numbers out = {.file = file};
    PLMM_TRY(plmm_file_writer_write(file, header->text, header->len, err));
    for (size_t i = 0; i < w->n; i++) {
        PLMM_TRY(write_item(w, &out, &w->items[i], err));
    }
    return plmm__numbers_flush(&out, err);
}

/* Writes the file and frees what w holds. */
static plmm_status finish(writer *w, const char *path)
{
    plmm_text header = {0};
    plmm_file_writer file;
    build_header(w, &header);
    plmm_status rc = w->status;
    if (rc == PLMM_OK) {
        rc = plmm_file_writer_open(&file, path, PLMM_MODE_PUBLIC, w->err);
    }
    if (rc == PLMM_OK) {
        rc = write_all(w, &header, &file, w->err);
        if (rc == PLMM_OK) {
            rc = plmm_file_writer_commit(&file, w->err);
        } else {
            plmm_file_writer_abort(&file);
        }
    }
    plmm_text_free(&header);
    plmm_text_free(&w->keys);
    plmm_free(w->items);
    return rc;
}

static plmm_status begin(writer *w, const plmm_model_config *cfg, size_t items, plmm_error *err)
{
    *w = (writer){.cfg = cfg, .err = err};
    w->items = plmm_alloc(items, sizeof *w->items);
    return w->items != NULL
               ? PLMM_OK
               : plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for %zu tensors", items);
}

/* --- adapters --- */

static void add_factors(writer *w, const plmm_adapter *a, uint32_t layer, unsigned target,
                        plmm_gguf_type type)
{
    static const char *const names[PLMM_TARGETS] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                                    "ffn_gate", "ffn_up", "ffn_down"};
    size_t at = plmm_adapter_offset(a, layer, target, PLMM_FACTOR_A), out = 0, in = 0;
    const float *x = plmm_adapter_weights(a);
    size_t rank = plmm_adapter_spec(a)->rank;
    if (at == SIZE_MAX) {
        return;
    }
    plmm_target_shape(w->cfg, target, &out, &in);
    item *ia = &w->items[w->n++], *ib = &w->items[w->n++];
    *ia = (item){.data = x + at, .rows = rank, .cols = in, .type = type};
    *ib = (item){.data = x + plmm_adapter_offset(a, layer, target, PLMM_FACTOR_B),
                 .rows = out,
                 .cols = rank,
                 .type = type,
                 .rotated = target < 2};
    (void)snprintf(ia->name, sizeof ia->name, "blk.%u.%s.weight.lora_a", layer, names[target]);
    (void)snprintf(ib->name, sizeof ib->name, "blk.%u.%s.weight.lora_b", layer, names[target]);
}

plmm_status plmm_gguf_save_adapter(const char *path, const plmm_adapter *a, plmm_dtype dtype,
                                   plmm_error *err)
{
    writer w;
    const plmm_model_config *c = plmm_adapter_cfg(a);
    if (dtype != PLMM_F32 && dtype != PLMM_F16) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "llama.cpp takes adapters of f32 or f16, not of %s",
                         plmm_dtype_name(dtype));
    }
    PLMM_TRY(begin(&w, c, 2 * PLMM_TARGETS * (size_t)c->layers, err));
    key_text(&w, "general.architecture", plmm__gguf_architecture(c));
    key_text(&w, "general.type", "adapter");
    key_text(&w, "adapter.type", "lora");
    key_float(&w, "adapter.lora.alpha", plmm_adapter_spec(a)->alpha);
    for (uint32_t l = 0; l < c->layers; l++) {
        for (unsigned t = 0; t < PLMM_TARGETS; t++) {
            add_factors(&w, a, l, t, dtype == PLMM_F32 ? PLMM_GGUF_TYPE_F32 : PLMM_GGUF_TYPE_F16);
        }
    }
    return finish(&w, path);
}

/* --- models --- */

static void model_u32(writer *w, const char *rest, uint32_t value)
{
    char key[96];
    (void)snprintf(key, sizeof key, "%s.%s", plmm__gguf_architecture(w->cfg), rest);
    key_u32(w, key, value);
}

static void model_float(writer *w, const char *rest, float value)
{
    char key[96];
    (void)snprintf(key, sizeof key, "%s.%s", plmm__gguf_architecture(w->cfg), rest);
    key_float(w, key, value);
}

static void model_keys(writer *w)
{
    const plmm_model_config *c = w->cfg;
    key_text(w, "general.architecture", plmm__gguf_architecture(c));
    key_text(w, "general.type", "model");
    model_u32(w, "context_length", c->context);
    model_u32(w, "embedding_length", c->dim);
    model_u32(w, "block_count", c->layers);
    model_u32(w, "feed_forward_length", c->hidden);
    model_u32(w, "attention.head_count", c->heads);
    model_u32(w, "attention.head_count_kv", c->kv_heads);
    model_u32(w, "attention.key_length", c->head_dim);
    model_u32(w, "attention.value_length", c->head_dim);
    model_u32(w, "rope.dimension_count", c->head_dim);
    model_u32(w, "vocab_size", c->vocab);
    model_float(w, "rope.freq_base", c->rope_theta);
    model_float(w, "attention.layer_norm_rms_epsilon", c->norm_eps);
    key_text(w, "tokenizer.ggml.model", "no_vocab");
    if (c->bos >= 0) {
        key_u32(w, "tokenizer.ggml.bos_token_id", (uint32_t)c->bos);
    }
    if (c->eos >= 0) {
        key_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t)c->eos);
    }
}

/* A row that is no whole number of blocks has no quantised form. */
static plmm_gguf_type matrix_type(plmm_gguf_type type, size_t cols)
{
    return quantised(type) && cols % PLMM__QUANT_BLOCK != 0 ? PLMM_GGUF_TYPE_F16 : type;
}

plmm_status plmm_gguf_save_model(const char *path, const plmm_model *m, plmm_gguf_type type,
                                 plmm_error *err)
{
    writer w;
    const plmm_model_config *c = plmm_model_cfg(m);
    size_t n;
    const plmm_view *v = plmm_model_views(m, &n);
    float divisors[512]; /* head_dim / 2 at most */
    if (!quantised(type) && type != PLMM_GGUF_TYPE_F32 && type != PLMM_GGUF_TYPE_F16 &&
        type != PLMM_GGUF_TYPE_BF16) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "models are written in f32, f16, bf16, q8_0 or q4_0");
    }
    PLMM_TRY(begin(&w, c, n + 1, err));
    model_keys(&w);
    for (size_t i = 0; i < n; i++) {
        plmm__named at;
        plmm__named_at(c, i, &at);
        item *t = &w.items[w.n++];
        *t = (item){.data = plmm_model_weights(m) + v[i].offset,
                    .rows = at.rows,
                    .cols = at.cols,
                    .type = at.rows == 1 ? PLMM_GGUF_TYPE_F32 : matrix_type(type, at.cols),
                    .vector = at.rows == 1,
                    .rotated = at.rotated};
        (void)snprintf(t->name, sizeof t->name, "%s", at.gguf);
    }
    if (c->rope_scaling.factor != 0) {
        plmm_model_config plain = *c;
        plain.rope_scaling = (plmm_rope_scaling){0};
        for (size_t j = 0; j < c->head_dim / 2; j++) {
            double f = (double)plmm__rope_freq(&plain, j);
            divisors[j] = (float)plmm__rope_factor(&c->rope_scaling, f);
        }
        item *t = &w.items[w.n++];
        *t = (item){.data = divisors, .rows = 1, .cols = c->head_dim / 2, .vector = true};
        (void)snprintf(t->name, sizeof t->name, "rope_freqs.weight");
    }
    return finish(&w, path);
}
