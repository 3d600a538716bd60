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
 * TREE. With noise_tree = T, central noise is correlated over rounds (DP-FTRL by tree aggregation:
 * Kairouz, McMahan, Song, Thakkar, Thakurta, Xu 2021, arXiv 2103.00039). Blocks of 2^l rounds that
 * begin at a multiple of 2^l are nodes; each has integer noise W of noise_units of its own, all from
 * one secret seed. N(t), the noise of the sum of the first t rounds, is that of the nodes that t is
 * made of by its binary digits: at most log2(T) + 1 instead of t. Round t (the leaf, from 0) gets
 *   N(t + 1) - N(t) = W(the node that round t completes last) - W(those that it is made of),
 * so noise is added and, rounds later, taken out again: exactly, since all are integers, as long as
 * sums are added to the model in one lattice (same clip, bits, length and names), and not rotated.
 * After T rounds the next tree begins with a new seed, and the noise of the last one stays in (an
 * honest restart: nothing is completed that no round paid for).
 * A device is in at most one round of a tree: whoever runs the rounds keeps it out of the others. It
 * then is in at most plmm_tree_depth(T) nodes: that many releases of one node are the cost, of the
 * whole tree, charged once. A leaf's noise serves one sum that is published: an attempt that
 * published nothing leaves it to the next.
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

/* Its cost; the same for every attempt, each of which counts. With a tree: of the whole tree, for a
 * device that is in one of its rounds. */
void plmm_round_cost(plmm_account *out, const plmm_round_params *p);

/* Central noise: x[0..plmm_round_lanes) += noise_units, or what the leaf of a tree gets, mod 2^b.
 * seed: SECRET, for this round alone, or for all rounds of the tree; the same seed gives the same
 * noise again. Nothing in another mode. */
PLMM_NODISCARD plmm_status plmm_round_add_central(uint32_t *x, const plmm_round_params *p,
                                                  const plmm_seed *seed, plmm_error *err);

/* What the step along the mean of `devices` is multiplied with: 1; with a tree devices / cohort, so
 * that every sum is divided by one number and noise that is taken out again cancels. */
double plmm_round_step_scale(const plmm_round_params *p, uint32_t devices);

/* Sets noise_units to the least with which `times` rounds (with a tree: trees) of *p fit *budget
 * from nothing spent, and ring_bits to what they need. All other fields, noise and noise_mode among them, are set.
 * PLMM_ERR_RANGE if no noise is enough. */
PLMM_NODISCARD plmm_status plmm_round_calibrate(plmm_round_params *p, uint64_t times,
                                                const plmm_budget *budget, plmm_error *err);

/* Adaptive clipping (Andrew et al. 2021): the next clip from the clip's lane of an unmasked sum of
 * `devices` vectors: clip * exp(-rate * (part within the clip - quantile)). The part is estimated
 * from noise, so it is first brought into 0..1. Asserts clip_bit. */
double plmm_round_next_clip(const plmm_round_params *p, const uint32_t *x, uint32_t devices,
                            double quantile, double rate);

#endif
