/* fleet_score.c -- how good an expert is on questions that no device had: the answer's mean
 * negative log-likelihood a token, and how often every token of it is the most probable one, which
 * is exactly when greedy decoding gives the answer word for word. */
#include "fleet.h"

#include "plmm/alloc.h"
#include "plmm/clock.h"

#include <math.h>

plmm_status score_open(fleet *f, plmm_error *err)
{
    uint32_t context = plmm_model_cfg(f->model)->context;
    uint32_t most = f->cfg->train.seq_max < context ? f->cfg->train.seq_max : context;
    for (size_t i = 0; i < f->data.n_questions; i++) {
        const sim_question *q = &f->data.questions[i];
        PLMM_TRY(plmm_examples_add(&f->experts[q->expert].questions[q->kind], &f->chat, q->prompt,
                                   q->response, most, &f->workers[0].sample, err));
    }
    return PLMM_OK;
}

/* Runs of whole questions of at most batch_tokens tokens: the units of work. */
typedef struct chunks {
    fleet *f;
    const plmm_examples *x;
    const plmm_stack *stack;
    size_t *first; /* [n + 1] */
    size_t n;
    plmm_loss_sum *per; /* [questions] */
} chunks;

static void cut(chunks *c, uint32_t tokens)
{
    size_t used = 0;
    c->n = 0;
    for (size_t i = 0; i < c->x->n; i++) {
        if (i == 0 || used + c->x->len[i] > tokens) {
            c->first[c->n++] = i;
            used = 0;
        }
        used += c->x->len[i];
    }
    c->first[c->n] = c->x->n;
}

static plmm_status score_chunk(void *ctx, size_t index, uint32_t thread, plmm_error *err)
{
    chunks *c = ctx;
    size_t a = c->first[index];
    size_t b = c->first[index + 1];
    size_t count = 0;
    for (size_t i = a; i < b; i++) {
        count += c->x->len[i];
    }
    plmm_batch batch = {c->x->tokens + c->x->start[a], c->x->targets + c->x->start[a],
                        c->x->len + a, count, b - a};
    return plmm_score(plmm_trainer_workspace(c->f->workers[thread].trainer), c->f->model, c->stack,
                      &batch, c->per + a, err);
}

static plmm_status score_kind(fleet *f, expert *e, uint32_t kind, const plmm_stack *stack,
                              plmm_score_record *out, plmm_error *err)
{
    chunks c = {.f = f, .x = &e->questions[kind], .stack = stack};
    c.first = plmm_alloc(c.x->n + 1, sizeof *c.first);
    c.per = plmm_alloc(c.x->n, sizeof *c.per);
    plmm_status rc = PLMM_OK;
    if (c.first == NULL || c.per == NULL) {
        rc = plmm_fail(err, PLMM_ERR_NOMEM, "cannot score %zu questions: out of memory", c.x->n);
    } else {
        cut(&c, f->cfg->score.batch_tokens);
        rc = plmm_pool_run(f->pool, c.n, score_chunk, &c, err);
    }
    double nll = 0;
    uint64_t tokens = 0;
    uint32_t right = 0;
    for (size_t i = 0; rc == PLMM_OK && i < c.x->n; i++) {
        nll += c.per[i].nll;
        tokens += c.per[i].count;
        right += c.per[i].hits == c.per[i].count;
    }
    out->items = (uint32_t)c.x->n;
    out->nll = tokens > 0 ? nll / (double)tokens : (double)NAN;
    out->exact = f->data.exact && c.x->n > 0 ? right / (double)c.x->n : (double)NAN;
    plmm_free(c.first);
    plmm_free(c.per);
    return rc;
}

/* Scores adapter (NULL: the base) anew. */
static plmm_status score_now(fleet *f, expert *e, const plmm_adapter *adapter, plmm_error *err)
{
    uint64_t start = plmm_clock_us();
    const plmm_adapter *layers[1] = {adapter};
    plmm_stack stack = {layers, 1};
    for (uint32_t kind = 0; kind < SIM_KINDS; kind++) {
        e->scores[kind] = (plmm_score_record){.seed_index = f->seed_index,
                                              .expert = e->index,
                                              .version = (uint32_t)e->version,
                                              .kind = kind,
                                              .chance = f->data.chance};
        PLMM_TRY(score_kind(f, e, kind, adapter == NULL ? NULL : &stack, &e->scores[kind], err));
    }
    f->watch.score_us += plmm_clock_us() - start;
    return PLMM_OK;
}

plmm_status score_alone(fleet *f, expert *e, const plmm_adapter *adapter, double *nll,
                        plmm_error *err)
{
    uint64_t start = plmm_clock_us();
    const plmm_adapter *layers[1] = {adapter};
    plmm_stack stack = {layers, 1};
    double sum = 0;
    uint32_t items = 0;
    for (uint32_t kind = 0; kind < SIM_KINDS; kind++) {
        plmm_score_record r = {0};
        if (e->questions[kind].n > 0) {
            PLMM_TRY(score_kind(f, e, kind, &stack, &r, err));
            sum += r.nll * r.items;
            items += r.items;
        }
    }
    *nll = items > 0 ? sum / items : (double)NAN;
    f->watch.score_us += plmm_clock_us() - start;
    return PLMM_OK;
}

plmm_status score_slot(fleet *f, expert *e, plmm_error *err)
{
    if (f->slot % f->cfg->score.every != 0 && f->slot != f->cfg->rounds) {
        return PLMM_OK;
    }
    if (f->slot == 0 || e->scores[0].version != e->version) { /* an aborted round changes nothing */
        const plmm_adapter *newest = e->next != NULL ? e->next : e->adapter;
        PLMM_TRY(score_now(f, e, f->slot == 0 ? NULL : newest, err));
    }
    for (uint32_t kind = 0; kind < SIM_KINDS; kind++) {
        e->scores[kind].slot = f->slot;
        if (e->questions[kind].n > 0) {
            PLMM_TRY(plmm_run_add_score(f->run, &e->scores[kind], err));
        }
    }
    return PLMM_OK;
}
