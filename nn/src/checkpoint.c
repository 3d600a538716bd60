/* Models read: Hugging Face directories, GGUF and llama2.c files. */
#include "plmm/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint_place.h"
#include "hf_config.h"
#include "plmm/alloc.h"
#include "plmm/json.h"
#include "tensor_names.h"

enum { CONFIG_MAX = 1 << 20 };

plmm_status plmm_checkpoint_parse_config(const char *json, size_t len, const char *name,
                                         plmm_model_config *cfg, plmm_error *err)
{
    plmm_json *root;
    PLMM_TRY(plmm_json_parse(json, len, name, &hf_config_limits, &root, err));
    plmm_status rc = hf_config_read(root, name, cfg, err);
    plmm_json_free(root);
    return rc;
}

/* --- reading a directory --- */

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

static plmm_status read_config(const char *dir, plmm_model_config *cfg, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    uint8_t *bytes;
    size_t len;
    PLMM_TRY(plmm_path_join(path, sizeof path, dir, "config.json", err));
    PLMM_TRY(plmm_file_read(path, CONFIG_MAX, &bytes, &len, err));
    plmm_status rc = plmm_checkpoint_parse_config((const char *)bytes, len, path, cfg, err);
    plmm_free(bytes);
    return rc;
}

/* The tensor that fills view i: a tied head may stand for the embedding. */
static void name_of(const plmm_model_config *c, const plmm_safetensors *st, size_t i,
                    plmm_view *view)
{
    plmm__named at;
    plmm__named_at(c, i, &at);
    const char *name =
        c->tied && i == 0 && plmm_safetensors_find(st, at.hf) == NULL ? "lm_head.weight" : at.hf;
    *view = (plmm_view){.rows = at.rows, .cols = at.cols};
    (void)snprintf(view->name, sizeof view->name, "%s", name);
}

/* Marks the tensors that the model has; each must be there in its shape. */
static plmm_status mark_tensors(const plmm_model_config *c, const plmm_safetensors *st, bool *used,
                                plmm_error *err)
{
    size_t n;
    const plmm_st_tensor *t = plmm_safetensors_tensors(st, &n);
    for (size_t i = 0, wanted = plmm__named_count(c); i < wanted; i++) {
        plmm_view view;
        name_of(c, st, i, &view);
        PLMM_TRY(plmm_safetensors_check_view(st, &view, err));
        used[plmm_safetensors_find(st, view.name) - t] = true;
    }
    for (size_t i = 0; i < n; i++) {
        if (!used[i] && !ends_with(t[i].name, ".rotary_emb.inv_freq") &&
            strcmp(t[i].name, "lm_head.weight") != 0) {
            return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                             "tensor %.100s is not supported: no part of this model has it",
                             t[i].name);
        }
    }
    return PLMM_OK;
}

/* Before memory is taken for weights: every tensor is there, and none that would change the result
 * if we left it out. */
static plmm_status check_tensors(const plmm_model_config *c, const plmm_safetensors *st,
                                 plmm_error *err)
{
    size_t n;
    const plmm_st_tensor *t = plmm_safetensors_tensors(st, &n);
    uint64_t held = 0, need = plmm__named_parameters(c);
    for (size_t i = 0; i < n; i++) {
        held += t[i].count;
    }
    if (held < need) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "config.json describes %" PRIu64 " parameters, the tensors hold %" PRIu64,
                         need, held);
    }
    bool *used = plmm_alloc(n, sizeof *used);
    if (used == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for %zu tensors", n);
    }
    plmm_status rc = mark_tensors(c, st, used, err);
    plmm_free(used);
    return rc;
}

typedef struct reader {
    const plmm_model_config *cfg;
    const plmm_safetensors *st;
} reader;

static plmm_status read_view(void *ctx, const plmm_view *v, size_t i, float *out, plmm_error *err)
{
    const reader *r = ctx;
    plmm_view view;
    (void)v;
    name_of(r->cfg, r->st, i, &view);
    return plmm_safetensors_read_view(r->st, &view, out, err);
}

static plmm_status load_dir(const char *dir, const plmm_tokenizer *tok, plmm_base base,
                            plmm_model **model, plmm_error *err)
{
    plmm_model_config cfg;
    plmm_safetensors *st = NULL;
    PLMM_TRY(read_config(dir, &cfg, err));
    if (tok != NULL) {
        cfg.bos = cfg.bos >= 0 ? cfg.bos : plmm_tokenizer_bos(tok);
        cfg.eos = cfg.eos >= 0 ? cfg.eos : plmm_tokenizer_eos(tok);
    }
    PLMM_TRY(plmm_safetensors_open_dir(dir, &st, err));
    plmm_status rc = check_tensors(&cfg, st, err);
    if (rc == PLMM_OK) {
        reader r = {&cfg, st};
        rc = plmm_model_new_frozen(&cfg, base, read_view, &r, model, err);
    }
    plmm_safetensors_close(st);
    return rc == PLMM_OK ? rc : plmm_fail_in(err, rc, "cannot load %s", dir);
}

/* --- single files --- */

static plmm_status load_gguf(const plmm_map *map, const char *path, plmm_base base,
                             plmm_model **model, plmm_error *err)
{
    plmm_gguf *g;
    PLMM_TRY(plmm_gguf_parse(map->data, map->len, path, &g, err));
    plmm_status rc = plmm_checkpoint_from_gguf(g, path, base, model, err);
    plmm_gguf_close(g);
    return rc;
}

static plmm_status load_llama2c(const plmm_map *map, const char *path, plmm_base base,
                                plmm_model **model, plmm_error *err)
{
    plmm_model *m;
    PLMM_TRY(plmm_checkpoint_parse_llama2c(map->data, map->len, path, &m, err));
    plmm_status rc = plmm_model_freeze(m, base, err);
    if (rc != PLMM_OK) {
        plmm_model_free(m);
        return rc;
    }
    *model = m;
    return PLMM_OK;
}

static plmm_status load_file(const char *path, plmm_base base, plmm_model **model, plmm_error *err)
{
    plmm_map map;
    PLMM_TRY(plmm_file_map(path, &map, err));
    plmm_status rc = plmm_gguf_is(map.data, map.len) ? load_gguf(&map, path, base, model, err)
                                                     : load_llama2c(&map, path, base, model, err);
    plmm_file_unmap(&map);
    return rc;
}

typedef struct search {
    const char *prefix; /* of the names wanted, or, with skip, unwanted */
    bool skip;
    char found[256];
    size_t n;
} search;

static plmm_status visit_bin(void *ctx, const char *name, plmm_error *err)
{
    search *s = ctx;
    (void)err;
    bool has = strncmp(name, s->prefix, strlen(s->prefix)) == 0;
    if (ends_with(name, ".bin") && has != s->skip && strlen(name) < sizeof s->found) {
        (void)snprintf(s->found, sizeof s->found, "%s", name);
        s->n++;
    }
    return PLMM_OK;
}

/* The one model file of a directory without config.json. */
static plmm_status find_bin(const char *dir, char out[PLMM_PATH_MAX], plmm_error *err)
{
    search s = {.prefix = "tok", .skip = true};
    PLMM_TRY(plmm_dir_list(dir, visit_bin, &s, err));
    if (s.n != 1) {
        return plmm_fail(err, PLMM_ERR_NOTFOUND,
                         "%s has no config.json and %zu .bin files of llama2.c: name the model's "
                         "file itself",
                         dir, s.n);
    }
    return plmm_path_join(out, PLMM_PATH_MAX, dir, s.found, err);
}

/* --- tokenizer --- */

/* The directory of a file: what stands before its last slash, or ".". */
static void directory_of(const char *path, char out[PLMM_PATH_MAX])
{
    (void)snprintf(out, PLMM_PATH_MAX, "%s", path);
    char *slash = strrchr(out, '/');
    if (slash == NULL) {
        (void)snprintf(out, PLMM_PATH_MAX, ".");
    } else {
        *(slash == out ? slash + 1 : slash) = '\0';
    }
}

static plmm_status find_tokenizer(const char *dir, plmm_tokenizer **out, plmm_error *err)
{
    static const char *const usual[] = {"tokenizer.json", "tokenizer.model", "tokenizer.bin",
                                        "merges.txt"};
    char path[PLMM_PATH_MAX];
    *out = NULL;
    for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++) {
        PLMM_TRY(plmm_path_join(path, sizeof path, dir, usual[i], err));
        if (plmm_path_exists(path)) {
            return plmm_tokenizer_load(dir, out, err);
        }
    }
    search s = {.prefix = "tok"};
    PLMM_TRY(plmm_dir_list(dir, visit_bin, &s, err));
    if (s.n != 1) {
        return PLMM_OK;
    }
    PLMM_TRY(plmm_path_join(path, sizeof path, dir, s.found, err));
    return plmm_tokenizer_load(path, out, err);
}

/* A GGUF file has its own. */
static plmm_status own_tokenizer(const char *file, plmm_tokenizer **out, plmm_error *err)
{
    plmm_map map;
    plmm_gguf *g = NULL;
    plmm_status rc = PLMM_OK;
    *out = NULL;
    PLMM_TRY(plmm_file_map(file, &map, err));
    if (plmm_gguf_is(map.data, map.len)) {
        rc = plmm_gguf_parse(map.data, map.len, file, &g, err);
    }
    if (rc == PLMM_OK && g != NULL && plmm_gguf_find(g, "tokenizer.ggml.tokens") != NULL) {
        rc = plmm_tokenizer_from_gguf(g, file, out, err);
    }
    plmm_gguf_close(g);
    plmm_file_unmap(&map);
    return rc;
}

/* --- both --- */

static plmm_status check_vocab(const plmm_model *m, const plmm_tokenizer *tok, const char *path,
                               plmm_error *err)
{
    if (tok != NULL && plmm_tokenizer_vocab(tok) > plmm_model_cfg(m)->vocab) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "the tokenizer of %s has %u tokens, the model only %u", path,
                         plmm_tokenizer_vocab(tok), plmm_model_cfg(m)->vocab);
    }
    return PLMM_OK;
}

plmm_status plmm__checkpoint_place(const char *path, plmm__place *out, plmm_error *err)
{
    if (!plmm_path_exists(path)) {
        return plmm_fail(err, PLMM_ERR_NOTFOUND,
                         "there is no model at %s: expected a directory with config.json, a "
                         ".gguf file, or a llama2.c .bin file",
                         path);
    }
    out->hf = false;
    if (!plmm_path_is_dir(path)) {
        directory_of(path, out->dir);
        (void)snprintf(out->file, sizeof out->file, "%s", path);
        return PLMM_OK;
    }
    (void)snprintf(out->dir, sizeof out->dir, "%s", path);
    PLMM_TRY(plmm_path_join(out->file, sizeof out->file, path, "config.json", err));
    out->hf = plmm_path_exists(out->file);
    return out->hf ? PLMM_OK : find_bin(path, out->file, err);
}

plmm_status plmm_checkpoint_load(const char *path, plmm_model **model, plmm_tokenizer **tokenizer,
                                 plmm_error *err)
{
    return plmm_checkpoint_load_frozen(path, PLMM_BASE_F32, model, tokenizer, err);
}

plmm_status plmm_checkpoint_load_frozen(const char *path, plmm_base base, plmm_model **model,
                                        plmm_tokenizer **tokenizer, plmm_error *err)
{
    plmm__place at;
    plmm_model *m = NULL;
    plmm_tokenizer *tok = NULL;
    PLMM_TRY(plmm__checkpoint_place(path, &at, err));
    bool is_file = !plmm_path_is_dir(path);
    plmm_status rc = tokenizer != NULL && is_file ? own_tokenizer(at.file, &tok, err) : PLMM_OK;
    if (rc == PLMM_OK && tokenizer != NULL && tok == NULL) {
        rc = find_tokenizer(at.dir, &tok, err);
    }
    if (rc == PLMM_OK) {
        rc = at.hf ? load_dir(at.dir, tok, base, &m, err) : load_file(at.file, base, &m, err);
    }
    if (rc == PLMM_OK) {
        rc = check_vocab(m, tok, path, err);
    }
    if (rc != PLMM_OK) {
        plmm_model_free(m);
        plmm_tokenizer_free(tok);
        return rc;
    }
    *model = m;
    if (tokenizer != NULL) {
        *tokenizer = tok;
    }
    return PLMM_OK;
}
