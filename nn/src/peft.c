/* PEFT adapter directories. */
#include "plmm/peft.h"

#include <stdio.h>
#include <string.h>

#include "hf_config.h"
#include "nn_internal.h"
#include "plmm/alloc.h"
#include "plmm/file.h"
#include "plmm/json.h"

enum { CONFIG_MAX = 1 << 20 };

static bool is_null(const plmm_json *v)
{
    return v == NULL || plmm_json_type_of(v) == PLMM_JSON_NULL;
}

/* Set to something: not null, false, "", [] or {}. */
static bool is_set(const plmm_json *v)
{
    if (is_null(v)) {
        return false;
    }
    switch (plmm_json_type_of(v)) {
    case PLMM_JSON_BOOL:
        return plmm_json_true(v);
    case PLMM_JSON_STRING:
        return plmm_json_text(v)[0] != '\0';
    case PLMM_JSON_NUMBER:
        return true;
    case PLMM_JSON_NULL:
    case PLMM_JSON_ARRAY:
    case PLMM_JSON_OBJECT:
        break;
    }
    return plmm_json_first(v) != NULL;
}

static plmm_status check_text(const plmm_json *c, const char *name, const char *key,
                              const char *expected, plmm_error *err)
{
    const char *text = expected;
    PLMM_TRY(plmm_json_may_text(c, name, key, 256, &text, err));
    if (strcmp(text, expected) != 0) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                         "%s: %s \"%.60s\" is not supported, only \"%s\" is", name, key, text,
                         expected);
    }
    return PLMM_OK;
}

/* What would make the adapter compute something else. */
static plmm_status check_features(const plmm_json *c, const char *name, plmm_error *err)
{
    static const char *const refused[] = {"use_dora",
                                          "use_rslora",
                                          "rank_pattern",
                                          "alpha_pattern",
                                          "modules_to_save",
                                          "layers_to_transform",
                                          "layers_pattern",
                                          "fan_in_fan_out",
                                          "megatron_config",
                                          "layer_replication",
                                          "lora_bias",
                                          "use_qalora",
                                          "trainable_token_indices",
                                          "exclude_modules",
                                          "target_parameters"};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        if (is_set(plmm_json_get(c, refused[i]))) {
            return plmm_fail(err, PLMM_ERR_UNSUPPORTED, "%s: %s is not supported", name,
                             refused[i]);
        }
    }
    PLMM_TRY(check_text(c, name, "peft_type", "LORA", err));
    PLMM_TRY(check_text(c, name, "task_type", "CAUSAL_LM", err));
    return check_text(c, name, "bias", "none", err);
}

static plmm_status add_target(const char *module, const char *name, uint32_t *targets,
                              plmm_error *err)
{
    for (unsigned i = 0; i < PLMM_TARGETS; i++) {
        if (module != NULL && strcmp(module, plmm_target_name(i)) == 0) {
            *targets |= 1u << i;
            return PLMM_OK;
        }
    }
    return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                     "%s: target_modules names \"%.60s\", only q_proj, k_proj, v_proj, o_proj, "
                     "gate_proj, up_proj and down_proj are supported",
                     name, module != NULL ? module : "(no text)");
}

static plmm_status read_targets(const plmm_json *c, const char *name, uint32_t *targets,
                                plmm_error *err)
{
    const plmm_json *list = plmm_json_get(c, "target_modules");
    const char *text = plmm_json_text(list);
    *targets = 0;
    if (text != NULL && strcmp(text, "all-linear") == 0) {
        *targets = PLMM_LORA_ALL;
        return PLMM_OK;
    }
    if (text != NULL) {
        return add_target(text, name, targets, err);
    }
    for (const plmm_json *m = plmm_json_first(list); m != NULL; m = plmm_json_next(m)) {
        PLMM_TRY(add_target(plmm_json_text(m), name, targets, err));
    }
    if (*targets == 0) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%s: target_modules is empty", name);
    }
    return PLMM_OK;
}

static plmm_status read_spec(const plmm_json *c, const char *name, plmm_lora_spec *spec,
                             plmm_error *err)
{
    plmm_lora_spec s = {0};
    double alpha = 8, dropout = 0;
    if (plmm_json_type_of(c) != PLMM_JSON_OBJECT) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%s is no JSON object", name);
    }
    PLMM_TRY(check_features(c, name, err));
    PLMM_TRY(read_targets(c, name, &s.targets, err));
    PLMM_TRY(plmm_json_need_u32(c, name, "r", 1, PLMM_RANK_MAX, &s.rank, err));
    PLMM_TRY(plmm_json_may_real(c, name, "lora_alpha", 1e-6, 1e6, &alpha, err));
    PLMM_TRY(plmm_json_may_real(c, name, "lora_dropout", 0, 0.999, &dropout, err));
    s.alpha = (float)alpha;
    s.dropout = (float)dropout;
    *spec = s;
    return PLMM_OK;
}

plmm_status plmm_peft_parse_config(const char *json, size_t len, const char *name,
                                   plmm_lora_spec *spec, plmm_error *err)
{
    plmm_json *root;
    PLMM_TRY(plmm_json_parse(json, len, name, &hf_config_limits, &root, err));
    plmm_status rc = read_spec(root, name, spec, err);
    plmm_json_free(root);
    return rc;
}

static plmm_status read_config(const char *dir, plmm_lora_spec *spec, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    uint8_t *bytes;
    size_t len;
    PLMM_TRY(plmm_path_join(path, sizeof path, dir, "adapter_config.json", err));
    PLMM_TRY(plmm_file_read(path, CONFIG_MAX, &bytes, &len, err));
    plmm_status rc = plmm_peft_parse_config((const char *)bytes, len, path, spec, err);
    plmm_free(bytes);
    return rc;
}

/* Both factors of one matrix are there in their shapes. */
static plmm_status check_pair(const plmm_model_config *c, const plmm_lora_spec *spec,
                              const plmm_safetensors *st, uint32_t layer, unsigned target,
                              plmm_error *err)
{
    plmm_view a = {.rows = spec->rank}, b = {.cols = spec->rank};
    plmm_target_shape(c, target, &b.rows, &a.cols);
    plmm__factor_name(a.name, layer, target, 'A');
    plmm__factor_name(b.name, layer, target, 'B');
    PLMM_TRY(plmm_safetensors_check_view(st, &a, err));
    return plmm_safetensors_check_view(st, &b, err);
}

/* Before memory is taken for weights: the file holds what its configuration says, and no more. */
static plmm_status check_tensors(const plmm_model_config *c, const plmm_lora_spec *spec,
                                 const plmm_safetensors *st, plmm_error *err)
{
    size_t tensors, n = 0;
    (void)plmm_safetensors_tensors(st, &tensors);
    for (uint32_t l = 0; l < c->layers; l++) {
        for (unsigned t = 0; t < PLMM_TARGETS; t++) {
            if ((spec->targets >> t & 1u) != 0) {
                PLMM_TRY(check_pair(c, spec, st, l, t, err));
                n += 2;
            }
        }
    }
    if (tensors != n) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "the adapter has %zu tensors, its configuration explains %zu", tensors, n);
    }
    return PLMM_OK;
}

static plmm_status fill(plmm_adapter *a, const plmm_safetensors *st, plmm_error *err)
{
    size_t n;
    const plmm_view *v = plmm_adapter_views(a, &n);
    for (size_t i = 0; i < n; i++) {
        PLMM_TRY(plmm_safetensors_read_view(st, &v[i], plmm_adapter_params(a), err));
    }
    return PLMM_OK;
}

plmm_status plmm_peft_load(const char *dir, const plmm_model_config *cfg, plmm_adapter **out,
                           plmm_error *err)
{
    plmm_lora_spec spec;
    plmm_safetensors *st = NULL;
    plmm_adapter *a = NULL;
    char path[PLMM_PATH_MAX];
    PLMM_TRY(read_config(dir, &spec, err));
    PLMM_TRY(plmm_path_join(path, sizeof path, dir, "adapter_model.safetensors", err));
    PLMM_TRY(plmm_safetensors_open(path, &st, err));
    plmm_status rc = check_tensors(cfg, &spec, st, err);
    if (rc == PLMM_OK) {
        rc = plmm_adapter_new(cfg, &spec, &a, err);
    }
    if (rc == PLMM_OK) {
        rc = fill(a, st, err);
    }
    plmm_safetensors_close(st);
    if (rc != PLMM_OK) {
        plmm_adapter_free(a);
        return plmm_fail_in(err, rc, "cannot load adapter %s", dir);
    }
    *out = a;
    return PLMM_OK;
}

/* --- writing --- */

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

static void write_config(plmm_json_writer *w, const plmm_lora_spec *s, const char *base)
{
    plmm_json_open_object(w);
    put_text(w, "peft_type", "LORA");
    put_text(w, "task_type", "CAUSAL_LM");
    put_text(w, "base_model_name_or_path", base);
    plmm_json_put_key(w, "r");
    plmm_json_put_u64(w, s->rank);
    plmm_json_put_key(w, "lora_alpha");
    plmm_json_put_float(w, s->alpha);
    plmm_json_put_key(w, "lora_dropout");
    plmm_json_put_float(w, s->dropout);
    plmm_json_put_key(w, "target_modules");
    plmm_json_open_array(w);
    for (unsigned i = 0; i < PLMM_TARGETS; i++) {
        if ((s->targets >> i & 1u) != 0) {
            plmm_json_put_text(w, plmm_target_name(i));
        }
    }
    plmm_json_close_array(w);
    put_text(w, "bias", "none");
    put_bool(w, "fan_in_fan_out", false);
    put_bool(w, "init_lora_weights", true);
    put_bool(w, "inference_mode", true);
    plmm_json_close_object(w);
}

plmm_status plmm_peft_save(const char *dir, const plmm_adapter *a, plmm_dtype dtype,
                           const char *base, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    plmm_text text = {0};
    plmm_json_writer w;
    size_t n;
    PLMM_TRY(plmm_dir_make(dir, 0755, err));
    PLMM_TRY(plmm_path_join(path, sizeof path, dir, "adapter_config.json", err));
    plmm_json_begin(&w, PLMM_JSON_PRETTY, plmm_text_sink, &text);
    write_config(&w, plmm_adapter_spec(a), base);
    plmm_status rc = plmm_json_end(&w, err);
    if (rc == PLMM_OK) {
        rc = plmm_text_sink(&text, "\n", 1, err);
    }
    if (rc == PLMM_OK) {
        rc = plmm_file_write(path, text.text, text.len, PLMM_MODE_PUBLIC, err);
    }
    plmm_text_free(&text);
    PLMM_TRY(rc);
    PLMM_TRY(plmm_path_join(path, sizeof path, dir, "adapter_model.safetensors", err));
    const plmm_view *v = plmm_adapter_views(a, &n);
    return plmm_safetensors_write(path, v, n, plmm_adapter_weights(a), dtype, err);
}
