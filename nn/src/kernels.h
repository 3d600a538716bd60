/* kernels.h -- the inner loops of nn/, once a set of instructions, chosen when the process starts.
 *
 * kernels_impl.h is one source in portable C with vector types, compiled for AVX-512, AVX2 and the
 * compiler's baseline; kernels_ref.c says the same as plainly as possible and is what the tests
 * compare them with. Every sum runs in a fixed order: products along k one after another, other
 * reductions in 16 lanes and a fixed tree. So a result depends on the operands alone, not on tiles
 * or threads.
 *
 * Matrices are row-major with a leading dimension in floats. Outputs never overlap inputs unless
 * said.
 */
#ifndef PLMM_NN_KERNELS_H
#define PLMM_NN_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct plmm__adamw_args {
    float lr, beta1, beta2, eps, decay;
    float correct1, correct2; /* 1 - beta1^t and sqrt(1 - beta2^t) */
} plmm__adamw_args;

typedef struct plmm__kernels {
    const char *name;

    /* c[m][n] = (accumulate ? c : 0) + A b, A(i,k) = a[i * a_row + k * a_col], b[k][n]. */
    void (*gemm)(size_t m, size_t n, size_t k, const float *a, size_t a_row, size_t a_col,
                 const float *b, size_t ldb, float *c, size_t ldc, bool accumulate);

    /* The same with A(i,k) = a[i * lda + k] for the n <= 64 columns of a panel, while `next`, of the
     * same shape as b (or b itself), is fetched into the cache. */
    void (*gemm_panel)(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                       size_t ldb, const float *next, float *c, size_t ldc, bool accumulate);

    /* out[n] = x[n], exactly: bfloat16; the first n numbers of blocks of quant.h. */
    void (*from_bf16)(const uint16_t *x, float *out, size_t n);
    void (*from_q8)(const uint8_t *x, float *out, size_t n);
    void (*from_q4)(const uint8_t *x, float *out, size_t n);

    /* out[cols][rows] = x[rows][cols] transposed. */
    void (*transpose)(size_t rows, size_t cols, const float *x, size_t ldx, float *out, size_t ldo);

    /* Is every x[i] finite? */
    bool (*finite)(const float *x, size_t n);

    /* out = x * rstd * gain, rstd[row] = 1 / sqrt(mean(x^2) + eps). out may be x. */
    void (*rmsnorm)(size_t rows, size_t d, const float *x, const float *gain, float eps, float *out,
                    float *rstd);
    /* dx += what dout does through rmsnorm; dgain (may be NULL) += its gradient. */
    void (*rmsnorm_back)(size_t rows, size_t d, const float *x, const float *gain,
                         const float *rstd, const float *dout, float *dx, float *dgain);

    /* gu[rows][2h] = gate | up; out[rows][h] = silu(gate) * up. */
    void (*silu_mul)(size_t rows, size_t h, const float *gu, float *out);
    /* Overwrites gu with its gradient, given dact[rows][h]; act (may be NULL, may be dact) gets
     * silu(gate) * up again. */
    void (*silu_mul_back)(size_t rows, size_t h, float *gu, const float *dact, float *act);

    /* Rotates `heads` heads of width hd in each row at the positions first, first + 1, ...;
     * sign -1 rotates back. cosines and sines are [positions][hd / 2]. */
    void (*rope)(size_t rows, float *x, size_t ldx, size_t heads, size_t hd, const float *cosines,
                 const float *sines, float sign);

    /* x[0..n) becomes its softmax, x[n..width) becomes 0; 0 < n <= width, width a multiple of
     * 16. */
    void (*softmax)(float *x, size_t n, size_t width);
    /* d[0..n) becomes scale * p * (d - sum(p d)), d[n..width) becomes 0. */
    void (*softmax_back)(const float *p, float *d, size_t n, size_t width, float scale);

    /* Returns -log softmax(x)[target]; *hit tells whether target is the first maximum. With scale
     * not 0, x becomes scale * (softmax(x) - onehot(target)). */
    double (*cross_entropy)(float *x, size_t n, size_t target, float scale, bool *hit);

    /* x += y. */
    void (*add)(float *x, const float *y, size_t n);
    /* Each row of x += y. */
    void (*add_rows)(float *x, size_t ldx, const float *y, size_t rows, size_t n);
    /* y += each row of x. */
    void (*sum_rows)(float *y, const float *x, size_t ldx, size_t rows, size_t n);
    void (*scale)(float *x, size_t n, float s);
    double (*sum_squares)(const float *x, size_t n);

    /* out = x * (keep(i) ? 1 / (1 - p) : 0), keep a hash of (seed, i); i counts from `first`. */
    void (*dropout)(const float *x, float *out, size_t n, uint64_t seed, uint64_t first, float p);

    void (*adamw)(float *w, const float *g, float *m, float *v, size_t n,
                  const plmm__adamw_args *args);
} plmm__kernels;

/* The best table for this processor; never NULL, thread-safe. */
const plmm__kernels *plmm__kernels_best(void);

/* Tests only: makes k the best from now on; NULL undoes it. Before any thread starts. */
void plmm__kernels_use(const plmm__kernels *k);

/* All tables that this processor can run, the reference last: for tests. *count is written. */
const plmm__kernels *const *plmm__kernels_all(size_t *count);

/* Which of these exist depends on the processor family. */
extern const plmm__kernels plmm__kernels_avx512, plmm__kernels_avx2, plmm__kernels_baseline,
    plmm__kernels_ref;

#endif
