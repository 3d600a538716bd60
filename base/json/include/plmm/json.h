/* plmm/json.h -- JSON that came from a file: a bounded strict reader, typed getters whose errors
 * say what was found and what was expected, a reader of long sequences, and a streaming writer.
 *
 * The reader accepts RFC 8259 and nothing else: UTF-8 is validated, so are surrogate pairs; the
 * character U+0000 in a string is refused, so that every string is a C string. Of equal keys of an
 * object the first counts. Integers are exact up to 2^53. Numbers do not depend on the locale.
 * JSON is for files and the terminal; it is never on the wire.
 *
 * A document belongs to one thread at a time for writing and may be read by many. */
#ifndef PLMM_JSON_H
#define PLMM_JSON_H

#include "plmm/status.h"

/* A node of a document; the root is what plmm_json_parse gives and plmm_json_free takes. */
typedef struct cJSON plmm_json;

typedef enum plmm_json_type {
    PLMM_JSON_NULL,
    PLMM_JSON_BOOL,
    PLMM_JSON_NUMBER,
    PLMM_JSON_STRING,
    PLMM_JSON_ARRAY,
    PLMM_JSON_OBJECT
} plmm_json_type;

/* What is read before a document is refused. 0 in a field means its default. */
typedef struct plmm_json_limits {
    size_t bytes;        /* of the whole text; default 64 MiB */
    size_t string_bytes; /* of one string as written; default 16 MiB */
    size_t nodes;        /* values and members; default 4,000,000 (a tokenizer.json has ~500,000) */
    uint32_t depth;      /* of arrays and objects; default 64, at most 256 */
} plmm_json_limits;

enum { PLMM_JSON_NUMBER_BYTES = 60 }; /* longest number as written */

/* Parses text[0..len), which need not end in NUL, into *root (free with plmm_json_free).
 * source names it in errors ("config.json"); limits may be NULL.
 * PLMM_ERR_FORMAT "source:line:column: what is wrong", PLMM_ERR_NOMEM. */
PLMM_NODISCARD plmm_status plmm_json_parse(const char *text, size_t len, const char *source,
                                           const plmm_json_limits *limits, plmm_json **root,
                                           plmm_error *err);

void plmm_json_free(plmm_json *root); /* NULL is fine */

/* ---- looking at nodes; none of these fails, node must not be NULL unless said ---- */

plmm_json_type plmm_json_type_of(const plmm_json *node);
const char *plmm_json_key(const plmm_json *node);  /* its name in its object; NULL elsewhere */
const char *plmm_json_text(const plmm_json *node); /* of a string; NULL of others and of NULL */
double plmm_json_number(const plmm_json *node);    /* of a number; 0 of others */
bool plmm_json_true(const plmm_json *node);        /* is it `true`? */
size_t plmm_json_count(const plmm_json *node); /* elements or members: walks them; 0 of others */
const plmm_json *plmm_json_first(const plmm_json *node); /* first element or member, NULL if none */
const plmm_json *plmm_json_next(const plmm_json *node);  /* its next sibling, or NULL */

/* Member key of the object, case counts; NULL if absent or if node is no object (or NULL). Walks
 * the members: for large objects iterate instead. */
const plmm_json *plmm_json_get(const plmm_json *object, const char *key);

/* ---- typed members of an object ----
 * where is put before the message: `where: key is "x", expected an integer in 1..65536`.
 * need_: the member must be there. may_: when it is absent or null, PLMM_OK and *out is unchanged.
 * PLMM_ERR_FORMAT for a wrong type, PLMM_ERR_RANGE for a wrong value. Results point into the
 * document. */

PLMM_NODISCARD plmm_status plmm_json_need_int(const plmm_json *object, const char *where,
                                              const char *key, int64_t min, int64_t max,
                                              int64_t *out, plmm_error *err);
PLMM_NODISCARD plmm_status plmm_json_may_int(const plmm_json *object, const char *where,
                                             const char *key, int64_t min, int64_t max,
                                             int64_t *out, plmm_error *err);
PLMM_NODISCARD plmm_status plmm_json_need_u32(const plmm_json *object, const char *where,
                                              const char *key, uint32_t min, uint32_t max,
                                              uint32_t *out, plmm_error *err);
PLMM_NODISCARD plmm_status plmm_json_may_u32(const plmm_json *object, const char *where,
                                             const char *key, uint32_t min, uint32_t max,
                                             uint32_t *out, plmm_error *err);
PLMM_NODISCARD plmm_status plmm_json_need_real(const plmm_json *object, const char *where,
                                               const char *key, double min, double max, double *out,
                                               plmm_error *err);
PLMM_NODISCARD plmm_status plmm_json_may_real(const plmm_json *object, const char *where,
                                              const char *key, double min, double max, double *out,
                                              plmm_error *err);
PLMM_NODISCARD plmm_status plmm_json_need_bool(const plmm_json *object, const char *where,
                                               const char *key, bool *out, plmm_error *err);
PLMM_NODISCARD plmm_status plmm_json_may_bool(const plmm_json *object, const char *where,
                                              const char *key, bool *out, plmm_error *err);
/* max_bytes without the NUL */
PLMM_NODISCARD plmm_status plmm_json_need_text(const plmm_json *object, const char *where,
                                               const char *key, size_t max_bytes, const char **out,
                                               plmm_error *err);
PLMM_NODISCARD plmm_status plmm_json_may_text(const plmm_json *object, const char *where,
                                              const char *key, size_t max_bytes, const char **out,
                                              plmm_error *err);
/* type is PLMM_JSON_ARRAY or PLMM_JSON_OBJECT */
PLMM_NODISCARD plmm_status plmm_json_need_node(const plmm_json *object, const char *where,
                                               const char *key, plmm_json_type type,
                                               const plmm_json **out, plmm_error *err);
PLMM_NODISCARD plmm_status plmm_json_may_node(const plmm_json *object, const char *where,
                                              const char *key, plmm_json_type type,
                                              const plmm_json **out, plmm_error *err);

/* ---- a long sequence of values, one at a time: JSON lines, or the elements of one array ----
 * The whole text is a buffer (map the file); only one value's tree is in memory. An array is
 * recognised by its '[' as the first character. */
typedef struct plmm_json_seq {
    const char *text;
    size_t len, at, from;
    uint32_t line; /* of the value read last, from 1: for messages */
    bool array, begun, done;
    const char *source;
    plmm_json_limits limits;
} plmm_json_seq;

/* Borrows text and source until the last call of next. limits (may be NULL) are for one value. */
void plmm_json_seq_init(plmm_json_seq *s, const char *text, size_t len, const char *source,
                        const plmm_json_limits *limits);

/* The next value in *root (the caller frees it), NULL at the end. Blank lines are skipped. After an
 * error of JSON lines the next call goes on with the following line; after an error of an array it
 * gives the end. */
PLMM_NODISCARD plmm_status plmm_json_seq_next(plmm_json_seq *s, plmm_json **root, plmm_error *err);

/* ---- writing ---- */

/* Receives the text in pieces. */
typedef plmm_status (*plmm_json_sink)(void *ctx, const char *bytes, size_t len, plmm_error *err);

/* A growing text, the usual sink. Zero it to begin; text is NUL-terminated once anything was
 * written; free with plmm_text_free. */
typedef struct plmm_text {
    char *text;
    size_t len, cap;
} plmm_text;

PLMM_NODISCARD plmm_status plmm_text_sink(void *text, const char *bytes, size_t len,
                                          plmm_error *err); /* a plmm_json_sink for a plmm_text */
void plmm_text_free(plmm_text *t);

/* One document, or many one after the other (PLMM_JSON_LINES writes a line break after each).
 * Errors stick: after the first one nothing is written and plmm_json_end returns it. Order of calls
 * is asserted: a key before each member's value, none elsewhere. Fields are private. */
typedef enum plmm_json_style {
    PLMM_JSON_COMPACT,
    PLMM_JSON_PRETTY,
    PLMM_JSON_LINES
} plmm_json_style;

enum { PLMM_JSON_WRITE_DEPTH = 64 };

typedef struct plmm_json_writer {
    plmm_json_sink sink;
    void *ctx;
    plmm_json_style style;
    plmm_status status;
    plmm_error err;
    uint32_t depth;
    bool keyed; /* a key waits for its value */
    char open[PLMM_JSON_WRITE_DEPTH];
    bool some[PLMM_JSON_WRITE_DEPTH + 1];
    size_t used;
    char buf[1024];
} plmm_json_writer;

void plmm_json_begin(plmm_json_writer *w, plmm_json_style style, plmm_json_sink sink, void *ctx);
void plmm_json_open_object(plmm_json_writer *w);
void plmm_json_close_object(plmm_json_writer *w);
void plmm_json_open_array(plmm_json_writer *w);
void plmm_json_close_array(plmm_json_writer *w);
void plmm_json_put_key(plmm_json_writer *w, const char *key);
void plmm_json_put_text(plmm_json_writer *w, const char *s); /* NULL writes null */
/* len bytes; what is not UTF-8 is written as U+FFFD */
void plmm_json_put_bytes(plmm_json_writer *w, const char *s, size_t len);
void plmm_json_put_int(plmm_json_writer *w, int64_t v);
void plmm_json_put_u64(plmm_json_writer *w, uint64_t v);
/* A short decimal that reads back as the same double (or float); null for nan and infinity. */
void plmm_json_put_real(plmm_json_writer *w, double v);
void plmm_json_put_float(plmm_json_writer *w, float v);
void plmm_json_put_bool(plmm_json_writer *w, bool v);
void plmm_json_put_null(plmm_json_writer *w);
/* Flushes; everything opened must be closed. The first error of the sink, or PLMM_OK. */
PLMM_NODISCARD plmm_status plmm_json_end(plmm_json_writer *w, plmm_error *err);

/* A decimal of at most 17 digits that reads back as v, with '.' in every locale; v must be
 * finite. */
enum { PLMM_REAL_CHARS = 32 };
void plmm_real_print(char out[PLMM_REAL_CHARS], double v);
/* Reads a whole JSON number, any locale. PLMM_ERR_FORMAT if text is anything else. */
PLMM_NODISCARD plmm_status plmm_real_parse(const char *text, double *out, plmm_error *err);

#endif
