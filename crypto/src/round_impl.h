/* Rounding as a loop that compilers make vectors of; the including file defines ROUND, its name. */
#include "round_internal.h"

uint64_t ROUND(int32_t *x, const plmm__float *v, const uint32_t *words, size_t n, double factor,
               double most)
{
    enum { PART = 64 };
    uint64_t square = 0;
    for (size_t at = 0; at < n; at += PART) {
        size_t m = n - at < PART ? n - at : PART;
        double y[PART];
        for (size_t i = 0; i < m; i++) {
            double a = (double)v[at + i] * factor;
            a = a > most ? most : a;
            y[i] = a < -most ? -most : a;
        }
        for (size_t i = 0; i < m; i++) {
            int32_t whole = (int32_t)y[i]; /* towards 0 */
            double part = (y[i] - (double)whole) * 0x1p32;
            int32_t down = part < 0;
            part += down != 0 ? 0x1p32 : 0; /* exact: see encode.c */
            int32_t lane = whole - down + ((double)words[at + i] < part);
            x[at + i] = lane;
            square += (uint64_t)((int64_t)lane * lane);
        }
    }
    return square;
}
