/* A model taught by another: at every target the student's distribution is drawn to the teacher's
 * (Hinton, Vinyals, Dean 2015), and if wanted its last hidden state to the teacher's. */
#include <string.h>

#include "engine.h"
#include "teach.h"

void plmm__teach_forward(plmm_workspace *w, size_t rows)
{
    plmm_workspace *t = w->tutor;
    size_t d = t->cfg.dim;
    t->chunk = w->chunk;
    t->chunk_first = w->chunk_first;
    plmm__forward(t);
    for (size_t i = 0; i < rows; i++) {
        memcpy(t->sel + i * d, t->xf + w->rows[i] * d, d * sizeof *t->sel);
    }
    t->k->rmsnorm(rows, d, t->sel, t->m->norm.x, t->cfg.norm_eps, t->nsel, t->rstdf);
}

/* x becomes softmax(x / temperature), less 1 at its first element: what the kernel gives as the
 * gradient for that target. Of two such rows the difference is that of the distributions. */
static void soften(const plmm_workspace *w, float *x, size_t n)
{
    bool unused;
    w->k->scale(x, n, 1 / w->teaching->temperature);
    (void)w->k->cross_entropy(x, n, 0, 1.0f, &unused);
}

void plmm__teach_logits(plmm_workspace *w, size_t i0, size_t rows)
{
    plmm_workspace *t = w->tutor;
    size_t vocab = w->cfg.vocab;
    float factor = w->scale * w->teaching->weight * w->teaching->temperature;
    plmm__linear(&t->m->head, rows, t->nsel + i0 * t->cfg.dim, t->logits, vocab, false, t->scratch);
    for (size_t i = 0; i < rows; i++) {
        float *theirs = t->logits + i * vocab, *own = w->tutor_row;
        memcpy(own, w->logits + i * vocab, vocab * sizeof *own);
        soften(w, own, vocab);
        soften(w, theirs, vocab);
        w->k->scale(theirs, vocab, -1.0f);
        w->k->add(theirs, own, vocab);
        w->k->scale(theirs, vocab, factor);
    }
}

void plmm__teach_add(plmm_workspace *w, size_t rows)
{
    size_t n = rows * w->cfg.vocab;
    if (plmm__own_scale(w) == 0.0f) { /* then the logits still stand there */
        memset(w->logits, 0, n * sizeof *w->logits);
    }
    w->k->add(w->logits, w->tutor->logits, n);
}

void plmm__teach_hidden(plmm_workspace *w, size_t rows)
{
    size_t n = rows * w->cfg.dim;
    float factor = 2 * w->scale * w->teaching->hidden / (float)w->cfg.dim;
    for (size_t i = 0; factor != 0.0f && i < n; i++) {
        w->dn[i] += factor * (w->nsel[i] - w->tutor->nsel[i]);
    }
}

plmm_status plmm__teach_check(const plmm_model_config *c, const plmm_teaching *t, plmm_error *err)
{
    const plmm_model_config *k = plmm_model_cfg(t->teacher);
    if (k->vocab != c->vocab) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "cannot teach: the teacher has %u tokens, the student %u", k->vocab,
                         c->vocab);
    }
    if (k->context < c->context) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "cannot teach: the teacher's context is %u, the student's %u", k->context,
                         c->context);
    }
    if (t->hidden > 0 && k->dim != c->dim) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "cannot teach hidden states: the teacher's have %u numbers, the student's "
                         "%u",
                         k->dim, c->dim);
    }
    if (!(t->weight >= 0 && t->weight <= 1 && t->temperature > 0 && t->temperature <= 100 &&
          t->hidden >= 0 && t->hidden <= 1e6f)) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot teach: weight %g must be 0..1, temperature %g in (0, 100], hidden "
                         "%g in 0..1e6",
                         (double)t->weight, (double)t->temperature, (double)t->hidden);
    }
    return PLMM_OK;
}
