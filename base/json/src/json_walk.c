/* Walking a checked text. Nothing is validated again: ends are found by quotes and brackets. */
#include "plmm/json_walk.h"

#include <string.h>

#include "json_internal.h"

plmm_status plmm_json_check(const char *text, size_t len, const char *source,
                            const plmm_json_limits *limits, plmm_json_slice *root, plmm_error *err)
{
    plmm__scan s = {
        .begin = text, .p = text, .end = text + len, .limits = plmm__json_limits(limits)};
    s.source = source;
    if (limits == NULL || limits->nodes == 0) {
        s.limits.nodes = SIZE_MAX;
    }
    if (len > s.limits.bytes) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%s: has %zu bytes, at most %zu are read", source,
                         len, s.limits.bytes);
    }
    s.p += len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    plmm__scan_space(&s);
    const char *at = s.p;
    PLMM_TRY(plmm__scan_value(&s, err));
    *root = (plmm_json_slice){at, (size_t)(s.p - at)};
    plmm__scan_space(&s);
    return s.p == s.end ? PLMM_OK : plmm__scan_fail(&s, err, "expected the end of the text");
}

plmm_json_type plmm_json_slice_type(plmm_json_slice v)
{
    switch (v.len == 0 ? 'n' : v.at[0]) {
    case '{':
        return PLMM_JSON_OBJECT;
    case '[':
        return PLMM_JSON_ARRAY;
    case '"':
        return PLMM_JSON_STRING;
    case 't':
    case 'f':
        return PLMM_JSON_BOOL;
    case 'n':
        return PLMM_JSON_NULL;
    default:
        return PLMM_JSON_NUMBER;
    }
}

bool plmm_json_slice_true(plmm_json_slice v)
{
    return v.len > 0 && v.at[0] == 't';
}

/* ---- ends ---- */

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r')) {
        p++;
    }
    return p;
}

static const char *skip_string(const char *p, const char *end)
{
    for (p++; p < end && *p != '"'; p++) {
        p += *p == '\\';
    }
    return p < end ? p + 1 : end;
}

static const char *skip_value(const char *p, const char *end)
{
    size_t depth = 0;
    do {
        char c = p < end ? *p : ']';
        if (c == '"') {
            p = skip_string(p, end);
        } else if (c == '{' || c == '[') {
            depth++;
            p++;
        } else if (c == '}' || c == ']') {
            depth -= depth > 0;
            p += p < end;
        } else if (depth > 0) {
            p++;
        } else {
            while (p < end && strchr(",]} \n\t\r", *p) == NULL) {
                p++;
            }
        }
    } while (depth > 0 && p < end);
    return p;
}

/* ---- walking ---- */

void plmm_json_walk_init(plmm_json_walk *w, plmm_json_slice container)
{
    plmm_json_type type = plmm_json_slice_type(container);
    *w = (plmm_json_walk){0};
    if (type == PLMM_JSON_OBJECT || type == PLMM_JSON_ARRAY) {
        w->at = container.at;
        w->end = container.at + container.len - 1; /* the bracket that closes it */
    }
}

/* Each call begins at the opening bracket, a comma or the end. */
bool plmm_json_walk_next(plmm_json_walk *w)
{
    if (w->at == w->end) {
        return false;
    }
    bool object = *w->end == '}';
    const char *p = skip_space(w->at + 1, w->end);
    if (p == w->end) {
        w->at = w->end;
        return false;
    }
    if (object) {
        w->key = (plmm_json_slice){p, 0};
        p = skip_string(p, w->end);
        w->key.len = (size_t)(p - w->key.at);
        p = skip_space(p, w->end);
        p = skip_space(p < w->end ? p + 1 : p, w->end);
    }
    w->value.at = p;
    p = skip_value(p, w->end);
    w->value.len = (size_t)(p - w->value.at);
    w->at = skip_space(p, w->end);
    return true;
}

size_t plmm_json_slice_count(plmm_json_slice container)
{
    size_t n = 0;
    plmm_json_walk w;
    plmm_json_walk_init(&w, container);
    while (plmm_json_walk_next(&w)) {
        n++;
    }
    return n;
}

plmm_json_slice plmm_json_slice_get(plmm_json_slice object, const char *key)
{
    plmm_json_walk w;
    if (plmm_json_slice_type(object) == PLMM_JSON_OBJECT) {
        plmm_json_walk_init(&w, object);
        while (plmm_json_walk_next(&w)) {
            if (plmm_json_slice_is(w.key, key)) {
                return w.value;
            }
        }
    }
    return (plmm_json_slice){0};
}

/* ---- scalars ---- */

static uint32_t hex4(const char *p)
{
    uint32_t v = 0;
    for (size_t i = 0; i < 4; i++) {
        uint32_t c = (uint8_t)p[i];
        v = v * 16 + (c <= '9' ? c - '0' : (c | 0x20u) - 'a' + 10);
    }
    return v;
}

static size_t put_utf8(uint32_t c, char out[4])
{
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--) {
        out[i] = (char)(uint8_t)(0x80u | (c & 0x3fu));
        c >>= 6;
    }
    out[0] = (char)(uint8_t)(n == 1 ? c : (0xf00u >> n & 0xffu) | c);
    return n;
}

/* One character of a string, escaped or not, to out; returns its bytes and moves *p. */
static size_t take(const char **p, char out[4])
{
    static const char plain[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const char *s = *p;
    if (s[0] != '\\') {
        out[0] = s[0];
        *p += 1;
        return 1;
    }
    if (s[1] != 'u') {
        const char *which = strchr(plain, s[1]);
        out[0] = which != NULL ? meant[which - plain] : s[1];
        *p += 2;
        return 1;
    }
    uint32_t c = hex4(s + 2);
    *p += 6;
    if (c >= 0xd800 && c < 0xdc00) { /* the other half follows: checked */
        c = 0x10000 + ((c - 0xd800) << 10) + (hex4(s + 8) - 0xdc00);
        *p += 6;
    }
    return put_utf8(c, out);
}

size_t plmm_json_slice_text(plmm_json_slice v, char *buf, size_t cap)
{
    if (plmm_json_slice_type(v) != PLMM_JSON_STRING) {
        return SIZE_MAX;
    }
    size_t n = 0;
    for (const char *p = v.at + 1, *end = v.at + v.len - 1; p < end;) {
        char c[4];
        size_t k = take(&p, c);
        if (n + k >= cap) {
            return SIZE_MAX;
        }
        memcpy(buf + n, c, k);
        n += k;
    }
    if (n >= cap) {
        return SIZE_MAX;
    }
    buf[n] = '\0';
    return n;
}

bool plmm_json_slice_is(plmm_json_slice v, const char *text)
{
    if (plmm_json_slice_type(v) != PLMM_JSON_STRING) {
        return false;
    }
    const char *p = v.at + 1, *end = v.at + v.len - 1;
    while (p < end) {
        char c[4];
        size_t k = take(&p, c);
        if (strncmp(text, c, k) != 0) {
            return false;
        }
        text += k;
    }
    return *text == '\0';
}

bool plmm_json_slice_whole(plmm_json_slice v, uint64_t max, uint64_t *out)
{
    uint64_t n = 0;
    if (plmm_json_slice_type(v) != PLMM_JSON_NUMBER || v.len > 16) {
        return false;
    }
    for (size_t i = 0; i < v.len; i++) {
        if (v.at[i] < '0' || v.at[i] > '9') {
            return false;
        }
        n = n * 10 + (uint64_t)(v.at[i] - '0');
    }
    *out = n;
    return n <= max;
}

plmm_status plmm_json_slice_tree(plmm_json_slice v, const char *source, size_t nodes,
                                 plmm_json **root, plmm_error *err)
{
    plmm_json_limits limits = {.bytes = (size_t)1 << 20, .nodes = nodes};
    return v.len == 0 ? plmm_json_parse("null", 4, source, &limits, root, err)
                      : plmm_json_parse(v.at, v.len, source, &limits, root, err);
}
