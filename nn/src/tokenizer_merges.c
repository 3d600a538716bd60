/* GPT-2's older pair of files, vocab.json and merges.txt: put together as the tokenizer.json that
 * they stand for. */
#include "tokenizer_internal.h"

#include <string.h>

#include "plmm/alloc.h"
#include "plmm/file.h"
#include "plmm/json_walk.h"

static plmm_status put(plmm_text *out, const char *s, plmm_error *err)
{
    return plmm_text_sink(out, s, strlen(s), err);
}

/* The usual control token of such vocabularies, if it is there. */
static plmm_status put_added(plmm_text *out, plmm_json_slice vocab, plmm_error *err)
{
    uint64_t id;
    plmm_json_slice end = plmm_json_slice_get(vocab, "<|endoftext|>");
    plmm_json_writer w;
    plmm_json_begin(&w, PLMM_JSON_COMPACT, plmm_text_sink, out);
    plmm_json_open_array(&w);
    if (plmm_json_slice_whole(end, PLMM_TOKENIZER_VOCAB_MAX - 1, &id)) {
        plmm_json_open_object(&w);
        plmm_json_put_key(&w, "id");
        plmm_json_put_u64(&w, id);
        plmm_json_put_key(&w, "content");
        plmm_json_put_text(&w, "<|endoftext|>");
        plmm_json_put_key(&w, "special");
        plmm_json_put_bool(&w, true);
        plmm_json_close_object(&w);
    }
    plmm_json_close_array(&w);
    return plmm_json_end(&w, err);
}

/* A merge a line; a first line "#version" and empty lines are none. */
static plmm_status put_merges(plmm_text *out, const char *text, size_t len, plmm_error *err)
{
    plmm_json_writer w;
    plmm_json_begin(&w, PLMM_JSON_COMPACT, plmm_text_sink, out);
    plmm_json_open_array(&w);
    for (size_t at = 0; at < len;) {
        const char *line = text + at, *eol = memchr(line, '\n', len - at);
        size_t n = eol != NULL ? (size_t)(eol - line) : len - at;
        bool head = at == 0 && n >= 8 && memcmp(line, "#version", 8) == 0;
        at += n + 1;
        n -= n > 0 && line[n - 1] == '\r';
        if (n > 0 && !head) {
            plmm_json_put_bytes(&w, line, n);
        }
    }
    plmm_json_close_array(&w);
    return plmm_json_end(&w, err);
}

static plmm_status assemble(plmm_text *out, const char *vocab, size_t vocab_len, const char *merges,
                            size_t merges_len, const char *name, plmm_error *err)
{
    plmm_json_slice root;
    PLMM_TRY(plmm_json_check(vocab, vocab_len, name, NULL, &root, err));
    PLMM_TRY(put(out,
                 "{\"version\":\"1.0\",\"normalizer\":null,\"pre_tokenizer\":{\"type\":"
                 "\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,"
                 "\"use_regex\":true},\"decoder\":{\"type\":\"ByteLevel\","
                 "\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true},"
                 "\"added_tokens\":",
                 err));
    PLMM_TRY(put_added(out, root, err));
    PLMM_TRY(put(out, ",\"model\":{\"type\":\"BPE\",\"vocab\":", err));
    PLMM_TRY(plmm_text_sink(out, vocab, vocab_len, err));
    PLMM_TRY(put(out, ",\"merges\":", err));
    PLMM_TRY(put_merges(out, merges, merges_len, err));
    return put(out, "}}", err);
}

plmm_status tokenizer_load_merges(const char *vocab, const char *merges, plmm_tokenizer **out,
                                  plmm_error *err)
{
    uint8_t *v = NULL, *m = NULL;
    size_t v_len, m_len;
    plmm_text json = {0};
    plmm_status rc = plmm_file_read(vocab, PLMM_TOKENIZER_FILE_MAX / 4, &v, &v_len, err);
    if (rc == PLMM_OK) {
        rc = plmm_file_read(merges, PLMM_TOKENIZER_FILE_MAX / 4, &m, &m_len, err);
    }
    if (rc == PLMM_OK) {
        rc = assemble(&json, (const char *)v, v_len, (const char *)m, m_len, vocab, err);
    }
    plmm_free(v);
    plmm_free(m);
    if (rc == PLMM_OK) {
        rc = tokenizer_read_json(json.text, json.len, vocab, out, err);
    }
    if (rc != PLMM_OK) {
        plmm_text_free(&json);
        return rc;
    }
    tokenizer_take_source(*out, json.text, json.len, "tokenizer.json");
    return PLMM_OK;
}
