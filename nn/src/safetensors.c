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

typedef struct shard {
    plmm_map map;
    plmm_json *header; /* owns the names of its tensors */
    char name[PLMM_PATH_MAX];
} shard;

struct plmm_safetensors {
    shard *shards;
    size_t n_shards, shards_cap;
    plmm_st_tensor *tensors;
    size_t n, cap;
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
        plmm_json_free(s->shards[i].header);
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

static plmm_status read_dtype(const plmm_json *node, const char *name, plmm_dtype *dtype,
                              unsigned *bits, plmm_error *err)
{
    const char *text = plmm_json_text(plmm_json_get(node, "dtype"));
    for (size_t i = 0; text != NULL && i < sizeof dtypes / sizeof dtypes[0]; i++) {
        if (strcmp(dtypes[i].name, text) == 0) {
            *dtype = dtypes[i].dtype;
            *bits = dtypes[i].bits;
            return PLMM_OK;
        }
    }
    return plmm_fail(err, PLMM_ERR_FORMAT, "tensor %.100s has dtype %.20s, which is none", name,
                     text != NULL ? text : "(missing)");
}

/* A whole number that a double holds exactly, 0..2^53. */
static bool whole(const plmm_json *node, uint64_t *out)
{
    double v = plmm_json_number(node);
    if (plmm_json_type_of(node) != PLMM_JSON_NUMBER || !(v >= 0) || v > 0x1p53 || v != floor(v)) {
        return false;
    }
    *out = (uint64_t)v;
    return true;
}

static plmm_status read_shape(const plmm_json *node, plmm_st_tensor *t, plmm_error *err)
{
    const plmm_json *shape;
    PLMM_TRY(plmm_json_need_node(node, t->name, "shape", PLMM_JSON_ARRAY, &shape, err));
    t->count = 1;
    for (const plmm_json *d = plmm_json_first(shape); d != NULL; d = plmm_json_next(d)) {
        uint64_t v;
        if (t->dims == PLMM_ST_DIMS_MAX || !whole(d, &v)) {
            return plmm_fail(err, PLMM_ERR_FORMAT,
                             "tensor %.100s has a shape that is not up to %d whole numbers",
                             t->name, (int)PLMM_ST_DIMS_MAX);
        }
        if (v != 0 && t->count > (UINT64_C(1) << 53) / v) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "tensor %.100s has too many elements", t->name);
        }
        t->shape[t->dims++] = v;
        t->count *= v;
    }
    return PLMM_OK;
}

/* data is the part of the file after the header, of len bytes. */
static plmm_status read_tensor(const plmm_json *node, const uint8_t *data, size_t len,
                               plmm_st_tensor *t, plmm_error *err)
{
    unsigned bits = 0;
    uint64_t begin, end;
    *t = (plmm_st_tensor){.name = plmm_json_key(node)};
    if (strlen(t->name) > PLMM_ST_NAME_MAX || t->name[0] == '\0') {
        return plmm_fail(err, PLMM_ERR_FORMAT, "a tensor's name is not 1..%d bytes long",
                         (int)PLMM_ST_NAME_MAX);
    }
    PLMM_TRY(read_dtype(node, t->name, &t->dtype, &bits, err));
    PLMM_TRY(read_shape(node, t, err));
    const plmm_json *offsets = plmm_json_get(node, "data_offsets");
    const plmm_json *first = plmm_json_first(offsets);
    const plmm_json *second = first != NULL ? plmm_json_next(first) : NULL;
    if (second == NULL || plmm_json_next(second) != NULL || !whole(first, &begin) ||
        !whole(second, &end) || begin > end) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "tensor %.100s has data_offsets that are not [begin, end]", t->name);
    }
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

static plmm_status reserve(plmm_safetensors *s, size_t more, plmm_error *err)
{
    if (s->n + more > PLMM_ST_TENSORS_MAX) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "more than %d tensors", (int)PLMM_ST_TENSORS_MAX);
    }
    if (s->tensors == NULL || s->n + more > s->cap) {
        size_t cap = s->n + more; /* a block of its own even for none, so that pointers add up */
        plmm_st_tensor *t = plmm_grow(s->tensors, s->cap, cap, sizeof *t);
        if (t == NULL) {
            return no_memory(err);
        }
        s->tensors = t;
        s->cap = cap;
    }
    return PLMM_OK;
}

/* Adds the tensors of a parsed header. */
static plmm_status add_tensors(plmm_safetensors *s, const plmm_json *header, const uint8_t *data,
                               size_t len, plmm_error *err)
{
    if (plmm_json_type_of(header) != PLMM_JSON_OBJECT) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "the header is no JSON object");
    }
    PLMM_TRY(reserve(s, plmm_json_count(header), err));
    size_t before = s->n;
    for (const plmm_json *v = plmm_json_first(header); v != NULL; v = plmm_json_next(v)) {
        if (strcmp(plmm_json_key(v), "__metadata__") == 0) {
            continue;
        }
        PLMM_TRY(read_tensor(v, data, len, &s->tensors[s->n], err));
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
    PLMM_TRY(plmm_json_parse((const char *)bytes + 8, (size_t)n, "header", NULL, &f->header, err));
    return add_tensors(s, f->header, data, len - 8 - (size_t)n, err);
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
    (void)snprintf(f->name, sizeof f->name, "%s", path);
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

static int by_text(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

/* A shard's name is a plain file name: an index must not lead outside its directory. */
static plmm_status check_shard(const char *name, plmm_error *err)
{
    if (name == NULL || name[0] == '\0' || name[0] == '.' || strchr(name, '/') != NULL) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "weight_map names \"%.80s\", expected a file name",
                         name != NULL ? name : "(no text)");
    }
    return PLMM_OK;
}

static plmm_status open_shards(const char *dir, const plmm_json *index, const char **names,
                               plmm_safetensors **out, plmm_error *err)
{
    const plmm_json *map;
    size_t n = 0, distinct = 0;
    PLMM_TRY(plmm_json_need_node(index, "model.safetensors.index.json", "weight_map",
                                 PLMM_JSON_OBJECT, &map, err));
    for (const plmm_json *v = plmm_json_first(map); v != NULL; v = plmm_json_next(v)) {
        PLMM_TRY(check_shard(plmm_json_text(v), err));
        names[n++] = plmm_json_text(v);
    }
    if (n > 0) {
        qsort(names, n, sizeof *names, by_text);
    }
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || strcmp(names[i], names[i - 1]) != 0) {
            names[distinct++] = names[i];
        }
    }
    if (distinct == 0 || distinct > PLMM_ST_SHARDS_MAX) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "weight_map names %zu files, expected 1..%d",
                         distinct, (int)PLMM_ST_SHARDS_MAX);
    }
    plmm_safetensors *s = new_reader(distinct);
    if (s == NULL) {
        return no_memory(err);
    }
    plmm_status rc = PLMM_OK;
    for (size_t i = 0; i < distinct && rc == PLMM_OK; i++) {
        char path[PLMM_PATH_MAX];
        rc = plmm_path_join(path, sizeof path, dir, names[i], err);
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
    uint8_t *bytes;
    size_t len;
    plmm_json *index = NULL;
    PLMM_TRY(plmm_file_read(path, PLMM_ST_HEADER_MAX, &bytes, &len, err));
    plmm_status rc = plmm_json_parse((const char *)bytes, len, path, NULL, &index, err);
    plmm_free(bytes);
    if (rc != PLMM_OK) {
        return rc;
    }
    size_t n = plmm_json_count(plmm_json_get(index, "weight_map"));
    const char **names = plmm_alloc(n, sizeof *names);
    rc = names == NULL ? no_memory(err) : open_shards(dir, index, names, out, err);
    plmm_free(names);
    plmm_json_free(index);
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

const char *plmm_safetensors_meta(const plmm_safetensors *s, const char *key)
{
    const plmm_json *meta = plmm_json_get(s->shards[0].header, "__metadata__");
    return plmm_json_text(plmm_json_get(meta, key));
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
        return plmm_fail(err, PLMM_ERR_FORMAT, "%s lacks the tensor %s", s->shards[0].name,
                         view->name);
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
