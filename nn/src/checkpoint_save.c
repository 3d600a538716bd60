/* Models written: Hugging Face directories, from a model alone or after the one it was read from. */
#include <stdio.h>
#include <string.h>

#include "hf_config.h"
#include "plmm/alloc.h"
#include "plmm/checkpoint.h"
#include "plmm/file.h"
#include "plmm/json.h"
#include "plmm/json_walk.h"

enum { COPY_MAX = 256 << 20 };

static plmm_status write_text(const char *dir, const char *name, plmm_json_writer *w,
                              plmm_text *text, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    plmm_status rc = plmm_json_end(w, err);
    if (rc == PLMM_OK) {
        rc = plmm_path_join(path, sizeof path, dir, name, err);
    }
    if (rc == PLMM_OK) {
        rc = plmm_text_sink(text, "\n", 1, err);
    }
    if (rc == PLMM_OK) {
        rc = plmm_file_write(path, text->text, text->len, PLMM_MODE_PUBLIC, err);
    }
    plmm_text_free(text);
    return rc;
}

static plmm_status save_config(const char *dir, const plmm_model_config *cfg, plmm_dtype dtype,
                               plmm_error *err)
{
    plmm_text text = {0};
    plmm_json_writer w;
    plmm_json_begin(&w, PLMM_JSON_PRETTY, plmm_text_sink, &text);
    hf_config_write(&w, cfg, dtype);
    return write_text(dir, "config.json", &w, &text, err);
}

static void put_token(plmm_json_writer *w, const plmm_tokenizer *tok, const char *key, int32_t id)
{
    plmm_ids one = {.v = &id, .n = 1};
    char *text;
    size_t len;
    if (id >= 0 && plmm_tokenizer_decode(tok, one.v, 1, 0, &text, &len, NULL) == PLMM_OK) {
        plmm_json_put_key(w, key);
        plmm_json_put_bytes(w, text, len);
        plmm_free(text);
    }
}

static plmm_status save_tokenizer(const char *dir, const plmm_model_config *cfg,
                                  const plmm_tokenizer *tok, plmm_error *err)
{
    const char *name;
    size_t len;
    PLMM_TRY(plmm_tokenizer_save(tok, dir, err));
    (void)plmm_tokenizer_source(tok, &len, &name);
    if (strcmp(name, "tokenizer.json") != 0) {
        return PLMM_OK;
    }
    plmm_text text = {0};
    plmm_json_writer w;
    plmm_json_begin(&w, PLMM_JSON_PRETTY, plmm_text_sink, &text);
    plmm_json_open_object(&w);
    plmm_json_put_key(&w, "tokenizer_class");
    plmm_json_put_text(&w, "PreTrainedTokenizerFast");
    plmm_json_put_key(&w, "model_max_length");
    plmm_json_put_u64(&w, cfg->context);
    plmm_json_put_key(&w, "clean_up_tokenization_spaces");
    plmm_json_put_bool(&w, false);
    put_token(&w, tok, "bos_token", cfg->bos);
    put_token(&w, tok, "eos_token", cfg->eos);
    plmm_json_close_object(&w);
    return write_text(dir, "tokenizer_config.json", &w, &text, err);
}

/* --- after the source --- */

plmm_status plmm_checkpoint_copy_companions(const char *source, const char *dir, plmm_error *err)
{
    static const char *const names[] = {"generation_config.json",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "vocab.json",
                                        "added_tokens.json",
                                        "merges.txt",
                                        "tokenizer.bin",
                                        "tokenizer.model",
                                        "chat_template.jinja",
                                        "LICENSE",
                                        "chat_template.json"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char from[PLMM_PATH_MAX], to[PLMM_PATH_MAX];
        uint8_t *bytes;
        size_t len;
        PLMM_TRY(plmm_path_join(from, sizeof from, source, names[i], err));
        PLMM_TRY(plmm_path_join(to, sizeof to, dir, names[i], err));
        if (!plmm_path_exists(from)) {
            continue;
        }
        PLMM_TRY(plmm_file_read(from, COPY_MAX, &bytes, &len, err));
        plmm_status rc = plmm_file_write(to, bytes, len, PLMM_MODE_PUBLIC, err);
        plmm_free(bytes);
        PLMM_TRY(rc);
    }
    return PLMM_OK;
}

/* config.json as it is, but for the name of the type that the weights are written in. */
static plmm_status retype(const char *text, size_t len, const char *path, plmm_dtype dtype,
                          plmm_text *out, plmm_error *err)
{
    static const char *const keys[] = {"torch_dtype", "dtype"};
    plmm_json_slice root;
    PLMM_TRY(plmm_json_check(text, len, path, NULL, &root, err));
    size_t at = 0;
    plmm_json_walk w;
    plmm_json_walk_init(&w, root);
    while (plmm_json_walk_next(&w)) {
        if (plmm_json_slice_is(w.key, keys[0]) || plmm_json_slice_is(w.key, keys[1])) {
            size_t begin = (size_t)(w.value.at - text);
            PLMM_TRY(plmm_text_sink(out, text + at, begin - at, err));
            PLMM_TRY(plmm_text_sink(out, "\"", 1, err));
            PLMM_TRY(plmm_text_sink(out, hf_dtype(dtype), strlen(hf_dtype(dtype)), err));
            PLMM_TRY(plmm_text_sink(out, "\"", 1, err));
            at = begin + w.value.len;
        }
    }
    return plmm_text_sink(out, text + at, len - at, err);
}

static plmm_status copy_config(const char *source, const char *dir, plmm_dtype dtype,
                               plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    uint8_t *bytes;
    size_t len;
    plmm_text text = {0};
    PLMM_TRY(plmm_path_join(path, sizeof path, source, "config.json", err));
    PLMM_TRY(plmm_file_read(path, 1 << 20, &bytes, &len, err));
    plmm_status rc = retype((const char *)bytes, len, path, dtype, &text, err);
    plmm_free(bytes);
    if (rc == PLMM_OK) {
        rc = plmm_path_join(path, sizeof path, dir, "config.json", err);
    }
    if (rc == PLMM_OK) {
        rc = plmm_file_write(path, text.text, text.len, PLMM_MODE_PUBLIC, err);
    }
    plmm_text_free(&text);
    return rc;
}

/* --- both --- */

static plmm_status save_weights(const char *dir, const plmm_model *model, plmm_dtype dtype,
                                uint64_t shard_bytes, plmm_error *err)
{
    size_t n;
    const plmm_view *v = plmm_model_views(model, &n);
    return plmm_safetensors_write_dir(dir, v, n, plmm_model_weights(model), dtype, shard_bytes,
                                      err);
}

plmm_status plmm_checkpoint_save(const char *dir, const plmm_model *model, plmm_dtype dtype,
                                 const plmm_tokenizer *tokenizer, plmm_error *err)
{
    const plmm_model_config *cfg = plmm_model_cfg(model);
    PLMM_TRY(plmm_dir_make(dir, 0755, err));
    PLMM_TRY(save_config(dir, cfg, dtype, err));
    if (tokenizer != NULL) {
        PLMM_TRY(save_tokenizer(dir, cfg, tokenizer, err));
    }
    return save_weights(dir, model, dtype, PLMM_SHARD_BYTES, err);
}

plmm_status plmm_checkpoint_save_as(const char *source, const char *dir, const plmm_model *model,
                                    plmm_dtype dtype, const plmm_tokenizer *tokenizer,
                                    uint64_t shard_bytes, plmm_error *err)
{
    const plmm_model_config *cfg = plmm_model_cfg(model);
    char path[PLMM_PATH_MAX];
    PLMM_TRY(plmm_path_join(path, sizeof path, source, "config.json", err));
    PLMM_TRY(plmm_dir_make(dir, 0755, err));
    if (plmm_path_exists(path)) {
        PLMM_TRY(copy_config(source, dir, dtype, err));
        PLMM_TRY(plmm_checkpoint_copy_companions(source, dir, err));
    } else {
        PLMM_TRY(save_config(dir, cfg, dtype, err));
        if (tokenizer != NULL) {
            PLMM_TRY(save_tokenizer(dir, cfg, tokenizer, err));
        }
    }
    return save_weights(dir, model, dtype, shard_bytes, err);
}
