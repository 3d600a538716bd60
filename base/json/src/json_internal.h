/* json_internal.h -- what the files of this room share. */
#ifndef PLMM_JSON_INTERNAL_H
#define PLMM_JSON_INTERNAL_H

#include "plmm/json.h"

/* Length of the UTF-8 sequence at p, 0 if it is none (overlong, surrogate, cut at end). */
size_t plmm__utf8(const char *p, const char *end);

/* limits with 0 replaced by the defaults; limits may be NULL. */
plmm_json_limits plmm__json_limits(const plmm_json_limits *limits);

/* A cursor over text[0..len). */
typedef struct plmm__scan {
    const char *begin, *p, *end;
    const char *source;
    plmm_json_limits limits;
} plmm__scan;

void plmm__scan_space(plmm__scan *s);

/* Moves s->p from the start of a value (after spaces) to its end, checking everything the reader
 * promises. */
plmm_status plmm__scan_value(plmm__scan *s, plmm_error *err);

/* "source:line:column: what" for the cursor. */
plmm_status plmm__scan_fail(const plmm__scan *s, plmm_error *err, const char *what);

/* Builds the tree of text[0..len), which the scanner has accepted. */
plmm_status plmm__json_build(const char *text, size_t len, const char *source, plmm_json **root,
                             plmm_error *err);

/* Is text[0..len) a JSON number? */
bool plmm__is_number(const char *text, size_t len);

/* A few words on a node for an error: 7, "text", an array of 3. */
enum { PLMM__DESCRIBE_BYTES = 80 };
void plmm__json_describe(const plmm_json *node, char out[PLMM__DESCRIBE_BYTES]);

/* Is it a number, integral, and exactly representable? */
bool plmm__json_integer(const plmm_json *node, int64_t *out);

#endif
