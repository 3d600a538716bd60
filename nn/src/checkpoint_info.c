/* What a model on disk is, from its headers. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint_place.h"
#include "hf_config.h"
#include "plmm/alloc.h"
#include "plmm/bytes.h"
#include "plmm/checkpoint.h"
#include "plmm/json.h"

enum { TYPES_MAX = 16 };

typedef struct tally {
    const char *name;
    uint64_t weights;
} tally;

typedef struct tallies {
    tally each[TYPES_MAX];
    size_t n;
    uint64_t weights, bytes;
} tallies;

static void count(tallies *t, const char *name, uint64_t weights, uint64_t bytes)
{
    size_t i = 0;
    while (i < t->n && strcmp(t->each[i].name, name) != 0) {
        i++;
    }
    if (i == t->n && t->n < TYPES_MAX) {
        t->each[t->n++].name = name;
    }
    if (i < TYPES_MAX) {
        t->each[i].weights += weights;
    }
    t->weights += weights;
    t->bytes += bytes;
}

static plmm_dtype dtype_called(const char *name)
{
    static const plmm_dtype plain[] = {PLMM_F32, PLMM_F16, PLMM_BF16};
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        if (strcmp(name, plmm_dtype_name(plain[i])) == 0) {
            return plain[i];
        }
    }
    return PLMM_DTYPE_OTHER;
}

/* "q4_K 71 %, q6_K 29 %"; what rounds to nothing is left out. */
static void summarise(tallies *t, plmm_checkpoint_info *out)
{
    size_t at = 0;
    out->parameters = t->weights;
    out->bytes = t->bytes;
    out->dtype = PLMM_DTYPE_OTHER;
    for (size_t k = 0; k < t->n; k++) {
        size_t best = k;
        for (size_t i = k + 1; i < t->n; i++) {
            best = t->each[i].weights > t->each[best].weights ? i : best;
        }
        tally x = t->each[best];
        t->each[best] = t->each[k];
        t->each[k] = x;
        double share = 100.0 * (double)x.weights / (double)t->weights;
        if (k == 0) {
            out->dtype = dtype_called(x.name);
        }
        if (share < 0.5 || at >= sizeof out->types) {
            break;
        }
        int n = share > 99.5 ? snprintf(out->types + at, sizeof out->types - at, "%s", x.name)
                             : snprintf(out->types + at, sizeof out->types - at, "%s%s %.0f %%",
                                        k == 0 ? "" : ", ", x.name, share);
        at += n > 0 ? (size_t)n : 0;
    }
}

/* --- Hugging Face --- */

static plmm_status describe_config(const char *path, plmm_checkpoint_info *out, plmm_error *err)
{
    uint8_t *bytes;
    size_t len;
    plmm_json *root = NULL;
    PLMM_TRY(plmm_file_read(path, 1 << 20, &bytes, &len, err));
    plmm_status rc = plmm_json_parse((const char *)bytes, len, path, &hf_config_limits, &root, err);
    plmm_free(bytes);
    if (rc == PLMM_OK) {
        const char *arch = plmm_json_text(plmm_json_first(plmm_json_get(root, "architectures")));
        arch = arch != NULL ? arch : plmm_json_text(plmm_json_get(root, "model_type"));
        (void)snprintf(out->family, sizeof out->family, "%.60s", arch != NULL ? arch : "(none)");
    }
    plmm_json_free(root);
    return rc;
}

static plmm_status describe_hf(const plmm__place *at, plmm_checkpoint_info *out, plmm_error *err)
{
    plmm_safetensors *s;
    tallies t = {.n = 0};
    size_t n;
    PLMM_TRY(describe_config(at->file, out, err));
    PLMM_TRY(plmm_safetensors_open_dir(at->dir, &s, err));
    const plmm_st_tensor *all = plmm_safetensors_tensors(s, &n);
    for (size_t i = 0; i < n; i++) {
        count(&t, plmm_dtype_name(all[i].dtype), all[i].count, all[i].bytes);
    }
    size_t files = plmm_safetensors_files(s);
    (void)snprintf(out->format, sizeof out->format, "safetensors, %zu file%s", files,
                   files == 1 ? "" : "s");
    plmm_safetensors_close(s);
    summarise(&t, out);
    return PLMM_OK;
}

/* --- single files --- */

static plmm_status describe_gguf(const plmm_map *map, const char *path, plmm_checkpoint_info *out,
                                 plmm_error *err)
{
    plmm_gguf *g;
    tallies t = {.n = 0};
    size_t n;
    PLMM_TRY(plmm_gguf_parse(map->data, map->len, path, &g, err));
    const plmm_gguf_tensor *all = plmm_gguf_tensors(g, &n);
    for (size_t i = 0; i < n; i++) {
        count(&t, plmm_gguf_type_name(all[i].type), all[i].count, all[i].bytes);
    }
    const plmm_gguf_value *arch = plmm_gguf_find(g, "general.architecture");
    bool text = arch != NULL && arch->kind == PLMM_GGUF_TEXT;
    (void)snprintf(out->family, sizeof out->family, "%.*s",
                   text ? (int)(arch->count < 60 ? arch->count : 60) : 6,
                   text ? (const char *)arch->data : "(none)");
    (void)snprintf(out->format, sizeof out->format, "GGUF version %u",
                   plmm_load_le32(map->data + 4));
    plmm_gguf_close(g);
    summarise(&t, out);
    return PLMM_OK;
}

static plmm_status describe_llama2c(const plmm_map *map, const char *path,
                                    plmm_checkpoint_info *out, plmm_error *err)
{
    plmm_model *m;
    tallies t = {.n = 0};
    PLMM_TRY(plmm_checkpoint_parse_llama2c(map->data, map->len, path, &m, err));
    bool old = plmm_load_le32(map->data) != 0x616b3432;
    uint32_t version = old ? 0 : plmm_load_le32(map->data + 4);
    count(&t, version == 2 ? "int8" : "f32", plmm_model_count(m), map->len);
    plmm_model_free(m);
    (void)snprintf(out->format, sizeof out->format, "llama2.c version %u", version);
    (void)snprintf(out->family, sizeof out->family, "llama2.c");
    summarise(&t, out);
    return PLMM_OK;
}

static plmm_status describe_file(const plmm__place *at, plmm_checkpoint_info *out, plmm_error *err)
{
    plmm_map map;
    PLMM_TRY(plmm_file_map(at->file, &map, err));
    plmm_status rc = plmm_gguf_is(map.data, map.len) ? describe_gguf(&map, at->file, out, err)
                                                     : describe_llama2c(&map, at->file, out, err);
    plmm_file_unmap(&map);
    return rc;
}

plmm_status plmm_checkpoint_describe(const char *path, plmm_checkpoint_info *out, plmm_error *err)
{
    plmm__place at;
    plmm_checkpoint_info info = {.dtype = PLMM_DTYPE_OTHER};
    PLMM_TRY(plmm__checkpoint_place(path, &at, err));
    PLMM_TRY(at.hf ? describe_hf(&at, &info, err) : describe_file(&at, &info, err));
    *out = info;
    return PLMM_OK;
}
