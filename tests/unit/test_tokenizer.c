/* Tokenizers: equality with Hugging Face tokenizers on fixtures (tests/tokenizer_roundtrip.py
 * --write), llama2.c's file, training, refusals, exhausted memory, long words. */
#include "plmm/alloc.h"
#include "plmm/bytes.h"
#include "plmm/file.h"
#include "plmm/json.h"
#include "plmm/tokenizer.h"
#include "sentence.h"
#include "test.h"

#include <math.h>

static bool same(const plmm_ids *ids, const plmm_json *list)
{
    size_t i = 0;
    for (const plmm_json *v = plmm_json_first(list); v != NULL; v = plmm_json_next(v), i++) {
        if (i >= ids->n || ids->v[i] != (int32_t)plmm_json_number(v)) {
            return false;
        }
    }
    return i == ids->n;
}

static void check_row(const plmm_tokenizer *t, const plmm_json *row, const char *name)
{
    plmm_ids ids = {0};
    plmm_error err = {0};
    char *out = NULL;
    size_t len;
    const char *s = plmm_json_text(plmm_json_get(row, "text"));
    const char *back = plmm_json_text(plmm_json_get(row, "back"));
    CHECK(plmm_tokenizer_encode(t, s, strlen(s), PLMM_ENCODE_SPECIALS, &ids, &err) == PLMM_OK,
          "%s: %s", name, err.msg);
    CHECK(same(&ids, plmm_json_get(row, "ids")), "%s: %s", name, s);
    CHECK(plmm_tokenizer_decode(t, ids.v, ids.n, 0, &out, &len, &err) == PLMM_OK, "%s", err.msg);
    if (strstr(back, "\xEF\xBF\xBD") == NULL) { /* broken sequences are kept here, replaced there */
        CHECK(out != NULL && strcmp(out, back) == 0, "%s: \"%s\" for \"%s\"", name, out, back);
    }
    plmm_free(out);
    plmm_ids_free(&ids);
}

static void test_fixtures(void)
{
    static const char *const names[] = {"gpt2-added-tokens", "llama-3", "qwen-2-NFC",
                                        "llama-2-added-tokens", "metaspace-always"};
    for (size_t i = 0; i < COUNT(names); i++) {
        char path[128];
        plmm_tokenizer *t = NULL;
        plmm_error err = {0};
        plmm_map map = {0};
        plmm_json_seq seq;
        plmm_json *row;
        size_t n = 0;
        (void)snprintf(path, sizeof path, "tests/vectors/tokenizers/%s.json", names[i]);
        CHECK(plmm_tokenizer_load(path, &t, &err) == PLMM_OK, "%s", err.msg);
        (void)snprintf(path, sizeof path, "tests/vectors/tokenizers/%s.jsonl", names[i]);
        CHECK(plmm_file_map(path, &map, &err) == PLMM_OK, "%s", err.msg);
        if (t == NULL || map.data == NULL) {
            continue;
        }
        plmm_json_seq_init(&seq, (const char *)map.data, map.len, path, NULL);
        while (plmm_json_seq_next(&seq, &row, &err) == PLMM_OK && row != NULL) {
            check_row(t, row, names[i]);
            plmm_json_free(row);
            n++;
        }
        CHECK(n == 67, "%s has %zu rows", path, n);
        plmm_file_unmap(&map);
        plmm_tokenizer_free(t);
    }
}

/* --- llama2.c --- */

typedef struct bin {
    uint8_t bytes[8192];
    size_t n;
} bin;

static void put_token(bin *b, const char *s, float score)
{
    uint32_t u;
    memcpy(&u, &score, sizeof u);
    plmm_store_le32(b->bytes + b->n, u);
    plmm_store_le32(b->bytes + b->n + 4, (uint32_t)strlen(s));
    memcpy(b->bytes + b->n + 8, s, strlen(s));
    b->n += 8 + strlen(s);
}

static bin small_bin(void)
{
    static const char *const words[] = {" ", "a", "b", "c", " a", "ab", "bc", "abc", " ab"};
    static const float scores[] = {-9, -9, -9, -9, -4, -1, -2, -3, -5};
    bin b = {.n = 4};
    put_token(&b, "<unk>", 0);
    put_token(&b, "<s>", 0);
    put_token(&b, "</s>", 0);
    for (unsigned i = 0; i < 256; i++) {
        char s[8];
        (void)snprintf(s, sizeof s, "<0x%02X>", i);
        put_token(&b, s, 0);
    }
    for (size_t i = 0; i < COUNT(words); i++) {
        put_token(&b, words[i], scores[i]);
    }
    return b;
}

static void test_llama2c(void)
{
    enum { SPACE = 259, A, B, C, SP_A, AB, BC, ABC, SP_AB };
    static const struct {
        const char *text;
        unsigned flags;
        size_t n;
        int32_t ids[8];
    } rows[] = {
        {"", 0, 0, {0}},
        {"", PLMM_ENCODE_BOS | PLMM_ENCODE_EOS, 2, {1, 2}},
        {"ab", 0, 1, {SP_AB}},       /* " " "ab" -> the pair of score -5 */
        {"abc", 0, 2, {SPACE, ABC}}, /* ab (-1) then abc (-3) come before " ab" (-5) */
        {"bca", 0, 3, {SPACE, BC, A}},
        {"<s>", 0, 4, {SPACE, 3 + '<', 3 + 's', 3 + '>'}}, /* never a control token */
        {"\xC3\xA9", 0, 3, {SPACE, 3 + 0xC3, 3 + 0xA9}},
        {"\xFF", 0, 2, {SPACE, 3 + 0xFF}},
    };
    bin b = small_bin();
    plmm_tokenizer *t = NULL;
    plmm_error err = {0};
    CHECK(plmm_tokenizer_parse_llama2c(b.bytes, b.n, "t", &t, &err) == PLMM_OK, "%s", err.msg);
    for (size_t i = 0; t != NULL && i < COUNT(rows); i++) {
        plmm_ids ids = {0};
        char *text = NULL;
        size_t len = 0;
        CHECK(plmm_tokenizer_encode(t, rows[i].text, strlen(rows[i].text), rows[i].flags, &ids,
                                    &err) == PLMM_OK,
              "%s", err.msg);
        CHECK(ids.n == rows[i].n, "\"%s\": %zu ids", rows[i].text, ids.n);
        for (size_t k = 0; k < ids.n && k < rows[i].n; k++) {
            CHECK(ids.v[k] == rows[i].ids[k], "\"%s\": id %zu is %d", rows[i].text, k, ids.v[k]);
        }
        CHECK(plmm_tokenizer_decode(t, ids.v, ids.n, PLMM_DECODE_SKIP_SPECIALS, &text, &len,
                                    &err) == PLMM_OK &&
                  strcmp(text, rows[i].text) == 0,
              "\"%s\" came back as \"%s\"", rows[i].text, text);
        plmm_free(text);
        plmm_ids_free(&ids);
    }
    plmm_tokenizer_free(t);
    for (size_t n = 0, edge = 4; n < b.n;
         n++) { /* cut between tokens: fewer of them; else refused */
        t = NULL;
        plmm_status rc = plmm_tokenizer_parse_llama2c(b.bytes, n, "t", &t, &err);
        bool between = n == edge && n > 4;
        CHECK(rc == (between ? PLMM_OK : PLMM_ERR_FORMAT) && (rc == PLMM_OK) == (t != NULL),
              "cut to %zu: %d", n, rc);
        edge += n == edge ? 8 + plmm_load_le32(b.bytes + edge + 4) : 0;
        plmm_tokenizer_free(t);
    }
    plmm_store_le32(b.bytes + 8, UINT32_MAX);
    CHECK(plmm_tokenizer_parse_llama2c(b.bytes, b.n, "t", &t, &err) == PLMM_ERR_FORMAT &&
              strstr(err.msg, "impossible length") != NULL,
          "%s", err.msg);
}

/* --- SentencePiece --- */

enum { MODEL_BYTES = 8192 };

/* The pieces of small_bin with U+2581 for spaces, and one of the user. */
static sentence_file small_model(uint8_t bytes[MODEL_BYTES])
{
    static const char *const words[] = {"\xE2\x96\x81",     "a",  "b",  "c",
                                        "\xE2\x96\x81\x61", "ab", "bc", "abc"};
    static const float scores[] = {-9, -9, -9, -9, -4, -1, -2, -3};
    sentence_file f = {bytes, 0};
    sentence_piece(&f, "<unk>", 0, 2);
    sentence_piece(&f, "<s>", 0, 3);
    sentence_piece(&f, "</s>", 0, 3);
    for (unsigned i = 0; i < 256; i++) {
        char s[8];
        (void)snprintf(s, sizeof s, "<0x%02X>", i);
        sentence_piece(&f, s, 0, 6);
    }
    for (size_t i = 0; i < COUNT(words); i++) {
        sentence_piece(&f, words[i], scores[i], 1);
    }
    sentence_piece(&f, "a\xE2\x96\x81\x61", 0, 4);
    sentence_specs(&f, 2, 0);
    return f;
}

static void check_ids(const plmm_tokenizer *t, const char *text, const char *want);

static void test_sentence(void)
{
    uint8_t bytes[MODEL_BYTES];
    sentence_file f = small_model(bytes);
    plmm_tokenizer *t = NULL;
    plmm_error err = {0};
    size_t len;
    const char *name;
    CHECK(plmm_tokenizer_parse_sentence(f.bytes, f.n, "t", &t, &err) == PLMM_OK, "%s", err.msg);
    if (t == NULL) {
        return;
    }
    check_ids(t, "", "");
    check_ids(t, "ab", "259 264 "); /* ab of -1 before _a of -4 */
    check_ids(t, "a", "263 ");
    check_ids(t, " a", "259 263 "); /* the prefix comes in any case */
    check_ids(t, "abc", "259 266 ");
    check_ids(t, "bca", "259 265 260 ");
    check_ids(t, "ba ab", "259 261 267 261 "); /* the user's piece is never cut */
    check_ids(t, "<s>", "1 ");                 /* as asked for */
    check_ids(t, "\xC3\xA9", "259 198 172 ");
    CHECK(plmm_tokenizer_bos(t) == 1 && plmm_tokenizer_eos(t) == 2, "%d", plmm_tokenizer_bos(t));
    CHECK(memcmp(plmm_tokenizer_source(t, &len, &name), bytes, f.n) == 0 && len == f.n &&
              strcmp(name, "tokenizer.model") == 0,
          "%s", name);
    plmm_tokenizer_free(t);
    for (size_t n = 0; n < f.n; n++) { /* without its end it is unigram, by default */
        t = NULL;
        CHECK(plmm_tokenizer_parse_sentence(f.bytes, n, "t", &t, &err) != PLMM_OK && t == NULL,
              "cut to %zu", n);
    }
}

static void test_sentence_refusals(void)
{
    static const struct {
        uint8_t type, remove;
        const char *says;
    } rows[] = {{1, 0, "unigram"}, {3, 0, "word"}, {2, 1, "remove_extra_whitespaces"}};
    uint8_t bytes[MODEL_BYTES];
    plmm_tokenizer *t = NULL;
    plmm_error err = {0};
    for (size_t i = 0; i < COUNT(rows); i++) {
        sentence_file f = {bytes, 0};
        sentence_piece(&f, "a", 0, 1);
        sentence_specs(&f, rows[i].type, rows[i].remove);
        CHECK(plmm_tokenizer_parse_sentence(f.bytes, f.n, "t", &t, &err) == PLMM_ERR_UNSUPPORTED &&
                  strstr(err.msg, rows[i].says) != NULL,
              "%s", err.msg);
    }
    sentence_file f = {bytes, 0};
    sentence_piece(&f, "a", 0, 5);
    sentence_specs(&f, 2, 0);
    CHECK(plmm_tokenizer_parse_sentence(f.bytes, f.n, "t", &t, &err) == PLMM_ERR_UNSUPPORTED &&
              strstr(err.msg, "unused") != NULL,
          "%s", err.msg);
    f.n = 0;
    sentence_piece(&f, "a", (float)NAN, 1);
    sentence_specs(&f, 2, 0);
    CHECK(plmm_tokenizer_parse_sentence(f.bytes, f.n, "t", &t, &err) == PLMM_ERR_FORMAT &&
              strstr(err.msg, "finite") != NULL,
          "%s", err.msg);
}

/* --- training --- */

static plmm_status train(uint32_t vocab, plmm_tokenizer **out, plmm_error *err)
{
    static const char *const specials[] = {"<|begin|>", "<|end|>"};
    static const char *const texts[] = {"the cat sat on the mat, the cat!", "<|end|><|end|><|end|>",
                                        "thethethe aaaaaaaa \xC3\xA9\xC3\xA9 \xFF\xFF"};
    plmm_tokenizer_params p = {vocab, 2, specials, COUNT(specials)};
    plmm_tokenizer_trainer *tr;
    PLMM_TRY(plmm_tokenizer_trainer_new(&p, &tr, err));
    plmm_status rc = PLMM_OK;
    for (size_t i = 0; i < COUNT(texts) && rc == PLMM_OK; i++) {
        rc = plmm_tokenizer_trainer_feed(tr, texts[i], strlen(texts[i]), err);
    }
    if (rc == PLMM_OK) {
        rc = plmm_tokenizer_trainer_finish(tr, out, err);
    }
    plmm_tokenizer_trainer_free(tr);
    return rc;
}

static void check_trip(const plmm_tokenizer *t, const char *s, size_t n)
{
    plmm_ids ids = {0};
    plmm_error err = {0};
    char *text = NULL;
    size_t len = 0;
    CHECK(plmm_tokenizer_encode(t, s, n, 0, &ids, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_tokenizer_decode(t, ids.v, ids.n, 0, &text, &len, &err) == PLMM_OK, "%s", err.msg);
    CHECK(len == n && memcmp(text, s, n) == 0, "%zu bytes came back as %zu", n, len);
    for (size_t i = 0; i < ids.n; i++) {
        CHECK(ids.v[i] >= 2, "plain text became a special token");
    }
    plmm_free(text);
    plmm_ids_free(&ids);
}

static void test_training(void)
{
    plmm_tokenizer *a = NULL, *b = NULL, *c = NULL;
    plmm_error err = {0};
    size_t a_len, b_len;
    const char *name;
    CHECK(train(280, &a, &err) == PLMM_OK, "%s", err.msg);
    CHECK(train(280, &b, &err) == PLMM_OK, "%s", err.msg);
    if (a == NULL || b == NULL) {
        return;
    }
    const char *x = plmm_tokenizer_source(a, &a_len, &name);
    const char *y = plmm_tokenizer_source(b, &b_len, &name);
    CHECK(a_len == b_len && memcmp(x, y, a_len) == 0, "training is not deterministic");
    CHECK(plmm_tokenizer_find(a, "the") >= 258, "%d", plmm_tokenizer_find(a, "the"));
    CHECK(plmm_tokenizer_find(a, "\xC4\xA0"
                                 "the") >= 258,
          "no token for \" the\"");
    CHECK(plmm_tokenizer_bos(a) == 0 && plmm_tokenizer_eos(a) == 1, "%d", plmm_tokenizer_bos(a));
    static const char hostile[] = "the\0<|end|>\xFF\xC3\xE2\x82 \xF0\x9F\x99\x82 \n\n  ";
    check_trip(a, hostile, sizeof hostile - 1);
    check_trip(a, "<|end|>", 7);
    plmm_ids ids = {0};
    CHECK(plmm_tokenizer_encode(a, "<|end|>", 7, PLMM_ENCODE_SPECIALS, &ids, &err) == PLMM_OK &&
              ids.n == 1 && ids.v[0] == 1,
          "%zu ids", ids.n);
    plmm_ids_free(&ids);
    CHECK(plmm_tokenizer_parse_json(x, a_len, "again", &c, &err) == PLMM_OK, "%s", err.msg);
    CHECK(train(257, &b, &err) == PLMM_ERR_RANGE, "%s", err.msg);
    plmm_tokenizer_free(a);
    plmm_tokenizer_free(b);
    plmm_tokenizer_free(c);
}

static void test_random_bytes(void)
{
    plmm_tokenizer *t = NULL;
    plmm_error err = {0};
    uint64_t seed = plmm_test_seed(11);
    CHECK(train(300, &t, &err) == PLMM_OK, "%s", err.msg);
    for (unsigned i = 0; t != NULL && i < 300; i++) {
        char s[64];
        size_t n = i % sizeof s;
        for (size_t k = 0; k < n; k++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            s[k] = (char)(unsigned char)(seed >> 56 & (i % 2 != 0 ? 0xFFu : 0x7Fu));
        }
        check_trip(t, s, n);
    }
    plmm_tokenizer_free(t);
}

/* A word of half a million letters: with quadratic merging this would take hours. */
static void test_long_word(void)
{
    enum { N = 500000 };
    plmm_tokenizer *t = NULL;
    plmm_error err = {0};
    char *s = plmm_alloc(N, 1);
    CHECK(train(280, &t, &err) == PLMM_OK, "%s", err.msg);
    memset(s, 'a', N);
    if (t != NULL) {
        check_trip(t, s, N);
    }
    plmm_tokenizer_free(t);
    plmm_free(s);
}

/* --- refusals --- */

#define MODEL                                                                                      \
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"

static void test_refusals(void)
{
    static const struct {
        const char *json, *says;
        plmm_status rc;
    } rows[] = {
        {"{" MODEL "}", NULL, PLMM_OK},
        {"", "", PLMM_ERR_FORMAT},
        {"{}", "model", PLMM_ERR_FORMAT},
        {"[1]", "model", PLMM_ERR_FORMAT},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", "Unigram", PLMM_ERR_UNSUPPORTED},
        {"{\"model\":{\"vocab\":{},\"merges\":[]}}", "empty", PLMM_ERR_FORMAT},
        {"{\"model\":{\"vocab\":{\"a\":-1},\"merges\":[]}}", "no id", PLMM_ERR_FORMAT},
        {"{\"model\":{\"vocab\":{\"a\":4294967295},\"merges\":[]}}", "no id", PLMM_ERR_FORMAT},
        {"{\"model\":{\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", "two tokens", PLMM_ERR_FORMAT},
        {"{\"model\":{\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}}", "same content",
         PLMM_ERR_FORMAT},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a\"]}}", "no pair", PLMM_ERR_FORMAT},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}", "no pair", PLMM_ERR_FORMAT},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a a\"]}}", "lacks", PLMM_ERR_FORMAT},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.1}}", "dropout",
         PLMM_ERR_UNSUPPORTED},
        {"{" MODEL ",\"normalizer\":{\"type\":\"Lowercase\"}}", "Lowercase", PLMM_ERR_UNSUPPORTED},
        {"{" MODEL ",\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},"
         "\"content\":\"x\"}}",
         "empty", PLMM_ERR_FORMAT},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Whitespace\"}}", "Whitespace",
         PLMM_ERR_UNSUPPORTED},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x+\"},"
         "\"behavior\":\"Isolated\"}}",
         "x+", PLMM_ERR_UNSUPPORTED},
        {"{" MODEL ",\"decoder\":{\"type\":\"WordPiece\"}}", "WordPiece", PLMM_ERR_UNSUPPORTED},
        {"{" MODEL ",\"added_tokens\":[{\"id\":7}]}", "content", PLMM_ERR_FORMAT},
        {"{" MODEL ",\"added_tokens\":[{\"id\":7,\"content\":\"a\"}]}", "id 7", PLMM_ERR_FORMAT},
        {"{" MODEL ",\"added_tokens\":[{\"id\":7,\"content\":\"\"}]}", "empty", PLMM_ERR_FORMAT},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        plmm_tokenizer *t = NULL;
        plmm_error err = {0};
        plmm_status rc =
            plmm_tokenizer_parse_json(rows[i].json, strlen(rows[i].json), "t.json", &t, &err);
        CHECK(rc == rows[i].rc, "row %zu: %d, %s", i, rc, err.msg);
        CHECK(rc == PLMM_OK || (t == NULL && strstr(err.msg, rows[i].says) != NULL &&
                                strstr(err.msg, "t.json") != NULL),
              "row %zu: %s", i, err.msg);
        plmm_tokenizer_free(t);
    }
    plmm_tokenizer *t = NULL;
    plmm_error err = {0};
    CHECK(plmm_tokenizer_load("tests/vectors/none.json", &t, &err) == PLMM_ERR_NOTFOUND, "%s",
          err.msg);
    CHECK(plmm_tokenizer_load("tests/unit", &t, &err) == PLMM_ERR_NOTFOUND &&
              strstr(err.msg, "tokenizer.json") != NULL,
          "%s", err.msg);
}

/* --- small rules --- */

static void check_ids(const plmm_tokenizer *t, const char *text, const char *want)
{
    plmm_ids ids = {0};
    plmm_error err = {0};
    char got[128] = "";
    CHECK(plmm_tokenizer_encode(t, text, strlen(text), PLMM_ENCODE_SPECIALS, &ids, &err) == PLMM_OK,
          "%s", err.msg);
    for (size_t i = 0; i < ids.n; i++) {
        (void)snprintf(got + strlen(got), sizeof got - strlen(got), "%d ", ids.v[i]);
    }
    CHECK(strcmp(got, want) == 0, "\"%s\": %s, not %s", text, got, want);
    plmm_ids_free(&ids);
}

static void test_rules(void)
{
    static const char json[] =
        "{\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"aa\":2,\"ab\":3,\"?\":4},\"merges\":[\"a a\",\"a "
        "b\"],"
        "\"unk_token\":\"?\",\"fuse_unk\":true},\"added_tokens\":[{\"id\":6,\"content\":\"<x>\"},"
        "{\"id\":7,\"content\":\"<x>>>\",\"special\":true},"
        "{\"id\":5,\"content\":\"<x\"}]}";
    plmm_tokenizer *t = NULL;
    plmm_error err = {0};
    CHECK(plmm_tokenizer_parse_json(json, sizeof json - 1, "t", &t, &err) == PLMM_OK, "%s",
          err.msg);
    if (t == NULL) {
        return;
    }
    check_ids(t, "aaa", "2 0 "); /* of equal ranks the leftmost */
    check_ids(t, "aaaaab", "2 2 3 ");
    check_ids(t, "aab", "2 1 "); /* the first merge of the list comes first */
    check_ids(t, "zza\xFFz", "4 0 4 ");
    check_ids(t, "a<xb<x><x>>><x>>", "0 5 1 6 7 6 4 "); /* the longest at its place */
    plmm_tokenizer_free(t);
}

/* What decoding gives back is the normal form. */
static void test_normal_form(void)
{
    static const struct {
        const char *text, *normal;
    } rows[] = {
        {"e\xCC\x81", "\xC3\xA9"},
        {"a\xCC\x85\xCC\x81", "a\xCC\x85\xCC\x81"}, /* a mark of the same class blocks */
        {"q\xCC\x87\xCC\xA3", "q\xCC\xA3\xCC\x87"}, /* marks are sorted */
        {"o\xCC\xA3\xCC\x82", "\xE1\xBB\x99"},      /* two steps to one letter */
        {"\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8", "\xEA\xB0\x81"}, /* Hangul by rule */
        {"\xE0\xBD\x83", "\xE0\xBD\x82\xE0\xBE\xB7"},             /* excluded from composition */
        {"\xE2\x84\xAB", "\xC3\x85"},                             /* a singleton, then composed */
        {"\xCC\x81\xFFx", "\xCC\x81\xFFx"},
    };
    plmm_tokenizer *t = NULL;
    plmm_error err = {0};
    CHECK(plmm_tokenizer_load("tests/vectors/tokenizers/qwen-2-NFC.json", &t, &err) == PLMM_OK,
          "%s", err.msg);
    for (size_t i = 0; t != NULL && i < COUNT(rows); i++) {
        plmm_ids ids = {0};
        char *back = NULL;
        size_t len;
        CHECK(plmm_tokenizer_encode(t, rows[i].text, strlen(rows[i].text), 0, &ids, &err) ==
                  PLMM_OK,
              "%s", err.msg);
        CHECK(plmm_tokenizer_decode(t, ids.v, ids.n, 0, &back, &len, &err) == PLMM_OK, "%s",
              err.msg);
        CHECK(back != NULL && strcmp(back, rows[i].normal) == 0, "row %zu: %s", i, back);
        plmm_free(back);
        plmm_ids_free(&ids);
    }
    plmm_tokenizer_free(t);
}

/* Text that spells a special token in plain letters is never merged into it. */
static void test_special_word(void)
{
    static const char *const specials[] = {"end"};
    static const char text[] = "end end end end end";
    plmm_tokenizer_params p = {300, 1, specials, 1};
    plmm_tokenizer_trainer *tr = NULL;
    plmm_tokenizer *t = NULL;
    plmm_error err = {0};
    bool ok = plmm_tokenizer_trainer_new(&p, &tr, &err) == PLMM_OK &&
              plmm_tokenizer_trainer_feed(tr, text, sizeof text - 1, &err) == PLMM_OK &&
              plmm_tokenizer_trainer_finish(tr, &t, &err) == PLMM_OK;
    CHECK(ok, "%s", err.msg);
    plmm_ids ids = {0};
    if (ok) {
        CHECK(plmm_tokenizer_encode(t, text, sizeof text - 1, 0, &ids, &err) == PLMM_OK, "%s",
              err.msg);
        for (size_t i = 0; i < ids.n; i++) {
            CHECK(ids.v[i] != 0, "text became the special token");
        }
    }
    plmm_ids_free(&ids);
    plmm_tokenizer_free(t);
    plmm_tokenizer_trainer_free(tr);
}

/* GPT-2's two files in a directory of their own. */
static void test_two_files(void)
{
    char dir[] = "/tmp/plmm-test-tokenizer-XXXXXX", path[128];
    static const char vocab[] = "{\"a\":0,\"b\":1,\"ab\":2,\"\\u0120\":3,\"<|endoftext|>\":4}";
    static const char *const merges[] = {"#version: 0.2\na b\r\n", "a b", "", "a z\n"};
    static const char *const ids[] = {"2 3 4 ", "2 3 4 ", "0 1 3 4 ", NULL};
    plmm_error err = {0};
    CHECK(mkdtemp(dir) != NULL, "%s", dir);
    (void)snprintf(path, sizeof path, "%s/vocab.json", dir);
    CHECK(plmm_file_write(path, vocab, sizeof vocab - 1, PLMM_MODE_PUBLIC, &err) == PLMM_OK, "%s",
          err.msg);
    for (size_t i = 0; i < COUNT(merges); i++) {
        plmm_tokenizer *t = NULL;
        (void)snprintf(path, sizeof path, "%s/merges.txt", dir);
        CHECK(plmm_file_write(path, merges[i], strlen(merges[i]), PLMM_MODE_PUBLIC, &err) ==
                  PLMM_OK,
              "%s", err.msg);
        plmm_status rc = plmm_tokenizer_load(dir, &t, &err);
        CHECK(rc == (ids[i] != NULL ? PLMM_OK : PLMM_ERR_FORMAT), "%zu: %d %s", i, rc, err.msg);
        if (t != NULL) {
            check_ids(t, "ab <|endoftext|>", ids[i]);
        }
        plmm_tokenizer_free(t);
    }
    CHECK(plmm_path_remove(dir, &err) == PLMM_OK, "%s", err.msg);
}

/* --- memory --- */

static plmm_status all_of_it(plmm_error *err)
{
    plmm_tokenizer *t = NULL;
    plmm_ids ids = {0};
    char *text = NULL;
    size_t len;
    plmm_status rc = train(270, &t, err);
    if (rc == PLMM_OK) {
        rc = plmm_tokenizer_encode(t, "the cat e\xCC\x81", 10, PLMM_ENCODE_BOS, &ids, err);
    }
    if (rc == PLMM_OK) {
        rc = plmm_tokenizer_decode(t, ids.v, ids.n, 0, &text, &len, err);
    }
    plmm_free(text);
    plmm_ids_free(&ids);
    plmm_tokenizer_free(t);
    return rc;
}

static void test_memory(void)
{
    long live = plmm_alloc_live();
    for (long k = 0;; k++) {
        plmm_error err = {0};
        plmm_alloc_fail_at(k);
        plmm_status rc = all_of_it(&err);
        plmm_alloc_fail_at(-1);
        CHECK(plmm_alloc_live() == live, "call %ld leaks %ld", k, plmm_alloc_live() - live);
        if (rc == PLMM_OK) {
            CHECK(k > 10, "only %ld allocations", k);
            break;
        }
        CHECK(rc == PLMM_ERR_NOMEM && err.msg[0] != '\0', "call %ld: %d %s", k, rc, err.msg);
    }
}

int main(void)
{
    test_fixtures();
    test_llama2c();
    test_sentence();
    test_sentence_refusals();
    test_training();
    test_random_bytes();
    test_long_word();
    test_refusals();
    test_rules();
    test_normal_form();
    test_two_files();
    test_special_word();
    test_memory();
    CHECK(plmm_alloc_live() == 0, "%ld blocks leaked", plmm_alloc_live());
    return plmm_test_end();
}
