/* The weights of a directory, in one file or in shards with an index. */
#include <inttypes.h>
#include <stdio.h>

#include "number_writer.h"
#include "plmm/json.h"
#include "plmm/safetensors.h"

enum { NAME_MAX_BYTES = 64 };
static const char index_name[] = "model.safetensors.index.json";
static const char single_name[] = "model.safetensors";

static uint64_t bytes_of(const plmm_view *v, plmm_dtype dtype)
{
    return (uint64_t)v->rows * v->cols * plmm__number_bytes(dtype);
}

/* The end of the shard that begins with view `from`. */
static size_t shard_end(const plmm_view *v, size_t n, size_t from, plmm_dtype dtype, uint64_t limit)
{
    uint64_t sum = 0;
    size_t i = from;
    while (i < n && (i == from || sum + bytes_of(&v[i], dtype) <= limit)) {
        sum += bytes_of(&v[i++], dtype);
    }
    return i;
}

static size_t count_shards(const plmm_view *v, size_t n, plmm_dtype dtype, uint64_t limit)
{
    size_t shards = 0;
    for (size_t from = 0; from < n; from = shard_end(v, n, from, dtype, limit)) {
        shards++;
    }
    return shards;
}

static void shard_name(char out[NAME_MAX_BYTES], size_t i, size_t shards)
{
    (void)snprintf(out, NAME_MAX_BYTES, "model-%05zu-of-%05zu.safetensors", i, shards);
}

static plmm_status write_index(const char *path, const plmm_view *v, size_t n, plmm_dtype dtype,
                               uint64_t limit, plmm_error *err)
{
    plmm_text text = {0};
    plmm_json_writer w;
    uint64_t total = 0;
    size_t shards = count_shards(v, n, dtype, limit), shard = 0;
    for (size_t i = 0; i < n; i++) {
        total += bytes_of(&v[i], dtype);
    }
    plmm_json_begin(&w, PLMM_JSON_PRETTY, plmm_text_sink, &text);
    plmm_json_open_object(&w);
    plmm_json_put_key(&w, "metadata");
    plmm_json_open_object(&w);
    plmm_json_put_key(&w, "total_size");
    plmm_json_put_u64(&w, total);
    plmm_json_close_object(&w);
    plmm_json_put_key(&w, "weight_map");
    plmm_json_open_object(&w);
    for (size_t from = 0; from < n;) {
        char name[NAME_MAX_BYTES];
        size_t end = shard_end(v, n, from, dtype, limit);
        for (shard_name(name, ++shard, shards); from < end; from++) {
            plmm_json_put_key(&w, v[from].name);
            plmm_json_put_text(&w, name);
        }
    }
    plmm_json_close_object(&w);
    plmm_json_close_object(&w);
    plmm_status rc = plmm_json_end(&w, err);
    if (rc == PLMM_OK) {
        rc = plmm_file_write(path, text.text, text.len, PLMM_MODE_PUBLIC, err);
    }
    plmm_text_free(&text);
    return rc;
}

/* Removes the shards that an index left by an earlier model may name, and the index. */
static plmm_status remove_shard(void *dir, const char *name, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    unsigned i = 0, n = 0;
    int end = 0;
    if (sscanf(name, "model-%5u-of-%5u.safetensors%n", &i, &n, &end) != 2 || end == 0 ||
        name[end] != '\0') {
        return PLMM_OK;
    }
    PLMM_TRY(plmm_path_join(path, sizeof path, dir, name, err));
    return plmm_path_remove(path, err);
}

static plmm_status write_single(const char *dir, const char *index, const char *single,
                                const plmm_view *v, size_t n, const float *block, plmm_dtype dtype,
                                plmm_error *err)
{
    char copy[PLMM_PATH_MAX];
    (void)snprintf(copy, sizeof copy, "%s", dir);
    PLMM_TRY(plmm_safetensors_write(single, v, n, block, dtype, err));
    PLMM_TRY(plmm_path_remove(index, err));
    return plmm_dir_list(dir, remove_shard, copy, err);
}

plmm_status plmm_safetensors_write_dir(const char *dir, const plmm_view *views, size_t n,
                                       const float *block, plmm_dtype dtype, uint64_t shard_bytes,
                                       plmm_error *err)
{
    char index[PLMM_PATH_MAX], single[PLMM_PATH_MAX];
    size_t shards = count_shards(views, n, dtype, shard_bytes), shard = 0;
    PLMM_TRY(plmm_path_join(index, sizeof index, dir, index_name, err));
    PLMM_TRY(plmm_path_join(single, sizeof single, dir, single_name, err));
    if (shards <= 1) {
        return write_single(dir, index, single, views, n, block, dtype, err);
    }
    if (shards > PLMM_ST_SHARDS_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "shards of %" PRIu64 " bytes would be %zu files, at most %d are written",
                         shard_bytes, shards, (int)PLMM_ST_SHARDS_MAX);
    }
    for (size_t from = 0; from < n;) {
        char name[NAME_MAX_BYTES], path[PLMM_PATH_MAX];
        size_t end = shard_end(views, n, from, dtype, shard_bytes);
        shard_name(name, ++shard, shards);
        PLMM_TRY(plmm_path_join(path, sizeof path, dir, name, err));
        PLMM_TRY(plmm_safetensors_write(path, views + from, end - from, block, dtype, err));
        from = end;
    }
    PLMM_TRY(write_index(index, views, n, dtype, shard_bytes, err));
    return plmm_path_remove(single, err);
}
