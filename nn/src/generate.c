/* Many texts at once: each has a slot with its cache; a finished one makes room for the next. */
#include "decode.h"

#include <string.h>

/* ---- one text ---- */

static size_t total(const plmm_query *q)
{
    return (q->prefix != NULL ? plmm_prefix_count(q->prefix) : 0) + q->n;
}

plmm_status plmm__query_check(const plmm_decoder *d, const plmm_model *m, const plmm_query *q,
                              size_t i, plmm_error *err)
{
    if (q->n < 1 || total(q) > d->params.positions) {
        return plmm_fail(
            err, PLMM_ERR_RANGE,
            "cannot generate: prompt %zu has %zu tokens, must be 1..%u with its prefix "
            "(the decoder's positions)",
            i, q->n, d->params.positions);
    }
    for (size_t j = 0; j < q->n; j++) {
        if (q->prompt[j] < 0 || q->prompt[j] >= (int64_t)d->cfg.vocab) {
            return plmm_fail(err, PLMM_ERR_RANGE,
                             "cannot generate: token %zu of prompt %zu is %d, must be 0..%u", j, i,
                             q->prompt[j], d->cfg.vocab - 1);
        }
    }
    if (q->stack != NULL && !d->params.own_adapters) {
        return plmm_fail(
            err, PLMM_ERR_STATE,
            "cannot generate: prompt %zu has adapters of its own, the decoder was made "
            "for shared ones",
            i);
    }
    return q->prefix != NULL ? plmm__prefix_check(q->prefix, m, err) : PLMM_OK;
}

plmm_status plmm__query_start(plmm_decoder *d, uint32_t slot, const plmm_stack *stack,
                              plmm_query *q, const plmm_sampling *p, uint64_t stream,
                              plmm_error *err)
{
    plmm__slot *s = &d->slots[slot];
    size_t room = d->params.positions - total(q), limit = p->max_new < room ? p->max_new : room;
    q->made = 0;
    *s = (plmm__slot){.query = q, .limit = limit, .logits = SIZE_MAX};
    if (q->out != NULL && q->cap < limit) {
        s->limit = q->cap;
    }
    plmm_rng_init(&s->rng, p->seed, stream);
    if (s->limit == 0) {
        s->query = NULL;
        return PLMM_OK;
    }
    if (d->params.own_adapters) {
        PLMM_TRY(plmm__decoder_adapt(d, slot, q->stack != NULL ? q->stack : stack, err));
    }
    if (q->prefix != NULL) {
        plmm__prefix_put(d, slot, q->prefix);
        s->before = s->fed = plmm_prefix_count(q->prefix);
    }
    return PLMM_OK;
}

static bool in_prompt(const plmm__slot *s)
{
    return s->fed - s->before < s->query->n;
}

size_t plmm__query_feed(plmm_decoder *d, uint32_t index, size_t n, size_t room, size_t *wanted)
{
    plmm__slot *s = &d->slots[index];
    size_t count = 0;
    s->logits = SIZE_MAX;
    while (count < room && (in_prompt(s) || count == 0)) {
        int32_t token = in_prompt(s) ? s->query->prompt[s->fed - s->before] : s->next;
        d->rows[n + count] = (plmm__row){.token = token, .slot = index, .pos = (uint32_t)s->fed};
        s->fed++;
        count++;
    }
    if (count > 0 && !in_prompt(s)) {
        s->logits = *wanted;
        d->wanted[(*wanted)++] = n + count - 1;
    }
    return count;
}

static bool is_stop(const plmm_sampling *p, int32_t token)
{
    for (uint32_t i = 0; i < p->stops; i++) {
        if (p->stop[i] == token) {
            return true;
        }
    }
    return false;
}

void plmm__query_take(plmm__slot *s, const plmm_sampling *p, int32_t token)
{
    plmm_query *q = s->query;
    if (is_stop(p, token)) {
        s->query = NULL;
        return;
    }
    if (q->out != NULL) {
        q->out[q->made] = token;
    }
    q->made++;
    s->next = token;
    if ((q->each != NULL && !q->each(q->user, token)) || q->made >= s->limit) {
        s->query = NULL;
    }
}

/* ---- all ---- */

/* One pass over all running texts; false when there are none. Texts that are past their prompt
 * go first, so that a long prompt cannot starve them. */
static bool run_texts(plmm_decoder *d, const plmm_sampling *p)
{
    size_t n = 0, single = 0, wanted = 0;
    for (int prompts = 0; prompts < 2; prompts++) {
        single = n;
        for (uint32_t i = 0; i < d->params.slots; i++) {
            plmm__slot *s = &d->slots[i];
            if (s->query != NULL && in_prompt(s) == (prompts == 1)) {
                n += plmm__query_feed(d, i, n, d->rows_max - n, &wanted);
            }
        }
    }
    if (n == 0) {
        return false;
    }
    plmm__decoder_pass(d, n, single, wanted);
    for (uint32_t i = 0; i < d->params.slots; i++) {
        plmm__slot *s = &d->slots[i];
        if (s->query != NULL && s->logits != SIZE_MAX) {
            const float *logits = d->logits + s->logits * d->cfg.vocab;
            plmm__query_take(s, p, plmm__sample(d, logits, p, &s->rng));
        }
    }
    return true;
}

plmm_status plmm_generate_batch(plmm_decoder *d, const plmm_model *m, const plmm_stack *stack,
                                plmm_query *queries, size_t count, const plmm_sampling *s,
                                plmm_error *err)
{
    PLMM_TRY(plmm__decoder_begin(d, m, err));
    PLMM_TRY(plmm__sampling_check(s, err));
    for (size_t i = 0; i < count; i++) {
        PLMM_TRY(plmm__query_check(d, m, &queries[i], i, err));
        if (queries[i].stack != NULL) {
            PLMM_TRY(plmm__pack_check(d->packs, &d->cfg, queries[i].stack, err));
        }
    }
    PLMM_TRY(plmm__decoder_adapt(d, 0, stack, err));
    size_t next = 0;
    do {
        for (uint32_t i = 0; i < d->params.slots; i++) {
            while (d->slots[i].query == NULL && next < count) {
                PLMM_TRY(plmm__query_start(d, i, stack, &queries[next], s, next, err));
                next++;
            }
        }
    } while (run_texts(d, s));
    return PLMM_OK;
}

plmm_status plmm_generate(plmm_decoder *d, const plmm_model *m, const plmm_stack *stack,
                          const int32_t *prompt, size_t n, const plmm_sampling *s,
                          plmm_token_fn *each, void *user, size_t *made, plmm_error *err)
{
    plmm_query q = {.prompt = prompt, .n = n, .each = each, .user = user};
    PLMM_TRY(plmm_generate_batch(d, m, stack, &q, 1, s, err));
    if (made != NULL) {
        *made = q.made;
    }
    return PLMM_OK;
}
