/* fleet_epoch.c -- one-shot epochs: a roster that was sealed once serves the following rounds too.
 * The aggregator keeps what its round left once that has its sum, a device when the round ends for
 * it; both survive crashes, as the journals do. An epoch ends after secagg.epoch_rounds rounds, when
 * too few of its devices are ready, and with any round that gives no sum. */
#include "fleet.h"

#include "plmm/alloc.h"

#include <math.h>

static bool has_epochs(const fleet *f)
{
    return f->cfg->secagg.protocol + 1 == PLMM_PROTOCOL_ONESHOT && f->cfg->secagg.channels > 0 &&
           f->cfg->secagg.epoch_rounds > 1 &&
           f->cfg->privacy.tree == 0; /* with a tree a device is in one round of it */
}

uint32_t epoch_least(const fleet *f, const plmm_round_params *p, uint32_t n)
{
    uint32_t least = (uint32_t)ceil((1 - f->cfg->secagg.delta) * n);
    return least < p->n_min ? p->n_min : least;
}

/* Calls who is on the roster of g and ready. */
static uint32_t call_roster(fleet *f, expert *e, const group *g, const plmm_agg_epoch *epoch)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < epoch->n; i++) {
        uint32_t d = (uint32_t)(plmm_agg_epoch_device(g->epoch.p, i) - 1);
        client *c = fleet_client(f, e->index, d);
        c->group = g->index;
        c->called = device_ready(f, e, d);
        n += c->called;
    }
    return n;
}

static bool serves(fleet *f, expert *e, group *g, uint32_t *called, uint32_t *roster)
{
    plmm_agg_epoch epoch;
    const plmm_round_params *p = &g->config.params;
    if (g->epoch.len == 0 || g->epoch_over ||
        plmm_agg_epoch_read(&epoch, g->epoch.p, g->epoch.len, NULL) != PLMM_OK ||
        p->round - epoch.round >= f->cfg->secagg.epoch_rounds || epoch.n > p->cohort) {
        return false;
    }
    *roster = epoch.n;
    g->epoch_age = (uint32_t)(p->round - epoch.round);
    *called = call_roster(f, e, g, &epoch);
    return *called >= epoch_least(f, p, epoch.n);
}

static void call_nobody(fleet *f, const expert *e)
{
    for (uint32_t d = 0; d < f->data.n_devices; d++) {
        client *c = fleet_client(f, e->index, d);
        c->entered = false;
        c->called = false;
    }
}

bool epoch_goes_on(fleet *f, expert *e, uint32_t *called, uint32_t *roster)
{
    bool all = has_epochs(f);
    call_nobody(f, e);
    for (uint32_t i = 0; i < f->cfg->secagg.groups && all; i++) {
        all = serves(f, e, &e->groups[i], &called[i], &roster[i]);
    }
    if (all) {
        return true;
    }
    call_nobody(f, e);
    for (uint32_t i = 0; i < f->cfg->secagg.groups; i++) {
        bytes_free(&e->groups[i].epoch); /* a link draws all groups of a round */
        e->groups[i].epoch_over = false;
        e->groups[i].epoch_age = 0;
        called[i] = roster[i] = 0;
    }
    return false;
}

plmm_status epoch_keep(fleet *f, group *g, plmm_error *err)
{
    if (!g->record.completed) {
        g->epoch_over = true; /* the machine has it still, for late devices */
        return PLMM_OK;
    }
    size_t len = has_epochs(f) ? plmm_agg_round_epoch(g->m, NULL) : 0;
    if (len == 0) {
        return PLMM_OK; /* it goes on with one */
    }
    uint8_t *p = plmm_alloc(len, 1);
    if (p == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot keep an epoch of %zu bytes: out of memory",
                         len);
    }
    g->epoch = (bytes){p, plmm_agg_round_epoch(g->m, p)};
    return PLMM_OK;
}

plmm_status epoch_left(client *c, plmm_error *err)
{
    size_t len = 0;
    const uint8_t *p = plmm_client_round_epoch(c->m, &len);
    return p == NULL ? PLMM_OK : bytes_copy(&c->epoch, p, len, err);
}
