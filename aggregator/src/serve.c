#include "plmm/serve.h"

#include "serve_internal.h"

#include "plmm/address.h"
#include "plmm/alloc.h"
#include "plmm/clock.h"
#include "plmm/file.h"
#include "plmm/log.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

enum {
    WAIT_MAX_MS = 500,
    BURST = 256,
    BUSY_MS = 50,
    SHELF = 4,      /* the present roster, the one before, those that are being gathered */
    KNOWN = 1 << 18 /* devices, of which the process remembers who they are */
};

static volatile sig_atomic_t stop_wanted;

void plmm_serve_stop(void)
{
    stop_wanted = 1;
}

void plmm__serve_fail(plmm__serve *s, plmm_status rc, const plmm_error *err)
{
    if (s->fatal == PLMM_OK) {
        s->fatal = rc;
        s->fatal_err = *err;
    }
}

/* Largest request of any round: a few frames, one of them with a vector or the boxes of all
 * neighbours. */
static size_t request_max(const plmm_serve_config *c)
{
    plmm_round_params p = c->round.params;
    p.length = c->vector_max;
    size_t bulk = p.protocol == PLMM_PROTOCOL_ONESHOT ? plmm_oneshot_bytes(&p, PLMM_COMMITTEE_MAX)
                                                      : plmm_round_payload_bytes(&p);
    size_t boxes = (size_t)PLMM_NEIGHBOURS_MAX * PLMM_BOX;
    return (bulk > boxes ? bulk : boxes) + 8 * (size_t)PLMM_FRAME_SMALL;
}

static plmm_status write_port(const plmm__serve *s, plmm_error *err)
{
    char text[16];
    if (s->c->port_file == NULL) {
        return PLMM_OK;
    }
    int n = snprintf(text, sizeof text, "%u\n", plmm_hub_port(s->hub));
    return plmm_file_write(s->c->port_file, text, (size_t)n, PLMM_MODE_PUBLIC, err);
}

static plmm_status open_all(plmm__serve *s, plmm_error *err)
{
    char url[PLMM_ADDRESS_BYTES];
    PLMM_TRY(plmm_address_loopback(s->c->url, "cannot listen on", url, err));
    s->due = plmm_alloc(s->c->slots, sizeof *s->due);
    s->later.v = plmm_alloc(s->c->slots, sizeof *s->later.v);
    if (s->due == NULL || s->later.v == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for %u requests", s->c->slots);
    }
    const plmm_agg_config *round = &s->c->round;
    PLMM_TRY(plmm_known_new(&s->known, &round->key, &round->registrar, round->params.expert, KNOWN,
                            err));
    PLMM_TRY(plmm_shelf_new(&s->shelf, SHELF, err));
    plmm_hub_config hub = {.url = url, .slots = s->c->slots, .request_max = request_max(s->c)};
    PLMM_TRY(plmm_hub_open(&s->hub, &hub, err));
    PLMM_TRY(plmm__registrar_start(s, err));
    PLMM_TRY(plmm__round_resume(s, err));
    PLMM_TRY(plmm__worker_start(s, err));
    PLMM_TRY(write_port(s, err));
    plmm_log(PLMM_LOG_INFO, "serve.listen", "expert=%s port=%u", s->c->round.params.expert,
             plmm_hub_port(s->hub));
    return PLMM_OK;
}

static void close_all(plmm__serve *s)
{
    plmm__worker_stop(s);
    plmm__registrar_stop(s);
    plmm_hub_close(s->hub);
    if (s->dirty) {
        /* Nothing was sent that depends on it. */
        plmm_status rolled_back = plmm_node_end(s->c->store, PLMM_ERR_STATE, NULL);
        (void)rolled_back;
    }
    plmm__round_free(s);
    plmm__peers_free(&s->peers);
    plmm_known_free(s->known);
    plmm_shelf_free(s->shelf);
    plmm_free(s->due);
    plmm_free(s->later.v);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t wait_ms(const plmm__serve *s)
{
    uint64_t now = plmm_clock_ms();
    uint64_t next = earlier(earlier(s->next_round_ms, s->end_ms), s->next_release);
    const plmm_agg_round *m = s->machines[s->cur].m;
    if (m != NULL && !s->frozen) {
        next = earlier(next, plmm_agg_round_deadline(m));
    }
    uint64_t wait = next > now ? next - now : 0;
    return s->dirty || s->due_n > 0 || s->wanted != PLMM__JOB_NONE ? 0 : earlier(wait, WAIT_MAX_MS);
}

/* Has everything been done that this run was for? */
static void plan(plmm__serve *s, uint64_t now)
{
    if (s->c->rounds > 0 && s->result->rounds >= s->c->rounds) {
        s->next_round_ms = UINT64_MAX;
        s->end_ms = earlier(s->end_ms, now + s->c->linger_ms);
    }
    if (s->c->failures > 0 && s->failures >= s->c->failures) {
        plmm_error err;
        plmm__serve_fail(s,
                         plmm_fail(&err, PLMM_ERR_STATE,
                                   "%u attempts in a row were aborted, the last one because: %s",
                                   s->failures, s->abort_text),
                         &err);
    }
    if (now >= s->next_round_ms && s->fatal == PLMM_OK) {
        s->next_round_ms = plmm__registrar_sync(s, true) ? UINT64_MAX : now + BUSY_MS;
    }
}

/* Takes what has come, at most a burst of it, so that one commit serves many. */
static void take(plmm__serve *s)
{
    plmm_hub_request r;
    uint64_t wait = wait_ms(s);
    uint32_t room = s->c->slots < BURST ? s->c->slots : BURST;
    for (uint32_t i = 0; i < room && s->due_n < s->c->slots; i++) {
        plmm_hub_news news = plmm_hub_wait(s->hub, i == 0 ? wait : 0, &r);
        if (news == PLMM_HUB_REQUEST) {
            plmm__request_take(s, &r);
        } else if (news == PLMM_HUB_POSTED) {
            plmm__round_job_done(s);
            plmm__registrar_done(s);
        } else {
            return;
        }
    }
}

static void loop(plmm__serve *s)
{
    while (s->fatal == PLMM_OK && stop_wanted == 0) {
        uint64_t now = plmm_clock_ms();
        plan(s, now);
        if (now >= s->end_ms || s->fatal != PLMM_OK) {
            break;
        }
        take(s);
        plmm__round_tick(s);
        plmm__round_flush(s);
        plmm__request_answer(s);
        plmm__request_release(s, plmm_clock_ms());
    }
}

static plmm_status check(const plmm_serve_config *c, plmm_error *err)
{
    if (c->slots < 8 || c->slots > 65536) {
        return plmm_fail(err, PLMM_ERR_RANGE, "slots is %u, must be 8..65536", c->slots);
    }
    if (c->vector_max < 1 || c->vector_max > PLMM_VECTOR_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "vector_max is %u, must be 1..%d", c->vector_max,
                         PLMM_VECTOR_MAX);
    }
    if (c->epoch_rounds > PLMM_EPOCH_ROUNDS) {
        return plmm_fail(err, PLMM_ERR_RANGE, "epoch_rounds is %u, must be at most %d",
                         c->epoch_rounds, PLMM_EPOCH_ROUNDS);
    }
    if (c->hold_ms < 10 || c->hold_ms > 600000) {
        return plmm_fail(err, PLMM_ERR_RANGE, "hold_ms is %u, must be 10..600000", c->hold_ms);
    }
    return PLMM_OK;
}

plmm_status plmm_serve_run(const plmm_serve_config *c, plmm_serve_result *result, plmm_error *err)
{
    *result = (plmm_serve_result){0};
    PLMM_TRY(check(c, err));
    plmm__serve *s = plmm_alloc(1, sizeof *s);
    if (s == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory");
    }
    s->c = c;
    s->result = result;
    s->next_release = s->end_ms = s->next_round_ms = UINT64_MAX;
    plmm_status rc = open_all(s, err);
    if (rc == PLMM_OK) {
        loop(s);
        rc = s->fatal;
        if (rc != PLMM_OK && err != NULL) {
            *err = s->fatal_err;
        }
    }
    close_all(s);
    plmm_free(s);
    return rc;
}
