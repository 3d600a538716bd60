/* Differential privacy of a node's rounds: their noise, and the account with its budget, which is kept
 * in the store's settings. */
#include "node.h"

#include "plmm/alloc.h"
#include "plmm/log.h"
#include "plmm/privacy.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { QUANT_BITS_LEAST = 4 };

plmm_status node_account(const node *n, plmm_account *a, plmm_error *err)
{
    char *text = NULL;
    uint8_t bytes[PLMM_ACCOUNT_BYTES];
    plmm_account_init(a);
    PLMM_TRY(plmm_node_get(n->store, "privacy.account", &text, err));
    if (text == NULL) {
        return PLMM_OK;
    }
    plmm_status rc = plmm_hex_read(bytes, sizeof bytes, text, "the privacy account", err);
    plmm_free(text);
    return rc == PLMM_OK ? plmm_account_decode(a, bytes, sizeof bytes, err) : rc;
}

static plmm_budget budget_of(const node_config *c)
{
    return (plmm_budget){.epsilon = c->privacy.epsilon > 0 ? c->privacy.epsilon : (double)INFINITY,
                         .delta = c->privacy.delta,
                         .adversary = c->privacy.adversary};
}

/* Noise of the configured multiplier, or what makes so many rounds spend the budget. */
static plmm_status calibrate(const node_config *c, plmm_round_params *p, plmm_error *err)
{
    plmm_budget b = budget_of(c);
    if (c->privacy.multiplier > 0) {
        plmm_encoding e = plmm_round_encoding(p);
        p->noise_units = plmm_encoding_noise_units(&e, c->privacy.multiplier);
        e = plmm_round_encoding(p);
        p->ring_bits = plmm_encoding_ring_bits(&e);
        return PLMM_OK;
    }
    plmm_status rc = plmm_round_calibrate(p, c->privacy.rounds, &b, err);
    while (rc == PLMM_ERR_RANGE && p->quant_bits > QUANT_BITS_LEAST) {
        p->quant_bits--; /* a coarser lattice: noise that a table can draw */
        rc = plmm_round_calibrate(p, c->privacy.rounds, &b, err);
    }
    return rc;
}

plmm_status node_privacy_prepare(const node *n, plmm_round_params *p, plmm_error *err)
{
    const node_config *c = &n->config;
    if (c->privacy.noise == PLMM_NOISE_NONE) {
        return PLMM_OK;
    }
    plmm_account spent, cost;
    plmm_budget b = budget_of(c);
    uint32_t room = c->cohort - c->n_min;
    p->noise = c->privacy.noise;
    p->noise_mode = c->privacy.mode + 1;
    p->noise_levels = p->noise_mode == PLMM_NOISE_DISTRIBUTED && p->noise == PLMM_NOISE_SKELLAM
                          ? c->privacy.levels
                          : 0;
    p->noise_levels = p->noise_levels < room ? p->noise_levels : room;
    p->weight_max = 1;
    plmm_encoding e = plmm_round_encoding(p);
    uint32_t bits = plmm_encoding_quant_bits(&e, c->privacy.overhead);
    p->quant_bits = p->quant_bits < bits ? p->quant_bits : bits;
    PLMM_TRY(calibrate(c, p, err));
    PLMM_TRY(node_account(n, &spent, err));
    plmm_round_cost(&cost, p);
    return plmm_account_fits(&spent, &cost, 1, &b, err);
}

plmm_status node_privacy_released(const node *n, const plmm_round_params *p, plmm_error *err)
{
    const node_config *c = &n->config;
    if (p->noise == PLMM_NOISE_NONE) {
        return PLMM_OK;
    }
    plmm_account spent, cost;
    uint8_t bytes[PLMM_ACCOUNT_BYTES];
    char text[2 * PLMM_ACCOUNT_BYTES + 1], name[48], sentence[512];
    char *last = NULL;
    (void)snprintf(name, sizeof name, "%llu.%u", (unsigned long long)p->round, p->attempt);
    PLMM_TRY(plmm_node_get(n->store, "privacy.last", &last, err));
    bool counted = last != NULL && strcmp(last, name) == 0; /* before a crash */
    plmm_free(last);
    if (counted) {
        return PLMM_OK;
    }
    PLMM_TRY(node_account(n, &spent, err));
    plmm_round_cost(&cost, p);
    plmm_account_add(&spent, &cost, 1);
    plmm_account_encode(bytes, &spent);
    plmm_hex_write(text, bytes, sizeof bytes);
    PLMM_TRY(plmm_node_set(n->store, "privacy.account", text, err));
    PLMM_TRY(plmm_node_set(n->store, "privacy.last", name, err));
    plmm_log(PLMM_LOG_INFO, "privacy.spent", "round=%llu attempt=%u account=\"%s\"",
             (unsigned long long)p->round, p->attempt,
             plmm_account_sentence(sentence, sizeof sentence, &spent,
                                   (plmm_adversary)c->privacy.adversary, c->privacy.delta, NULL));
    return PLMM_OK;
}

plmm_status node_privacy_check(const node_config *c, plmm_error *err)
{
    if (c->privacy.noise == PLMM_NOISE_NONE) {
        return PLMM_OK;
    }
    if (c->privacy.epsilon <= 0 && c->privacy.multiplier <= 0) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "privacy.epsilon and privacy.multiplier are both 0: one of them says how "
                         "much noise there is");
    }
    if (c->privacy.mode + 1 == PLMM_NOISE_CENTRAL &&
        c->privacy.adversary == PLMM_ADVERSARY_SERVER) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "privacy.mode is central: what the aggregator adds promises nothing "
                         "against itself; set privacy.adversary to models");
    }
    return PLMM_OK;
}
