/* few.h -- products of a base kept in blocks (int8, 4-bit) with few rows, as when texts are written
 * token by token: bound by reading the weights once, so that they are used as they lie. The rows of
 * x are rounded to int8 by blocks of 32 with a scale each (largest magnitude / 127), and blocks are
 * multiplied as integers; what is rounded off x is at most 1/254 of each block's largest magnitude.
 * A row's result does not depend on the other rows. */
#ifndef PLMM_NN_FEW_H
#define PLMM_NN_FEW_H

#include "nn_internal.h"

enum { PLMM__FEW = 8 }; /* rows of one call of the kernels */

/* Is w kept in blocks, whose products with few rows are made of integers? */
static inline bool plmm__few_integers(const plmm__matrix *w)
{
    return w->blocks != NULL;
}

/* y[rows][out] (+)= x[rows][in] W^T for any number of rows; scratch as for plmm__linear, which it
 * falls back on where w is not kept in blocks or a row does not fit. */
void plmm__linear_few(const plmm__matrix *w, size_t rows, const float *x, float *y, size_t ldy,
                      bool accumulate, float *scratch);

/* Up to PLMM__FEW rows as int8, a row after another. */
typedef struct plmm__few_x {
    size_t rows, blocks;
    const int8_t *q;     /* [rows][blocks][32] */
    const int32_t *less; /* [rows][blocks][8]: taken off the sums of each four products */
    const float *scale;  /* [rows][blocks] */
} plmm__few_x;

/* y[r][n] (+)= row r of x times row n of w, n < out; w's rows are row_bytes of quantised blocks. */
typedef void plmm__few_rows(const uint8_t *w, size_t row_bytes, size_t out, const plmm__few_x *x,
                            float *y, size_t ldy, bool accumulate);

typedef struct plmm__few_kernels {
    plmm__few_rows *q8, *q4;
} plmm__few_kernels;

/* For the processor, as plmm__kernels_best(). few_avx512.c needs VNNI beside what the others do. */
const plmm__few_kernels *plmm__few_best(void);
extern const plmm__few_kernels plmm__few_portable, plmm__few_avx512;

#endif
