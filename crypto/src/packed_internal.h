/* Inside of plmm/packed.h. */
#ifndef PLMM_PACKED_INTERNAL_H
#define PLMM_PACKED_INTERNAL_H

#include "kahe_internal.h"
#include "plmm/packed.h"

/* out[i] = 1 / i for i in 1..n. */
void plmm__inverses(uint64_t *out, size_t n, const plmm__ring *r);

/* out[j] = 1 / prod over l != j of (xs[j] - xs[l]): the weights of the dual code. */
void plmm__dual(uint64_t *out, const int32_t *xs, size_t n, const uint64_t *inverses,
                const plmm__ring *r);

/* Sets found[i] for those of count rows (each `columns` residues, `stride` apart, at the points xs)
 * that are not on polynomials of degree below `terms` like the others. False if there are more than
 * (count - terms) / 2. */
bool plmm__packed_locate(bool *found, const int32_t *xs, size_t count, size_t terms,
                         const uint64_t *rows, size_t stride, size_t columns,
                         const uint64_t *inverses, const plmm__ring *r);

#endif
