/* Reader and writer of safetensors. Nothing in the file is believed before it is checked. */
#include "plmm/safetensors.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "number_writer.h"
#include "plmm/alloc.h"
#include "plmm/bytes.h"
#include "plmm/file.h"
#include "plmm/json.h"
#include "plmm/json_walk.h"

typedef struct shard {
    plmm_map map;
    plmm_json_slice header; /* in the file */
    char *names;            /* of its tensors, each with a NUL */
    char *path;
} shard;

struct plmm_safetensors {
    shard *shards;
    size_t n_shards, shards_cap;
    plmm_st_tensor *tensors;
    size_t n;
};

static plmm_status no_memory(plmm_error *err)
{
    return plmm_fail(err, PLMM_ERR_NOMEM, "cannot open the tensors: out of memory");
}

void plmm_safetensors_close(plmm_safetensors *s)
{
    if (s == NULL) {
        return;
    }
    for (size_t i = 0; i < s->n_shards; i++) {
        plmm_free(s->shards[i].names);
        plmm_free(s->shards[i].path);
        plmm_file_unmap(&s->shards[i].map);
    }
    plmm_free(s->shards);
    plmm_free(s->tensors);
    plmm_free(s);
}

/* --- one tensor of the header --- */

static const struct {
    const char *name;
    plmm_dtype dtype;
    unsigned bits; /* of an element */
} dtypes[] = {
    {"F32", PLMM_F32, 32},
    {"F16", PLMM_F16, 16},
    {"BF16", PLMM_BF16, 16},
    {"F64", PLMM_DTYPE_OTHER, 64},
    {"I64", PLMM_DTYPE_OTHER, 64},
    {"U64", PLMM_DTYPE_OTHER, 64},
    {"I32", PLMM_DTYPE_OTHER, 32},
    {"U32", PLMM_DTYPE_OTHER, 32},
    {"I16", PLMM_DTYPE_OTHER, 16},
    {"U16", PLMM_DTYPE_OTHER, 16},
    {"I8", PLMM_DTYPE_OTHER, 8},
    {"U8", PLMM_DTYPE_OTHER, 8},
    {"BOOL", PLMM_DTYPE_OTHER, 8},
    {"F8_E4M3", PLMM_DTYPE_OTHER, 8},
    {"F8_E5M2", PLMM_DTYPE_OTHER, 8},
};

static plmm_status read_dtype(plmm_json_slice node, const char *name, plmm_dtype *dtype,
                              unsigned *bits, plmm_error *err)
{
    char text[24] = "(missing)";
    plmm_json_slice v = plmm_json_slice_get(node, "dtype");
    if (plmm_json_slice_text(v, text, sizeof text) == SIZE_MAX && v.len > 0) {
        (void)snprintf(text, sizeof text, "(no short text)");
    }
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        if (strcmp(dtypes[i].name, text) == 0) {
            *dtype = dtypes[i].dtype;
            *bits = dtypes[i].bits;
            return PLMM_OK;
        }
    }
    return plmm_fail(err, PLMM_ERR_FORMAT, "tensor %.100s has dtype %.20s, which is none", name,
                     text);
}

enum { EXACT = 53 }; /* sizes are below 2^53 */

static plmm_status read_shape(plmm_json_slice node, plmm_st_tensor *t, plmm_error *err)
{
    plmm_json_slice shape = plmm_json_slice_get(node, "shape");
    plmm_json_walk w;
    if (plmm_json_slice_type(shape) != PLMM_JSON_ARRAY) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "tensor %.100s has no array shape", t->name);
    }
    t->count = 1;
    plmm_json_walk_init(&w, shape);
    while (plmm_json_walk_next(&w)) {
        uint64_t v;
        if (t->dims == PLMM_ST_DIMS_MAX ||
            !plmm_json_slice_whole(w.value, UINT64_C(1) << EXACT, &v)) {
            return plmm_fail(err, PLMM_ERR_FORMAT,
                             "tensor %.100s has a shape that is not up to %d whole numbers",
                             t->name, (int)PLMM_ST_DIMS_MAX);
        }
        if (v != 0 && t->count > (UINT64_C(1) << EXACT) / v) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "tensor %.100s has too many elements", t->name);
        }
        t->shape[t->dims++] = v;
        t->count *= v;
    }
    return PLMM_OK;
}

static plmm_status read_offsets(plmm_json_slice node, const plmm_st_tensor *t, uint64_t *begin,
                                uint64_t *end, plmm_error *err)
{
    uint64_t *const out[] = {begin, end};
    size_t n = 0;
    plmm_json_walk w;
    plmm_json_walk_init(&w, plmm_json_slice_get(node, "data_offsets"));
    while (plmm_json_walk_next(&w)) {
        n = n < 2 && plmm_json_slice_whole(w.value, UINT64_C(1) << EXACT, out[n]) ? n + 1 : 3;
    }
    if (n != 2 || *begin > *end) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "tensor %.100s has data_offsets that are not [begin, end]", t->name);
    }
    return PLMM_OK;
}

/* data is the part of the file after the header, of len bytes; name is t's for good. */
static plmm_status read_tensor(plmm_json_slice node, const char *name, const uint8_t *data,
                               size_t len, plmm_st_tensor *t, plmm_error *err)
{
    unsigned bits = 0;
    uint64_t begin = 0, end = 0;
    *t = (plmm_st_tensor){.name = name};
    PLMM_TRY(read_dtype(node, t->name, &t->dtype, &bits, err));
    PLMM_TRY(read_shape(node, t, err));
    PLMM_TRY(read_offsets(node, t, &begin, &end, err));
    if (end > len) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "tensor %.100s ends at byte %" PRIu64
                         " of the data, but the file holds %zu: it is truncated",
                         t->name, end, len);
    }
    t->bytes = end - begin;
    if (t->bytes != t->count * (bits / 8)) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "tensor %.100s has %" PRIu64 " elements of %u bits in %" PRIu64 " bytes",
                         t->name, t->count, bits, t->bytes);
    }
    t->data = data + begin;
    return PLMM_OK;
}

/* --- one file --- */

static int by_place(const void *a, const void *b)
{
    const plmm_st_tensor *x = a, *y = b;
    if (x->data != y->data) {
        return x->data < y->data ? -1 : 1;
    }
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int by_name(const void *a, const void *b)
{
    const plmm_st_tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* The tensors t[0..n) must tile the data without gap and overlap. */
static plmm_status check_tiling(plmm_st_tensor *t, size_t n, const uint8_t *data, size_t len,
                                plmm_error *err)
{
    size_t at = 0;
    qsort(t, n, sizeof *t, by_place);
    for (size_t i = 0; i < n; i++) {
        size_t begin = (size_t)(t[i].data - data);
        if (begin != at) {
            return plmm_fail(err, PLMM_ERR_FORMAT,
                             "tensor %.100s begins at byte %zu of the data, expected %zu: tensors "
                             "must neither overlap nor leave gaps",
                             t[i].name, begin, at);
        }
        at += (size_t)t[i].bytes;
    }
    if (at != len) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "the tensors end at byte %zu of the data, the file goes on to %zu", at,
                         len);
    }
    return PLMM_OK;
}

/* Counts the tensors of a header and the bytes of their names with a NUL each. */
static plmm_status count_tensors(plmm_json_slice header, size_t *n, size_t *bytes, plmm_error *err)
{
    plmm_json_walk w;
    *n = *bytes = 0;
    plmm_json_walk_init(&w, header);
    while (plmm_json_walk_next(&w)) {
        char name[PLMM_ST_NAME_MAX + 1];
        size_t len = plmm_json_slice_text(w.key, name, sizeof name);
        if (len == 0 || len > PLMM_ST_NAME_MAX) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "a tensor's name is not 1..%d bytes long",
                             (int)PLMM_ST_NAME_MAX);
        }
        bool tensor = strcmp(name, "__metadata__") != 0;
        *n += tensor;
        *bytes += tensor ? len + 1 : 0;
    }
    return PLMM_OK;
}

/* Room for n more tensors, and for the names of a shard. */
static plmm_status reserve(plmm_safetensors *s, shard *f, size_t n, size_t bytes, plmm_error *err)
{
    if (n > PLMM_ST_TENSORS_MAX - s->n) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "more than %d tensors", (int)PLMM_ST_TENSORS_MAX);
    }
    plmm_st_tensor *t = plmm_grow(s->tensors, s->n, s->n + n, sizeof *t);
    f->names = plmm_alloc(bytes, 1);
    if (t != NULL) {
        s->tensors = t;
    }
    return t != NULL && f->names != NULL ? PLMM_OK : no_memory(err);
}

/* Adds the tensors of a checked header. */
static plmm_status add_tensors(plmm_safetensors *s, shard *f, const uint8_t *data, size_t len,
                               plmm_error *err)
{
    size_t n, bytes, before = s->n, at = 0;
    plmm_json_walk w;
    if (plmm_json_slice_type(f->header) != PLMM_JSON_OBJECT) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "the header is no JSON object");
    }
    PLMM_TRY(count_tensors(f->header, &n, &bytes, err));
    PLMM_TRY(reserve(s, f, n, bytes, err));
    plmm_json_walk_init(&w, f->header);
    while (plmm_json_walk_next(&w)) {
        if (plmm_json_slice_is(w.key, "__metadata__")) {
            continue;
        }
        char *name = f->names + at;
        at += plmm_json_slice_text(w.key, name, bytes - at) + 1;
        PLMM_TRY(read_tensor(w.value, name, data, len, &s->tensors[s->n], err));
        s->n++;
    }
    return check_tiling(s->tensors + before, s->n - before, data, len, err);
}

static plmm_status add_bytes(plmm_safetensors *s, shard *f, const uint8_t *bytes, size_t len,
                             plmm_error *err)
{
    uint64_t n = len >= 8 ? plmm_load_le64(bytes) : 0;
    if (n < 2) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%zu bytes hold no header", len);
    }
    if (n > PLMM_ST_HEADER_MAX) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "the header is said to have %" PRIu64 " bytes, at most %d", n,
                         (int)PLMM_ST_HEADER_MAX);
    }
    if (n > len - 8) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "the header has %" PRIu64 " bytes, but the file ends after %zu: it is "
                         "truncated",
                         n, len);
    }
    const uint8_t *data = bytes + 8 + n;
    static const plmm_json_limits limits = {.bytes = PLMM_ST_HEADER_MAX, .depth = 8};
    PLMM_TRY(
        plmm_json_check((const char *)bytes + 8, (size_t)n, "header", &limits, &f->header, err));
    return add_tensors(s, f, data, len - 8 - (size_t)n, err);
}

static plmm_status finish(plmm_safetensors *s, plmm_error *err)
{
    if (s->n > 0) {
        qsort(s->tensors, s->n, sizeof *s->tensors, by_name);
    }
    for (size_t i = 1; i < s->n; i++) {
        if (strcmp(s->tensors[i - 1].name, s->tensors[i].name) == 0) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "tensor %.100s is there twice",
                             s->tensors[i].name);
        }
    }
    return PLMM_OK;
}

static plmm_safetensors *new_reader(size_t shards)
{
    plmm_safetensors *s = plmm_alloc(1, sizeof *s);
    if (s != NULL) {
        s->shards = plmm_alloc(shards, sizeof *s->shards);
        s->shards_cap = shards;
        if (s->shards == NULL) {
            plmm_free(s);
            return NULL;
        }
    }
    return s;
}

static plmm_status add_file(plmm_safetensors *s, const char *path, plmm_error *err)
{
    shard *f = &s->shards[s->n_shards++];
    f->path = plmm_strdup(path);
    if (f->path == NULL) {
        return no_memory(err);
    }
    PLMM_TRY(plmm_file_map(path, &f->map, err));
    plmm_status rc = add_bytes(s, f, f->map.data, f->map.len, err);
    return rc == PLMM_OK ? rc : plmm_fail_in(err, rc, "cannot read %s", path);
}

static plmm_status deliver(plmm_safetensors *s, plmm_status rc, plmm_safetensors **out)
{
    if (rc != PLMM_OK) {
        plmm_safetensors_close(s);
        return rc;
    }
    *out = s;
    return PLMM_OK;
}

plmm_status plmm_safetensors_open(const char *path, plmm_safetensors **out, plmm_error *err)
{
    plmm_safetensors *s = new_reader(1);
    if (s == NULL) {
        return no_memory(err);
    }
    plmm_status rc = add_file(s, path, err);
    if (rc == PLMM_OK) {
        rc = finish(s, err);
    }
    return deliver(s, rc, out);
}

plmm_status plmm_safetensors_parse(const uint8_t *bytes, size_t len, const char *name,
                                   plmm_safetensors **out, plmm_error *err)
{
    plmm_safetensors *s = new_reader(1);
    if (s == NULL) {
        return no_memory(err);
    }
    plmm_status rc = add_bytes(s, &s->shards[s->n_shards++], bytes, len, err);
    if (rc == PLMM_OK) {
        rc = finish(s, err);
    }
    if (rc != PLMM_OK) {
        rc = plmm_fail_in(err, rc, "cannot read %s", name);
    }
    return deliver(s, rc, out);
}

/* --- shards --- */

typedef struct shard_names {
    char each[PLMM_ST_SHARDS_MAX][PLMM_ST_NAME_MAX + 1];
    size_t n;
} shard_names;

/* A shard's name is a plain file name: an index must not lead outside its directory. */
static plmm_status add_name(shard_names *all, plmm_json_slice v, plmm_error *err)
{
    char name[PLMM_ST_NAME_MAX + 1] = "(no short text)";
    size_t len = plmm_json_slice_text(v, name, sizeof name);
    if (len == SIZE_MAX || name[0] == '\0' || name[0] == '.' || strchr(name, '/') != NULL) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "weight_map names \"%.80s\", expected a file name",
                         name);
    }
    /* entries of one shard usually follow one another */
    for (size_t i = all->n; i-- > 0;) {
        if (strcmp(all->each[i], name) == 0) {
            return PLMM_OK;
        }
    }
    if (all->n == PLMM_ST_SHARDS_MAX) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "weight_map names more than %d files",
                         (int)PLMM_ST_SHARDS_MAX);
    }
    memcpy(all->each[all->n++], name, sizeof name);
    return PLMM_OK;
}

static plmm_status list_shards(const char *text, size_t len, const char *path, shard_names *all,
                               plmm_error *err)
{
    static const plmm_json_limits limits = {.bytes = PLMM_ST_HEADER_MAX, .depth = 8};
    plmm_json_slice root, map;
    plmm_json_walk w;
    PLMM_TRY(plmm_json_check(text, len, path, &limits, &root, err));
    map = plmm_json_slice_get(root, "weight_map");
    plmm_json_walk_init(&w, map);
    for (size_t i = 0; plmm_json_slice_type(map) == PLMM_JSON_OBJECT && plmm_json_walk_next(&w);
         i++) {
        if (i == PLMM_ST_TENSORS_MAX) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "weight_map has more than %d tensors",
                             (int)PLMM_ST_TENSORS_MAX);
        }
        PLMM_TRY(add_name(all, w.value, err));
    }
    return all->n > 0
               ? PLMM_OK
               : plmm_fail(err, PLMM_ERR_FORMAT, "%s has no weight_map that names files", path);
}

static plmm_status open_shards(const char *dir, const shard_names *all, plmm_safetensors **out,
                               plmm_error *err)
{
    plmm_safetensors *s = new_reader(all->n);
    if (s == NULL) {
        return no_memory(err);
    }
    plmm_status rc = PLMM_OK;
    for (size_t i = 0; i < all->n && rc == PLMM_OK; i++) {
        char path[PLMM_PATH_MAX];
        rc = plmm_path_join(path, sizeof path, dir, all->each[i], err);
        if (rc == PLMM_OK) {
            rc = add_file(s, path, err);
        }
    }
    if (rc == PLMM_OK) {
        rc = finish(s, err);
    }
    return deliver(s, rc, out);
}

static plmm_status open_index(const char *dir, const char *path, plmm_safetensors **out,
                              plmm_error *err)
{
    plmm_map map;
    shard_names *all = plmm_alloc(1, sizeof *all);
    if (all == NULL) {
        return no_memory(err);
    }
    plmm_status rc = plmm_file_map(path, &map, err);
    if (rc == PLMM_OK) {
        rc = list_shards((const char *)map.data, map.len, path, all, err);
        plmm_file_unmap(&map);
    }
    if (rc == PLMM_OK) {
        rc = open_shards(dir, all, out, err);
    }
    plmm_free(all);
    return rc;
}

plmm_status plmm_safetensors_open_dir(const char *dir, plmm_safetensors **out, plmm_error *err)
{
    char path[PLMM_PATH_MAX], index[PLMM_PATH_MAX];
    PLMM_TRY(plmm_path_join(path, sizeof path, dir, "model.safetensors", err));
    PLMM_TRY(plmm_path_join(index, sizeof index, dir, "model.safetensors.index.json", err));
    if (!plmm_path_exists(path) && plmm_path_exists(index)) {
        return open_index(dir, index, out, err);
    }
    return plmm_safetensors_open(path, out, err);
}

/* --- reading --- */

const plmm_st_tensor *plmm_safetensors_tensors(const plmm_safetensors *s, size_t *count)
{
    *count = s->n;
    return s->tensors;
}

const plmm_st_tensor *plmm_safetensors_find(const plmm_safetensors *s, const char *name)
{
    plmm_st_tensor key = {.name = name};
    return s->n == 0 ? NULL : bsearch(&key, s->tensors, s->n, sizeof key, by_name);
}

size_t plmm_safetensors_files(const plmm_safetensors *s)
{
    return s->n_shards;
}

bool plmm_safetensors_meta(const plmm_safetensors *s, const char *key, char *out, size_t cap)
{
    plmm_json_slice meta = plmm_json_slice_get(s->shards[0].header, "__metadata__");
    return plmm_json_slice_text(plmm_json_slice_get(meta, key), out, cap) != SIZE_MAX;
}

static plmm_status refuse_dtype(const plmm_st_tensor *t, plmm_error *err)
{
    return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                     "tensor %.100s is not of f32, f16 or bf16: other types are not supported",
                     t->name);
}

plmm_status plmm_safetensors_read(const plmm_st_tensor *t, float *out, plmm_error *err)
{
    const uint8_t *p = t->data;
    switch (t->dtype) {
    case PLMM_F32:
        for (uint64_t i = 0; i < t->count; i++) {
            uint32_t u = plmm_load_le32(p + 4 * i);
            memcpy(out + i, &u, sizeof u);
        }
        return PLMM_OK;
    case PLMM_F16:
        for (uint64_t i = 0; i < t->count; i++) {
            out[i] = plmm_f16_to_f32(plmm_load_le16(p + 2 * i));
        }
        return PLMM_OK;
    case PLMM_BF16:
        for (uint64_t i = 0; i < t->count; i++) {
            out[i] = plmm_bf16_to_f32(plmm_load_le16(p + 2 * i));
        }
        return PLMM_OK;
    case PLMM_DTYPE_OTHER:
        break;
    }
    return refuse_dtype(t, err);
}

static void shape_text(const plmm_st_tensor *t, char *out, size_t cap)
{
    size_t at = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < t->dims && at < cap; i++) {
        int n = snprintf(out + at, cap - at, "%s%" PRIu64, i == 0 ? "" : ", ", t->shape[i]);
        at += n > 0 ? (size_t)n : 0;
    }
}

plmm_status plmm_safetensors_check_view(const plmm_safetensors *s, const plmm_view *view,
                                        plmm_error *err)
{
    const plmm_st_tensor *t = plmm_safetensors_find(s, view->name);
    if (t == NULL) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%s lacks the tensor %s",
                         s->shards[0].path != NULL ? s->shards[0].path : "the file", view->name);
    }
    bool matrix = t->dims == 2 && t->shape[0] == view->rows && t->shape[1] == view->cols;
    bool vector = t->dims == 1 && view->rows == 1 && t->shape[0] == view->cols;
    if (!matrix && !vector) {
        char shape[128];
        shape_text(t, shape, sizeof shape);
        return plmm_fail(err, PLMM_ERR_FORMAT, "tensor %s has shape [%s], expected [%zu, %zu]",
                         view->name, shape, view->rows, view->cols);
    }
    return t->dtype != PLMM_DTYPE_OTHER ? PLMM_OK : refuse_dtype(t, err);
}

plmm_status plmm_safetensors_read_view(const plmm_safetensors *s, const plmm_view *view,
                                       float *block, plmm_error *err)
{
    PLMM_TRY(plmm_safetensors_check_view(s, view, err));
    return plmm_safetensors_read(plmm_safetensors_find(s, view->name), block + view->offset, err);
}

/* --- writing --- */

static bool is_vector(const plmm_view *v)
{
    size_t n = strlen(v->name);
    return v->rows == 1 && !(n > 14 && (strcmp(v->name + n - 14, ".lora_A.weight") == 0 ||
                                        strcmp(v->name + n - 14, ".lora_B.weight") == 0));
}

static plmm_status header_text(const plmm_view *views, size_t n, plmm_dtype dtype, plmm_text *out,
                               plmm_error *err)
{
    static const char *const names[] = {"F32", "F16", "BF16"};
    plmm_json_writer w;
    uint64_t at = 0;
    plmm_json_begin(&w, PLMM_JSON_COMPACT, plmm_text_sink, out);
    plmm_json_open_object(&w);
    plmm_json_put_key(&w, "__metadata__");
    plmm_json_open_object(&w);
    plmm_json_put_key(&w, "format");
    plmm_json_put_text(&w, "pt");
    plmm_json_close_object(&w);
    for (size_t i = 0; i < n; i++) {
        const plmm_view *v = &views[i];
        plmm_json_put_key(&w, v->name);
        plmm_json_open_object(&w);
        plmm_json_put_key(&w, "dtype");
        plmm_json_put_text(&w, names[dtype]);
        plmm_json_put_key(&w, "shape");
        plmm_json_open_array(&w);
        if (!is_vector(v)) {
            plmm_json_put_u64(&w, v->rows);
        }
        plmm_json_put_u64(&w, v->cols);
        plmm_json_close_array(&w);
        plmm_json_put_key(&w, "data_offsets");
        plmm_json_open_array(&w);
        plmm_json_put_u64(&w, at);
        at += (uint64_t)v->rows * v->cols * (dtype == PLMM_F32 ? 4 : 2);
        plmm_json_put_u64(&w, at);
        plmm_json_close_array(&w);
        plmm_json_close_object(&w);
    }
    plmm_json_close_object(&w);
    PLMM_TRY(plmm_json_end(&w, err));
    while (out->len % 8 != 0) { /* tensors begin at a multiple of 8 */
        PLMM_TRY(plmm_text_sink(out, " ", 1, err));
    }
    return PLMM_OK;
}

plmm_status plmm_safetensors_write(const char *path, const plmm_view *views, size_t n,
                                   const float *block, plmm_dtype dtype, plmm_error *err)
{
    plmm_text header = {0};
    plmm_file_writer w;
    uint8_t size[8];
    PLMM_ASSERT(dtype != PLMM_DTYPE_OTHER);
    plmm_status rc = header_text(views, n, dtype, &header, err);
    if (rc == PLMM_OK) {
        rc = plmm_file_writer_open(&w, path, PLMM_MODE_PUBLIC, err);
    }
    if (rc == PLMM_OK) {
        plmm_store_le64(size, header.len);
        rc = plmm_file_writer_write(&w, size, sizeof size, err);
        if (rc == PLMM_OK) {
            rc = plmm_file_writer_write(&w, header.text, header.len, err);
        }
        plmm__numbers out = {.file = &w, .dtype = dtype};
        for (size_t i = 0; i < n && rc == PLMM_OK; i++) {
            rc = plmm__numbers_put(&out, views[i].name, block + views[i].offset,
                                   views[i].rows * views[i].cols, err);
        }
        if (rc == PLMM_OK) {
            rc = plmm__numbers_flush(&out, err);
        }
        if (rc == PLMM_OK) {
            rc = plmm_file_writer_commit(&w, err);
        } else {
            plmm_file_writer_abort(&w);
        }
    }
    plmm_text_free(&header);
    return rc;
}
