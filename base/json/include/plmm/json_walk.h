/* plmm/json_walk.h -- a long JSON text read where it lies: checked once, then walked value by
 * value, without a tree. For model files and tokenizers, whose text may be hostile: nothing here
 * allocates but plmm_json_slice_tree, which takes a limit.
 *
 * A slice is a value (or a member's name) inside a checked text, as written, quotes included; it
 * borrows the text. A slice of length 0 is a value that is not there: every function takes it.
 * Functions on slices trust that the text was checked. All are thread-safe. */
#ifndef PLMM_JSON_WALK_H
#define PLMM_JSON_WALK_H

#include "plmm/json.h"

typedef struct plmm_json_slice {
    const char *at;
    size_t len;
} plmm_json_slice;

/* Is text[0..len) one JSON document, by the rules of plmm_json_parse? *root is its value.
 * limits: NULL, or as for plmm_json_parse, but where nodes is 0 their number is not limited.
 * PLMM_ERR_FORMAT "source:line:column: what is wrong". One pass, constant memory. */
PLMM_NODISCARD plmm_status plmm_json_check(const char *text, size_t len, const char *source,
                                           const plmm_json_limits *limits, plmm_json_slice *root,
                                           plmm_error *err);

plmm_json_type plmm_json_slice_type(plmm_json_slice v); /* PLMM_JSON_NULL if it is not there */
bool plmm_json_slice_true(plmm_json_slice v);           /* is it `true`? */

/* The elements of an array or the members of an object, in order; of other values none.
 *     plmm_json_walk w;
 *     plmm_json_walk_init(&w, object);
 *     while (plmm_json_walk_next(&w)) { ... w.key, w.value ... } */
typedef struct plmm_json_walk {
    const char *at, *end;       /* private */
    plmm_json_slice key, value; /* key: a string, length 0 in arrays */
} plmm_json_walk;

void plmm_json_walk_init(plmm_json_walk *w, plmm_json_slice container);
bool plmm_json_walk_next(plmm_json_walk *w);

/* Number of elements or members; walks them. */
size_t plmm_json_slice_count(plmm_json_slice container);

/* The first member of this name, ASCII and without characters that JSON escapes; walks. */
plmm_json_slice plmm_json_slice_get(plmm_json_slice object, const char *key);

/* Is it a string (or a name) of exactly this text? */
bool plmm_json_slice_is(plmm_json_slice v, const char *text);

/* Unescapes a string into buf[cap] and puts a NUL after it; returns its bytes without the NUL,
 * SIZE_MAX if v is no string or does not fit (cap must be above its bytes). v.len is always
 * enough. */
size_t plmm_json_slice_text(plmm_json_slice v, char *buf, size_t cap);

/* An integer 0..max (max <= 2^53), written without a fraction or an exponent, or false. */
bool plmm_json_slice_whole(plmm_json_slice v, uint64_t max, uint64_t *out);

/* The value's tree, for small parts of a long text: at most `nodes` values and 1 MiB as written,
 * or PLMM_ERR_FORMAT. PLMM_ERR_NOMEM. Free with plmm_json_free. A value that is not there gives
 * `null`. */
PLMM_NODISCARD plmm_status plmm_json_slice_tree(plmm_json_slice v, const char *source, size_t nodes,
                                                plmm_json **root, plmm_error *err);

#endif
