/* text.h -- a string that grows, for writing CSV, HTML and SQL. An allocation that fails is
 * remembered (failed), later appends do nothing, and the writer checks once at the end. One thread
 * at a time. */
#ifndef PLMM_SIM_TEXT_H
#define PLMM_SIM_TEXT_H

#include "plmm/status.h"

typedef struct text {
    char *p; /* NUL-terminated once anything was appended; free with text_free */
    size_t len, cap;
    bool failed;
} text;

void text_free(text *t);
void text_put(text *t, const char *s, size_t len);
void text_add(text *t, const char *s);
void text_fmt(text *t, const char *fmt, ...) PLMM_PRINTF(2, 3);
/* s with &, <, >, " and ' escaped, fit for HTML text and attribute values. */
void text_html(text *t, const char *s);
/* s as one CSV field (RFC 4180): quoted if it holds a comma, a quote or a line break. */
void text_csv(text *t, const char *s);

/* Numbers as people read them, into buf (at least 32 bytes); the return value is buf.
 * bytes: 812 B, 24.1 kB, 3.20 MB (powers of 1000); ms: 640 ms, 12.4 s, 3 min 5 s, 2 h 10 min. */
char *text_bytes(char buf[32], double bytes);
char *text_ms(char buf[32], double ms);

#endif
