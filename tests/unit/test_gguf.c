/* nn: llama.cpp's files. Fixtures by gguf-py and Transformers (tests/vectors/gen/gguf_models.py);
 * and headers that lie, each refused in a sentence and for little memory. */
#include <math.h>
#include <unistd.h>

#include "plmm/alloc.h"
#include "plmm/bytes.h"
#include "plmm/checkpoint.h"
#include "plmm/file.h"
#include "plmm/gguf_save.h"
#include "plmm/peft.h"
#include "plmm/safetensors.h"
#include "plmm/train.h"
#include "quant.h"
#include "test.h"

enum { LEN = 24, VOCAB = 48 };

static void must(plmm_status rc, const plmm_error *err)
{
    if (rc != PLMM_OK) {
        (void)fprintf(stderr, "%s\n", err->msg);
        exit(EXIT_FAILURE);
    }
}

/* --- fixtures --- */

static void logits_of(const plmm_model *m, const float *tokens, float *z)
{
    int32_t ids[LEN];
    plmm_workspace *w = NULL;
    plmm_error err;
    plmm_workspace_params p = {.tokens = LEN, .seq_max = LEN, .use = PLMM_USE_EVAL};
    for (size_t i = 0; i < LEN; i++) {
        ids[i] = (int32_t)tokens[i];
    }
    must(plmm_workspace_new(plmm_model_cfg(m), &p, &w, &err), &err);
    must(plmm_logits(w, m, NULL, ids, LEN, z, &err), &err);
    plmm_workspace_free(w);
}

static double distance(const float *x, const float *y, size_t n)
{
    double diff = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)x[i] - (double)y[i];
        diff += d * d;
        norm += (double)y[i] * (double)y[i];
    }
    return sqrt(diff / norm);
}

static void read_named(const plmm_safetensors *s, const char *name, float *out, size_t count)
{
    const plmm_st_tensor *t = plmm_safetensors_find(s, name);
    plmm_error err = {.msg = "the fixture lacks a tensor"};
    must(t != NULL && t->count == count ? plmm_safetensors_read(t, out, &err) : PLMM_ERR_FORMAT,
         &err);
}

/* Every tensor of s that the model has is there to the bit; returns their number. */
static size_t compare_weights(const plmm_model *m, const plmm_safetensors *s)
{
    size_t n, same = 0;
    const plmm_view *v = plmm_model_views(m, &n);
    for (size_t i = 0; i < n; i++) {
        size_t count = v[i].rows * v[i].cols;
        if (plmm_safetensors_find(s, v[i].name) != NULL) {
            float *x = calloc(count, sizeof *x);
            read_named(s, v[i].name, x, count);
            CHECK(memcmp(x, plmm_model_weights(m) + v[i].offset, count * sizeof *x) == 0,
                  "%s differs from the reference", v[i].name);
            free(x);
            same++;
        }
    }
    return same;
}

static void test_llama(void)
{
    plmm_model *m = NULL;
    plmm_safetensors *s = NULL;
    plmm_error err;
    float tokens[LEN], z[LEN * VOCAB], want[LEN * VOCAB];
    must(plmm_checkpoint_load("tests/vectors/gguf/llama.gguf", &m, NULL, &err), &err);
    must(plmm_safetensors_open("tests/vectors/gguf/llama.safetensors", &s, &err), &err);
    CHECK(compare_weights(m, s) == 7, "a tensor of every type");
    const plmm_model_config *c = plmm_model_cfg(m);
    CHECK(c->rope_scaling.factor == 8 && c->rope_scaling.low == 1 && c->rope_scaling.high == 4 &&
              c->rope_scaling.original == 32,
          "Llama 3's numbers from the divisors: %g %u", (double)c->rope_scaling.factor,
          c->rope_scaling.original);
    CHECK(c->bos == 1 && c->eos == 2 && c->pad == -1 && !c->tied, "specials");
    read_named(s, "tokens", tokens, LEN);
    logits_of(m, tokens, z);
    read_named(s, "logits", want, LEN * VOCAB);
    double e = distance(z, want, LEN * VOCAB);
    CHECK(e < 1e-5, "logits: relative error %g", e);
    read_named(s, "logits.before", want, LEN * VOCAB);
    e = distance(z, want, LEN * VOCAB);
    (void)fprintf(stderr, "logits, relative error by quantisation: %.3g\n", e);
    CHECK(e > 1e-3 && e < 0.3, "logits before quantisation: relative error %g", e);
    plmm_safetensors_close(s);
    plmm_model_free(m);
}

/* Blocks of q8_0 frozen to int8 and blocks of q4_0 to 4 bits keep their numbers. */
static void test_blocks(void)
{
    static const struct {
        plmm_base base;
        plmm__quant quant;
        const char *name;
    } rows[] = {{PLMM_BASE_INT8, PLMM__Q8_0, "blk.0.attn_output.weight"},
                {PLMM_BASE_INT4, PLMM__Q4_0, "blk.0.ffn_gate.weight"}};
    plmm_map map;
    plmm_gguf *g = NULL;
    plmm_error err;
    must(plmm_file_map("tests/vectors/gguf/llama.gguf", &map, &err), &err);
    must(plmm_gguf_parse(map.data, map.len, "x", &g, &err), &err);
    for (size_t i = 0; i < COUNT(rows); i++) {
        const plmm_gguf_tensor *t = plmm_gguf_tensor_of(g, rows[i].name);
        size_t bytes = plmm__quant_row_bytes(rows[i].quant, (size_t)t->shape[0]);
        for (uint64_t row = 0; row < t->shape[1]; row++) {
            float x[64];
            uint8_t q[64];
            plmm_gguf_read_row(t, row, x);
            plmm__quantize_row(rows[i].quant, x, (size_t)t->shape[0], q);
            CHECK(memcmp(q, t->data + row * bytes, bytes) == 0, "%s, row %u", rows[i].name,
                  (unsigned)row);
        }
        plmm_model *m = NULL;
        must(plmm_checkpoint_from_gguf(g, "x", rows[i].base, &m, &err), &err);
        CHECK(plmm_model_base(m) == rows[i].base && plmm_model_weights(m) == NULL, "frozen");
        plmm_model_free(m);
    }
    plmm_gguf_close(g);
    plmm_file_unmap(&map);
}

static void test_qwen2(void)
{
    plmm_model *m = NULL;
    plmm_safetensors *s = NULL;
    plmm_error err;
    must(plmm_checkpoint_load("tests/vectors/gguf/qwen2.gguf", &m, NULL, &err), &err);
    must(plmm_safetensors_open_dir("tests/vectors/families/qwen2", &s, &err), &err);
    CHECK(compare_weights(m, s) == 2 + 12 * 2, "every tensor");
    CHECK(plmm_model_cfg(m)->qkv_bias && plmm_model_cfg(m)->tied &&
              plmm_model_cfg(m)->rope_theta == 1e6f,
          "shape");
    plmm_safetensors_close(s);
    plmm_model_free(m);
}

static void test_values(void)
{
    plmm_map map;
    plmm_gguf *g = NULL;
    plmm_error err;
    uint32_t u = 5;
    size_t n;
    double d = 0;
    bool b = false;
    must(plmm_file_map("tests/vectors/gguf/llama.gguf", &map, &err), &err);
    must(plmm_gguf_parse(map.data, map.len, "x", &g, &err), &err);
    CHECK(plmm_gguf_text_is(plmm_gguf_find(g, "general.architecture"), "llama"), "text");
    CHECK(!plmm_gguf_text_is(plmm_gguf_find(g, "general.architecture"), "llam"), "shorter");
    CHECK(!plmm_gguf_text_is(plmm_gguf_find(g, "llama.block_count"), "llama"), "no text");
    static const char *const tags[] = {"test", "", "random"};
    plmm_gguf_texts t = plmm_gguf_texts_of(plmm_gguf_find(g, "general.tags"));
    for (n = 0; plmm_gguf_texts_next(&t); n++) {
        CHECK(n < 3 && t.len == strlen(tags[n]) && memcmp(t.text, tags[n], t.len) == 0, "%zu", n);
    }
    CHECK(n == 3, "%zu tags", n);
    CHECK(plmm_gguf_may_u32(g, "gone", 0, 9, &u, &err) == PLMM_OK && u == 5, "absent");
    CHECK(plmm_gguf_need_u32(g, "gone", 0, 9, &u, &err) == PLMM_ERR_FORMAT &&
              strstr(err.msg, "gone is missing") != NULL,
          "%s", err.msg);
    CHECK(plmm_gguf_need_u32(g, "llama.block_count", 3, 9, &u, &err) == PLMM_ERR_RANGE &&
              strcmp(err.msg, "llama.block_count is 2, expected 3..9") == 0,
          "%s", err.msg);
    CHECK(plmm_gguf_need_u32(g, "llama.rope.freq_base", 0, 9, &u, &err) == PLMM_ERR_FORMAT, "real");
    CHECK(plmm_gguf_need_real(g, "llama.rope.freq_base", 0, 1e9, &d, &err) == PLMM_OK && d == 500,
          "real");
    CHECK(plmm_gguf_may_bool(g, "llama.block_count", &b, &err) == PLMM_ERR_FORMAT, "no bool");
    const plmm_gguf_tensor *all = plmm_gguf_tensors(g, &n);
    for (size_t i = 0; i < n; i++) {
        CHECK(plmm_gguf_tensor_of(g, all[i].name) == &all[i], "%s", all[i].name);
    }
    CHECK(plmm_gguf_tensor_of(g, "blk.0.attn_q") == NULL, "no such tensor");
    plmm_gguf_close(g);
    plmm_file_unmap(&map);
}

/* --- writing --- */

static void test_saved_model(const char *family, const char *path)
{
    char dir[200];
    plmm_model *m = NULL, *again = NULL;
    plmm_error err;
    (void)snprintf(dir, sizeof dir, "tests/vectors/families/%s", family);
    must(plmm_checkpoint_load(dir, &m, NULL, &err), &err);
    must(plmm_gguf_save_model(path, m, PLMM_GGUF_TYPE_F32, &err), &err);
    must(plmm_checkpoint_load(path, &again, NULL, &err), &err);
    const plmm_model_config *c = plmm_model_cfg(m), *d = plmm_model_cfg(again);
    CHECK(plmm_model_count(m) == plmm_model_count(again) &&
              memcmp(plmm_model_weights(m), plmm_model_weights(again),
                     plmm_model_count(m) * sizeof(float)) == 0,
          "%s: other weights", family);
    CHECK(c->rope_theta == d->rope_theta && c->norm_eps == d->norm_eps && c->tied == d->tied &&
              c->qkv_bias == d->qkv_bias && c->head_dim == d->head_dim && c->eos == d->eos &&
              memcmp(&c->rope_scaling, &d->rope_scaling, sizeof c->rope_scaling) == 0,
          "%s: another shape", family);
    plmm_model_free(m);
    plmm_model_free(again);
}

/* Row of llama.cpp's q (heads of 16 in llama3, 4 in qwen2) that is our row. */
static size_t turned(const plmm_model_config *c, size_t row)
{
    size_t hd = c->head_dim, k = row % hd;
    return c->qkv_bias ? row : row / hd * hd + (k < hd / 2 ? 2 * k : 2 * (k - hd / 2) + 1);
}

static void check_factors(const plmm_gguf *g, const plmm_adapter *a)
{
    const plmm_model_config *c = plmm_adapter_cfg(a);
    const plmm_gguf_tensor *ta = plmm_gguf_tensor_of(g, "blk.1.attn_q.weight.lora_a");
    const plmm_gguf_tensor *tb = plmm_gguf_tensor_of(g, "blk.1.attn_q.weight.lora_b");
    const plmm_gguf_tensor *down = plmm_gguf_tensor_of(g, "blk.0.ffn_down.weight.lora_b");
    const float *w = plmm_adapter_weights(a);
    float row[64];
    CHECK(ta != NULL && tb != NULL && down != NULL, "names");
    if (ta == NULL || tb == NULL || down == NULL) {
        return;
    }
    CHECK(ta->shape[0] == c->dim && ta->shape[1] == 2 && tb->shape[0] == 2 &&
              tb->shape[1] == (uint64_t)c->heads * c->head_dim,
          "shapes");
    size_t at = plmm_adapter_offset(a, 1, 0, PLMM_FACTOR_A);
    plmm_gguf_read_row(ta, 1, row);
    CHECK(memcmp(row, w + at + c->dim, c->dim * sizeof *row) == 0, "A");
    at = plmm_adapter_offset(a, 1, 0, PLMM_FACTOR_B);
    for (size_t i = 0; i < tb->shape[1]; i++) {
        plmm_gguf_read_row(tb, turned(c, i), row);
        CHECK(memcmp(row, w + at + 2 * i, 2 * sizeof *row) == 0, "B of q, row %zu", i);
    }
    at = plmm_adapter_offset(a, 0, 6, PLMM_FACTOR_B);
    for (size_t i = 0; i < down->shape[1]; i++) {
        plmm_gguf_read_row(down, i, row);
        CHECK(memcmp(row, w + at + 2 * i, 2 * sizeof *row) == 0, "B of down, row %zu", i);
    }
}

static void test_saved_adapter(const char *family, const char *path)
{
    char dir[200];
    plmm_model *m = NULL;
    plmm_adapter *a = NULL;
    plmm_gguf *g = NULL;
    plmm_map map;
    plmm_error err;
    size_t n;
    (void)snprintf(dir, sizeof dir, "tests/vectors/families/%s", family);
    must(plmm_checkpoint_load(dir, &m, NULL, &err), &err);
    (void)snprintf(dir, sizeof dir, "tests/vectors/families/%s/adapter", family);
    must(plmm_peft_load(dir, plmm_model_cfg(m), &a, &err), &err);
    must(plmm_gguf_save_adapter(path, a, PLMM_F32, &err), &err);
    must(plmm_file_map(path, &map, &err), &err);
    must(plmm_gguf_parse(map.data, map.len, path, &g, &err), &err);
    (void)plmm_gguf_tensors(g, &n);
    CHECK(n == 2 * 2 * 7, "%zu tensors", n);
    CHECK(plmm_gguf_text_is(plmm_gguf_find(g, "general.type"), "adapter") &&
              plmm_gguf_text_is(plmm_gguf_find(g, "adapter.type"), "lora") &&
              plmm_gguf_text_is(plmm_gguf_find(g, "general.architecture"),
                                plmm_model_cfg(m)->qkv_bias ? "qwen2" : "llama"),
          "keys");
    double alpha = 0;
    CHECK(plmm_gguf_need_real(g, "adapter.lora.alpha", 0, 9, &alpha, &err) == PLMM_OK && alpha == 3,
          "alpha %g", alpha);
    check_factors(g, a);
    CHECK(plmm_checkpoint_load(path, &m, NULL, &err) == PLMM_ERR_UNSUPPORTED &&
              strstr(err.msg, "general.type") != NULL,
          "an adapter is no model: %s", err.msg);
    CHECK(plmm_gguf_save_adapter(path, a, PLMM_BF16, &err) == PLMM_ERR_CONFIG, "bf16");
    plmm_gguf_close(g);
    plmm_file_unmap(&map);
    plmm_adapter_free(a);
    plmm_model_free(m);
}

static void test_writing(void)
{
    static const char *const families[] = {"llama2",    "llama3", "smollm2",
                                           "tinyllama", "qwen2",  "mistral"};
    char dir[] = "/tmp/plmm-test-gguf-XXXXXX", path[64];
    plmm_error err;
    CHECK(mkdtemp(dir) != NULL, "%s", dir);
    (void)snprintf(path, sizeof path, "%s/x.gguf", dir);
    for (size_t i = 0; i < COUNT(families); i++) {
        test_saved_model(families[i], path);
    }
    test_saved_adapter("llama3", path);
    test_saved_adapter("qwen2", path);
    must(plmm_path_remove(dir, &err), &err);
}

/* --- headers that lie --- */

typedef struct file {
    uint8_t bytes[2048];
    size_t n;
} file;

static void put_u32(file *f, uint32_t v)
{
    plmm_store_le32(f->bytes + f->n, v);
    f->n += 4;
}

static void put_u64(file *f, uint64_t v)
{
    plmm_store_le64(f->bytes + f->n, v);
    f->n += 8;
}

static void put_text(file *f, const char *s)
{
    put_u64(f, strlen(s));
    memcpy(f->bytes + f->n, s, strlen(s));
    f->n += strlen(s);
}

static file begin(uint32_t version, uint64_t tensors, uint64_t keys)
{
    file f = {.bytes = "GGUF", .n = 4};
    put_u32(&f, version);
    put_u64(&f, tensors);
    put_u64(&f, keys);
    return f;
}

static void put_key(file *f, const char *key, uint32_t value)
{
    put_text(f, key);
    put_u32(f, PLMM_GGUF_U32);
    put_u32(f, value);
}

static void put_tensor(file *f, const char *name, uint64_t in, uint64_t out, uint32_t type,
                       uint64_t offset)
{
    put_text(f, name);
    put_u32(f, 2);
    put_u64(f, in);
    put_u64(f, out);
    put_u32(f, type);
    put_u64(f, offset);
}

static void put_data(file *f, size_t align, size_t bytes)
{
    f->n = (f->n + align - 1) / align * align + bytes;
}

static void refuse(const file *f, plmm_status want, const char *says)
{
    plmm_gguf *g = NULL;
    plmm_error err = {0};
    plmm_status rc = plmm_gguf_parse(f->bytes, f->n, "x.gguf", &g, &err);
    CHECK(rc == want && g == NULL && strstr(err.msg, says) != NULL &&
              strstr(err.msg, "cannot read x.gguf") != NULL,
          "\"%s\": %d, %s", says, rc, err.msg);
    plmm_gguf_close(g);
}

static file two_tensors(uint64_t second, size_t data)
{
    file f = begin(3, 2, 0);
    put_tensor(&f, "a", 3, 1, 0, 0);
    put_tensor(&f, "b", 32, 2, 8, second);
    put_data(&f, 32, data);
    return f;
}

static void test_headers(void)
{
    file f = two_tensors(32, 32 + 68);
    plmm_gguf *g = NULL;
    plmm_error err = {0};
    CHECK(plmm_gguf_parse(f.bytes, f.n, "x", &g, &err) == PLMM_OK, "%s", err.msg);
    plmm_gguf_close(g);
    for (size_t k = 0; k < f.n; k++) { /* any cut is refused */
        g = NULL;
        CHECK(plmm_gguf_parse(f.bytes, k, "x", &g, &err) == PLMM_ERR_FORMAT && g == NULL, "%zu", k);
    }
    f = two_tensors(32, 32 + 96);
    CHECK(plmm_gguf_parse(f.bytes, f.n, "x", &g, &err) == PLMM_OK, "padded: %s", err.msg);
    plmm_gguf_close(g);
    f = two_tensors(32, 32 + 97);
    refuse(&f, PLMM_ERR_FORMAT, "goes on to 129");
    f = two_tensors(0, 32 + 96);
    refuse(&f, PLMM_ERR_FORMAT, "begins at byte 0 of the data, expected 32");
    f = two_tensors(64, 64 + 96);
    refuse(&f, PLMM_ERR_FORMAT, "expected 32");
    f = begin(1, 0, 0);
    refuse(&f, PLMM_ERR_UNSUPPORTED, "version 1");
    f = begin(3u << 24, 0, 0);
    refuse(&f, PLMM_ERR_UNSUPPORTED, "little-endian");
    f.bytes[0] = 'g';
    refuse(&f, PLMM_ERR_FORMAT, "does not begin like");
    f = begin(3, 1000000000, 0);
    refuse(&f, PLMM_ERR_FORMAT, "1000000000 tensors");
    f = begin(3, 0, UINT64_MAX);
    refuse(&f, PLMM_ERR_FORMAT, "at most");
    f = begin(3, 60000, 0);
    refuse(&f, PLMM_ERR_FORMAT, "truncated");
}

static void test_keys(void)
{
    file f = begin(3, 0, 2);
    put_key(&f, "a", 1);
    put_key(&f, "a", 2);
    refuse(&f, PLMM_ERR_FORMAT, "key a is there twice");
    f = begin(3, 0, 1);
    put_key(&f, "", 1);
    refuse(&f, PLMM_ERR_FORMAT, "a key has 0 bytes");
    f = begin(3, 0, 1);
    put_text(&f, "a");
    put_u32(&f, 13);
    put_u32(&f, 0);
    refuse(&f, PLMM_ERR_FORMAT, "key a has type 13");
    f = begin(3, 0, 1);
    put_text(&f, "general.alignment");
    put_u32(&f, PLMM_GGUF_U32);
    put_u32(&f, 24);
    refuse(&f, PLMM_ERR_FORMAT, "no power of two");
    static const uint32_t items[] = {PLMM_GGUF_U8, PLMM_GGUF_F64, PLMM_GGUF_TEXT};
    static const uint64_t counts[] = {1000000000, UINT64_MAX, UINT64_MAX / 8 + 2};
    for (size_t i = 0; i < COUNT(items) * COUNT(counts); i++) {
        f = begin(3, 0, 1);
        put_text(&f, "tokens");
        put_u32(&f, PLMM_GGUF_ARRAY);
        put_u32(&f, items[i % 3]);
        put_u64(&f, counts[i / 3]);
        put_data(&f, 1, 100);
        refuse(&f, PLMM_ERR_FORMAT, "truncated");
    }
    f = begin(3, 0, 1);
    put_text(&f, "nested");
    put_u32(&f, PLMM_GGUF_ARRAY);
    put_u32(&f, PLMM_GGUF_ARRAY);
    put_u64(&f, 1);
    refuse(&f, PLMM_ERR_FORMAT, "array of type 9");
    f = begin(3, 0, 1);
    put_u64(&f, UINT64_MAX - 7);
    put_data(&f, 1, 100);
    refuse(&f, PLMM_ERR_FORMAT, "truncated");
}

static void test_tensors(void)
{
    static const struct {
        uint64_t in, out;
        uint32_t type;
        const char *says;
        plmm_status rc;
    } rows[] = {
        {0, 4, 0, "dimension of 0", PLMM_ERR_FORMAT},
        {UINT64_MAX, 2, 0, "too many", PLMM_ERR_FORMAT},
        {UINT64_C(1) << 32, UINT64_C(1) << 32, 0, "too many", PLMM_ERR_FORMAT},
        {UINT64_C(1) << 40, 4, 0, "truncated", PLMM_ERR_FORMAT},
        {33, 1, 8, "blocks of 32", PLMM_ERR_FORMAT},
        {32, 1, 12, "blocks of 256", PLMM_ERR_FORMAT},
        {32, 1, 3, "ggml type 3", PLMM_ERR_UNSUPPORTED},
        {32, 1, UINT32_MAX, "not supported", PLMM_ERR_UNSUPPORTED},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        file f = begin(3, 1, 0);
        put_tensor(&f, "t", rows[i].in, rows[i].out, rows[i].type, 0);
        put_data(&f, 32, 64);
        refuse(&f, rows[i].rc, rows[i].says);
    }
    file f = begin(2, 2, 0);
    put_tensor(&f, "a", 8, 1, 0, 0);
    put_tensor(&f, "a", 8, 1, 0, 32);
    put_data(&f, 32, 64);
    refuse(&f, PLMM_ERR_FORMAT, "tensor a is there twice");
    f = begin(3, 1, 0);
    put_tensor(&f, "a23456789a123456789a123456789a123456789a123456789a123456789a1234", 8, 1, 0, 0);
    put_data(&f, 32, 32);
    refuse(&f, PLMM_ERR_FORMAT, "1..63 bytes");
    f = begin(3, 1, 0);
    put_text(&f, "a");
    put_u32(&f, 5);
    put_data(&f, 1, 100);
    refuse(&f, PLMM_ERR_FORMAT, "5 dimensions");
}

/* --- models that are not supported, by the name of what is not --- */

static void refuse_model(const uint8_t *bytes, size_t len, const char *says)
{
    plmm_gguf *g = NULL;
    plmm_model *m = NULL;
    plmm_error err = {0};
    must(plmm_gguf_parse(bytes, len, "x", &g, &err), &err);
    CHECK(plmm_checkpoint_from_gguf(g, "x", PLMM_BASE_F32, &m, &err) != PLMM_OK && m == NULL &&
              strstr(err.msg, says) != NULL,
          "\"%s\": %s", says, err.msg);
    plmm_model_free(m);
    plmm_gguf_close(g);
}

static void test_replaced(const plmm_map *map)
{
    static const struct {
        const char *from, *to, *says;
    } rows[] = {
        {"general.architecture", "general.architecturf", "general.architecture (none)"},
        {"llama.block_count", "llama.block_counu", "llama.block_count is missing"},
        {"blk.1.ffn_up.weight", "blk.1.ffn_un.weight", "blk.1.ffn_up.weight is missing"},
        {"rope_freqs.weight", "rope_freqs.weighu", "rope_freqs.weighu is not supported"},
        {"token_embd.weight", "token_embe.weight", "token_embd.weight"},
    };
    uint8_t *copy = malloc(map->len);
    for (size_t i = 0; i < COUNT(rows); i++) {
        size_t n = strlen(rows[i].from), at = 0;
        memcpy(copy, map->data, map->len);
        while (memcmp(copy + at, rows[i].from, n) != 0) {
            at++;
        }
        memcpy(copy + at, rows[i].to, n);
        refuse_model(copy, map->len, rows[i].says);
    }
    free(copy);
}

/* The file with one key more, and a second one that keeps the data where it was modulo 32. */
static void test_added(const plmm_map *map)
{
    static const struct {
        const char *key, *text;
    } rows[] = {{"llama.expert_count", NULL},
                {"llama.attention.sliding_window", NULL},
                {"llama.attention.value_length", NULL},

                {"llama.logit_scale", NULL},
                {"llama.rope.scaling.type", "yarn"},
                {"llama.rope.scale_linear", NULL}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        file f = {.n = 0};
        put_text(&f, rows[i].key);
        put_u32(&f, rows[i].text != NULL ? PLMM_GGUF_TEXT : PLMM_GGUF_U32);
        if (rows[i].text != NULL) {
            put_text(&f, rows[i].text);
        } else {
            put_u32(&f, 8);
        }
        char filler[] = "ffffffffffffffffffffffffffffffffffffffffffffffff";
        filler[1 + (128 - 16 - 1 - f.n % 32) % 32] = '\0';
        put_key(&f, filler, 0);
        CHECK(f.n % 32 == 0, "%zu", f.n);
        uint8_t *copy = malloc(map->len + f.n);
        memcpy(copy, map->data, 24);
        plmm_store_le64(copy + 16, plmm_load_le64(copy + 16) + 2);
        memcpy(copy + 24, f.bytes, f.n);
        memcpy(copy + 24 + f.n, map->data + 24, map->len - 24);
        refuse_model(copy, map->len + f.n, rows[i].key);
        free(copy);
    }
}

static void test_models(void)
{
    plmm_map map;
    plmm_error err;
    must(plmm_file_map("tests/vectors/gguf/llama.gguf", &map, &err), &err);
    test_replaced(&map);
    test_added(&map);
    plmm_file_unmap(&map);
}

int main(void)
{
    test_llama();
    test_blocks();
    test_qwen2();
    test_values();
    test_writing();
    test_headers();
    test_keys();
    test_tensors();
    test_models();
    CHECK(plmm_alloc_live() == 0, "%ld blocks leaked", plmm_alloc_live());
    return plmm_test_end();
}
