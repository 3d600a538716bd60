/* plmm/rotate.h -- randomised Hadamard rotation: spreads a vector's energy over its coordinates, so
 * that few bits a coordinate hold all of them.
 *
 * With p the largest power such that 2^p <= d, R x is
 *   random signs, then a Hadamard transform, of the first 2^p coordinates, and, if 2^p < d,
 *   new random signs, then a Hadamard transform, of the last 2^p coordinates,
 * each transform divided by 2^(p/2). Every step is orthogonal, so R is, for every d >= 1: norms
 * and inner products stay, and nothing is padded. (Padding to the next power of two would send up
 * to twice the coordinates; measured, the largest coordinate of a rotated spike or of a heavy-
 * tailed vector is within 1.5 times that of a padded transform.) A vector of norm C becomes one
 * whose coordinates are below t C 2^(-p/2) with probability 1 - 2 exp(-t^2 / 2) each.
 *
 * The signs come from a public seed that everyone knows: the sum of rotated vectors is the rotated
 * sum. Additions are done in one order on every path, and nothing is contracted: results are equal
 * to the bit everywhere. x and its inverse differ by rounding, about 2^-23 of the norm.
 * Allocates nothing; thread-safe; time depends on d (and subnormal numbers) only.
 */
#ifndef PLMM_ROTATE_H
#define PLMM_ROTATE_H

#include "plmm/keys.h"

enum { PLMM_ROTATE_MAX_LOG2 = 26 };

/* x[0..d) = R x, in place. d in 1..2^PLMM_ROTATE_MAX_LOG2 is asserted (0: nothing). */
void plmm_rotate(float *x, size_t d, const plmm_hash *seed);

/* x[0..d) = R^-1 x, in place. */
void plmm_unrotate(float *x, size_t d, const plmm_hash *seed);

/* Both by the definition, a level at a time in plain C: the reference for tests. */
void plmm_rotate_ref(float *x, size_t d, const plmm_hash *seed);
void plmm_unrotate_ref(float *x, size_t d, const plmm_hash *seed);

#endif
