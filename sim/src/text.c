#include "text.h"

#include "plmm/alloc.h"

#include <stdio.h>
#include <string.h>

void text_free(text *t)
{
    plmm_free(t->p);
    *t = (text){0};
}

/* Room for len more bytes and a NUL. */
static bool reserve(text *t, size_t len)
{
    if (t->failed || len > SIZE_MAX / 4 - t->len) {
        t->failed = true;
        return false;
    }
    if (t->len + len + 1 <= t->cap) {
        return true;
    }
    size_t cap = t->cap == 0 ? 4096 : t->cap;
    while (cap < t->len + len + 1) {
        cap *= 2;
    }
    char *p = plmm_grow(t->p, t->cap, cap, 1);
    if (p == NULL) {
        t->failed = true;
        return false;
    }
    t->p = p;
    t->cap = cap;
    return true;
}

void text_put(text *t, const char *s, size_t len)
{
    if (reserve(t, len)) {
        memcpy(t->p + t->len, s, len);
        t->len += len;
        t->p[t->len] = '\0';
    }
}

void text_add(text *t, const char *s)
{
    text_put(t, s, strlen(s));
}

void text_fmt(text *t, const char *fmt, ...)
{
    va_list ap;
    va_list again;
    va_start(ap, fmt);
    va_copy(again, ap);
    char small[256];
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof small) {
        text_put(t, small, (size_t)n);
    } else if (n >= 0 && reserve(t, (size_t)n)) {
        (void)vsnprintf(t->p + t->len, t->cap - t->len, fmt, again);
        t->len += (size_t)n;
    }
    va_end(again);
}

void text_html(text *t, const char *s)
{
    for (; *s != '\0'; s++) {
        switch (*s) {
        case '&':
            text_add(t, "&amp;");
            break;
        case '<':
            text_add(t, "&lt;");
            break;
        case '>':
            text_add(t, "&gt;");
            break;
        case '"':
            text_add(t, "&quot;");
            break;
        case '\'':
            text_add(t, "&#39;");
            break;
        default:
            text_put(t, s, 1);
        }
    }
}

void text_csv(text *t, const char *s)
{
    if (strpbrk(s, ",\"\r\n") == NULL) {
        text_add(t, s);
        return;
    }
    text_add(t, "\"");
    for (; *s != '\0'; s++) {
        text_put(t, s, 1);
        if (*s == '"') {
            text_add(t, "\"");
        }
    }
    text_add(t, "\"");
}

char *text_bytes(char buf[32], double bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    size_t u = 0;
    while (bytes >= 999.5 && u + 1 < sizeof units / sizeof units[0]) {
        bytes /= 1000;
        u++;
    }
    int digits = u == 0 || bytes >= 99.95 ? 0 : bytes >= 9.995 ? 1 : 2;
    (void)snprintf(buf, 32, "%.*f %s", digits, bytes, units[u]);
    return buf;
}

char *text_ms(char buf[32], double ms)
{
    if (ms < 999.5) {
        (void)snprintf(buf, 32, "%.0f ms", ms);
    } else if (ms < 119950) {
        (void)snprintf(buf, 32, "%.1f s", ms / 1000);
    } else if (ms < 7199500) {
        uint64_t s = (uint64_t)(ms / 1000 + 0.5);
        (void)snprintf(buf, 32, "%u min %u s", (unsigned)(s / 60), (unsigned)(s % 60));
    } else {
        uint64_t m = (uint64_t)(ms / 60000 + 0.5);
        (void)snprintf(buf, 32, "%u h %u min", (unsigned)(m / 60), (unsigned)(m % 60));
    }
    return buf;
}
