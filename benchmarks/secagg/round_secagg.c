/* round_secagg.c -- one round, SecAgg+ or one-shot: the production machines of all devices and of the server in
 * one thread, the real frames between them, no network and no waiting. Devices that drop out do so
 * after they masked: their work is done and their vector is lost. One vector exists at a time. */
#include "bench.h"

#include "plmm/agg_round.h"
#include "plmm/alloc.h"
#include "plmm/client_round.h"
#include "plmm/registrar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUND = 100, SINCE = 99 }; /* of the round; since when channel keys are in use */

typedef struct device {
    plmm_client_round *m;
    plmm_seed seed;
    plmm_key frames; /* of its frames with the server; zero: not made yet */
    plmm_channel_key own;
    plmm_channels *table;
    uint8_t *epoch; /* one-shot: what later rounds need */
    size_t epoch_len;
    bool drops;
} device;

/* A SEND of the server that waits to be delivered. */
typedef struct sending {
    plmm_message msg;
    uint64_t *to;
    uint32_t to_n;
} sending;

/* What a one-shot round leaves for the later ones of its epoch. */
typedef struct epoch {
    uint8_t *of_server;
    size_t len;
    plmm_link link;
} epoch;

typedef struct bench {
    const bench_case *c;
    bench_result *r;
    device *d;
    plmm_known **known; /* to the server; NULL: nobody yet */
    plmm_agg_config cfg;
    plmm_agg_round *agg;
    plmm_registrar *registrar;
    plmm_shelf *shelf; /* public numbers, made once for all */
    plmm_registrar_answer answer;
    uint64_t *ids;
    sending *queue; /* [queue_from..queue_to) wait */
    size_t queue_from, queue_to, queue_cap;
    uint32_t *sum, *lanes;
    float *delta;
    uint8_t *upload; /* head and vector, the vector at PLMM_FRAME_SMALL */
    uint8_t *frame;
    size_t frame_cap;
    uint64_t now_ms;
    double sealing_s;
    const epoch *goes_on; /* NULL: a roster is made and sealed */
    bool over;
} bench;

static void must(plmm_status rc, const plmm_error *err)
{
    if (rc != PLMM_OK && rc != PLMM_ERR_STALE) {
        (void)fprintf(stderr, "bench_round: %s\n", err->msg);
        exit(EXIT_FAILURE);
    }
}

static void *need(void *p)
{
    if (p == NULL) {
        (void)fprintf(stderr, "bench_round: out of memory\n");
        exit(EXIT_FAILURE);
    }
    return p;
}

static void seed_of(plmm_seed *s, const char *what, uint64_t i)
{
    static const plmm_seed root = {{7}};
    plmm_seed_derive(s, &root, what, i);
}

/* ---- the server ---- */

static bench_phase server_phase(const bench *b)
{
    plmm_agg_phase p = plmm_agg_round_phase(b->agg);
    return p <= PLMM_AGG_ADVERTISE ? BENCH_KEYS
           : p <= PLMM_AGG_CONFIRM ? BENCH_SHARE
           : p == PLMM_AGG_COLLECT ? BENCH_MASK
           : p <= PLMM_AGG_AGREE   ? BENCH_AGREE
                                   : BENCH_UNMASK;
}

static void enqueue(bench *b, const plmm_agg_action *a)
{
    if (b->queue_to == b->queue_cap) {
        size_t cap = 2 * b->queue_cap + 64;
        b->queue = need(plmm_grow(b->queue, b->queue_cap, cap, sizeof *b->queue));
        b->queue_cap = cap;
    }
    sending *s = &b->queue[b->queue_to++];
    *s = (sending){a->msg, need(plmm_alloc(a->to_n, sizeof *s->to)), a->to_n};
    memcpy(s->to, a->to, a->to_n * sizeof *s->to);
}

/* Obeys one action; true if *next is to be stepped. */
static bool server_obeys(bench *b, const plmm_agg_action *a, plmm_agg_event *next)
{
    plmm_error err = {0};
    *next = (plmm_agg_event){.now_ms = b->now_ms, .seq = a->seq};
    switch (a->type) {
    case PLMM_AGG_DO_PERSIST:
        next->type = PLMM_AGG_EV_PERSISTED;
        return true;
    case PLMM_AGG_DO_ADD_INPUT:
        must(plmm_agg_round_add(b->agg, b->sum, a->bytes, a->len, &err), &err);
        return false;
    case PLMM_AGG_DO_SEND:
        enqueue(b, a);
        return false;
    case PLMM_AGG_DO_DROP_INPUT: /* no device's boxes are spoiled here */
        abort();
    case PLMM_AGG_DO_SEAL: {
        plmm_enrolled all = {b->ids, b->c->n};
        double t0 = bench_seconds();
        must(plmm_registrar_seal(b->registrar, a->bytes, a->len, &all, &b->answer, &err), &err);
        b->sealing_s += bench_seconds() - t0;
        next->type = PLMM_AGG_EV_SEALED;
        next->bytes = b->answer.frame;
        next->len = b->answer.frame_len;
        return true;
    }
    case PLMM_AGG_DO_UNMASK:
        must(plmm_agg_round_unmask(b->agg, b->sum, &next->unmasked, &err), &err);
        next->type = PLMM_AGG_EV_UNMASKED;
        return true;
    case PLMM_AGG_DO_FINISH:
        b->over = true;
        b->r->survivors = a->n;
        next->type = PLMM_AGG_EV_PUBLISHED;
        return true;
    case PLMM_AGG_DO_ABORT:
        (void)fprintf(stderr, "bench_round: the round ended: %s\n", a->text);
        exit(EXIT_FAILURE);
    }
    return false;
}

static void server_step(bench *b, plmm_agg_event e)
{
    plmm_agg_actions out;
    plmm_error err = {0};
    e.now_ms = b->now_ms;
    must(plmm_agg_round_step(b->agg, &e, &out, &err), &err);
    plmm_agg_event next[PLMM_AGG_ACTIONS_MAX];
    uint32_t n = 0;
    for (uint32_t a = 0; a < out.n; a++) {
        n += server_obeys(b, &out.v[a], &next[n]);
    }
    for (uint32_t i = 0; i < n; i++) {
        server_step(b, next[i]);
    }
}

static void server_event(bench *b, plmm_agg_event e)
{
    double t0 = bench_seconds();
    double sealing = b->sealing_s;
    bench_phase p = server_phase(b);
    server_step(b, e);
    b->r->server_s[p] += bench_seconds() - t0 - (b->sealing_s - sealing);
}

/* ---- a device ---- */

static bench_phase device_phase(const device *d)
{
    plmm_client_state s = plmm_client_round_state(d->m);
    return s <= PLMM_CLIENT_CHECKED_IN  ? BENCH_KEYS
           : s <= PLMM_CLIENT_CONFIRMED ? BENCH_SHARE
           : s <= PLMM_CLIENT_MASKING   ? BENCH_MASK
           : s == PLMM_CLIENT_UPLOADED  ? BENCH_AGREE
                                        : BENCH_UNMASK;
}

static void device_event(bench *b, uint32_t i, plmm_client_event e);

static void device_masks(bench *b, uint32_t i, const plmm_client_action *a)
{
    plmm_client_event next = {.type = PLMM_CLIENT_EV_MASKED};
    plmm_error err = {0};
    bench_delta(b->delta, b->c->length, i);
    bench_watch_add(!b->d[i].drops);
    double own = bench_watch_own();
    double t0 = bench_seconds();
    must(plmm_client_round_mask(b->d[i].m, b->upload + PLMM_FRAME_SMALL, &next.digest, b->lanes,
                                b->delta, b->c->length, &err),
         &err);
    b->r->device_s[BENCH_MASK] += bench_seconds() - t0 - (bench_watch_own() - own);
    b->r->payload = a->payload_len;
    device_event(b, i, next);
}

static void device_uploads(bench *b, uint32_t i, const plmm_client_action *a)
{
    uint8_t *head = b->upload + PLMM_FRAME_SMALL - a->len;
    memcpy(head, a->bytes, a->len);
    b->r->up += a->len + a->payload_len;
    if (!b->d[i].drops) {
        server_event(b, (plmm_agg_event){.type = PLMM_AGG_EV_FRAME,
                                         .bytes = head,
                                         .len = a->len + a->payload_len});
    }
}

static void device_obeys(bench *b, uint32_t i, const plmm_client_action *a)
{
    switch (a->type) {
    case PLMM_CLIENT_DO_PERSIST:
    case PLMM_CLIENT_DO_PERSIST_UPLOAD:
        device_event(b, i, (plmm_client_event){.type = PLMM_CLIENT_EV_PERSISTED, .seq = a->seq});
        break;
    case PLMM_CLIENT_DO_SEND:
        b->r->up += a->len;
        server_event(b,
                     (plmm_agg_event){.type = PLMM_AGG_EV_FRAME, .bytes = a->bytes, .len = a->len});
        break;
    case PLMM_CLIENT_DO_SEND_UPLOAD:
        device_uploads(b, i, a);
        break;
    case PLMM_CLIENT_DO_TRAIN:
        device_event(b, i, (plmm_client_event){.type = PLMM_CLIENT_EV_TRAINED, .weight = 1});
        break;
    case PLMM_CLIENT_DO_MASK:
        device_masks(b, i, a);
        break;
    case PLMM_CLIENT_DO_FINISH:
        break;
    case PLMM_CLIENT_DO_ABORT:
        if (!b->d[i].drops) {
            (void)fprintf(stderr, "bench_round: device %u: %s\n", i, a->text);
            exit(EXIT_FAILURE);
        }
        break;
    }
}

static void device_event(bench *b, uint32_t i, plmm_client_event e)
{
    plmm_client_actions out;
    plmm_error err = {0};
    e.now_ms = b->now_ms;
    double t0 = bench_seconds();
    bench_phase p = device_phase(&b->d[i]);
    must(plmm_client_round_step(b->d[i].m, &e, &out, &err), &err);
    b->r->device_s[p] += bench_seconds() - t0;
    for (uint32_t a = 0; a < out.n; a++) {
        device_obeys(b, i, &out.v[a]);
    }
}

/* ---- the round ---- */

static void deliver(bench *b, const sending *s)
{
    plmm_error err = {0};
    size_t cap = plmm_agg_round_frame_max(b->agg);
    size_t len = 0;
    if (cap > b->frame_cap) {
        plmm_free(b->frame);
        b->frame = need(plmm_alloc(cap, 1));
        b->frame_cap = cap;
    }
    for (uint32_t i = 0; i < s->to_n; i++) {
        double t0 = bench_seconds();
        bench_phase p = server_phase(b);
        must(plmm_agg_round_render(b->agg, s->msg, s->to[i], b->frame, cap, &len, &err), &err);
        b->r->server_s[p] += bench_seconds() - t0;
        b->r->down += len;
        device_event(
            b, (uint32_t)s->to[i] - 1,
            (plmm_client_event){.type = PLMM_CLIENT_EV_FRAME, .bytes = b->frame, .len = len});
    }
}

static void run(bench *b)
{
    server_event(b, (plmm_agg_event){.type = PLMM_AGG_EV_START, .seed = {{1}}});
    for (uint32_t i = 0; i < b->c->n; i++) {
        device_event(b, i, (plmm_client_event){.type = PLMM_CLIENT_EV_START, .seed = b->d[i].seed});
    }
    while (!b->over || b->queue_from < b->queue_to) {
        if (b->queue_from == b->queue_to) {
            b->queue_from = b->queue_to = 0;
            uint64_t at = plmm_agg_round_deadline(b->agg);
            PLMM_ASSERT(at != UINT64_MAX);
            b->now_ms = at > b->now_ms ? at : b->now_ms + 1;
            server_event(b, (plmm_agg_event){.type = PLMM_AGG_EV_TICK});
            continue;
        }
        sending s = b->queue[b->queue_from++];
        deliver(b, &s);
        plmm_free(s.to);
    }
}

static plmm_round_params params_of(const bench_case *c, uint64_t round)
{
    plmm_round_params p;
    plmm_round_params_init(&p);
    memcpy(p.expert, "bench", sizeof "bench");
    p.round = round;
    p.attempt = 1;
    p.cohort = c->n;
    p.n_min = 3;
    p.gamma_ppm = 100000;
    p.delta_ppm = 100000;
    p.sigma = 40;
    p.eta = 20;
    p.trust = PLMM_TRUST_SEMI_MALICIOUS;
    p.protocol = c->protocol;
    p.mask = c->mask;
    p.stream = c->stream;
    p.quant_bits = 16;
    p.weight_max = 256;
    p.clip = 1.0;
    p.length = c->length;
    p.steps = 1;
    p.batch_tokens = 1;
    p.learning_rate = 1.0;
    plmm_encoding e = plmm_round_encoding(&p);
    p.ring_bits = plmm_encoding_ring_bits(&e);
    return p;
}

/* Once in a device's life: it is booked to the first round. */
static void frames_make(bench *b, device *d, const plmm_client_config *c)
{
    const plmm_anchor *a = &c->policy.anchor;
    plmm_error err = {0};
    double t0 = bench_seconds();
    if (plmm_is_zero(&d->frames, sizeof d->frames)) {
        must(plmm_frame_key(&d->frames, &c->key, &a->aggregator, a->expert, &err), &err);
        b->r->device_s[BENCH_KEYS] += bench_seconds() - t0;
    }
}

static void enrol(bench *b, uint32_t i, const plmm_anchor *anchor, const plmm_sign_sk *registrar)
{
    plmm_client_config c = {
        .resend_ms = 1 << 20, .silence_ms = PLMM_PERIOD_MS_MAX, .shelf = b->shelf};
    plmm_sign_pk pk;
    plmm_seed s;
    plmm_error err = {0};
    seed_of(&s, "bench.id", i);
    plmm_sign_keypair(&pk, &c.key, &s);
    must(plmm_certificate_issue(&c.certificate, registrar, "bench", (uint64_t)i + 1, &pk, &err),
         &err);
    plmm_policy_default(&c.policy, anchor);
    c.policy.n_min = 3;
    c.policy.vectors_n = 1;
    c.policy.vectors[0].length = b->c->length;
    c.channels = b->d[i].table;
    if (b->goes_on != NULL) {
        c.link = b->goes_on->link;
        c.epoch = b->d[i].epoch;
        c.epoch_len = b->d[i].epoch_len;
    }
    frames_make(b, &b->d[i], &c);
    c.frames = b->d[i].frames;
    b->ids[i] = (uint64_t)i + 1;
    seed_of(&b->d[i].seed, "bench.rd", i);
    must(plmm_client_round_new(&b->d[i].m, &c, &err), &err);
}

/* Octets of what a device uploads; makes what a one-shot round needs. */
static size_t prepare(bench *b)
{
    const plmm_round_params *p = &b->cfg.params;
    plmm_error err = {0};
    double t0 = bench_seconds();
    must(plmm_shelf_new(&b->shelf, 1, &err), &err);
    must(plmm_shelf_polynomials(b->shelf, p, &err), &err); /* made once, as the prototype does */
    b->cfg.shelf = b->shelf;
    if (p->protocol == PLMM_PROTOCOL_SECAGG) {
        b->r->tables_s = plmm_round_kahe(p) != 0 ? bench_seconds() - t0 : 0;
        return plmm_round_payload_bytes(p);
    }
    const plmm_oneshot_tables *tables = NULL;
    must(plmm_shelf_tables(b->shelf, &tables, p, b->c->n, b->c->n, &err), &err);
    b->r->tables_s = bench_seconds() - t0;
    const plmm_committee *m = plmm_oneshot_committee(tables);
    b->r->k = m->m;
    b->r->t = m->need;
    b->r->corrupt = m->c;
    return plmm_oneshot_bytes(p, m->m);
}

static void set_up(bench *b)
{
    const bench_case *c = b->c;
    plmm_error err = {0};
    plmm_anchor anchor = {.expert = "bench"};
    plmm_sign_sk registrar;
    plmm_seed s;
    b->cfg = (plmm_agg_config){.params = params_of(c, b->goes_on != NULL ? ROUND + 1 : ROUND),
                               .checkins_max = c->n,
                               .roster_min = c->n,
                               .gather_ms = 1000,
                               .phase_ms = 1000,
                               .train_ms = 1000};
    if (b->goes_on != NULL) {
        b->cfg.epoch = b->goes_on->of_server;
        b->cfg.epoch_len = b->goes_on->len;
        b->cfg.link = b->goes_on->link;
    }
    must(plmm_round_params_check(&b->cfg.params, &err), &err);
    seed_of(&s, "bench.ag", 0);
    plmm_sign_keypair(&anchor.aggregator, &b->cfg.key, &s);
    seed_of(&s, "bench.rg", 0);
    plmm_sign_keypair(&anchor.registrar, &registrar, &s);
    b->cfg.registrar = anchor.registrar;
    if (*b->known == NULL) {
        must(plmm_known_new(b->known, &b->cfg.key, &anchor.registrar, "bench", c->n, &err), &err);
    }
    b->cfg.known = *b->known;
    plmm_registrar_config r = {
        .expert = "bench", .key = registrar, .aggregator = anchor.aggregator, .chain_length = 16};
    plmm_link last;
    must(plmm_registrar_new(&b->registrar, &r, &err), &err);
    plmm_registrar_link(b->registrar, &anchor.link, &last);
    b->ids = need(plmm_alloc(c->n, sizeof *b->ids));
    size_t lanes = plmm_round_lanes(&b->cfg.params);
    b->r->lanes = (uint32_t)lanes;
    b->r->ring_bits = b->cfg.params.ring_bits;
    b->sum = need(plmm_alloc(plmm_round_sum_bytes(&b->cfg.params), 1));
    b->lanes = need(plmm_alloc(lanes, sizeof *b->lanes));
    b->delta = need(plmm_alloc(c->length, sizeof *b->delta));
    b->upload = need(plmm_alloc(1, PLMM_FRAME_SMALL + prepare(b)));
    for (uint32_t i = 0; i < c->n; i++) {
        enrol(b, i, &anchor, &registrar);
    }
    for (uint32_t i = 0; i < c->n; i++) {
        b->d[i].drops = false;
    }
    uint32_t every = c->drop > 0 ? (uint32_t)(1 / c->drop + 0.5) : 0;
    for (uint32_t i = every / 3; every > 0 && i < c->n; i += every) {
        b->d[i].drops = true;
        b->r->dropped++;
    }
    must(plmm_agg_round_new(&b->agg, &b->cfg, &err), &err);
    bench_watch_reset(lanes);
}

static void tear_down(bench *b)
{
    for (uint32_t i = 0; i < b->c->n; i++) {
        plmm_client_round_free(b->d[i].m);
    }
    plmm_agg_round_free(b->agg);
    plmm_registrar_free(b->registrar);
    plmm_shelf_free(b->shelf);
    void *blocks[] = {b->ids, b->sum, b->lanes, b->delta, b->upload, b->frame, b->queue};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        plmm_free(blocks[i]);
    }
}

static bool exact(const bench *b)
{
    uint32_t keep = (uint32_t)((UINT64_C(1) << b->r->ring_bits) - 1);
    for (uint32_t i = 0; i < b->r->lanes; i++) {
        if (((b->sum[i] ^ bench_watch_truth()[i]) & keep) != 0) {
            return false;
        }
    }
    return true;
}

/* Keeps what a later round of the epoch needs. */
static void keep_epoch(bench *b, epoch *e)
{
    e->len = plmm_agg_round_epoch(b->agg, NULL);
    e->of_server = need(plmm_alloc(e->len, 1));
    (void)plmm_agg_round_epoch(b->agg, e->of_server);
    e->link = plmm_agg_round_seal(b->agg)->link;
    for (uint32_t i = 0; i < b->c->n; i++) {
        device *d = &b->d[i];
        const uint8_t *p = plmm_client_round_epoch(d->m, &d->epoch_len);
        if (p != NULL) {
            d->epoch = need(plmm_alloc(d->epoch_len, 1));
            memcpy(d->epoch, p, d->epoch_len);
        }
    }
}

/* One round over the tables as they are; one that goes on with `from`, or one that leaves `to`. */
static void whole_round(const bench_case *c, bench_result *r, device *d, plmm_known **known,
                        const epoch *from, epoch *to)
{
    bench b = {.c = c, .r = r, .d = d, .known = known, .goes_on = from};
    *r = (bench_result){0};
    set_up(&b);
    run(&b);
    bench_watch_read(r);
    plmm_agg_status s;
    plmm_agg_round_status(b.agg, &s);
    r->k = r->k != 0 ? r->k : s.k;
    r->t = r->t != 0 ? r->t : s.t;
    r->registrar_s = b.sealing_s;
    r->exact = r->survivors == c->n - r->dropped && exact(&b);
    if (to != NULL) {
        keep_epoch(&b, to);
    }
    tear_down(&b);
}

static void new_table(device *d, uint32_t peers)
{
    plmm_error err = {0};
    plmm_channels_free(d->table);
    must(plmm_channels_new(&d->table, peers, &err), &err);
    plmm_channels_begin(d->table, &d->own);
}

static int by_table(const void *x, const void *y)
{
    const bench_pair *a = x, *b = y;
    return ((uintptr_t)a->of > (uintptr_t)b->of) - ((uintptr_t)a->of < (uintptr_t)b->of);
}

/* Gives each device the chains with the peers it needed in the round before, as they are after
 * `round`: the next round with them finds all. */
static void warm_up(device *d, uint32_t n, uint64_t round)
{
    size_t count = 0;
    const bench_pair *seen = bench_watch_pairs(&count);
    bench_pair *pairs = need(plmm_alloc(count, sizeof *pairs));
    memcpy(pairs, seen, count * sizeof *pairs);
    qsort(pairs, count, sizeof *pairs, by_table);
    for (uint32_t i = 0; i < n; i++) {
        size_t from = 0, to;
        const bench_pair mine = {.of = d[i].table};
        const bench_pair *at = bsearch(&mine, pairs, count, sizeof *pairs, by_table);
        if (at == NULL) {
            continue;
        }
        from = (size_t)(at - pairs);
        while (from > 0 && pairs[from - 1].of == mine.of) {
            from--;
        }
        for (to = from; to < count && pairs[to].of == mine.of;) {
            to++;
        }
        new_table(&d[i], (uint32_t)(to - from));
        for (size_t p = from; p < to; p++) {
            plmm_key chain;
            plmm_error err = {0};
            must(plmm_channels_key(NULL, &chain, NULL, &d[i].own, &pairs[p].peer, round, &err),
                 &err);
            plmm_channels_put(d[i].table, &pairs[p].peer, round, &chain);
        }
    }
    plmm_free(pairs);
}

void bench_rounds(const bench_case *c, bench_result *cold, bench_result *warm)
{
    device *d = need(plmm_alloc(c->n, sizeof *d));
    for (uint32_t i = 0; i < c->n; i++) {
        plmm_seed s;
        seed_of(&s, "bench.ch", i);
        plmm_dh_keypair(&d[i].own.pk, &d[i].own.sk, &s);
        d[i].own.since = SINCE;
        new_table(&d[i], 1);
    }
    bench_watch_pair(warm != NULL);
    /* SecAgg+: the same round again. One-shot: the next one of its epoch. */
    bool goes_on = warm != NULL && c->protocol == PLMM_PROTOCOL_ONESHOT;
    epoch e = {0};
    plmm_known *known = NULL;
    whole_round(c, cold, d, &known, NULL, goes_on ? &e : NULL);
    bench_watch_pair(false);
    if (warm != NULL) {
        warm_up(d, c->n, goes_on ? ROUND : ROUND - 1);
        whole_round(c, warm, d, &known, goes_on ? &e : NULL, NULL);
    }
    plmm_known_free(known);
    plmm_free(e.of_server);
    for (uint32_t i = 0; i < c->n; i++) {
        plmm_channels_free(d[i].table);
        plmm_free(d[i].epoch);
    }
    plmm_free(d);
    bench_watch_free();
}
