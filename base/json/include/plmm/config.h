/* plmm/config.h -- a configuration as one table: each key with its type, place in a struct, bounds,
 * default and help. The same rows parse the file, take `--set key=value`, print the help and dump
 * the effective configuration. Unknown keys are errors that name the nearest known one.
 *
 *     typedef struct my_config {
 *         uint32_t rounds;
 *         double gamma;
 *         char out[PLMM_CONFIG_PATH];
 *         uint32_t method;
 *         char domains[8][32];
 *         uint32_t domains_n;
 *     } my_config;
 *     static const char *const methods[] = {"naive", "ffa", "alternate", NULL};
 *     static const plmm_config_key keys[] = {
 *         PLMM_CONFIG_U32(my_config, rounds, "rounds", "10", 1, 100000, "rounds to run"),
 *         PLMM_CONFIG_REAL(my_config, gamma, "secagg.gamma", "0.1", 0, 0.5, "share of liars"),
 *         PLMM_CONFIG_TEXT(my_config, out, "out", "out/run", "directory of the results"),
 *         PLMM_CONFIG_ENUM(my_config, method, "method", "alternate", methods, "how to merge"),
 *         PLMM_CONFIG_TEXTS(my_config, domains, "domains", "[\"it\"]", "domains to run"),
 *     };
 *     static const plmm_config_table table = {"my run", keys, 5};
 *
 * Dots in a path are nested objects of the JSON. Keys of one object stand side by side in the table
 * (asserted). Everything here is pure and thread-safe. */
#ifndef PLMM_CONFIG_H
#define PLMM_CONFIG_H

#include "plmm/json.h"

enum { PLMM_CONFIG_PATH = 512, PLMM_CONFIG_KEY_BYTES = 96 };

typedef enum plmm_config_type {
    PLMM_CONFIG_T_BOOL,   /* bool */
    PLMM_CONFIG_T_U32,    /* uint32_t */
    PLMM_CONFIG_T_U64,    /* uint64_t, at most 2^53 */
    PLMM_CONFIG_T_REAL,   /* double */
    PLMM_CONFIG_T_TEXT,   /* char[size] */
    PLMM_CONFIG_T_ENUM,   /* uint32_t, index into names */
    PLMM_CONFIG_T_TEXTS,  /* char[count][size] and uint32_t count */
    PLMM_CONFIG_T_REALS,  /* double[count] and uint32_t count */
    PLMM_CONFIG_T_U32S,   /* uint32_t[count] and uint32_t count */
    PLMM_CONFIG_T_OBJECTS /* struct[count] of another table, and uint32_t count */
} plmm_config_type;

struct plmm_config_table;

typedef struct plmm_config_key {
    const char *path;
    plmm_config_type type;
    size_t offset;                          /* of the value in the struct */
    size_t size;                            /* bytes of one value or element */
    size_t count;                           /* capacity of a list, else 0 */
    size_t count_offset;                    /* of the list's uint32_t length */
    double min, max;                        /* of a number, of each number of a list */
    const char *fallback;                   /* the default, as --set takes it */
    const char *const *names;               /* ENUM: allowed words, NULL-terminated */
    const struct plmm_config_table *fields; /* OBJECTS: their table */
    const char *help;                       /* one line, units and meaning */
} plmm_config_key;

typedef struct plmm_config_table {
    const char *title; /* first line of the help */
    const plmm_config_key *keys;
    size_t n;
} plmm_config_table;

#define PLMM_CONFIG_FIELD_(T, f) offsetof(T, f), sizeof(((T *)0)->f), 0, 0
#define PLMM_CONFIG_LIST_(T, f)                                                                    \
    offsetof(T, f), sizeof(((T *)0)->f[0]), sizeof(((T *)0)->f) / sizeof(((T *)0)->f[0]),          \
        offsetof(T, f##_n)

#define PLMM_CONFIG_BOOL(T, f, path, def, help)                                                    \
    {                                                                                              \
        path, PLMM_CONFIG_T_BOOL, PLMM_CONFIG_FIELD_(T, f), 0, 0, def, NULL, NULL, help            \
    }
#define PLMM_CONFIG_U32(T, f, path, def, min, max, help)                                           \
    {                                                                                              \
        path, PLMM_CONFIG_T_U32, PLMM_CONFIG_FIELD_(T, f), min, max, def, NULL, NULL, help         \
    }
#define PLMM_CONFIG_U64(T, f, path, def, min, max, help)                                           \
    {                                                                                              \
        path, PLMM_CONFIG_T_U64, PLMM_CONFIG_FIELD_(T, f), min, max, def, NULL, NULL, help         \
    }
#define PLMM_CONFIG_REAL(T, f, path, def, min, max, help)                                          \
    {                                                                                              \
        path, PLMM_CONFIG_T_REAL, PLMM_CONFIG_FIELD_(T, f), min, max, def, NULL, NULL, help        \
    }
#define PLMM_CONFIG_TEXT(T, f, path, def, help)                                                    \
    {                                                                                              \
        path, PLMM_CONFIG_T_TEXT, PLMM_CONFIG_FIELD_(T, f), 0, 0, def, NULL, NULL, help            \
    }
#define PLMM_CONFIG_ENUM(T, f, path, def, names, help)                                             \
    {                                                                                              \
        path, PLMM_CONFIG_T_ENUM, PLMM_CONFIG_FIELD_(T, f), 0, 0, def, names, NULL, help           \
    }
#define PLMM_CONFIG_TEXTS(T, f, path, def, help)                                                   \
    {                                                                                              \
        path, PLMM_CONFIG_T_TEXTS, PLMM_CONFIG_LIST_(T, f), 0, 0, def, NULL, NULL, help            \
    }
#define PLMM_CONFIG_REALS(T, f, path, def, min, max, help)                                         \
    {                                                                                              \
        path, PLMM_CONFIG_T_REALS, PLMM_CONFIG_LIST_(T, f), min, max, def, NULL, NULL, help        \
    }
#define PLMM_CONFIG_U32S(T, f, path, def, min, max, help)                                          \
    {                                                                                              \
        path, PLMM_CONFIG_T_U32S, PLMM_CONFIG_LIST_(T, f), min, max, def, NULL, NULL, help         \
    }
#define PLMM_CONFIG_OBJECTS(T, f, path, def, fields, help)                                         \
    {                                                                                              \
        path, PLMM_CONFIG_T_OBJECTS, PLMM_CONFIG_LIST_(T, f), 0, 0, def, NULL, fields, help        \
    }

/* Fills the fields of the table in *out with their defaults. Asserts that each default is valid. */
void plmm_config_defaults(const plmm_config_table *t, void *out);

/* Overwrites in *out the keys that text[0..len) has; call plmm_config_defaults first. *out is
 * unchanged on failure. source names the text in errors.
 * PLMM_ERR_FORMAT (no JSON), PLMM_ERR_CONFIG "source: secagg.gama is not a key, did you mean
 * secagg.gamma", "source: rounds is 0, must be an integer in 1..100000". */
PLMM_NODISCARD plmm_status plmm_config_parse(const plmm_config_table *t, const char *text,
                                             size_t len, const char *source, void *out,
                                             plmm_error *err);

/* One override "key=value". Text and words are written bare, lists as JSON or as a,b,c.
 * PLMM_ERR_CONFIG as above, naming --set; *out is then unchanged. */
PLMM_NODISCARD plmm_status plmm_config_set(const plmm_config_table *t, const char *assignment,
                                           void *out, plmm_error *err);

/* For --print-config: every key with its value in *in, default, bounds and help, one or two lines
 * each, to sink. */
PLMM_NODISCARD plmm_status plmm_config_print(const plmm_config_table *t, const void *in,
                                             plmm_json_sink sink, void *ctx, plmm_error *err);

/* Writes *in as one object with every key in table order: equal configurations give equal bytes,
 * and plmm_config_parse reads it back to the same values. */
void plmm_config_dump(const plmm_config_table *t, const void *in, plmm_json_writer *w);

#endif
