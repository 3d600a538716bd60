/* Every table of kernels this processor can run, against the plain reference in double. */
#include <math.h>

#include "kernels.h"
#include "plmm/rng.h"
#include "test.h"

static plmm_rng rng;

static void fill(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)plmm_rng_normal(&rng);
    }
}

/* Largest |x - y| <= tol? Prints what and where otherwise. */
static void check_near(const char *kernels, const char *what, size_t size, const float *x,
                       const float *y, size_t n, double tol)
{
    for (size_t i = 0; i < n; i++) {
        if (!(fabs((double)x[i] - (double)y[i]) <= tol)) {
            CHECK(false, "%s %s of size %zu: [%zu] is %.9g, not %.9g", kernels, what, size, i,
                  (double)x[i], (double)y[i]);
            return;
        }
    }
}

enum { MAX = 300 };
static float a[MAX * MAX], b[MAX * MAX], c[MAX * MAX], d[MAX * MAX], e[MAX], f[MAX];

/* Bound of a sum of k products of normal numbers: k rounding errors of partial sums of about sqrt
 * k. */
static double bound(size_t k)
{
    return 1e-6 * (double)(k + 4);
}

static void test_gemm(const plmm__kernels *k, size_t m, size_t n, size_t depth, bool turned,
                      bool accumulate)
{
    size_t ldb = n + 3, ldc = n + 5;
    fill(a, m * depth);
    fill(b, depth * ldb);
    fill(c, m * ldc);
    memcpy(d, c, m * ldc * sizeof *c);
    size_t row = turned ? 1 : depth, col = turned ? m : 1;
    k->gemm(m, n, depth, a, row, col, b, ldb, c, ldc, accumulate);
    plmm__kernels_ref.gemm(m, n, depth, a, row, col, b, ldb, d, ldc, accumulate);
    check_near(k->name, turned ? "gemm of a transposed matrix" : "gemm",
               m * 1000000 + n * 1000 + depth, c, d, m * ldc,
               bound(depth)); /* also that the gaps between rows are untouched */
}

/* All widths up to where every strip has occurred, then random shapes across the blocks. */
static void test_gemms(const plmm__kernels *k)
{
    for (size_t n = 1; n <= 81; n++) {
        test_gemm(k, 1 + n % 23, n, 1 + n % 7, n % 2 == 0, n % 3 == 0);
    }
    for (size_t m = 1; m <= 40; m++) {
        test_gemm(k, m, 16 + m % 5, 9, m % 2 == 0, true);
    }
    test_gemm(k, 99, 33, 290, false, true);
    test_gemm(k, 200, 100, 40, true, false);
    test_gemm(k, 3, 5, 0, false, false);
}

/* The same element computed in a matrix and alone is the same to the bit. */
static void test_gemm_order(const plmm__kernels *k)
{
    size_t m = 37, n = 75, depth = 290;
    fill(a, m * depth);
    fill(b, depth * n);
    k->gemm(m, n, depth, a, depth, 1, b, n, c, n, false);
    for (size_t i = 0; i < m; i += 5) {
        for (size_t j = 0; j < n; j += 7) {
            float one = 0;
            k->gemm(1, 1, depth, a + i * depth, depth, 1, b + j, n, &one, 1, false);
            CHECK(memcmp(&one, &c[i * n + j], sizeof one) == 0, "%s: element %zu, %zu", k->name, i,
                  j);
        }
    }
}

/* A panel is the product of its columns, to the bit. */
static void test_panel(const plmm__kernels *k, size_t m, size_t n, size_t depth, bool accumulate)
{
    size_t lda = depth + 2, ldb = n + 3, ldc = n + 5;
    fill(a, m * lda);
    fill(b, depth * ldb);
    fill(c, m * ldc);
    memcpy(d, c, m * ldc * sizeof *c);
    k->gemm_panel(m, n, depth, a, lda, b, ldb, b, c, ldc, accumulate);
    k->gemm(m, n, depth, a, lda, 1, b, ldb, d, ldc, accumulate);
    CHECK(memcmp(c, d, m * ldc * sizeof *c) == 0, "%s: panel %zu x %zu x %zu", k->name, m, n,
          depth);
}

static void test_panels(const plmm__kernels *k)
{
    for (size_t m = 1; m <= 30; m++) {
        test_panel(k, m, 64, 40 + m, m % 2 == 0);
        test_panel(k, m, 2 * m, 40, m % 2 == 0);
    }
}

static void test_transpose(const plmm__kernels *k, size_t rows, size_t cols)
{
    size_t ldx = cols + 1, ldo = rows + 2;
    fill(a, rows * ldx);
    memset(c, 0, cols * ldo * sizeof *c);
    memset(d, 0, cols * ldo * sizeof *d);
    k->transpose(rows, cols, a, ldx, c, ldo);
    plmm__kernels_ref.transpose(rows, cols, a, ldx, d, ldo);
    CHECK(memcmp(c, d, cols * ldo * sizeof *c) == 0, "%s: %zu x %zu turned", k->name, rows, cols);
}

/* Numbers of fewer bits: every pattern that can be is converted exactly. */
static void test_conversions(const plmm__kernels *k)
{
    static uint8_t x[34 * 300];
    for (size_t i = 0; i < sizeof x; i++) {
        x[i] = (uint8_t)plmm_rng_below(&rng, 256);
        x[i] &= (uint8_t)(i % 34 == 1 || i % 18 == 1 ? 0xfb : 0xff); /* finite scales for either */
    }
    for (size_t n = 1; n <= 70; n++) {
        k->from_q8(x, c, n);
        plmm__kernels_ref.from_q8(x, d, n);
        CHECK(memcmp(c, d, n * sizeof *c) == 0, "%s: %zu of int8", k->name, n);
        k->from_q4(x, c, n);
        plmm__kernels_ref.from_q4(x, d, n);
        CHECK(memcmp(c, d, n * sizeof *c) == 0, "%s: %zu of 4 bits", k->name, n);
    }
    k->from_q8(x, c, 300 * 32);
    plmm__kernels_ref.from_q8(x, d, 300 * 32);
    CHECK(memcmp(c, d, 300 * 32 * sizeof *c) == 0, "%s: int8", k->name);
    static uint16_t h[1 << 16];
    for (size_t i = 0; i < 1 << 16; i++) {
        h[i] = (uint16_t)i;
    }
    k->from_bf16(h, c, 1 << 16);
    plmm__kernels_ref.from_bf16(h, d, 1 << 16);
    CHECK(memcmp(c, d, (size_t)4 << 16) == 0, "%s: bf16", k->name);
}

static void test_rows(const plmm__kernels *k, size_t n)
{
    enum { ROWS = 3 };
    static float x[ROWS * MAX], y[ROWS * MAX], g[MAX], dx[ROWS * MAX], dy[ROWS * MAX];
    float r1[ROWS], r2[ROWS];
    fill(x, ROWS * n);
    fill(g, n);
    k->rmsnorm(ROWS, n, x, g, 1e-5f, c, r1);
    plmm__kernels_ref.rmsnorm(ROWS, n, x, g, 1e-5f, d, r2);
    check_near(k->name, "rmsnorm", n, c, d, ROWS * n, 1e-5);
    check_near(k->name, "rstd", n, r1, r2, ROWS, 1e-5);
    fill(y, ROWS * n);
    fill(dx, ROWS * n);
    memcpy(dy, dx, sizeof dy);
    memset(e, 0, sizeof e);
    memset(f, 0, sizeof f);
    k->rmsnorm_back(ROWS, n, x, g, r2, y, dx, e);
    plmm__kernels_ref.rmsnorm_back(ROWS, n, x, g, r2, y, dy, f);
    check_near(k->name, "rmsnorm_back", n, dx, dy, ROWS * n, 1e-4);
    check_near(k->name, "its gain", n, e, f, n, 1e-4);
}

static void test_silu(const plmm__kernels *k, size_t h)
{
    enum { ROWS = 3 };
    fill(a, ROWS * 2 * h);
    a[0] = -100; /* the ends of exp */
    a[2 * h] = 100;
    k->silu_mul(ROWS, h, a, c);
    plmm__kernels_ref.silu_mul(ROWS, h, a, d);
    check_near(k->name, "silu_mul", h, c, d, ROWS * h, 1e-4);
    fill(b, ROWS * h);
    static float x[2 * 3 * MAX], y[2 * 3 * MAX];
    memcpy(x, a, ROWS * 2 * h * sizeof *a);
    memcpy(y, a, ROWS * 2 * h * sizeof *a);
    k->silu_mul_back(ROWS, h, x, b, c);
    plmm__kernels_ref.silu_mul_back(ROWS, h, y, b, d);
    check_near(k->name, "silu_mul_back", h, x, y, ROWS * 2 * h, 1e-3);
    check_near(k->name, "its activation", h, c, d, ROWS * h, 1e-4);
}

static void test_softmax(const plmm__kernels *k, size_t n)
{
    size_t width = (n + 15) / 16 * 16;
    fill(a, width);
    for (size_t i = 0; i < n; i++) {
        a[i] *= 10;
    }
    memcpy(c, a, width * sizeof *a);
    memcpy(d, a, width * sizeof *a);
    k->softmax(c, n, width);
    plmm__kernels_ref.softmax(d, n, width);
    check_near(k->name, "softmax", n, c, d, width, 1e-6);
    fill(b, width);
    memcpy(a, b, width * sizeof *a);
    k->softmax_back(d, a, n, width, 0.25f);
    plmm__kernels_ref.softmax_back(d, b, n, width, 0.25f);
    check_near(k->name, "softmax_back", n, a, b, width, 1e-5);
}

static void test_cross_entropy(const plmm__kernels *k, size_t n, size_t target, bool tie)
{
    fill(a, n);
    if (tie) {
        a[n / 2] = a[n - 1] = 7; /* the first of two maxima is the hit */
    }
    memcpy(c, a, n * sizeof *a);
    memcpy(d, a, n * sizeof *a);
    bool h1 = false, h2 = false;
    double x = k->cross_entropy(c, n, target, 0.5f, &h1);
    double y = plmm__kernels_ref.cross_entropy(d, n, target, 0.5f, &h2);
    CHECK(fabs(x - y) < 1e-5 && h1 == h2, "%s: cross entropy of %zu: %g, not %g; %d", k->name, n, x,
          y, h1);
    check_near(k->name, "cross_entropy", n, c, d, n, 1e-6);
}

static void test_vectors(const plmm__kernels *k, size_t n)
{
    fill(a, n);
    fill(b, n);
    memcpy(c, a, n * sizeof *a);
    memcpy(d, a, n * sizeof *a);
    k->add(c, b, n);
    plmm__kernels_ref.add(d, b, n);
    check_near(k->name, "add", n, c, d, n, 0);
    k->scale(c, n, 0.3f);
    plmm__kernels_ref.scale(d, n, 0.3f);
    check_near(k->name, "scale", n, c, d, n, 0);
    CHECK(fabs(k->sum_squares(a, n) - plmm__kernels_ref.sum_squares(a, n)) < 1e-9 * (double)n, "%s",
          k->name);
    k->dropout(a, c, n, 0x123456789abcdef0u, 77, 0.3f);
    plmm__kernels_ref.dropout(a, d, n, 0x123456789abcdef0u, 77, 0.3f);
    check_near(k->name, "dropout", n, c, d, n, 1e-6);
    k->transpose(n, 3, a, 3, c, n);
    plmm__kernels_ref.transpose(n, 3, a, 3, d, n);
    check_near(k->name, "transpose", n, c, d, 3 * n, 0);
    CHECK(k->finite(a, n), "finite");
    a[n - 1] = n % 2 == 0 ? INFINITY : NAN;
    CHECK(!k->finite(a, n), "%s: not finite at %zu", k->name, n - 1);
}

static void test_adamw(const plmm__kernels *k, size_t n)
{
    static float m[2][MAX], v[2][MAX], w[2][MAX];
    plmm__adamw_args args = {1e-2f, 0.9f, 0.999f, 1e-8f, 0.1f, 0.271f, 0.05f};
    fill(w[0], n);
    fill(m[0], n);
    fill(v[0], n);
    for (size_t i = 0; i < n; i++) {
        v[0][i] *= v[0][i];
        w[1][i] = w[0][i];
        m[1][i] = m[0][i];
        v[1][i] = v[0][i];
    }
    fill(a, n);
    k->adamw(w[0], a, m[0], v[0], n, &args);
    plmm__kernels_ref.adamw(w[1], a, m[1], v[1], n, &args);
    check_near(k->name, "adamw", n, w[0], w[1], n, 1e-5);
    check_near(k->name, "its m", n, m[0], m[1], n, 1e-6);
    check_near(k->name, "its v", n, v[0], v[1], n, 1e-5);
}

static void test_rope(const plmm__kernels *k, size_t hd)
{
    enum { ROWS = 5, HEADS = 3 };
    size_t ld = HEADS * hd + 2;
    fill(a, ROWS * ld);
    fill(b, ROWS * hd);
    fill(e, ROWS * hd / 2);
    memcpy(c, a, ROWS * ld * sizeof *a);
    memcpy(d, a, ROWS * ld * sizeof *a);
    k->rope(ROWS, c, ld, HEADS, hd, b, e, -1.0f);
    plmm__kernels_ref.rope(ROWS, d, ld, HEADS, hd, b, e, -1.0f);
    check_near(k->name, "rope", hd, c, d, ROWS * ld, 1e-5);
}

int main(void)
{
    plmm_rng_init(&rng, plmm_test_seed(1), 0);
    size_t tables = 0;
    const plmm__kernels *const *all = plmm__kernels_all(&tables);
    CHECK(tables >= 2 && all[tables - 1] == &plmm__kernels_ref, "a fast table and the reference");
    CHECK(all[0] == plmm__kernels_best(), "the best comes first");
    for (size_t t = 0; t + 1 < tables; t++) {
        (void)fprintf(stderr, "%s\n", all[t]->name);
        test_gemms(all[t]);
        test_gemm_order(all[t]);
        test_panels(all[t]);
        test_conversions(all[t]);
        for (size_t n = 1; n <= 50; n++) {
            test_transpose(all[t], n, 17 + n % 31);
        }
        for (size_t n = 1; n < 70; n += n < 36 ? 1 : 7) {
            test_rows(all[t], n);
            test_silu(all[t], n);
            test_softmax(all[t], n);
            test_cross_entropy(all[t], n, n / 2, false);
            test_cross_entropy(all[t], n, n / 2, true);
            test_cross_entropy(all[t], n, n - 1, true);
            test_vectors(all[t], n);
            test_adamw(all[t], n);
        }
        for (size_t hd = 2; hd <= 64; hd += 2) {
            test_rope(all[t], hd);
        }
    }
    return plmm_test_end();
}
