/* plmm/identity.h -- what a base model is, as bytes: two parties that hash them agree on every
 * weight, whatever file and number format the model came from. */
#ifndef PLMM_IDENTITY_H
#define PLMM_IDENTITY_H

#include "plmm/model.h"

typedef void plmm_feed_fn(void *ctx, const void *bytes, size_t len);

/* Feeds the canonical bytes of m in pieces: "plmm.model.v1", the shape (every field of the config
 * but context, bos, eos and pad, which do not change a logit; integers as 32-bit little-endian,
 * floats by their bits), then all weights as little-endian float32 in the order of the views.
 * Thread-safe. */
void plmm_model_feed(const plmm_model *m, plmm_feed_fn *feed, void *ctx);

#endif
