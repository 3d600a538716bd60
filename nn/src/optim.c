/* AdamW, clipping, schedules and whole steps. */
#include <math.h>
#include <string.h>

#include "engine.h"
#include "plmm/alloc.h"
#include "plmm/rng.h"

struct plmm_adamw {
    plmm_adamw_params params;
    uint64_t step;
    size_t n;
    float *m, *v;
};

plmm_adamw_params plmm_adamw_params_default(void)
{
    return (plmm_adamw_params){.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .decay = 0.01f};
}

plmm_status plmm_adamw_new(size_t n, const plmm_adamw_params *p, plmm_adamw **out, plmm_error *err)
{
    plmm_adamw *o = plmm_alloc(1, sizeof *o);
    if (o != NULL) {
        o->params = *p;
        o->n = n;
        o->m = plmm_alloc(n, sizeof *o->m);
        o->v = plmm_alloc(n, sizeof *o->v);
    }
    if (o == NULL || o->m == NULL || o->v == NULL) {
        plmm_adamw_free(o);
        return plmm_fail(err, PLMM_ERR_NOMEM,
                         "cannot make an optimiser: no memory for %zu parameters", n);
    }
    *out = o;
    return PLMM_OK;
}

void plmm_adamw_free(plmm_adamw *o)
{
    if (o != NULL) {
        plmm_free(o->v);
        plmm_free(o->m);
        plmm_free(o);
    }
}

void plmm_adamw_reset(plmm_adamw *o)
{
    o->step = 0;
    memset(o->m, 0, o->n * sizeof *o->m);
    memset(o->v, 0, o->n * sizeof *o->v);
}

/* Counts the step and gives its constants. */
static plmm__adamw_args next_step(plmm_adamw *o, float lr)
{
    const plmm_adamw_params *p = &o->params;
    o->step++;
    return (plmm__adamw_args){
        .lr = lr,
        .beta1 = p->beta1,
        .beta2 = p->beta2,
        .eps = p->eps,
        .decay = p->decay,
        .correct1 = (float)(1.0 - pow((double)p->beta1, (double)o->step)),
        .correct2 = (float)sqrt(1.0 - pow((double)p->beta2, (double)o->step)),
    };
}

static void update(plmm_adamw *o, float *params, const float *grads, size_t at, size_t n,
                   const plmm__adamw_args *args)
{
    plmm__kernels_best()->adamw(params + at, grads + at, o->m + at, o->v + at, n, args);
}

void plmm_adamw_step(plmm_adamw *o, float *params, const float *grads, float lr)
{
    plmm__adamw_args args = next_step(o, lr);
    update(o, params, grads, 0, o->n, &args);
}

void plmm_adamw_step_lora(plmm_adamw *o, plmm_adapter *a, plmm_factor factors, const float *grads,
                          float lr)
{
    size_t at = 0, n = 0;
    PLMM_ASSERT(o->n == plmm_adapter_count(a));
    plmm_adapter_range(a, factors, &at, &n);
    plmm__adamw_args args = next_step(o, lr);
    update(o, plmm_adapter_params(a), grads, at, n, &args);
}

void plmm_adamw_step_model(plmm_adamw *o, plmm_model *m, const float *grads, float lr)
{
    PLMM_ASSERT(o->n == m->count && m->params != NULL);
    plmm__adamw_args args = next_step(o, lr), plain = args;
    plain.decay = 0;
    for (size_t i = 0; i < m->views_count; i++) {
        const plmm_view *v = &m->views[i];
        update(o, m->params, grads, v->offset, v->rows * v->cols, v->rows > 1 ? &args : &plain);
    }
    m->sealed = false;
}

double plmm_clip_norm(float *g, size_t n, double max_norm)
{
    const plmm__kernels *k = plmm__kernels_best();
    double norm = sqrt(k->sum_squares(g, n));
    if (max_norm > 0 && norm > max_norm) {
        k->scale(g, n, (float)(max_norm / norm));
    }
    return norm;
}

float plmm_schedule_lr(plmm_schedule kind, float peak, float floor, uint64_t step, uint64_t warmup,
                       uint64_t total)
{
    if (step < warmup) {
        return (float)((double)peak * (double)(step + 1) / (double)warmup);
    }
    double left = total > warmup + 1 ? (double)(step - warmup) / (double)(total - warmup - 1) : 0.0;
    double x = left < 1.0 ? 1.0 - left : 0.0;
    if (kind == PLMM_SCHEDULE_CONSTANT) {
        x = 1.0;
    } else if (kind == PLMM_SCHEDULE_COSINE) {
        x = 0.5 - 0.5 * cos(3.14159265358979323846 * x);
    }
    return (float)((double)peak * ((double)floor + (1.0 - (double)floor) * x));
}

/* ---- steps ---- */

static plmm_status check_norm(double norm, plmm_error *err)
{
    if (!isfinite(norm)) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot take a step: the gradient is not finite; lower the learning rate");
    }
    return PLMM_OK;
}

plmm_status plmm_step_lora(plmm_workspace *w, const plmm_model *m, const plmm_stack *stack,
                           plmm_adapter *trained, plmm_adamw *o, const plmm_batch *b,
                           const plmm_step_params *p, float *grads, double *loss, plmm_error *err)
{
    size_t n = plmm_adapter_count(trained), targets = plmm_batch_targets(b);
    plmm_loss_sum sum = {0};
    PLMM_ASSERT(stack->count > 0 && stack->adapters[stack->count - 1] == trained);
    memset(grads, 0, n * sizeof *grads);
    float scale = targets > 0 ? 1.0f / (float)targets : 0.0f;
    PLMM_TRY(plmm_grad_lora(w, m, stack, p->factors, b, scale, p->dropout_seed, grads, &sum, err));
    if (targets > 0) {
        PLMM_TRY(check_norm(plmm_clip_norm(grads, n, (double)p->clip), err));
        plmm_adamw_step_lora(o, trained, p->factors, grads, p->lr);
    }
    if (loss != NULL) {
        *loss = targets > 0 ? sum.nll / (double)targets : 0.0;
    }
    return PLMM_OK;
}

/* The factors += size z. */
static void move(plmm_adapter *a, const plmm_mezo_params *p, double size)
{
    plmm_rng r;
    size_t at = 0, n = 0;
    plmm_adapter_range(a, p->factors, &at, &n);
    float *x = plmm_adapter_params(a) + at;
    plmm_rng_init(&r, p->seed, 0);
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)((double)x[i] + size * plmm_rng_normal(&r));
    }
}

plmm_status plmm_step_mezo(plmm_workspace *w, const plmm_model *m, const plmm_stack *stack,
                           plmm_adapter *trained, const plmm_batch *b, const plmm_mezo_params *p,
                           double *loss, plmm_error *err)
{
    double eps = (double)p->eps, targets = (double)plmm_batch_targets(b);
    plmm_loss_sum above = {0}, below = {0};
    PLMM_ASSERT(stack->count > 0 && stack->adapters[stack->count - 1] == trained && p->eps > 0);
    move(trained, p, eps);
    plmm_status rc = plmm_loss(w, m, stack, b, &above, err);
    move(trained, p, -2 * eps);
    rc = rc != PLMM_OK ? rc : plmm_loss(w, m, stack, b, &below, err);
    double slope = rc == PLMM_OK && targets > 0 ? (above.nll - below.nll) / targets / (2 * eps) : 0;
    if (rc == PLMM_OK && !isfinite(slope)) {
        rc = plmm_fail(err, PLMM_ERR_RANGE, "cannot take a step: the loss is not finite");
        slope = 0;
    }
    move(trained, p, eps - (double)p->lr * slope);
    if (loss != NULL) {
        *loss = targets > 0 ? (above.nll + below.nll) / targets / 2 : 0.0;
    }
    return rc;
}

plmm_status plmm_step_full(plmm_shards *s, plmm_pool *pool, plmm_model *m, plmm_adamw *o,
                           const plmm_batch *b, const plmm_step_params *p, float *grads,
                           double *loss, plmm_error *err)
{
    size_t targets = plmm_batch_targets(b);
    plmm_loss_sum sum = {0};
    memset(grads, 0, m->count * sizeof *grads);
    float scale = targets > 0 ? 1.0f / (float)targets : 0.0f;
    PLMM_TRY(plmm_shards_grad(s, pool, m, b, scale, grads, &sum, err));
    if (targets > 0) {
        PLMM_TRY(check_norm(plmm_clip_norm(grads, m->count, (double)p->clip), err));
        plmm_adamw_step_model(o, m, grads, p->lr);
        PLMM_TRY(plmm_model_seal(m, err));
    }
    if (loss != NULL) {
        *loss = targets > 0 ? sum.nll / (double)targets : 0.0;
    }
    return PLMM_OK;
}
