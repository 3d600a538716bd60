/* Looking at nodes, and typed members with errors a human can act on. */
#include "json_internal.h"

#include <cjson/cJSON.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const double exact_max = 9007199254740992.0; /* 2^53 */

plmm_json_type plmm_json_type_of(const plmm_json *node)
{
    switch (node->type & 0xff) {
    case cJSON_True:
    case cJSON_False:
        return PLMM_JSON_BOOL;
    case cJSON_Number:
        return PLMM_JSON_NUMBER;
    case cJSON_String:
        return PLMM_JSON_STRING;
    case cJSON_Array:
        return PLMM_JSON_ARRAY;
    case cJSON_Object:
        return PLMM_JSON_OBJECT;
    default:
        return PLMM_JSON_NULL;
    }
}

const char *plmm_json_key(const plmm_json *node)
{
    return node->string;
}

const char *plmm_json_text(const plmm_json *node)
{
    return cJSON_IsString(node) ? node->valuestring : NULL;
}

double plmm_json_number(const plmm_json *node)
{
    return cJSON_IsNumber(node) ? node->valuedouble : 0;
}

bool plmm_json_true(const plmm_json *node)
{
    return cJSON_IsTrue(node) != 0;
}

const plmm_json *plmm_json_first(const plmm_json *node)
{
    return cJSON_IsArray(node) || cJSON_IsObject(node) ? node->child : NULL;
}

const plmm_json *plmm_json_next(const plmm_json *node)
{
    return node->next;
}

size_t plmm_json_count(const plmm_json *node)
{
    size_t n = 0;
    for (const plmm_json *c = plmm_json_first(node); c != NULL; c = c->next) {
        n++;
    }
    return n;
}

const plmm_json *plmm_json_get(const plmm_json *object, const char *key)
{
    return cJSON_IsObject(object) ? cJSON_GetObjectItemCaseSensitive(object, key) : NULL;
}

void plmm__json_describe(const plmm_json *node, char out[PLMM__DESCRIBE_BYTES])
{
    char real[PLMM_REAL_CHARS];
    switch (plmm_json_type_of(node)) {
    case PLMM_JSON_NULL:
        (void)snprintf(out, PLMM__DESCRIBE_BYTES, "null");
        break;
    case PLMM_JSON_BOOL:
        (void)snprintf(out, PLMM__DESCRIBE_BYTES, "%s", plmm_json_true(node) ? "true" : "false");
        break;
    case PLMM_JSON_NUMBER:
        plmm_real_print(real, node->valuedouble);
        (void)snprintf(out, PLMM__DESCRIBE_BYTES, "%s", real);
        break;
    case PLMM_JSON_STRING: {
        bool cut = strlen(node->valuestring) > 40;
        (void)snprintf(out, PLMM__DESCRIBE_BYTES, "\"%.40s%s\"", node->valuestring,
                       cut ? "..." : "");
        break;
    }
    case PLMM_JSON_ARRAY:
        (void)snprintf(out, PLMM__DESCRIBE_BYTES, "an array of %zu", plmm_json_count(node));
        break;
    case PLMM_JSON_OBJECT:
        (void)snprintf(out, PLMM__DESCRIBE_BYTES, "an object");
        break;
    }
}

bool plmm__json_integer(const plmm_json *node, int64_t *out)
{
    if (!cJSON_IsNumber(node) || !(fabs(node->valuedouble) <= exact_max) ||
        floor(node->valuedouble) != node->valuedouble) {
        return false;
    }
    *out = (int64_t)node->valuedouble;
    return true;
}

/* The member, or NULL with *rc what to return: PLMM_OK for an optional one. */
static const plmm_json *member(const plmm_json *object, const char *where, const char *key,
                               bool needed, const char *expected, plmm_status *rc, plmm_error *err)
{
    *rc = PLMM_OK;
    const plmm_json *node = plmm_json_get(object, key);
    if (node != NULL && (needed || plmm_json_type_of(node) != PLMM_JSON_NULL)) {
        return node;
    }
    if (needed) {
        *rc =
            plmm_fail(err, PLMM_ERR_FORMAT, "%s: %s is missing, expected %s", where, key, expected);
    }
    return NULL;
}

static plmm_status unexpected(plmm_status code, const plmm_json *node, const char *where,
                              const char *key, const char *expected, plmm_error *err)
{
    char found[PLMM__DESCRIBE_BYTES];
    plmm__json_describe(node, found);
    return plmm_fail(err, code, "%s: %s is %s, expected %s", where, key, found, expected);
}

static plmm_status get_int(const plmm_json *object, const char *where, const char *key, bool needed,
                           int64_t min, int64_t max, int64_t *out, plmm_error *err)
{
    char expected[80];
    (void)snprintf(expected, sizeof expected, "an integer in %lld..%lld", (long long)min,
                   (long long)max);
    plmm_status rc;
    const plmm_json *node = member(object, where, key, needed, expected, &rc, err);
    if (node == NULL) {
        return rc;
    }
    int64_t v = 0;
    bool number = plmm_json_type_of(node) == PLMM_JSON_NUMBER;
    if (!plmm__json_integer(node, &v) || v < min || v > max) {
        return unexpected(number ? PLMM_ERR_RANGE : PLMM_ERR_FORMAT, node, where, key, expected,
                          err);
    }
    *out = v;
    return PLMM_OK;
}

static plmm_status get_real(const plmm_json *object, const char *where, const char *key,
                            bool needed, double min, double max, double *out, plmm_error *err)
{
    char lo[PLMM_REAL_CHARS], hi[PLMM_REAL_CHARS], expected[96];
    plmm_real_print(lo, min);
    plmm_real_print(hi, max);
    (void)snprintf(expected, sizeof expected, "a number in %s..%s", lo, hi);
    plmm_status rc;
    const plmm_json *node = member(object, where, key, needed, expected, &rc, err);
    if (node == NULL) {
        return rc;
    }
    if (plmm_json_type_of(node) != PLMM_JSON_NUMBER) {
        return unexpected(PLMM_ERR_FORMAT, node, where, key, expected, err);
    }
    if (!(node->valuedouble >= min && node->valuedouble <= max)) {
        return unexpected(PLMM_ERR_RANGE, node, where, key, expected, err);
    }
    *out = node->valuedouble;
    return PLMM_OK;
}

static plmm_status get_bool(const plmm_json *object, const char *where, const char *key,
                            bool needed, bool *out, plmm_error *err)
{
    plmm_status rc;
    const plmm_json *node = member(object, where, key, needed, "true or false", &rc, err);
    if (node == NULL) {
        return rc;
    }
    if (plmm_json_type_of(node) != PLMM_JSON_BOOL) {
        return unexpected(PLMM_ERR_FORMAT, node, where, key, "true or false", err);
    }
    *out = plmm_json_true(node);
    return PLMM_OK;
}

static plmm_status get_text(const plmm_json *object, const char *where, const char *key,
                            bool needed, size_t max_bytes, const char **out, plmm_error *err)
{
    char expected[64];
    (void)snprintf(expected, sizeof expected, "a string of at most %zu bytes", max_bytes);
    plmm_status rc;
    const plmm_json *node = member(object, where, key, needed, expected, &rc, err);
    if (node == NULL) {
        return rc;
    }
    const char *text = plmm_json_text(node);
    if (text == NULL) {
        return unexpected(PLMM_ERR_FORMAT, node, where, key, expected, err);
    }
    if (strlen(text) > max_bytes) {
        return plmm_fail(err, PLMM_ERR_RANGE, "%s: %s has %zu bytes, expected %s", where, key,
                         strlen(text), expected);
    }
    *out = text;
    return PLMM_OK;
}

static plmm_status get_node(const plmm_json *object, const char *where, const char *key,
                            bool needed, plmm_json_type type, const plmm_json **out,
                            plmm_error *err)
{
    PLMM_ASSERT(type == PLMM_JSON_ARRAY || type == PLMM_JSON_OBJECT);
    const char *expected = type == PLMM_JSON_ARRAY ? "an array" : "an object";
    plmm_status rc;
    const plmm_json *node = member(object, where, key, needed, expected, &rc, err);
    if (node == NULL) {
        return rc;
    }
    if (plmm_json_type_of(node) != type) {
        return unexpected(PLMM_ERR_FORMAT, node, where, key, expected, err);
    }
    *out = node;
    return PLMM_OK;
}

plmm_status plmm_json_need_int(const plmm_json *object, const char *where, const char *key,
                               int64_t min, int64_t max, int64_t *out, plmm_error *err)
{
    return get_int(object, where, key, true, min, max, out, err);
}

plmm_status plmm_json_may_int(const plmm_json *object, const char *where, const char *key,
                              int64_t min, int64_t max, int64_t *out, plmm_error *err)
{
    return get_int(object, where, key, false, min, max, out, err);
}

plmm_status plmm_json_need_u32(const plmm_json *object, const char *where, const char *key,
                               uint32_t min, uint32_t max, uint32_t *out, plmm_error *err)
{
    int64_t v = *out;
    PLMM_TRY(get_int(object, where, key, true, min, max, &v, err));
    *out = (uint32_t)v;
    return PLMM_OK;
}

plmm_status plmm_json_may_u32(const plmm_json *object, const char *where, const char *key,
                              uint32_t min, uint32_t max, uint32_t *out, plmm_error *err)
{
    int64_t v = *out;
    PLMM_TRY(get_int(object, where, key, false, min, max, &v, err));
    *out = (uint32_t)v;
    return PLMM_OK;
}

plmm_status plmm_json_need_real(const plmm_json *object, const char *where, const char *key,
                                double min, double max, double *out, plmm_error *err)
{
    return get_real(object, where, key, true, min, max, out, err);
}

plmm_status plmm_json_may_real(const plmm_json *object, const char *where, const char *key,
                               double min, double max, double *out, plmm_error *err)
{
    return get_real(object, where, key, false, min, max, out, err);
}

plmm_status plmm_json_need_bool(const plmm_json *object, const char *where, const char *key,
                                bool *out, plmm_error *err)
{
    return get_bool(object, where, key, true, out, err);
}

plmm_status plmm_json_may_bool(const plmm_json *object, const char *where, const char *key,
                               bool *out, plmm_error *err)
{
    return get_bool(object, where, key, false, out, err);
}

plmm_status plmm_json_need_text(const plmm_json *object, const char *where, const char *key,
                                size_t max_bytes, const char **out, plmm_error *err)
{
    return get_text(object, where, key, true, max_bytes, out, err);
}

plmm_status plmm_json_may_text(const plmm_json *object, const char *where, const char *key,
                               size_t max_bytes, const char **out, plmm_error *err)
{
    return get_text(object, where, key, false, max_bytes, out, err);
}

plmm_status plmm_json_need_node(const plmm_json *object, const char *where, const char *key,
                                plmm_json_type type, const plmm_json **out, plmm_error *err)
{
    return get_node(object, where, key, true, type, out, err);
}

plmm_status plmm_json_may_node(const plmm_json *object, const char *where, const char *key,
                               plmm_json_type type, const plmm_json **out, plmm_error *err)
{
    return get_node(object, where, key, false, type, out, err);
}
