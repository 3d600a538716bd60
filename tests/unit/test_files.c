/* Weights on disk: safetensors, Hugging Face directories, llama2.c, PEFT. The directory
 * tests/vectors/hf was written by Transformers and PEFT (tests/peft_roundtrip.py --write), with
 * logits computed by PyTorch. */
#include "plmm/alloc.h"
#include "plmm/bytes.h"
#include "plmm/checkpoint.h"
#include "plmm/file.h"
#include "plmm/json.h"
#include "plmm/peft.h"
#include "plmm/train.h"
#include "test.h"

#include <math.h>
#include <unistd.h>

static char scratch[] = "/tmp/plmm-test-files-XXXXXX";

/* --- numbers --- */

static void test_numbers(void)
{
    for (uint32_t u = 0; u < 0x10000; u++) {
        uint16_t h = (uint16_t)u;
        float f = plmm_f16_to_f32(h), b = plmm_bf16_to_f32(h);
        CHECK(isnan(f) || plmm_f32_to_f16(f) == h, "f16 %04x", u);
        CHECK(isnan(b) || plmm_f32_to_bf16(b) == h, "bf16 %04x", u);
        CHECK(isnan(f) == ((u & 0x7C00u) == 0x7C00u && (u & 0x3FFu) != 0), "f16 %04x", u);
        if (isfinite(f) && (u & 0x7FFFu) < 0x7BFFu) { /* half way to the next: ties to even */
            float next = plmm_f16_to_f32((uint16_t)(u + 1)), mid = f + (next - f) / 2;
            CHECK(plmm_f32_to_f16(mid) == (u % 2 == 0 ? u : u + 1), "between %04x and the next", u);
            CHECK(plmm_f32_to_f16(nextafterf(mid, f)) == u, "below the middle after %04x", u);
        }
    }
    CHECK(plmm_f16_to_f32(0x3555) == 0x1.554p-2f, "one third");
    CHECK(plmm_f16_to_f32(1) == 0x1p-24f, "least subnormal");
    CHECK(plmm_f32_to_f16(65519.996f) == 0x7BFF && plmm_f32_to_f16(65520.0f) == 0x7C00, "overflow");
    CHECK(plmm_f32_to_bf16(1.00390625f) == 0x3F80 && plmm_f32_to_bf16(1.01171875f) == 0x3F82,
          "ties");
    CHECK(isnan(plmm_f16_to_f32(plmm_f32_to_f16(NAN))) &&
              isnan(plmm_bf16_to_f32(plmm_f32_to_bf16(NAN))),
          "not a number");
}

/* --- safetensors --- */

static size_t pack(uint8_t *out, const char *header, size_t data)
{
    size_t n = strlen(header);
    plmm_store_le64(out, n);
    memcpy(out + 8, header, n);
    for (size_t i = 0; i < data; i++) {
        out[8 + n + i] = (uint8_t)i;
    }
    return 8 + n + data;
}

#define T(name, type, shape, from, to)                                                             \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}"

static void test_headers(void)
{
    static const struct {
        const char *header;
        size_t data;
        const char *says; /* NULL: fine */
    } rows[] = {
        {"{" T("a", "F32", "[2]", "0", "8") "," T("b", "F16", "[2,2]", "8", "16") "}", 16, NULL},
        {"{" T("b", "F16", "[2,2]", "8", "16") "," T("a", "F32", "[2]", "0", "8") "}", 16, NULL},
        {"{\"__metadata__\":{\"format\":\"pt\"}," T("a", "I64", "[]", "0", "8") "}  ", 8, NULL},
        {"{}", 0, NULL},
        {"{" T("a", "F32", "[2,0]", "0", "0") "," T("b", "BF16", "[1]", "0", "2") "}", 2, NULL},
        {"{" T("a", "F32", "[2]", "0", "8") "}", 7, "truncated"},
        {"{" T("a", "F32", "[2]", "0", "8") "}", 9, "goes on to 9"},
        {"{" T("a", "F32", "[2]", "1", "9") "}", 9, "gaps"},
        {"{" T("a", "F32", "[2]", "0", "8") "," T("b", "F32", "[2]", "4", "12") "}", 12, "overlap"},
        {"{" T("a", "F32", "[2]", "0", "8") "," T("a", "F32", "[2]", "8", "16") "}", 16, "twice"},
        {"{" T("a", "F32", "[3]", "0", "8") "}", 8, "3 elements"},
        {"{" T("a", "F32", "[2]", "8", "0") "}", 8, "data_offsets"},
        {"{" T("a", "F32", "[2]", "-1", "7") "}", 8, "data_offsets"},
        {"{" T("a", "F32", "[2]", "0", "1e300") "}", 8, "data_offsets"},
        {"{" T("a", "F32", "[-2]", "0", "8") "}", 8, "whole numbers"},
        {"{" T("a", "F32", "[1.5]", "0", "8") "}", 8, "whole numbers"},
        {"{" T("a", "F32", "[1,1,1,1,1,1,1,1,2]", "0", "8") "}", 8, "whole numbers"},
        {"{" T("a", "F32", "[4294967296,4294967296]", "0", "8") "}", 8, "too many"},
        {"{" T("a", "F33", "[2]", "0", "8") "}", 8, "F33"},
        {"{" T("", "F32", "[2]", "0", "8") "}", 8, "name"},
        {"{\"a\":7}", 0, "dtype"},
        {"{\"a\":{\"dtype\":\"F32\"}}", 0, "shape"},
        {"[]", 0, "no JSON object"},
        {"{\"a\"", 0, "header"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint8_t bytes[512];
        plmm_safetensors *s = NULL;
        plmm_error err = {0};
        size_t n = pack(bytes, rows[i].header, rows[i].data);
        plmm_status rc = plmm_safetensors_parse(bytes, n, "x.safetensors", &s, &err);
        if (rows[i].says == NULL) {
            CHECK(rc == PLMM_OK, "row %zu: %s", i, err.msg);
        } else {
            CHECK(rc == PLMM_ERR_FORMAT && s == NULL && strstr(err.msg, rows[i].says) != NULL &&
                      strstr(err.msg, "x.safetensors") != NULL,
                  "row %zu: %d, %s", i, rc, err.msg);
        }
        plmm_safetensors_close(s);
        for (size_t k = 0; rows[i].says == NULL && k < n; k++) { /* any cut is refused */
            s = NULL;
            rc = plmm_safetensors_parse(bytes, k, "x", &s, &err);
            CHECK(rc == PLMM_ERR_FORMAT && s == NULL, "row %zu cut to %zu: %d", i, k, rc);
        }
    }
    uint8_t huge[16] = {0};
    plmm_safetensors *s = NULL;
    plmm_error err = {0};
    memset(huge, 0xFF, 8);
    CHECK(plmm_safetensors_parse(huge, sizeof huge, "x", &s, &err) == PLMM_ERR_FORMAT &&
              strstr(err.msg, "at most") != NULL,
          "%s", err.msg);
}

static void test_values(void)
{
    static const plmm_view views[] = {{"m", 0, 2, 3}, {"v", 6, 1, 2}, {"x.lora_A.weight", 8, 1, 2}};
    static const float block[] = {1, -2, 0.5f, 0x1p-14f, 65504, 0, 3, -0.25f, 7, 8};
    char path[PLMM_PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/t.safetensors", scratch);
    for (unsigned d = PLMM_F32; d <= PLMM_BF16; d++) {
        plmm_safetensors *s = NULL;
        plmm_error err = {0};
        float back[10] = {0};
        CHECK(plmm_safetensors_write(path, views, 3, block, (plmm_dtype)d, &err) == PLMM_OK, "%s",
              err.msg);
        CHECK(plmm_safetensors_open(path, &s, &err) == PLMM_OK, "%s", err.msg);
        if (s == NULL) {
            continue;
        }
        for (size_t i = 0; i < 3; i++) {
            CHECK(plmm_safetensors_read_view(s, &views[i], back, &err) == PLMM_OK, "%s", err.msg);
        }
        for (size_t i = 0; i < 10; i++) {
            float want = d == PLMM_BF16 ? plmm_bf16_to_f32(plmm_f32_to_bf16(block[i])) : block[i];
            CHECK(back[i] == want, "%s: %zu is %g", plmm_dtype_name((plmm_dtype)d), i,
                  (double)back[i]);
        }
        const plmm_st_tensor *v = plmm_safetensors_find(s, "v");
        CHECK(v != NULL && v->dims == 1 && v->shape[0] == 2, "a row is a vector");
        v = plmm_safetensors_find(s, "x.lora_A.weight");
        CHECK(v != NULL && v->dims == 2, "a factor of rank 1 stays a matrix");
        plmm_view wrong = {"m", 0, 3, 2};
        CHECK(plmm_safetensors_read_view(s, &wrong, back, &err) == PLMM_ERR_FORMAT &&
                  strstr(err.msg, "[2, 3], expected [3, 2]") != NULL,
              "%s", err.msg);
        plmm_view none = {"n", 0, 3, 2};
        CHECK(plmm_safetensors_read_view(s, &none, back, &err) == PLMM_ERR_FORMAT &&
                  strstr(err.msg, "lacks the tensor n") != NULL,
              "%s", err.msg);
        char meta[8];
        CHECK(plmm_safetensors_meta(s, "format", meta, sizeof meta) && strcmp(meta, "pt") == 0 &&
                  !plmm_safetensors_meta(s, "format", meta, 2) &&
                  !plmm_safetensors_meta(s, "gone", meta, sizeof meta),
              "metadata");
        plmm_safetensors_close(s);
    }
    static const float large[] = {1, 2, 3, 4, 5, 1e6f, 7, 8, 9, 10};
    plmm_error err = {0};
    CHECK(plmm_safetensors_write(path, views, 3, large, PLMM_F16, &err) == PLMM_ERR_RANGE &&
              strstr(err.msg, "too large for f16") != NULL,
          "%s", err.msg);
}

/* --- Hugging Face and PEFT fixture --- */

static void compare(const float *got, const plmm_json *rows, size_t cols, const char *what)
{
    size_t at = 0;
    double worst = 0;
    for (const plmm_json *r = plmm_json_first(rows); r != NULL; r = plmm_json_next(r)) {
        for (const plmm_json *v = plmm_json_first(r); v != NULL; v = plmm_json_next(v), at++) {
            double d = fabs((double)got[at] - plmm_json_number(v));
            worst = d > worst ? d : worst;
        }
    }
    CHECK(at == 7 * cols, "%s: %zu logits", what, at);
    CHECK(worst < 5e-6, "%s: largest difference %g", what, worst);
}

static void check_logits(const plmm_model *m, const plmm_adapter *a, const plmm_json *want,
                         const char *what)
{
    plmm_workspace_params p = {.tokens = 8, .seq_max = 8, .rank = 3, .use = PLMM_USE_EVAL};
    plmm_workspace *w = NULL;
    plmm_error err = {0};
    static const int32_t ids[] = {1, 5, 60, 33, 2, 17, 48};
    const plmm_adapter *one[] = {a};
    plmm_stack stack = {one, a != NULL};
    float out[7 * 61] = {0};
    CHECK(plmm_workspace_new(plmm_model_cfg(m), &p, &w, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_logits(w, m, &stack, ids, 7, out, &err) == PLMM_OK, "%s", err.msg);
    compare(out, want, 61, what);
    plmm_workspace_free(w);
}

static void check_copies(const plmm_model *m, const plmm_adapter *a, const plmm_json *root)
{
    char dir[PLMM_PATH_MAX];
    plmm_model *m2 = NULL;
    plmm_adapter *a2 = NULL;
    plmm_error err = {0};
    (void)snprintf(dir, sizeof dir, "%s/copy", scratch);
    CHECK(plmm_checkpoint_save(dir, m, PLMM_F32, NULL, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_checkpoint_load(dir, &m2, NULL, &err) == PLMM_OK, "%s", err.msg);
    (void)snprintf(dir, sizeof dir, "%s/adapter", scratch);
    CHECK(plmm_peft_save(dir, a, PLMM_F32, "somewhere", &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_peft_load(dir, plmm_model_cfg(m), &a2, &err) == PLMM_OK, "%s", err.msg);
    if (m2 != NULL && a2 != NULL) {
        CHECK(plmm_adapter_spec(a2)->alpha == 7 && plmm_adapter_spec(a2)->dropout == 0.1f, "spec");
        check_logits(m2, a2, plmm_json_get(root, "adapter"), "copies");
        plmm_model_config other = *plmm_model_cfg(m);
        other.hidden--;
        plmm_adapter *a3 = NULL;
        CHECK(plmm_peft_load(dir, &other, &a3, &err) == PLMM_ERR_FORMAT && a3 == NULL &&
                  strstr(err.msg, "expected [") != NULL,
              "%s", err.msg);
    }
    plmm_model_free(m2);
    plmm_adapter_free(a2);
}

static void test_fixture(void)
{
    uint8_t *text = NULL;
    size_t len = 0;
    plmm_json *root = NULL;
    plmm_model *m = NULL;
    plmm_adapter *a = NULL;
    plmm_error err = {0};
    CHECK(plmm_file_read("tests/vectors/hf/logits.json", 1 << 20, &text, &len, &err) == PLMM_OK &&
              plmm_json_parse((char *)text, len, "logits.json", NULL, &root, &err) == PLMM_OK,
          "%s", err.msg);
    CHECK(plmm_checkpoint_load("tests/vectors/hf", &m, NULL, &err) == PLMM_OK, "%s", err.msg);
    if (m != NULL) {
        CHECK(plmm_peft_load("tests/vectors/hf/adapter", plmm_model_cfg(m), &a, &err) == PLMM_OK,
              "%s", err.msg);
        CHECK(plmm_model_cfg(m)->bos == 1 && plmm_model_cfg(m)->eos == 2, "special ids");
    }
    if (m != NULL && a != NULL) {
        check_logits(m, NULL, plmm_json_get(root, "base"), "base of Transformers");
        check_logits(m, a, plmm_json_get(root, "adapter"), "adapter of PEFT");
        check_copies(m, a, root);
    }
    plmm_adapter_free(a);
    plmm_model_free(m);
    plmm_json_free(root);
    plmm_free(text);
}

/* --- refusals by name --- */

#define SIZES                                                                                      \
    "\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":16,\"num_hidden_layers\":1,"         \
    "\"num_attention_heads\":4,\"intermediate_size\":8,\"vocab_size\":9"

#define LLAMA3(low, high)                                                                          \
    "{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":" low                              \
    ",\"high_freq_factor\":" high ",\"original_max_position_embeddings\":8192}"

static void test_configs(void)
{
    static const struct {
        const char *json, *says;
        plmm_status rc;
    } rows[] = {
        {"{" SIZES "}", NULL, PLMM_OK},
        {"{" SIZES ",\"eos_token_id\":[3,4],\"rope_scaling\":null,\"pretraining_tp\":2}", NULL,
         PLMM_OK},
        {"{" SIZES ",\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":500000}}", NULL,
         PLMM_OK},
        {"{\"architectures\":[\"MistralForCausalLM\"],\"sliding_window\":64,"
         "\"max_position_embeddings\":128,\"hidden_size\":16,\"num_hidden_layers\":1,"
         "\"num_attention_heads\":4,\"intermediate_size\":8,\"vocab_size\":9}",
         "sliding_window", PLMM_ERR_UNSUPPORTED},
        {"{" SIZES ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8}}", "low_freq_factor",
         PLMM_ERR_FORMAT},
        {"{" SIZES ",\"rope_scaling\":" LLAMA3("1.0", "4.0") "}", NULL, PLMM_OK},
        {"{" SIZES ",\"rope_parameters\":" LLAMA3("1", "4") "}", NULL, PLMM_OK},
        {"{" SIZES ",\"rope_scaling\":" LLAMA3("4", "1") "}", "low_freq_factor", PLMM_ERR_CONFIG},
        {"{" SIZES ",\"rope_scaling\":" LLAMA3("0", "4") "}", "low_freq_factor", PLMM_ERR_RANGE},
        {"{" SIZES ",\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":8}}",
         "rope_parameters of rope_type \"yarn\"", PLMM_ERR_UNSUPPORTED},
        {"{" SIZES ",\"rope_scaling\":{\"type\":\"linear\"}}", "rope_scaling",
         PLMM_ERR_UNSUPPORTED},
        {"{" SIZES ",\"hidden_act\":\"gelu\"}", "hidden_act \"gelu\"", PLMM_ERR_UNSUPPORTED},
        {"{" SIZES ",\"attention_bias\":true}", "attention_bias", PLMM_ERR_UNSUPPORTED},
        {"{" SIZES ",\"mlp_bias\":true}", "mlp_bias", PLMM_ERR_UNSUPPORTED},
        {"{" SIZES ",\"quantization_config\":{}}", "quantization_config", PLMM_ERR_UNSUPPORTED},
        {"{" SIZES ",\"partial_rotary_factor\":0.5}", "partial_rotary_factor",
         PLMM_ERR_UNSUPPORTED},
        {"{" SIZES ",\"layer_types\":[\"sliding_attention\"]}", "layer_types",
         PLMM_ERR_UNSUPPORTED},
        {"{\"architectures\":[\"GPT2LMHeadModel\"]}", "GPT2LMHeadModel", PLMM_ERR_UNSUPPORTED},
        {"{}", "architecture", PLMM_ERR_UNSUPPORTED},
        {"{" SIZES ",\"hidden_size\":0}", NULL, PLMM_OK}, /* of equal keys the first counts */
        {"{" SIZES ",\"num_key_value_heads\":3}", "kv_heads", PLMM_ERR_CONFIG},
        {"{" SIZES ",\"num_key_value_heads\":0}", "num_key_value_heads", PLMM_ERR_RANGE},
        {"{" SIZES ",\"rms_norm_eps\":\"x\"}", "rms_norm_eps", PLMM_ERR_FORMAT},
        {"{" SIZES ",\"bos_token_id\":1.5}", "bos_token_id", PLMM_ERR_FORMAT},
        {"{\"model_type\":\"llama\"}", "hidden_size", PLMM_ERR_FORMAT},
        {"[]", "object", PLMM_ERR_FORMAT},
        {"{", "", PLMM_ERR_FORMAT},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        plmm_model_config cfg;
        plmm_error err = {0};
        plmm_status rc = plmm_checkpoint_parse_config(rows[i].json, strlen(rows[i].json),
                                                      "config.json", &cfg, &err);
        CHECK(rc == rows[i].rc, "row %zu: %d, %s", i, rc, err.msg);
        CHECK(rc == PLMM_OK || strstr(err.msg, rows[i].says) != NULL, "row %zu: %s", i, err.msg);
    }
}

static void test_adapter_configs(void)
{
    static const struct {
        const char *json, *says;
        plmm_status rc;
    } rows[] = {
        {"{\"r\":4,\"target_modules\":[\"q_proj\"]}", NULL, PLMM_OK},
        {"{\"r\":4,\"target_modules\":\"all-linear\",\"rank_pattern\":{}}", NULL, PLMM_OK},
        {"{\"r\":4,\"target_modules\":[]}", "empty", PLMM_ERR_FORMAT},
        {"{\"r\":4,\"target_modules\":[\"lm_head\"]}", "lm_head", PLMM_ERR_UNSUPPORTED},
        {"{\"r\":4,\"target_modules\":[7]}", "no text", PLMM_ERR_UNSUPPORTED},
        {"{\"r\":0,\"target_modules\":[\"q_proj\"]}", "r is 0", PLMM_ERR_RANGE},
        {"{\"target_modules\":[\"q_proj\"]}", "r", PLMM_ERR_FORMAT},
        {"{\"r\":4,\"target_modules\":[\"q_proj\"],\"use_dora\":true}", "use_dora",
         PLMM_ERR_UNSUPPORTED},
        {"{\"r\":4,\"target_modules\":[\"q_proj\"],\"use_rslora\":true}", "use_rslora",
         PLMM_ERR_UNSUPPORTED},
        {"{\"r\":4,\"target_modules\":[\"q_proj\"],\"rank_pattern\":{\"q_proj\":2}}",
         "rank_pattern", PLMM_ERR_UNSUPPORTED},
        {"{\"r\":4,\"target_modules\":[\"q_proj\"],\"modules_to_save\":[\"lm_head\"]}",
         "modules_to_save", PLMM_ERR_UNSUPPORTED},
        {"{\"r\":4,\"target_modules\":[\"q_proj\"],\"layers_to_transform\":[0]}",
         "layers_to_transform", PLMM_ERR_UNSUPPORTED},
        {"{\"r\":4,\"target_modules\":[\"q_proj\"],\"fan_in_fan_out\":true}", "fan_in_fan_out",
         PLMM_ERR_UNSUPPORTED},
        {"{\"r\":4,\"target_modules\":[\"q_proj\"],\"bias\":\"all\"}", "bias \"all\"",
         PLMM_ERR_UNSUPPORTED},
        {"{\"r\":4,\"target_modules\":[\"q_proj\"],\"peft_type\":\"IA3\"}", "IA3",
         PLMM_ERR_UNSUPPORTED},
        {"{\"r\":4,\"target_modules\":[\"q_proj\"],\"task_type\":\"SEQ_CLS\"}", "SEQ_CLS",
         PLMM_ERR_UNSUPPORTED},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        plmm_lora_spec spec;
        plmm_error err = {0};
        plmm_status rc = plmm_peft_parse_config(rows[i].json, strlen(rows[i].json),
                                                "adapter_config.json", &spec, &err);
        CHECK(rc == rows[i].rc, "row %zu: %d, %s", i, rc, err.msg);
        CHECK(rc == PLMM_OK || strstr(err.msg, rows[i].says) != NULL, "row %zu: %s", i, err.msg);
    }
}

/* --- llama2.c --- */

enum { DIM = 8, HID = 6, LAYERS = 2, HEADS = 2, KV = 1, VOCAB = 5, SEQ = 4, HD = 4 };

static void put_floats(uint8_t *out, size_t *at, size_t n, float first)
{
    for (size_t i = 0; i < n; i++, *at += 4) {
        float f = first + (float)i;
        uint32_t u;
        memcpy(&u, &f, sizeof u);
        plmm_store_le32(out + *at, u);
    }
}

/* Legacy file whose tensors count up from 1000 times their place in the file. */
static size_t small_v0(uint8_t *out)
{
    static const uint32_t head[] = {DIM, HID, LAYERS, HEADS, KV, VOCAB, SEQ};
    const size_t sizes[] = {VOCAB * DIM,
                            LAYERS * DIM,
                            LAYERS * DIM * DIM,
                            LAYERS * KV * HD * DIM,
                            LAYERS * KV * HD * DIM,
                            LAYERS * DIM * DIM,
                            LAYERS * DIM,
                            LAYERS * HID * DIM,
                            LAYERS * HID * DIM,
                            LAYERS * HID * DIM,
                            DIM,
                            SEQ * HD};
    size_t at = 0;
    for (size_t i = 0; i < 7; i++, at += 4) {
        plmm_store_le32(out + at, head[i]);
    }
    for (size_t i = 0; i < COUNT(sizes); i++) {
        put_floats(out, &at, sizes[i], 1000.0f * (float)i);
    }
    return at;
}

static float weight(const plmm_model *m, const char *name, size_t row, size_t col)
{
    const plmm_view *v = plmm_model_find(m, name);
    CHECK(v != NULL, "%s", name);
    return v == NULL ? 0 : plmm_model_weights(m)[v->offset + row * v->cols + col];
}

static void test_llama2c(void)
{
    static uint8_t bytes[16384];
    size_t n = small_v0(bytes);
    plmm_model *m = NULL;
    plmm_error err = {0};
    CHECK(plmm_checkpoint_parse_llama2c(bytes, n, "x.bin", &m, &err) == PLMM_OK, "%s", err.msg);
    if (m != NULL) {
        const char *q1 = "model.layers.1.self_attn.q_proj.weight";
        /* head 1 has rows 4..7: the halves are the even and the odd rows */
        const size_t from[] = {4, 6, 5, 7};
        for (size_t r = 0; r < 4; r++) {
            float want = 2000 + DIM * DIM + (float)(from[r] * DIM) + 3;
            CHECK(weight(m, q1, 4 + r, 3) == want, "row %zu: %g", r,
                  (double)weight(m, q1, 4 + r, 3));
        }
        CHECK(weight(m, "model.layers.1.self_attn.v_proj.weight", 1, 0) == 4000 + HD * DIM + DIM,
              "v is not permuted");
        CHECK(weight(m, "model.layers.0.mlp.gate_proj.weight", 0, 1) == 7001, "gate");
        CHECK(weight(m, "model.layers.0.mlp.down_proj.weight", 0, 1) == 8001, "down");
        CHECK(weight(m, "model.layers.0.mlp.up_proj.weight", 0, 1) == 9001, "up");
        CHECK(weight(m, "model.norm.weight", 0, 2) == 10002, "norm");
        CHECK(plmm_model_cfg(m)->tied, "tied");
    }
    plmm_model_free(m);
    m = NULL;
    for (size_t k = 0; k < n; k += k < 64 ? 1 : 37) {
        CHECK(plmm_checkpoint_parse_llama2c(bytes, k, "x.bin", &m, &err) != PLMM_OK && m == NULL,
              "cut to %zu", k);
    }
    CHECK(plmm_checkpoint_parse_llama2c(bytes, n - 4, "x.bin", &m, &err) == PLMM_ERR_FORMAT &&
              strstr(err.msg, "truncated") != NULL,
          "%s", err.msg);
    plmm_store_le32(bytes + 4, 0xFFFFFFFFu);
    CHECK(plmm_checkpoint_parse_llama2c(bytes, n, "x.bin", &m, &err) == PLMM_ERR_CONFIG &&
              strstr(err.msg, "hidden") != NULL,
          "%s", err.msg);
    static const uint8_t v9[256] = {0x32, 0x34, 0x6b, 0x61, 9};
    CHECK(plmm_checkpoint_parse_llama2c(v9, sizeof v9, "x.bin", &m, &err) == PLMM_ERR_UNSUPPORTED &&
              strstr(err.msg, "version 9") != NULL,
          "%s", err.msg);
}

/* The tensors of small_v0() as version 1 (float32) or 2 (groups of four bytes, scale 2, of the
 * values modulo 100). */
static size_t small_v1(const uint8_t *v0, uint32_t version, uint8_t *out)
{
    const size_t sizes[] = {VOCAB * DIM,
                            LAYERS * DIM,
                            LAYERS * DIM * DIM,
                            LAYERS * KV * HD * DIM,
                            LAYERS * KV * HD * DIM,
                            LAYERS * DIM * DIM,
                            LAYERS * DIM,
                            LAYERS * HID * DIM,
                            LAYERS * HID * DIM,
                            LAYERS * HID * DIM,
                            DIM};
    static const size_t order[] = {1, 6, 10, 0, 2, 3, 4, 5, 7, 8, 9};
    size_t at = 256;
    memset(out, 0, at);
    plmm_store_le32(out, 0x616b3432);
    plmm_store_le32(out + 4, version);
    memcpy(out + 8, v0, 28);
    out[36] = 1;
    plmm_store_le32(out + 37, 4);
    for (size_t i = 0; i < COUNT(order); i++) {
        size_t from = 28, n = sizes[order[i]], parts = order[i] >= 2 && i > 3 ? LAYERS : 1;
        for (size_t k = 0; k < order[i]; k++) {
            from += 4 * sizes[k];
        }
        if (version == 1 || i < 3) {
            memcpy(out + at, v0 + from, 4 * n);
            at += 4 * n;
            continue;
        }
        for (size_t part = 0; part < parts; part++) {
            for (size_t k = 0; k < n / parts; k++) {
                uint32_t u = plmm_load_le32(v0 + from + 4 * (part * (n / parts) + k));
                float f;
                memcpy(&f, &u, sizeof f);
                out[at++] = (uint8_t)((int)f % 100);
            }
            for (size_t k = 0; k < n / parts / 4; k++, at += 4) {
                plmm_store_le32(out + at, 0x40000000u);
            }
        }
    }
    return at;
}

static void test_llama2c_versions(void)
{
    static uint8_t bytes[3][16384];
    plmm_model *m[3] = {0};
    plmm_error err = {0};
    size_t n = small_v0(bytes[0]);
    CHECK(plmm_checkpoint_parse_llama2c(bytes[0], n, "v0", &m[0], &err) == PLMM_OK, "%s", err.msg);
    for (uint32_t v = 1; v <= 2; v++) {
        n = small_v1(bytes[0], v, bytes[v]);
        CHECK(plmm_checkpoint_parse_llama2c(bytes[v], n, "v1", &m[v], &err) == PLMM_OK, "%s",
              err.msg);
    }
    plmm_store_le32(bytes[2] + 37, 5);
    plmm_model *none = NULL;
    CHECK(plmm_checkpoint_parse_llama2c(bytes[2], n, "x", &none, &err) == PLMM_ERR_FORMAT &&
              strstr(err.msg, "groups of 5") != NULL,
          "%s", err.msg);
    plmm_store_le32(bytes[2] + 37, 0);
    CHECK(plmm_checkpoint_parse_llama2c(bytes[2], n, "x", &none, &err) == PLMM_ERR_FORMAT, "%s",
          err.msg);
    if (m[0] == NULL || m[1] == NULL || m[2] == NULL) {
        return;
    }
    size_t views;
    const plmm_view *v = plmm_model_views(m[0], &views);
    for (size_t i = 0; i < views; i++) {
        for (size_t k = v[i].offset; k < v[i].offset + v[i].rows * v[i].cols; k++) {
            float want = plmm_model_weights(m[0])[k];
            CHECK(plmm_model_weights(m[1])[k] == want, "version 1: %s", v[i].name);
            want = v[i].rows == 1 ? want : 2 * (float)((int)want % 100);
            CHECK(plmm_model_weights(m[2])[k] == want, "version 2: %s %zu", v[i].name, k);
        }
    }
    for (size_t i = 0; i < 3; i++) {
        plmm_model_free(m[i]);
    }
}

/* --- directories --- */

static void put_file(const char *dir, const char *name, const char *text)
{
    char path[PLMM_PATH_MAX];
    plmm_error err = {0};
    CHECK(plmm_path_join(path, sizeof path, dir, name, &err) == PLMM_OK &&
              plmm_file_write(path, text, strlen(text), PLMM_MODE_PUBLIC, &err) == PLMM_OK,
          "%s", err.msg);
}

static void test_directories(void)
{
    char dir[PLMM_PATH_MAX];
    plmm_model *m = NULL;
    plmm_safetensors *s = NULL;
    plmm_error err = {0};
    CHECK(plmm_checkpoint_load("/nonexistent", &m, NULL, &err) == PLMM_ERR_NOTFOUND &&
              strstr(err.msg, "/nonexistent") != NULL,
          "%s", err.msg);
    CHECK(plmm_checkpoint_load("tests/unit", &m, NULL, &err) == PLMM_ERR_NOTFOUND, "%s", err.msg);
    (void)snprintf(dir, sizeof dir, "%s/broken", scratch);
    CHECK(plmm_dir_make(dir, 0700, &err) == PLMM_OK, "%s", err.msg);
    put_file(dir, "config.json", "{" SIZES "}");
    CHECK(plmm_checkpoint_load(dir, &m, NULL, &err) == PLMM_ERR_NOTFOUND &&
              strstr(err.msg, "model.safetensors") != NULL,
          "%s", err.msg);
    put_file(dir, "model.safetensors", "short");
    CHECK(plmm_checkpoint_load(dir, &m, NULL, &err) == PLMM_ERR_FORMAT, "%s", err.msg);
    (void)snprintf(dir, sizeof dir, "%s/index", scratch);
    CHECK(plmm_dir_make(dir, 0700, &err) == PLMM_OK, "%s", err.msg);
    static const char *const maps[] = {"{}",
                                       "{\"weight_map\":{}}",
                                       "{\"weight_map\":{\"a\":7}}",
                                       "{\"weight_map\":{\"a\":\"../t.safetensors\"}}",
                                       "{\"weight_map\":{\"a\":\"/etc/passwd\"}}",
                                       "{\"weight_map\":{\"a\":\"missing.safetensors\"}}"};
    for (size_t i = 0; i < COUNT(maps); i++) {
        put_file(dir, "model.safetensors.index.json", maps[i]);
        plmm_status rc = plmm_safetensors_open_dir(dir, &s, &err);
        CHECK(rc == (i == 5 ? PLMM_ERR_NOTFOUND : PLMM_ERR_FORMAT) && s == NULL, "%zu: %s", i,
              err.msg);
        CHECK(i < 2 || i > 4 || strstr(err.msg, "expected a file name") != NULL, "%zu: %s", i,
              err.msg);
    }
}

/* A directory of llama2.c's: one model, one tok*.bin; written again as Hugging Face's. */
static void test_bin_directory(void)
{
    static uint8_t bytes[16384];
    uint8_t tok[64] = {0};
    char dir[PLMM_PATH_MAX], path[PLMM_PATH_MAX], copy[PLMM_PATH_MAX];
    plmm_model *m = NULL;
    plmm_tokenizer *t = NULL;
    plmm_error err = {0};
    size_t n = small_v0(bytes), at = 4;
    static const char *const words[] = {"?", "<", ">", "a", "b"};
    for (size_t i = 0; i < COUNT(words); i++, at += 9) {
        plmm_store_le32(tok + at + 4, 1);
        tok[at + 8] = (uint8_t)words[i][0];
    }
    (void)snprintf(dir, sizeof dir, "%s/bin", scratch);
    (void)snprintf(copy, sizeof copy, "%s/bin-as-hf", scratch);
    CHECK(plmm_dir_make(dir, 0700, &err) == PLMM_OK, "%s", err.msg);
    (void)snprintf(path, sizeof path, "%s/model.bin", dir);
    CHECK(plmm_file_write(path, bytes, n, PLMM_MODE_PUBLIC, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_checkpoint_load(path, &m, &t, &err) == PLMM_OK && t == NULL, "no tokenizer: %s",
          err.msg);
    plmm_model_free(m);
    (void)snprintf(path, sizeof path, "%s/tok5.bin", dir);
    CHECK(plmm_file_write(path, tok, at, PLMM_MODE_PUBLIC, &err) == PLMM_OK, "%s", err.msg);
    m = NULL;
    CHECK(plmm_checkpoint_load(dir, &m, &t, &err) == PLMM_OK && t != NULL, "%s", err.msg);
    if (m != NULL && t != NULL) {
        plmm_model *again = NULL;
        plmm_tokenizer *t2 = NULL;
        CHECK(plmm_checkpoint_save(copy, m, PLMM_F32, t, &err) == PLMM_OK, "%s", err.msg);
        CHECK(plmm_checkpoint_load(copy, &again, &t2, &err) == PLMM_OK && t2 != NULL, "%s",
              err.msg);
        CHECK(again != NULL && memcmp(plmm_model_weights(again), plmm_model_weights(m),
                                      4 * plmm_model_count(m)) == 0,
              "other weights");
        plmm_model_free(again);
        plmm_tokenizer_free(t2);
    }
    plmm_model_free(m);
    plmm_tokenizer_free(t);
    m = NULL;
    plmm_store_le32(tok + at + 4, 1); /* one token more than the model has rows */
    (void)snprintf(path, sizeof path, "%s/tok5.bin", dir);
    CHECK(plmm_file_write(path, tok, at + 9, PLMM_MODE_PUBLIC, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_checkpoint_load(dir, &m, &t, &err) == PLMM_ERR_FORMAT && m == NULL &&
              strstr(err.msg, "6 tokens") != NULL,
          "%s", err.msg);
}

/* --- weights in shards --- */

static size_t files_of(const char *dir)
{
    plmm_safetensors *s = NULL;
    plmm_error err = {0};
    CHECK(plmm_safetensors_open_dir(dir, &s, &err) == PLMM_OK, "%s", err.msg);
    size_t n = s != NULL ? plmm_safetensors_files(s) : 0;
    plmm_safetensors_close(s);
    return n;
}

static bool holds(const char *dir, const char *name)
{
    char path[PLMM_PATH_MAX];
    plmm_error err = {0};
    CHECK(plmm_path_join(path, sizeof path, dir, name, &err) == PLMM_OK, "%s", err.msg);
    return plmm_path_exists(path);
}

static void check_equal(const char *dir, const plmm_model *m)
{
    plmm_model *again = NULL;
    plmm_error err = {0};
    CHECK(plmm_checkpoint_load(dir, &again, NULL, &err) == PLMM_OK, "%s", err.msg);
    CHECK(again != NULL && memcmp(plmm_model_weights(again), plmm_model_weights(m),
                                  plmm_model_count(m) * sizeof(float)) == 0,
          "other weights");
    plmm_model_free(again);
}

static void test_shards(void)
{
    static const char source[] = "tests/vectors/families/llama3"; /* bf16 in four shards */
    char dir[PLMM_PATH_MAX];
    plmm_model *m = NULL;
    plmm_error err = {0};
    plmm_checkpoint_info info;
    (void)snprintf(dir, sizeof dir, "%s/shards", scratch);
    CHECK(plmm_checkpoint_load(source, &m, NULL, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_checkpoint_describe(source, &info, &err) == PLMM_OK, "%s", err.msg);
    CHECK(strcmp(info.format, "safetensors, 4 files") == 0 && strcmp(info.types, "bf16") == 0 &&
              info.dtype == PLMM_BF16 && strcmp(info.family, "LlamaForCausalLM") == 0 &&
              info.parameters == plmm_model_count(m) && info.bytes == 2 * info.parameters,
          "%s, %s, %s", info.format, info.types, info.family);
    CHECK(plmm_checkpoint_save_as(source, dir, m, PLMM_BF16, NULL, 1, &err) == PLMM_OK, "%s",
          err.msg);
    CHECK(files_of(dir) == 21, "a tensor a file: %zu", files_of(dir));
    check_equal(dir, m);
    CHECK(plmm_checkpoint_save_as(source, dir, m, PLMM_BF16, NULL, 20000, &err) == PLMM_OK, "%s",
          err.msg);
    CHECK(files_of(dir) == 2 && holds(dir, "model.safetensors.index.json"), "two shards");
    check_equal(dir, m);
    CHECK(plmm_checkpoint_save_as(source, dir, m, PLMM_F32, NULL, PLMM_SHARD_BYTES, &err) ==
              PLMM_OK,
          "%s", err.msg);
    CHECK(files_of(dir) == 1 && !holds(dir, "model.safetensors.index.json") &&
              !holds(dir, "model-00001-of-00002.safetensors"),
          "the shards are gone");
    check_equal(dir, m);
    CHECK(plmm_checkpoint_describe(dir, &info, &err) == PLMM_OK && info.dtype == PLMM_F32, "f32");
    CHECK(plmm_checkpoint_save_as(source, dir, m, PLMM_BF16, NULL, 20000, &err) == PLMM_OK, "%s",
          err.msg);
    CHECK(files_of(dir) == 2 && !holds(dir, "model.safetensors"), "the single file is gone");
    plmm_model_free(m);
}

/* config.json goes along as it is, but for the type of the weights; so do the tokenizer's files. */
static void test_companions(void)
{
    static const char config[] = "{" SIZES ",\"torch_dtype\": \"bfloat16\", \"custom\": 1.50,"
                                 "\"dtype\":\"bfloat16\"}\n";
    static const char want[] = "{" SIZES ",\"torch_dtype\": \"float16\", \"custom\": 1.50,"
                               "\"dtype\":\"float16\"}\n";
    char from[PLMM_PATH_MAX], to[PLMM_PATH_MAX], path[PLMM_PATH_MAX];
    plmm_model_config cfg;
    plmm_model *m = NULL;
    plmm_error err = {0};
    uint8_t *text = NULL;
    size_t len = 0;
    (void)snprintf(from, sizeof from, "%s/from", scratch);
    (void)snprintf(to, sizeof to, "%s/to", scratch);
    (void)snprintf(path, sizeof path, "%s/config.json", to);
    CHECK(plmm_dir_make(from, 0700, &err) == PLMM_OK, "%s", err.msg);
    put_file(from, "config.json", config);
    put_file(from, "tokenizer_config.json", "{ }");
    put_file(from, "private.txt", "no");
    CHECK(plmm_checkpoint_parse_config(config, strlen(config), "c", &cfg, &err) == PLMM_OK &&
              plmm_model_new(&cfg, &m, &err) == PLMM_OK,
          "%s", err.msg);
    CHECK(plmm_checkpoint_save_as(from, to, m, PLMM_F16, NULL, PLMM_SHARD_BYTES, &err) == PLMM_OK,
          "%s", err.msg);
    CHECK(plmm_file_read(path, 9999, &text, &len, &err) == PLMM_OK && len == strlen(want) &&
              memcmp(text, want, len) == 0,
          "%s", (const char *)text);
    CHECK(holds(to, "tokenizer_config.json") && !holds(to, "private.txt"), "companions");
    plmm_free(text);
    plmm_model_free(m);
}

/* --- memory --- */

static plmm_status all_of_it(plmm_error *err)
{
    char dir[PLMM_PATH_MAX];
    plmm_model *m = NULL;
    plmm_adapter *a = NULL;
    plmm_status rc = plmm_checkpoint_load("tests/vectors/hf", &m, NULL, err);
    if (rc == PLMM_OK) {
        rc = plmm_peft_load("tests/vectors/hf/adapter", plmm_model_cfg(m), &a, err);
    }
    (void)snprintf(dir, sizeof dir, "%s/memory", scratch);
    if (rc == PLMM_OK) {
        rc = plmm_checkpoint_save(dir, m, PLMM_BF16, NULL, err);
    }
    if (rc == PLMM_OK) {
        rc = plmm_peft_save(dir, a, PLMM_F32, NULL, err);
    }
    plmm_adapter_free(a);
    plmm_model_free(m);
    return rc;
}

static void test_memory(void)
{
    long live = plmm_alloc_live();
    for (long k = 0;; k++) {
        plmm_error err = {0};
        plmm_alloc_fail_at(k);
        plmm_status rc = all_of_it(&err);
        plmm_alloc_fail_at(-1);
        CHECK(plmm_alloc_live() == live, "call %ld leaks %ld", k, plmm_alloc_live() - live);
        if (rc == PLMM_OK) {
            CHECK(k > 10, "only %ld allocations", k);
            break;
        }
        CHECK(rc == PLMM_ERR_NOMEM && err.msg[0] != '\0', "call %ld: %d %s", k, rc, err.msg);
    }
}

int main(void)
{
    plmm_error err = {0};
    CHECK(mkdtemp(scratch) != NULL, "%s", scratch);
    test_numbers();
    test_headers();
    test_values();
    test_fixture();
    test_configs();
    test_adapter_configs();
    test_llama2c();
    test_llama2c_versions();
    test_directories();
    test_bin_directory();
    test_shards();
    test_companions();
    test_memory();
    CHECK(plmm_path_remove(scratch, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_alloc_live() == 0, "%ld blocks leaked", plmm_alloc_live());
    return plmm_test_end();
}
