/* The workspace: one block, carved twice by the same code, first to count and then to hand out. */
#include "engine.h"

#include <string.h>

#include "plmm/alloc.h"

static void carve_acts(plmm_workspace *w, plmm__arena *a, plmm__acts *y)
{
    const plmm_model_config *c = &w->cfg;
    size_t t = w->params.tokens;
    y->rstd1 = plmm__carve_floats(a, t, 1);
    y->qkv = plmm__carve_floats(a, t, plmm__qkv_dim(c));
    y->probs = plmm__carve_floats(a, t * c->heads, plmm__round16(w->params.seq_max));
    y->mix = plmm__carve_floats(a, t, plmm__q_dim(c));
    y->x2 = plmm__carve_floats(a, t, c->dim);
    y->rstd2 = plmm__carve_floats(a, t, 1);
    y->gu = plmm__carve_floats(a, t, 2 * (size_t)c->hidden);
    for (unsigned g = 0; g < PLMM__GROUPS; g++) {
        y->h[g] = plmm__carve_floats(a, t, (size_t)plmm__group_of(c, g).count * w->params.rank);
    }
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void carve_back(plmm_workspace *w, plmm__arena *a)
{
    const plmm_model_config *c = &w->cfg;
    size_t t = w->params.tokens, rank = w->params.rank;
    size_t wide = max_size(max_size(c->dim, c->hidden), plmm__q_dim(c));
    size_t s = plmm__round16(w->params.seq_max);
    w->dx = plmm__carve_floats(a, t, c->dim);
    w->dn = plmm__carve_floats(a, t, c->dim);
    w->dsel = plmm__carve_floats(a, t, c->dim);
    w->dqkv = plmm__carve_floats(a, t, plmm__qkv_dim(c));
    w->dact = plmm__carve_floats(a, t, c->hidden);
    w->dmix = plmm__carve_floats(a, t, plmm__q_dim(c));
    w->vt = plmm__carve_floats(a, c->head_dim, s);
    w->ds = plmm__carve_floats(a, s, s);
    w->dh = plmm__carve_floats(a, t, 3 * rank);
    w->dbt = plmm__carve_floats(a, rank, wide);
    w->drop = plmm__carve_floats(a, rank > 0 ? t : 0, wide);
    w->drop2 = plmm__carve_floats(a, rank > 0 ? t : 0, wide);
}

/* With acts NULL (while counting) the layers' pointers are not kept. */
static void carve_all(plmm_workspace *w, plmm__arena *a)
{
    const plmm_model_config *c = &w->cfg;
    size_t t = w->params.tokens;
    bool back = w->params.use != PLMM_USE_EVAL;
    plmm__acts y = {0}; /* layers that share their memory have equal pointers */
    for (uint32_t l = 0; l < c->layers; l++) {
        if (l == 0 || back) {
            y.x = plmm__carve_floats(a, t, c->dim);
        }
        if (l == 0 || (back && !w->params.recompute)) {
            carve_acts(w, a, &y);
        }
        if (w->acts != NULL) {
            w->acts[l] = y;
        }
    }
    plmm__pack_carve(&w->pack, a, c, w->params.rank, back);
    w->xf = back ? plmm__carve_floats(a, t, c->dim) : y.x;
    w->sel = plmm__carve_floats(a, t, c->dim);
    w->nsel = plmm__carve_floats(a, t, c->dim);
    w->rstdf = plmm__carve_floats(a, t, 1);
    w->rows = plmm__carve(a, t, sizeof *w->rows);
    w->sums = plmm__carve(a, t, sizeof *w->sums);
    w->logits = plmm__carve_floats(a, PLMM__HEAD_ROWS, c->vocab);
    w->scratch = plmm__carve_floats(a, 1, PLMM__SCRATCH);
    w->n = plmm__carve_floats(a, t, c->dim);
    w->act = plmm__carve_floats(a, t, c->hidden);
    w->kt = plmm__carve_floats(a, c->head_dim, plmm__round16(w->params.seq_max));
    w->rope_cos = plmm__carve_floats(a, w->params.seq_max, c->head_dim / 2);
    w->rope_sin = plmm__carve_floats(a, w->params.seq_max, c->head_dim / 2);
    if (back) {
        carve_back(w, a);
    }
}

static plmm_status check_params(const plmm_model_config *c, const plmm_workspace_params *p,
                                plmm_error *err)
{
    PLMM_TRY(plmm_model_config_check(c, err));
    if (p->seq_max < 1 || p->seq_max > c->context) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot make a workspace: seq_max is %u, must be 1..%u (the context)",
                         p->seq_max, c->context);
    }
    if (p->tokens < p->seq_max || p->tokens > 1u << 20) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot make a workspace: tokens is %u, must be %u (seq_max)..%u",
                         p->tokens, p->seq_max, 1u << 20);
    }
    if (p->rank > PLMM_STACK_MAX * PLMM_RANK_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot make a workspace: rank is %u, at most %d",
                         p->rank, PLMM_STACK_MAX * PLMM_RANK_MAX);
    }
    return PLMM_OK;
}

/* More tokens at a time only take memory (and, in a narrow model, leave the caches): products reach
 * their speed at 64 rows, and a base that must be unpacked wants some more. */
static plmm_workspace_params useful(const plmm_model_config *c, const plmm_workspace_params *p)
{
    enum { NARROW = 96, FEW = 64, SOME = 128 };
    plmm_workspace_params u = *p;
    uint32_t most = c->dim <= NARROW ? FEW : SOME;
    most = u.seq_max > most ? u.seq_max : most;
    u.tokens = u.tokens > most ? most : u.tokens;
    return u;
}

size_t plmm_workspace_bytes(const plmm_model_config *cfg, const plmm_workspace_params *p)
{
    plmm_workspace w = {.cfg = *cfg, .params = useful(cfg, p)};
    plmm__arena a = {0};
    carve_all(&w, &a);
    return a.overflow ? SIZE_MAX : a.used + sizeof w + cfg->layers * sizeof *w.acts;
}

plmm_train_memory plmm_train_memory_of(const plmm_model_config *cfg, plmm_base base,
                                       const plmm_lora_spec *spec, const plmm_workspace_params *p)
{
    plmm_workspace_params wp = *p;
    size_t floats = 0;
    wp.rank = spec->rank;
    for (unsigned t = 0; t < PLMM_TARGETS; t++) {
        size_t out = 0, in = 0;
        plmm_target_shape(cfg, t, &out, &in);
        floats += (spec->targets >> t & 1) != 0 ? (out + in) * spec->rank * cfg->layers : 0;
    }
    plmm_train_memory m = {.base = plmm__base_bytes(cfg, base),
                           .workspace = plmm_workspace_bytes(cfg, &wp),
                           .adapter = floats * sizeof(float),
                           .moments = 2 * floats * sizeof(float),
                           .gradients = floats * sizeof(float)};
    size_t rest = m.base + m.adapter + m.moments + m.gradients;
    m.total = m.workspace > SIZE_MAX - rest ? SIZE_MAX : m.workspace + rest;
    return m;
}

plmm_status plmm_workspace_new(const plmm_model_config *cfg, const plmm_workspace_params *p,
                               plmm_workspace **out, plmm_error *err)
{
    PLMM_TRY(check_params(cfg, p, err));
    plmm_workspace *w = plmm_alloc(1, sizeof *w);
    plmm__arena a = {0};
    if (w != NULL) {
        w->cfg = *cfg;
        w->params = useful(cfg, p);
        carve_all(w, &a);
        w->acts = plmm_alloc(cfg->layers, sizeof *w->acts);
        w->mem = w->acts == NULL || a.overflow ? NULL : plmm_alloc(a.used, 1);
    }
    if (w == NULL || w->mem == NULL) {
        plmm_workspace_free(w);
        return plmm_fail(err, PLMM_ERR_NOMEM,
                         "cannot make a workspace: no memory for %zu MiB (%u tokens at a time)",
                         a.used >> 20, p->tokens);
    }
    a = (plmm__arena){.base = w->mem};
    carve_all(w, &a);
    plmm__rope_tables(&w->cfg, w->params.seq_max, w->rope_cos, w->rope_sin);
    *out = w;
    return PLMM_OK;
}

void plmm_workspace_free(plmm_workspace *w)
{
    if (w != NULL) {
        plmm_free(w->mem);
        plmm_free(w->acts);
        plmm_free(w);
    }
}

/* ---- starting a computation ---- */

static plmm_status check_ids(const plmm_workspace *w, const plmm_batch *b, plmm_error *err)
{
    for (size_t i = 0; i < b->count; i++) {
        int64_t id = b->tokens[i], target = b->targets == NULL ? -1 : b->targets[i];
        if (id < 0 || id >= (int64_t)w->cfg.vocab) {
            return plmm_fail(err, PLMM_ERR_RANGE,
                             "cannot compute: token %zu is %d, must be 0..%u (the vocabulary)", i,
                             b->tokens[i], w->cfg.vocab - 1);
        }
        if (target < -1 || target >= (int64_t)w->cfg.vocab) {
            return plmm_fail(err, PLMM_ERR_RANGE,
                             "cannot compute: target %zu is %lld, must be -1 (none)..%u", i,
                             (long long)target, w->cfg.vocab - 1);
        }
    }
    return PLMM_OK;
}

static plmm_status check_batch(const plmm_workspace *w, const plmm_batch *b, plmm_error *err)
{
    size_t sum = 0;
    for (size_t s = 0; s < b->seqs; s++) {
        if (b->lens[s] < 1 || b->lens[s] > w->params.seq_max) {
            return plmm_fail(err, PLMM_ERR_RANGE,
                             "cannot compute: sequence %zu has %u tokens, must be 1..%u (the "
                             "workspace's longest)",
                             s, b->lens[s], w->params.seq_max);
        }
        sum += b->lens[s];
    }
    if (sum != b->count) {
        return plmm_fail(
            err, PLMM_ERR_RANGE,
            "cannot compute: the sequences' lengths sum to %zu, the batch has %zu tokens", sum,
            b->count);
    }
    return check_ids(w, b, err);
}

plmm_status plmm__begin(plmm_workspace *w, const plmm_model *m, const plmm_stack *stack,
                        const plmm_batch *b, plmm_error *err)
{
    if (!m->sealed) {
        return plmm_fail(err, PLMM_ERR_STATE, "cannot compute: the model is not sealed");
    }
    if (!plmm__same_shape(&m->cfg, &w->cfg)) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "cannot compute: the workspace was made for a model of another shape");
    }
    PLMM_TRY(check_batch(w, b, err));
    PLMM_TRY(plmm__pack_check(&w->pack, &w->cfg, stack, err));
    plmm__pack_fill(&w->pack, &w->cfg, stack);
    if (!plmm__same_angles(&m->cfg, &w->cfg)) {
        w->cfg = m->cfg;
        plmm__rope_tables(&w->cfg, w->params.seq_max, w->rope_cos, w->rope_sin);
    }
    w->m = m;
    w->k = plmm__kernels_best();
    w->chunk = (plmm_batch){0};
    w->chunk_first = 0;
    w->factors = PLMM_FACTOR_NONE;
    w->trained = NULL;
    w->lora_grads = NULL;
    w->full_grads = NULL;
    w->scale = 0;
    w->dropout = 0;
    w->teaching = NULL;
    return PLMM_OK;
}

bool plmm__next_chunk(plmm_workspace *w, const plmm_batch *b)
{
    if (b->seqs == 0) {
        return false;
    }
    const uint32_t *lens = w->chunk.lens == NULL ? b->lens : w->chunk.lens + w->chunk.seqs;
    size_t first = w->chunk_first + w->chunk.count, left = b->seqs - (size_t)(lens - b->lens);
    size_t count = 0, seqs = 0;
    while (seqs < left && count + lens[seqs] <= w->params.tokens) {
        count += lens[seqs++];
    }
    w->chunk_first = first;
    w->chunk = (plmm_batch){.tokens = b->tokens + first,
                            .targets = b->targets == NULL ? NULL : b->targets + first,
                            .lens = lens,
                            .count = count,
                            .seqs = seqs};
    return seqs > 0;
}
