/* base/json: what is accepted, what is refused and where, getters, sequences, the writer. */
#include "plmm/alloc.h"
#include "plmm/json.h"
#include "plmm/json_walk.h"
#include "test.h"

#include <math.h>

static void test_refusals(void)
{
    static const struct {
        const char *text, *message; /* message NULL: accepted */
    } rows[] = {
        {"{\"a\": [1, -2.5e3, true, null, \"\\u00e9\\ud83d\\ude00\"]}", NULL},
        {" 7 ", NULL},
        {"\xef\xbb\xbf{}", NULL},
        {"", "f:1:1: the text ends where a value should be"},
        {"{\"a\":1,}", "f:1:8: expected a member's name in double quotes"},
        {"[1,\n 2,\n x]", "f:3:2: expected a value"},
        {"[1 2]", "f:1:4: expected ',' or ']'"},
        {"{\"a\" 1}", "f:1:6: expected ':' after the member's name"},
        {"{\"a\":1", "f:1:7: the text ends before its last bracket is closed"},
        {"[01]", "f:1:2: this is not a number as JSON writes it"},
        {"[1.]", "f:1:2: this is not a number as JSON writes it"},
        {"[+1]", "f:1:2: expected a value"},
        {"[NaN]", "f:1:2: expected a value"},
        {"[1e999]", "f:1:2: this number is too large"},
        {"[1] x", "f:1:5: expected the end of the text"},
        {"\"ab", "f:1:4: the text ends inside a string"},
        {"\"a\tb\"", "f:1:3: a control character in a string must be escaped"},
        {"\"\\x\"", "f:1:2: no such escape; allowed are \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX"},
        {"\"\\u0000\"", "f:1:2: \\u0000 in a string is not supported"},
        {"\"\\ud800\"", "f:1:2: half of a surrogate pair"},
        {"\"\\udc00\\ud800\"", "f:1:2: half of a surrogate pair"},
        {"\"\xc3\"", "f:1:2: this is not UTF-8"},
        {"\"\xe2\x82\xac \xc0\x80\"", "f:1:4: this is not UTF-8"},
        {"\"\xed\xa0\x80\"", "f:1:2: this is not UTF-8"},
        {"[[[[[1]]]]]", "f:1:5: nested too deeply"},
        {"[1,2,3,4,5,6,7,8,9]", "f:1:16: too many values"},
        {"\"0123456789012345678901234567890123456789\"",
         "f:1:35: this string is longer than the limit"},
    };
    static const plmm_json_limits tiny = {.nodes = 8, .depth = 4, .string_bytes = 33};
    for (size_t i = 0; i < COUNT(rows); i++) {
        plmm_json *root = NULL;
        plmm_error err = {0};
        plmm_status rc =
            plmm_json_parse(rows[i].text, strlen(rows[i].text), "f", &tiny, &root, &err);
        CHECK((rc == PLMM_OK) == (rows[i].message == NULL), "%s: %s", rows[i].text, err.msg);
        CHECK((root == NULL) == (rc != PLMM_OK), "%s", rows[i].text);
        CHECK(rows[i].message == NULL || strcmp(err.msg, rows[i].message) == 0, "%s: got '%s'",
              rows[i].text, err.msg);
        plmm_json_free(root);
    }
}

static void check_getters(const plmm_json *o)
{
    plmm_error err = {0};
    int64_t i = -1;
    uint32_t u = 5;
    double d = 0;
    bool b = false;
    const char *s = NULL;
    const plmm_json *n = NULL;
    CHECK(plmm_json_need_int(o, "c", "big", 0, INT64_MAX, &i, &err) == PLMM_OK &&
              i == INT64_C(9007199254740992),
          "2^53 is exact");
    CHECK(plmm_json_need_u32(o, "config.json", "text", 1, 65536, &u, &err) == PLMM_ERR_FORMAT &&
              strcmp(err.msg, "config.json: text is \"x\", expected an integer in 1..65536") == 0,
          "got '%s'", err.msg);
    CHECK(plmm_json_need_u32(o, "c", "half", 0, 9, &u, &err) == PLMM_ERR_RANGE && u == 5, "0.5");
    CHECK(plmm_json_need_u32(o, "c", "gone", 0, 9, &u, &err) == PLMM_ERR_FORMAT &&
              strcmp(err.msg, "c: gone is missing, expected an integer in 0..9") == 0,
          "got '%s'", err.msg);
    CHECK(plmm_json_may_u32(o, "c", "gone", 0, 9, &u, &err) == PLMM_OK && u == 5, "optional");
    CHECK(plmm_json_may_u32(o, "c", "none", 0, 9, &u, &err) == PLMM_OK && u == 5, "null");
    CHECK(plmm_json_need_u32(o, "c", "none", 0, 9, &u, &err) == PLMM_ERR_FORMAT, "null");
    CHECK(plmm_json_need_real(o, "c", "half", 0, 1, &d, &err) == PLMM_OK && d == 0.5, "real");
    CHECK(plmm_json_need_real(o, "c", "half", 0, 0.25, &d, &err) == PLMM_ERR_RANGE &&
              strcmp(err.msg, "c: half is 0.5, expected a number in 0..0.25") == 0,
          "got '%s'", err.msg);
    CHECK(plmm_json_need_bool(o, "c", "yes", &b, &err) == PLMM_OK && b, "bool");
    CHECK(plmm_json_may_bool(o, "c", "half", &b, &err) == PLMM_ERR_FORMAT, "no bool");
    CHECK(plmm_json_need_text(o, "c", "text", 1, &s, &err) == PLMM_OK && *s == 'x', "text");
    CHECK(plmm_json_need_text(o, "c", "text", 0, &s, &err) == PLMM_ERR_RANGE, "too long");
    CHECK(plmm_json_need_node(o, "c", "list", PLMM_JSON_ARRAY, &n, &err) == PLMM_OK &&
              plmm_json_count(n) == 3,
          "array");
    CHECK(plmm_json_need_node(o, "c", "list", PLMM_JSON_OBJECT, &n, &err) == PLMM_ERR_FORMAT &&
              strcmp(err.msg, "c: list is an array of 3, expected an object") == 0,
          "got '%s'", err.msg);
    CHECK(strcmp(plmm_json_key(plmm_json_first(o)), "big") == 0, "order is kept");
    CHECK(plmm_json_get(n, "x") == NULL && plmm_json_get(NULL, "x") == NULL, "no object");
}

static void test_getters(void)
{
    static const char text[] = "{\"big\": 9007199254740992, \"text\": \"x\", \"half\": 0.5,"
                               "\"none\": null, \"yes\": true, \"list\": [1,2,3]}";
    plmm_json *o = NULL;
    plmm_error err = {0};
    CHECK(plmm_json_parse(text, strlen(text), "f", NULL, &o, &err) == PLMM_OK, "%s", err.msg);
    if (o != NULL) {
        check_getters(o);
    }
    plmm_json_free(o);
}

/* Reads a sequence; writes numbers and '!' for errors, with their lines, to out. */
static void run_seq(const char *text, char *out, size_t cap)
{
    plmm_json_seq s;
    plmm_json_seq_init(&s, text, strlen(text), "f", NULL);
    size_t used = 0;
    out[0] = '\0';
    for (int i = 0; i < 20; i++) {
        plmm_json *v = NULL;
        plmm_error err = {0};
        plmm_status rc = plmm_json_seq_next(&s, &v, &err);
        if (rc == PLMM_OK && v == NULL) {
            break;
        }
        if (rc == PLMM_OK) {
            used += (size_t)snprintf(out + used, cap - used, "%g@%u ", plmm_json_number(v), s.line);
        } else {
            used += (size_t)snprintf(out + used, cap - used, "[%s] ", err.msg);
        }
        plmm_json_free(v);
    }
}

static void test_seq(void)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"", ""},
        {"1\n2\n\n  3 \n", "1@1 2@2 3@4 "},
        {"1\n2 2\n3", "1@1 [f:2: expected one value on the line] 3@3 "},
        {"1\n{\n3", "1@1 [f:2: expected a member's name in double quotes] 3@3 "},
        {"\xef\xbb\xbf 5\n", "5@1 "},
        {"[]", ""},
        {" [1,\n2, \n\n{\"a\":\n1},\n4]\n", "1@1 2@2 0@4 4@6 "},
        {"[1,\n2,\nx]", "1@1 2@2 [f:3: expected a value] "},
        {"[1 2]", "1@1 [f:1: expected ',' or ']'] "},
        {"[1] 2", "1@1 [f:1: expected the end of the text] "},
        {"[1,", "1@1 [f:1: the text ends where a value should be] "},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char got[512];
        run_seq(rows[i].text, got, sizeof got);
        CHECK(strcmp(got, rows[i].want) == 0, "row %zu: got '%s'", i, got);
    }
}

static void write_sample(plmm_json_writer *w)
{
    plmm_json_open_object(w);
    plmm_json_put_key(w, "t\"");
    plmm_json_put_text(w, "a\\\n\x01\xc3\xa9");
    plmm_json_put_key(w, "bad");
    plmm_json_put_bytes(w, "x\xff", 2);
    plmm_json_put_key(w, "n");
    plmm_json_open_array(w);
    plmm_json_put_int(w, -3);
    plmm_json_put_u64(w, UINT64_MAX);
    plmm_json_put_real(w, 0.1);
    plmm_json_put_float(w, 0.1f);
    plmm_json_put_real(w, NAN);
    plmm_json_close_array(w);
    plmm_json_put_key(w, "e");
    plmm_json_open_object(w);
    plmm_json_close_object(w);
    plmm_json_put_key(w, "b");
    plmm_json_put_bool(w, false);
    plmm_json_close_object(w);
}

static void test_writer(void)
{
    static const char *const want =
        "{\"t\\\"\":\"a\\\\\\n\\u0001\xc3\xa9\",\"bad\":\"x\xef\xbf\xbd\",\"n\":[-3,"
        "18446744073709551615,0.1,0.1,null],\"e\":{},\"b\":false}";
    plmm_text t = {0};
    plmm_json_writer w;
    plmm_error err = {0};
    plmm_json_begin(&w, PLMM_JSON_COMPACT, plmm_text_sink, &t);
    write_sample(&w);
    CHECK(plmm_json_end(&w, &err) == PLMM_OK && strcmp(t.text, want) == 0, "got %s", t.text);
    plmm_json *root = NULL;
    CHECK(plmm_json_parse(t.text, t.len, "f", NULL, &root, &err) == PLMM_OK, "%s", err.msg);
    plmm_json_free(root);
    t.len = 0;
    plmm_json_begin(&w, PLMM_JSON_LINES, plmm_text_sink, &t);
    plmm_json_open_array(&w);
    plmm_json_close_array(&w);
    plmm_json_put_int(&w, 2);
    CHECK(plmm_json_end(&w, &err) == PLMM_OK && strcmp(t.text, "[]\n2\n") == 0, "got %s", t.text);
    t.len = 0;
    plmm_json_begin(&w, PLMM_JSON_PRETTY, plmm_text_sink, &t);
    plmm_json_open_object(&w);
    plmm_json_put_key(&w, "a");
    plmm_json_put_int(&w, 1);
    plmm_json_close_object(&w);
    CHECK(plmm_json_end(&w, &err) == PLMM_OK && strcmp(t.text, "{\n  \"a\": 1\n}") == 0, "got %s",
          t.text);
    plmm_text_free(&t);
}

static plmm_status full_sink(void *ctx, const char *bytes, size_t len, plmm_error *err)
{
    (void)bytes;
    *(size_t *)ctx += len;
    return plmm_fail(err, PLMM_ERR_IO, "the disk is full");
}

static void test_writer_failure(void)
{
    size_t taken = 0;
    plmm_json_writer w;
    plmm_error err = {0};
    plmm_json_begin(&w, PLMM_JSON_COMPACT, full_sink, &taken);
    plmm_json_open_array(&w);
    for (int i = 0; i < 5000; i++) {
        plmm_json_put_int(&w, i);
    }
    plmm_json_close_array(&w);
    CHECK(plmm_json_end(&w, &err) == PLMM_ERR_IO && strcmp(err.msg, "the disk is full") == 0,
          "got '%s'", err.msg);
    CHECK(taken <= 1024, "nothing is written after the first failure");
}

/* Every double must come back from its text to the bit. */
static void test_reals(void)
{
    uint64_t x = plmm_test_seed(1);
    for (int i = 0; i < 20000; i++) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        double v, back = 0;
        memcpy(&v, &x, sizeof v);
        char text[PLMM_REAL_CHARS];
        if (!isfinite(v)) {
            continue;
        }
        plmm_real_print(text, v);
        CHECK(plmm_real_parse(text, &back, NULL) == PLMM_OK && back == v, "%s", text);
    }
    double v = 7;
    CHECK(plmm_real_parse("0x10", &v, NULL) == PLMM_ERR_FORMAT && v == 7, "hex");
    CHECK(plmm_real_parse("", &v, NULL) == PLMM_ERR_FORMAT, "empty");
}

/* ---- walking ---- */

static void test_walk(void)
{
    static const char text[] =
        "\xef\xbb\xbf { \"a\" : [ 1, -2.5 ,[], {\"]\":\"}\\\"\" } ] ,\"b\":true,"
        "\"\\u00e9\\ud83d\\ude42\\n\":null , \"b\":\"second\" }\n";
    plmm_json_slice root, v;
    plmm_json_walk w;
    plmm_error err = {0};
    char buf[16];
    uint64_t whole = 0;
    CHECK(plmm_json_check(text, sizeof text - 1, "t", NULL, &root, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_json_slice_count(root) == 4, "%zu", plmm_json_slice_count(root));
    v = plmm_json_slice_get(root, "a");
    CHECK(plmm_json_slice_type(v) == PLMM_JSON_ARRAY && plmm_json_slice_count(v) == 4, "a");
    plmm_json_walk_init(&w, v);
    CHECK(plmm_json_walk_next(&w) && plmm_json_slice_whole(w.value, 1, &whole) && whole == 1, "1");
    CHECK(!plmm_json_slice_whole(w.value, 0, &whole), "1 is above 0");
    CHECK(plmm_json_walk_next(&w) && !plmm_json_slice_whole(w.value, 9, &whole), "-2.5");
    CHECK(plmm_json_walk_next(&w) && plmm_json_slice_count(w.value) == 0, "[]");
    CHECK(plmm_json_walk_next(&w), "the object");
    v = plmm_json_slice_get(w.value, "]");
    CHECK(plmm_json_slice_text(v, buf, 3) == 2 && strcmp(buf, "}\"") == 0, "%s", buf);
    CHECK(plmm_json_slice_text(v, buf, 2) == SIZE_MAX, "no room for the NUL");
    CHECK(!plmm_json_walk_next(&w) && !plmm_json_walk_next(&w), "the end stays the end");
    CHECK(plmm_json_slice_true(plmm_json_slice_get(root, "b")), "the first of equal names");
    CHECK(plmm_json_slice_type(plmm_json_slice_get(root, "c")) == PLMM_JSON_NULL, "absent");
    plmm_json_walk_init(&w, root);
    CHECK(plmm_json_walk_next(&w) && plmm_json_walk_next(&w) && plmm_json_walk_next(&w), "third");
    CHECK(plmm_json_slice_is(w.key, "\xc3\xa9\xf0\x9f\x99\x82\n"), "escapes of a name");
    CHECK(!plmm_json_slice_is(w.key, "\xc3\xa9") && !plmm_json_slice_is(w.value, "null"), "other");
    CHECK(plmm_json_check(text, sizeof text - 3, "t", NULL, &root, &err) == PLMM_ERR_FORMAT &&
              strncmp(err.msg, "t:1:", 4) == 0,
          "%s", err.msg);
    CHECK(plmm_json_check("1 2", 3, "t", NULL, &root, &err) == PLMM_ERR_FORMAT, "two values");
}

static void test_walk_tree(void)
{
    plmm_json_slice root;
    plmm_json *tree = NULL;
    plmm_error err = {0};
    long live = plmm_alloc_live();
    CHECK(plmm_json_check("{\"a\":[1,2,3]}", 13, "t", NULL, &root, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_alloc_live() == live, "checking allocates nothing");
    CHECK(plmm_json_slice_tree(root, "t", 5, &tree, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_json_count(plmm_json_get(tree, "a")) == 3, "the tree");
    plmm_json_free(tree);
    CHECK(plmm_json_slice_tree(root, "t", 4, &tree, &err) == PLMM_ERR_FORMAT, "five values");
    CHECK(plmm_json_slice_tree(plmm_json_slice_get(root, "b"), "t", 4, &tree, &err) == PLMM_OK &&
              plmm_json_type_of(tree) == PLMM_JSON_NULL,
          "absent is null");
    plmm_json_free(tree);
}

int main(void)
{
    test_walk();
    test_walk_tree();
    test_refusals();
    test_getters();
    test_seq();
    test_writer();
    test_writer_failure();
    test_reals();
    CHECK(plmm_alloc_live() == 0, "%ld blocks leak", plmm_alloc_live());
    return plmm_test_end();
}
