/* Decoding with a key-value cache. A pass takes rows of any mix, prompts and single tokens of many
 * texts, through the model together; only attention looks at each text's own cache. Every product
 * sums in the same order whatever its rows, so a text does not depend on its company. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "plmm/alloc.h"
#include "plmm/generate.h"
#include "plmm/rng.h"

enum { PREFILL_ROWS = 64 };

/* One token on its way through the model. */
typedef struct row {
    int32_t token;
    uint32_t slot, pos;
} row;

typedef struct candidate {
    float logit;
    int32_t id;
} candidate;

/* A text being written. */
typedef struct slot {
    plmm_query *query; /* NULL: free */
    plmm_token_fn *each;
    void *user;
    plmm_rng rng;
    size_t fed;   /* tokens in the cache */
    size_t limit; /* new tokens at most */
    size_t last;  /* its last row in the present pass, SIZE_MAX: no logits wanted */
    int32_t next; /* to be fed after the prompt */
} slot;

struct plmm_decoder {
    plmm_model_config cfg;
    plmm_decoder_params params;
    plmm__pack pack;
    char *mem;
    size_t rows_max, ld; /* ld: positions rounded up to 16 */
    float *keys;         /* [slot][layer][kv_head][head_dim][ld] */
    float *values;       /* [slot][layer][kv_head][ld][head_dim] */
    float *x, *n, *qkv, *mix, *gu, *act, *h, *rstd, *scores, *logits, *scratch;
    row *rows;
    slot *slots;
    candidate *candidates;
    const plmm_model *m; /* of the running call */
    const plmm__kernels *k;
};

plmm_sampling plmm_sampling_default(void)
{
    return (plmm_sampling){.top_p = 1.0f, .max_new = 64};
}

/* ---- memory ---- */

static void carve(plmm_decoder *d, plmm__arena *a)
{
    const plmm_model_config *c = &d->cfg;
    size_t rows = d->rows_max, slots = d->params.slots;
    size_t cache = (size_t)c->layers * plmm__kv_dim(c);
    plmm__pack_carve(&d->pack, a, c, d->params.rank, false);
    d->keys = plmm__carve_floats(a, slots * cache, d->ld);
    d->values = plmm__carve_floats(a, slots * cache, d->ld);
    d->x = plmm__carve_floats(a, rows, c->dim);
    d->n = plmm__carve_floats(a, rows, c->dim);
    d->qkv = plmm__carve_floats(a, rows, plmm__qkv_dim(c));
    d->mix = plmm__carve_floats(a, rows, plmm__q_dim(c));
    d->gu = plmm__carve_floats(a, rows, 2 * (size_t)c->hidden);
    d->act = plmm__carve_floats(a, rows, c->hidden);
    d->h = plmm__carve_floats(a, rows, (size_t)3 * d->params.rank);
    d->rstd = plmm__carve_floats(a, rows, 1);
    d->scores = plmm__carve_floats(a, c->heads / c->kv_heads, d->ld);
    d->logits = plmm__carve_floats(a, slots, c->vocab);
    d->scratch = plmm__carve_floats(a, 1, PLMM__SCRATCH);
    d->rows = plmm__carve(a, rows, sizeof *d->rows);
    d->slots = plmm__carve(a, slots, sizeof *d->slots);
    d->candidates = plmm__carve(a, c->vocab, sizeof *d->candidates);
}

static plmm_status check_params(const plmm_model_config *c, const plmm_decoder_params *p,
                                plmm_error *err)
{
    PLMM_TRY(plmm_model_config_check(c, err));
    if (p->slots < 1 || p->slots > 1024) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot make a decoder: slots is %u, must be 1..1024",
                         p->slots);
    }
    if (p->positions < 1 || p->positions > c->context) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot make a decoder: positions is %u, must be 1..%u (the context)",
                         p->positions, c->context);
    }
    if (p->rank > PLMM_STACK_MAX * PLMM_RANK_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot make a decoder: rank is %u, at most %d",
                         p->rank, PLMM_STACK_MAX * PLMM_RANK_MAX);
    }
    return PLMM_OK;
}

plmm_status plmm_decoder_new(const plmm_model_config *cfg, const plmm_decoder_params *p,
                             plmm_decoder **out, plmm_error *err)
{
    PLMM_TRY(check_params(cfg, p, err));
    plmm_decoder *d = plmm_alloc(1, sizeof *d);
    plmm__arena a = {0};
    if (d != NULL) {
        d->cfg = *cfg;
        d->params = *p;
        d->rows_max = p->slots > PREFILL_ROWS ? p->slots : PREFILL_ROWS;
        d->ld = plmm__round16(p->positions);
        carve(d, &a);
        d->mem = a.overflow ? NULL : plmm_alloc(a.used, 1);
    }
    if (d == NULL || d->mem == NULL) {
        plmm_decoder_free(d);
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot make a decoder: no memory for %zu MiB",
                         a.used >> 20);
    }
    a = (plmm__arena){.base = d->mem};
    carve(d, &a);
    *out = d;
    return PLMM_OK;
}

void plmm_decoder_free(plmm_decoder *d)
{
    if (d != NULL) {
        plmm_free(d->mem);
        plmm_free(d);
    }
}

/* ---- one pass ---- */

static size_t cache_at(const plmm_decoder *d, uint32_t slot_index, uint32_t l, uint32_t kv_head)
{
    const plmm_model_config *c = &d->cfg;
    size_t heads = ((size_t)slot_index * c->layers + l) * c->kv_heads + kv_head;
    return heads * c->head_dim * d->ld;
}

/* Rotates a row's q and k and stores its k and v. */
static void remember(plmm_decoder *d, uint32_t l, const row *r, float *qkv)
{
    const plmm_model_config *c = &d->cfg;
    size_t hd = c->head_dim, q = plmm__q_dim(c), kv = plmm__kv_dim(c), angle = r->pos * (hd / 2);
    d->k->rope(1, qkv, 0, c->heads + c->kv_heads, hd, d->m->rope_cos + angle,
               d->m->rope_sin + angle, 1.0f);
    for (uint32_t i = 0; i < c->kv_heads; i++) {
        size_t at = cache_at(d, r->slot, l, i);
        for (size_t j = 0; j < hd; j++) {
            d->keys[at + j * d->ld + r->pos] = qkv[q + i * hd + j];
        }
        memcpy(d->values + at + r->pos * hd, qkv + q + kv + i * hd, hd * sizeof *qkv);
    }
}

/* Attention of a row over its text's cache; the query heads of a key head go together. */
static void attend(plmm_decoder *d, uint32_t l, const row *r, const float *qkv, float *mix)
{
    const plmm_model_config *c = &d->cfg;
    size_t hd = c->head_dim, group = c->heads / c->kv_heads, n = r->pos + 1,
           width = plmm__round16(n);
    for (uint32_t i = 0; i < c->kv_heads; i++) {
        size_t at = cache_at(d, r->slot, l, i), first = i * group * hd;
        d->k->gemm(group, width, hd, qkv + first, hd, 1, d->keys + at, d->ld, d->scores, d->ld,
                   false);
        for (size_t j = 0; j < group; j++) {
            d->k->scale(d->scores + j * d->ld, n, 1.0f / sqrtf((float)hd));
            d->k->softmax(d->scores + j * d->ld, n, width);
        }
        d->k->gemm(group, hd, n, d->scores, d->ld, 1, d->values + at, hd, mix + first, hd, false);
    }
}

static void run_layer(plmm_decoder *d, uint32_t l, size_t n)
{
    const plmm_model_config *c = &d->cfg;
    const plmm__layer *f = &d->m->layers[l];
    size_t qkv = plmm__qkv_dim(c), q = plmm__q_dim(c), h = c->hidden;
    d->k->rmsnorm(n, c->dim, d->x, f->norm1.x, c->norm_eps, d->n, d->rstd);
    plmm__linear(&f->qkv, n, d->n, d->qkv, qkv, false, d->scratch);
    if (c->qkv_bias) {
        d->k->add_rows(d->qkv, qkv, f->bias.x, n, qkv);
    }
    plmm__pack_apply(&d->pack, c, l, 0, n, d->n, d->h, d->qkv, qkv);
    for (size_t i = 0; i < n; i++) {
        remember(d, l, &d->rows[i], d->qkv + i * qkv);
    }
    for (size_t i = 0; i < n; i++) {
        attend(d, l, &d->rows[i], d->qkv + i * qkv, d->mix + i * q);
    }
    plmm__linear(&f->o, n, d->mix, d->x, c->dim, true, d->scratch);
    plmm__pack_apply(&d->pack, c, l, 1, n, d->mix, d->h, d->x, c->dim);
    d->k->rmsnorm(n, c->dim, d->x, f->norm2.x, c->norm_eps, d->n, d->rstd);
    plmm__linear(&f->gate_up, n, d->n, d->gu, 2 * h, false, d->scratch);
    plmm__pack_apply(&d->pack, c, l, 2, n, d->n, d->h, d->gu, 2 * h);
    d->k->silu_mul(n, h, d->gu, d->act);
    plmm__linear(&f->down, n, d->act, d->x, c->dim, true, d->scratch);
    plmm__pack_apply(&d->pack, c, l, 3, n, d->act, d->h, d->x, c->dim);
}

/* Runs the rows; the logits of the rows that a slot asked for land in that slot's place. */
static void run_pass(plmm_decoder *d, size_t n)
{
    const plmm_model_config *c = &d->cfg;
    for (size_t i = 0; i < n; i++) {
        plmm__matrix_row(&d->m->embed, (size_t)d->rows[i].token, d->x + i * c->dim);
    }
    for (uint32_t l = 0; l < c->layers; l++) {
        run_layer(d, l, n);
    }
    size_t wanted = 0; /* rows to be scored move to the front of n */
    for (uint32_t s = 0; s < d->params.slots; s++) {
        if (d->slots[s].query != NULL && d->slots[s].last != SIZE_MAX) {
            memcpy(d->n + wanted * c->dim, d->x + d->slots[s].last * c->dim, c->dim * sizeof *d->n);
            d->slots[s].last = wanted++;
        }
    }
    d->k->rmsnorm(wanted, c->dim, d->n, d->m->norm.x, c->norm_eps, d->n, d->rstd);
    plmm__linear(&d->m->head, wanted, d->n, d->logits, c->vocab, false, d->scratch);
}

/* ---- sampling ---- */

static int by_logit(const void *pa, const void *pb)
{
    const candidate *a = pa, *b = pb;
    if (a->logit != b->logit) {
        return a->logit > b->logit ? -1 : 1;
    }
    return a->id < b->id ? -1 : 1;
}

static int32_t argmax(const float *x, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        best = x[i] > x[best] ? i : best;
    }
    return (int32_t)best;
}

/* The tokens that may be drawn, most probable first; *total is the sum of their e^(logit -
 * first). */
static size_t choose_candidates(plmm_decoder *d, const float *logits, const plmm_sampling *s,
                                double *total)
{
    size_t n = d->cfg.vocab;
    candidate *c = d->candidates;
    for (size_t i = 0; i < n; i++) {
        c[i] = (candidate){.logit = logits[i] / s->temperature, .id = (int32_t)i};
    }
    qsort(c, n, sizeof *c, by_logit);
    n = s->top_k > 0 && s->top_k < n ? s->top_k : n;
    double sum = 0, kept = 0;
    for (size_t i = 0; i < n; i++) {
        sum += exp((double)c[i].logit - (double)c[0].logit);
    }
    size_t m = 0;
    while (m < n && (m == 0 || kept < (double)s->top_p * sum)) {
        kept += exp((double)c[m].logit - (double)c[0].logit);
        m++;
    }
    *total = kept;
    return m;
}

static int32_t sample(plmm_decoder *d, const float *logits, const plmm_sampling *s, plmm_rng *rng)
{
    if (s->temperature <= 0.0f) {
        return argmax(logits, d->cfg.vocab);
    }
    double total = 0;
    size_t n = choose_candidates(d, logits, s, &total), i = 0;
    double at = plmm_rng_double(rng) * total;
    for (; i + 1 < n; i++) {
        at -= exp((double)d->candidates[i].logit - (double)d->candidates[0].logit);
        if (at < 0) {
            break;
        }
    }
    return d->candidates[i].id;
}

/* ---- many texts ---- */

static void start_text(plmm_decoder *d, slot *s, plmm_query *q, const plmm_sampling *p,
                       uint64_t stream)
{
    size_t room = d->params.positions - q->n, limit = p->max_new < room ? p->max_new : room;
    q->made = 0;
    *s = (slot){.query = q, .limit = q->cap < limit ? q->cap : limit, .last = SIZE_MAX};
    plmm_rng_init(&s->rng, p->seed, stream);
    if (s->limit == 0) {
        s->query = NULL;
    }
}

/* Puts a slot's next tokens into the pass, at most `room` of them. */
static size_t feed(plmm_decoder *d, uint32_t index, size_t n, size_t room)
{
    slot *s = &d->slots[index];
    size_t count = 0;
    s->last = SIZE_MAX;
    while (count < room && (s->fed < s->query->n || count == 0)) {
        bool prompt = s->fed < s->query->n;
        d->rows[n + count] = (row){.token = prompt ? s->query->prompt[s->fed] : s->next,
                                   .slot = index,
                                   .pos = (uint32_t)s->fed};
        s->fed++;
        count++;
    }
    if (count > 0 && s->fed >= s->query->n) {
        s->last = n + count - 1;
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

/* Takes the next token of a text whose logits are there; frees the slot at the end of the text. */
static void advance(plmm_decoder *d, slot *s, const plmm_sampling *p)
{
    int32_t token = sample(d, d->logits + s->last * d->cfg.vocab, p, &s->rng);
    if (is_stop(p, token)) {
        s->query = NULL;
        return;
    }
    plmm_query *q = s->query;
    if (q->out != NULL) {
        q->out[q->made] = token;
    }
    q->made++;
    s->next = token;
    if ((s->each != NULL && !s->each(s->user, token)) || q->made >= s->limit) {
        s->query = NULL;
    }
}

/* One pass over all running texts; false when there are none. Texts that are past their prompt
 * go first, so that a long prompt cannot starve them. */
static bool run_texts(plmm_decoder *d, const plmm_sampling *p)
{
    size_t n = 0;
    for (int prompts = 0; prompts < 2; prompts++) {
        for (uint32_t i = 0; i < d->params.slots; i++) {
            const slot *s = &d->slots[i];
            if (s->query != NULL && (s->fed < s->query->n) == (prompts == 1)) {
                n += feed(d, i, n, d->rows_max - n);
            }
        }
    }
    if (n == 0) {
        return false;
    }
    run_pass(d, n);
    for (uint32_t i = 0; i < d->params.slots; i++) {
        if (d->slots[i].query != NULL && d->slots[i].last != SIZE_MAX) {
            advance(d, &d->slots[i], p);
        }
    }
    return true;
}

static plmm_status check_query(const plmm_decoder *d, const plmm_query *q, size_t i,
                               plmm_error *err)
{
    if (q->n < 1 || q->n > d->params.positions) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot generate: prompt %zu has %zu tokens, must be 1..%u (the decoder's "
                         "positions)",
                         i, q->n, d->params.positions);
    }
    for (size_t j = 0; j < q->n; j++) {
        if (q->prompt[j] < 0 || q->prompt[j] >= (int64_t)d->cfg.vocab) {
            return plmm_fail(err, PLMM_ERR_RANGE,
                             "cannot generate: token %zu of prompt %zu is %d, must be 0..%u", j, i,
                             q->prompt[j], d->cfg.vocab - 1);
        }
    }
    return PLMM_OK;
}

static plmm_status check_sampling(const plmm_sampling *s, plmm_error *err)
{
    if (!(s->temperature >= 0 && isfinite(s->temperature)) || !(s->top_p > 0 && s->top_p <= 1)) {
        return plmm_fail(
            err, PLMM_ERR_RANGE,
            "cannot generate: temperature is %g (must be >= 0), top_p is %g (must be in "
            "(0, 1])",
            (double)s->temperature, (double)s->top_p);
    }
    if (s->stops > PLMM_STOP_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot generate: %u stop tokens, at most %d",
                         s->stops, PLMM_STOP_MAX);
    }
    return PLMM_OK;
}

static plmm_status begin(plmm_decoder *d, const plmm_model *m, const plmm_stack *stack,
                         const plmm_sampling *s, plmm_error *err)
{
    if (!m->sealed) {
        return plmm_fail(err, PLMM_ERR_STATE, "cannot generate: the model is not sealed");
    }
    if (!plmm__same_shape(&m->cfg, &d->cfg)) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "cannot generate: the decoder was made for a model of another shape");
    }
    PLMM_TRY(check_sampling(s, err));
    PLMM_TRY(plmm__pack_check(&d->pack, &d->cfg, stack, err));
    plmm__pack_fill(&d->pack, &d->cfg, stack);
    d->m = m;
    d->k = plmm__kernels_best();
    memset(d->slots, 0, d->params.slots * sizeof *d->slots);
    return PLMM_OK;
}

plmm_status plmm_generate_batch(plmm_decoder *d, const plmm_model *m, const plmm_stack *stack,
                                plmm_query *queries, size_t count, const plmm_sampling *s,
                                plmm_error *err)
{
    for (size_t i = 0; i < count; i++) {
        PLMM_TRY(check_query(d, &queries[i], i, err));
    }
    PLMM_TRY(begin(d, m, stack, s, err));
    size_t next = 0;
    do {
        for (uint32_t i = 0; i < d->params.slots; i++) {
            while (d->slots[i].query == NULL && next < count) {
                start_text(d, &d->slots[i], &queries[next], s, next);
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
    plmm_query q = {.prompt = prompt, .n = n, .cap = SIZE_MAX};
    PLMM_TRY(check_query(d, &q, 0, err));
    PLMM_TRY(begin(d, m, stack, s, err));
    start_text(d, &d->slots[0], &q, s, 0);
    d->slots[0].each = each;
    d->slots[0].user = user;
    while (run_texts(d, s)) {
    }
    if (made != NULL) {
        *made = q.made;
    }
    return PLMM_OK;
}
