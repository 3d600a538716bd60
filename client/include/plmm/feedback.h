/* plmm/feedback.h -- error feedback: what rounding took from a device's update is added to its next
 * one, so that a coarse quantiser loses nothing over the rounds (Seide et al. 2014, Karimireddy et
 * al. 2019). For few bits a coordinate; with rotation it needs them less.
 *
 * Only where rounds can be added: without noise, whose sensitivity counts one update, and with
 * methods whose coordinates mean the same in every round (`alternate` re-factorises between
 * rounds). Octets of it are for the device's store (PLMM_STORE_RESIDUAL of plmm/store.h), which a
 * restart reads and the user's `forget` wipes; a simulated device keeps it in memory.
 * SECRET: it tells as much of the device's data as an update.
 */
#ifndef PLMM_FEEDBACK_H
#define PLMM_FEEDBACK_H

#include "plmm/client_round.h"

/* Starts as {0}; end with plmm_feedback_free. Fields are private to client/. */
typedef struct plmm_feedback {
    float *kept, *taken; /* of rounds that completed; of the one under way. [length] */
    size_t length;
    uint32_t method, factor;
    bool pending; /* taken counts if the round completes */
} plmm_feedback;

void plmm_feedback_free(plmm_feedback *f); /* wipes; leaves {0} */

/* PLMM_ERR_UNSUPPORTED, in words, if updates of this method with this noise cannot have it. */
PLMM_NODISCARD plmm_status plmm_feedback_check(uint32_t method, uint32_t noise, plmm_error *err);

/* delta[0..p->length) += what is kept, if that is of the same coordinates. After training. */
void plmm_feedback_add(const plmm_feedback *f, const plmm_round_params *p, float *delta);

/* Computes what rounding takes from delta in the round that m masks: right after
 * plmm_client_round_mask, with the same delta. lanes: plmm_round_lanes of scratch, wiped. Does
 * nothing in a round that plmm_feedback_check refuses. PLMM_ERR_NOMEM; what
 * plmm_client_round_residual returns. */
PLMM_NODISCARD plmm_status plmm_feedback_take(plmm_feedback *f, const plmm_client_round *m,
                                              const plmm_round_params *p, uint32_t *lanes,
                                              const float *delta, plmm_error *err);

/* What was taken in the round under way, as octets: *out (plmm_wipe, plmm_free), or NULL and 0 if
 * nothing was, or it is longer than PLMM_FEEDBACK_MAX coordinates. PLMM_ERR_NOMEM. */
enum { PLMM_FEEDBACK_HEAD = 20, PLMM_FEEDBACK_MAX = ((1 << 26) - PLMM_FEEDBACK_HEAD) / 4 };
PLMM_NODISCARD plmm_status plmm_feedback_encode(const plmm_feedback *f, uint8_t **out, size_t *len,
                                                plmm_error *err);
/* Makes such octets, of a round that completed since, what is kept; what *f had is wiped.
 * PLMM_ERR_FORMAT, *f unchanged, if they are none; PLMM_ERR_NOMEM. */
PLMM_NODISCARD plmm_status plmm_feedback_decode(plmm_feedback *f, const uint8_t *in, size_t len,
                                                plmm_error *err);

/* The round ended: what was taken in it is kept if it completed, else what was kept stays. */
void plmm_feedback_settle(plmm_feedback *f, bool completed);

#endif
