/* teach.h -- what the output head does when the model has a teacher. */
#ifndef PLMM_NN_TEACH_H
#define PLMM_NN_TEACH_H

#include "engine.h"

/* PLMM_ERR_CONFIG and PLMM_ERR_RANGE as plmm_shards_teach says. */
plmm_status plmm__teach_check(const plmm_model_config *c, const plmm_teaching *t, plmm_error *err);

/* Runs the teacher over the student's chunk, up to the normed states of its `rows` selected rows. */
void plmm__teach_forward(plmm_workspace *w, size_t rows);

/* From the student's logits of a block, still untouched, and the teacher's: the gradient of the
 * teacher's term into the tutor's logits; and added to the student's, which by then hold the
 * gradient of its own loss. */
void plmm__teach_logits(plmm_workspace *w, size_t i0, size_t rows);
void plmm__teach_add(plmm_workspace *w, size_t rows);

/* Adds the gradient of the hidden states' distance to that of the normed rows, w->dn. */
void plmm__teach_hidden(plmm_workspace *w, size_t rows);

/* What the cross entropy's gradient is multiplied by: with a teacher only its part. */
static inline float plmm__own_scale(const plmm_workspace *w)
{
    return w->teaching == NULL ? w->scale : w->scale * (1 - w->teaching->weight);
}

#endif
