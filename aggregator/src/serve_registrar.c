/* What the registrar is asked, and what its answers lead to. */
#include "serve_internal.h"

#include "plmm/address.h"
#include "plmm/alloc.h"
#include "plmm/clock.h"
#include "plmm/log.h"

#include <stdio.h>
#include <string.h>

enum { AWAY_MS = 1000, ASK_AGAIN_MS = 1000 };

plmm_status plmm__registrar_start(plmm__serve *s, plmm_error *err)
{
    char url[PLMM_ADDRESS_BYTES];
    PLMM_TRY(plmm_address_loopback(s->c->registrar, "cannot ask the registrar at", url, err));
    plmm__sealer_config c = {.url = url,
                             .expert = s->c->round.params.expert,
                             .key = &s->c->round.key,
                             .registrar = s->c->round.registrar,
                             .hub = s->hub};
    return plmm__sealer_start(&s->sealer, &c, err);
}

static void ask_devices(plmm__serve *s)
{
    uint64_t serial = 0;
    plmm_error err = {0};
    plmm_status rc = plmm_node_device_serial(s->c->store, &serial, &err);
    if (rc != PLMM_OK) {
        plmm__serve_fail(s, rc, &err);
        return;
    }
    s->registry.asked_ms = plmm_clock_ms();
    plmm__sealer_devices(s->sealer, serial, s->c->round.phase_ms);
}

bool plmm__registrar_sync(plmm__serve *s, bool begin)
{
    if (plmm__sealer_busy(s->sealer)) {
        return false;
    }
    if (!begin && plmm_clock_ms() - s->registry.asked_ms < ASK_AGAIN_MS) {
        return false;
    }
    s->registry.begin = begin;
    ask_devices(s);
    return true;
}

void plmm__registrar_stop(plmm__serve *s)
{
    plmm__sealer_stop(s->sealer);
    plmm_free(s->registry.request);
}

/* Sends the request for a seal, once the sealer has nothing else to do. */
static void ask_seal(plmm__serve *s)
{
    plmm__registry *g = &s->registry;
    if (plmm__sealer_busy(s->sealer)) {
        plmm__sealer_cancel(s->sealer); /* what it does now can wait */
        return;
    }
    plmm__sealer_seal(s->sealer, g->request, g->request_len, s->c->round.phase_ms);
    g->request = NULL; /* the sealer's */
}

void plmm__registrar_seal(plmm__serve *s, const plmm_agg_action *a)
{
    plmm__registry *g = &s->registry;
    plmm_free(g->request);
    g->request = plmm_alloc(a->len, 1);
    if (g->request == NULL) {
        plmm_error err;
        plmm_status rc =
            plmm_fail(&err, PLMM_ERR_NOMEM, "out of memory for a roster of %zu bytes", a->len);
        plmm__serve_fail(s, rc, &err);
        return;
    }
    memcpy(g->request, a->bytes, a->len);
    g->request_len = a->len;
    g->request_round = s->machines[s->cur].round;
    g->request_attempt = s->machines[s->cur].attempt;
    ask_seal(s);
}

/* In one transaction: what changed among the devices. */
static plmm_status take_changes(plmm__serve *s, const plmm_registry_answer *a, plmm_error *err)
{
    int64_t now = plmm_clock_wall_ms();
    PLMM_TRY(plmm_node_begin(s->c->store, err));
    plmm_status rc = PLMM_OK;
    for (uint32_t i = 0; i < a->n && rc == PLMM_OK; i++) {
        rc = plmm_node_device_take(s->c->store, &a->v[i], now, err);
    }
    return plmm_node_end(s->c->store, rc, err);
}

/* True when there was no more to learn. */
static bool devices(plmm__serve *s, const plmm_registry_answer *a)
{
    plmm_error err = {0};
    plmm_status rc = a->n > 0 ? take_changes(s, a, &err) : PLMM_OK;
    if (rc != PLMM_OK) {
        plmm__serve_fail(s, rc, &err);
        return true;
    }
    s->registry.round = a->round;
    s->registry.link = a->link;
    s->registry.population = a->population;
    return a->n < PLMM_REGISTRY_PAGE;
}

static uint32_t count_eligible(const uint64_t *ids, uint32_t n, const plmm_link *link,
                               uint32_t rate)
{
    plmm_lottery l;
    uint32_t count = 0;
    plmm_lottery_init(&l, link, rate, 0, 1);
    for (uint32_t i = 0; i < n; i++) {
        count += plmm_lottery_has(&l, ids[i]);
    }
    return count;
}

plmm_status plmm__registrar_rate(plmm__serve *s, uint32_t *rate, uint32_t *eligible,
                                 plmm_error *err)
{
    uint64_t *ids = NULL;
    uint32_t n = 0, want = s->c->eligible;
    PLMM_TRY(plmm_node_enrolled(s->c->store, &ids, &n, err));
    *rate = want == 0 ? UINT32_MAX : plmm_lottery_rate(n, want);
    *eligible = count_eligible(ids, n, &s->registry.link, *rate);
    while (*rate != UINT32_MAX && *eligible < s->c->eligible) {
        want +=
            want / 16 + 1; /* the draw was a poor one: this link lets more in at a higher rate */
        *rate = plmm_lottery_rate(n, want);
        *eligible = count_eligible(ids, n, &s->registry.link, *rate);
    }
    plmm_free(ids);
    return PLMM_OK;
}

static void away(plmm__serve *s, const char *why)
{
    plmm_log(PLMM_LOG_WARN, "registrar.away", "why=\"%s\"", why);
    if (s->registry.begin) {
        s->registry.begin = false;
        s->failures++;
        (void)snprintf(s->abort_text, sizeof s->abort_text, "%s", why);
        s->next_round_ms = plmm_clock_ms() + AWAY_MS;
    }
}

static void begin(plmm__serve *s)
{
    plmm_error err = {0};
    s->registry.begin = false;
    plmm_status rc = plmm__round_begin(s, &err);
    if (rc != PLMM_OK) {
        plmm__serve_fail(s, rc, &err);
    }
}

static void sealed(plmm__serve *s, const plmm__sealer_result *r)
{
    const plmm__machine *m = &s->machines[s->cur];
    plmm_agg_event ev = {
        .type = PLMM_AGG_EV_SEALED, .now_ms = plmm_clock_ms(), .bytes = r->bytes, .len = r->len};
    plmm_error err = {0};
    if (m->m == NULL || m->round != s->registry.request_round ||
        m->attempt != s->registry.request_attempt) {
        return; /* it came too late for its round */
    }
    plmm_status rc = plmm__round_step(s, s->cur, &ev, &err);
    if (rc == PLMM_ERR_NOMEM || rc == PLMM_ERR_FULL) {
        plmm__serve_fail(s, rc, &err);
    } else if (rc != PLMM_OK && rc != PLMM_ERR_STALE) {
        plmm_log(PLMM_LOG_WARN, "seal.refused", "why=\"%s\"", err.msg);
    }
}

void plmm__registrar_done(plmm__serve *s)
{
    plmm__sealer_result r;
    bool more = false;
    if (!plmm__sealer_take(s->sealer, &r)) {
        return;
    }
    plmm_status rc = r.rc;
    if (rc == PLMM_OK && r.what == PLMM__ASKED_DEVICES) {
        more = !devices(s, r.devices);
    } else if (rc == PLMM_OK) {
        sealed(s, &r);
    }
    plmm__sealer_done(s->sealer);
    if (s->registry.request != NULL) {
        ask_seal(s);
    } else if (rc != PLMM_OK) {
        away(s, r.err.msg);
    } else if (more && s->fatal == PLMM_OK) {
        ask_devices(s);
    } else if (s->registry.begin && s->fatal == PLMM_OK) {
        begin(s);
    }
}
