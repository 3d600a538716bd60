/* Reader of GGUF. Nothing in the file is believed before it is checked. */
#include "plmm/gguf.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plmm/alloc.h"
#include "plmm/bytes.h"

enum { HEADER = 24, ALIGN_DEFAULT = 32, ALIGN_MAX = 1 << 20 };

struct plmm_gguf {
    plmm_gguf_value *values;
    plmm_gguf_tensor *tensors;
    uint32_t *keys, *names; /* indices of both in order of their texts */
    size_t n_values, n_tensors;
};

/* What is left of the file. */
typedef struct cursor {
    const uint8_t *p, *end;
} cursor;

static plmm_status cut(const cursor *c, plmm_error *err)
{
    (void)c;
    return plmm_fail(err, PLMM_ERR_FORMAT, "the file ends inside its header: it is truncated");
}

static uint64_t left(const cursor *c)
{
    return (uint64_t)(c->end - c->p);
}

static plmm_status take_u32(cursor *c, uint32_t *out, plmm_error *err)
{
    if (left(c) < 4) {
        return cut(c, err);
    }
    *out = plmm_load_le32(c->p);
    c->p += 4;
    return PLMM_OK;
}

static plmm_status take_u64(cursor *c, uint64_t *out, plmm_error *err)
{
    if (left(c) < 8) {
        return cut(c, err);
    }
    *out = plmm_load_le64(c->p);
    c->p += 8;
    return PLMM_OK;
}

static plmm_status take_text(cursor *c, const char **text, uint64_t *len, plmm_error *err)
{
    PLMM_TRY(take_u64(c, len, err));
    if (*len > left(c)) {
        return cut(c, err);
    }
    *text = (const char *)c->p;
    c->p += *len;
    return PLMM_OK;
}

/* --- keys --- */

/* Bytes of a scalar; 0 for texts, arrays and what is no type. */
static size_t kind_size(uint32_t kind)
{
    static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return kind < sizeof sizes ? sizes[kind] : 0;
}

static plmm_status take_array(cursor *c, plmm_gguf_value *v, plmm_error *err)
{
    uint32_t item;
    PLMM_TRY(take_u32(c, &item, err));
    PLMM_TRY(take_u64(c, &v->count, err));
    v->data = c->p;
    v->item = (plmm_gguf_kind)item;
    if (item == PLMM_GGUF_TEXT) {
        for (uint64_t i = 0; i < v->count; i++) {
            const char *text;
            uint64_t len;
            PLMM_TRY(take_text(c, &text, &len, err));
        }
        return PLMM_OK;
    }
    size_t size = kind_size(item);
    if (size == 0) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "key %.*s is an array of type %u, which is none",
                         (int)(v->key_len < 80 ? v->key_len : 80), v->key, item);
    }
    if (v->count > left(c) / size) {
        return cut(c, err);
    }
    c->p += v->count * size;
    return PLMM_OK;
}

static plmm_status take_value(cursor *c, plmm_gguf_value *v, plmm_error *err)
{
    uint64_t len;
    uint32_t kind;
    PLMM_TRY(take_text(c, &v->key, &len, err));
    v->key_len = (size_t)len;
    if (len == 0 || len > UINT16_MAX) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "a key has %" PRIu64 " bytes, expected 1..65535",
                         len);
    }
    PLMM_TRY(take_u32(c, &kind, err));
    v->kind = (plmm_gguf_kind)kind;
    v->count = 1;
    if (kind == PLMM_GGUF_ARRAY) {
        return take_array(c, v, err);
    }
    if (kind == PLMM_GGUF_TEXT) {
        const char *text;
        PLMM_TRY(take_text(c, &text, &v->count, err));
        v->data = (const uint8_t *)text;
        return PLMM_OK;
    }
    size_t size = kind_size(kind);
    if (size == 0) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "key %.*s has type %u, which is none",
                         (int)(len < 80 ? len : 80), v->key, kind);
    }
    if (left(c) < size) {
        return cut(c, err);
    }
    v->data = c->p;
    c->p += size;
    return PLMM_OK;
}

/* --- tensors --- */

static plmm_status take_shape(cursor *c, plmm_gguf_tensor *t, plmm_error *err)
{
    PLMM_TRY(take_u32(c, &t->dims, err));
    if (t->dims < 1 || t->dims > PLMM_GGUF_DIMS_MAX) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "tensor %s has %u dimensions, expected 1..%d",
                         t->name, t->dims, (int)PLMM_GGUF_DIMS_MAX);
    }
    t->count = 1;
    for (size_t i = 0; i < PLMM_GGUF_DIMS_MAX; i++) {
        t->shape[i] = 1;
        if (i < t->dims) {
            PLMM_TRY(take_u64(c, &t->shape[i], err));
        }
        if (t->shape[i] == 0 || t->count > (UINT64_C(1) << 53) / t->shape[i]) {
            return plmm_fail(err, PLMM_ERR_FORMAT,
                             "tensor %s has a dimension of %" PRIu64 ", which makes none or too "
                             "many weights",
                             t->name, t->shape[i]);
        }
        t->count *= t->shape[i];
    }
    return PLMM_OK;
}

static plmm_status take_type(cursor *c, plmm_gguf_tensor *t, plmm_error *err)
{
    uint32_t type;
    size_t bytes = 1;
    PLMM_TRY(take_u32(c, &type, err));
    t->type = (plmm_gguf_type)type;
    if (plmm_gguf_type_name(t->type) == NULL) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                         "tensor %s has ggml type %u, which is not supported, only f32, f16, bf16, "
                         "q8_0, q4_0, q4_K and q6_K are",
                         t->name, type);
    }
    size_t weights = plmm_gguf_block(t->type, &bytes);
    if (t->shape[0] % weights != 0) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "tensor %s has rows of %" PRIu64 " weights, which blocks of %zu do not "
                         "divide",
                         t->name, t->shape[0], weights);
    }
    t->bytes = t->count / weights * bytes;
    return PLMM_OK;
}

static plmm_status take_tensor(cursor *c, plmm_gguf_tensor *t, uint64_t *offset, plmm_error *err)
{
    const char *name;
    uint64_t len;
    PLMM_TRY(take_text(c, &name, &len, err));
    if (len == 0 || len > PLMM_GGUF_NAME_MAX || memchr(name, '\0', (size_t)len) != NULL) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "a tensor's name is not a text of 1..%d bytes",
                         (int)PLMM_GGUF_NAME_MAX);
    }
    memcpy(t->name, name, (size_t)len);
    PLMM_TRY(take_shape(c, t, err));
    PLMM_TRY(take_type(c, t, err));
    return take_u64(c, offset, err);
}

/* --- the whole --- */

static int compare(const void *a, size_t na, const void *b, size_t nb)
{
    int order = memcmp(a, b, na < nb ? na : nb);
    return order != 0 ? order : (na > nb) - (na < nb);
}

static int compare_values(const plmm_gguf *g, uint32_t a, uint32_t b)
{
    const plmm_gguf_value *x = &g->values[a], *y = &g->values[b];
    return compare(x->key, x->key_len, y->key, y->key_len);
}

static int compare_tensors(const plmm_gguf *g, uint32_t a, uint32_t b)
{
    return strcmp(g->tensors[a].name, g->tensors[b].name);
}

typedef int (*order_fn)(const plmm_gguf *g, uint32_t a, uint32_t b);

/* Heap sort: no recursion, no memory, n log n for any input. */
static void sift(const plmm_gguf *g, order_fn order, uint32_t *v, size_t at, size_t n)
{
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        child += child + 1 < n && order(g, v[child], v[child + 1]) < 0;
        if (order(g, v[at], v[child]) >= 0) {
            return;
        }
        uint32_t x = v[at];
        v[at] = v[child];
        v[child] = x;
    }
}

static void sort(const plmm_gguf *g, order_fn order, uint32_t *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        v[i] = (uint32_t)i;
    }
    for (size_t i = n / 2; i-- > 0;) {
        sift(g, order, v, i, n);
    }
    for (size_t i = n; i-- > 1;) {
        uint32_t x = v[0];
        v[0] = v[i];
        v[i] = x;
        sift(g, order, v, 0, i);
    }
}

static plmm_status check_distinct(const plmm_gguf *g, plmm_error *err)
{
    for (size_t i = 1; i < g->n_values; i++) {
        if (compare_values(g, g->keys[i - 1], g->keys[i]) == 0) {
            const plmm_gguf_value *v = &g->values[g->keys[i]];
            return plmm_fail(err, PLMM_ERR_FORMAT, "key %.*s is there twice",
                             (int)(v->key_len < 80 ? v->key_len : 80), v->key);
        }
    }
    for (size_t i = 1; i < g->n_tensors; i++) {
        if (compare_tensors(g, g->names[i - 1], g->names[i]) == 0) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "tensor %s is there twice",
                             g->tensors[g->names[i]].name);
        }
    }
    return PLMM_OK;
}

static plmm_status take_keys(plmm_gguf *g, cursor *c, plmm_error *err)
{
    for (size_t i = 0; i < g->n_values; i++) {
        PLMM_TRY(take_value(c, &g->values[i], err));
    }
    sort(g, compare_values, g->keys, g->n_values);
    return PLMM_OK;
}

/* Headers of the tensors and, after them, their data, one after the other. */
static plmm_status take_tensors(plmm_gguf *g, cursor *c, const uint8_t *begin, plmm_error *err)
{
    uint32_t align = ALIGN_DEFAULT;
    uint64_t offset, expected = 0;
    PLMM_TRY(plmm_gguf_may_u32(g, "general.alignment", 1, ALIGN_MAX, &align, err));
    if ((align & (align - 1)) != 0) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "general.alignment %u is no power of two", align);
    }
    for (size_t i = 0; i < g->n_tensors; i++) {
        plmm_gguf_tensor *t = &g->tensors[i];
        PLMM_TRY(take_tensor(c, t, &offset, err));
        if (offset != expected) {
            return plmm_fail(err, PLMM_ERR_FORMAT,
                             "tensor %s begins at byte %" PRIu64 " of the data, expected %" PRIu64
                             ": tensors must neither overlap nor leave gaps",
                             t->name, offset, expected);
        }
        if (t->bytes > (UINT64_C(1) << 60) - expected) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "tensor %s goes beyond all files", t->name);
        }
        expected = (expected + t->bytes + align - 1) & ~(uint64_t)(align - 1);
    }
    uint64_t head = (uint64_t)(c->p - begin), at = (head + align - 1) & ~(uint64_t)(align - 1);
    uint64_t len = (uint64_t)(c->end - begin), data = len > at ? len - at : 0;
    for (size_t i = 0, begin_of = 0; i < g->n_tensors; i++) {
        plmm_gguf_tensor *t = &g->tensors[i];
        if (t->bytes > data || begin_of > data - t->bytes) {
            return plmm_fail(err, PLMM_ERR_FORMAT,
                             "tensor %s ends beyond the file's %" PRIu64 " bytes: it is truncated",
                             t->name, len);
        }
        t->data = begin + at + begin_of;
        begin_of = (size_t)((begin_of + t->bytes + align - 1) & ~(uint64_t)(align - 1));
    }
    if (data > expected) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "the tensors end at byte %" PRIu64 " of the data, the file goes on to "
                         "%" PRIu64,
                         expected, data);
    }
    return PLMM_OK;
}

static plmm_status take_counts(plmm_gguf *g, cursor *c, plmm_error *err)
{
    if (left(c) < HEADER || memcmp(c->p, "GGUF", 4) != 0) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "it does not begin like a GGUF file");
    }
    uint32_t version = plmm_load_le32(c->p + 4);
    if (version != 2 && version != 3) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                         "GGUF version %u is not supported, only 2 and 3 (little-endian) are",
                         version);
    }
    uint64_t tensors = plmm_load_le64(c->p + 8), keys = plmm_load_le64(c->p + 16);
    c->p += HEADER;
    if (tensors > PLMM_GGUF_TENSORS_MAX || keys > PLMM_GGUF_KEYS_MAX) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "the header announces %" PRIu64 " keys and %" PRIu64
                         " tensors, at most %d and %d are read",
                         keys, tensors, (int)PLMM_GGUF_KEYS_MAX, (int)PLMM_GGUF_TENSORS_MAX);
    }
    if (keys * 13 + tensors * 33 > left(c)) { /* the shortest ones */
        return cut(c, err);
    }
    g->n_tensors = (size_t)tensors;
    g->n_values = (size_t)keys;
    g->values = plmm_alloc(g->n_values, sizeof *g->values);
    g->tensors = plmm_alloc(g->n_tensors, sizeof *g->tensors);
    g->keys = plmm_alloc(g->n_values, sizeof *g->keys);
    g->names = plmm_alloc(g->n_tensors, sizeof *g->names);
    return g->values != NULL && g->tensors != NULL && g->keys != NULL && g->names != NULL
               ? PLMM_OK
               : plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for its header");
}

static plmm_status parse(plmm_gguf *g, const uint8_t *bytes, size_t len, plmm_error *err)
{
    cursor c = {bytes, bytes + len};
    PLMM_TRY(take_counts(g, &c, err));
    PLMM_TRY(take_keys(g, &c, err));
    PLMM_TRY(take_tensors(g, &c, bytes, err));
    sort(g, compare_tensors, g->names, g->n_tensors);
    return check_distinct(g, err);
}

plmm_status plmm_gguf_parse(const uint8_t *bytes, size_t len, const char *name, plmm_gguf **out,
                            plmm_error *err)
{
    plmm_gguf *g = plmm_alloc(1, sizeof *g);
    plmm_status rc = g == NULL ? plmm_fail(err, PLMM_ERR_NOMEM, "out of memory")
                     : len < HEADER
                         ? plmm_fail(err, PLMM_ERR_FORMAT, "%zu bytes hold no header", len)
                         : parse(g, bytes, len, err);
    if (rc != PLMM_OK) {
        plmm_gguf_close(g);
        return plmm_fail_in(err, rc, "cannot read %s", name);
    }
    *out = g;
    return PLMM_OK;
}

void plmm_gguf_close(plmm_gguf *g)
{
    if (g != NULL) {
        plmm_free(g->values);
        plmm_free(g->tensors);
        plmm_free(g->keys);
        plmm_free(g->names);
        plmm_free(g);
    }
}

bool plmm_gguf_is(const uint8_t *bytes, size_t len)
{
    return len >= 4 && memcmp(bytes, "GGUF", 4) == 0;
}

/* --- looking --- */

const plmm_gguf_value *plmm_gguf_values(const plmm_gguf *g, size_t *count)
{
    *count = g->n_values;
    return g->values;
}

const plmm_gguf_tensor *plmm_gguf_tensors(const plmm_gguf *g, size_t *count)
{
    *count = g->n_tensors;
    return g->tensors;
}

const plmm_gguf_value *plmm_gguf_find(const plmm_gguf *g, const char *key)
{
    size_t low = 0, high = g->n_values, len = strlen(key);
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const plmm_gguf_value *v = &g->values[g->keys[mid]];
        int order = compare(key, len, v->key, v->key_len);
        if (order == 0) {
            return v;
        }
        *(order < 0 ? &high : &low) = order < 0 ? mid : mid + 1;
    }
    return NULL;
}

const plmm_gguf_tensor *plmm_gguf_tensor_of(const plmm_gguf *g, const char *name)
{
    size_t low = 0, high = g->n_tensors;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const plmm_gguf_tensor *t = &g->tensors[g->names[mid]];
        int order = strcmp(name, t->name);
        if (order == 0) {
            return t;
        }
        *(order < 0 ? &high : &low) = order < 0 ? mid : mid + 1;
    }
    return NULL;
}

/* --- values --- */

static double real_of(plmm_gguf_kind kind, const uint8_t *p)
{
    float f;
    double d;
    uint32_t u = kind_size(kind) >= 4 ? plmm_load_le32(p) : 0;
    uint64_t w = kind_size(kind) == 8 ? plmm_load_le64(p) : 0;
    switch (kind) {
    case PLMM_GGUF_U8:
        return p[0];
    case PLMM_GGUF_BOOL:
        return p[0] != 0;
    case PLMM_GGUF_I8:
        return (int8_t)p[0];
    case PLMM_GGUF_U16:
        return plmm_load_le16(p);
    case PLMM_GGUF_I16:
        return (int16_t)plmm_load_le16(p);
    case PLMM_GGUF_U32:
        return u;
    case PLMM_GGUF_I32:
        return (int32_t)u;
    case PLMM_GGUF_F32:
        memcpy(&f, &u, sizeof f);
        return (double)f;
    case PLMM_GGUF_U64:
        return (double)w;
    case PLMM_GGUF_I64:
        return (double)(int64_t)w;
    case PLMM_GGUF_F64:
        memcpy(&d, &w, sizeof d);
        return d;
    case PLMM_GGUF_TEXT:
    case PLMM_GGUF_ARRAY:
        break;
    }
    return 0;
}

double plmm_gguf_number(const plmm_gguf_value *v, uint64_t i)
{
    plmm_gguf_kind kind = v->kind == PLMM_GGUF_ARRAY ? v->item : v->kind;
    PLMM_ASSERT(i < v->count);
    return kind_size(kind) == 0 ? 0 : real_of(kind, v->data + i * kind_size(kind));
}

static bool is_integer(plmm_gguf_kind k)
{
    return kind_size(k) != 0 && k != PLMM_GGUF_F32 && k != PLMM_GGUF_F64 && k != PLMM_GGUF_BOOL;
}

plmm_status plmm_gguf_may_u32(const plmm_gguf *g, const char *key, uint32_t min, uint32_t max,
                              uint32_t *out, plmm_error *err)
{
    const plmm_gguf_value *v = plmm_gguf_find(g, key);
    if (v == NULL) {
        return PLMM_OK;
    }
    if (!is_integer(v->kind)) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%s is no integer", key);
    }
    double x = plmm_gguf_number(v, 0);
    if (x < min || x > max) {
        return plmm_fail(err, PLMM_ERR_RANGE, "%s is %.0f, expected %u..%u", key, x, min, max);
    }
    *out = (uint32_t)x;
    return PLMM_OK;
}

plmm_status plmm_gguf_may_real(const plmm_gguf *g, const char *key, double min, double max,
                               double *out, plmm_error *err)
{
    const plmm_gguf_value *v = plmm_gguf_find(g, key);
    if (v == NULL) {
        return PLMM_OK;
    }
    if (kind_size(v->kind) == 0 || v->kind == PLMM_GGUF_BOOL) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%s is no number", key);
    }
    double x = plmm_gguf_number(v, 0);
    if (!(x >= min && x <= max)) {
        return plmm_fail(err, PLMM_ERR_RANGE, "%s is %g, expected %g..%g", key, x, min, max);
    }
    *out = x;
    return PLMM_OK;
}

plmm_status plmm_gguf_may_bool(const plmm_gguf *g, const char *key, bool *out, plmm_error *err)
{
    const plmm_gguf_value *v = plmm_gguf_find(g, key);
    if (v != NULL && v->kind != PLMM_GGUF_BOOL) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%s is neither true nor false", key);
    }
    *out = v != NULL ? v->data[0] != 0 : *out;
    return PLMM_OK;
}

static plmm_status must_be(const plmm_gguf *g, const char *key, plmm_error *err)
{
    return plmm_gguf_find(g, key) != NULL
               ? PLMM_OK
               : plmm_fail(err, PLMM_ERR_FORMAT, "the key %s is missing", key);
}

plmm_status plmm_gguf_need_u32(const plmm_gguf *g, const char *key, uint32_t min, uint32_t max,
                               uint32_t *out, plmm_error *err)
{
    PLMM_TRY(must_be(g, key, err));
    return plmm_gguf_may_u32(g, key, min, max, out, err);
}

plmm_status plmm_gguf_need_real(const plmm_gguf *g, const char *key, double min, double max,
                                double *out, plmm_error *err)
{
    PLMM_TRY(must_be(g, key, err));
    return plmm_gguf_may_real(g, key, min, max, out, err);
}

bool plmm_gguf_text_is(const plmm_gguf_value *v, const char *text)
{
    return v != NULL && v->kind == PLMM_GGUF_TEXT &&
           compare(text, strlen(text), v->data, (size_t)v->count) == 0;
}

plmm_gguf_texts plmm_gguf_texts_of(const plmm_gguf_value *v)
{
    bool texts = v != NULL && v->kind == PLMM_GGUF_ARRAY && v->item == PLMM_GGUF_TEXT;
    return (plmm_gguf_texts){.at = texts ? v->data : NULL, .left = texts ? v->count : 0};
}

bool plmm_gguf_texts_next(plmm_gguf_texts *t)
{
    if (t->left == 0) {
        return false;
    }
    t->len = (size_t)plmm_load_le64(t->at);
    t->text = (const char *)t->at + 8;
    t->at += 8 + t->len;
    t->left--;
    return true;
}
