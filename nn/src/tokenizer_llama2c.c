/* Reader of llama2.c's tokenizer.bin: u32 longest token, then for each token f32 score, u32 length
 * and the bytes. It merges as SentencePiece does (llama2.c's run.c, encode()). */
#include "tokenizer_internal.h"

#include <math.h>
#include <string.h>

#include "plmm/alloc.h"
#include "plmm/bytes.h"

enum { IDS_SPECIAL = 3 }; /* unknown, begin, end of text */

static float score_at(const uint8_t *p)
{
    uint32_t bits = plmm_load_le32(p);
    float score;
    memcpy(&score, &bits, sizeof score);
    return score;
}

/* Walks the file; counts tokens and their bytes, and checks every length. */
static plmm_status survey(const uint8_t *p, size_t len, scored_vocab *v, plmm_error *err)
{
    size_t at = 4;
    if (len < 4 + 8) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%zu bytes are too short for a tokenizer", len);
    }
    while (at < len) {
        uint32_t n = len - at >= 8 ? plmm_load_le32(p + at + 4) : UINT32_MAX;
        if (n > PLMM_TOKENIZER_TOKEN_MAX || n > len - at - 8) {
            return plmm_fail(err, PLMM_ERR_FORMAT,
                             "token %u at byte %zu is cut short or has an impossible length", v->n,
                             at);
        }
        if (!isfinite(score_at(p + at))) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "token %u has no finite score", v->n);
        }
        at += 8 + n;
        v->content += n;
        if (++v->n > PLMM_TOKENIZER_VOCAB_MAX) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "more than %d tokens",
                             (int)PLMM_TOKENIZER_VOCAB_MAX);
        }
    }
    return PLMM_OK;
}

/* A position is a byte of the file; the first tokens are known by theirs. */
typedef struct file {
    const uint8_t *bytes;
    size_t texts; /* position of the first token that is no control token */
} file;

static scored_piece next_piece(const void *ctx, size_t *position)
{
    const file *f = ctx;
    const uint8_t *p = f->bytes + *position;
    size_t n = plmm_load_le32(p + 4);
    enum piece_kind kind = *position == 4         ? PIECE_UNKNOWN
                           : *position < f->texts ? PIECE_CONTROL
                                                  : PIECE_NORMAL;
    *position += 8 + n;
    return (scored_piece){(const char *)p + 8, n, score_at(p), kind};
}

plmm_status tokenizer_read_llama2c(const uint8_t *bytes, size_t len, const char *name,
                                   plmm_tokenizer **out, plmm_error *err)
{
    file f = {.bytes = bytes, .texts = 4};
    scored_vocab v = {.spaces = true, .begin = 4, .at = next_piece, .ctx = &f};
    plmm_status rc = survey(bytes, len, &v, err);
    if (rc == PLMM_OK) {
        for (uint32_t id = 0; id < IDS_SPECIAL && id < v.n; id++) {
            f.texts += 8 + plmm_load_le32(bytes + f.texts + 4);
        }
        rc = tokenizer_from_scores(&v, out, err);
    }
    if (rc != PLMM_OK) {
        return plmm_fail_in(err, rc, "cannot use tokenizer %s", name);
    }
    (*out)->unk = 0;
    (*out)->bos = v.n > 1 ? 1 : -1;
    (*out)->eos = v.n > 2 ? 2 : -1;
    return PLMM_OK;
}
