/* tests/support/vec.h -- known-answer files: lines "name: hex", '#' begins a comment. */
#ifndef PLMM_VEC_H
#define PLMM_VEC_H

#include "test.h"

typedef struct vec {
    char name[40];
    uint8_t b[4096];
    size_t len;
} vec;

static int vec_nibble(int c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The value called name in the file, which the test must find; ends the process otherwise. */
static inline vec vec_get(const char *path, const char *name)
{
    static char line[2 * sizeof(((vec *)0)->b) + 64];
    vec v = {.len = 0};
    size_t n = strlen(name);
    FILE *f = fopen(path, "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, name, n) != 0 || line[n] != ':') {
            continue;
        }
        (void)snprintf(v.name, sizeof v.name, "%s", name);
        for (const char *s = line + n + 2; vec_nibble(s[0]) >= 0; s += 2) {
            v.b[v.len++] = (uint8_t)(vec_nibble(s[0]) * 16 + vec_nibble(s[1]));
        }
        (void)fclose(f);
        return v;
    }
    (void)fprintf(stderr, "%s: no vector '%s'\n", path, name);
    exit(EXIT_FAILURE);
}

/* CHECK that got[0..len) is the vector, printing the first octet that differs. */
static inline void vec_check(const vec *v, const void *got, size_t len)
{
    CHECK(len == v->len, "%s: %zu octets, vector has %zu", v->name, len, v->len);
    for (size_t i = 0; i < len && i < v->len; i++) {
        if (((const uint8_t *)got)[i] != v->b[i]) {
            CHECK(false, "%s: octet %zu is %02x, not %02x", v->name, i, ((const uint8_t *)got)[i],
                  v->b[i]);
            return;
        }
    }
}

#endif
