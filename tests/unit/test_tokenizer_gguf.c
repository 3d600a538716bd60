/* Vocabularies of GGUF files, made here key by key: both models, and refusals by name. */
#include "plmm/alloc.h"
#include "plmm/bytes.h"
#include "plmm/gguf.h"
#include "plmm/tokenizer.h"
#include "test.h"

typedef struct file {
    uint8_t bytes[4096];
    size_t n;
    uint64_t keys;
} file;

static void put_u32(file *f, uint32_t v)
{
    plmm_store_le32(f->bytes + f->n, v);
    f->n += 4;
}

static void put_u64(file *f, uint64_t v)
{
    plmm_store_le64(f->bytes + f->n, v);
    f->n += 8;
}

static void put_text(file *f, const char *s)
{
    put_u64(f, strlen(s));
    memcpy(f->bytes + f->n, s, strlen(s));
    f->n += strlen(s);
}

static void put_key(file *f, const char *key, plmm_gguf_kind kind)
{
    put_text(f, key);
    put_u32(f, kind);
    f->keys++;
}

static void put_array(file *f, const char *key, plmm_gguf_kind item, uint64_t n)
{
    put_key(f, key, PLMM_GGUF_ARRAY);
    put_u32(f, item);
    put_u64(f, n);
}

static void begin(file *f, const char *model)
{
    *f = (file){.bytes = "GGUF", .n = 4};
    put_u32(f, 3);
    put_u64(f, 0);
    put_u64(f, 0); /* keys: by open */
    put_key(f, "tokenizer.ggml.model", PLMM_GGUF_TEXT);
    put_text(f, model);
}

typedef struct word {
    const char *s;
    float score;
    uint32_t kind;
} word;

static void put_words(file *f, const word *w, size_t n, bool scores)
{
    put_array(f, "tokenizer.ggml.tokens", PLMM_GGUF_TEXT, n);
    for (size_t i = 0; i < n; i++) {
        put_text(f, w[i].s);
    }
    put_array(f, "tokenizer.ggml.token_type", PLMM_GGUF_I32, n);
    for (size_t i = 0; i < n; i++) {
        put_u32(f, w[i].kind);
    }
    if (scores) {
        put_array(f, "tokenizer.ggml.scores", PLMM_GGUF_F32, n);
        for (size_t i = 0; i < n; i++) {
            uint32_t bits;
            memcpy(&bits, &w[i].score, sizeof bits);
            put_u32(f, bits);
        }
    }
}

static plmm_status open_it(file *f, plmm_tokenizer **t, plmm_error *err)
{
    plmm_gguf *g;
    plmm_store_le64(f->bytes + 16, f->keys);
    *t = NULL;
    PLMM_TRY(plmm_gguf_parse(f->bytes, f->n, "t.gguf", &g, err));
    plmm_status rc = plmm_tokenizer_from_gguf(g, "t.gguf", t, err);
    plmm_gguf_close(g);
    return rc;
}

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

/* It is saved as the file that it was read as, and reads as the same again. */
static void check_source(const plmm_tokenizer *t, const char *want, const char *text,
                         const char *ids)
{
    size_t len;
    const char *name, *bytes = plmm_tokenizer_source(t, &len, &name);
    plmm_tokenizer *again = NULL;
    plmm_error err = {0};
    CHECK(strcmp(name, want) == 0, "%s", name);
    plmm_status rc =
        strcmp(want, "tokenizer.json") == 0
            ? plmm_tokenizer_parse_json(bytes, len, "again", &again, &err)
            : plmm_tokenizer_parse_sentence((const uint8_t *)bytes, len, "again", &again, &err);
    CHECK(rc == PLMM_OK, "%s", err.msg);
    if (again != NULL) {
        check_ids(again, text, ids);
    }
    plmm_tokenizer_free(again);
}

static const word llama_words[] = {{"<unk>", 0, 2},  {"<s>", 0, 3},           {"</s>", 0, 3},
                                   {"<0x41>", 0, 6}, {"\xE2\x96\x81", -9, 1}, {"a", -8, 1},
                                   {"b", -8, 1},     {"ab", -1, 1},           {"x\"y", 0, 4}};

static void test_llama(void)
{
    plmm_tokenizer *t;
    plmm_error err = {0};
    file f;
    begin(&f, "llama");
    put_words(&f, llama_words, COUNT(llama_words), true);
    put_key(&f, "tokenizer.ggml.bos_token_id", PLMM_GGUF_U32);
    put_u32(&f, 1);
    put_key(&f, "tokenizer.ggml.eos_token_id", PLMM_GGUF_U32);
    put_u32(&f, 2);
    CHECK(open_it(&f, &t, &err) == PLMM_OK, "%s", err.msg);
    if (t == NULL) {
        return;
    }
    CHECK(plmm_tokenizer_bos(t) == 1 && plmm_tokenizer_eos(t) == 2, "%d", plmm_tokenizer_bos(t));
    check_ids(t, "ab", "4 7 ");
    check_ids(t, "ba</s>", "4 6 5 2 ");
    check_ids(t, "ax\"yA", "4 5 8 3 ");
    check_source(t, "tokenizer.model", "ab</s>", "4 7 2 ");
    plmm_tokenizer_free(t);
    put_key(&f, "tokenizer.ggml.add_space_prefix", PLMM_GGUF_BOOL);
    f.bytes[f.n++] = 0;
    CHECK(open_it(&f, &t, &err) == PLMM_OK, "%s", err.msg);
    if (t != NULL) {
        check_ids(t, "ab", "7 ");
    }
    plmm_tokenizer_free(t);
}

static void gpt2_file(file *f, const char *pre)
{
    static const word words[] = {{"a", 0, 1}, {"b", 0, 1},  {"ab", 0, 1},      {"\xC4\xA0", 0, 1},
                                 {"1", 0, 1}, {"11", 0, 1}, {"<|end|>", 0, 3}, {"[PAD]", 0, 5}};
    begin(f, "gpt2");
    if (pre != NULL) {
        put_key(f, "tokenizer.ggml.pre", PLMM_GGUF_TEXT);
        put_text(f, pre);
    }
    put_words(f, words, COUNT(words), false);
    put_array(f, "tokenizer.ggml.merges", PLMM_GGUF_TEXT, 2);
    put_text(f, "a b");
    put_text(f, "1 1");
}

static void test_gpt2(void)
{
    static const struct {
        const char *pre, *ids; /* of "ab 111<|end|>" */
    } rows[] = {{NULL, "2 3 5 4 6 "},
                {"gpt-2", "2 3 5 4 6 "},
                {"llama-bpe", "2 3 5 4 6 "},
                {"qwen2", "2 3 4 4 4 6 "},
                {"smollm", "2 3 4 4 4 6 "}};
    plmm_tokenizer *t;
    plmm_error err = {0};
    file f;
    for (size_t i = 0; i < COUNT(rows); i++) {
        gpt2_file(&f, rows[i].pre);
        CHECK(open_it(&f, &t, &err) == PLMM_OK, "%s", err.msg);
        if (t != NULL) {
            check_ids(t, "ab 111<|end|>", rows[i].ids);
            check_source(t, "tokenizer.json", "ab 111<|end|>", rows[i].ids);
        }
        plmm_tokenizer_free(t);
    }
    gpt2_file(&f, "tekken");
    CHECK(open_it(&f, &t, &err) == PLMM_ERR_UNSUPPORTED && strstr(err.msg, "pre") != NULL, "%s",
          err.msg);
}

static void test_refusals(void)
{
    plmm_tokenizer *t;
    plmm_error err = {0};
    file f;
    begin(&f, "bert");
    put_words(&f, llama_words, 3, true);
    CHECK(open_it(&f, &t, &err) == PLMM_ERR_UNSUPPORTED && strstr(err.msg, "gpt2") != NULL, "%s",
          err.msg);
    begin(&f, "llama");
    CHECK(open_it(&f, &t, &err) == PLMM_ERR_FORMAT && strstr(err.msg, "tokens") != NULL, "%s",
          err.msg);
    put_words(&f, llama_words, COUNT(llama_words), false);
    CHECK(open_it(&f, &t, &err) == PLMM_ERR_FORMAT && strstr(err.msg, "scores") != NULL, "%s",
          err.msg);
    put_array(&f, "tokenizer.ggml.scores", PLMM_GGUF_F32, 1);
    put_u32(&f, 0);
    CHECK(open_it(&f, &t, &err) == PLMM_ERR_FORMAT && strstr(err.msg, "one a token") != NULL, "%s",
          err.msg);
    word odd[] = {{"a", 0, 7}};
    begin(&f, "llama");
    put_words(&f, odd, 1, true);
    CHECK(open_it(&f, &t, &err) == PLMM_ERR_FORMAT && strstr(err.msg, "token_type") != NULL, "%s",
          err.msg);
}

int main(void)
{
    test_llama();
    test_gpt2();
    test_refusals();
    CHECK(plmm_alloc_live() == 0, "%ld blocks leak", plmm_alloc_live());
    return plmm_test_end();
}
