#include "plmm/embed.h"

#include "plmm/alloc.h"

void plmm_embedder_free(plmm_embedder *e)
{
    plmm_ids_free(&e->ids);
    plmm_free(e->states);
    *e = (plmm_embedder){0};
}

plmm_status plmm_embed(plmm_embedder *e, const plmm_model *model, const plmm_stack *stack,
                       const plmm_tokenizer *tokenizer, plmm_workspace *w, uint32_t seq_max,
                       const char *text, size_t len, plmm_embedding *out, plmm_error *err)
{
    e->ids.n = 0;
    PLMM_TRY(plmm_tokenizer_encode(tokenizer, text, len, 0, &e->ids, err));
    size_t max = seq_max < PLMM_BUFFER_TOKENS_MAX ? seq_max : PLMM_BUFFER_TOKENS_MAX;
    size_t n = e->ids.n < max ? e->ids.n : max;
    size_t dim = plmm_model_cfg(model)->dim;
    if (n == 0) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot embed a text without tokens");
    }
    if (n * dim > e->cap) {
        float *states = plmm_alloc(n * dim, sizeof *states);
        if (states == NULL) {
            return plmm_fail(err, PLMM_ERR_NOMEM, "cannot embed %zu tokens: out of memory", n);
        }
        plmm_free(e->states);
        e->states = states;
        e->cap = n * dim;
    }
    PLMM_TRY(plmm_hidden(w, model, stack, e->ids.v, n, PLMM_HIDDEN_NORMED, e->states, err));
    *out = (plmm_embedding){.states = e->states, .tokens = e->ids.v, .n = n, .dim = dim};
    return PLMM_OK;
}
