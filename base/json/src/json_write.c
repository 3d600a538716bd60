/* The streaming writer, and numbers as text without a locale. */
#include "json_internal.h"

#include "plmm/alloc.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void plmm_real_print(char out[PLMM_REAL_CHARS], double v)
{
    PLMM_ASSERT(isfinite(v));
    for (int digits = 15; digits <= 17; digits++) { /* 17 always suffice for a double */
        (void)snprintf(out, PLMM_REAL_CHARS, "%.*g", digits, v);
        if (strtod(out, NULL) == v) {
            break;
        }
    }
    char *comma = strstr(out, localeconv()->decimal_point);
    if (comma != NULL) {
        *comma = '.';
    }
}

plmm_status plmm_real_parse(const char *text, double *out, plmm_error *err)
{
    char copy[PLMM_JSON_NUMBER_BYTES + 1];
    size_t len = strlen(text);
    if (!plmm__is_number(text, len)) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "\"%.40s\" is not a number", text);
    }
    memcpy(copy, text, len + 1);
    char *point = strchr(copy, '.');
    if (point != NULL) {
        *point = localeconv()->decimal_point[0];
    }
    double v = strtod(copy, NULL);
    if (!isfinite(v)) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%s is too large", text);
    }
    *out = v;
    return PLMM_OK;
}

plmm_status plmm_text_sink(void *text, const char *bytes, size_t len, plmm_error *err)
{
    plmm_text *t = text;
    if (t->cap - t->len <= len) {
        size_t cap = t->cap * 2 > t->len + len + 1 ? t->cap * 2 : t->len + len + 1;
        char *grown = plmm_grow(t->text, t->cap, cap, 1);
        if (grown == NULL) {
            return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for %zu bytes of text", cap);
        }
        t->text = grown;
        t->cap = cap;
    }
    memcpy(t->text + t->len, bytes, len);
    t->len += len;
    t->text[t->len] = '\0';
    return PLMM_OK;
}

void plmm_text_free(plmm_text *t)
{
    plmm_free(t->text);
    *t = (plmm_text){0};
}

static void flush(plmm_json_writer *w)
{
    if (w->status == PLMM_OK && w->used > 0) {
        w->status = w->sink(w->ctx, w->buf, w->used, &w->err);
    }
    w->used = 0;
}

static void put(plmm_json_writer *w, const char *bytes, size_t len)
{
    while (len > 0 && w->status == PLMM_OK) {
        size_t room = sizeof w->buf - w->used;
        size_t n = len < room ? len : room;
        memcpy(w->buf + w->used, bytes, n);
        w->used += n;
        bytes += n;
        len -= n;
        if (w->used == sizeof w->buf) {
            flush(w);
        }
    }
}

static void puts_(plmm_json_writer *w, const char *s)
{
    put(w, s, strlen(s));
}

static void indent(plmm_json_writer *w)
{
    if (w->style == PLMM_JSON_PRETTY) {
        puts_(w, "\n");
        for (uint32_t i = 0; i < w->depth; i++) {
            puts_(w, "  ");
        }
    }
}

/* What must stand before an element or a key. */
static void separate(plmm_json_writer *w)
{
    if (w->some[w->depth]) {
        puts_(w, w->depth == 0 ? "\n" : ",");
    }
    w->some[w->depth] = true;
    if (w->depth > 0) {
        indent(w);
    }
}

static void before_value(plmm_json_writer *w)
{
    if (w->depth > 0 && w->open[w->depth - 1] == '{') {
        PLMM_ASSERT(w->keyed);
        w->keyed = false;
    } else if (w->depth > 0 || w->style != PLMM_JSON_LINES) {
        separate(w);
    }
}

static void after_value(plmm_json_writer *w)
{
    if (w->depth == 0 && w->style == PLMM_JSON_LINES) {
        puts_(w, "\n");
    }
}

static void scalar(plmm_json_writer *w, const char *text)
{
    before_value(w);
    puts_(w, text);
    after_value(w);
}

void plmm_json_begin(plmm_json_writer *w, plmm_json_style style, plmm_json_sink sink, void *ctx)
{
    *w = (plmm_json_writer){.sink = sink, .ctx = ctx, .style = style};
}

static void open_(plmm_json_writer *w, char c)
{
    before_value(w);
    PLMM_ASSERT(w->depth < PLMM_JSON_WRITE_DEPTH);
    put(w, &c, 1);
    w->open[w->depth++] = c;
    w->some[w->depth] = false;
}

static void close_(plmm_json_writer *w, char opened, const char *c)
{
    PLMM_ASSERT(w->depth > 0 && w->open[w->depth - 1] == opened && !w->keyed);
    bool some = w->some[w->depth];
    w->depth--;
    if (some) {
        indent(w);
    }
    puts_(w, c);
    after_value(w);
}

void plmm_json_open_object(plmm_json_writer *w)
{
    open_(w, '{');
}

void plmm_json_close_object(plmm_json_writer *w)
{
    close_(w, '{', "}");
}

void plmm_json_open_array(plmm_json_writer *w)
{
    open_(w, '[');
}

void plmm_json_close_array(plmm_json_writer *w)
{
    close_(w, '[', "]");
}

static void put_char(plmm_json_writer *w, const char *p, size_t n)
{
    static const char *const hex = "0123456789abcdef";
    const char *at = strchr("\bb\ff\nn\rr\tt", *p);
    char escape[7] = {'\\', 'u', '0', '0', 0, 0, 0};
    if (*p == '"' || *p == '\\') {
        put(w, (const char[]){'\\', *p}, 2);
    } else if ((uint8_t)*p >= 0x20) {
        put(w, p, n);
    } else if (*p != '\0' && at != NULL) {
        put(w, (const char[]){'\\', at[1]}, 2);
    } else {
        escape[4] = hex[(uint8_t)*p >> 4];
        escape[5] = hex[(uint8_t)*p & 15];
        puts_(w, escape);
    }
}

static void put_string(plmm_json_writer *w, const char *s, size_t len)
{
    const char *end = s + len;
    puts_(w, "\"");
    while (s < end) {
        size_t n = plmm__utf8(s, end);
        if (n == 0) {
            puts_(w, "\xef\xbf\xbd");
            s++;
        } else {
            put_char(w, s, n);
            s += n;
        }
    }
    puts_(w, "\"");
}

void plmm_json_put_key(plmm_json_writer *w, const char *key)
{
    PLMM_ASSERT(w->depth > 0 && w->open[w->depth - 1] == '{' && !w->keyed);
    separate(w);
    put_string(w, key, strlen(key));
    puts_(w, w->style == PLMM_JSON_PRETTY ? ": " : ":");
    w->keyed = true;
}

void plmm_json_put_bytes(plmm_json_writer *w, const char *s, size_t len)
{
    before_value(w);
    put_string(w, s, len);
    after_value(w);
}

void plmm_json_put_text(plmm_json_writer *w, const char *s)
{
    if (s == NULL) {
        plmm_json_put_null(w);
    } else {
        plmm_json_put_bytes(w, s, strlen(s));
    }
}

void plmm_json_put_int(plmm_json_writer *w, int64_t v)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%lld", (long long)v);
    scalar(w, text);
}

void plmm_json_put_u64(plmm_json_writer *w, uint64_t v)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)v);
    scalar(w, text);
}

void plmm_json_put_real(plmm_json_writer *w, double v)
{
    char text[PLMM_REAL_CHARS] = "null";
    if (isfinite(v)) {
        plmm_real_print(text, v);
    }
    scalar(w, text);
}

void plmm_json_put_float(plmm_json_writer *w, float v)
{
    char text[PLMM_REAL_CHARS] = "null";
    for (int digits = 6; isfinite(v) && digits <= 9; digits++) { /* 9 always suffice for a float */
        (void)snprintf(text, sizeof text, "%.*g", digits, (double)v);
        if (strtof(text, NULL) == v) {
            break;
        }
    }
    char *comma = strstr(text, localeconv()->decimal_point);
    if (comma != NULL) {
        *comma = '.';
    }
    scalar(w, text);
}

void plmm_json_put_bool(plmm_json_writer *w, bool v)
{
    scalar(w, v ? "true" : "false");
}

void plmm_json_put_null(plmm_json_writer *w)
{
    scalar(w, "null");
}

plmm_status plmm_json_end(plmm_json_writer *w, plmm_error *err)
{
    PLMM_ASSERT(w->depth == 0 && !w->keyed);
    flush(w);
    if (w->status != PLMM_OK) {
        return plmm_fail(err, w->status, "%s", w->err.msg);
    }
    return PLMM_OK;
}
