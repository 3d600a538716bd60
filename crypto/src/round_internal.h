/* Stochastic rounding and sums of squares, once a set of instructions, equal to the bit. */
#ifndef PLMM_ROUND_INTERNAL_H
#define PLMM_ROUND_INTERNAL_H

#include "rotate_internal.h"

/* x[i] = floor(v[i] factor) or, if word i is below the fraction times 2^32, one more; v[i] factor is
 * kept within -most..most before, most < 2^31. v may lie where x does. Returns the sum of squares mod
 * 2^64. No branch depends on v or words. */
typedef uint64_t plmm__round_fn(int32_t *x, const plmm__float *v, const uint32_t *words, size_t n,
                                double factor, double most);

plmm__round_fn plmm__round_avx512, plmm__round_avx2, plmm__round_portable;

/* Squares are added in PLMM__SQUARE_LANES lanes, square i in lane i mod that many, then the lanes by
 * halves: lane j and j + 16, j + 8, ... j + 1. A square of a float is exact in double, so that fusing
 * it with the addition changes nothing. */
enum { PLMM__SQUARE_LANES = 32 };

typedef double plmm__squares_fn(const plmm__float *v, size_t n);

plmm__squares_fn plmm__squares_avx512, plmm__squares_avx2, plmm__squares_portable;

/* By the widest path there is. */
plmm__round_fn *plmm__round_now(void);
plmm__squares_fn *plmm__squares_now(void);

/* Adds the last n squares, n < PLMM__SQUARE_LANES, and the lanes. */
static inline double plmm__squares_end(double s[PLMM__SQUARE_LANES], const plmm__float *v, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        s[j] += (double)v[j] * (double)v[j];
    }
    for (size_t half = PLMM__SQUARE_LANES / 2; half > 0; half /= 2) {
        for (size_t j = 0; j < half; j++) {
            s[j] += s[j + half];
        }
    }
    return s[0];
}

/* One lane. With y = v factor, all of it exact but the product: C = ceil(2^32 y) = 2^32 floor(y) +
 * part, part in 0..2^32, and the word is below the fraction times 2^32 if and only if it is below
 * part; adding 2^32 - 1 - word then carries into the upper half. */
static inline int32_t plmm__round_lane(float v, uint32_t word, double factor, double most)
{
    double y = (double)v * factor;
    y = y > most ? most : y;
    y = (y < -most ? -most : y) * 0x1p32;
    int64_t up = (int64_t)y; /* towards 0 */
    up += (double)up < y;
    return (int32_t)(uint32_t)((uint64_t)(up + (int64_t)~word) >> 32);
}

#endif
