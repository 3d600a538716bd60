/* half.h -- products of a bfloat16 base in half-width arithmetic, where the processor is faster at it
 * than at f32.
 *
 * Two kinds. "bf16" (VDPBF16PS): the left factor is rounded to bfloat16 too, products are summed in
 * f32. "fp16" (AVX512-FP16): the left factor is scaled by a power of two a row and rounded to
 * binary16, weights are scaled by one a matrix, products are summed in binary16 for at most 160 terms
 * and those sums in f32. Relative errors of a product: about 2e-3 each (prop_half). Sums run in an
 * order that depends on the inner dimension alone, so a row does not depend on its company.
 *
 * A right factor is kept as panels [k rounded up to even][64] of 16-bit numbers, zeros where there is
 * no column. */
#ifndef PLMM_NN_HALF_H
#define PLMM_NN_HALF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Rows and inner terms of a packed block of the left factor, and the words between its rows. */
enum { PLMM__HALF_ROWS = 64, PLMM__HALF_K = 480, PLMM__HALF_STRIDE = 496 };

typedef struct plmm__half {
    const char *name;

    /* Turns a panel of bfloat16 into what multiply reads, in place; k even. scale is a power of two
     * that brings the matrix's largest magnitude to 1 or less. */
    void (*prepare)(uint16_t *panel, size_t k, float scale);
    /* out[64] = row r of a prepared panel, in f32. */
    void (*row)(const uint16_t *panel, size_t r, float scale, float *out);

    /* packed[m][PLMM__HALF_STRIDE] = a[m][k], a zero behind an odd k; factors[m] undo the rows'
     * scales. m <= PLMM__HALF_ROWS, k <= PLMM__HALF_K. */
    void (*pack)(size_t m, size_t k, const float *a, size_t lda, uint32_t *packed, float *factors);

    /* c[m][n] = (accumulate ? c : 0) + packed panel, n <= 64; `next`, of the same size, is fetched
     * into the cache meanwhile. */
    void (*multiply)(size_t m, size_t n, size_t k, const uint32_t *packed, const float *factors,
                     float scale, const uint16_t *panel, const uint16_t *next, float *c, size_t ldc,
                     bool accumulate);
} plmm__half;

extern const plmm__half plmm__half_fp16, plmm__half_bf16;

/* What a base frozen now is prepared for; NULL: f32 products. */
const plmm__half *plmm__half_best(void);

/* Tests only: those that this processor can run, fast or not; and to make one (or none) the best.
 */
const plmm__half *const *plmm__half_all(size_t *count);
void plmm__half_use(bool use, const plmm__half *h);

#endif
