#include "plmm/trainer.h"

#include "plmm/alloc.h"
#include "plmm/rng.h"

#include <math.h>
#include <string.h>

enum { EPOCHS_MAX = 10000, STEPS_MAX = 1000000, BATCH_TOKENS_MAX = 1 << 20 };

struct plmm_trainer {
    plmm_model_config cfg;
    plmm_lora_spec spec;
    plmm_trainer_sizes sizes;
    plmm_workspace *w;
    plmm_adapter *work; /* expert + what was learnt so far */
    plmm_adamw *adamw;
    float decay; /* that adamw was made for */
    float *grads;
    float *delta;
    /* Grown when a run needs more than any before it: */
    uint32_t *order; /* [order_cap] of the examples in the present epoch */
    size_t order_cap;
    int32_t *tokens, *targets; /* [batch_cap] of the present step */
    size_t batch_cap;
    uint32_t *lens; /* [order_cap] */
};

plmm_trainer_params plmm_trainer_params_default(void)
{
    return (plmm_trainer_params){.opt = PLMM_LOCAL_ADAMW,
                                 .epochs = 1,
                                 .steps = 0,
                                 .batch_tokens = 512,
                                 .lr = 1e-3f,
                                 .lr_floor = 0,
                                 .warmup = 0,
                                 .schedule = PLMM_SCHEDULE_CONSTANT,
                                 .clip = 1,
                                 .decay = 0,
                                 .factors = PLMM_FACTOR_B,
                                 .measure = false,
                                 .seed = 0};
}

void plmm_trainer_free(plmm_trainer *t)
{
    if (t == NULL) {
        return;
    }
    plmm_workspace_free(t->w);
    plmm_adapter_free(t->work);
    plmm_adamw_free(t->adamw);
    plmm_free(t->grads);
    plmm_free(t->delta);
    plmm_free(t->order);
    plmm_free(t->tokens);
    plmm_free(t->targets);
    plmm_free(t->lens);
    plmm_free(t);
}

static plmm_status make_adamw(plmm_trainer *t, float decay, plmm_error *err)
{
    plmm_adamw_params p = plmm_adamw_params_default();
    p.decay = decay;
    plmm_adamw *fresh = NULL;
    PLMM_TRY(plmm_adamw_new(plmm_adapter_count(t->work), &p, &fresh, err));
    plmm_adamw_free(t->adamw);
    t->adamw = fresh;
    t->decay = decay;
    return PLMM_OK;
}

static plmm_status make_parts(plmm_trainer *t, plmm_error *err)
{
    plmm_workspace_params wp = {.tokens = t->sizes.tokens,
                                .seq_max = t->sizes.seq_max,
                                .rank = t->spec.rank + t->sizes.rank_below,
                                .use = PLMM_USE_LORA};
    PLMM_TRY(plmm_workspace_new(&t->cfg, &wp, &t->w, err));
    PLMM_TRY(plmm_adapter_new(&t->cfg, &t->spec, &t->work, err));
    PLMM_TRY(make_adamw(t, 0, err));
    t->grads = plmm_alloc(plmm_adapter_count(t->work), sizeof *t->grads);
    t->delta = plmm_alloc(plmm_adapter_count(t->work), sizeof *t->delta);
    if (t->grads == NULL || t->delta == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot make a trainer: out of memory");
    }
    return PLMM_OK;
}

plmm_status plmm_trainer_new(const plmm_model_config *cfg, const plmm_lora_spec *spec,
                             const plmm_trainer_sizes *sizes, plmm_trainer **out, plmm_error *err)
{
    plmm_trainer *t = plmm_alloc(1, sizeof *t);
    if (t == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot make a trainer: out of memory");
    }
    t->cfg = *cfg;
    t->spec = *spec;
    t->sizes = *sizes;
    plmm_status rc = make_parts(t, err);
    if (rc != PLMM_OK) {
        plmm_trainer_free(t);
        return rc;
    }
    *out = t;
    return PLMM_OK;
}

plmm_workspace *plmm_trainer_workspace(plmm_trainer *t)
{
    return t->w;
}

const plmm_adapter *plmm_trainer_adapter(const plmm_trainer *t)
{
    return t->work;
}

/* ---- checks ---- */

static plmm_status check_params(const plmm_trainer_params *p, plmm_error *err)
{
    if (p->steps > STEPS_MAX || (p->steps == 0 && (p->epochs < 1 || p->epochs > EPOCHS_MAX))) {
        return plmm_fail(
            err, PLMM_ERR_RANGE,
            "training takes %u steps or %u epochs, must be 1..%d steps or 1..%d epochs", p->steps,
            p->epochs, STEPS_MAX, EPOCHS_MAX);
    }
    if (p->batch_tokens < 1 || p->batch_tokens > BATCH_TOKENS_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "the batch is %u tokens, must be 1..%d",
                         p->batch_tokens, BATCH_TOKENS_MAX);
    }
    if (!(p->lr > 0 && isfinite(p->lr)) || !(p->lr_floor >= 0 && p->lr_floor <= 1)) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "the learning rate is %g with floor %g, must be above 0 with floor 0..1",
                         (double)p->lr, (double)p->lr_floor);
    }
    if (!(p->clip >= 0) || !(p->decay >= 0 && isfinite(p->decay))) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "the gradient clip is %g and the weight decay %g, must be 0 or more",
                         (double)p->clip, (double)p->decay);
    }
    if (p->factors < PLMM_FACTOR_A || p->factors > PLMM_FACTOR_AB) {
        return plmm_fail(err, PLMM_ERR_RANGE, "no factor of the adapter is to be trained");
    }
    return PLMM_OK;
}

static plmm_status check_inputs(const plmm_trainer *t, const plmm_adapter *expert,
                                const plmm_stack *below, const plmm_examples *x, plmm_error *err)
{
    const plmm_lora_spec *s = plmm_adapter_spec(expert);
    if (s->targets != t->spec.targets || s->rank != t->spec.rank || s->alpha != t->spec.alpha ||
        plmm_adapter_count(expert) != plmm_adapter_count(t->work)) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "the expert's adapter has rank %u and alpha %g, the trainer was made for "
                         "rank %u and alpha %g of another shape",
                         s->rank, (double)s->alpha, t->spec.rank, (double)t->spec.alpha);
    }
    if (below != NULL && below->count >= PLMM_STACK_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "%zu adapters lie under the expert's, at most %d may",
                         below->count, PLMM_STACK_MAX - 1);
    }
    if (x->n == 0) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "there is nothing to train on: no dialogue with a response was selected");
    }
    for (size_t i = 0; i < x->n; i++) {
        if (x->len[i] > t->sizes.seq_max) {
            return plmm_fail(err, PLMM_ERR_RANGE,
                             "training example %zu has %u tokens, the trainer was made for %u", i,
                             x->len[i], t->sizes.seq_max);
        }
    }
    return PLMM_OK;
}

/* ---- batches ---- */

/* Walks through the examples, epoch after epoch, each in an order of its own. */
typedef struct walk {
    const plmm_examples *x;
    uint64_t seed, epoch;
    size_t at; /* in order */
} walk;

static void begin_epoch(plmm_trainer *t, walk *k)
{
    plmm_rng r;
    plmm_rng_init(&r, k->seed, k->epoch);
    for (size_t i = 0; i < k->x->n; i++) {
        t->order[i] = (uint32_t)i;
    }
    plmm_rng_shuffle(&r, t->order, k->x->n);
    k->at = 0;
}

/* Number of examples of the next step, from order[at] on; *tokens gets their sum. */
static size_t next_run(const plmm_trainer *t, const walk *k, uint32_t batch_tokens, size_t *tokens)
{
    size_t n = 0;
    *tokens = 0;
    for (size_t i = k->at; i < k->x->n; i++, n++) {
        uint32_t len = k->x->len[t->order[i]];
        if (n > 0 && *tokens + len > batch_tokens) {
            break;
        }
        *tokens += len;
    }
    return n;
}

static uint64_t count_steps(plmm_trainer *t, walk k, const plmm_trainer_params *p)
{
    uint64_t steps = 0;
    size_t tokens;
    for (k.epoch = 0; k.epoch < p->epochs; k.epoch++) {
        for (begin_epoch(t, &k); k.at < k.x->n; steps++) {
            k.at += next_run(t, &k, p->batch_tokens, &tokens);
        }
    }
    return steps;
}

static plmm_batch next_batch(plmm_trainer *t, walk *k, uint32_t batch_tokens)
{
    if (k->at == k->x->n) {
        k->epoch++;
        begin_epoch(t, k);
    }
    plmm_batch b = {.tokens = t->tokens, .targets = t->targets, .lens = t->lens};
    size_t at = 0;
    b.seqs = next_run(t, k, batch_tokens, &b.count);
    for (size_t i = 0; i < b.seqs; i++) {
        uint32_t j = t->order[k->at++];
        uint32_t n = k->x->len[j];
        memcpy(t->tokens + at, k->x->tokens + k->x->start[j], n * sizeof *t->tokens);
        memcpy(t->targets + at, k->x->targets + k->x->start[j], n * sizeof *t->targets);
        t->lens[i] = n;
        at += n;
    }
    return b;
}

/* Arrays for runs over n examples in batches of batch_tokens. */
static plmm_status make_room(plmm_trainer *t, size_t n, uint32_t batch_tokens, plmm_error *err)
{
    size_t batch = batch_tokens > t->sizes.seq_max ? batch_tokens : t->sizes.seq_max;
    if (n > t->order_cap) {
        uint32_t *order = plmm_alloc(n, sizeof *order), *lens = plmm_alloc(n, sizeof *lens);
        if (order == NULL || lens == NULL) {
            plmm_free(order);
            plmm_free(lens);
            return plmm_fail(err, PLMM_ERR_NOMEM, "cannot train on %zu examples: out of memory", n);
        }
        plmm_free(t->order);
        plmm_free(t->lens);
        t->order = order;
        t->lens = lens;
        t->order_cap = n;
    }
    if (batch > t->batch_cap) {
        int32_t *tokens = plmm_alloc(batch, sizeof *tokens);
        int32_t *targets = plmm_alloc(batch, sizeof *targets);
        if (tokens == NULL || targets == NULL) {
            plmm_free(tokens);
            plmm_free(targets);
            return plmm_fail(err, PLMM_ERR_NOMEM, "cannot train in batches of %zu: out of memory",
                             batch);
        }
        plmm_free(t->tokens);
        plmm_free(t->targets);
        t->tokens = tokens;
        t->targets = targets;
        t->batch_cap = batch;
    }
    return PLMM_OK;
}

/* ---- steps ---- */

static plmm_status step_sgd(plmm_trainer *t, const plmm_model *model, const plmm_stack *stack,
                            const plmm_batch *b, const plmm_step_params *p, double *loss,
                            plmm_error *err)
{
    size_t off, n;
    plmm_loss_sum sum = {0};
    plmm_adapter_range(t->work, p->factors, &off, &n);
    memset(t->grads + off, 0, n * sizeof *t->grads);
    float scale = 1 / (float)plmm_batch_targets(b);
    PLMM_TRY(plmm_grad_lora(t->w, model, stack, p->factors, b, scale, p->dropout_seed, t->grads,
                            &sum, err));
    (void)plmm_clip_norm(t->grads + off, n, (double)p->clip);
    float *params = plmm_adapter_params(t->work);
    for (size_t i = 0; i < n; i++) {
        params[off + i] -= p->lr * t->grads[off + i];
    }
    *loss = sum.nll / (double)sum.count;
    return PLMM_OK;
}

/* Name of the dropout masks of a step: as far apart as the generator's streams. */
static uint64_t dropout_seed(uint64_t seed, uint64_t step)
{
    plmm_rng r;
    plmm_rng_init(&r, seed, UINT64_C(0xd409000000000000) + step);
    return plmm_rng_u64(&r);
}

static plmm_status all_steps(plmm_trainer *t, const plmm_model *model, const plmm_stack *stack,
                             const plmm_examples *x, const plmm_trainer_params *p,
                             plmm_trainer_stats *stats, plmm_error *err)
{
    walk k = {.x = x, .seed = p->seed};
    uint64_t total = p->steps > 0 ? p->steps : count_steps(t, k, p);
    double nll = 0;
    begin_epoch(t, &k);
    for (uint64_t s = 0; s < total; s++) {
        plmm_batch b = next_batch(t, &k, p->batch_tokens);
        size_t targets = plmm_batch_targets(&b);
        double loss = 0;
        plmm_step_params sp = {
            .lr = plmm_schedule_lr(p->schedule, p->lr, p->lr_floor, s, p->warmup, total),
            .clip = p->clip,
            .factors = p->factors,
            .dropout_seed = dropout_seed(p->seed, s)};
        PLMM_TRY(p->opt == PLMM_LOCAL_SGD ? step_sgd(t, model, stack, &b, &sp, &loss, err)
                                          : plmm_step_lora(t->w, model, stack, t->work, t->adamw,
                                                           &b, &sp, t->grads, &loss, err));
        nll += loss * (double)targets;
        stats->tokens += b.count;
        stats->targets += targets;
    }
    stats->steps = (uint32_t)total;
    stats->loss_mean = nll / (double)stats->targets;
    return PLMM_OK;
}

static plmm_status measure(plmm_trainer *t, const plmm_model *model, const plmm_stack *stack,
                           const plmm_examples *x, double *loss, plmm_error *err)
{
    plmm_batch all = {.tokens = x->tokens,
                      .targets = x->targets,
                      .lens = x->len,
                      .count = x->count,
                      .seqs = x->n};
    plmm_loss_sum sum = {0};
    PLMM_TRY(plmm_loss(t->w, model, stack, &all, &sum, err));
    *loss = sum.nll / (double)sum.count;
    return PLMM_OK;
}

static plmm_status take_delta(plmm_trainer *t, const plmm_adapter *expert, plmm_factor f,
                              plmm_trainer_stats *stats, plmm_error *err)
{
    double norm = 0;
    plmm_travel_gather(t->work, expert, f, t->delta);
    for (size_t i = 0, n = plmm_travel_count(expert, f); i < n; i++) {
        norm += (double)t->delta[i] * (double)t->delta[i];
    }
    if (!isfinite(norm)) {
        return plmm_fail(err, PLMM_ERR_STATE,
                         "training diverged: the update is not finite; lower the learning rate");
    }
    stats->delta_norm = sqrt(norm);
    return PLMM_OK;
}

/* From the expert's weights to t->work and t->delta. */
static plmm_status train(plmm_trainer *t, const plmm_model *model, const plmm_adapter *expert,
                         const plmm_stack *below, const plmm_examples *x,
                         const plmm_trainer_params *p, plmm_trainer_stats *stats, plmm_error *err)
{
    const plmm_adapter *on[PLMM_STACK_MAX];
    plmm_stack stack = {.adapters = on, .count = 0};
    for (size_t i = 0; below != NULL && i < below->count; i++) {
        on[stack.count++] = below->adapters[i];
    }
    on[stack.count++] = t->work;
    memcpy(plmm_adapter_params(t->work), plmm_adapter_weights(expert),
           plmm_adapter_count(expert) * sizeof *t->grads);
    if (p->decay != t->decay) {
        PLMM_TRY(make_adamw(t, p->decay, err));
    }
    plmm_adamw_reset(t->adamw);
    if (p->measure) {
        PLMM_TRY(measure(t, model, &stack, x, &stats->loss_before, err));
    }
    PLMM_TRY(all_steps(t, model, &stack, x, p, stats, err));
    if (p->measure) {
        PLMM_TRY(measure(t, model, &stack, x, &stats->loss_after, err));
    }
    return take_delta(t, expert, p->factors, stats, err);
}

plmm_status plmm_trainer_run(plmm_trainer *t, const plmm_model *model, const plmm_adapter *expert,
                             const plmm_stack *below, const plmm_examples *x,
                             const plmm_trainer_params *p, float *delta, plmm_trainer_stats *stats,
                             plmm_error *err)
{
    PLMM_TRY(check_params(p, err));
    PLMM_TRY(check_inputs(t, expert, below, x, err));
    PLMM_TRY(make_room(t, x->n, p->batch_tokens, err));
    plmm_trainer_stats s = {
        .examples = (uint32_t)x->n, .loss_before = (double)NAN, .loss_after = (double)NAN};
    PLMM_TRY(train(t, model, expert, below, x, p, &s, err));
    memcpy(delta, t->delta, plmm_travel_count(expert, p->factors) * sizeof *delta);
    *stats = s;
    return PLMM_OK;
}
