/* Reader of llama2.c's tokenizer.bin: u32 longest token, then for each token f32 score, u32 length
 * and the bytes. There are no merges: any two neighbours whose concatenation is a token may be
 * merged, the highest score first, the leftmost of equals (llama2.c's run.c, encode()). All ways to
 * cut a token in two are entered as merges of the rank of its score, so that the common merge loop
 * does the same. */
#include "tokenizer_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plmm/alloc.h"
#include "plmm/bytes.h"

enum { IDS_SPECIAL = 3 }; /* unknown, begin, end of text */

typedef struct scored {
    float score;
    uint32_t id;
} scored;

static int by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->score != y->score) {
        return x->score > y->score ? -1 : 1;
    }
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Walks the file; counts tokens and their bytes, and checks every length. */
static plmm_status survey(const uint8_t *p, size_t len, size_t *tokens, size_t *content,
                          plmm_error *err)
{
    size_t at = 4;
    *tokens = *content = 0;
    if (len < 4 + 8) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%zu bytes are too short for a tokenizer", len);
    }
    while (at < len) {
        uint32_t n = len - at >= 8 ? plmm_load_le32(p + at + 4) : UINT32_MAX;
        if (n > PLMM_TOKENIZER_TOKEN_MAX || n > len - at - 8) {
            return plmm_fail(err, PLMM_ERR_FORMAT,
                             "token %zu at byte %zu is cut short or has an impossible length",
                             *tokens, at);
        }
        uint32_t bits = plmm_load_le32(p + at);
        float score;
        memcpy(&score, &bits, sizeof score);
        if (!isfinite(score)) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "token %zu has no finite score", *tokens);
        }
        at += 8 + n;
        *content += n;
        if (++*tokens > PLMM_TOKENIZER_VOCAB_MAX) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "more than %d tokens",
                             (int)PLMM_TOKENIZER_VOCAB_MAX);
        }
    }
    return PLMM_OK;
}

static plmm_status read_tokens(plmm_tokenizer *t, const uint8_t *p, scored *scores, plmm_error *err)
{
    size_t at = 4;
    for (uint32_t id = 0; id < t->n_tokens; id++) {
        uint32_t bits = plmm_load_le32(p + at), n = plmm_load_le32(p + at + 4);
        memcpy(&scores[id].score, &bits, sizeof bits);
        scores[id].id = id;
        PLMM_TRY(tokenizer_set(t, id, (const char *)p + at + 8, n,
                               id < IDS_SPECIAL ? TOKEN_SPECIAL : TOKEN_TEXT, false, err));
        at += 8 + n;
    }
    return PLMM_OK;
}

/* Every cut of every token into two tokens. Cuts are between code points, as symbols are. */
static void enter_merges(plmm_tokenizer *t, const scored *order)
{
    uint32_t rank = 0;
    for (uint32_t i = 0; i < t->n_tokens; i++) {
        if (i > 0 && order[i].score < order[i - 1].score) {
            rank++;
        }
        const token *k = &t->tokens[order[i].id];
        const char *s = t->blob + k->content;
        for (size_t cut = 1; cut < k->content_len; cut++) {
            if (((unsigned char)s[cut] & 0xC0u) == 0x80u) {
                continue;
            }
            int32_t a = tokenizer_lookup(t, s, cut);
            int32_t b = a < 0 ? -1 : tokenizer_lookup(t, s + cut, k->content_len - cut);
            int32_t whole = tokenizer_lookup(t, s, k->content_len);
            if (b >= 0) {
                tokenizer_add_merge(t, (uint32_t)a, (uint32_t)b, rank, (uint32_t)whole);
            }
        }
    }
}

static plmm_status build(plmm_tokenizer *t, const uint8_t *p, size_t len, plmm_error *err)
{
    scored *scores = plmm_alloc(t->n_tokens, sizeof *scores);
    if (scores == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot hold %u tokens", t->n_tokens);
    }
    plmm_status rc = read_tokens(t, p, scores, err);
    if (rc == PLMM_OK) {
        qsort(scores, t->n_tokens, sizeof *scores, by_score);
        enter_merges(t, scores);
        t->unk = 0;
        t->bos = t->n_tokens > 1 ? 1 : -1;
        t->eos = t->n_tokens > 2 ? 2 : -1;
        t->byte_fallback = t->fuse_unk = t->strip_first = true;
        t->prefix = PREFIX_DUMMY;
        rc = tokenizer_finish(t, err);
    }
    if (rc == PLMM_OK) {
        rc = tokenizer_keep_source(t, (const char *)p, len, "tokenizer.bin", err);
    }
    plmm_free(scores);
    return rc;
}

plmm_status plmm_tokenizer_parse_llama2c(const uint8_t *bytes, size_t len, const char *name,
                                         plmm_tokenizer **out, plmm_error *err)
{
    size_t tokens, content;
    plmm_status rc = survey(bytes, len, &tokens, &content, err);
    plmm_tokenizer *t = NULL;
    if (rc == PLMM_OK) {
        t = tokenizer_alloc(STYLE_SENTENCE, (uint32_t)tokens, content);
        rc = t == NULL ? plmm_fail(err, PLMM_ERR_NOMEM, "cannot hold %zu tokens", tokens)
                       : build(t, bytes, len, err);
    }
    if (rc != PLMM_OK) {
        plmm_tokenizer_free(t);
        return plmm_fail_in(err, rc, "cannot use tokenizer %s", name);
    }
    *out = t;
    return PLMM_OK;
}
