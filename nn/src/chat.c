#include "plmm/chat.h"

#include <string.h>

#include "chat_internal.h"
#include "plmm/alloc.h"
#include "tokenizer_internal.h"

const char *const plmm_chat_specials[PLMM_CHAT_SPECIALS] = {PLMM_CHAT_BEGIN, PLMM_CHAT_END,
                                                            PLMM_CHAT_USER, PLMM_CHAT_ASSISTANT};

void plmm_chat_init(plmm_chat *c, const plmm_tokenizer *tokenizer, int32_t bos, int32_t eos)
{
    *c = (plmm_chat){.tokenizer = tokenizer, .bos = bos, .eos = eos};
    c->end = plmm_tokenizer_find(tokenizer, PLMM_CHAT_END);
    c->user = plmm_tokenizer_find(tokenizer, PLMM_CHAT_USER);
    c->assistant = plmm_tokenizer_find(tokenizer, PLMM_CHAT_ASSISTANT);
    c->tokens = c->end >= 0 && c->user >= 0 && c->assistant >= 0;
    c->end = c->tokens ? c->end : eos;
    c->stop = c->end;
    if (!c->tokens) {
        plmm__chat_guess(c);
    }
}

void plmm_sample_free(plmm_sample *s)
{
    plmm_ids_free(&s->ids);
    plmm_ids_free(&s->targets);
}

/* Does the tokenizer itself put a space before a text? */
static bool adds_space(const plmm_tokenizer *t)
{
    bool adds = t->prefix != PREFIX_NONE && t->prefix != PREFIX_META_FIRST;
    for (size_t i = 0; i < t->n_normal; i++) {
        adds = adds || t->normal[i].kind == NORMAL_PREPEND;
    }
    return adds;
}

/* Text as it follows a colon or stands alone. */
static plmm_status encode(const plmm_chat *c, const char *text, bool space, plmm_ids *ids,
                          plmm_error *err)
{
    if (space && !adds_space(c->tokenizer)) {
        size_t len = strlen(text);
        char *spaced = plmm_alloc(len + 2, 1);
        if (spaced == NULL) {
            return plmm_fail(err, PLMM_ERR_NOMEM, "cannot encode a text of %zu bytes", len);
        }
        spaced[0] = ' ';
        memcpy(spaced + 1, text, len + 1);
        plmm_status rc = plmm_tokenizer_encode(c->tokenizer, spaced, len + 1, 0, ids, err);
        plmm_free(spaced);
        return rc;
    }
    return plmm_tokenizer_encode(c->tokenizer, text, strlen(text), 0, ids, err);
}

static plmm_status push_some(plmm_ids *ids, int32_t id, plmm_error *err)
{
    return id < 0 ? PLMM_OK : plmm_ids_push(ids, id, err);
}

/* What stands before the prompt, and between prompt and response. */
static plmm_status put_open(const plmm_chat *c, plmm_ids *ids, plmm_error *err)
{
    PLMM_TRY(push_some(ids, c->bos, err));
    return c->tokens ? plmm_ids_push(ids, c->user, err) : encode(c, "User:", false, ids, err);
}

static plmm_status put_middle(const plmm_chat *c, plmm_ids *ids, plmm_error *err)
{
    return c->tokens ? plmm_ids_push(ids, c->assistant, err)
                     : encode(c, "\nAssistant:", false, ids, err);
}

/* Takes n ids out of the middle of ids, from `from` on. */
static void cut(plmm_ids *ids, size_t from, size_t n)
{
    memmove(ids->v + from, ids->v + from + n, (ids->n - from - n) * sizeof *ids->v);
    ids->n -= n;
}

/* The frame and the prompt; begin and end tell where the prompt's ids are. */
static plmm_status put_prompt(const plmm_chat *c, const char *prompt, plmm_ids *ids, size_t *begin,
                              size_t *end, plmm_error *err)
{
    ids->n = 0;
    PLMM_TRY(put_open(c, ids, err));
    *begin = ids->n;
    PLMM_TRY(encode(c, prompt, !c->tokens, ids, err));
    *end = ids->n;
    return put_middle(c, ids, err);
}

plmm_status plmm_chat_prompt(const plmm_chat *c, const char *prompt, size_t max, plmm_ids *ids,
                             plmm_error *err)
{
    size_t begin, end;
    PLMM_ASSERT(max == 0 || max >= 8);
    if (c->form != NULL) {
        return plmm__chat_prompt(c, prompt, max, ids, err);
    }
    PLMM_TRY(put_prompt(c, prompt, ids, &begin, &end, err));
    if (max != 0 && ids->n > max) {
        size_t over = ids->n - max;
        cut(ids, begin, over < end - begin ? over : end - begin);
    }
    return PLMM_OK;
}

/* The end of a response: a token, or a line break. */
static plmm_status put_end(const plmm_chat *c, plmm_ids *ids, plmm_error *err)
{
    return c->end >= 0 ? plmm_ids_push(ids, c->end, err)
                       : plmm_tokenizer_encode(c->tokenizer, "\n", 1, 0, ids, err);
}

/* Fits ids to max: the prompt ids[begin..end) loses its beginning down to a quarter of max, then
 * the whole loses its end. Returns where the response begins now. */
static size_t fit(plmm_ids *ids, size_t begin, size_t end, size_t response, size_t max)
{
    if (max == 0 || ids->n <= max) {
        return response;
    }
    size_t over = ids->n - max, keep = max / 4, n = end - begin;
    size_t spare = n > keep ? n - keep : 0;
    size_t drop = over < spare ? over : spare;
    cut(ids, begin, drop);
    if (ids->n > max) {
        ids->n = max;
    }
    response -= drop;
    return response < ids->n ? response : ids->n;
}

/* Makes inputs and targets of a whole sequence, learnt from position `learn` on. */
static plmm_status shift(plmm_sample *s, size_t learn, plmm_error *err)
{
    s->targets.n = 0;
    for (size_t i = 1; i < s->ids.n; i++) {
        PLMM_TRY(plmm_ids_push(&s->targets, i >= learn ? s->ids.v[i] : -1, err));
    }
    s->ids.n = s->targets.n;
    return PLMM_OK;
}

plmm_status plmm_chat_sample(const plmm_chat *c, const char *prompt, const char *response,
                             size_t max, plmm_sample *s, plmm_error *err)
{
    size_t begin = 0, end = 0, learn;
    PLMM_ASSERT(max == 0 || max >= 8);
    size_t whole = max == 0 ? 0 : max + 1; /* one id more than inputs */
    if (prompt[0] == '\0') {
        s->ids.n = 0;
        PLMM_TRY(push_some(&s->ids, c->bos, err));
        learn = s->ids.n;
        PLMM_TRY(encode(c, response, false, &s->ids, err));
    } else if (c->form != NULL) {
        PLMM_TRY(plmm__chat_both(c, prompt, response, whole, &s->ids, &learn, err));
        return shift(s, learn, err);
    } else {
        PLMM_TRY(put_prompt(c, prompt, &s->ids, &begin, &end, err));
        learn = s->ids.n;
        PLMM_TRY(encode(c, response, !c->tokens, &s->ids, err));
    }
    PLMM_TRY(put_end(c, &s->ids, err));
    return shift(s, fit(&s->ids, begin, end, learn, whole), err);
}
