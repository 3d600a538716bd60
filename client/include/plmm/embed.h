/* plmm/embed.h -- a text as the selection buffer sees it: its tokens and their last hidden
 * states. */
#ifndef PLMM_EMBED_H
#define PLMM_EMBED_H

#include "plmm/buffer.h"
#include "plmm/tokenizer.h"
#include "plmm/train.h"

/* Reused between calls, by one thread at a time; start as {0}. */
typedef struct plmm_embedder {
    plmm_ids ids;
    float *states;
    size_t cap; /* floats */
} plmm_embedder;
void plmm_embedder_free(plmm_embedder *e); /* leaves {0} */

/* Tokens of text[0..len) (no begin-of-text: it says nothing about the text), the first seq_max of
 * them (at most PLMM_BUFFER_TOKENS_MAX), and their states after the final norm under model + stack
 * (may be NULL). *out borrows from *e until the next call. RANGE for a text without tokens; what
 * tokenizer and plmm_hidden return. w must take seq_max tokens. */
PLMM_NODISCARD plmm_status plmm_embed(plmm_embedder *e, const plmm_model *model,
                                      const plmm_stack *stack, const plmm_tokenizer *tokenizer,
                                      plmm_workspace *w, uint32_t seq_max, const char *text,
                                      size_t len, plmm_embedding *out, plmm_error *err);

#endif
