/* Products of half width against sums in double, on every kind that this processor can run. */
#include <math.h>
#include <stdlib.h>

#include "half.h"
#include "plmm/rng.h"
#include "plmm/safetensors.h"
#include "test.h"

enum { COLS = 64, ROWS = PLMM__HALF_ROWS, DEPTH = PLMM__HALF_K };

static plmm_rng rng;
static float a[ROWS * (DEPTH + 7)], c[ROWS * 70], d[ROWS * 70], factors[ROWS];
static uint16_t bf16[DEPTH * COLS], panel[DEPTH * COLS];
static uint32_t packed[ROWS * PLMM__HALF_STRIDE];

static double of_column(size_t k, size_t j)
{
    return (double)plmm_bf16_to_f32(bf16[k * COLS + j]);
}

/* Weights of size about `size`, and the panel made of them. */
static float fill_panel(const plmm__half *h, size_t n, size_t k, double size)
{
    int e = 0;
    memset(bf16, 0, sizeof bf16);
    for (size_t i = 0; i < k; i++) {
        for (size_t j = 0; j < n; j++) {
            bf16[i * COLS + j] = plmm_f32_to_bf16((float)(size * plmm_rng_normal(&rng)));
        }
    }
    (void)frexp(size * 8, &e);
    float scale = ldexpf(1, -e);
    memcpy(panel, bf16, sizeof panel);
    h->prepare(panel, k + k % 2, scale);
    return scale;
}

/* Relative error of c over all elements, each against the norm of its terms. */
static double error_of(size_t m, size_t n, size_t k, size_t lda, const float *before)
{
    double gap = 0, norm = 0;
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            double sum = before == NULL ? 0 : (double)before[i * 70 + j], size = 0;
            for (size_t p = 0; p < k; p++) {
                double x = (double)a[i * lda + p] * of_column(p, j);
                sum += x;
                size += x * x;
            }
            double off = (double)c[i * 70 + j] - sum;
            gap += size > 0 ? off * off / size : off * off;
            norm += 1;
            CHECK(off * off <= 64 * 4e-6 * size, "[%zu, %zu] of %zu: %g, not %g", i, j, k,
                  (double)c[i * 70 + j], sum);
        }
    }
    return sqrt(gap / norm);
}

static void test_shape(const plmm__half *h, size_t m, size_t n, size_t k, bool accumulate,
                       double size)
{
    size_t lda = k + 7;
    for (size_t i = 0; i < m * lda; i++) {
        a[i] = (float)(size * plmm_rng_normal(&rng));
    }
    for (size_t i = 0; i < m * 70; i++) { /* sums of the size of the products */
        c[i] = d[i] = (float)(1e-2 * size * plmm_rng_normal(&rng));
    }
    float scale = fill_panel(h, n, k, 0.02);
    h->pack(m, k, a, lda, packed, factors);
    h->multiply(m, n, k, packed, factors, scale, panel, panel, c, 70, accumulate);
    double limit = h == &plmm__half_fp16 ? 2.2e-3 : 2.5e-3;
    double off = error_of(m, n, k, lda, accumulate ? d : NULL);
    CHECK(off < limit, "%s, %zu x %zu x %zu: relative error %g", h->name, m, n, k, off);
    for (size_t i = 0; i < m; i++) {
        CHECK(memcmp(c + i * 70 + n, d + i * 70 + n, (70 - n) * sizeof *c) == 0,
              "%s: columns beyond %zu are untouched", h->name, n);
    }
    memcpy(d, c, sizeof d); /* the last row alone, to the bit */
    size_t last = (m - 1) * 70;
    h->pack(1, k, a + (m - 1) * lda, lda, packed, factors);
    if (!accumulate) {
        h->multiply(1, n, k, packed, factors, scale, panel, panel, c + last, 70, false);
        CHECK(memcmp(c + last, d + last, n * sizeof *c) == 0, "%s: row %zu alone", h->name, m - 1);
    }
}

/* One number of a row a thousand times the others: these still count. */
static void test_outlier(const plmm__half *h)
{
    enum { K = 256 };
    for (size_t i = 0; i < K; i++) {
        a[i] = (float)plmm_rng_normal(&rng);
    }
    a[17] = 1000;
    float scale = fill_panel(h, COLS, K, 0.02);
    for (size_t j = 0; j < COLS; j++) {
        bf16[17 * COLS + j] = 0;
    }
    memcpy(panel, bf16, sizeof panel);
    h->prepare(panel, K, scale);
    h->pack(1, K, a, K, packed, factors);
    h->multiply(1, COLS, K, packed, factors, scale, panel, panel, c, 70, false);
    a[17] = 0;
    double off = error_of(1, COLS, K, K, NULL);
    CHECK(off < 5e-3, "%s: relative error %g beside an outlier", h->name, off);
}

static void test_rows(const plmm__half *h)
{
    float scale = fill_panel(h, COLS, 33, 0.5), x[COLS];
    for (size_t k = 0; k < 33; k++) {
        h->row(panel, k, scale, x);
        for (size_t j = 0; j < COLS; j++) {
            CHECK(fabs((double)x[j] - of_column(k, j)) < 1e-7, "%s: [%zu][%zu]", h->name, k, j);
        }
    }
}

int main(void)
{
    plmm_rng_init(&rng, plmm_test_seed(1), 0);
    size_t count = 0;
    const plmm__half *const *all = plmm__half_all(&count);
    for (size_t t = 0; t < count; t++) {
        (void)fprintf(stderr, "%s\n", all[t]->name);
        for (size_t m = 1; m <= ROWS; m += m < 26 ? 1 : 6) {
            test_shape(all[t], m, 1 + m * 7 % COLS, 1 + m * 37 % DEPTH, m % 2 == 0, 1);
        }
        test_shape(all[t], ROWS, COLS, DEPTH, false, 1);
        test_shape(all[t], 30, COLS, 200, true, 1e-20); /* gradients may be tiny */
        test_shape(all[t], 30, COLS, 200, false, 1e20);
        test_shape(all[t], 5, 3, 20, false, 0);
        test_outlier(all[t]);
        test_rows(all[t]);
    }
    return plmm_test_end();
}
