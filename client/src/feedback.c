#include "plmm/feedback.h"

#include "plmm/alloc.h"
#include "plmm/federate.h"

static void forget(float **v, size_t n)
{
    if (*v != NULL) {
        plmm_wipe(*v, n * sizeof **v);
        plmm_free(*v);
        *v = NULL;
    }
}

void plmm_feedback_free(plmm_feedback *f)
{
    forget(&f->kept, f->length);
    forget(&f->taken, f->length);
    *f = (plmm_feedback){0};
}

plmm_status plmm_feedback_check(uint32_t method, uint32_t noise, plmm_error *err)
{
    if (noise != 0) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                         "error feedback does not go with noise: the noise is made for one update, "
                         "and a residual belongs to others");
    }
    if (method == PLMM_METHOD_ALTERNATE || method >= PLMM_METHODS) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                         "error feedback does not go with this method: its coordinates mean "
                         "something else in each round; use ffa or naive");
    }
    return PLMM_OK;
}

void plmm_feedback_add(const plmm_feedback *f, const plmm_round_params *p, float *delta)
{
    if (f->kept == NULL || f->length != p->length || f->method != p->method ||
        f->factor != p->factor || plmm_feedback_check(p->method, p->noise, NULL) != PLMM_OK) {
        return;
    }
    for (size_t i = 0; i < f->length; i++) {
        delta[i] += f->kept[i];
    }
}

plmm_status plmm_feedback_take(plmm_feedback *f, const plmm_client_round *m,
                               const plmm_round_params *p, uint32_t *lanes, const float *delta,
                               plmm_error *err)
{
    if (plmm_feedback_check(p->method, p->noise, NULL) != PLMM_OK) {
        return PLMM_OK;
    }
    if (f->length != p->length || f->method != p->method || f->factor != p->factor) {
        plmm_feedback_free(f);
        f->length = p->length;
        f->method = p->method;
        f->factor = p->factor;
    }
    if (f->taken == NULL) {
        f->taken = plmm_alloc(f->length, sizeof *f->taken);
    }
    if (f->taken == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for a residual of %zu", f->length);
    }
    PLMM_TRY(plmm_client_round_residual(m, f->taken, lanes, delta, f->length, err));
    f->pending = true;
    return PLMM_OK;
}

void plmm_feedback_settle(plmm_feedback *f, bool completed)
{
    if (f->pending && completed) {
        float *old = f->kept;
        f->kept = f->taken;
        f->taken = old;
    }
    f->pending = false;
}
