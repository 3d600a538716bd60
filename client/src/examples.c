/* Dialogues as packed tokens. */
#include "plmm/alloc.h"
#include "plmm/trainer.h"

#include <string.h>

static plmm_status out_of_memory(plmm_error *err)
{
    return plmm_fail(err, PLMM_ERR_NOMEM, "cannot keep a training example: out of memory");
}

/* Room for n more tokens. */
static bool room_tokens(plmm_examples *x, size_t n)
{
    size_t cap = x->cap == 0 ? 1024 : x->cap;
    while (cap - x->count < n) {
        cap *= 2;
    }
    if (cap == x->cap) {
        return true;
    }
    int32_t *tokens = plmm_grow(x->tokens, x->cap, cap, sizeof *tokens);
    x->tokens = tokens != NULL ? tokens : x->tokens;
    int32_t *targets = tokens != NULL ? plmm_grow(x->targets, x->cap, cap, sizeof *targets) : NULL;
    x->targets = targets != NULL ? targets : x->targets;
    x->cap = targets != NULL ? cap : x->cap;
    return targets != NULL;
}

/* Room for one more example. */
static bool room_example(plmm_examples *x)
{
    if (x->n < x->n_cap) {
        return true;
    }
    size_t cap = x->n_cap == 0 ? 16 : 2 * x->n_cap;
    size_t *start = plmm_grow(x->start, x->n_cap, cap, sizeof *start);
    x->start = start != NULL ? start : x->start;
    uint32_t *len = start != NULL ? plmm_grow(x->len, x->n_cap, cap, sizeof *len) : NULL;
    x->len = len != NULL ? len : x->len;
    uint32_t *loss = len != NULL ? plmm_grow(x->loss, x->n_cap, cap, sizeof *loss) : NULL;
    x->loss = loss != NULL ? loss : x->loss;
    x->n_cap = loss != NULL ? cap : x->n_cap;
    return loss != NULL;
}

plmm_status plmm_examples_add(plmm_examples *x, const plmm_chat *chat, const char *prompt,
                              const char *response, uint32_t seq_max, plmm_sample *scratch,
                              plmm_error *err)
{
    if (x->n >= PLMM_EXAMPLES_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "more than %d training examples", PLMM_EXAMPLES_MAX);
    }
    if (response[0] == '\0') {
        return PLMM_OK;
    }
    PLMM_TRY(plmm_chat_sample(chat, prompt, response, seq_max, scratch, err));
    size_t n = scratch->ids.n;
    uint32_t loss = 0;
    for (size_t i = 0; i < n; i++) {
        loss += scratch->targets.v[i] >= 0;
    }
    if (loss == 0) {
        return PLMM_OK;
    }
    if (!room_tokens(x, n) || !room_example(x)) {
        return out_of_memory(err);
    }
    memcpy(x->tokens + x->count, scratch->ids.v, n * sizeof *x->tokens);
    memcpy(x->targets + x->count, scratch->targets.v, n * sizeof *x->targets);
    x->start[x->n] = x->count;
    x->len[x->n] = (uint32_t)n;
    x->loss[x->n++] = loss;
    x->count += n;
    return PLMM_OK;
}

void plmm_examples_clear(plmm_examples *x)
{
    x->count = 0;
    x->n = 0;
}

void plmm_examples_free(plmm_examples *x)
{
    plmm_free(x->tokens);
    plmm_free(x->targets);
    plmm_free(x->start);
    plmm_free(x->len);
    plmm_free(x->loss);
    *x = (plmm_examples){0};
}
