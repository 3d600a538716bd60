#include "fft_internal.h"

#include <math.h>

void plmm__fft_twiddles(double *twiddles, size_t n)
{
    for (size_t k = 0; k < n / 2; k++) {
        double a = 6.28318530717958647693 * (double)k / (double)n;
        twiddles[2 * k] = cos(a);
        twiddles[2 * k + 1] = -sin(a);
    }
}

static void reorder(double *x, size_t n)
{
    for (size_t i = 1, j = 0; i < n; i++) {
        size_t bit = n >> 1;
        for (; (j & bit) != 0; bit >>= 1) {
            j ^= bit;
        }
        j ^= bit;
        if (i < j) {
            double re = x[2 * i], im = x[2 * i + 1];
            x[2 * i] = x[2 * j];
            x[2 * i + 1] = x[2 * j + 1];
            x[2 * j] = re;
            x[2 * j + 1] = im;
        }
    }
}

void plmm__fft(double *x, size_t n, const double *twiddles)
{
    reorder(x, n);
    for (size_t half = 1; half < n; half *= 2) {
        size_t step = n / (2 * half);
        for (size_t at = 0; at < n; at += 2 * half) {
            for (size_t k = 0; k < half; k++) {
                double *a = x + 2 * (at + k), *b = a + 2 * half;
                double c = twiddles[2 * k * step], s = twiddles[2 * k * step + 1];
                double re = b[0] * c - b[1] * s, im = b[0] * s + b[1] * c;
                b[0] = a[0] - re;
                b[1] = a[1] - im;
                a[0] += re;
                a[1] += im;
            }
        }
    }
}
