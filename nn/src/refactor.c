/* Equal products from other factors: B A = (Qb Rb)(La Qa) = Qb (U S V^T) Qa, all in double. */
#include <math.h>
#include <string.h>

#include "plmm/alloc.h"
#include "plmm/federate.h"

/* Work for one matrix; everything is rows of length r, in or out. */
typedef struct work {
    size_t r, in, out;
    double *qa; /* [r][in] orthonormal rows */
    double *qb; /* [r][out] orthonormal rows: columns of B's basis */
    double *la; /* [r][r] A = la qa */
    double *rb; /* [r][r] B^T = rb qb */
    double *m;  /* [r][r], row j is column j of Rb La V, then of U S */
    double *v;  /* [r][r], row j is column j of V */
    double *s;  /* [r] singular values, falling */
} work;

static double dot(const double *x, const double *y, size_t n)
{
    double s = 0;
    for (size_t i = 0; i < n; i++) {
        s += x[i] * y[i];
    }
    return s;
}

static void subtract(double *x, const double *y, double k, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x[i] -= k * y[i];
    }
}

static void divide(double *x, double k, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x[i] /= k;
    }
}

/* Makes row i orthogonal to the rows before it, noting the coefficients (may be NULL). Twice is
 * enough (Giraud et al., 2005). */
static void project_out(double *q, size_t i, size_t n, double *coeffs)
{
    for (int pass = 0; pass < 2; pass++) {
        for (size_t k = 0; k < i; k++) {
            double c = dot(q + i * n, q + k * n, n);
            subtract(q + i * n, q + k * n, c, n);
            if (coeffs != NULL) {
                coeffs[k] += c;
            }
        }
    }
}

/* Gives row i a direction of its own: the first unit vector that is not in the span of the rows
 * before it. There is none when i >= n; the row is then zero. */
static void complete_row(double *q, size_t i, size_t n)
{
    double norm = 0;
    for (size_t e = 0; e < n && i < n && norm < 1e-3; e++) {
        memset(q + i * n, 0, n * sizeof *q);
        q[i * n + e] = 1;
        project_out(q, i, n, NULL);
        norm = sqrt(dot(q + i * n, q + i * n, n));
    }
    if (norm < 1e-3) {
        memset(q + i * n, 0, n * sizeof *q);
    } else {
        divide(q + i * n, norm, n);
    }
}

/* Rows of q become orthonormal; old row i = sum over k of l[i][k] new row k. */
static void orthonormalise(double *q, double *l, size_t r, size_t n)
{
    memset(l, 0, r * r * sizeof *l);
    for (size_t i = 0; i < r; i++) {
        double before = sqrt(dot(q + i * n, q + i * n, n));
        project_out(q, i, n, l + i * r);
        double norm = sqrt(dot(q + i * n, q + i * n, n));
        if (norm > 1e-10 * before) {
            l[i * r + i] = norm;
            divide(q + i * n, norm, n);
        } else {
            complete_row(q, i, n);
        }
    }
}

/* One-sided Jacobi (Hestenes, 1958): rotates pairs of columns (kept as rows) of m until all are
 * orthogonal; v collects the rotations. */
static bool rotate_pair(double *x, double *y, double *vx, double *vy, size_t r)
{
    double a = dot(x, x, r), b = dot(y, y, r), c = dot(x, y, r);
    if (fabs(c) <= 1e-15 * sqrt(a * b) || c == 0) {
        return false;
    }
    double zeta = (b - a) / (2 * c);
    double t = (zeta >= 0 ? 1 : -1) / (fabs(zeta) + sqrt(1 + zeta * zeta));
    double cs = 1 / sqrt(1 + t * t), sn = cs * t;
    for (size_t i = 0; i < r; i++) {
        double xi = x[i], yi = y[i], vxi = vx[i], vyi = vy[i];
        x[i] = cs * xi - sn * yi;
        y[i] = sn * xi + cs * yi;
        vx[i] = cs * vxi - sn * vyi;
        vy[i] = sn * vxi + cs * vyi;
    }
    return true;
}

static void swap_rows(double *x, size_t i, size_t j, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        double t = x[i * n + k];
        x[i * n + k] = x[j * n + k];
        x[j * n + k] = t;
    }
}

/* m V = U S with falling S; rows of m become U S. */
static void decompose(work *w)
{
    size_t r = w->r;
    for (size_t i = 0; i < r * r; i++) {
        w->v[i] = i % (r + 1) == 0 ? 1 : 0;
    }
    bool turned = true;
    for (int sweep = 0; turned && sweep < 60; sweep++) {
        turned = false;
        for (size_t i = 0; i + 1 < r; i++) {
            for (size_t j = i + 1; j < r; j++) {
                turned |= rotate_pair(w->m + i * r, w->m + j * r, w->v + i * r, w->v + j * r, r);
            }
        }
    }
    for (size_t i = 0; i < r; i++) {
        w->s[i] = sqrt(dot(w->m + i * r, w->m + i * r, r));
    }
    for (size_t i = 0; i < r; i++) {
        size_t best = i;
        for (size_t j = i + 1; j < r; j++) {
            best = w->s[j] > w->s[best] ? j : best;
        }
        if (best != i) {
            swap_rows(w->m, i, best, r);
            swap_rows(w->v, i, best, r);
            swap_rows(w->s, i, best, 1);
        }
    }
}

/* m = rb^T la, kept by columns: B A = qb^T m qa. */
static void multiply_triangles(work *w)
{
    size_t r = w->r;
    for (size_t j = 0; j < r; j++) {
        for (size_t i = 0; i < r; i++) {
            double s = 0;
            for (size_t k = 0; k < r; k++) {
                s += w->rb[k * r + i] * w->la[k * r + j];
            }
            w->m[j * r + i] = s;
        }
    }
}

/* out[j][n] = sum over k of c[j][k] q[k][n]. */
static double combine(const double *c, const double *q, size_t r, size_t n, size_t j, size_t i)
{
    double s = 0;
    for (size_t k = 0; k < r; k++) {
        s += c[j * r + k] * q[k * n + i];
    }
    return s;
}

/* Makes rows of m unit vectors: U. Where the singular value vanishes, any direction will do. */
static void normalise_u(work *w)
{
    size_t r = w->r;
    for (size_t j = 0; j < r; j++) {
        if (w->s[j] > 1e-12 * w->s[0]) {
            divide(w->m + j * r, w->s[j], r);
        } else {
            w->s[j] = 0;
            complete_row(w->m, j, r);
        }
    }
}

static void write_factors(const work *w, plmm_factor f, float *a, float *b)
{
    size_t r = w->r;
    for (size_t j = 0; j < r; j++) {
        double k = f == PLMM_FACTOR_A ? w->s[j] : 1;
        for (size_t i = 0; i < w->in; i++) {
            a[j * w->in + i] = (float)(k * combine(w->v, w->qa, r, w->in, j, i));
        }
        for (size_t i = 0; i < w->out; i++) {
            b[i * r + j] = (float)combine(w->m, w->qb, r, w->out, j, i);
        }
    }
}

static void refactor_matrix(work *w, plmm_factor f, float *a, float *b)
{
    size_t r = w->r;
    double size = 0;
    for (size_t i = 0; i < r * w->in; i++) {
        w->qa[i] = (double)a[i];
    }
    for (size_t i = 0; i < w->out; i++) {
        for (size_t j = 0; j < r; j++) {
            w->qb[j * w->out + i] = (double)b[i * r + j];
            size += fabs((double)b[i * r + j]);
        }
    }
    orthonormalise(w->qa, w->la, r, w->in);
    if (size == 0) {
        for (size_t i = 0; i < r * w->in; i++) {
            a[i] = (float)w->qa[i];
        }
        return;
    }
    orthonormalise(w->qb, w->rb, r, w->out);
    multiply_triangles(w);
    decompose(w);
    if (f == PLMM_FACTOR_A) {
        normalise_u(w);
    }
    write_factors(w, f, a, b);
}

static void bind(work *w, double *mem)
{
    size_t square = w->r * w->r;
    w->la = mem;
    w->rb = w->la + square;
    w->m = w->rb + square;
    w->v = w->m + square;
    w->s = w->v + square;
    w->qa = w->s + w->r;
    w->qb = w->qa + w->r * w->in;
}

plmm_status plmm_refactor(plmm_adapter *a, plmm_factor f, plmm_error *err)
{
    const plmm_model_config *c = plmm_adapter_cfg(a);
    size_t r = plmm_adapter_spec(a)->rank, widest = 0;
    if (f != PLMM_FACTOR_A && f != PLMM_FACTOR_B) {
        return PLMM_OK;
    }
    for (unsigned t = 0; t < PLMM_TARGETS; t++) {
        size_t out = 0, in = 0;
        plmm_target_shape(c, t, &out, &in);
        widest = in + out > widest ? in + out : widest;
    }
    double *mem = plmm_alloc(4 * r * r + r + r * widest, sizeof *mem);
    if (mem == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot prepare the next round: out of memory");
    }
    for (uint32_t l = 0; l < c->layers; l++) {
        for (unsigned t = 0; t < PLMM_TARGETS; t++) {
            size_t at = plmm_adapter_offset(a, l, t, PLMM_FACTOR_A);
            if (at != SIZE_MAX) {
                work w = {.r = r};
                plmm_target_shape(c, t, &w.out, &w.in);
                bind(&w, mem);
                refactor_matrix(&w, f, plmm_adapter_params(a) + at,
                                plmm_adapter_params(a) +
                                    plmm_adapter_offset(a, l, t, PLMM_FACTOR_B));
            }
        }
    }
    plmm_free(mem);
    return PLMM_OK;
}
