/* nn: text as tokens come: whole characters, stop texts over the borders of tokens. */
#include "plmm/alloc.h"
#include "plmm/stream.h"
#include "test.h"

typedef struct heard {
    char s[512];
    size_t n, calls, end_after;
    bool broken; /* a call ended inside a character */
} heard;

static bool hear(void *user, const char *text, size_t n)
{
    heard *h = user;
    memcpy(h->s + h->n, text, n);
    h->n += n;
    h->calls++;
    unsigned char last = (unsigned char)text[n - 1];
    h->broken = h->broken || last >= 0xC2; /* a lead byte at the end */
    return h->calls != h->end_after;
}

/* A byte-level tokenizer without merges: a token a byte. */
static plmm_tokenizer *bytes_tokenizer(void)
{
    static const char *const specials[] = {"<|end|>"};
    plmm_tokenizer_params p = {257, 1, specials, 1};
    plmm_tokenizer_trainer *tr = NULL;
    plmm_tokenizer *t = NULL;
    plmm_error err;
    PLMM_ASSERT(plmm_tokenizer_trainer_new(&p, &tr, &err) == PLMM_OK);
    PLMM_ASSERT(plmm_tokenizer_trainer_finish(tr, &t, &err) == PLMM_OK);
    plmm_tokenizer_trainer_free(tr);
    return t;
}

/* Feeds text token by token; returns how many were taken. */
static size_t feed(const plmm_tokenizer *t, plmm_stream *s, const char *text)
{
    plmm_ids ids = {0};
    plmm_error err;
    size_t i = 0;
    PLMM_ASSERT(plmm_tokenizer_encode(t, text, strlen(text), 0, &ids, &err) == PLMM_OK);
    while (i < ids.n && plmm_stream_token(s, ids.v[i])) {
        i++;
    }
    plmm_ids_free(&ids);
    return i;
}

static void test_stops(void)
{
    static const struct {
        const char *text, *stops[3], *want;
        bool stopped;
    } rows[] = {
        {"hello world", {NULL}, "hello world", false},
        {"hello world", {"wor"}, "hello ", true},
        {"hello wo", {"wor"}, "hello wo", false}, /* held back, then passed on */
        {"aaab", {"aab"}, "a", true},             /* a beginning inside a beginning */
        {"aaaa", {"aab"}, "aaaa", false},
        {"one\nUser: two", {"\nUser:", "\n\n"}, "one", true},
        {"one\n\nUser: two", {"\nUser:", "\n\n"}, "one", true},
        {"abcabd", {"abd", "cab"}, "ab", true}, /* the first to be whole */
        {"x", {"x"}, "", true},
        {"caf\xC3\xA9 \xF0\x9F\x99\x82!", {"!"}, "caf\xC3\xA9 \xF0\x9F\x99\x82", true},
        {"\xC3\xA9\xC3\xA8", {"\xC3\xA8"}, "\xC3\xA9", true},
        {"bad \xFF\xC3 z", {NULL}, "bad \xFF\xC3 z", false},
        {"cut \xE2\x82", {NULL}, "cut \xE2\x82", false},
    };
    plmm_tokenizer *t = bytes_tokenizer();
    for (size_t i = 0; i < COUNT(rows); i++) {
        heard h = {.n = 0};
        plmm_stream *s = NULL;
        plmm_error err = {0};
        plmm_stream_params p = {.tokenizer = t, .stops = rows[i].stops, .each = hear, .user = &h};
        while (p.n_stops < 3 && rows[i].stops[p.n_stops] != NULL) {
            p.n_stops++;
        }
        CHECK(plmm_stream_new(&p, &s, &err) == PLMM_OK, "%s", err.msg);
        (void)feed(t, s, rows[i].text);
        bool whole = !h.broken || strstr(rows[i].text, "\xFF") != NULL;
        CHECK(whole, "row %zu: a character in two calls", i);
        plmm_stream_end(s);
        CHECK(strcmp(h.s, rows[i].want) == 0, "row %zu: \"%s\"", i, h.s);
        CHECK(plmm_stream_stopped(s) == rows[i].stopped, "row %zu", i);
        size_t n = h.n;
        CHECK(!plmm_stream_token(s, 5) && h.n == n, "row %zu goes on after its end", i);
        plmm_stream_free(s);
    }
    plmm_tokenizer_free(t);
}

/* Text comes as soon as it is certain, special tokens are no text, and the callback may end it. */
static void test_callback(void)
{
    plmm_tokenizer *t = bytes_tokenizer();
    heard h = {.n = 0};
    plmm_stream *s = NULL;
    plmm_error err = {0};
    const char *stops[] = {"bx"};
    plmm_stream_params p = {t, stops, 1, false, hear, &h};
    CHECK(plmm_stream_new(&p, &s, &err) == PLMM_OK, "%s", err.msg);
    CHECK(feed(t, s, "ab") == 2 && h.n == 1, "a is certain, b is not: %zu", h.n);
    CHECK(plmm_stream_token(s, 0) && h.n == 1, "a special token says nothing");
    CHECK(feed(t, s, "c") == 1 && h.n == 3, "now it is: %zu", h.n);
    h.end_after = h.calls + 1;
    CHECK(feed(t, s, "def") == 0 && h.n == 4, "the callback ends it at %zu", h.n);
    CHECK(!plmm_stream_stopped(s), "which is no stop text");
    plmm_stream_free(s);
    plmm_tokenizer_free(t);
}

static void test_refusals(void)
{
    static char big[PLMM_STREAM_STOP_MAX + 2];
    plmm_tokenizer *t = bytes_tokenizer();
    plmm_stream *s = NULL;
    plmm_error err = {0};
    const char *many[PLMM_STREAM_STOPS + 1];
    memset(big, 'x', sizeof big - 1);
    for (size_t i = 0; i < COUNT(many); i++) {
        many[i] = "stop";
    }
    plmm_stream_params p = {.tokenizer = t, .stops = many, .n_stops = COUNT(many), .each = hear};
    CHECK(plmm_stream_new(&p, &s, &err) == PLMM_ERR_RANGE, "%s", err.msg);
    p.n_stops = 2;
    many[1] = big;
    CHECK(plmm_stream_new(&p, &s, &err) == PLMM_ERR_RANGE, "%s", err.msg);
    many[1] = "";
    CHECK(plmm_stream_new(&p, &s, &err) == PLMM_ERR_RANGE, "%s", err.msg);
    many[1] = "end";
    for (long k = 0; k < 3; k++) {
        plmm_alloc_fail_at(k);
        CHECK(plmm_stream_new(&p, &s, &err) == PLMM_ERR_NOMEM && s == NULL, "call %ld", k);
        plmm_alloc_fail_at(-1);
    }
    plmm_tokenizer_free(t);
}

int main(void)
{
    test_stops();
    test_callback();
    test_refusals();
    CHECK(plmm_alloc_live() == 0, "%ld blocks leak", plmm_alloc_live());
    return plmm_test_end();
}
