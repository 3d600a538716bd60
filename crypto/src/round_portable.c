/* Stochastic rounding and sums of squares, one lane at a time: the reference. */
#include "round_internal.h"

uint64_t plmm__round_portable(int32_t *x, const plmm__float *v, const uint32_t *words, size_t n,
                              double factor, double most)
{
    uint64_t square = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t lane = plmm__round_lane(v[i], words[i], factor, most);
        x[i] = lane;
        square += (uint64_t)((int64_t)lane * lane);
    }
    return square;
}

double plmm__squares_portable(const plmm__float *v, size_t n)
{
    double s[PLMM__SQUARE_LANES] = {0};
    for (; n >= PLMM__SQUARE_LANES; n -= PLMM__SQUARE_LANES, v += PLMM__SQUARE_LANES) {
        for (size_t j = 0; j < PLMM__SQUARE_LANES; j++) {
            s[j] += (double)v[j] * (double)v[j];
        }
    }
    return plmm__squares_end(s, v, n);
}
