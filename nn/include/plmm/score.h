/* plmm/score.h -- how good a text is against a reference. Pure, thread-safe. */
#ifndef PLMM_SCORE_H
#define PLMM_SCORE_H

#include <stddef.h>
#include <stdint.h>

#include "plmm/status.h"

typedef struct plmm_rouge {
    double precision, recall, f; /* 0..1; 0 when a side has no words */
} plmm_rouge;

/* ROUGE-1 (Lin, 2004) as ROUGE-1.5.5 and rouge_score count it without stemming: lower-case runs of
 * [a-z0-9], each word of the reference matched at most as often as it occurs there. O(n log n).
 * PLMM_ERR_NOMEM. */
plmm_status plmm_rouge1(const char *reference, const char *candidate, plmm_rouge *out,
                        plmm_error *err) PLMM_NODISCARD;

/* Equal after lower-casing ASCII and after all white space and punctuation between words counts as
 * one space and is dropped at both ends. */
bool plmm_exact_match(const char *reference, const char *candidate);

/* exp of the mean negative log-likelihood; 0 tokens give NaN. */
double plmm_perplexity(double nll_sum, uint64_t tokens);

#endif
