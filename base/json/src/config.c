/* One table for parsing, overriding, printing and dumping a configuration. */
#include "plmm/config.h"

#include "json_internal.h"
#include "plmm/alloc.h"
#include "plmm/nearest.h"

#include <stdio.h>
#include <string.h>

enum { KEYS_MAX = 512, EXPECTED_BYTES = 200 };

/* ---- one key ---- */

static uint8_t *field(void *base, size_t offset)
{
    return (uint8_t *)base + offset;
}

static void print_range(const plmm_config_key *k, const char *kind, char out[EXPECTED_BYTES])
{
    char lo[PLMM_REAL_CHARS], hi[PLMM_REAL_CHARS];
    if (k->type == PLMM_CONFIG_T_REAL || k->type == PLMM_CONFIG_T_REALS) {
        plmm_real_print(lo, k->min);
        plmm_real_print(hi, k->max);
    } else {
        (void)snprintf(lo, sizeof lo, "%.0f", k->min);
        (void)snprintf(hi, sizeof hi, "%.0f", k->max);
    }
    if (k->count != 0) {
        (void)snprintf(out, EXPECTED_BYTES, "a list of at most %zu %ss in %s..%s", k->count, kind,
                       lo, hi);
    } else {
        (void)snprintf(out, EXPECTED_BYTES, "%s %s in %s..%s", *kind == 'i' ? "an" : "a", kind, lo,
                       hi);
    }
}

static void print_words(const plmm_config_key *k, char out[EXPECTED_BYTES])
{
    size_t used = (size_t)snprintf(out, EXPECTED_BYTES, "one of");
    for (size_t i = 0; k->names[i] != NULL && used < EXPECTED_BYTES; i++) {
        used += (size_t)snprintf(out + used, EXPECTED_BYTES - used, "%s %s", i > 0 ? "," : "",
                                 k->names[i]);
    }
}

/* What a value of the key must be, in words. */
static void print_expected(const plmm_config_key *k, char out[EXPECTED_BYTES])
{
    switch (k->type) {
    case PLMM_CONFIG_T_BOOL:
        (void)snprintf(out, EXPECTED_BYTES, "true or false");
        break;
    case PLMM_CONFIG_T_U32:
    case PLMM_CONFIG_T_U64:
    case PLMM_CONFIG_T_U32S:
        print_range(k, "integer", out);
        break;
    case PLMM_CONFIG_T_REAL:
    case PLMM_CONFIG_T_REALS:
        print_range(k, "number", out);
        break;
    case PLMM_CONFIG_T_TEXT:
        (void)snprintf(out, EXPECTED_BYTES, "a string of at most %zu bytes", k->size - 1);
        break;
    case PLMM_CONFIG_T_ENUM:
        print_words(k, out);
        break;
    case PLMM_CONFIG_T_TEXTS:
        (void)snprintf(out, EXPECTED_BYTES, "a list of at most %zu strings of at most %zu bytes",
                       k->count, k->size - 1);
        break;
    case PLMM_CONFIG_T_OBJECTS:
        (void)snprintf(out, EXPECTED_BYTES, "a list of at most %zu objects", k->count);
        break;
    }
}

static bool set_integer(const plmm_config_key *k, const plmm_json *v, int64_t *out)
{
    return plmm__json_integer(v, out) && (double)*out >= k->min && (double)*out <= k->max;
}

static bool set_text(const plmm_config_key *k, const plmm_json *v, uint8_t *at)
{
    const char *text = plmm_json_text(v);
    if (text == NULL || strlen(text) >= k->size) {
        return false;
    }
    memset(at, 0, k->size);
    memcpy(at, text, strlen(text));
    return true;
}

static bool set_enum(const plmm_config_key *k, const plmm_json *v, uint8_t *at)
{
    const char *text = plmm_json_text(v);
    for (uint32_t i = 0; text != NULL && k->names[i] != NULL; i++) {
        if (strcmp(k->names[i], text) == 0) {
            memcpy(at, &i, sizeof i);
            return true;
        }
    }
    return false;
}

/* Stores one scalar or element; false if it is not what the key takes. */
static bool set_scalar(const plmm_config_key *k, const plmm_json *v, uint8_t *at)
{
    int64_t whole = 0;
    double real = plmm_json_number(v);
    bool flag = plmm_json_true(v);
    switch (k->type) {
    case PLMM_CONFIG_T_BOOL:
        memcpy(at, &flag, sizeof flag);
        return plmm_json_type_of(v) == PLMM_JSON_BOOL;
    case PLMM_CONFIG_T_U32:
    case PLMM_CONFIG_T_U32S: {
        bool fits = set_integer(k, v, &whole);
        uint32_t u = (uint32_t)whole;
        memcpy(at, &u, sizeof u);
        return fits;
    }
    case PLMM_CONFIG_T_U64: {
        bool fits = set_integer(k, v, &whole);
        uint64_t u = (uint64_t)whole;
        memcpy(at, &u, sizeof u);
        return fits;
    }
    case PLMM_CONFIG_T_REAL:
    case PLMM_CONFIG_T_REALS:
        memcpy(at, &real, sizeof real);
        return plmm_json_type_of(v) == PLMM_JSON_NUMBER && real >= k->min && real <= k->max;
    case PLMM_CONFIG_T_TEXT:
    case PLMM_CONFIG_T_TEXTS:
        return set_text(k, v, at);
    case PLMM_CONFIG_T_ENUM:
        return set_enum(k, v, at);
    case PLMM_CONFIG_T_OBJECTS:
        break;
    }
    return false;
}

static plmm_status refuse(const plmm_config_key *k, const plmm_json *v, const char *where,
                          const char *path, plmm_error *err)
{
    char found[PLMM__DESCRIBE_BYTES], expected[EXPECTED_BYTES];
    plmm__json_describe(v, found);
    print_expected(k, expected);
    return plmm_fail(err, PLMM_ERR_CONFIG, "%s: %s is %s, must be %s", where, path, found,
                     expected);
}

static plmm_status set_object(const plmm_config_table *t, const plmm_json *object,
                              const char *where, const char *prefix, const char *shown, void *out,
                              plmm_error *err);

static plmm_status set_element(const plmm_config_key *k, const plmm_json *v, const char *where,
                               const char *path, size_t index, uint8_t *at, plmm_error *err)
{
    char shown[PLMM_CONFIG_KEY_BYTES + 32];
    (void)snprintf(shown, sizeof shown, "%s[%zu]", path, index);
    if (k->type != PLMM_CONFIG_T_OBJECTS) {
        plmm_config_key one = *k;
        one.count = 0; /* the sentence is about one element */
        one.type = k->type == PLMM_CONFIG_T_TEXTS ? PLMM_CONFIG_T_TEXT : k->type;
        return set_scalar(k, v, at) ? PLMM_OK : refuse(&one, v, where, shown, err);
    }
    if (plmm_json_type_of(v) != PLMM_JSON_OBJECT) {
        char found[PLMM__DESCRIBE_BYTES];
        plmm__json_describe(v, found);
        return plmm_fail(err, PLMM_ERR_CONFIG, "%s: %s is %s, must be an object", where, shown,
                         found);
    }
    plmm_config_defaults(k->fields, at);
    return set_object(k->fields, v, where, "", shown, at, err);
}

static plmm_status set_key(const plmm_config_key *k, const plmm_json *v, const char *where,
                           const char *path, void *out, plmm_error *err)
{
    uint8_t *at = field(out, k->offset);
    if (k->count == 0) {
        return set_scalar(k, v, at) ? PLMM_OK : refuse(k, v, where, path, err);
    }
    if (plmm_json_type_of(v) != PLMM_JSON_ARRAY || plmm_json_count(v) > k->count) {
        return refuse(k, v, where, path, err);
    }
    memset(at, 0, k->size * k->count);
    uint32_t n = 0;
    for (const plmm_json *e = plmm_json_first(v); e != NULL; e = plmm_json_next(e)) {
        PLMM_TRY(set_element(k, e, where, path, n, at + n * k->size, err));
        n++;
    }
    memcpy(field(out, k->count_offset), &n, sizeof n);
    return PLMM_OK;
}

/* ---- objects of keys ---- */

static const plmm_config_key *find_key(const plmm_config_table *t, const char *path)
{
    for (size_t i = 0; i < t->n; i++) {
        if (strcmp(t->keys[i].path, path) == 0) {
            return &t->keys[i];
        }
    }
    return NULL;
}

static bool is_section(const plmm_config_table *t, const char *path)
{
    size_t n = strlen(path);
    for (size_t i = 0; i < t->n; i++) {
        if (strncmp(t->keys[i].path, path, n) == 0 && t->keys[i].path[n] == '.') {
            return true;
        }
    }
    return false;
}

static plmm_status unknown_key(const plmm_config_table *t, const char *where, const char *path,
                               const char *shown, plmm_error *err)
{
    const char *names[KEYS_MAX];
    for (size_t i = 0; i < t->n && i < KEYS_MAX; i++) {
        names[i] = t->keys[i].path;
    }
    const char *near = plmm_nearest(path, names, t->n < KEYS_MAX ? t->n : KEYS_MAX);
    if (near != NULL) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "%s: %s%.80s is not a key, did you mean %s", where,
                         shown, path, near);
    }
    return plmm_fail(err, PLMM_ERR_CONFIG,
                     "%s: %s%.80s is not a key; --print-config lists those there are", where, shown,
                     path);
}

/* prefix: dotted path of this object inside its table ("" at the top); shown: of the table's object
 * in the whole file, for messages. */
static plmm_status set_object(const plmm_config_table *t, const plmm_json *object,
                              const char *where, const char *prefix, const char *shown, void *out,
                              plmm_error *err)
{
    for (const plmm_json *m = plmm_json_first(object); m != NULL; m = plmm_json_next(m)) {
        const char *name = plmm_json_key(m);
        char path[PLMM_CONFIG_KEY_BYTES], full[2 * PLMM_CONFIG_KEY_BYTES + 64];
        int n = snprintf(path, sizeof path, "%s%s%s", prefix, *prefix != '\0' ? "." : "", name);
        (void)snprintf(full, sizeof full, "%s%s%s", shown, *shown != '\0' ? "." : "", path);
        const plmm_config_key *k = n < (int)sizeof path ? find_key(t, path) : NULL;
        bool section = k == NULL && n < (int)sizeof path && is_section(t, path);
        if (k == NULL && !section) {
            (void)snprintf(full, sizeof full, "%s%s", shown, *shown != '\0' ? "." : "");
            return unknown_key(t, where, path, full, err);
        }
        if (plmm_json_get(object, name) != m) {
            return plmm_fail(err, PLMM_ERR_CONFIG, "%s: %s is given twice", where, full);
        }
        if (k != NULL) {
            PLMM_TRY(set_key(k, m, where, full, out, err));
        } else if (plmm_json_type_of(m) == PLMM_JSON_OBJECT) {
            PLMM_TRY(set_object(t, m, where, path, shown, out, err));
        } else {
            char found[PLMM__DESCRIBE_BYTES];
            plmm__json_describe(m, found);
            return plmm_fail(err, PLMM_ERR_CONFIG, "%s: %s is %s, must be an object", where, full,
                             found);
        }
    }
    return PLMM_OK;
}

/* Bytes of the struct that the table covers. */
static size_t span(const plmm_config_table *t)
{
    size_t end = 0;
    for (size_t i = 0; i < t->n; i++) {
        const plmm_config_key *k = &t->keys[i];
        size_t stop = k->offset + k->size * (k->count != 0 ? k->count : 1);
        size_t counted = k->count != 0 ? k->count_offset + sizeof(uint32_t) : 0;
        end = stop > end ? stop : end;
        end = counted > end ? counted : end;
    }
    return end;
}

typedef plmm_status (*apply_fn)(const plmm_config_table *t, const void *what, const char *where,
                                void *out, plmm_error *err);

/* Applies to a copy, so that a failure leaves *out as it was. */
static plmm_status apply(const plmm_config_table *t, apply_fn fn, const void *what,
                         const char *where, void *out, plmm_error *err)
{
    size_t bytes = span(t);
    void *copy = plmm_alloc(bytes, 1);
    if (copy == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "%s: out of memory", where);
    }
    memcpy(copy, out, bytes);
    plmm_status rc = fn(t, what, where, copy, err);
    if (rc == PLMM_OK) {
        memcpy(out, copy, bytes);
    }
    plmm_free(copy);
    return rc;
}

static plmm_status apply_root(const plmm_config_table *t, const void *root, const char *where,
                              void *out, plmm_error *err)
{
    return set_object(t, root, where, "", "", out, err);
}

plmm_status plmm_config_parse(const plmm_config_table *t, const char *text, size_t len,
                              const char *source, void *out, plmm_error *err)
{
    static const plmm_json_limits limits = {
        .bytes = 1 << 20, .string_bytes = 1 << 16, .nodes = 100000, .depth = 16};
    plmm_json *root = NULL;
    PLMM_TRY(plmm_json_parse(text, len, source, &limits, &root, err));
    plmm_status rc;
    if (plmm_json_type_of(root) != PLMM_JSON_OBJECT) {
        char found[PLMM__DESCRIBE_BYTES];
        plmm__json_describe(root, found);
        rc = plmm_fail(err, PLMM_ERR_CONFIG, "%s: is %s, must be an object", source, found);
    } else {
        rc = apply(t, apply_root, root, source, out, err);
    }
    plmm_json_free(root);
    return rc;
}

/* ---- defaults and --set: bare text to JSON, then as above ---- */

static void put_words(plmm_json_writer *w, const plmm_config_key *k, const char *text)
{
    plmm_json_open_array(w);
    while (*text != '\0') {
        size_t n = strcspn(text, ",");
        double v = 0;
        char word[PLMM_JSON_NUMBER_BYTES + 1] = {0};
        memcpy(word, text, n < sizeof word - 1 ? n : sizeof word - 1);
        if (k->type != PLMM_CONFIG_T_TEXTS && plmm_real_parse(word, &v, NULL) == PLMM_OK) {
            plmm_json_put_real(w, v);
        } else {
            plmm_json_put_bytes(w, text, n);
        }
        text += n + (text[n] == ',');
    }
    plmm_json_close_array(w);
}

/* The bare text of --set as JSON in *json. */
static plmm_status quote(const plmm_config_key *k, const char *text, plmm_text *json,
                         plmm_error *err)
{
    plmm_json_writer w;
    bool words = k->type == PLMM_CONFIG_T_TEXT || k->type == PLMM_CONFIG_T_ENUM;
    bool list = k->count != 0 && k->type != PLMM_CONFIG_T_OBJECTS && *text != '[';
    if (!words && !list) {
        return plmm_text_sink(json, text, strlen(text), err);
    }
    plmm_json_begin(&w, PLMM_JSON_COMPACT, plmm_text_sink, json);
    if (list) {
        put_words(&w, k, text);
    } else {
        plmm_json_put_text(&w, text);
    }
    return plmm_json_end(&w, err);
}

typedef struct override {
    const plmm_config_key *key;
    const plmm_json *value;
} override;

static plmm_status apply_override(const plmm_config_table *t, const void *what, const char *where,
                                  void *out, plmm_error *err)
{
    (void)t;
    const override *o = what;
    return set_key(o->key, o->value, where, o->key->path, out, err);
}

static plmm_status set_bare(const plmm_config_table *t, const plmm_config_key *k, const char *text,
                            const char *where, bool direct, void *out, plmm_error *err)
{
    plmm_text json = {0};
    plmm_json *value = NULL;
    plmm_status rc = quote(k, text, &json, err);
    if (rc == PLMM_OK &&
        plmm_json_parse(json.text, json.len, where, NULL, &value, NULL) != PLMM_OK) {
        char expected[EXPECTED_BYTES];
        print_expected(k, expected);
        rc = plmm_fail(err, PLMM_ERR_CONFIG, "%s: %s is \"%.40s\", must be %s", where, k->path,
                       text, expected);
    }
    if (rc == PLMM_OK) {
        override o = {k, value};
        rc = direct ? apply_override(t, &o, where, out, err)
                    : apply(t, apply_override, &o, where, out, err);
    }
    plmm_json_free(value);
    plmm_text_free(&json);
    return rc;
}

void plmm_config_defaults(const plmm_config_table *t, void *out)
{
    for (size_t i = 0; i < t->n; i++) {
        plmm_error err = {0};
        plmm_status rc = set_bare(t, &t->keys[i], t->keys[i].fallback, "default", true, out, &err);
        PLMM_ASSERT(rc == PLMM_OK);
    }
}

plmm_status plmm_config_set(const plmm_config_table *t, const char *assignment, void *out,
                            plmm_error *err)
{
    const char *equals = strchr(assignment, '=');
    if (equals == NULL) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "--set %.80s: expected key=value", assignment);
    }
    char path[PLMM_CONFIG_KEY_BYTES];
    (void)snprintf(path, sizeof path, "%.*s", (int)(equals - assignment), assignment);
    const plmm_config_key *k = find_key(t, path);
    if (k == NULL) {
        return unknown_key(t, "--set", path, "", err);
    }
    return set_bare(t, k, equals + 1, "--set", false, out, err);
}

/* ---- printing ---- */

static void dump_scalar(const plmm_config_key *k, const uint8_t *at, plmm_json_writer *w)
{
    bool flag;
    uint32_t u32;
    uint64_t u64;
    double real;
    switch (k->type) {
    case PLMM_CONFIG_T_BOOL:
        memcpy(&flag, at, sizeof flag);
        plmm_json_put_bool(w, flag);
        break;
    case PLMM_CONFIG_T_U32:
    case PLMM_CONFIG_T_U32S:
        memcpy(&u32, at, sizeof u32);
        plmm_json_put_int(w, u32);
        break;
    case PLMM_CONFIG_T_U64:
        memcpy(&u64, at, sizeof u64);
        plmm_json_put_u64(w, u64);
        break;
    case PLMM_CONFIG_T_REAL:
    case PLMM_CONFIG_T_REALS:
        memcpy(&real, at, sizeof real);
        plmm_json_put_real(w, real);
        break;
    case PLMM_CONFIG_T_TEXT:
    case PLMM_CONFIG_T_TEXTS:
        plmm_json_put_text(w, (const char *)at);
        break;
    case PLMM_CONFIG_T_ENUM:
        memcpy(&u32, at, sizeof u32);
        plmm_json_put_text(w, k->names[u32]);
        break;
    case PLMM_CONFIG_T_OBJECTS:
        plmm_config_dump(k->fields, at, w);
        break;
    }
}

static void dump_key(const plmm_config_key *k, const void *in, plmm_json_writer *w)
{
    const uint8_t *at = (const uint8_t *)in + k->offset;
    if (k->count == 0) {
        dump_scalar(k, at, w);
        return;
    }
    uint32_t n;
    memcpy(&n, (const uint8_t *)in + k->count_offset, sizeof n);
    PLMM_ASSERT(n <= k->count);
    plmm_json_open_array(w);
    for (uint32_t i = 0; i < n; i++) {
        dump_scalar(k, at + i * k->size, w);
    }
    plmm_json_close_array(w);
}

/* Length of the dotted prefix, cut at a dot, that a and b share. */
static size_t shared_sections(const char *a, const char *b)
{
    size_t shared = 0;
    for (size_t i = 0; a[i] == b[i] && a[i] != '\0'; i++) {
        shared = a[i] == '.' ? i + 1 : shared;
    }
    return shared;
}

static size_t dots(const char *s)
{
    size_t n = 0;
    for (; *s != '\0'; s++) {
        n += *s == '.';
    }
    return n;
}

/* A section that opens at key i must not have been open before key i - 1. */
static void assert_sections_together(const plmm_config_table *t, size_t i, size_t len)
{
    for (size_t j = 0; j < i; j++) {
        PLMM_ASSERT(strncmp(t->keys[j].path, t->keys[i].path, len) != 0);
    }
}

void plmm_config_dump(const plmm_config_table *t, const void *in, plmm_json_writer *w)
{
    plmm_json_open_object(w);
    const char *before = "";
    for (size_t i = 0; i < t->n; i++) {
        const char *path = t->keys[i].path;
        const char *rest = path + shared_sections(before, path);
        for (size_t n = dots(before + (rest - path)); n > 0; n--) {
            plmm_json_close_object(w);
        }
        for (const char *dot = strchr(rest, '.'); dot != NULL; dot = strchr(rest, '.')) {
            char name[PLMM_CONFIG_KEY_BYTES];
            (void)snprintf(name, sizeof name, "%.*s", (int)(dot - rest), rest);
            assert_sections_together(t, i, (size_t)(dot + 1 - path));
            plmm_json_put_key(w, name);
            plmm_json_open_object(w);
            rest = dot + 1;
        }
        plmm_json_put_key(w, rest);
        dump_key(&t->keys[i], in, w);
        before = path;
    }
    for (size_t n = dots(before); n > 0; n--) {
        plmm_json_close_object(w);
    }
    plmm_json_close_object(w);
}

static plmm_status say(plmm_text *t, const char *prefix, const char *s, plmm_error *err)
{
    PLMM_TRY(plmm_text_sink(t, prefix, strlen(prefix), err));
    return plmm_text_sink(t, s, strlen(s), err);
}

static plmm_status print_key(const plmm_config_key *k, const char *prefix, const void *in,
                             plmm_text *t, plmm_error *err)
{
    char expected[EXPECTED_BYTES];
    print_expected(k, expected);
    PLMM_TRY(say(t, prefix, k->path, err));
    if (in != NULL) {
        plmm_json_writer w;
        PLMM_TRY(say(t, " = ", "", err));
        plmm_json_begin(&w, PLMM_JSON_COMPACT, plmm_text_sink, t);
        dump_key(k, in, &w);
        PLMM_TRY(plmm_json_end(&w, err));
    }
    PLMM_TRY(say(t, "\n    ", k->help, err));
    PLMM_TRY(say(t, "\n    ", expected, err));
    PLMM_TRY(say(t, "; default ", *k->fallback != '\0' ? k->fallback : "empty", err));
    PLMM_TRY(say(t, "\n", "", err));
    for (size_t i = 0; k->fields != NULL && i < k->fields->n; i++) {
        char inner[PLMM_CONFIG_KEY_BYTES + 8];
        (void)snprintf(inner, sizeof inner, "%s%s[].", prefix, k->path);
        PLMM_TRY(print_key(&k->fields->keys[i], inner, NULL, t, err));
    }
    return PLMM_OK;
}

plmm_status plmm_config_print(const plmm_config_table *t, const void *in, plmm_json_sink sink,
                              void *ctx, plmm_error *err)
{
    plmm_text text = {0};
    plmm_status rc = say(&text, t->title, "\n\n", err);
    for (size_t i = 0; i < t->n && rc == PLMM_OK; i++) {
        rc = print_key(&t->keys[i], "", in, &text, err);
    }
    if (rc == PLMM_OK) {
        rc = sink(ctx, text.text, text.len, err);
    }
    plmm_text_free(&text);
    return rc;
}
