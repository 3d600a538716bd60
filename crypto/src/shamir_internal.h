/* shamir_internal.h -- the arithmetic of sharing, one table of functions a width of registers.
 * Elements are below p; values are equal to the bit whatever the width. Time and addresses depend on
 * counts alone. */
#ifndef PLMM_SHAMIR_INTERNAL_H
#define PLMM_SHAMIR_INTERNAL_H

#include "plmm/shamir.h"

enum {
    PLMM__SHARING_ROWS = 64, /* the most of `evaluate` */
    PLMM__SHARING_PAD = 8 /* arrays of elements are readable and writable to a multiple of this */
};

typedef struct plmm__sharing {
    const char *name;

    /* c[i] = words[4 i .. 4 i + 3], a little-endian number of 128 bits, mod p. */
    void (*uniform)(uint64_t *c, const uint32_t *words, size_t count);

    /* y = y x^rows + the sum over k < rows of c[LIMBS k + limb] x^k, at every share and limb. */
    void (*evaluate)(plmm_share *shares, size_t n, const uint64_t *c, size_t rows);

    /* d[i] = the product of x[i] - x[j] over j != i: of the points that differ from it. */
    void (*differences)(uint32_t *d, const uint32_t *x, size_t m);

    /* a[i] = a[i] b[i] */
    void (*multiply)(uint32_t *a, const uint32_t *b, size_t m);

    /* a[i] = 1 / a[i], none of them 0. */
    void (*invert)(uint32_t *a, size_t m);

    /* sums[limb] = the sum of w[i] times value `limb` of share i. */
    void (*weigh)(uint32_t sums[PLMM_SHAMIR_LIMBS], const uint32_t *w, const plmm_share *shares,
                  size_t m);
} plmm__sharing;

extern const plmm__sharing plmm__sharing_portable, plmm__sharing_avx2, plmm__sharing_avx512;

/* That of plmm__simd_now. */
const plmm__sharing *plmm__sharing_now(void);

#endif
