/* Composition of loss distributions: convolution by FFT in a window that Chernoff's bound finds. What
 * lies above the window counts as infinite loss; what lies below comes round to its top, which is
 * pessimistic by itself. */
#include "plmm/pld.h"

#include "fft_internal.h"
#include "pld_internal.h"
#include "plmm/alloc.h"

#include <math.h>

static const double UNIT = 0x1p-53;

enum { RELEASES_MAX = 1 << 20 };

/* ln sum_i mass_i e^(t loss_i), t of either sign, a little too large. */
static double log_moment(const plmm_pld *p, double t)
{
    double keep = exp(-fabs(t) * p->interval), sum = 0.0;
    for (size_t k = 0; k < p->n; k++) { /* Horner, from the cheap end to the dear one */
        sum = sum * keep + p->mass[t > 0.0 ? k : p->n - 1 - k];
    }
    int64_t end = t > 0.0 ? p->lo + (int64_t)p->n - 1 : p->lo;
    return log(sum) + t * (double)end * p->interval + 1e-9;
}

/* Loss beyond which (above for sign 1, below for -1) at most `cut` of the composed mass lies. */
static double bound_of(const plmm_pld *const *parts, const uint32_t *counts, size_t n, double sign,
                       double cut)
{
    double best = INFINITY;
    for (double t = 0x1p-12; t <= 0x1p10; t *= 1.4142135623730951) {
        double sum = -log(cut);
        for (size_t i = 0; i < n; i++) {
            sum += counts[i] * log_moment(parts[i], sign * t);
        }
        best = fmin(best, sum / t);
    }
    return sign * best;
}

typedef struct window {
    int64_t lo;  /* index of the first bin */
    size_t bins; /* a power of two */
    double skew, infinite;
} window;

static plmm_status find_window(window *w, const plmm_pld *const *parts, const uint32_t *counts,
                               size_t n, double cut, plmm_error *err)
{
    double h = parts[0]->interval, lo = 0.0, hi = 0.0, sure = 0.0;
    for (size_t i = 0; i < n; i++) {
        lo += counts[i] * (double)parts[i]->lo;
        hi += counts[i] * (double)(parts[i]->lo + (int64_t)parts[i]->n - 1);
        sure += counts[i] * log1p(-fmin(parts[i]->infinite, 1.0));
        w->skew += counts[i] * parts[i]->skew;
    }
    w->infinite = -expm1(sure);
    double top = ceil(bound_of(parts, counts, n, 1.0, cut / 2.0) / h) + 1.0;
    double low = floor(bound_of(parts, counts, n, -1.0, cut / 2.0) / h) - 1.0;
    if (top < hi) {
        hi = top;
        w->infinite += cut / 2.0;
    }
    lo = fmax(lo, low);
    hi = fmax(hi, lo);
    if (!(hi - lo < PLMM_PLD_BINS_MAX)) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "the composed losses need %g intervals, at most %d are possible: use a "
                         "coarser one than %g",
                         hi - lo, (int)PLMM_PLD_BINS_MAX, h);
    }
    w->lo = (int64_t)lo;
    for (w->bins = 2; (double)w->bins < hi - lo + 1.0;) {
        w->bins *= 2;
    }
    return PLMM_OK;
}

typedef struct spectra {
    size_t n;
    double *twiddles; /* (n) */
    double *x;        /* (2 n) one part's */
    double *g;        /* (2 n) the product's */
    double *loss;     /* (n) sum of count * ln(1 + error / |F|) */
    double *size;     /* (n) ln |G| */
} spectra;

static void complex_power(double *re, double *im, uint32_t e)
{
    double br = *re, bi = *im, r = 1.0, i = 0.0;
    for (; e != 0; e >>= 1) {
        if (e & 1) {
            double t = r * br - i * bi;
            i = r * bi + i * br;
            r = t;
        }
        double t = br * br - bi * bi;
        bi = 2.0 * br * bi;
        br = t;
    }
    *re = r;
    *im = i;
}

static void multiply_part(spectra *s, const plmm_pld *p, uint32_t count)
{
    double total = 0.0;
    for (size_t k = 0; k < 2 * s->n; k++) {
        s->x[k] = 0.0;
    }
    for (size_t k = 0; k < p->n; k++) {
        s->x[2 * (k & (s->n - 1))] += p->mass[k];
        total += p->mass[k];
    }
    plmm__fft(s->x, s->n, s->twiddles);
    double error = (PLMM__FFT_ERROR * log2((double)s->n) + 4.0) * UNIT * total;
    for (size_t k = 0; k < s->n; k++) {
        double re = s->x[2 * k], im = s->x[2 * k + 1];
        double size = fmax(sqrt(re * re + im * im), 1e-150);
        s->loss[k] += count * log1p(error / size);
        s->size[k] += count * log(size);
        complex_power(&re, &im, count);
        double t = s->g[2 * k] * re - s->g[2 * k + 1] * im;
        s->g[2 * k + 1] = s->g[2 * k] * im + s->g[2 * k + 1] * re;
        s->g[2 * k] = t;
    }
}

/* Bound of the error of every bin after the transform back: the mean over frequencies of each one's
 * error, plus that of the last transform. */
static double bin_error(const spectra *s, double releases)
{
    double error = 0.0, total = 0.0;
    for (size_t k = 0; k < s->n; k++) {
        double size = exp(s->size[k]), l = s->loss[k];
        error += l < 30.0 ? size * expm1(l) : exp(s->size[k] + l);
        error += 8.0 * UNIT * releases * size;
        total += size;
    }
    error += (PLMM__FFT_ERROR * log2((double)s->n) + 4.0) * UNIT * total;
    return 1.01 * error / (double)s->n;
}

static plmm_status spectra_new(spectra *s, size_t n, plmm_error *err)
{
    *s = (spectra){.n = n};
    double *all = plmm_alloc(n, 7 * sizeof(double));
    if (all == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory for %zu intervals of loss", n);
    }
    s->x = all;
    s->g = all + 2 * n;
    s->loss = all + 4 * n;
    s->size = all + 5 * n;
    s->twiddles = all + 6 * n;
    plmm__fft_twiddles(s->twiddles, n);
    for (size_t k = 0; k < n; k++) {
        s->g[2 * k] = 1.0;
    }
    return PLMM_OK;
}

static plmm_status check_parts(const plmm_pld *const *parts, const uint32_t *counts, size_t n,
                               double cut, plmm_error *err)
{
    double releases = 0.0;
    for (size_t i = 0; i < n; i++) {
        releases += counts[i];
        if (fabs(parts[i]->interval - parts[0]->interval) > 0.0) {
            return plmm_fail(err, PLMM_ERR_RANGE, "intervals %g and %g do not compose",
                             parts[i]->interval, parts[0]->interval);
        }
    }
    if (releases < 1.0 || releases > RELEASES_MAX || !(cut > 0.0 && cut < 1.0)) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot compose %g releases with cut %g: 1..%d, above 0", releases, cut,
                         (int)RELEASES_MAX);
    }
    return PLMM_OK;
}

plmm_status plmm_pld_compose(plmm_pld **out, const plmm_pld *const *parts, const uint32_t *counts,
                             size_t n, double cut, plmm_error *err)
{
    window w = {0};
    spectra s;
    PLMM_TRY(check_parts(parts, counts, n, cut, err));
    PLMM_TRY(find_window(&w, parts, counts, n, cut, err));
    PLMM_TRY(spectra_new(&s, w.bins, err));
    plmm_pld *d = plmm__pld_make(parts[0]->interval, w.lo, w.bins);
    if (d == NULL) {
        plmm_free(s.x);
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory for %zu intervals of loss", w.bins);
    }
    int64_t base = 0;
    double releases = 0.0;
    for (size_t i = 0; i < n; i++) {
        if (counts[i] != 0) {
            multiply_part(&s, parts[i], counts[i]);
        }
        base += (int64_t)counts[i] * parts[i]->lo;
        releases += counts[i];
    }
    double unsure = bin_error(&s, releases);
    plmm__fft(s.g, s.n, s.twiddles); /* forward again: the same as back, in reverse order */
    for (size_t k = 0; k < w.bins; k++) {
        size_t at = (size_t)(w.lo + (int64_t)k - base) & (w.bins - 1);
        double v = s.g[2 * ((w.bins - at) & (w.bins - 1))] / (double)w.bins;
        d->mass[k] = fmax(v, 0.0) + unsure;
    }
    d->infinite = w.infinite;
    d->skew = w.skew;
    plmm_free(s.x);
    *out = d;
    return PLMM_OK;
}
