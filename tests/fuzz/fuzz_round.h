/* fuzz_round.h -- a round of four devices in which one side lies as the input says: each of its
 * letters may be dropped, sent twice, cut, grown or changed, in its envelope, body or bulk, and is
 * made authentic again with the true key, so that the change gets past that check. */
#ifndef PLMM_FUZZ_ROUND_H
#define PLMM_FUZZ_ROUND_H

#include "forge.h"

typedef struct script {
    const uint8_t *p;
    size_t len;
    bool aggregator_lies;
} script;

static inline uint8_t script_next(script *s)
{
    if (s->len == 0) {
        return 0;
    }
    s->len--;
    return *s->p++;
}

static inline uint32_t script_at(script *s, uint32_t below)
{
    uint32_t v = script_next(s);
    v = v << 8 | script_next(s);
    return below == 0 ? 0 : v % below;
}

static inline void mutate(script *s, forgery *g, uint8_t op)
{
    switch (op) {
    case 1:
        g->bulk[script_at(s, g->f.bulk_len)] ^= script_next(s);
        break;
    case 2:
        g->f.bulk_len = script_at(s, g->f.bulk_len + 64);
        break;
    case 3:
        g->f.body[script_at(s, g->f.body_len)] ^= script_next(s);
        break;
    case 4:
        g->f.body_len = script_at(s, g->f.body_len + 8);
        break;
    case 5:
        g->f.type = 1 + script_next(s) % (PLMM_MSG_COUNT - 1);
        g->f.type = plmm_message_known(g->f.type) ? g->f.type : PLMM_MSG_CONTRIB;
        break;
    case 6:
        g->f.has_session = !g->f.has_session;
        break;
    case 7:
        g->f.round += script_next(s);
        break;
    case 8:
        g->f.attempt ^= script_next(s);
        break;
    case 9:
        g->f.session.b[script_next(s) % 32] ^= script_next(s);
        break;
    case 10:
        memset(g->bulk, script_next(s), script_at(s, g->f.bulk_len + 1));
        break;
    default:
        break;
    }
}

static inline bool script_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    script *s = arg;
    static forgery g;
    bool lies = s->aggregator_lies ? from == FLEET_AGG : from == 0;
    if (!lies) {
        if (s->aggregator_lies) {
            fleet_watch(f, from, frame); /* whatever it is told, a device answers once */
        }
        return true;
    }
    uint8_t op = script_next(s);
    if (op == 11) {
        return false;
    }
    if (op == 12) {
        fleet_enqueue(f, from, to, fleet_copy(frame->p, frame->len));
    }
    if (op >= 1 && op <= 10) {
        forge_open(&g, frame);
        for (; op >= 1 && op <= 10; op = script_next(s)) {
            mutate(s, &g, op);
        }
        plmm_free(frame->p);
        *frame = s->aggregator_lies ? forge_down(f, &g, to) : forge_up(f, &g, 0);
    }
    return true;
}

static inline void fuzz_fleet(fleet *f, const uint8_t *data, size_t size, bool aggregator_lies)
{
    script s = {data, size, aggregator_lies};
    for (uint32_t i = 0; i < f->n; i++) {
        f->d[i].cfg.silence_ms = 12000;
        f->d[i].cfg.resend_ms = 3000;
    }
    f->tap = script_tap;
    f->tap_arg = &s;
    fleet_start(f);
    fleet_run(f);
    if (!aggregator_lies) {
        CHECK(f->finished || f->aborted, "the round ends");
        bool liar_in = false; /* its own vector may be anything */
        uint64_t ids[FLEET_MAX];
        uint32_t n = 0;
        plmm_agg_round_survivors(f->agg, ids, &n);
        for (uint32_t i = 0; i < n; i++) {
            liar_in = liar_in || ids[i] == 1000;
        }
        if (!liar_in) {
            fleet_check_sum(f);
        }
    }
    fleet_free(f);
    PLMM_ASSERT(plmm_test_failures == 0);
}

static inline void fuzz_round(const uint8_t *data, size_t size, bool aggregator_lies)
{
    fuzz_fleet(fleet_new(4, 3, 1), data, size, aggregator_lies);
}

/* A one-shot round of as few devices as a committee takes, all of whom but one are on it. */
static inline void fuzz_oneshot(const uint8_t *data, size_t size, bool aggregator_lies)
{
    fleet *f = fleet_new(24, 3, 1);
    fleet_oneshot(f, PLMM_MASK_KAHE);
    fuzz_fleet(f, data, size, aggregator_lies);
}

#endif
