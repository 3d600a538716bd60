#include "plmm/policy.h"

#include "degree.h"

#include <math.h>
#include <string.h>

void plmm_policy_default(plmm_policy *p, const plmm_anchor *anchor)
{
    *p = (plmm_policy){
        .anchor = *anchor,
        .n_min = 10,
        .gamma_ppm = 100000,
        .sigma = 40,
        .eta = 20,
        .trust = PLMM_TRUST_SEMI_MALICIOUS,
        .survivors_ppm = 500000,
        .weight_max = 1u << 16,
        .clip_max = 100.0,
        .steps_max = 100000,
        .budget = {.epsilon = INFINITY, .delta = 1e-6, .adversary = PLMM_ADVERSARY_SERVER},
        .protocols = 1u << PLMM_PROTOCOL_SECAGG | 1u << PLMM_PROTOCOL_ONESHOT,
        .masks = 1u << PLMM_MASK_RING | 1u << PLMM_MASK_KAHE | 1u << PLMM_MASK_KAHE_LONG};
    for (uint32_t s = 1; s < 32; s++) {
        p->streams |= plmm_stream_name(s) != NULL ? 1u << s : 0;
    }
}

plmm_status plmm_policy_check(const plmm_policy *p, plmm_error *err)
{
    PLMM_TRY(plmm_expert_check(p->anchor.expert, err));
    if (p->n_min < 3 || p->n_min > PLMM_DEVICES_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "policy: n_min is %u, must be 3..%d", p->n_min,
                         PLMM_DEVICES_MAX);
    }
    if (p->gamma_ppm >= 500000 || p->survivors_ppm > 1000000) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "policy: gamma is %g, must be below 0.5; survivors is %g, must be 0..1",
                         p->gamma_ppm / 1e6, p->survivors_ppm / 1e6);
    }
    if (p->trust < PLMM_TRUST_CURIOUS || p->trust > PLMM_TRUST_SEMI_MALICIOUS ||
        !isfinite(p->clip_max) || p->clip_max <= 0.0) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "policy: trust is %u, must be 1 or 2; clip_max is %g, must be positive",
                         p->trust, p->clip_max);
    }
    plmm_error why = {0};
    if (plmm_budget_check(&p->budget, &why) != PLMM_OK || p->noise > 1) {
        return plmm_fail(err, PLMM_ERR_RANGE, "policy: %s; noise is %u, must be 0 or 1", why.msg,
                         p->noise);
    }
    if (p->vectors_n > PLMM_POLICY_FACTORS_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "policy: %u vectors, at most %d", p->vectors_n,
                         PLMM_POLICY_FACTORS_MAX);
    }
    return PLMM_OK;
}

static plmm_status judge_threshold(const plmm_policy *policy, const plmm_round_params *p,
                                   plmm_error *err)
{
    if (p->n_min < policy->n_min) {
        return plmm_fail(err, PLMM_ERR_POLICY,
                         "the round may sum only %u devices, this device wants at least %u",
                         p->n_min, policy->n_min);
    }
    if (p->gamma_ppm < policy->gamma_ppm) {
        return plmm_fail(err, PLMM_ERR_POLICY,
                         "the round expects %g of the devices to be corrupt, this device %g",
                         p->gamma_ppm / 1e6, policy->gamma_ppm / 1e6);
    }
    if (p->sigma < policy->sigma || p->eta < policy->eta) {
        return plmm_fail(err, PLMM_ERR_POLICY,
                         "the round has sigma %u and eta %u, this device wants %u and %u", p->sigma,
                         p->eta, policy->sigma, policy->eta);
    }
    if (p->trust < policy->trust) {
        return plmm_fail(err, PLMM_ERR_POLICY,
                         "the round protects against a curious aggregator only, this device wants "
                         "protection against a semi-malicious one");
    }
    return PLMM_OK;
}

static bool has(uint32_t set, uint32_t bit)
{
    return bit < 32 && (set >> bit & 1) != 0;
}

static plmm_status judge_ways(const plmm_policy *policy, const plmm_round_params *p,
                              plmm_error *err)
{
    if (!has(policy->protocols, p->protocol)) {
        return plmm_fail(err, PLMM_ERR_POLICY,
                         "the round is of protocol %u, which this device does not accept",
                         p->protocol);
    }
    if (!has(policy->masks, p->mask)) {
        return plmm_fail(err, PLMM_ERR_POLICY,
                         "the round hides vectors by masking %u, which this device does not accept",
                         p->mask);
    }
    if (!has(policy->streams, p->stream)) {
        return plmm_fail(err, PLMM_ERR_POLICY,
                         "the round masks with stream %u, which this device does not accept",
                         p->stream);
    }
    return PLMM_OK;
}

static plmm_status judge_vector(const plmm_policy *policy, const plmm_round_params *p,
                                plmm_error *err)
{
    const plmm_policy_vector *v = NULL;
    for (uint32_t i = 0; i < policy->vectors_n; i++) {
        if (policy->vectors[i].method == p->method && policy->vectors[i].factor == p->factor) {
            v = &policy->vectors[i];
        }
    }
    if (v == NULL) {
        return plmm_fail(err, PLMM_ERR_POLICY,
                         "the round asks for method %u and factor %u, which this device does not "
                         "take part in",
                         p->method, p->factor);
    }
    if (v->length != p->length) {
        return plmm_fail(err, PLMM_ERR_POLICY,
                         "the round asks for a vector of %u coordinates, this device's has %u",
                         p->length, v->length);
    }
    if (!plmm_equal(&v->names, &p->names, sizeof v->names)) {
        return plmm_fail(
            err, PLMM_ERR_POLICY,
            "the round asks for tensors with other names or shapes than this device's");
    }
    return PLMM_OK;
}

plmm_status plmm_policy_judge(const plmm_policy *policy, const plmm_round_params *p,
                              plmm_error *err)
{
    if (strcmp(policy->anchor.expert, p->expert) != 0) {
        return plmm_fail(err, PLMM_ERR_POLICY, "the round is of expert %s, this device follows %s",
                         p->expert, policy->anchor.expert);
    }
    PLMM_TRY(plmm_round_params_check(p, err));
    PLMM_TRY(judge_threshold(policy, p, err));
    PLMM_TRY(judge_ways(policy, p, err));
    if (policy->noise != 0 && p->noise == PLMM_NOISE_NONE) {
        return plmm_fail(err, PLMM_ERR_POLICY,
                         "the round adds no noise, this device wants differential privacy");
    }
    if (p->weight_max > policy->weight_max) {
        return plmm_fail(err, PLMM_ERR_POLICY,
                         "the round lets a device weigh up to %u, this device wants at most %u",
                         p->weight_max, policy->weight_max);
    }
    if (p->clip > policy->clip_max) {
        return plmm_fail(err, PLMM_ERR_POLICY,
                         "the round clips updates at %g, this device wants at most %g", p->clip,
                         policy->clip_max);
    }
    if (p->steps > policy->steps_max) {
        return plmm_fail(err, PLMM_ERR_POLICY,
                         "the round asks for %u steps, this device trains at most %u", p->steps,
                         policy->steps_max);
    }
    return judge_vector(policy, p, err);
}

plmm_status plmm_policy_judge_budget(const plmm_policy *policy, const plmm_account *spent,
                                     const plmm_round_params *p, plmm_error *err)
{
    if (policy->budget.epsilon == INFINITY) {
        return PLMM_OK;
    }
    plmm_account cost;
    plmm_error why = {0};
    plmm_round_cost(&cost, p);
    plmm_status rc = plmm_account_fits(spent, &cost, 1, &policy->budget, &why);
    return rc == PLMM_OK ? PLMM_OK
                         : plmm_fail(err, rc, "the round costs this device too much: %s", why.msg);
}

/* Are k and t what is computed for these devices? */
static plmm_status judge_graph(const plmm_graph_params *g, uint32_t eligible, uint32_t k,
                               uint32_t t, plmm_error *err)
{
    plmm_graph_degree d;
    if (plmm_degree_holds(g, k, t)) {
        return PLMM_OK;
    }
    if (!plmm_degree_find(&d, g)) {
        return plmm_fail(err, PLMM_ERR_POLICY,
                         "no neighbour graph protects the %u devices of the roster, of %u that "
                         "may take part, with the round's parameters",
                         g->n, eligible);
    }
    return plmm_fail(err, PLMM_ERR_POLICY,
                     "the aggregator announced %u neighbours and threshold %u for %u devices, "
                     "this device computes %u and %u",
                     k, t, g->n, d.k, d.t);
}

plmm_status plmm_policy_judge_noise(const plmm_round_params *p, uint32_t n, uint32_t eligible,
                                    plmm_error *err)
{
    plmm_graph_params g = plmm_round_graph(p, n, eligible);
    if (p->noise_mode == PLMM_NOISE_DISTRIBUTED && g.corrupt > plmm_round_corrupt(p)) {
        return plmm_fail(
            err, PLMM_ERR_POLICY,
            "%u of the %u devices that may take part may be corrupt, the round's noise "
            "is made for at most %u (cohort %u)",
            g.corrupt, eligible, plmm_round_corrupt(p), p->cohort);
    }
    return PLMM_OK;
}

plmm_status plmm_policy_judge_degree(const plmm_policy *policy, const plmm_round_params *p,
                                     uint32_t n, uint32_t eligible, uint32_t k, uint32_t t,
                                     plmm_refusal *refusal, plmm_error *err)
{
    *refusal = PLMM_REFUSAL_COHORT;
    if (n > p->cohort || n < policy->n_min || n < p->n_min) {
        return plmm_fail(err, PLMM_ERR_POLICY,
                         "the roster has %u devices, the round allows %u..%u and this device wants "
                         "at least %u",
                         n, p->n_min, p->cohort, policy->n_min);
    }
    if (n > eligible) {
        return plmm_fail(err, PLMM_ERR_POLICY,
                         "the roster has %u devices, of %u that may take part", n, eligible);
    }
    *refusal = PLMM_REFUSAL_DEGREE;
    plmm_graph_params g = plmm_round_graph(p, n, eligible);
    PLMM_TRY(judge_graph(&g, eligible, k, t, err));
    PLMM_TRY(plmm_policy_judge_noise(p, n, eligible, err));
    *refusal = PLMM_REFUSAL_NONE;
    return PLMM_OK;
}

uint32_t plmm_policy_survivors_min(const plmm_policy *policy, const plmm_round_params *p,
                                   uint32_t n)
{
    uint32_t part = (uint32_t)(((uint64_t)n * policy->survivors_ppm + 999999) / 1000000);
    uint32_t most = policy->n_min > p->n_min ? policy->n_min : p->n_min;
    return part > most ? part : most;
}
