/* One-shot epochs: a roster that was sealed once serves the rounds that follow. */
#include "serve_internal.h"

#include "plmm/alloc.h"
#include "plmm/log.h"

#include <math.h>

plmm_status plmm__epoch_again(plmm__serve *s, plmm_agg_config *config, plmm_error *err)
{
    uint8_t *epoch = NULL;
    plmm_status rc = plmm_node_epoch(s->c->store, &epoch, &config->epoch_len, err);
    config->epoch = epoch;
    return rc == PLMM_ERR_NOTFOUND ? PLMM_OK : rc;
}

/* Is every device of the roster enrolled still? Both increase. */
static plmm_status all_enrolled(plmm__serve *s, const plmm_agg_config *config, uint32_t n,
                                bool *all, plmm_error *err)
{
    uint64_t *ids = NULL;
    uint32_t ids_n = 0, at = 0;
    PLMM_TRY(plmm_node_enrolled(s->c->store, &ids, &ids_n, err));
    *all = true;
    for (uint32_t i = 0; i < n && *all; i++) {
        uint64_t id = plmm_agg_epoch_device(config->epoch, i);
        while (at < ids_n && ids[at] < id) {
            at++;
        }
        *all = at < ids_n && ids[at] == id;
    }
    plmm_free(ids);
    return PLMM_OK;
}

/* *why = the sentence, if the round cannot go on; else NULL. */
static plmm_status judge(plmm__serve *s, const plmm_agg_config *config, plmm_agg_epoch *e,
                         const char **why, plmm_error *err)
{
    const plmm_round_params *p = &config->params;
    bool all = true;
    *why = NULL;
    if (plmm_agg_epoch_read(e, config->epoch, config->epoch_len, NULL) != PLMM_OK) {
        *why = "it is damaged";
    } else if (p->protocol != PLMM_PROTOCOL_ONESHOT || p->noise_tree != 0 || p->groups != 1) {
        *why = "rounds are of another kind now";
    } else if (p->round <= e->round || p->round - e->round >= s->c->epoch_rounds) {
        *why = "it had its rounds";
    } else if (e->n > p->cohort || e->n < p->n_min) {
        *why = "the cohort is another now";
    } else {
        PLMM_TRY(all_enrolled(s, config, e->n, &all, err));
        *why = all ? NULL : "a device of it was revoked";
    }
    return PLMM_OK;
}

plmm_status plmm__epoch_begin(plmm__serve *s, plmm_agg_config *config, plmm_error *err)
{
    plmm_agg_epoch e;
    const char *why = NULL;
    PLMM_TRY(plmm__epoch_again(s, config, err));
    if (config->epoch == NULL) {
        return PLMM_OK;
    }
    plmm_status rc = judge(s, config, &e, &why, err);
    if (rc == PLMM_OK && why == NULL) {
        const plmm_round_params *p = &config->params;
        uint32_t least = (uint32_t)ceil((1 - p->delta_ppm / 1e6) * e.n);
        config->roster_min = least < p->n_min ? p->n_min : least;
        return PLMM_OK;
    }
    plmm_free((void *)(uintptr_t)config->epoch);
    config->epoch = NULL;
    config->epoch_len = 0;
    PLMM_TRY(rc);
    plmm_log(PLMM_LOG_INFO, "epoch.end", "why=\"%s\"", why);
    return plmm_node_epoch_drop(s->c->store, err);
}

plmm_status plmm__epoch_left(plmm__serve *s, const plmm_agg_round *m, uint8_t **epoch, size_t *len,
                             plmm_error *err)
{
    *epoch = NULL;
    *len = s->c->epoch_rounds > 1 && plmm_agg_round_params(m)->groups == 1
               ? plmm_agg_round_epoch(m, NULL)
               : 0;
    if (*len == 0) {
        return PLMM_OK;
    }
    *epoch = plmm_alloc(*len, 1);
    if (*epoch == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for an epoch of %zu octets", *len);
    }
    *len = plmm_agg_round_epoch(m, *epoch);
    return PLMM_OK;
}
