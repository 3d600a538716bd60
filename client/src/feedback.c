#include "plmm/feedback.h"

#include "plmm/alloc.h"
#include "plmm/bytes.h"
#include "plmm/federate.h"

#include <math.h>
#include <string.h>

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

/* ---- octets: what they are, method, factor, length, coordinates ---- */

static const uint8_t MAGIC[8] = "PLMMres1";

plmm_status plmm_feedback_encode(const plmm_feedback *f, uint8_t **out, size_t *len,
                                 plmm_error *err)
{
    *out = NULL;
    *len = 0;
    if (!f->pending || f->length > PLMM_FEEDBACK_MAX) {
        return PLMM_OK;
    }
    size_t n = PLMM_FEEDBACK_HEAD + 4 * f->length;
    uint8_t *b = plmm_alloc(n, 1);
    if (b == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for a residual of %zu", f->length);
    }
    memcpy(b, MAGIC, sizeof MAGIC);
    plmm_store_le32(b + 8, f->method);
    plmm_store_le32(b + 12, f->factor);
    plmm_store_le32(b + 16, (uint32_t)f->length);
    for (size_t i = 0; i < f->length; i++) {
        uint32_t bits;
        memcpy(&bits, &f->taken[i], sizeof bits);
        plmm_store_le32(b + PLMM_FEEDBACK_HEAD + 4 * i, bits);
    }
    *out = b;
    *len = n;
    return PLMM_OK;
}

plmm_status plmm_feedback_decode(plmm_feedback *f, const uint8_t *in, size_t len, plmm_error *err)
{
    size_t n = len < PLMM_FEEDBACK_HEAD ? 0 : plmm_load_le32(in + 16);
    if (n == 0 || n > PLMM_FEEDBACK_MAX || len != PLMM_FEEDBACK_HEAD + 4 * n ||
        memcmp(in, MAGIC, sizeof MAGIC) != 0) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%zu octets are no residual", len);
    }
    plmm_feedback g = {.length = n,
                       .method = plmm_load_le32(in + 8),
                       .factor = plmm_load_le32(in + 12),
                       .kept = plmm_alloc(n, sizeof *g.kept)};
    if (g.kept == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for a residual of %zu", n);
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = plmm_load_le32(in + PLMM_FEEDBACK_HEAD + 4 * i);
        memcpy(&g.kept[i], &bits, sizeof bits);
        if (!isfinite(g.kept[i])) {
            plmm_feedback_free(&g);
            return plmm_fail(err, PLMM_ERR_FORMAT, "coordinate %zu of a residual is no number", i);
        }
    }
    plmm_feedback_free(f);
    *f = g;
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
