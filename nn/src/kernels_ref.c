/* The kernels as plainly as possible, sums in double: what the fast ones are tested against. */
#include <math.h>
#include <string.h>

#include "kernels.h"
#include "plmm/safetensors.h"
#include "quant.h"

static void gemm(size_t m, size_t n, size_t k, const float *a, size_t a_row, size_t a_col,
                 const float *b, size_t ldb, float *c, size_t ldc, bool accumulate)
{
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            double s = accumulate ? (double)c[i * ldc + j] : 0.0;
            for (size_t p = 0; p < k; p++) {
                s += (double)a[i * a_row + p * a_col] * (double)b[p * ldb + j];
            }
            c[i * ldc + j] = (float)s;
        }
    }
}

static void gemm_panel(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                       size_t ldb, const float *next, float *c, size_t ldc, bool accumulate)
{
    (void)next;
    gemm(m, n, k, a, lda, 1, b, ldb, c, ldc, accumulate);
}

static void from_bf16(const uint16_t *x, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = plmm_bf16_to_f32(x[i]);
    }
}

static void from_q8(const uint8_t *x, float *out, size_t n)
{
    plmm__dequantize_row(PLMM__Q8_0, x, n, out);
}

static void from_q4(const uint8_t *x, float *out, size_t n)
{
    plmm__dequantize_row(PLMM__Q4_0, x, n, out);
}

static void transpose(size_t rows, size_t cols, const float *x, size_t ldx, float *out, size_t ldo)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < cols; j++) {
            out[j * ldo + i] = x[i * ldx + j];
        }
    }
}

static bool finite(const float *x, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        if (!isfinite(x[j])) {
            return false;
        }
    }
    return true;
}

static void rmsnorm(size_t rows, size_t d, const float *x, const float *gain, float eps, float *out,
                    float *rstd)
{
    for (size_t t = 0; t < rows; t++) {
        double s = 0;
        for (size_t j = 0; j < d; j++) {
            s += (double)x[t * d + j] * (double)x[t * d + j];
        }
        double r = 1.0 / sqrt(s / (double)d + (double)eps);
        rstd[t] = (float)r;
        for (size_t j = 0; j < d; j++) {
            out[t * d + j] = (float)((double)x[t * d + j] * r * (double)gain[j]);
        }
    }
}

static void rmsnorm_back(size_t rows, size_t d, const float *x, const float *gain,
                         const float *rstd, const float *dout, float *dx, float *dgain)
{
    for (size_t t = 0; t < rows; t++) {
        const float *v = x + t * d, *y = dout + t * d;
        double s = 0, r = (double)rstd[t];
        for (size_t j = 0; j < d; j++) {
            s += (double)y[j] * (double)gain[j] * (double)v[j];
        }
        for (size_t j = 0; j < d; j++) {
            double g =
                (double)y[j] * (double)gain[j] * r - (double)v[j] * s * r * r * r / (double)d;
            dx[t * d + j] = (float)((double)dx[t * d + j] + g);
            if (dgain != NULL) {
                dgain[j] = (float)((double)dgain[j] + (double)y[j] * (double)v[j] * r);
            }
        }
    }
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static void silu_mul(size_t rows, size_t h, const float *gu, float *out)
{
    for (size_t t = 0; t < rows; t++) {
        for (size_t j = 0; j < h; j++) {
            double g = (double)gu[t * 2 * h + j];
            out[t * h + j] = (float)(g * sigmoid(g) * (double)gu[t * 2 * h + h + j]);
        }
    }
}

static void silu_mul_back(size_t rows, size_t h, float *gu, const float *dact, float *act)
{
    for (size_t t = 0; t < rows; t++) {
        for (size_t j = 0; j < h; j++) {
            float *pg = gu + t * 2 * h + j, *pu = pg + h;
            double g = (double)*pg, u = (double)*pu, dy = (double)dact[t * h + j], s = sigmoid(g);
            *pu = (float)(dy * g * s);
            *pg = (float)(dy * u * (s + g * s * (1.0 - s)));
            if (act != NULL) {
                act[t * h + j] = (float)(g * s * u);
            }
        }
    }
}

static void rope(size_t rows, float *x, size_t ldx, size_t heads, size_t hd, const float *cosines,
                 const float *sines, float sign)
{
    for (size_t t = 0; t < rows; t++) {
        for (size_t i = 0; i < heads * (hd / 2); i++) {
            size_t j = i % (hd / 2);
            float *p = x + t * ldx + i / (hd / 2) * hd + j, *q = p + hd / 2;
            double c = (double)cosines[t * (hd / 2) + j];
            double s = (double)sign * (double)sines[t * (hd / 2) + j];
            double a = (double)*p, b = (double)*q;
            *p = (float)(a * c - b * s);
            *q = (float)(a * s + b * c);
        }
    }
}

static double log_sum_exp(const float *x, size_t n)
{
    double m = (double)x[0], s = 0;
    for (size_t j = 1; j < n; j++) {
        m = (double)x[j] > m ? (double)x[j] : m;
    }
    for (size_t j = 0; j < n; j++) {
        s += exp((double)x[j] - m);
    }
    return m + log(s);
}

static void softmax(float *x, size_t n, size_t width)
{
    double z = log_sum_exp(x, n);
    for (size_t j = 0; j < width; j++) {
        x[j] = j < n ? (float)exp((double)x[j] - z) : 0.0f;
    }
}

static void softmax_back(const float *p, float *d, size_t n, size_t width, float factor)
{
    double z = 0;
    for (size_t j = 0; j < n; j++) {
        z += (double)p[j] * (double)d[j];
    }
    for (size_t j = 0; j < width; j++) {
        d[j] = j < n ? (float)((double)factor * (double)p[j] * ((double)d[j] - z)) : 0.0f;
    }
}

static double cross_entropy(float *x, size_t n, size_t target, float factor, bool *hit)
{
    double z = log_sum_exp(x, n), nll = z - (double)x[target];
    size_t best = 0;
    for (size_t j = 1; j < n; j++) {
        best = x[j] > x[best] ? j : best;
    }
    *hit = best == target;
    for (size_t j = 0; factor != 0.0f && j < n; j++) {
        double p = exp((double)x[j] - z) - (j == target ? 1.0 : 0.0);
        x[j] = (float)((double)factor * p);
    }
    return nll;
}

static void add(float *x, const float *y, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        x[j] += y[j];
    }
}

static void add_rows(float *x, size_t ldx, const float *y, size_t rows, size_t n)
{
    for (size_t t = 0; t < rows; t++) {
        add(x + t * ldx, y, n);
    }
}

static void sum_rows(float *y, const float *x, size_t ldx, size_t rows, size_t n)
{
    for (size_t t = 0; t < rows; t++) {
        add(y, x + t * ldx, n);
    }
}

static void scale(float *x, size_t n, float s)
{
    for (size_t j = 0; j < n; j++) {
        x[j] *= s;
    }
}

static double sum_squares(const float *x, size_t n)
{
    double s = 0;
    for (size_t j = 0; j < n; j++) {
        s += (double)x[j] * (double)x[j];
    }
    return s;
}

static uint32_t mix(uint32_t h)
{
    h = (h ^ h >> 16) * 0x7feb352du;
    h = (h ^ h >> 15) * 0x846ca68bu;
    return h ^ h >> 16;
}

static void dropout(const float *x, float *out, size_t n, uint64_t seed, uint64_t first, float p)
{
    for (size_t j = 0; j < n; j++) {
        uint32_t h = mix(mix((uint32_t)(first + j) ^ (uint32_t)seed) ^ (uint32_t)(seed >> 32));
        out[j] = (double)h >= floor((double)p * 4294967296.0) ? x[j] / (1.0f - p) : 0.0f;
    }
}

static void adamw(float *w, const float *g, float *m, float *v, size_t n, const plmm__adamw_args *k)
{
    for (size_t j = 0; j < n; j++) {
        double b1 = (double)k->beta1, b2 = (double)k->beta2, gj = (double)g[j];
        double mj = b1 * (double)m[j] + (1.0 - b1) * gj,
               vj = b2 * (double)v[j] + (1.0 - b2) * gj * gj;
        double step = mj / (double)k->correct1 / (sqrt(vj) / (double)k->correct2 + (double)k->eps);
        double shrunk = (double)w[j] * (1.0 - (double)k->lr * (double)k->decay);
        w[j] = (float)(shrunk - (double)k->lr * step);
        m[j] = (float)mj;
        v[j] = (float)vj;
    }
}

const plmm__kernels plmm__kernels_ref = {
    .name = "reference",
    .gemm = gemm,
    .gemm_panel = gemm_panel,
    .from_bf16 = from_bf16,
    .from_q8 = from_q8,
    .from_q4 = from_q4,
    .transpose = transpose,
    .finite = finite,
    .rmsnorm = rmsnorm,
    .rmsnorm_back = rmsnorm_back,
    .silu_mul = silu_mul,
    .silu_mul_back = silu_mul_back,
    .rope = rope,
    .softmax = softmax,
    .softmax_back = softmax_back,
    .cross_entropy = cross_entropy,
    .add = add,
    .add_rows = add_rows,
    .sum_rows = sum_rows,
    .scale = scale,
    .sum_squares = sum_squares,
    .dropout = dropout,
    .adamw = adamw,
};
