/* Dialogues, chats and scores. */
#include "plmm/alloc.h"
#include "plmm/chat.h"
#include "plmm/dialogue.h"
#include "plmm/score.h"
#include "test.h"

#include <math.h>

/* --- reading --- */

static void test_forms(void)
{
    static const struct {
        const char *text;
        size_t n;
        const char *users, *prompts, *responses; /* joined by | */
    } rows[] = {
        {"", 0, "", "", ""},
        {"\n\n", 0, "", "", ""},
        {"{\"prompt\":\"p\",\"response\":\"r\",\"user\":\"u\"}\n\n{\"prompt\":\"q\",\"response\":"
         "\"\",\"user\":7}\n",
         2, "u|7", "p|q", "r|"},
        {"[{\"prompt\":\"p\",\"response\":\"r\"},\n {\"prompt\":\"q\",\"response\":\"s\"}]", 2, "|",
         "p|q", "r|s"},
        {"{\"instruction\":\"i\",\"input\":\"x\",\"output\":\"o\"}", 1, "", "i\nx", "o"},
        {"{\"instruction\":\"i\",\"input\":\"\",\"output\":\"o\"}", 1, "", "i", "o"},
        {"{\"instruction\":\"i\",\"output\":\"o\",\"id\":\"row 9\"}", 1, "", "i", "o"},
        {"{\"text\":\"plain\"}", 1, "", "", "plain"},
        {"{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":"
         "\"a\"},{\"role\":\"assistant\",\"content\":\"b\"},{\"role\":\"user\",\"content\":\"c\"},"
         "{\"role\":\"assistant\",\"content\":\"d\"},{\"role\":\"user\",\"content\":\"open\"}]}",
         2, "|", "a|c", "b|d"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":"
         "\"b\"},{\"role\":\"assistant\",\"content\":\"c\"},{\"role\":\"assistant\",\"content\":"
         "\"d\"}]}",
         1, "", "a\nb", "c\nd"},
        {"[{\"id\":\"valid_0\",\"meta\":{\"user\":[\"x\"]},\"dialogue\":[[\"a\",\"b\"],[\"c\","
         "\"d\"]]},{\"id\":\"valid_1\",\"dialogue\":[]},{\"id\":\"valid_2\",\"dialogue\":[[\"e\","
         "\"f\"]]}]",
         3, "valid_0|valid_0|valid_2", "a|c|e", "b|d|f"},
        {"{\"id\":1,\"turns\":[[\"U\",\"a\"],[\"S\",\"b\",\"tag\"],[\"S\",\"c\"],[\"U\",\"d\"],"
         "[\"S\",\"e\"]]}",
         2, "1|1", "a|d", "b\nc|e"},
        {"{\"messages\":[]}", 0, "", "", ""},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        plmm_dialogue_reader *r = NULL;
        const plmm_dialogue *d = NULL;
        plmm_error err = {0};
        char users[128] = "", prompts[128] = "", responses[128] = "";
        size_t n = 0;
        CHECK(plmm_dialogue_parse(rows[i].text, strlen(rows[i].text), "t", &r, &err) == PLMM_OK,
              "%s", err.msg);
        plmm_status rc = PLMM_OK;
        while ((rc = plmm_dialogue_next(r, &d, &err)) == PLMM_OK && d != NULL) {
            (void)strcat(strcat(users, n == 0 ? "" : "|"), d->user);
            (void)strcat(strcat(prompts, n == 0 ? "" : "|"), d->prompt);
            (void)strcat(strcat(responses, n == 0 ? "" : "|"), d->response);
            CHECK(d->time == (int64_t)n, "row %zu: time", i);
            n++;
        }
        CHECK(rc == PLMM_OK && n == rows[i].n, "row %zu: %zu pairs, %s", i, n, err.msg);
        CHECK(strcmp(users, rows[i].users) == 0, "row %zu: users %s", i, users);
        CHECK(strcmp(prompts, rows[i].prompts) == 0, "row %zu: prompts %s", i, prompts);
        CHECK(strcmp(responses, rows[i].responses) == 0, "row %zu: responses %s", i, responses);
        plmm_dialogue_close(r);
    }
}

static void test_bad_lines(void)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"{\"prompt\":\"p\",\"response\":\"r\"}\n{\"prompt\":", "t:2"},
        {"nonsense", "t:1"},
        {"{\"prompt\":\"p\"}", "t:1: response is missing"},
        {"{\"prompt\":\"p\",\"response\":3}", "t:1: response is no text"},
        {"{\"question\":\"p\"}", "the first key is \"question\""},
        {"\n\n{\"messages\":{}}", "t:3: messages is no list"},
        {"{\"messages\":[{\"role\":\"user\"}]}", "t:1: a message is not"},
        {"{\"dialogue\":[[\"a\"]]}", "t:1: an element of dialogue"},
        {"{\"turns\":[[\"a\"]]}", "t:1: a turn is not"},
        {"{\"turns\":[7,[\"a\",\"b\"]]}", "t:1: a turn is not"},
        {"{\"prompt\":\"p\",\"response\":\"r\",\"user\":[]}", "user is neither"},
        {"{\"prompt\":\"p\",\"response\":\"r\",\"time\":1e99}", "time"},
        {"[{\"prompt\":\"p\",\"response\":\"r\"}", "t:1"},
        {"[1]", "expected an object"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        plmm_dialogue_reader *r = NULL;
        const plmm_dialogue *d = NULL;
        plmm_error err = {0};
        plmm_status rc = plmm_dialogue_parse(rows[i].text, strlen(rows[i].text), "t", &r, &err);
        while (rc == PLMM_OK && (rc = plmm_dialogue_next(r, &d, &err)) == PLMM_OK && d != NULL) {
        }
        CHECK(plmm_status_exit(rc) == 2, "row %zu: %d", i, rc);
        CHECK(strstr(err.msg, rows[i].says) != NULL, "row %zu: %s", i, err.msg);
        CHECK(plmm_dialogue_next(r, &d, &err) == PLMM_OK && d == NULL, "row %zu: goes on", i);
        plmm_dialogue_close(r);
    }
    char *large = plmm_alloc(PLMM_DIALOGUE_TEXT_MAX + 64, 1);
    int n = sprintf(large, "{\"prompt\":\"p\",\"response\":\"");
    memset(large + n, 'x', PLMM_DIALOGUE_TEXT_MAX);
    memcpy(large + n + PLMM_DIALOGUE_TEXT_MAX, "\"}", 3);
    plmm_dialogue_reader *r = NULL;
    const plmm_dialogue *d = NULL;
    plmm_error err = {0};
    CHECK(plmm_dialogue_parse(large, strlen(large), "t", &r, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_dialogue_next(r, &d, &err) == PLMM_ERR_RANGE && strstr(err.msg, "t:1") != NULL, "%s",
          err.msg);
    plmm_dialogue_close(r);
    plmm_free(large);
    plmm_dialogues all = {0};
    CHECK(plmm_dialogues_read("/nonexistent.jsonl", 0, &all, &err) == PLMM_ERR_NOTFOUND, "%s",
          err.msg);
}

/* --- chats --- */

static plmm_tokenizer *tokenizer(bool with_specials)
{
    plmm_tokenizer_params p = {300, 1, plmm_chat_specials, with_specials ? PLMM_CHAT_SPECIALS : 1};
    plmm_tokenizer_trainer *tr = NULL;
    plmm_tokenizer *t = NULL;
    plmm_error err = {0};
    static const char text[] = "one two three four";
    bool ok = plmm_tokenizer_trainer_new(&p, &tr, &err) == PLMM_OK &&
              plmm_tokenizer_trainer_feed(tr, text, sizeof text - 1, &err) == PLMM_OK &&
              plmm_tokenizer_trainer_finish(tr, &t, &err) == PLMM_OK;
    CHECK(ok, "%s", err.msg);
    plmm_tokenizer_trainer_free(tr);
    return t;
}

/* The text of what is learnt, with special tokens spelt out. */
static void learnt(const plmm_tokenizer *t, const plmm_sample *s, char out[256])
{
    plmm_ids ids = {0};
    plmm_error err = {0};
    char *text = NULL;
    size_t len;
    for (size_t i = 0; i < s->targets.n; i++) {
        if (s->targets.v[i] >= 0) {
            CHECK(plmm_ids_push(&ids, s->targets.v[i], &err) == PLMM_OK, "%s", err.msg);
        }
        CHECK(i + 1 == s->ids.n || s->targets.v[i] < 0 || s->targets.v[i] == s->ids.v[i + 1],
              "target %zu", i);
    }
    CHECK(plmm_tokenizer_decode(t, ids.v, ids.n, 0, &text, &len, &err) == PLMM_OK, "%s", err.msg);
    (void)snprintf(out, 256, "%s", text);
    plmm_free(text);
    plmm_ids_free(&ids);
}

static void whole(const plmm_tokenizer *t, const plmm_ids *ids, char out[256])
{
    char *text = NULL;
    size_t len;
    plmm_error err = {0};
    CHECK(plmm_tokenizer_decode(t, ids->v, ids->n, 0, &text, &len, &err) == PLMM_OK, "%s", err.msg);
    (void)snprintf(out, 256, "%s", text);
    plmm_free(text);
}

static void test_chat(bool specials, const char *input, const char *learns, const char *asks,
                      const char *plain)
{
    plmm_tokenizer *t = tokenizer(specials);
    plmm_error err = {0};
    plmm_sample s = {{0}, {0}};
    plmm_ids ids = {0};
    plmm_chat c;
    char text[256];
    plmm_chat_init(&c, t, 0, -1);
    CHECK(c.tokens == specials, "form");
    CHECK(plmm_chat_sample(&c, "one<|end|>", "two", 0, &s, &err) == PLMM_OK, "%s", err.msg);
    CHECK(s.ids.n == s.targets.n, "%zu and %zu", s.ids.n, s.targets.n);
    whole(t, &s.ids, text);
    CHECK(strcmp(text, input) == 0, "\"%s\"", text);
    learnt(t, &s, text);
    CHECK(strcmp(text, learns) == 0, "\"%s\"", text);
    size_t marks = 0;
    for (size_t i = 0; specials && i < s.ids.n; i++) {
        marks += s.ids.v[i] == c.end;
    }
    CHECK(marks == 0, "a prompt forged the end of its turn");
    CHECK(plmm_chat_prompt(&c, "one", 0, &ids, &err) == PLMM_OK, "%s", err.msg);
    whole(t, &ids, text);
    CHECK(strcmp(text, asks) == 0, "\"%s\"", text);
    CHECK(plmm_chat_sample(&c, "", "one two", 0, &s, &err) == PLMM_OK, "%s", err.msg);
    learnt(t, &s, text);
    CHECK(strcmp(text, plain) == 0, "\"%s\"", text);
    plmm_ids_free(&ids);
    plmm_sample_free(&s);
    plmm_tokenizer_free(t);
}

/* Whatever the lengths: never more than max, the frame stays, the prompt keeps its end. */
static void test_cuts(void)
{
    plmm_tokenizer *t = tokenizer(true);
    plmm_error err = {0};
    plmm_sample s = {{0}, {0}};
    plmm_ids ids = {0};
    plmm_chat c;
    char prompt[64] = "", response[64] = "";
    plmm_chat_init(&c, t, 0, -1);
    int32_t y = plmm_tokenizer_find(t, "y"), z = plmm_tokenizer_find(t, "z");
    for (size_t p = 1; p < 40; p += 3) {
        memset(prompt, 'x', p);
        prompt[p - 1] = 'z';
        prompt[p] = '\0';
        for (size_t r = 0; r < 40; r += 3) {
            memset(response, 'y', r);
            response[r] = '\0';
            for (size_t max = 8; max < 64; max += 7) {
                CHECK(plmm_chat_sample(&c, prompt, response, max, &s, &err) == PLMM_OK, "%s",
                      err.msg);
                CHECK(s.ids.n <= max && s.ids.n == s.targets.n, "%zu of %zu", s.ids.n, max);
                CHECK(s.ids.v[0] == c.bos && s.ids.v[1] == c.user, "the frame's beginning");
                bool full = p + r + 3 <= max;
                CHECK(!full || s.ids.n == p + r + 3, "cut %zu + %zu without need", p, r);
                CHECK(!full || s.targets.v[s.ids.n - 1] == c.end, "the end is learnt");
                size_t learn = 0, frames = 0;
                for (size_t i = 0; i < s.targets.n; i++) {
                    learn += s.targets.v[i] >= 0;
                    CHECK(s.targets.v[i] < 0 || s.targets.v[i] == c.end || s.targets.v[i] == y,
                          "more than the response is learnt");
                    CHECK(s.ids.v[i] != c.assistant || s.ids.v[i - 1] == z, "the prompt's end");
                    frames += s.ids.v[i] == c.assistant;
                }
                CHECK(frames == 1, "%zu turns of the assistant", frames);
                CHECK(learn > 0, "p %zu r %zu max %zu: nothing to learn", p, r, max);
            }
        }
        CHECK(plmm_chat_prompt(&c, prompt, 8, &ids, &err) == PLMM_OK && ids.n <= 8, "%zu", ids.n);
        CHECK(ids.v[1] == c.user && ids.v[ids.n - 1] == c.assistant, "the frame");
        CHECK(ids.v[ids.n - 2] == plmm_tokenizer_find(t, "z"), "the prompt's end stays");
    }
    plmm_ids_free(&ids);
    plmm_sample_free(&s);
    plmm_tokenizer_free(t);
}

/* --- scores --- */

static void test_rouge(void)
{
    static const struct {
        const char *reference, *candidate;
        double p, r, f;
    } rows[] = {
        {"testing one two", "testing", 1, 1.0 / 3, 0.5},
        {"testing one two", "testing one", 1, 2.0 / 3, 0.8},
        {"testing one two", "", 0, 0, 0},
        {"", "", 0, 0, 0},
        {"the the the cat", "the cat the dog the", 4.0 / 5, 1, 8.0 / 9}, /* clipped, not sets */
        {"the cat", "the the the the", 0.25, 0.5, 1.0 / 3},
        {"It's 3.5 O'Clock!", "it s 3 5 o clock", 1, 1, 1},
        {"na\xC3\xAFve", "na ve", 1, 1, 1},
        {"\xE2\x84\xAA", "k", 1, 1, 1},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        plmm_rouge g;
        plmm_error err = {0};
        CHECK(plmm_rouge1(rows[i].reference, rows[i].candidate, &g, &err) == PLMM_OK, "%s",
              err.msg);
        CHECK(fabs(g.precision - rows[i].p) < 1e-12 && fabs(g.recall - rows[i].r) < 1e-12 &&
                  fabs(g.f - rows[i].f) < 1e-12,
              "row %zu: %g %g %g", i, g.precision, g.recall, g.f);
    }
}

static void test_exact(void)
{
    static const struct {
        const char *a, *b;
        bool equal;
    } rows[] = {
        {"", "", true},
        {"", " .!", true},
        {"Blue", "blue.", true},
        {"a b", "a,  b", true},
        {"a b", "ab", false},
        {"ab", "a b", false},
        {"a", "", false},
        {" a b ", "a b", true},
        {"a b c", "a b", false},
        {"\xC3\xA9", "\xC3\xA8", false},
        {"\xC3\xA9!", "\xC3\xA9", true},
        {"a-b", "a b", true},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        CHECK(plmm_exact_match(rows[i].a, rows[i].b) == rows[i].equal, "row %zu", i);
        CHECK(plmm_exact_match(rows[i].b, rows[i].a) == rows[i].equal, "row %zu turned", i);
    }
    CHECK(fabs(plmm_perplexity(2 * log(7), 2) - 7) < 1e-12, "perplexity");
    CHECK(isnan(plmm_perplexity(0, 0)), "perplexity of nothing");
}

/* --- memory --- */

static plmm_status all_of_it(const plmm_tokenizer *t, plmm_error *err)
{
    static const char text[] = "{\"prompt\":\"one\",\"response\":\"two\",\"user\":\"u\"}\n"
                               "{\"turns\":[[\"a\",\"b\"],[\"c\",\"d\"]]}";
    plmm_dialogue_reader *r = NULL;
    const plmm_dialogue *d = NULL;
    plmm_sample s = {{0}, {0}};
    plmm_chat c;
    plmm_rouge g;
    plmm_chat_init(&c, t, 0, -1);
    PLMM_TRY(plmm_dialogue_parse(text, sizeof text - 1, "t", &r, err));
    plmm_status rc = plmm_dialogue_next(r, &d, err);
    while (rc == PLMM_OK && d != NULL) {
        rc = plmm_chat_sample(&c, d->prompt, d->response, 0, &s, err);
        if (rc == PLMM_OK) {
            rc = plmm_rouge1(d->prompt, d->response, &g, err);
        }
        if (rc == PLMM_OK) {
            rc = plmm_dialogue_next(r, &d, err);
        }
    }
    plmm_sample_free(&s);
    plmm_dialogue_close(r);
    return rc;
}

static void test_memory(void)
{
    plmm_tokenizer *t = tokenizer(true);
    long live = plmm_alloc_live();
    for (long k = 0;; k++) {
        plmm_error err = {0};
        plmm_alloc_fail_at(k);
        plmm_status rc = all_of_it(t, &err);
        plmm_alloc_fail_at(-1);
        CHECK(plmm_alloc_live() == live, "call %ld leaks %ld", k, plmm_alloc_live() - live);
        if (rc == PLMM_OK) {
            CHECK(k > 10, "only %ld allocations", k);
            break;
        }
        CHECK(rc == PLMM_ERR_NOMEM && err.msg[0] != '\0', "call %ld: %d %s", k, rc, err.msg);
    }
    plmm_tokenizer_free(t);
}

int main(void)
{
    test_forms();
    test_bad_lines();
    test_chat(true, "<|begin|><|user|>one<|end|><|assistant|>two", "two<|end|>",
              "<|begin|><|user|>one<|assistant|>", "one two<|end|>");
    test_chat(false, "<|begin|>User: one<|end|>\nAssistant: two", " two\n",
              "<|begin|>User: one\nAssistant:", "one two\n");
    test_cuts();
    test_rouge();
    test_exact();
    test_memory();
    CHECK(plmm_alloc_live() == 0, "%ld blocks leaked", plmm_alloc_live());
    return plmm_test_end();
}
