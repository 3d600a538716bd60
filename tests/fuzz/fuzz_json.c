/* Any bytes: the reader refuses or gives a tree that the writer puts out and the reader takes
 * back; walking the text where it lies meets the same values. */
#include "plmm/json.h"
#include "plmm/json_walk.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void write_node(const plmm_json *n, plmm_json_writer *w)
{
    switch (plmm_json_type_of(n)) {
    case PLMM_JSON_NULL:
        plmm_json_put_null(w);
        break;
    case PLMM_JSON_BOOL:
        plmm_json_put_bool(w, plmm_json_true(n));
        break;
    case PLMM_JSON_NUMBER:
        plmm_json_put_real(w, plmm_json_number(n));
        break;
    case PLMM_JSON_STRING:
        plmm_json_put_text(w, plmm_json_text(n));
        break;
    case PLMM_JSON_ARRAY:
        plmm_json_open_array(w);
        for (const plmm_json *c = plmm_json_first(n); c != NULL; c = plmm_json_next(c)) {
            write_node(c, w);
        }
        plmm_json_close_array(w);
        break;
    case PLMM_JSON_OBJECT:
        plmm_json_open_object(w);
        for (const plmm_json *c = plmm_json_first(n); c != NULL; c = plmm_json_next(c)) {
            plmm_json_put_key(w, plmm_json_key(c));
            write_node(c, w);
        }
        plmm_json_close_object(w);
        break;
    }
}

static plmm_text print(const plmm_json *root)
{
    plmm_text t = {0};
    plmm_json_writer w;
    plmm_json_begin(&w, PLMM_JSON_COMPACT, plmm_text_sink, &t);
    write_node(root, &w);
    PLMM_ASSERT(plmm_json_end(&w, NULL) == PLMM_OK);
    return t;
}

/* Is the slice the same string, with room for it and with one byte too little? */
static void same_text(plmm_json_slice v, const char *text)
{
    size_t n = strlen(text);
    char *buf = malloc(v.len);
    PLMM_ASSERT(buf != NULL && plmm_json_slice_text(v, buf, v.len) == n);
    PLMM_ASSERT(strcmp(buf, text) == 0 && plmm_json_slice_is(v, text));
    PLMM_ASSERT(plmm_json_slice_text(v, buf, n) == SIZE_MAX);
    free(buf);
}

static void same_value(plmm_json_slice v, const plmm_json *n)
{
    plmm_json_walk w;
    uint64_t whole;
    PLMM_ASSERT(plmm_json_slice_type(v) == plmm_json_type_of(n));
    PLMM_ASSERT(plmm_json_slice_true(v) == plmm_json_true(n));
    PLMM_ASSERT(plmm_json_slice_count(v) == plmm_json_count(n));
    if (plmm_json_text(n) != NULL) {
        same_text(v, plmm_json_text(n));
    }
    if (plmm_json_slice_whole(v, UINT64_C(1) << 53, &whole)) {
        PLMM_ASSERT(plmm_json_number(n) == (double)whole);
    }
    const plmm_json *c = plmm_json_first(n);
    plmm_json_walk_init(&w, v);
    for (; plmm_json_walk_next(&w); c = plmm_json_next(c)) {
        same_value(w.value, c);
        if (plmm_json_key(c) != NULL) {
            same_text(w.key, plmm_json_key(c));
        }
    }
    PLMM_ASSERT(c == NULL);
}

static void read_sequence(const char *text, size_t len)
{
    plmm_json_seq s;
    plmm_json_seq_init(&s, text, len, "fuzz", NULL);
    for (size_t i = 0; i <= len + 1; i++) {
        plmm_json *v = NULL;
        if (plmm_json_seq_next(&s, &v, NULL) == PLMM_OK && v == NULL) {
            return;
        }
        plmm_json_free(v);
    }
    abort(); /* each call must take at least one byte */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const char *text = (const char *)data;
    plmm_json *root = NULL;
    read_sequence(text, len);
    plmm_json_slice slice;
    plmm_status checked = plmm_json_check(text, len, "fuzz", NULL, &slice, NULL);
    if (plmm_json_parse(text, len, "fuzz", NULL, &root, NULL) != PLMM_OK) {
        PLMM_ASSERT(checked != PLMM_OK);
        return 0;
    }
    PLMM_ASSERT(checked == PLMM_OK);
    same_value(slice, root);
    plmm_text once = print(root), twice;
    plmm_json_free(root);
    PLMM_ASSERT(plmm_json_parse(once.text, once.len, "fuzz", NULL, &root, NULL) == PLMM_OK);
    twice = print(root);
    PLMM_ASSERT(once.len == twice.len);
    for (size_t i = 0; i < once.len; i++) {
        PLMM_ASSERT(once.text[i] == twice.text[i]);
    }
    plmm_json_free(root);
    plmm_text_free(&once);
    plmm_text_free(&twice);
    return 0;
}
