/* A batch cut into a fixed number of shards, whose gradients are summed in their order. */
#include <string.h>

#include "engine.h"
#include "plmm/alloc.h"
#include "teach.h"

typedef struct shard {
    plmm_workspace *w, *tutor; /* of the teacher, or NULL */
    float *grads, *row;
    plmm_batch batch;
    plmm_loss_sum sum;
} shard;

struct plmm_shards {
    size_t count, params;
    shard *shards;
    plmm_teaching teaching; /* teacher NULL: none */
    const plmm_model *m;    /* of the running call */
    float scale;
    bool gradients;
};

plmm_status plmm_shards_new(const plmm_model_config *cfg, const plmm_workspace_params *p,
                            size_t count, plmm_shards **out, plmm_error *err)
{
    if (count < 1 || count > 1024) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot make shards: %zu asked for, must be 1..1024",
                         count);
    }
    plmm_shards *s = plmm_alloc(1, sizeof *s);
    shard *each = plmm_alloc(count, sizeof *each);
    if (s == NULL || each == NULL) {
        plmm_free(s);
        plmm_free(each);
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot make shards: out of memory");
    }
    s->count = count;
    s->shards = each;
    for (size_t i = 0; i < count; i++) {
        plmm_status rc = plmm_workspace_new(cfg, p, &each[i].w, err);
        if (rc != PLMM_OK) {
            plmm_shards_free(s);
            return rc;
        }
    }
    *out = s;
    return PLMM_OK;
}

static void untaught(plmm_shards *s)
{
    for (size_t i = 0; i < s->count; i++) {
        plmm_workspace_free(s->shards[i].tutor);
        plmm_free(s->shards[i].row);
        s->shards[i].tutor = NULL;
        s->shards[i].row = NULL;
    }
    s->teaching = (plmm_teaching){0};
}

static plmm_status teach_shard(shard *x, const plmm_model_config *teacher, plmm_error *err)
{
    plmm_workspace_params p = x->w->params;
    p.use = PLMM_USE_EVAL;
    p.rank = 0;
    PLMM_TRY(plmm_workspace_new(teacher, &p, &x->tutor, err));
    if (x->tutor->params.tokens < p.tokens) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "cannot teach: a teacher of width %u is too narrow for a student of %u",
                         teacher->dim, x->w->cfg.dim);
    }
    x->row = plmm_alloc(teacher->vocab, sizeof *x->row);
    return x->row != NULL ? PLMM_OK : plmm_fail(err, PLMM_ERR_NOMEM, "cannot teach: out of memory");
}

plmm_status plmm_shards_teach(plmm_shards *s, const plmm_teaching *t, plmm_error *err)
{
    untaught(s);
    if (t == NULL) {
        return PLMM_OK;
    }
    PLMM_TRY(plmm__teach_check(&s->shards[0].w->cfg, t, err));
    for (size_t i = 0; i < s->count; i++) {
        plmm_status rc = teach_shard(&s->shards[i], plmm_model_cfg(t->teacher), err);
        if (rc != PLMM_OK) {
            untaught(s);
            return rc;
        }
    }
    s->teaching = *t;
    return PLMM_OK;
}

void plmm_shards_free(plmm_shards *s)
{
    if (s != NULL) {
        for (size_t i = 0; i < s->count; i++) {
            plmm_workspace_free(s->shards[i].w);
            plmm_free(s->shards[i].grads);
        }
        untaught(s);
        plmm_free(s->shards);
        plmm_free(s);
    }
}

/* The first gradient call makes the shards' sums; later ones allocate nothing. */
static plmm_status make_grads(plmm_shards *s, size_t params, plmm_error *err)
{
    if (s->params == params) {
        return PLMM_OK;
    }
    s->params = 0;
    for (size_t i = 0; i < s->count; i++) {
        plmm_free(s->shards[i].grads);
        s->shards[i].grads = plmm_alloc(params, sizeof(float));
        if (s->shards[i].grads == NULL) {
            return plmm_fail(err, PLMM_ERR_NOMEM,
                             "cannot compute gradients: no memory for shard %zu of %zu", i + 1,
                             s->count);
        }
    }
    s->params = params;
    return PLMM_OK;
}

/* Shard i takes the sequences that begin in the i-th part of the tokens. */
static void cut(plmm_shards *s, const plmm_batch *b)
{
    size_t at = 0, seq = 0;
    for (size_t i = 0; i < s->count; i++) {
        size_t end = b->count * (i + 1) / s->count, from = at, first = seq;
        while (seq < b->seqs && (at < end || i + 1 == s->count)) {
            at += b->lens[seq++];
        }
        s->shards[i].batch = (plmm_batch){.tokens = b->tokens + from,
                                          .targets = b->targets + from,
                                          .lens = b->lens + first,
                                          .count = at - from,
                                          .seqs = seq - first};
    }
}

static plmm_status run_shard(void *ctx, size_t i, uint32_t thread, plmm_error *err)
{
    plmm_shards *s = ctx;
    shard *x = &s->shards[i];
    (void)thread;
    x->sum = (plmm_loss_sum){0};
    if (!s->gradients) {
        return plmm_loss(x->w, s->m, NULL, &x->batch, &x->sum, err);
    }
    memset(x->grads, 0, s->params * sizeof *x->grads);
    const plmm_teaching *t = s->teaching.teacher != NULL ? &s->teaching : NULL;
    return plmm__grad_taught(x->w, s->m, t, x->tutor, x->row, &x->batch, s->scale, x->grads,
                             &x->sum, err);
}

/* Lengths must sum to count before the batch can be cut; the shards check the rest. */
static plmm_status check_lens(const plmm_batch *b, plmm_error *err)
{
    size_t sum = 0;
    for (size_t i = 0; i < b->seqs; i++) {
        sum += b->lens[i];
    }
    if (sum != b->count) {
        return plmm_fail(
            err, PLMM_ERR_RANGE,
            "cannot compute: the sequences' lengths sum to %zu, the batch has %zu tokens", sum,
            b->count);
    }
    return PLMM_OK;
}

static plmm_status run_all(plmm_shards *s, plmm_pool *pool, const plmm_batch *b, plmm_error *err)
{
    PLMM_TRY(check_lens(b, err));
    cut(s, b);
    if (pool != NULL) {
        return plmm_pool_run(pool, s->count, run_shard, s, err);
    }
    for (size_t i = 0; i < s->count; i++) {
        PLMM_TRY(run_shard(s, i, 0, err));
    }
    return PLMM_OK;
}

static void add_sum(plmm_loss_sum *sum, const plmm_loss_sum *x)
{
    sum->nll += x->nll;
    sum->count += x->count;
    sum->hits += x->hits;
}

plmm_status plmm_shards_grad(plmm_shards *s, plmm_pool *pool, const plmm_model *m,
                             const plmm_batch *b, float scale, float *grads, plmm_loss_sum *sum,
                             plmm_error *err)
{
    PLMM_TRY(make_grads(s, plmm_model_count(m), err));
    s->m = m;
    s->scale = scale;
    s->gradients = true;
    PLMM_TRY(run_all(s, pool, b, err));
    for (size_t i = 0; i < s->count; i++) {
        plmm__kernels_best()->add(grads, s->shards[i].grads, s->params);
        add_sum(sum, &s->shards[i].sum);
    }
    return PLMM_OK;
}

plmm_status plmm_shards_loss(plmm_shards *s, plmm_pool *pool, const plmm_model *m,
                             const plmm_batch *b, plmm_loss_sum *sum, plmm_error *err)
{
    s->m = m;
    s->gradients = false;
    PLMM_TRY(run_all(s, pool, b, err));
    for (size_t i = 0; i < s->count; i++) {
        add_sum(sum, &s->shards[i].sum);
    }
    return PLMM_OK;
}
