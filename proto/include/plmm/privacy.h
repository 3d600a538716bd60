/* plmm/privacy.h -- differential privacy of a round: its noise, and what it costs. Pure.
 *
 * Everything follows from the parameters that devices agree on (plmm/round.h), so device and
 * aggregator compute the same. Modes:
 *   distributed  every device adds a share before it masks. The sum has the variance noise_units
 *                from the honest survivors alone: at least n_min vectors are in a sum, and at most
 *                plmm_round_corrupt of them are corrupt. Holds against the aggregator.
 *   central      the aggregator adds noise_units to the unmasked sum before anything else reads it.
 *                Holds against those who see the versions; promises nothing against itself.
 *   local        every device adds all of noise_units. Holds even if everybody else colludes.
 *
 * Not in delta: that a noisy sum may wrap mod 2^b. The wrapped sum is a function of the sum over
 * the integers, so it says no more; it costs accuracy (plmm_encoding_wrap), not privacy.
 */
#ifndef PLMM_PRIVACY_H
#define PLMM_PRIVACY_H

#include "plmm/account.h"
#include "plmm/round.h"

/* noise_mode, on the wire: never renumber. */
typedef enum plmm_noise_mode {
    PLMM_NOISE_DISTRIBUTED = 1,
    PLMM_NOISE_CENTRAL = 2,
    PLMM_NOISE_LOCAL = 3
} plmm_noise_mode;

/* "distributed", "central", "local", or NULL for another number. */
const char *plmm_noise_mode_name(uint32_t mode);

/* Corrupt devices whose noise is not counted: max(1, ceil(gamma * 3/2 cohort)), since corrupt is a
 * part gamma of the ELIGIBLE; a device leaves a round with noise if more than this may be corrupt. */
uint32_t plmm_round_corrupt(const plmm_round_params *p);

/* Noise that one device adds; kind PLMM_NOISE_NONE if it adds none. */
plmm_xnoise plmm_round_xnoise(const plmm_round_params *p);

/* True if noise has to be taken out of a sum of so many survivors (>= n_min), *level = the last
 * component that stays in: each survivor's REVEAL then ends with its seed of component *level + 1. */
bool plmm_round_surplus(const plmm_round_params *p, uint32_t survivors, uint32_t *level);

/* PLMM_ERR_RANGE with a sentence if the fields of noise do not go together, or too few honest
 * survivors are left to make it. Part of plmm_round_params_check. */
PLMM_NODISCARD plmm_status plmm_round_noise_check(const plmm_round_params *p, plmm_error *err);

/* The release that a sum of this round is. Without noise: one that costs INFINITY. *p is checked. */
void plmm_round_release(plmm_release *out, const plmm_round_params *p);

/* Its cost; the same for every attempt, each of which counts. */
void plmm_round_cost(plmm_account *out, const plmm_round_params *p);

/* Central noise: x[0..plmm_round_lanes) += noise_units, mod 2^b.
 * seed: SECRET, for this round alone; the same seed gives the same noise again. Nothing in another
 * mode. */
PLMM_NODISCARD plmm_status plmm_round_add_central(uint32_t *x, const plmm_round_params *p,
                                                  const plmm_seed *seed, plmm_error *err);

/* Sets noise_units to the least with which `times` rounds of *p fit *budget from nothing spent, and
 * ring_bits to what they need. All other fields, noise and noise_mode among them, are set.
 * PLMM_ERR_RANGE if no noise is enough. */
PLMM_NODISCARD plmm_status plmm_round_calibrate(plmm_round_params *p, uint64_t times,
                                                const plmm_budget *budget, plmm_error *err);

/* Adaptive clipping (Andrew et al. 2021): the next clip from the clip's lane of an unmasked sum of
 * `devices` vectors: clip * exp(-rate * (part within the clip - quantile)). The part is estimated
 * from noise, so it is first brought into 0..1. Asserts clip_bit. */
double plmm_round_next_clip(const plmm_round_params *p, const uint32_t *x, uint32_t devices,
                            double quantile, double rate);

#endif
