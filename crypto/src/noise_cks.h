/* The reference sampler over any source of uniform integers: published values name theirs. */
#ifndef PLMM_NOISE_CKS_H
#define PLMM_NOISE_CKS_H

#include "plmm/noise.h"

typedef struct plmm__cks_source {
    /* Uniform in 0..n-1, n >= 1. */
    uint64_t (*uniform)(struct plmm__cks_source *s, uint64_t n);
    /* True with probability a / b, a <= b. */
    bool (*bernoulli)(struct plmm__cks_source *s, uint64_t a, uint64_t b);
} plmm__cks_source;

/* One draw of variance units / 16. */
int64_t plmm__cks_gaussian(plmm__cks_source *s, uint64_t units);

#endif
