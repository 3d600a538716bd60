/* Stochastic rounding, once a set of instructions: one source, equal to the bit. */
#ifndef PLMM_ROUND_INTERNAL_H
#define PLMM_ROUND_INTERNAL_H

#include "rotate_internal.h"

/* x[i] = floor(v[i] factor) or, if word i is below the fraction times 2^32, one more; kept within
 * -most..most, most < 2^31. v may lie where x does. Returns the sum of squares mod 2^64. No branch
 * depends on v or words. */
typedef uint64_t plmm__round_fn(int32_t *x, const plmm__float *v, const uint32_t *words, size_t n,
                                double factor, double most);

plmm__round_fn plmm__round_avx512, plmm__round_avx2, plmm__round_portable;

#endif
