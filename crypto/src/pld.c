/* Privacy loss distributions on a grid: making, reading. Composition is in pld_compose.c. */
#include "plmm/pld.h"

#include "pld_internal.h"
#include "plmm/alloc.h"

#include <math.h>

static const double UNIT = 0x1p-53;

plmm_pld *plmm__pld_make(double interval, int64_t lo, size_t n)
{
    plmm_pld *p = plmm_alloc(1, sizeof *p);
    double *mass = p != NULL ? plmm_alloc(n, sizeof *mass) : NULL;
    if (mass == NULL) {
        plmm_free(p);
        return NULL;
    }
    *p = (plmm_pld){.interval = interval, .lo = lo, .n = n, .mass = mass};
    return p;
}

void plmm_pld_free(plmm_pld *p)
{
    if (p != NULL) {
        plmm_free(p->mass);
        plmm_free(p);
    }
}

static plmm_status make_between(plmm_pld **out, double from, double to, double interval,
                                plmm_error *err)
{
    if (!(interval >= 1e-7 && interval <= 1.0)) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot use interval %g: it is 1e-7..1", interval);
    }
    double lo = floor(from / interval), hi = ceil(to / interval);
    if (!(hi - lo + 2.0 <= PLMM_PLD_BINS_MAX)) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "losses from %g to %g need more than %d intervals of %g", from, to,
                         (int)PLMM_PLD_BINS_MAX, interval);
    }
    *out = plmm__pld_make(interval, (int64_t)lo, (size_t)(hi - lo) + 2);
    return *out != NULL ? PLMM_OK
                        : plmm_fail(err, PLMM_ERR_NOMEM, "no memory for a loss distribution");
}

/* Mass p under P and q under Q, all with losses in [e, e + h], e = (lo + i) h: to its two ends. */
static void split(plmm_pld *d, size_t i, double p, double q, double slack)
{
    double e = (double)(d->lo + (int64_t)i) * d->interval;
    double up = (p - exp(e) * q + slack) / -expm1(-d->interval);
    up = fmin(p, fmax(up, 0.0));
    d->mass[i] += p - up;
    d->mass[i + 1] += up;
}

/* ---- the Gaussian ---- */

/* P(a < Z <= b), from the nearer tail; *size: what was subtracted, for the error. */
static double normal_between(double a, double b, double *size)
{
    const double r = 0.70710678118654752440;
    bool flip = a > 0.0;
    double hi = erfc(flip ? a * r : -b * r), lo = erfc(flip ? b * r : -a * r);
    *size = 0.5 * hi;
    return 0.5 * (hi - lo);
}

/* x at which ln(1 - q + q e^((2x-1)/2z^2)) is e; -INFINITY below its range. */
static double loss_inverse(double e, double z, double q)
{
    double over = q >= 1.0 ? 0.0 : expm1(e) + q; /* q w */
    if (q >= 1.0) {
        return z * z * e + 0.5;
    }
    if (!(over > 0.0)) {
        return -INFINITY;
    }
    double log_w = over < INFINITY ? log(over / q) : e - log(q);
    return z * z * log_w + 0.5;
}

static double loss_at(double x, double z, double q)
{
    double a = (2.0 * x - 1.0) / (2.0 * z * z);
    return q >= 1.0 ? a : a > 700.0 ? a + log(q) : log1p(q * expm1(a));
}

enum { TAIL_SIGMAS = 11 }; /* 2e-28 of mass beyond */

plmm_status plmm_pld_new_gaussian(plmm_pld **out, double z, double q, plmm_pld_way way,
                                  double interval, plmm_error *err)
{
    if (!(z >= 1e-3 && z <= 1e9 && q > 0.0 && q <= 1.0)) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "no loss distribution for noise multiplier %g and rate %g", z, q);
    }
    double x_lo = -TAIL_SIGMAS * z, x_hi = 1.0 + TAIL_SIGMAS * z;
    double l_lo = loss_at(x_lo, z, q), l_hi = loss_at(x_hi, z, q);
    bool add = way == PLMM_PLD_ADD;
    plmm_pld *d = NULL;
    PLMM_TRY(make_between(&d, add ? -l_hi : l_lo, add ? -l_lo : l_hi, interval, err));
    double before = add ? x_hi : x_lo, total = 0.0;
    for (size_t i = 0; i + 1 < d->n; i++) {
        double e = (double)(d->lo + (int64_t)i + 1) * interval; /* losses up to e */
        double x = loss_inverse(add ? -e : e, z, q);
        x = fmin(fmax(x, x_lo), x_hi);
        double a = add ? x : before, b = add ? before : x, size[2] = {0};
        if (a < b) {
            double none = normal_between(a / z, b / z, &size[0]);
            double with = normal_between((a - 1.0) / z, (b - 1.0) / z, &size[1]);
            double mix = (1.0 - q) * none + q * with;
            double p = add ? none : mix, o = add ? mix : none;
            double unsure = 16.0 * UNIT * (size[0] + q * size[1]);
            split(d, i, p + unsure, o, unsure * (1.0 + exp(e)));
            total += p;
        }
        before = x;
    }
    d->infinite =
        fmax(0.0, 1.0 - total) + 64.0 * UNIT; /* the tail of cheap losses counts as well */
    d->skew = 16.0 * UNIT * (1.0 + fmax(fabs(l_lo), fabs(l_hi)));
    *out = d;
    return PLMM_OK;
}

/* ---- noise on one integer ---- */

plmm_status plmm_pld_new_integer(plmm_pld **out, const double *pmf, size_t n, uint32_t shift,
                                 double interval, plmm_error *err)
{
    if (n % 2 == 0 || shift < 1 || shift >= n / 2) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "no loss distribution of %zu probabilities moved by %u", n, shift);
    }
    double from = 0.0, to = 0.0;
    for (size_t k = 0; k < n; k++) {
        size_t a = k < n / 2 ? k : n - 1 - k; /* symmetric */
        if (!(pmf[a] > 0.0 && pmf[a] <= 1.0)) {
            return plmm_fail(err, PLMM_ERR_RANGE, "probability %zu is %g", a, pmf[a]);
        }
    }
    for (size_t k = shift; k < n; k++) {
        size_t a = k < n / 2 ? k : n - 1 - k, was = k - shift;
        size_t b = was < n / 2 ? was : n - 1 - was;
        double l = log(pmf[a] / pmf[b]);
        from = fmin(from, l);
        to = fmax(to, l);
    }
    plmm_pld *d = NULL;
    PLMM_TRY(make_between(&d, from, to, interval, err));
    double total = 0.0;
    for (size_t k = shift; k < n; k++) {
        size_t a = k < n / 2 ? k : n - 1 - k, was = k - shift;
        size_t b = was < n / 2 ? was : n - 1 - was;
        double l = log(pmf[a] / pmf[b]), at = floor(l / interval) - (double)d->lo;
        size_t i = at < 0.0 ? 0 : (size_t)at;
        split(d, i, pmf[a], pmf[b], 16.0 * UNIT * pmf[a]);
        total += pmf[a];
    }
    d->infinite = fmax(0.0, 1.0 - total) + 64.0 * UNIT;
    d->skew = 16.0 * UNIT * (1.0 + fmax(-from, to));
    *out = d;
    return PLMM_OK;
}

/* ---- reading ---- */

double plmm_pld_delta(const plmm_pld *p, double epsilon)
{
    double e = epsilon - p->skew, sum = p->infinite;
    for (size_t i = p->n; i-- > 0;) {
        double l = (double)(p->lo + (int64_t)i) * p->interval;
        if (l <= e) {
            break;
        }
        sum += p->mass[i] * -expm1(e - l);
    }
    return fmin(1.0, sum);
}

double plmm_pld_epsilon(const plmm_pld *p, double delta)
{
    if (p->infinite >= delta) {
        return INFINITY;
    }
    /* at grid point e: above = mass beyond e, under = that mass times e^(e - loss) */
    double above = 0.0, under = 0.0, keep = exp(-p->interval);
    for (size_t i = p->n; i-- > 0;) {
        double lower = (double)(p->lo + (int64_t)i - 1) * p->interval;
        above += p->mass[i];
        under = (under + p->mass[i]) * keep;
        if (p->infinite + above - under > delta || lower < 0.0) {
            double over = p->infinite + above - delta;
            double e = over > 0.0 ? lower + log(over / under) : lower;
            return fmax(0.0, e + p->skew);
        }
    }
    return fmax(0.0, (double)(p->lo - 1) * p->interval + p->skew);
}

double plmm_pld_interval(double z, double q, uint32_t times)
{
    /* Rounding to a grid of h moves a release's mean loss by at most h^2 / 8 and its variance by
     * h^2 / 4: small beside the deviation of one loss and of their sum. */
    double t = times > 0 ? times : 1.0;
    double one = fmin(1.0 / z, q * sqrt(expm1(fmin(1.0 / (z * z), 100.0))));
    double h = fmin(one / 25.0, sqrt(2e-4 * one / sqrt(t)));
    return fmin(2e-3, fmax(h, 1e-6));
}

static plmm_status way_epsilon(double *out, double z, double q, uint32_t times, plmm_pld_way way,
                               double interval, double delta, plmm_error *err)
{
    plmm_pld *one = NULL, *all = NULL;
    PLMM_TRY(plmm_pld_new_gaussian(&one, z, q, way, interval, err));
    const plmm_pld *parts[1] = {one};
    plmm_status rc = plmm_pld_compose(&all, parts, &times, 1, 1e-15, err);
    if (rc == PLMM_OK) {
        *out = fmax(*out, plmm_pld_epsilon(all, delta));
    }
    plmm_pld_free(one);
    plmm_pld_free(all);
    return rc;
}

plmm_status plmm_pld_gaussian_epsilon(double *out, double z, double q, uint32_t times, double delta,
                                      plmm_error *err)
{
    plmm_status rc = PLMM_ERR_RANGE;
    double h = plmm_pld_interval(z, q, times), e = 0.0;
    for (int i = 0; i < 12 && rc == PLMM_ERR_RANGE && h <= 0.1; i++, h *= 2.0) {
        e = 0.0;
        rc = way_epsilon(&e, z, q, times, PLMM_PLD_REMOVE, h, delta, err);
        if (rc == PLMM_OK && q < 1.0) { /* else both ways are the same */
            rc = way_epsilon(&e, z, q, times, PLMM_PLD_ADD, h, delta, err);
        }
    }
    if (rc == PLMM_OK) {
        *out = e;
    }
    return rc;
}
