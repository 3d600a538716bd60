/* From curves to (epsilon, delta), and from (epsilon, delta) to noise. */
#include "plmm/account.h"

#include <math.h>

/* Below this order the conversion is not stable, nor ever the best. */
static const double ORDER_MIN = 1.01;

double plmm_rdp_epsilon(const double *orders, const double *rdp, size_t n, double delta,
                        double *order)
{
    PLMM_ASSERT(delta > 0.0 && delta < 1.0);
    double best = INFINITY, at = 0.0;
    for (size_t i = 0; i < n; i++) {
        double a = orders[i], r = rdp[i], e = INFINITY;
        if (delta * delta + expm1(-r) > 0.0) {
            e = 0.0; /* total variation <= sqrt(1 - e^-KL) < delta, and KL <= r */
        } else if (a > ORDER_MIN && r < INFINITY) {
            e = r + log1p(-1.0 / a) - log(delta * a) / (a - 1.0);
        }
        if (e < best) {
            best = e;
            at = a;
        }
    }
    if (order != NULL) {
        *order = at;
    }
    return fmax(best, 0.0);
}

double plmm_rdp_delta(const double *orders, const double *rdp, size_t n, double epsilon,
                      double *order)
{
    double best = 0.0, at = 0.0; /* ln delta */
    for (size_t i = 0; i < n; i++) {
        double a = orders[i], r = rdp[i];
        double d = r > 0.0 ? 0.5 * log(-expm1(-r)) : -INFINITY;
        if (a > ORDER_MIN && r < INFINITY) {
            d = fmin(d, (a - 1.0) * (r - epsilon + log1p(-1.0 / a)) - log(a));
        }
        if (d < best) {
            best = d;
            at = a;
        }
    }
    if (order != NULL) {
        *order = at;
    }
    return exp(best);
}

/* ln Phi(-x), by the asymptotic series where erfc is no longer a normal number. */
static double log_tail(double x)
{
    if (x < 35.0) {
        return log(0.5 * erfc(x / sqrt(2.0)));
    }
    double y = 1.0 / (x * x);
    return -0.5 * x * x - log(x) - 0.91893853320467274178 + log1p(-y * (1.0 - 3.0 * y));
}

double plmm_gaussian_delta(double z, double epsilon)
{
    if (!(z > 0.0)) {
        return 1.0;
    }
    double s = 1.0 / z;
    double a = log_tail(epsilon / s - s / 2.0), b = epsilon + log_tail(epsilon / s + s / 2.0);
    return b < a ? exp(a) * -expm1(b - a) : 0.0;
}

static bool z_fits(double z, double epsilon, double delta, double q, double times)
{
    /* An order alone is enough, so look where it costs nothing first: from the large ones down. */
    double best = INFINITY;
    for (size_t i = 0; i < PLMM_RDP_ORDERS && best > epsilon; i++) {
        double a = plmm_rdp_order(i), r = times * plmm_rdp_sampled_gaussian(a, z, q);
        best = fmin(best, plmm_rdp_epsilon(&a, &r, 1, delta, NULL));
    }
    return best <= epsilon;
}

double plmm_calibrate_z(double epsilon, double delta, double q, uint64_t times)
{
    double lo = 0x1p-6, hi = lo;
    while (!z_fits(hi, epsilon, delta, q, (double)times)) {
        lo = hi;
        hi *= 2.0;
        if (hi > 0x1p20) {
            return INFINITY;
        }
    }
    while (hi > lo * (1.0 + 1e-9)) {
        double mid = 0.5 * (lo + hi);
        if (z_fits(mid, epsilon, delta, q, (double)times)) {
            hi = mid;
        } else {
            lo = mid;
        }
    }
    return hi;
}

static bool units_fit(uint64_t units, const plmm_release *r, uint64_t times, const plmm_budget *b)
{
    plmm_account none, cost;
    plmm_release with = *r;
    with.variance = (double)units / PLMM_VARIANCE_UNITS;
    plmm_account_init(&none);
    plmm_account_release(&cost, &with);
    return plmm_account_fits(&none, &cost, times, b, NULL) == PLMM_OK;
}

plmm_status plmm_calibrate_units(uint64_t *units, const plmm_release *r, uint64_t times,
                                 const plmm_budget *b, plmm_error *err)
{
    PLMM_TRY(plmm_budget_check(b, err));
    uint64_t lo = 0, hi = 1; /* lo does not fit */
    while (!units_fit(hi, r, times, b)) {
        lo = hi;
        hi *= 2;
        if (hi > UINT64_C(1) << 62) {
            return plmm_fail(err, PLMM_ERR_RANGE,
                             "no noise keeps %llu releases within epsilon %g at delta %g",
                             (unsigned long long)times, b->epsilon, b->delta);
        }
    }
    while (hi - lo > 1) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (units_fit(mid, r, times, b)) {
            hi = mid;
        } else {
            lo = mid;
        }
    }
    *units = hi;
    return PLMM_OK;
}
