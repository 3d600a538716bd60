/* plmm/pld.h -- privacy loss distributions: the tight accountant, for releases whose privacy loss
 * is known exactly.
 *
 * The loss ln P/Q of a dominating pair is put on a grid of multiples of `interval`. An interval's
 * mass goes to its two ends such that both its P- and its Q-mass are kept ("connect the dots",
 * Doroshenko, Ghazi, Kamath, Kumar, Manurangsi 2022, arXiv 2207.04380), so the discrete pair is a
 * worse one than the true pair; composition is convolution, by FFT. Every claim is pessimistic: tails
 * that are cut count as infinite loss, and a bound of the transforms' rounding is added to every bin:
 * of the order of 1e-13 in delta for each release, so 10,000 releases are not tight below 1e-7.
 *
 * What it is valid for: the Gaussian in any dimension (only the l2 length matters), Poisson-sampled
 * or not; and integer noise on ONE integer (Skellam, discrete Gaussian), where the pair is the noise
 * and the noise moved. It is NOT valid for Skellam or the discrete Gaussian in many dimensions, whose
 * worst direction is not known: those are accounted by Renyi divergence (plmm/account.h).
 *
 * Objects come from plmm_alloc; a plmm_pld is immutable and may be read by many threads.
 */
#ifndef PLMM_PLD_H
#define PLMM_PLD_H

#include "plmm/status.h"

typedef struct plmm_pld plmm_pld;

/* Bins of one distribution. */
enum { PLMM_PLD_BINS_MAX = 1 << 22 };

/* Neighbours differ in one device that is there or not. A sampled mechanism loses differently in the
 * two directions: account for both and take the larger. */
typedef enum plmm_pld_way { PLMM_PLD_REMOVE = 0, PLMM_PLD_ADD = 1 } plmm_pld_way;

/* Gaussian of noise multiplier z > 0, each device in it with probability q, in (0, 1].
 * PLMM_ERR_RANGE if a parameter is out of range or the grid is too fine, PLMM_ERR_NOMEM. */
PLMM_NODISCARD plmm_status plmm_pld_new_gaussian(plmm_pld **out, double z, double q,
                                                 plmm_pld_way way, double interval,
                                                 plmm_error *err);

/* Noise on one integer, moved by `shift` >= 1: pmf[i] is P(X = i - (n - 1) / 2), n odd, symmetric
 * (its lower half is read). What pmf lacks to 1 is infinite loss. */
PLMM_NODISCARD plmm_status plmm_pld_new_integer(plmm_pld **out, const double *pmf, size_t n,
                                                uint32_t shift, double interval, plmm_error *err);

/* counts[i] times parts[i], all together; equal intervals. At most 2^20 releases. A mass of up to
 * `cut` (1e-15 is a good value; > 0) is moved to infinity. */
PLMM_NODISCARD plmm_status plmm_pld_compose(plmm_pld **out, const plmm_pld *const *parts,
                                            const uint32_t *counts, size_t n, double cut,
                                            plmm_error *err);
void plmm_pld_free(plmm_pld *p); /* NULL is fine */

/* delta at epsilon >= 0; smallest epsilon >= 0 at delta in (0, 1), INFINITY if none. */
double plmm_pld_delta(const plmm_pld *p, double epsilon);
double plmm_pld_epsilon(const plmm_pld *p, double delta);

/* A grid on which `times` releases of noise multiplier z and rate q are off by about 1e-4 of
 * epsilon. */
double plmm_pld_interval(double z, double q, uint32_t times);

/* Both ways: *out is the larger epsilon of `times` sampled Gaussians at delta, on the finest grid from
 * plmm_pld_interval on that fits. */
PLMM_NODISCARD plmm_status plmm_pld_gaussian_epsilon(double *out, double z, double q,
                                                     uint32_t times, double delta, plmm_error *err);

#endif
