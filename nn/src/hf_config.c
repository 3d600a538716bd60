/* config.json of Hugging Face: what the model is, and a refusal for what we would compute
 * otherwise. */
#include "hf_config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static plmm_status refuse(plmm_error *err, const char *name, const char *what)
{
    return plmm_fail(err, PLMM_ERR_UNSUPPORTED, "%s: %s is not supported", name, what);
}

static bool is_null(const plmm_json *v)
{
    return v == NULL || plmm_json_type_of(v) == PLMM_JSON_NULL;
}

typedef enum family { FAMILY_LLAMA, FAMILY_MISTRAL, FAMILY_QWEN2 } family;

static plmm_status read_family(const plmm_json *c, const char *name, family *out, plmm_error *err)
{
    static const struct {
        const char *architecture, *type;
        family family;
    } known[] = {
        {"LlamaForCausalLM", "llama", FAMILY_LLAMA},
        {"MistralForCausalLM", "mistral", FAMILY_MISTRAL},
        {"Qwen2ForCausalLM", "qwen2", FAMILY_QWEN2},
    };
    const char *arch = plmm_json_text(plmm_json_first(plmm_json_get(c, "architectures")));
    const char *type = plmm_json_text(plmm_json_get(c, "model_type"));
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (arch != NULL ? strcmp(arch, known[i].architecture) == 0
                         : type != NULL && strcmp(type, known[i].type) == 0) {
            *out = known[i].family;
            return PLMM_OK;
        }
    }
    return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                     "%s: architecture %.60s is not supported, only LlamaForCausalLM, "
                     "MistralForCausalLM and Qwen2ForCausalLM are",
                     name,
                     arch != NULL   ? arch
                     : type != NULL ? type
                                    : "(none)");
}

static plmm_status check_true(const plmm_json *c, const char *name, const char *key,
                              plmm_error *err)
{
    bool on = false;
    PLMM_TRY(plmm_json_may_bool(c, name, key, &on, err));
    return on ? refuse(err, name, key) : PLMM_OK;
}

/* The numbers of rope_type "llama3". */
static plmm_status read_scaling(const plmm_json *node, const char *name, plmm_rope_scaling *out,
                                plmm_error *err)
{
    double factor, low, high;
    PLMM_TRY(plmm_json_need_real(node, name, "factor", 1, 1e6, &factor, err));
    PLMM_TRY(plmm_json_need_real(node, name, "low_freq_factor", 1e-6, 1e6, &low, err));
    PLMM_TRY(plmm_json_need_real(node, name, "high_freq_factor", 1e-6, 1e6, &high, err));
    PLMM_TRY(plmm_json_need_u32(node, name, "original_max_position_embeddings", 1, 1 << 20,
                                &out->original, err));
    out->factor = (float)factor;
    out->low = (float)low;
    out->high = (float)high;
    return PLMM_OK;
}

static plmm_status read_rope(const plmm_json *c, const char *name, double *theta,
                             plmm_rope_scaling *out, plmm_error *err)
{
    static const char *const keys[] = {"rope_scaling",
                                       "rope_parameters"}; /* the latter since Transformers 5 */
    for (size_t i = 0; i < 2; i++) {
        const plmm_json *node = plmm_json_get(c, keys[i]);
        const char *type = plmm_json_text(plmm_json_get(node, "rope_type"));
        type = type != NULL ? type : plmm_json_text(plmm_json_get(node, "type"));
        if (is_null(node) || (type != NULL && strcmp(type, "default") == 0)) {
            continue;
        }
        if (type == NULL || strcmp(type, "llama3") != 0) {
            return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                             "%s: %s of rope_type \"%.40s\" is not supported, only \"default\" and "
                             "\"llama3\" are",
                             name, keys[i], type != NULL ? type : "(none)");
        }
        PLMM_TRY(read_scaling(node, name, out, err));
    }
    const plmm_json *params = plmm_json_get(c, keys[1]);
    PLMM_TRY(plmm_json_may_real(c, name, "rope_theta", 1, 1e12, theta, err));
    if (!is_null(params)) {
        PLMM_TRY(plmm_json_may_real(params, name, "rope_theta", 1, 1e12, theta, err));
    }
    double part = 1;
    PLMM_TRY(plmm_json_may_real(c, name, "partial_rotary_factor", 0, 1, &part, err));
    return part < 1 ? refuse(err, name, "partial_rotary_factor") : PLMM_OK;
}

static plmm_status check_window(const plmm_json *c, const char *name, family f, uint32_t context,
                                plmm_error *err)
{
    PLMM_TRY(check_true(c, name, "use_sliding_window", err));
    const plmm_json *types = plmm_json_get(c, "layer_types");
    for (const plmm_json *t = plmm_json_first(types); t != NULL; t = plmm_json_next(t)) {
        const char *text = plmm_json_text(t);
        if (text == NULL || strcmp(text, "full_attention") != 0) {
            return refuse(err, name, "layer_types other than full_attention");
        }
    }
    int64_t window = INT64_MAX;
    PLMM_TRY(plmm_json_may_int(c, name, "sliding_window", 0, INT32_MAX, &window, err));
    return f == FAMILY_MISTRAL && window < context ? refuse(err, name, "sliding_window") : PLMM_OK;
}

static plmm_status check_features(const plmm_json *c, const char *name, plmm_error *err)
{
    const char *act = "silu";
    PLMM_TRY(plmm_json_may_text(c, name, "hidden_act", 64, &act, err));
    if (strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                         "%s: hidden_act \"%s\" is not supported, only silu is", name, act);
    }
    if (!is_null(plmm_json_get(c, "quantization_config"))) {
        return refuse(err, name, "quantization_config");
    }
    PLMM_TRY(check_true(c, name, "attention_bias", err));
    PLMM_TRY(check_true(c, name, "mlp_bias", err));
    return check_true(c, name, "add_cross_attention", err);
}

/* An id, the first of a list of ids, or -1 for null. */
static plmm_status read_id(const plmm_json *c, const char *name, const char *key, int32_t *out,
                           plmm_error *err)
{
    const plmm_json *v = plmm_json_get(c, key);
    if (!is_null(v) && plmm_json_type_of(v) == PLMM_JSON_ARRAY) {
        v = plmm_json_first(v);
    }
    *out = -1;
    if (is_null(v)) {
        return PLMM_OK;
    }
    double id = plmm_json_number(v);
    if (plmm_json_type_of(v) != PLMM_JSON_NUMBER || id < -1 || id > INT32_MAX ||
        id != (double)(int32_t)id) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%s: %s is no token id", name, key);
    }
    *out = (int32_t)id;
    return PLMM_OK;
}

static plmm_status read_sizes(const plmm_json *c, const char *name, plmm_model_config *m,
                              plmm_error *err)
{
    PLMM_TRY(plmm_json_need_u32(c, name, "hidden_size", 1, 65536, &m->dim, err));
    PLMM_TRY(plmm_json_need_u32(c, name, "num_hidden_layers", 1, 1024, &m->layers, err));
    PLMM_TRY(plmm_json_need_u32(c, name, "num_attention_heads", 1, 4096, &m->heads, err));
    PLMM_TRY(plmm_json_need_u32(c, name, "intermediate_size", 1, 1 << 20, &m->hidden, err));
    PLMM_TRY(plmm_json_need_u32(c, name, "vocab_size", 1, 1 << 20, &m->vocab, err));
    m->context = 2048;
    PLMM_TRY(plmm_json_may_u32(c, name, "max_position_embeddings", 1, 1 << 20, &m->context, err));
    m->kv_heads = m->heads;
    PLMM_TRY(plmm_json_may_u32(c, name, "num_key_value_heads", 1, 4096, &m->kv_heads, err));
    m->head_dim = m->dim / m->heads;
    return plmm_json_may_u32(c, name, "head_dim", 2, 1024, &m->head_dim, err);
}

plmm_status hf_config_read(const plmm_json *c, const char *name, plmm_model_config *out,
                           plmm_error *err)
{
    plmm_model_config m = {0};
    family f = FAMILY_LLAMA;
    double theta = 10000, eps = 1e-6;
    if (plmm_json_type_of(c) != PLMM_JSON_OBJECT) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%s is no JSON object", name);
    }
    PLMM_TRY(read_family(c, name, &f, err));
    PLMM_TRY(read_sizes(c, name, &m, err));
    PLMM_TRY(check_features(c, name, err));
    PLMM_TRY(read_rope(c, name, &theta, &m.rope_scaling, err));
    PLMM_TRY(check_window(c, name, f, m.context, err));
    PLMM_TRY(plmm_json_may_real(c, name, "rms_norm_eps", 0, 1, &eps, err));
    PLMM_TRY(plmm_json_may_bool(c, name, "tie_word_embeddings", &m.tied, err));
    PLMM_TRY(read_id(c, name, "bos_token_id", &m.bos, err));
    PLMM_TRY(read_id(c, name, "eos_token_id", &m.eos, err));
    PLMM_TRY(read_id(c, name, "pad_token_id", &m.pad, err));
    m.rope_theta = (float)theta;
    m.norm_eps = (float)eps;
    m.qkv_bias = f == FAMILY_QWEN2;
    plmm_status rc = plmm_model_config_check(&m, err);
    if (rc != PLMM_OK) {
        return plmm_fail_in(err, rc, "%s", name);
    }
    *out = m;
    return PLMM_OK;
}

static void put_u32(plmm_json_writer *w, const char *key, uint32_t v)
{
    plmm_json_put_key(w, key);
    plmm_json_put_u64(w, v);
}

static void put_id(plmm_json_writer *w, const char *key, int32_t id)
{
    plmm_json_put_key(w, key);
    if (id < 0) {
        plmm_json_put_null(w);
    } else {
        plmm_json_put_int(w, id);
    }
}

static void put_text(plmm_json_writer *w, const char *key, const char *v)
{
    plmm_json_put_key(w, key);
    plmm_json_put_text(w, v);
}

static void put_bool(plmm_json_writer *w, const char *key, bool v)
{
    plmm_json_put_key(w, key);
    plmm_json_put_bool(w, v);
}

static void put_real(plmm_json_writer *w, const char *key, float v)
{
    plmm_json_put_key(w, key);
    plmm_json_put_float(w, v);
}

static void put_scaling(plmm_json_writer *w, const plmm_rope_scaling *s)
{
    plmm_json_put_key(w, "rope_scaling");
    plmm_json_open_object(w);
    put_text(w, "rope_type", "llama3");
    put_real(w, "factor", s->factor);
    put_real(w, "low_freq_factor", s->low);
    put_real(w, "high_freq_factor", s->high);
    put_u32(w, "original_max_position_embeddings", s->original);
    plmm_json_close_object(w);
}

const char *hf_dtype(plmm_dtype dtype)
{
    static const char *const names[] = {"float32", "float16", "bfloat16"};
    PLMM_ASSERT(dtype != PLMM_DTYPE_OTHER);
    return names[dtype];
}

void hf_config_write(plmm_json_writer *w, const plmm_model_config *m, plmm_dtype dtype)
{
    plmm_json_open_object(w);
    plmm_json_put_key(w, "architectures");
    plmm_json_open_array(w);
    plmm_json_put_text(w, m->qkv_bias ? "Qwen2ForCausalLM" : "LlamaForCausalLM");
    plmm_json_close_array(w);
    put_text(w, "model_type", m->qkv_bias ? "qwen2" : "llama");
    put_u32(w, "hidden_size", m->dim);
    put_u32(w, "intermediate_size", m->hidden);
    put_u32(w, "num_hidden_layers", m->layers);
    put_u32(w, "num_attention_heads", m->heads);
    put_u32(w, "num_key_value_heads", m->kv_heads);
    put_u32(w, "head_dim", m->head_dim);
    put_u32(w, "vocab_size", m->vocab);
    put_u32(w, "max_position_embeddings", m->context);
    put_text(w, "hidden_act", "silu");
    put_real(w, "rope_theta", m->rope_theta);
    if (m->rope_scaling.factor != 0) {
        put_scaling(w, &m->rope_scaling);
    }
    put_real(w, "rms_norm_eps", m->norm_eps);
    put_bool(w, "tie_word_embeddings", m->tied);
    put_bool(w, "attention_bias", false);
    put_id(w, "bos_token_id", m->bos);
    put_id(w, "eos_token_id", m->eos);
    put_id(w, "pad_token_id", m->pad);
    put_text(w, "torch_dtype", hf_dtype(dtype));
    plmm_json_close_object(w);
}
