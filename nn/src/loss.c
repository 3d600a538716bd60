/* Losses, scores, hidden states and gradients of a batch, chunk by chunk. */
#include <string.h>

#include "engine.h"

size_t plmm_batch_targets(const plmm_batch *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->count; i++) {
        n += b->targets[i] >= 0;
    }
    return n;
}

/* Forward and head of the present chunk; its sequences' losses are in w->sums. */
static void run_head(plmm_workspace *w)
{
    plmm__forward(w);
    memset(w->sums, 0, w->chunk.seqs * sizeof *w->sums);
    plmm__head(w, w->sums);
}

static void add_sums(plmm_loss_sum *total, const plmm_loss_sum *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        total->nll += x[i].nll;
        total->count += x[i].count;
        total->hits += x[i].hits;
    }
}

plmm_status plmm_loss(plmm_workspace *w, const plmm_model *m, const plmm_stack *stack,
                      const plmm_batch *b, plmm_loss_sum *sum, plmm_error *err)
{
    PLMM_TRY(plmm__begin(w, m, stack, b, err));
    while (plmm__next_chunk(w, b)) {
        run_head(w);
        add_sums(sum, w->sums, w->chunk.seqs);
    }
    return PLMM_OK;
}

plmm_status plmm_score(plmm_workspace *w, const plmm_model *m, const plmm_stack *stack,
                       const plmm_batch *b, plmm_loss_sum *per_seq, plmm_error *err)
{
    PLMM_TRY(plmm__begin(w, m, stack, b, err));
    while (plmm__next_chunk(w, b)) {
        run_head(w);
        memcpy(per_seq, w->sums, w->chunk.seqs * sizeof *per_seq);
        per_seq += w->chunk.seqs;
    }
    return PLMM_OK;
}

/* Runs one sequence to xf. */
static plmm_status run_text(plmm_workspace *w, const plmm_model *m, const plmm_stack *stack,
                            const int32_t *tokens, size_t n, plmm_error *err)
{
    if (n < 1 || n > w->params.seq_max) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot compute: a text of %zu tokens, must be 1..%u (the workspace's "
                         "longest)",
                         n, w->params.seq_max);
    }
    uint32_t len = (uint32_t)n;
    plmm_batch b = {.tokens = tokens, .lens = &len, .count = n, .seqs = 1};
    PLMM_TRY(plmm__begin(w, m, stack, &b, err));
    (void)plmm__next_chunk(w, &b);
    plmm__forward(w);
    w->chunk = (plmm_batch){0}; /* len goes out of scope */
    return PLMM_OK;
}

plmm_status plmm_logits(plmm_workspace *w, const plmm_model *m, const plmm_stack *stack,
                        const int32_t *tokens, size_t n, float *out, plmm_error *err)
{
    const plmm_model_config *c = &w->cfg;
    PLMM_TRY(run_text(w, m, stack, tokens, n, err));
    w->k->rmsnorm(n, c->dim, w->xf, m->norm.x, c->norm_eps, w->nsel, w->rstdf);
    plmm__linear(&m->head, n, w->nsel, out, c->vocab, false, w->scratch);
    return PLMM_OK;
}

plmm_status plmm_hidden(plmm_workspace *w, const plmm_model *m, const plmm_stack *stack,
                        const int32_t *tokens, size_t n, plmm_hidden_kind kind, float *out,
                        plmm_error *err)
{
    const plmm_model_config *c = &w->cfg;
    PLMM_TRY(run_text(w, m, stack, tokens, n, err));
    if (kind == PLMM_HIDDEN_NORMED) {
        w->k->rmsnorm(n, c->dim, w->xf, m->norm.x, c->norm_eps, out, w->rstdf);
    } else {
        memcpy(out, w->xf, n * c->dim * sizeof *out);
    }
    return PLMM_OK;
}

/* ---- gradients ---- */

/* PLMM_USE_FULL workspaces also serve LoRA. */
static plmm_status check_use(const plmm_workspace *w, plmm_workspace_use use, plmm_error *err)
{
    if (w->params.use < use) {
        return plmm_fail(err, PLMM_ERR_STATE,
                         "cannot compute gradients: the workspace was made for %s only",
                         w->params.use == PLMM_USE_EVAL ? "evaluation" : "adapters");
    }
    return PLMM_OK;
}

static void run_gradients(plmm_workspace *w, const plmm_batch *b, float scale, plmm_loss_sum *sum)
{
    w->scale = scale;
    while (plmm__next_chunk(w, b)) {
        run_head(w);
        add_sums(sum, w->sums, w->chunk.seqs);
        if (scale != 0.0f) {
            plmm__backward(w);
        }
    }
}

plmm_status plmm_grad_lora(plmm_workspace *w, const plmm_model *m, const plmm_stack *stack,
                           plmm_factor factors, const plmm_batch *b, float scale,
                           uint64_t dropout_seed, float *grads, plmm_loss_sum *sum, plmm_error *err)
{
    PLMM_TRY(check_use(w, PLMM_USE_LORA, err));
    if (stack == NULL || stack->count == 0) {
        return plmm_fail(err, PLMM_ERR_STATE, "cannot compute gradients: no adapter to train");
    }
    PLMM_TRY(plmm__begin(w, m, stack, b, err));
    w->trained = stack->adapters[stack->count - 1];
    w->factors = factors;
    w->lora_grads = grads;
    w->dropout = plmm_adapter_spec(w->trained)->dropout;
    w->dropout_seed = dropout_seed;
    run_gradients(w, b, scale, sum);
    return PLMM_OK;
}

plmm_status plmm__grad_taught(plmm_workspace *w, const plmm_model *m, const plmm_teaching *t,
                              plmm_workspace *tutor, float *row, const plmm_batch *b, float scale,
                              float *grads, plmm_loss_sum *sum, plmm_error *err)
{
    PLMM_TRY(check_use(w, PLMM_USE_FULL, err));
    if (m->params == NULL) {
        return plmm_fail(err, PLMM_ERR_STATE, "cannot compute gradients of a frozen model");
    }
    PLMM_TRY(plmm__begin(w, m, NULL, b, err));
    if (t != NULL) {
        PLMM_TRY(plmm__begin(tutor, t->teacher, NULL, b, err));
    }
    w->teaching = t;
    w->tutor = tutor;
    w->tutor_row = row;
    w->full_grads = grads;
    run_gradients(w, b, scale, sum);
    w->teaching = NULL;
    return PLMM_OK;
}

plmm_status plmm_grad_full(plmm_workspace *w, const plmm_model *m, const plmm_batch *b, float scale,
                           float *grads, plmm_loss_sum *sum, plmm_error *err)
{
    return plmm__grad_taught(w, m, NULL, NULL, NULL, b, scale, grads, sum, err);
}
