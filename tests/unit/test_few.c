/* nn: products of a base in blocks with few rows: integers against the same in double, a row's
 * result whatever its company, on every set of kernels. */
#include <math.h>

#include "few.h"
#include "plmm/alloc.h"
#include "plmm/rng.h"
#include "test.h"

enum { OUT_MAX = 130, IN_MAX = 700, ROWS_MAX = 19 };

static plmm_rng rng;
static float weights[OUT_MAX * IN_MAX], x[ROWS_MAX * IN_MAX], y[ROWS_MAX * OUT_MAX],
    alone[ROWS_MAX * OUT_MAX], before[ROWS_MAX * OUT_MAX], scratch[PLMM__SCRATCH];
static uint8_t blocks[OUT_MAX * (IN_MAX / 32 + 1) * PLMM__Q8_BYTES];

static void fill(float *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        v[i] = (float)plmm_rng_normal(&rng);
    }
}

/* The row as by_integers rounds it, in double, and what that may be off. */
static void round_x(const float *v, size_t n, double *out, double *off)
{
    for (size_t k = 0; k < n; k += 32) {
        size_t len = n - k < 32 ? n - k : 32;
        float most = 0;
        for (size_t i = 0; i < len; i++) {
            most = fmaxf(most, fabsf(v[k + i]));
        }
        float scale = most / 127;
        for (size_t i = 0; i < len; i++) {
            float q = v[k + i] * (scale > 0 ? 1 / scale : 0);
            out[k + i] = (double)scale * (double)(int)(q + (q < 0 ? -0.5f : 0.5f));
            off[k + i] = 0.5001 * (double)scale;
        }
    }
}

static plmm__matrix blocks_of(plmm__quant kind, size_t out, size_t in)
{
    plmm__matrix w = {.out = out, .in = in, .blocks = blocks, .quant = kind};
    w.row_bytes = plmm__quant_row_bytes(kind, in);
    for (size_t n = 0; n < out; n++) {
        plmm__quantize_row(kind, weights + n * in, in, blocks + n * w.row_bytes);
    }
    return w;
}

static void check_integers(const plmm__matrix *w, size_t rows, bool accumulate)
{
    static float row[IN_MAX];
    static double rounded[IN_MAX], off[IN_MAX];
    for (size_t r = 0; r < rows; r++) {
        round_x(x + r * w->in, w->in, rounded, off);
        for (size_t n = 0; n < w->out; n++) {
            double want = accumulate ? (double)before[r * w->out + n] : 0, size = 1, exact = want;
            double most = 0;
            plmm__dequantize_row(w->quant, w->blocks + n * w->row_bytes, w->in, row);
            for (size_t k = 0; k < w->in; k++) {
                want += (double)row[k] * rounded[k];
                exact += (double)row[k] * (double)x[r * w->in + k];
                size += fabs((double)row[k] * rounded[k]);
                most += fabs((double)row[k]) * off[k];
            }
            double got = (double)y[r * w->out + n];
            CHECK(fabs(got - want) <= 1e-6 * size, "[%zu][%zu] of %zux%zu is %g, not %g", r, n,
                  w->out, w->in, got, want);
            CHECK(fabs(got - exact) <= most + 1e-6 * size, "[%zu][%zu] is %g off, at most %g", r, n,
                  got - exact, most);
        }
    }
}

/* Each row by itself gives the same bits. */
static void check_alone(const plmm__matrix *w, size_t rows, bool accumulate)
{
    memcpy(alone, before, rows * w->out * sizeof *alone);
    for (size_t r = 0; r < rows; r++) {
        plmm__linear_few(w, 1, x + r * w->in, alone + r * w->out, w->out, accumulate, scratch);
    }
    CHECK(memcmp(alone, y, rows * w->out * sizeof *y) == 0, "%zu rows of %zux%zu differ from one",
          rows, w->out, w->in);
}

static void test_blocks(plmm__quant kind, size_t out, size_t in, size_t rows, bool accumulate)
{
    fill(weights, out * in);
    fill(x, rows * in);
    fill(before, rows * out);
    memset(x, 0, (in < 40 ? in : 40) * sizeof *x); /* a block of zeros */
    plmm__matrix w = blocks_of(kind, out, in);
    memcpy(y, before, rows * out * sizeof *y);
    plmm__linear_few(&w, rows, x, y, out, accumulate, scratch);
    check_integers(&w, rows, accumulate);
    check_alone(&w, rows, accumulate);
}

/* An inner dimension for which not even one row fits the scratch memory goes the other way. */
static void test_wide(void)
{
    enum { IN = 70000 };
    plmm__matrix w = {.out = 1, .in = IN, .quant = PLMM__Q8_0};
    uint8_t *wide = plmm_alloc(plmm__quant_row_bytes(PLMM__Q8_0, IN), 1);
    float *one = plmm_alloc(IN, sizeof *one), got = 0;
    for (size_t i = 0; i < IN; i++) {
        one[i] = i % 7 == 0 ? 1 : 0;
    }
    w.blocks = wide;
    w.row_bytes = plmm__quant_row_bytes(PLMM__Q8_0, IN);
    plmm__quantize_row(PLMM__Q8_0, one, IN, wide);
    plmm__linear_few(&w, 1, one, &got, 1, false, scratch);
    CHECK(fabsf(got - 10000) < 5, "%g", (double)got);
    plmm_free(wide);
    plmm_free(one);
}

int main(void)
{
    static const size_t ins[] = {1, 31, 32, 33, 64, 96, 288, 700};
    static const size_t outs[] = {1, 15, 64, 65, 130};
    size_t tables = 0;
    const plmm__kernels *const *all = plmm__kernels_all(&tables);
    plmm_rng_init(&rng, plmm_test_seed(1), 0);
    for (size_t t = 0; t < tables; t++) {
        plmm__kernels_use(all[t]);
        for (size_t i = 0; i < COUNT(ins); i++) {
            for (size_t rows = 1; rows <= ROWS_MAX; rows += rows < 9 ? 1 : 5) {
                size_t out = outs[(i + rows) % COUNT(outs)];
                test_blocks(PLMM__Q8_0, out, ins[i], rows, rows % 2 == 0);
                test_blocks(PLMM__Q4_0, out, ins[i], rows, rows % 2 == 1);
            }
        }
        test_wide();
    }
    plmm__kernels_use(NULL);
    CHECK(plmm_alloc_live() == 0, "%ld blocks leak", plmm_alloc_live());
    return plmm_test_end();
}
