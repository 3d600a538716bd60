/* fft_internal.h -- complex transforms for the convolution of loss distributions. */
#ifndef PLMM_FFT_INTERNAL_H
#define PLMM_FFT_INTERNAL_H

#include <stddef.h>

/* twiddles: n / 2 pairs (cos, -sin)(2 pi k / n), each computed by itself. n a power of two >= 2. */
void plmm__fft_twiddles(double *twiddles, size_t n);

/* In place, x[2 k], x[2 k + 1] = real and imaginary part. Forward only: sum_j x_j e^(-2 pi i j k / n).
 * The error of each output is at most PLMM__FFT_ERROR log2(n) 2^-53 times the sum of the inputs'
 * magnitudes: a butterfly multiplies (sqrt 5 units), by a twiddle wrong by 1 unit, and adds (1 unit). */
#define PLMM__FFT_ERROR 6.0
void plmm__fft(double *x, size_t n, const double *twiddles);

#endif
