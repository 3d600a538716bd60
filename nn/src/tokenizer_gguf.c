/* The vocabulary of a GGUF file, put together as the tokenizer.json (gpt2) or the tokenizer.model
 * (llama) that it stands for, so that there is one reader of each and a file to save. */
#include "tokenizer_internal.h"

#include <math.h>
#include <string.h>

#include "plmm/alloc.h"
#include "plmm/bytes.h"

/* The keys tokenizer.ggml.* of a file, judged before anything is made of them. */
typedef struct gguf_vocab {
    const plmm_gguf_value *model, *pre, *tokens, *scores, *types, *merges;
    int32_t bos, eos, unk;
    bool dummy_prefix;
} gguf_vocab;

static enum piece_kind kind_at(const gguf_vocab *v, uint64_t id)
{
    return v->types != NULL ? (enum piece_kind)plmm_gguf_number(v->types, id) : PIECE_NORMAL;
}

static plmm_status check_texts(const plmm_gguf_value *a, const char *what, size_t most,
                               plmm_error *err)
{
    unsigned long long i = 0;
    for (plmm_gguf_texts t = plmm_gguf_texts_of(a); plmm_gguf_texts_next(&t); i++) {
        if (t.len > most || memchr(t.text, '\0', t.len) != NULL) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "%s %llu is longer than %zu bytes or holds a 0",
                             what, i, most);
        }
    }
    return PLMM_OK;
}

static bool is_array(const plmm_gguf_value *v, plmm_gguf_kind item)
{
    return v != NULL && v->kind == PLMM_GGUF_ARRAY && v->item == item;
}

static plmm_status check_numbers(const gguf_vocab *v, plmm_error *err)
{
    uint64_t n = v->tokens->count;
    for (uint64_t i = 0; v->scores != NULL && i < n; i++) {
        if (!isfinite(plmm_gguf_number(v->scores, i))) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "score %llu is not finite",
                             (unsigned long long)i);
        }
    }
    for (uint64_t i = 0; v->types != NULL && i < n; i++) {
        double kind = plmm_gguf_number(v->types, i);
        if (kind < PIECE_NORMAL || kind > PIECE_BYTE) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "token_type %llu is %g, must be 1..6",
                             (unsigned long long)i, kind);
        }
    }
    return PLMM_OK;
}

static plmm_status check_vocab(const gguf_vocab *v, plmm_error *err)
{
    if (!is_array(v->tokens, PLMM_GGUF_TEXT) || v->tokens->count == 0 ||
        v->tokens->count > PLMM_TOKENIZER_VOCAB_MAX) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "tokenizer.ggml.tokens is not 1..%d texts",
                         (int)PLMM_TOKENIZER_VOCAB_MAX);
    }
    uint64_t n = v->tokens->count;
    if ((v->scores != NULL && (!is_array(v->scores, PLMM_GGUF_F32) || v->scores->count != n)) ||
        (v->types != NULL && (!is_array(v->types, PLMM_GGUF_I32) || v->types->count != n))) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "tokenizer.ggml.scores or token_type is not %llu numbers, one a token",
                         (unsigned long long)n);
    }
    PLMM_TRY(check_numbers(v, err));
    PLMM_TRY(check_texts(v->tokens, "token", PLMM_TOKENIZER_TOKEN_MAX, err));
    return check_texts(v->merges, "merge", 2 * PLMM_TOKENIZER_TOKEN_MAX + 1, err);
}

/* --- gpt2: tokenizer.json --- */

#define BYTES_ONLY                                                                                 \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":"      \
    "false}"
#define BYTES_GPT2                                                                                 \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}"
#define SEQUENCE(first, second) "{\"type\":\"Sequence\",\"pretokenizers\":[" first "," second "]}"
#define SPLIT(digits)                                                                              \
    "{\"type\":\"Split\",\"behavior\":\"Isolated\",\"invert\":false,\"pattern\":{\"Regex\":"       \
    "\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|" digits               \
    "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}}"
#define DIGITS "{\"type\":\"Digits\",\"individual_digits\":true}"

typedef struct known_pre {
    const char *name, *pre_tokenizer, *normalizer;
    bool ignore_merges;
} known_pre;

/* A file without `pre` is older than the key: GPT-2's expression. */
static const known_pre *find_pre(const plmm_gguf_value *name)
{
    static const known_pre all[] = {
        {"gpt-2", BYTES_GPT2, "null", false},
        {"gpt2", BYTES_GPT2, "null", false},
        {"smollm", SEQUENCE(DIGITS, BYTES_GPT2), "null", false},
        {"llama-bpe", SEQUENCE(SPLIT("\\\\p{N}{1,3}"), BYTES_ONLY), "null", true},
        {"llama3", SEQUENCE(SPLIT("\\\\p{N}{1,3}"), BYTES_ONLY), "null", true},
        {"llama-v3", SEQUENCE(SPLIT("\\\\p{N}{1,3}"), BYTES_ONLY), "null", true},
        {"qwen2", SEQUENCE(SPLIT("\\\\p{N}"), BYTES_ONLY), "{\"type\":\"NFC\"}", false},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (name == NULL || plmm_gguf_text_is(name, all[i].name)) {
            return &all[i];
        }
    }
    return NULL;
}

static void put_raw(plmm_text *out, const char *s, plmm_status *rc, plmm_error *err)
{
    *rc = *rc == PLMM_OK ? plmm_text_sink(out, s, strlen(s), err) : *rc;
}

static plmm_status put_added(const gguf_vocab *v, plmm_text *out, plmm_error *err)
{
    plmm_json_writer w;
    uint64_t id = 0;
    plmm_json_begin(&w, PLMM_JSON_COMPACT, plmm_text_sink, out);
    plmm_json_open_array(&w);
    for (plmm_gguf_texts t = plmm_gguf_texts_of(v->tokens); plmm_gguf_texts_next(&t); id++) {
        enum piece_kind kind = kind_at(v, id);
        if (kind != PIECE_CONTROL && kind != PIECE_UNKNOWN && kind != PIECE_USER) {
            continue;
        }
        plmm_json_open_object(&w);
        plmm_json_put_key(&w, "id");
        plmm_json_put_u64(&w, id);
        plmm_json_put_key(&w, "content");
        plmm_json_put_bytes(&w, t.text, t.len);
        plmm_json_put_key(&w, "special");
        plmm_json_put_bool(&w, kind != PIECE_USER);
        plmm_json_close_object(&w);
    }
    plmm_json_close_array(&w);
    return plmm_json_end(&w, err);
}

static plmm_status put_vocab(const gguf_vocab *v, plmm_text *out, plmm_error *err)
{
    plmm_json_writer w;
    char key[PLMM_TOKENIZER_TOKEN_MAX + 1];
    uint64_t id = 0;
    plmm_json_begin(&w, PLMM_JSON_COMPACT, plmm_text_sink, out);
    plmm_json_open_object(&w);
    for (plmm_gguf_texts t = plmm_gguf_texts_of(v->tokens); plmm_gguf_texts_next(&t); id++) {
        if (kind_at(v, id) == PIECE_NORMAL) {
            memcpy(key, t.text, t.len);
            key[t.len] = '\0';
            plmm_json_put_key(&w, key);
            plmm_json_put_u64(&w, id);
        }
    }
    plmm_json_close_object(&w);
    return plmm_json_end(&w, err);
}

static plmm_status put_merges(const gguf_vocab *v, plmm_text *out, plmm_error *err)
{
    plmm_json_writer w;
    plmm_json_begin(&w, PLMM_JSON_COMPACT, plmm_text_sink, out);
    plmm_json_open_array(&w);
    for (plmm_gguf_texts t = plmm_gguf_texts_of(v->merges); plmm_gguf_texts_next(&t);) {
        plmm_json_put_bytes(&w, t.text, t.len);
    }
    plmm_json_close_array(&w);
    return plmm_json_end(&w, err);
}

static plmm_status put_json(const gguf_vocab *v, plmm_text *out, plmm_error *err)
{
    const known_pre *pre = find_pre(v->pre);
    if (pre == NULL) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                         "this tokenizer.ggml.pre is not supported: only gpt-2, llama-bpe, qwen2 "
                         "and smollm are");
    }
    plmm_status rc = PLMM_OK;
    put_raw(out, "{\"version\":\"1.0\",\"normalizer\":", &rc, err);
    put_raw(out, pre->normalizer, &rc, err);
    put_raw(out, ",\"pre_tokenizer\":", &rc, err);
    put_raw(out, pre->pre_tokenizer, &rc, err);
    put_raw(out, ",\"decoder\":" BYTES_GPT2 ",\"added_tokens\":", &rc, err);
    rc = rc == PLMM_OK ? put_added(v, out, err) : rc;
    put_raw(out, ",\"model\":{\"type\":\"BPE\",\"ignore_merges\":", &rc, err);
    put_raw(out, pre->ignore_merges ? "true" : "false", &rc, err);
    put_raw(out, ",\"vocab\":", &rc, err);
    rc = rc == PLMM_OK ? put_vocab(v, out, err) : rc;
    put_raw(out, ",\"merges\":", &rc, err);
    rc = rc == PLMM_OK ? put_merges(v, out, err) : rc;
    put_raw(out, "}}", &rc, err);
    return rc;
}

/* --- llama: tokenizer.model --- */

static size_t varint(uint8_t *out, uint64_t v)
{
    size_t n = 0;
    while (v >= 0x80) {
        out[n++] = (uint8_t)(v | 0x80u);
        v >>= 7;
    }
    out[n++] = (uint8_t)v;
    return n;
}

static plmm_status put_bytes(plmm_text *out, const uint8_t *bytes, size_t n, plmm_error *err)
{
    return plmm_text_sink(out, (const char *)bytes, n, err);
}

/* Field 1 of the model: 1 text, 2 score, 3 type. */
static plmm_status put_piece(const scored_piece *p, plmm_text *out, plmm_error *err)
{
    uint8_t head[32], tail[8] = {0x15};
    uint32_t bits;
    memcpy(&bits, &p->score, sizeof bits);
    plmm_store_le32(tail + 1, bits);
    tail[5] = 0x18;
    tail[6] = (uint8_t)p->kind;
    uint8_t len[10];
    size_t n_len = varint(len, p->n), n = 1;
    head[0] = 0x0A;
    n += varint(head + n, 1 + n_len + p->n + 7);
    head[n++] = 0x0A;
    memcpy(head + n, len, n_len);
    PLMM_TRY(put_bytes(out, head, n + n_len, err));
    PLMM_TRY(plmm_text_sink(out, p->s, p->n, err));
    return put_bytes(out, tail, 7, err);
}

/* Fields 2 and 3: BPE, the three ids; no extra spaces removed, a dummy prefix or none. */
static plmm_status put_specs(const gguf_vocab *v, plmm_text *out, plmm_error *err)
{
    static const uint8_t ids[] = {0xC0, 0xC8, 0xD0}; /* 40, 41, 42 << 3, low seven bits */
    const int32_t values[] = {v->unk, v->bos, v->eos};
    uint8_t spec[64] = {0x18, 2}, head[16];
    size_t n = 2;
    for (size_t i = 0; i < 3; i++) {
        spec[n++] = ids[i];
        spec[n++] = 2;
        /* int32, written as 64 bits */
        n += varint(spec + n,
                    values[i] >= 0 && values[i] <= INT32_MAX ? (uint64_t)values[i] : UINT64_MAX);
    }
    head[0] = 0x12;
    head[1] = (uint8_t)n;
    PLMM_TRY(put_bytes(out, head, 2, err));
    PLMM_TRY(put_bytes(out, spec, n, err));
    uint8_t normal[] = {0x1A, 4, 0x18, v->dummy_prefix, 0x20, 0};
    return put_bytes(out, normal, sizeof normal, err);
}

static plmm_status put_model(const gguf_vocab *v, plmm_text *out, plmm_error *err)
{
    uint64_t id = 0;
    if (v->scores == NULL) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "tokenizer.ggml.scores is missing");
    }
    for (plmm_gguf_texts t = plmm_gguf_texts_of(v->tokens); plmm_gguf_texts_next(&t); id++) {
        scored_piece p = {t.text, t.len, (float)plmm_gguf_number(v->scores, id), kind_at(v, id)};
        PLMM_TRY(put_piece(&p, out, err));
    }
    return put_specs(v, out, err);
}

/* --- both --- */

static plmm_status read_id(const plmm_gguf *g, const char *key, int32_t *out, plmm_error *err)
{
    uint32_t id = UINT32_MAX;
    PLMM_TRY(plmm_gguf_may_u32(g, key, 0, UINT32_MAX, &id, err));
    *out = id < PLMM_TOKENIZER_VOCAB_MAX ? (int32_t)id : -1;
    return PLMM_OK;
}

static plmm_status read_keys(const plmm_gguf *g, gguf_vocab *v, plmm_error *err)
{
    *v = (gguf_vocab){.model = plmm_gguf_find(g, "tokenizer.ggml.model"),
                      .pre = plmm_gguf_find(g, "tokenizer.ggml.pre"),
                      .tokens = plmm_gguf_find(g, "tokenizer.ggml.tokens"),
                      .scores = plmm_gguf_find(g, "tokenizer.ggml.scores"),
                      .types = plmm_gguf_find(g, "tokenizer.ggml.token_type"),
                      .merges = plmm_gguf_find(g, "tokenizer.ggml.merges"),
                      .dummy_prefix = true};
    PLMM_TRY(read_id(g, "tokenizer.ggml.bos_token_id", &v->bos, err));
    PLMM_TRY(read_id(g, "tokenizer.ggml.eos_token_id", &v->eos, err));
    PLMM_TRY(read_id(g, "tokenizer.ggml.unknown_token_id", &v->unk, err));
    PLMM_TRY(plmm_gguf_may_bool(g, "tokenizer.ggml.add_space_prefix", &v->dummy_prefix, err));
    return check_vocab(v, err);
}

static plmm_status make(const plmm_gguf *g, const char *name, plmm_text *text, plmm_tokenizer **out,
                        plmm_error *err)
{
    gguf_vocab v;
    const plmm_gguf_value *model = plmm_gguf_find(g, "tokenizer.ggml.model");
    bool bytes = plmm_gguf_text_is(model, "gpt2");
    if (!bytes && !plmm_gguf_text_is(model, "llama")) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                         "tokenizer.ggml.model is neither \"gpt2\" nor \"llama\"");
    }
    PLMM_TRY(read_keys(g, &v, err));
    PLMM_TRY(bytes ? put_json(&v, text, err) : put_model(&v, text, err));
    PLMM_TRY(bytes
                 ? tokenizer_read_json(text->text, text->len, name, out, err)
                 : tokenizer_read_sentence((const uint8_t *)text->text, text->len, name, out, err));
    plmm_tokenizer *t = *out;
    t->bos = v.bos >= 0 && (uint32_t)v.bos < t->n_tokens ? v.bos : t->bos;
    t->eos = v.eos >= 0 && (uint32_t)v.eos < t->n_tokens ? v.eos : t->eos;
    tokenizer_take_source(t, text->text, text->len, bytes ? "tokenizer.json" : "tokenizer.model");
    return PLMM_OK;
}

plmm_status plmm_tokenizer_from_gguf(const plmm_gguf *g, const char *name, plmm_tokenizer **out,
                                     plmm_error *err)
{
    plmm_text text = {0};
    plmm_status rc = make(g, name, &text, out, err);
    if (rc != PLMM_OK) {
        plmm_text_free(&text);
        return plmm_fail_in(err, rc, "cannot use the tokenizer of %s", name);
    }
    return PLMM_OK;
}
