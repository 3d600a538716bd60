/* Vocabularies with a score for each piece and no merges, as SentencePiece, llama2.c and GGUF have
 * them: any two neighbours whose concatenation is a piece may be merged, the highest score first.
 * All ways to cut a piece in two are entered as merges of the rank of its score, so that the common
 * merge loop does the same. */
#include "tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

#include "plmm/alloc.h"

#define META "\xE2\x96\x81"

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

static enum token_kind kind_of(enum piece_kind kind)
{
    return kind == PIECE_UNKNOWN || kind == PIECE_CONTROL ? TOKEN_SPECIAL
           : kind == PIECE_USER                           ? TOKEN_ADDED
                                                          : TOKEN_TEXT;
}

/* A piece that is cut out of the text as it stands there; control pieces only where asked for. */
static void add_cut(plmm_tokenizer *t, uint32_t id)
{
    const token *k = &t->tokens[id];
    t->added[t->n_added++] = (added_token){
        .id = id, .pattern = k->raw, .len = k->raw_len, .special = k->kind == TOKEN_SPECIAL};
}

static plmm_status read_pieces(plmm_tokenizer *t, const scored_vocab *v, scored *scores,
                               plmm_error *err)
{
    size_t position = v->begin;
    for (uint32_t id = 0; id < v->n; id++) {
        scored_piece p = v->at(v->ctx, &position);
        scores[id] = (scored){p.score, id};
        if (p.kind == PIECE_UNUSED) {
            return plmm_fail(err, PLMM_ERR_UNSUPPORTED, "piece %u is unused: not supported", id);
        }
        PLMM_TRY(tokenizer_set(t, id, p.s, p.n, kind_of(p.kind), false, err));
        if (t->tokens[id].kind != TOKEN_TEXT && t->tokens[id].kind != TOKEN_BYTE && v->cut > 0 &&
            p.n > 0) {
            add_cut(t, id);
        }
        t->unk = p.kind == PIECE_UNKNOWN ? (int32_t)id : t->unk;
    }
    return PLMM_OK;
}

/* The merges of one piece: cuts are between code points, as symbols are. Returns their number. */
static size_t cut_piece(plmm_tokenizer *t, uint32_t id, uint32_t rank, bool enter)
{
    const token *k = &t->tokens[id];
    const char *s = t->blob + k->content;
    size_t n = 0;
    if (k->kind != TOKEN_TEXT) {
        return 0;
    }
    for (size_t cut = 1; cut < k->content_len; cut++) {
        if (((unsigned char)s[cut] & 0xC0u) == 0x80u) {
            continue;
        }
        int32_t a = tokenizer_lookup(t, s, cut);
        int32_t b = a < 0 ? -1 : tokenizer_lookup(t, s + cut, k->content_len - cut);
        if (b < 0 || t->tokens[a].kind == TOKEN_SPECIAL || t->tokens[b].kind == TOKEN_SPECIAL) {
            continue;
        }
        n++;
        if (enter) {
            int32_t whole = tokenizer_lookup(t, s, k->content_len);
            tokenizer_add_merge(t, (uint32_t)a, (uint32_t)b, rank, (uint32_t)whole);
        }
    }
    return n;
}

static plmm_status enter_merges(plmm_tokenizer *t, const scored *order, plmm_error *err)
{
    size_t n = 0;
    for (uint32_t i = 0; i < t->n_tokens; i++) {
        n += cut_piece(t, i, 0, false);
    }
    PLMM_TRY(tokenizer_reserve_merges(t, n, err));
    for (uint32_t i = 0, rank = 0; i < t->n_tokens; i++) {
        rank += i > 0 && order[i].score < order[i - 1].score;
        (void)cut_piece(t, order[i].id, rank, true);
    }
    return PLMM_OK;
}

static plmm_status build(plmm_tokenizer *t, const scored_vocab *v, scored *scores, plmm_error *err)
{
    PLMM_TRY(read_pieces(t, v, scores, err));
    qsort(scores, t->n_tokens, sizeof *scores, by_score);
    PLMM_TRY(enter_merges(t, scores, err));
    t->byte_fallback = t->fuse_unk = t->strip_first = true;
    t->prefix = PREFIX_DUMMY;
    t->meta_replace = !v->spaces;
    PLMM_TRY(tokenizer_add_words(t, err));
    return tokenizer_finish(t, err);
}

plmm_status tokenizer_from_scores(const scored_vocab *v, plmm_tokenizer **out, plmm_error *err)
{
    table_sizes z = {.ids = v->n,
                     .blob = 2 * v->content,
                     .added = v->cut,
                     .scratch =
                         2 * (size_t)v->n * sizeof(scored)}; /* sorting takes as much again */
    plmm_tokenizer *t;
    PLMM_TRY(tokenizer_new(STYLE_SENTENCE, &z, &t, err));
    scored *scores = plmm_alloc(v->n, sizeof *scores);
    plmm_status rc = scores == NULL ? plmm_fail(err, PLMM_ERR_NOMEM, "cannot hold %u tokens", v->n)
                                    : build(t, v, scores, err);
    plmm_free(scores);
    if (rc != PLMM_OK) {
        plmm_tokenizer_free(t);
        return rc;
    }
    *out = t;
    return PLMM_OK;
}
