/* The registrar's loop. */
#include "plmm/registry.h"

#include "plmm/address.h"
#include "plmm/alloc.h"
#include "plmm/clock.h"
#include "plmm/file.h"
#include "plmm/hub.h"
#include "plmm/log.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

enum {
    WAIT_MS = 500,
    SLOTS = 16,
    STRANGERS_MAX = 32, /* requests a second that are nobody's and are looked at */
    REQUEST_MAX = PLMM_ROSTER_MAX + 8 * PLMM_FRAME_SMALL
};

static volatile sig_atomic_t stop_wanted;

void plmm_registry_stop(void)
{
    stop_wanted = 1;
}

typedef struct registry {
    const plmm_registry_config *c;
    plmm_registrar *r;
    plmm_hub *hub;
    uint64_t seals;  /* in the database */
    uint64_t serial; /* of ids */
    uint64_t *ids;   /* enrolled, increasing */
    uint32_t n;
    bool have_ids;
    uint64_t second; /* strangers heard since */
    uint32_t strangers;
    plmm_registrar_answer answer;
    plmm_registry_answer devices;
    uint8_t out[PLMM_REGISTRY_ANSWER];
} registry;

static plmm_status restore_record(void *ctx, uint64_t round, const uint8_t *record, size_t len,
                                  int64_t time_ms, plmm_error *err)
{
    (void)round;
    (void)time_ms;
    return plmm_registrar_restore(ctx, record, len, err);
}

plmm_status plmm_registry_restore(plmm_registrar **r, const plmm_registrar_config *config,
                                  plmm_node_store *store, plmm_error *err)
{
    plmm_registrar *made = NULL;
    PLMM_TRY(plmm_registrar_new(&made, config, err));
    plmm_status rc = plmm_node_seals_last(store, restore_record, made, err);
    if (rc != PLMM_OK) {
        plmm_registrar_free(made);
        return rc;
    }
    *r = made;
    return PLMM_OK;
}

static plmm_status reload(registry *g, plmm_error *err)
{
    plmm_registrar_free(g->r);
    g->r = NULL;
    PLMM_TRY(plmm_node_seal_count(g->c->store, &g->seals, err));
    return plmm_registry_restore(&g->r, &g->c->registrar, g->c->store, err);
}

/* Who is enrolled now: another process may have changed it since the last request. */
static plmm_status enrolled(registry *g, plmm_error *err)
{
    uint64_t serial = 0;
    PLMM_TRY(plmm_node_device_serial(g->c->store, &serial, err));
    if (g->have_ids && serial == g->serial) {
        return PLMM_OK;
    }
    plmm_free(g->ids);
    g->ids = NULL;
    g->have_ids = false;
    PLMM_TRY(plmm_node_enrolled(g->c->store, &g->ids, &g->n, err));
    g->serial = serial;
    g->have_ids = true;
    return PLMM_OK;
}

/* ---- the two requests; the answer is g->out ---- */

static plmm_status visit_device(void *ctx, const plmm_node_device *d, plmm_error *err)
{
    plmm_registry_answer *a = ctx;
    (void)err;
    a->v[a->n++] = *d;
    return PLMM_OK;
}

static plmm_status tell_devices(registry *g, const uint8_t *bytes, size_t len, size_t *out_len,
                                plmm_error *err)
{
    plmm_registry_ask q;
    plmm_registry_answer *a = &g->devices;
    plmm_link first;
    uint32_t left;
    PLMM_TRY(plmm_registry_ask_decode(&q, bytes, len, g->c->registrar.expert,
                                      &g->c->registrar.aggregator, err));
    PLMM_TRY(enrolled(g, err));
    a->n = 0;
    a->serial = g->serial;
    a->population = g->n;
    plmm_registrar_link(g->r, &first, &a->link);
    plmm_registrar_status(g->r, &a->round, &left);
    PLMM_TRY(
        plmm_node_devices_after(g->c->store, q.after, PLMM_REGISTRY_PAGE, visit_device, a, err));
    *out_len = plmm_registry_answer_encode(g->out, a, &q, &g->c->registrar.key);
    return PLMM_OK;
}

/* Durable before it is given out. */
static plmm_status write_down(registry *g, plmm_error *err)
{
    uint64_t round;
    uint32_t left;
    plmm_registrar_status(g->r, &round, &left);
    plmm_status rc = plmm_node_seal_add(g->c->store, g->seals, round, g->answer.record,
                                        g->answer.record_len, plmm_clock_wall_ms(), err);
    if (rc == PLMM_OK) {
        g->seals++;
        plmm_log(PLMM_LOG_INFO, "seal", "round=%llu links_left=%u", (unsigned long long)round,
                 left);
    }
    return rc;
}

static plmm_status seal(registry *g, const uint8_t *bytes, size_t len, size_t *out_len,
                        plmm_error *err)
{
    PLMM_TRY(enrolled(g, err));
    plmm_enrolled who = {g->ids, g->n};
    PLMM_TRY(plmm_registrar_seal(g->r, bytes, len, &who, &g->answer, err));
    if (g->answer.record_len > 0) {
        PLMM_TRY(write_down(g, err));
    }
    if (!g->answer.sealed) {
        plmm_log(PLMM_LOG_WARN, "seal.refused", "refusal=\"%s\" why=\"%s\"",
                 plmm_refusal_str(g->answer.refusal), g->answer.text);
    }
    memcpy(g->out, g->answer.frame, g->answer.frame_len);
    *out_len = g->answer.frame_len;
    return PLMM_OK;
}

/* ---- the loop ---- */

static bool is_theirs(plmm_status rc)
{
    return rc == PLMM_ERR_WIRE || rc == PLMM_ERR_AUTH || rc == PLMM_ERR_PEER ||
           rc == PLMM_ERR_RANGE;
}

/* False when strangers asked too often: whatever comes is dropped unseen for the rest of the
 * second. */
static bool may_look(registry *g)
{
    uint64_t second = plmm_clock_ms() / 1000;
    if (second != g->second) {
        g->second = second;
        g->strangers = 0;
    }
    return g->strangers < STRANGERS_MAX;
}

static plmm_status answer(registry *g, const plmm_hub_request *q, plmm_error *err)
{
    size_t len = 0;
    plmm_error why = {0};
    if (may_look(g)) {
        bool asks = q->len == PLMM_REGISTRY_ASK && memcmp(q->bytes, "PLD1", 4) == 0;
        plmm_status rc = asks ? tell_devices(g, q->bytes, q->len, &len, &why)
                              : seal(g, q->bytes, q->len, &len, &why);
        if (is_theirs(rc)) {
            g->strangers++;
            plmm_log(PLMM_LOG_WARN, "request.refused", "why=\"%s\"", why.msg);
        } else if (rc != PLMM_OK) {
            plmm_log(PLMM_LOG_ERROR, "request.failed", "why=\"%s\"", why.msg);
            PLMM_TRY(reload(g, err));
        }
        len = rc == PLMM_OK ? len : 0;
    }
    if (len == 0) {
        plmm_hub_hang_up(g->hub, q->slot);
        return PLMM_OK;
    }
    plmm_status rc = plmm_hub_append(g->hub, q->slot, g->out, len, err);
    plmm_hub_reply(g->hub, q->slot);
    return rc;
}

static plmm_status loop(registry *g, plmm_error *err)
{
    while (stop_wanted == 0) {
        plmm_hub_request q;
        if (plmm_hub_wait(g->hub, WAIT_MS, &q) == PLMM_HUB_REQUEST) {
            PLMM_TRY(answer(g, &q, err));
        }
    }
    return PLMM_OK;
}

static plmm_status start(registry *g, plmm_error *err)
{
    char url[PLMM_ADDRESS_BYTES], port[16];
    PLMM_TRY(plmm_address_loopback(g->c->url, "cannot listen on", url, err));
    PLMM_TRY(reload(g, err));
    PLMM_TRY(enrolled(g, err));
    plmm_hub_config hub = {.url = url, .slots = SLOTS, .request_max = REQUEST_MAX};
    PLMM_TRY(plmm_hub_open(&g->hub, &hub, err));
    if (g->c->port_file != NULL) {
        int n = snprintf(port, sizeof port, "%u\n", plmm_hub_port(g->hub));
        PLMM_TRY(plmm_file_write(g->c->port_file, port, (size_t)n, PLMM_MODE_PUBLIC, err));
    }
    uint64_t round;
    uint32_t left;
    plmm_registrar_status(g->r, &round, &left);
    plmm_log(PLMM_LOG_INFO, "registrar.listen",
             "expert=%s port=%u devices=%u round=%llu "
             "links_left=%u",
             g->c->registrar.expert, plmm_hub_port(g->hub), g->n, (unsigned long long)round, left);
    return PLMM_OK;
}

plmm_status plmm_registry_run(const plmm_registry_config *c, plmm_error *err)
{
    registry *g = plmm_alloc(1, sizeof *g);
    if (g == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory");
    }
    g->c = c;
    plmm_status rc = start(g, err);
    rc = rc == PLMM_OK ? loop(g, err) : rc;
    plmm_hub_close(g->hub);
    plmm_registrar_free(g->r);
    plmm_free(g->ids);
    plmm_free(g);
    return rc;
}
