/* Speculative decoding: a draft model proposes, the model checks all proposals in one pass. Each
 * token is drawn by the model itself with the generator that it would have used anyway, so the text
 * is the same to the id; a proposal only saves the pass that would have computed the next logits.
 * The draft draws with a copy of that generator: where the two agree, so do their draws. */
#include "decode.h"

typedef struct pair {
    plmm_decoder *d, *f; /* the model's and the draft's */
    const plmm_sampling *s;
    uint32_t ahead;
    int32_t proposed[PLMM_LOOKAHEAD_MAX];
    int32_t lag; /* the token at the draft's position, when it is one behind */
    plmm_draft_count count;
} pair;

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Feeds a decoder's first slot its prompt; the last pass gives logits if they are wanted. */
static void feed_prompt(plmm_decoder *d, bool score)
{
    const plmm__slot *s = &d->slots[0];
    while (s->fed < s->query->n) {
        size_t wanted = 0, rows = plmm__query_feed(d, 0, 0, d->rows_max, &wanted);
        plmm__decoder_pass(d, rows, 0, score ? wanted : 0);
    }
}

static void put_row(plmm_decoder *d, size_t i, int32_t token)
{
    d->rows[i] = (plmm__row){.token = token, .pos = (uint32_t)d->slots[0].fed++};
}

/* How many proposals the next pass may check: as many as there is room and use for. */
static size_t room(const pair *p)
{
    const plmm__slot *s = &p->d->slots[0];
    size_t left = s->limit - s->query->made - 1;
    size_t most = least(p->d->params.positions, p->f->params.positions) - s->fed - 1;
    return least(p->ahead, least(left, most));
}

/* Draws k > 0 proposals for what follows the text. */
static void propose(pair *p, size_t k)
{
    plmm_decoder *f = p->f;
    const plmm__slot *s = &p->d->slots[0];
    plmm_rng rng = s->rng;
    for (size_t i = 0; i < k; i++) {
        size_t rows = 0;
        if (f->slots[0].fed + 1 == s->fed) {
            put_row(f, rows++, p->lag);
        }
        put_row(f, rows++, i == 0 ? s->next : p->proposed[i - 1]);
        f->wanted[0] = rows - 1;
        plmm__decoder_pass(f, rows, rows, 1);
        p->proposed[i] = plmm__sample(f, f->logits, p->s, &rng);
    }
}

/* One pass over the last token and k proposals: takes tokens as long as they were proposed, and the
 * one after. */
static void check(pair *p, size_t k)
{
    plmm_decoder *d = p->d;
    plmm__slot *s = &d->slots[0];
    size_t fed = s->fed, i = 0;
    for (size_t j = 0; j <= k; j++) {
        put_row(d, j, j == 0 ? s->next : p->proposed[j - 1]);
        d->wanted[j] = j;
    }
    plmm__decoder_pass(d, k + 1, k + 1, k + 1);
    p->count.passes++;
    p->count.proposed += k;
    for (;; i++) {
        int32_t token = plmm__sample(d, d->logits + i * d->cfg.vocab, p->s, &s->rng);
        plmm__query_take(s, p->s, token);
        if (s->query == NULL || i == k || token != p->proposed[i]) {
            break;
        }
    }
    p->count.accepted += i;
    s->fed = fed + 1 + i;
    if (k > 0) {
        p->lag = p->proposed[k - 1];
        p->f->slots[0].fed = least(p->f->slots[0].fed, s->fed);
    }
}

static plmm_status check_draft(const plmm_decoder *d, const plmm_draft *draft, plmm_error *err)
{
    if (draft->ahead < 1 || draft->ahead > d->params.lookahead) {
        return plmm_fail(
            err, PLMM_ERR_RANGE,
            "cannot generate: a draft of %u tokens ahead, must be 1..%u (the decoder's "
            "lookahead)",
            draft->ahead, d->params.lookahead);
    }
    if (draft->decoder->cfg.vocab != d->cfg.vocab) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "cannot generate: the draft has %u tokens, the model %u",
                         draft->decoder->cfg.vocab, d->cfg.vocab);
    }
    return draft->decoder != d ? PLMM_OK
                               : plmm_fail(err, PLMM_ERR_STATE,
                                           "cannot generate: the draft needs a decoder of its own");
}

static plmm_status begin(plmm_decoder *d, const plmm_model *m, const plmm_stack *stack,
                         plmm_query *q, const plmm_sampling *s, plmm_error *err)
{
    PLMM_TRY(plmm__decoder_begin(d, m, err));
    PLMM_TRY(plmm__query_check(d, m, q, 0, err));
    PLMM_TRY(plmm__decoder_adapt(d, 0, stack, err));
    return plmm__query_start(d, 0, stack, q, s, 0, err);
}

static void run(pair *p, const plmm_sampling *s)
{
    plmm__slot *own = &p->d->slots[0];
    if (own->query == NULL) {
        return; /* there is no room for a token */
    }
    feed_prompt(p->d, true);
    plmm__query_take(own, s, plmm__sample(p->d, p->d->logits, s, &own->rng));
    if (own->query != NULL) {
        feed_prompt(p->f, false);
    }
    while (own->query != NULL) {
        size_t k = room(p);
        if (k > 0) {
            propose(p, k);
        }
        check(p, k);
    }
}

plmm_status plmm_generate_drafted(plmm_decoder *d, const plmm_model *m, const plmm_stack *stack,
                                  const plmm_draft *draft, const int32_t *prompt, size_t n,
                                  const plmm_sampling *s, plmm_token_fn *each, void *user,
                                  plmm_draft_count *count, plmm_error *err)
{
    plmm_query q = {.prompt = prompt, .n = n, .each = each, .user = user};
    plmm_query shadow = {.prompt = prompt, .n = n};
    plmm_sampling endless = *s;
    pair p = {.d = d, .f = draft->decoder, .s = s, .ahead = draft->ahead};
    endless.max_new = UINT32_MAX;
    PLMM_TRY(check_draft(d, draft, err));
    PLMM_TRY(plmm__sampling_check(s, err));
    PLMM_TRY(begin(d, m, stack, &q, s, err));
    PLMM_TRY(begin(p.f, draft->model, draft->stack, &shadow, &endless, err));
    p.f->slots[0].query = &shadow;
    run(&p, s);
    p.count.made = q.made;
    d->slots[0].query = NULL;
    p.f->slots[0].query = NULL;
    if (count != NULL) {
        *count = p.count;
    }
    return PLMM_OK;
}
