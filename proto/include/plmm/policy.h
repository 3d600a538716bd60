/* plmm/policy.h -- what a device insists on, whatever the aggregator says. Pure.
 *
 * The policy comes from the device's own file (and from what its model looks like), never from the
 * network. A round that protects less is refused with a sentence; one that protects more is
 * welcome.
 */
#ifndef PLMM_POLICY_H
#define PLMM_POLICY_H

#include "plmm/privacy.h"

enum { PLMM_POLICY_FACTORS_MAX = 4 };

/* A vector that this device is willing to send. */
typedef struct plmm_policy_vector {
    uint32_t method, factor;
    uint32_t length;
    plmm_hash names;
} plmm_policy_vector;

typedef struct plmm_policy {
    plmm_anchor anchor;
    uint32_t n_min;         /* refuse a round whose n_min is smaller; >= 3 */
    uint32_t gamma_ppm;     /* refuse a round that expects fewer corrupt devices */
    uint32_t sigma, eta;    /* refuse fewer bits */
    uint32_t trust;         /* refuse PLMM_TRUST_CURIOUS if this is semi-malicious */
    uint32_t survivors_ppm; /* refuse a sum over less than this part of the roster */
    uint32_t weight_max;    /* refuse a larger weight: it bounds this device's influence... */
    double clip_max;        /* ... and the size of what it gives */
    uint32_t steps_max;     /* refuse to train longer */
    uint32_t protocols;     /* bit p: protocol p is good */
    uint32_t masks;         /* bit m: masking m is good */
    uint32_t streams;       /* bit s: mask stream s is good */
    uint32_t noise;         /* 1: refuse a round without differential privacy */
    plmm_budget budget;     /* refuse what would spend more; epsilon INFINITY: no bound */
    uint32_t vectors_n;
    plmm_policy_vector vectors[PLMM_POLICY_FACTORS_MAX];
} plmm_policy;

/* Defaults: n_min 10, gamma 10 %, sigma 40, eta 20, semi-malicious, survivors at least half of the
 * roster, weight up to 2^16, clip up to 100, steps up to 100,000, every protocol, masking and
 * stream of this build; no vectors: the caller adds those of its model. No noise wanted; no bound of epsilon, delta 10^-6
 * against the aggregator. */
void plmm_policy_default(plmm_policy *p, const plmm_anchor *anchor);

/* PLMM_ERR_RANGE, naming the field, if the policy itself makes no sense. */
PLMM_NODISCARD plmm_status plmm_policy_check(const plmm_policy *p, plmm_error *err);

/* Judges the parameters of a round. PLMM_ERR_POLICY with a sentence naming the field, its value and
 * what the policy wants; PLMM_ERR_RANGE if the parameters are not even possible. */
PLMM_NODISCARD plmm_status plmm_policy_judge(const plmm_policy *policy, const plmm_round_params *p,
                                             plmm_error *err);

/* Judges what a sum of the round would cost this device beside what it *spent already.
 * PLMM_ERR_POLICY with a sentence if that is beyond the policy's budget. *p passed
 * plmm_policy_judge. */
PLMM_NODISCARD plmm_status plmm_policy_judge_budget(const plmm_policy *policy,
                                                    const plmm_account *spent,
                                                    const plmm_round_params *p, plmm_error *err);

/* Judges a roster of n out of `eligible` and the degree the aggregator announced: both are computed
 * again. PLMM_ERR_POLICY with a sentence if n is above the cohort or the eligible, below n_min, or k
 * or t differ; *refusal says which. */
PLMM_NODISCARD plmm_status plmm_policy_judge_degree(const plmm_policy *policy,
                                                    const plmm_round_params *p, uint32_t n,
                                                    uint32_t eligible, uint32_t k, uint32_t t,
                                                    plmm_refusal *refusal, plmm_error *err);

/* Judges whether distributed noise is made for as many corrupt devices as there may be among
 * `eligible`: the honest ones must add enough without them. PLMM_ERR_POLICY with a sentence. */
PLMM_NODISCARD plmm_status plmm_policy_judge_noise(const plmm_round_params *p, uint32_t n,
                                                   uint32_t eligible, plmm_error *err);

/* Fewest survivors of a roster of n that this device answers for. */
uint32_t plmm_policy_survivors_min(const plmm_policy *policy, const plmm_round_params *p,
                                   uint32_t n);

#endif
