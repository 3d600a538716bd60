/* Renyi divergence of one release at one order. Every sum below is of positive terms, in logarithms:
 * what is small is not the difference of what is large. */
#include "plmm/account.h"

#include <math.h>

static const double PI = 3.14159265358979323846;

double plmm_rdp_order(size_t i)
{
    PLMM_ASSERT(i < PLMM_RDP_ORDERS);
    if (i < 99) {
        return (double)(i + 11) / 10.0;
    }
    return i < 152 ? (double)(i - 88) : (double)(UINT64_C(128) << (i - 152));
}

/* ln(e^a + e^b). */
static double log_add(double a, double b)
{
    double hi = a > b ? a : b, lo = a > b ? b : a;
    return lo == -INFINITY ? hi : hi + log1p(exp(lo - hi));
}

/* ln(e^a - 1), a > 0. */
static double log_expm1(double a)
{
    return a < 30.0 ? log(expm1(a)) : a + log1p(-exp(-a));
}

/* ln(1 + e^a). */
static double log_1p_exp(double a)
{
    return a < 700.0 ? log1p(exp(a)) : a;
}

double plmm_rdp_gaussian(double alpha, double z)
{
    return z > 0.0 ? alpha / (2.0 * z * z) : INFINITY;
}

/* ---- Poisson-sampled Gaussian ---- */

/* ln(A - 1) for an integer order: A = sum_i C(a, i) (1-q)^(a-i) q^i e^((i^2-i)/2z^2), whose
 * coefficients add to 1 and whose terms 0 and 1 are the coefficients. */
static double sampled_integer(double alpha, double z, double q)
{
    double log_q = log(q), log_p = log1p(-q);
    double log_comb = 0.0, sum = -INFINITY;
    for (double i = 1.0; i <= alpha; i += 1.0) {
        log_comb += log((alpha - i + 1.0) / i);
        if (i >= 2.0) {
            sum = log_add(sum, log_comb + i * log_q + (alpha - i) * log_p +
                                   log_expm1((i * i - i) / (2.0 * z * z)));
        }
    }
    return sum;
}

/* ln((1 + u)^a - 1 - a u) with u = q (w - 1), w = e^log_w; the bracket is >= 0 for a >= 1. */
static double log_excess(double alpha, double q, double log_w)
{
    if (log_w > 30.0) { /* ln(1 + u) = ln(q w) + ln(1 + (1-q)/(q w)) */
        double lq = log(q) + log_w;
        double l = alpha * (lq + log1p((1.0 - q) * exp(-lq)));
        double sub = log_1p_exp(log(alpha) + lq + log1p(-exp(-log_w)));
        return l > sub + 1e-9 ? l + log1p(-exp(sub - l)) : -INFINITY;
    }
    double u = q * expm1(log_w);
    if (fabs(u) <
        1e-3) { /* binomial series from u^2 on: the quotient of terms is below 0.1 |u| a */
        double term = alpha * (alpha - 1.0) / 2.0 * u * u, sum = term;
        for (double k = 3.0; k < 12.0; k += 1.0) {
            term *= (alpha - k + 1.0) / k * u;
            sum += term;
        }
        return log(sum);
    }
    double g = expm1(alpha * log1p(u)) - alpha * u;
    return g > 0.0 ? log(g) : -INFINITY;
}

/* ln(A - 1) = ln E[(1 + u)^a - 1 - a u], x ~ N(0, z^2), w = e^((2x-1)/2z^2), since E[u] = 0. The
 * integrand is analytic in a strip of half width pi z^2 and falls like a Gaussian, so the trapezoid rule
 * errs by e^(-2 pi * strip / step): below 1e-16 with the step chosen here. */
static double sampled_quadrature(double alpha, double z, double q)
{
    double step = z * fmin(0.2, 0.25 * z);
    double from = -13.0 * z, to = alpha + 13.0 * z, sum = -INFINITY;
    for (double k = floor(from / step); k * step <= to; k += 1.0) {
        double x = k * step;
        double f = log_excess(alpha, q, (2.0 * x - 1.0) / (2.0 * z * z)) - x * x / (2.0 * z * z);
        sum = log_add(sum, f);
    }
    return sum + log(step / z) - 0.5 * log(2.0 * PI);
}

double plmm_rdp_sampled_gaussian(double alpha, double z, double q)
{
    if (q <= 0.0) {
        return 0.0;
    }
    if (!(z > 0.0)) {
        return INFINITY;
    }
    double whole = plmm_rdp_gaussian(alpha, z);
    if (q >= 1.0) {
        return whole;
    }
    bool integer = floor(alpha) == alpha;
    if (!integer &&
        (z < 0.02 || alpha > 64.0)) { /* too many steps: convexity, then no gain at all */
        double lo = floor(alpha), t = alpha - lo;
        double a = lo > 1.0 ? (lo - 1.0) * plmm_rdp_sampled_gaussian(lo, z, q) : 0.0;
        double b = lo * plmm_rdp_sampled_gaussian(lo + 1.0, z, q);
        return fmin(whole, ((1.0 - t) * a + t * b) / (alpha - 1.0));
    }
    double log_a1 = integer ? sampled_integer(alpha, z, q) : sampled_quadrature(alpha, z, q);
    return fmin(whole, log_1p_exp(log_a1) / (alpha - 1.0));
}

/* ---- sampling without replacement ---- */

/* ln E_Q[(r - 1)^m], m even, r = e^((2x-1)/2z^2), x ~ N(0, z^2): the m-th forward difference of the
 * moments. The integrand is entire and >= 0. */
static double even_difference(double m, double z)
{
    double step = z * fmin(0.2, 0.25 * z), sum = -INFINITY;
    for (double k = floor(-20.0 * z / step); k * step <= m + 1.0 + 20.0 * z; k += 1.0) {
        double x = k * step, log_r = (2.0 * x - 1.0) / (2.0 * z * z);
        double gap = fabs(log_r) < 1e-300 ? -INFINITY
                     : log_r > 30.0       ? log_r + log1p(-exp(-log_r))
                                          : log(fabs(expm1(log_r)));
        sum = log_add(sum, m * gap - x * x / (2.0 * z * z));
    }
    return sum + log(step / z) - 0.5 * log(2.0 * PI);
}

static double wor_integer(double alpha, double z, double q)
{
    const double whole2 = 1.0 / (z * z); /* RDP at 2 */
    double log_comb = log(alpha), sum = -INFINITY, lo = 0.0;
    for (double i = 2.0; i <= alpha; i += 1.0) {
        log_comb += log((alpha - i + 1.0) / i);
        double s;
        if (i == 2.0) {
            s = fmin(log(4.0) + log_expm1(whole2), whole2 + log(2.0));
        } else {
            s = log(2.0) + i * (i - 1.0) / (2.0 * z * z);
            if (alpha <= 64.0 && z >= 0.1) {
                lo = i == 3.0 ? even_difference(2.0, z) : lo; /* of the even number at or below i */
                double hi = fmod(i, 2.0) != 0.0 ? even_difference(i + 1.0, z) : lo;
                s = fmin(s, log(4.0) + 0.5 * (lo + hi));
                lo = hi;
            }
        }
        sum = log_add(sum, s + i * log(q) + log_comb);
    }
    return log_1p_exp(sum);
}

double plmm_rdp_wor_gaussian(double alpha, double z, double q)
{
    if (q <= 0.0) {
        return 0.0;
    }
    if (!(z > 0.0)) {
        return INFINITY;
    }
    double whole = plmm_rdp_gaussian(alpha, z);
    if (q >= 1.0) {
        return whole;
    }
    double lo = floor(alpha), t = alpha - lo;
    double m = lo > 1.0 ? (1.0 - t) * wor_integer(lo, z, q) : 0.0;
    m += t > 0.0 ? t * wor_integer(lo + 1.0, z, q) : 0.0;
    return fmin(whole, m / (alpha - 1.0));
}

/* ---- integer noise ---- */

static double skellam_integer(double alpha, double l1, double l2, double mu)
{
    double more = ((2.0 * alpha - 1.0) * l2 * l2 + 6.0 * l1) / (4.0 * mu * mu);
    return alpha * l2 * l2 / (2.0 * mu) + fmin(more, 3.0 * l1 / (2.0 * mu));
}

double plmm_rdp_skellam(double alpha, double l1, double l2, double variance)
{
    if (!(variance > 0.0)) {
        return INFINITY;
    }
    double lo = floor(alpha), t = alpha - lo;
    double m = lo > 1.0 ? (1.0 - t) * (lo - 1.0) * skellam_integer(lo, l1, l2, variance) : 0.0;
    m += t > 0.0 ? t * lo * skellam_integer(lo + 1.0, l1, l2, variance) : 0.0;
    return m / (alpha - 1.0);
}

/* 10 sum_{k=1}^{n-1} e^(-2 pi^2 s^2 k/(k+1)); terms fall towards e^(-2 pi^2 s^2), so after 1,000 the
 * last one taken bounds the rest. */
static double ddgauss_tau(uint32_t n, double variance)
{
    double tau = 0.0;
    for (uint32_t k = 1; k < n; k++) {
        double term = exp(-2.0 * PI * PI * variance * (double)k / ((double)k + 1.0));
        if (k == 1000) {
            return 10.0 * (tau + (double)(n - k) * term);
        }
        tau += term;
    }
    return 10.0 * tau;
}

double plmm_rdp_ddgauss(double alpha, double l1, double l2, double dim, uint32_t n,
                        double local_variance)
{
    if (!(local_variance >= 0.25) || n < 1) {
        return INFINITY;
    }
    double tau = ddgauss_tau(n, local_variance);
    double sd = sqrt((double)n * local_variance);
    double a1 = l1 / sd, a2 = l2 / sd, tail = sqrt(dim) * tau;
    double first = alpha / 2.0 * a2 * a2 + tau * dim;
    double second = alpha / 2.0 * (a2 * a2 + 2.0 * a1 * tau + tau * tau * dim);
    double third = alpha / 2.0 * (a2 + tail) * (a2 + tail);
    return fmin(first, fmin(second, third));
}

uint32_t plmm_tree_depth(uint32_t leaves)
{
    uint32_t depth = 0;
    for (; leaves > 0; leaves /= 2) {
        depth++;
    }
    return depth;
}

/* ---- sensitivities ---- */

double plmm_rounded_l2(double c, double dim, double log_inv_beta)
{
    double most = c + sqrt(dim);
    double likely = sqrt(c * c + dim / 4.0 + sqrt(2.0 * log_inv_beta) * (c + sqrt(dim) / 2.0));
    return fmin(most, likely);
}

double plmm_rounded_l1(double l2, double dim)
{
    return l2 * fmin(sqrt(dim), l2);
}

void plmm_mf_square_root(double *c, uint32_t bands)
{
    for (uint32_t k = 0; k < bands; k++) {
        c[k] = k == 0 ? 1.0 : c[k - 1] * (2.0 * k - 1.0) / (2.0 * k);
    }
}

plmm_status plmm_mf_sensitivity(double *out, const double *c, uint32_t steps, uint32_t bands,
                                uint32_t apart, uint32_t times, double *work, plmm_error *err)
{
    if (steps < 1 || bands < 1 || apart < 1 || times < 1 || bands > apart) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot bound the sensitivity of %u steps with %u bands: a device must "
                         "wait at least that many steps between participations, not %u",
                         steps, bands, apart);
    }
    double *best = work, *next = work + steps + 1; /* best[t]: of steps t.. with one less time */
    for (uint32_t t = 0; t <= steps; t++) {
        best[t] = 0.0;
    }
    uint32_t most = (steps + apart - 1) / apart;
    for (uint32_t m = 0; m < times && m < most; m++) {
        next[steps] = 0.0;
        for (uint32_t t = steps; t-- > 0;) {
            double norm2 = 0.0;
            for (uint32_t k = 0; k < bands && t + k < steps; k++) {
                norm2 += c[(size_t)t * bands + k] * c[(size_t)t * bands + k];
            }
            double with = norm2 + best[steps - t > apart ? t + apart : steps];
            next[t] = fmax(next[t + 1], with);
        }
        double *swap = best;
        best = next;
        next = swap;
    }
    *out = sqrt(best[0]);
    return PLMM_OK;
}

double plmm_adaptive_z(double z, double sigma_b)
{
    double left = 1.0 / (z * z) - 1.0 / (4.0 * sigma_b * sigma_b);
    return left > 0.0 ? 1.0 / sqrt(left) : INFINITY;
}
