/* plmm/rng.h -- the seeded generator of simulations, model initialisation and sampling:
 * xoshiro256** (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2018),
 * seeded by SplitMix64.
 *
 * NOT for keys, masks or noise: those come from the system through crypto/. The struct is plain,
 * may be copied, and belongs to one thread at a time; equal states give equal streams on every
 * machine.
 */
#ifndef PLMM_RNG_H
#define PLMM_RNG_H

#include <stddef.h>
#include <stdint.h>

typedef struct plmm_rng {
    uint64_t s[4];
} plmm_rng;

/* Start of the stream named by (seed, stream): different pairs give unrelated streams, so that a
 * device, a round or a thread can have its own and no schedule can change what it draws. */
void plmm_rng_init(plmm_rng *r, uint64_t seed, uint64_t stream);

/* 64 uniform bits. */
uint64_t plmm_rng_u64(plmm_rng *r);

/* Uniform in 0..n-1, without modulo bias. n > 0. */
uint64_t plmm_rng_below(plmm_rng *r, uint64_t n);

/* Uniform in [0, 1) with 53 (double) or 24 (float) random bits. */
double plmm_rng_double(plmm_rng *r);
float plmm_rng_float(plmm_rng *r);

/* Standard normal (Box-Muller; two draws a value). */
double plmm_rng_normal(plmm_rng *r);

/* Fisher-Yates over n elements of index type uint32_t. */
void plmm_rng_shuffle(plmm_rng *r, uint32_t *x, size_t n);

#endif
