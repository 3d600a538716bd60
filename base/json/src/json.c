/* Documents and sequences: the scanner decides, cJSON builds the tree. */
#include "plmm/json.h"

#include "json_internal.h"

#include <cjson/cJSON.h>
#include <string.h>

plmm_status plmm__json_build(const char *text, size_t len, const char *source, plmm_json **root,
                             plmm_error *err)
{
    cJSON *tree = cJSON_ParseWithLengthOpts(text, len, NULL, 0);
    if (tree == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "%s: out of memory for its %zu bytes of JSON", source,
                         len);
    }
    *root = tree;
    return PLMM_OK;
}

static const char *skip_mark(const char *text, size_t len)
{
    return len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? text + 3 : text;
}

plmm_status plmm_json_parse(const char *text, size_t len, const char *source,
                            const plmm_json_limits *limits, plmm_json **root, plmm_error *err)
{
    plmm__scan s = {.begin = text,
                    .p = skip_mark(text, len),
                    .end = text + len,
                    .source = source,
                    .limits = plmm__json_limits(limits)};
    if (len > s.limits.bytes) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%s: has %zu bytes, at most %zu are read", source,
                         len, s.limits.bytes);
    }
    const char *start = s.p;
    PLMM_TRY(plmm__scan_value(&s, err));
    plmm__scan_space(&s);
    if (s.p != s.end) {
        return plmm__scan_fail(&s, err, "expected the end of the text");
    }
    return plmm__json_build(start, (size_t)(s.end - start), source, root, err);
}

void plmm_json_free(plmm_json *root)
{
    cJSON_Delete(root);
}

void plmm_json_seq_init(plmm_json_seq *s, const char *text, size_t len, const char *source,
                        const plmm_json_limits *limits)
{
    const char *start = skip_mark(text, len);
    *s = (plmm_json_seq){.text = text,
                         .len = len,
                         .at = (size_t)(start - text),
                         .line = 1,
                         .source = source,
                         .limits = plmm__json_limits(limits)};
}

/* Moves over spaces, counting lines. */
static void seq_space(plmm_json_seq *s)
{
    while (s->at < s->len && strchr(" \n\t\r", s->text[s->at]) != NULL && s->text[s->at] != '\0') {
        s->line += s->text[s->at] == '\n';
        s->at++;
    }
}

/* Makes "source:1:7: ..." of a value that begins at seq->line say its real line. */
static plmm_status seq_fail(const plmm_json_seq *q, const plmm__scan *s, plmm_error *err,
                            const char *what)
{
    size_t line = q->line;
    for (const char *p = s->begin; p < s->p; p++) {
        line += *p == '\n';
    }
    return plmm_fail(err, PLMM_ERR_FORMAT, "%s:%zu: %s", q->source, line, what);
}

static void seq_skip_line(plmm_json_seq *s)
{
    const char *end = memchr(s->text + s->at, '\n', s->len - s->at);
    s->at = end == NULL ? s->len : (size_t)(end - s->text);
}

/* Reads the value at s->at; *stop is where it ends. */
static plmm_status seq_value(plmm_json_seq *q, size_t limit, plmm_json **root, size_t *stop,
                             plmm_error *err)
{
    size_t bytes = limit - q->at;
    bytes = bytes < q->limits.bytes ? bytes : q->limits.bytes;
    plmm__scan s = {.begin = q->text + q->at,
                    .p = q->text + q->at,
                    .end = q->text + q->at + bytes,
                    .source = "",
                    .limits = q->limits};
    plmm_error inner;
    plmm_status rc = plmm__scan_value(&s, &inner);
    if (rc != PLMM_OK) {
        const char *what =
            strstr(inner.msg, ": "); /* after ":line:column", counted from the value */
        PLMM_ASSERT(what != NULL);
        return seq_fail(q, &s, err, what + 2);
    }
    *stop = (size_t)(s.p - q->text);
    return plmm__json_build(s.begin, (size_t)(s.p - s.begin), q->source, root, err);
}

static plmm_status next_line(plmm_json_seq *s, plmm_json **root, plmm_error *err)
{
    const char *end = memchr(s->text + s->at, '\n', s->len - s->at);
    size_t limit = end == NULL ? s->len : (size_t)(end - s->text);
    size_t stop = s->at;
    plmm_json *value = NULL;
    plmm_status rc = seq_value(s, limit, &value, &stop, err);
    s->at = rc == PLMM_OK ? stop : s->at;
    while (rc == PLMM_OK && s->at < limit && strchr(" \t\r", s->text[s->at]) != NULL) {
        s->at++;
    }
    if (rc == PLMM_OK && s->at < limit) {
        plmm_json_free(value);
        rc = plmm_fail(err, PLMM_ERR_FORMAT, "%s:%u: expected one value on the line", s->source,
                       s->line);
    }
    seq_skip_line(s);
    if (rc == PLMM_OK) {
        *root = value;
    }
    return rc;
}

static plmm_status next_element(plmm_json_seq *s, plmm_json **root, plmm_error *err)
{
    plmm__scan at = {.begin = s->text + s->at, .p = s->text + s->at};
    char c = s->at < s->len ? s->text[s->at] : '\0';
    if (c == ']') {
        s->done = true;
        s->at++;
        seq_space(s);
        return s->at == s->len ? PLMM_OK : seq_fail(s, &at, err, "expected the end of the text");
    }
    s->done = true; /* unless all goes well */
    if (s->begun) {
        if (c != ',') {
            return seq_fail(s, &at, err, "expected ',' or ']'");
        }
        s->at++;
        seq_space(s);
    }
    s->begun = true;
    s->from = s->at;
    plmm_json *value = NULL;
    size_t stop = 0;
    PLMM_TRY(seq_value(s, s->len, &value, &stop, err));
    s->at = stop; /* its lines are counted by the next call */
    s->done = false;
    *root = value;
    return PLMM_OK;
}

plmm_status plmm_json_seq_next(plmm_json_seq *s, plmm_json **root, plmm_error *err)
{
    *root = NULL;
    for (; s->from < s->at; s->from++) { /* an element may hold line breaks */
        s->line += s->array && s->text[s->from] == '\n';
    }
    seq_space(s);
    if (!s->begun && s->at < s->len && s->text[s->at] == '[') {
        s->array = true;
        s->at++;
        seq_space(s);
    }
    s->from = s->at;
    if (s->array) {
        return s->done ? PLMM_OK : next_element(s, root, err);
    }
    s->begun = true;
    return s->at == s->len ? PLMM_OK : next_line(s, root, err);
}
