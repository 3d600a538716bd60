/* tests/support/fleet.h -- one aggregator and some devices, driven in virtual time through the real
 * codec, with faults, a man in the middle, crashes, and books of its own.
 *
 * Everything follows from a seed. The books (fleet_check) know only frames and actions: nothing
 * here looks into a machine. */
#ifndef PLMM_FLEET_H
#define PLMM_FLEET_H

#include "plmm/agg_round.h"
#include "plmm/alloc.h"
#include "plmm/client_round.h"
#include "plmm/registrar.h"
#include "plmm/rng.h"
#include "test.h"

enum {
    FLEET_MAX = 64,
    FLEET_LENGTH_MAX = 64,
    FLEET_QUEUE_MAX = 1 << 14,
    FLEET_RECORDS_MAX = 1 << 12,
    FLEET_DEPTH_MAX = 64, /* of steps within steps: some crash, resume and crash again */
    FLEET_CHAIN = 16,     /* links of the registrar's chain */
    FLEET_AGG = FLEET_MAX /* place of the aggregator in "from" and "to" */
};

typedef struct fleet_bytes {
    uint8_t *p;
    size_t len;
} fleet_bytes;

static inline fleet_bytes fleet_copy(const void *p, size_t len)
{
    fleet_bytes b = {plmm_alloc(len, 1), len};
    if (b.p == NULL) {
        abort();
    }
    if (len > 0) {
        memcpy(b.p, p, len);
    }
    return b;
}

typedef struct fleet_letter {
    uint64_t due;
    uint64_t order;
    uint32_t from, to;
    fleet_bytes frame;
} fleet_letter;

typedef struct fleet_journal {
    fleet_bytes record[FLEET_RECORDS_MAX];
    uint32_t n;
} fleet_journal;

typedef struct fleet_device {
    plmm_client_config cfg;
    plmm_client_round *m;
    uint32_t lives; /* crashes */
    plmm_seed seed;
    float delta[FLEET_LENGTH_MAX];
    uint32_t weight;
    fleet_journal journal;
    fleet_bytes payload, stored;
    plmm_hash digest;
    bool gone;      /* dropped for good */
    uint32_t quits; /* drops out instead of sending a message of this type; 0: never */
    bool finished;
    plmm_abort aborted;
    plmm_refusal refusal; /* of its ABORT */
    plmm_refusal refused; /* of the last step that failed */
    char text[400];
    /* books */
    fleet_bytes reveal, masked;
} fleet_device;

struct fleet;
/* A man in the middle: may change, drop (return false) or watch a frame. */
typedef bool (*fleet_tap)(struct fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame,
                          void *arg);

typedef struct fleet {
    plmm_rng rng;
    uint32_t n, length;
    bool lends; /* a table of known devices */
    plmm_sign_sk agg_sk, registrar_sk;
    plmm_anchor anchor;
    plmm_agg_config cfg;
    plmm_agg_round *agg;
    plmm_known *known; /* lent to it by every other fleet; lost when it crashes */
    plmm_seed agg_seed;
    plmm_registrar *registrar;
    plmm_seed chain; /* the registrar's */
    uint64_t enrolled[FLEET_MAX];
    uint32_t enrolled_n;
    uint32_t seals;                       /* requests that were sealed */
    fleet_bytes request;                  /* the last one */
    bool mute_registrar;                  /* it does not answer */
    void (*before_seal)(struct fleet *f); /* called when the seal was asked for */
    fleet_device d[FLEET_MAX];
    uint32_t *sum, result[FLEET_LENGTH_MAX + 2];
    fleet_journal journal;
    fleet_bytes inputs[FLEET_MAX];
    fleet_letter queue[FLEET_QUEUE_MAX];
    uint32_t queue_n;
    uint64_t now, order;
    /* faults, per mille of letters */
    uint32_t lose, twice, delay;
    uint32_t crash;              /* per mille of steps */
    uint32_t persists, crash_at; /* PERSISTs so far; the one to crash at, counted from 1 */
    bool crash_before;           /* it was not durable */
    uint64_t faults_end;         /* virtual time after which nothing goes wrong */
    fleet_tap tap;
    void *tap_arg;
    /* Called when a device has masked its vector and its machine does not know it yet. */
    void (*masking)(struct fleet *f, uint32_t i, void *arg);
    void *masking_arg;
    /* outcome and books */
    bool finished, aborted;
    plmm_abort reason;
    char text[400];
    uint32_t in_sum;
    uint64_t blamed;       /* device named in the ABORT */
    plmm_refusal refusal;  /* what a device was last caught at */
    fleet_bytes survivors; /* the bulk of the SURVIVORS frames */
    uint32_t crashes, letters, lives;
    uint32_t dropped;                  /* inputs taken out again */
    plmm_shelf *shelf;                 /* one-shot rounds: with the tables of the whole cohort */
    const plmm_oneshot_tables *tables; /* those */
    bool stop_at_unmask;
    bool until_abort; /* run until device 0 leaves */
} fleet;

/* ---- keys and numbers from the seed ---- */

static inline void fleet_random(fleet *f, void *p, size_t len)
{
    uint8_t *b = p;
    for (size_t i = 0; i < len; i++) {
        b[i] = (uint8_t)plmm_rng_u64(&f->rng);
    }
}

static inline plmm_round_params fleet_params(uint32_t n, uint32_t length)
{
    plmm_round_params p = {.expert = "medicine",
                           .round = 7,
                           .attempt = 1,
                           .cohort = n,
                           .n_min = 3,
                           .gamma_ppm = 100000,
                           .delta_ppm = 200000,
                           .sigma = 40,
                           .eta = 20,
                           .trust = PLMM_TRUST_SEMI_MALICIOUS,
                           .protocol = PLMM_PROTOCOL_SECAGG,
                           .mask = PLMM_MASK_RING,
                           .stream = PLMM_STREAM_CHACHA20,
                           .rate = UINT32_MAX,
                           .groups = 1,
                           .quant_bits = 10,
                           .weight_max = 16,
                           .clip = 1.0,
                           .length = length,
                           .method = 3,
                           .factor = 1,
                           .names = {{9}},
                           .model = {{8}},
                           .steps = 5,
                           .batch_tokens = 64,
                           .learning_rate = 1e-3};
    plmm_encoding e = plmm_round_encoding(&p);
    p.ring_bits = plmm_encoding_ring_bits(&e);
    return p;
}

static inline void fleet_device_init(fleet *f, uint32_t i)
{
    fleet_device *d = &f->d[i];
    plmm_seed s;
    plmm_sign_pk pk;
    fleet_random(f, &s, sizeof s);
    fleet_random(f, &d->seed, sizeof d->seed);
    plmm_sign_keypair(&pk, &d->cfg.key, &s);
    plmm_error err;
    uint64_t id = 1000 + 7 * (uint64_t)i;
    CHECK(plmm_certificate_issue(&d->cfg.certificate, &f->registrar_sk, f->anchor.expert, id, &pk,
                                 &err) == PLMM_OK,
          "issue");
    plmm_policy_default(&d->cfg.policy, &f->anchor);
    d->cfg.policy.n_min = 3;
    d->cfg.policy.survivors_ppm = 300000;
    d->cfg.policy.vectors_n = 1;
    d->cfg.policy.vectors[0] = (plmm_policy_vector){.method = f->cfg.params.method,
                                                    .factor = f->cfg.params.factor,
                                                    .length = f->length,
                                                    .names = f->cfg.params.names};
    d->cfg.model = f->cfg.params.model;
    d->cfg.resend_ms = 500;
    d->cfg.silence_ms = 60000;
    f->enrolled[f->enrolled_n++] = id;
    d->weight = 1 + (uint32_t)plmm_rng_below(&f->rng, 16);
    for (uint32_t c = 0; c < f->length; c++) {
        d->delta[c] = (float)(plmm_rng_normal(&f->rng) * 0.3);
    }
}

static inline fleet *fleet_new(uint32_t n, uint32_t length, uint64_t seed)
{
    fleet *f = plmm_alloc(1, sizeof *f);
    plmm_seed s;
    if (f == NULL || n > FLEET_MAX || length > FLEET_LENGTH_MAX) {
        abort();
    }
    plmm_rng_init(&f->rng, seed, 1);
    f->n = n;
    f->length = length;
    f->lends = seed % 2 == 0;
    memcpy(f->anchor.expert, "medicine", 9);
    fleet_random(f, &s, sizeof s);
    plmm_sign_keypair(&f->anchor.aggregator, &f->agg_sk, &s);
    fleet_random(f, &s, sizeof s);
    plmm_sign_keypair(&f->anchor.registrar, &f->registrar_sk, &s);
    fleet_random(f, &f->agg_seed, sizeof f->agg_seed);
    plmm_registrar_config r = {.expert = "medicine",
                               .key = f->registrar_sk,
                               .aggregator = f->anchor.aggregator,
                               .chain_length = FLEET_CHAIN};
    plmm_link last;
    fleet_random(f, &r.chain, sizeof r.chain);
    f->chain = r.chain;
    CHECK(plmm_registrar_new(&f->registrar, &r, NULL) == PLMM_OK, "registrar");
    plmm_registrar_link(f->registrar, &f->anchor.link, &last);
    f->cfg = (plmm_agg_config){.params = fleet_params(n, length),
                               .key = f->agg_sk,
                               .registrar = f->anchor.registrar,
                               .link = f->anchor.link,
                               .checkins_max = n,
                               .roster_min = 3,
                               .gather_ms = 4000,
                               .phase_ms = 4000,
                               .train_ms = 8000};
    for (uint32_t i = 0; i < n; i++) {
        fleet_device_init(f, i);
    }
    f->faults_end = UINT64_MAX;
    return f;
}

/* The same devices in a one-shot round; before fleet_start. From 24 devices on. */
static inline void fleet_oneshot(fleet *f, uint32_t mask)
{
    plmm_error err = {0};
    plmm_round_params *p = &f->cfg.params;
    p->protocol = PLMM_PROTOCOL_ONESHOT;
    p->mask = mask;
    p->gamma_ppm = 50000;
    p->delta_ppm = 150000;
    CHECK(plmm_shelf_new(&f->shelf, 8, &err) == PLMM_OK &&
              plmm_shelf_tables(f->shelf, &f->tables, p, f->n, f->n, &err) == PLMM_OK,
          "%s", err.msg);
    f->cfg.shelf = f->shelf;
    for (uint32_t i = 0; i < f->n; i++) {
        f->d[i].cfg.policy.gamma_ppm = p->gamma_ppm;
        f->d[i].cfg.shelf = f->shelf;
    }
}

static inline void fleet_journal_clear(fleet_journal *j)
{
    for (uint32_t i = 0; i < j->n; i++) {
        plmm_free(j->record[i].p);
    }
    j->n = 0;
}

static inline void fleet_free(fleet *f)
{
    for (uint32_t i = 0; i < f->n; i++) {
        fleet_device *d = &f->d[i];
        plmm_client_round_free(d->m);
        fleet_journal_clear(&d->journal);
        plmm_free(d->payload.p);
        plmm_free(d->stored.p);
        plmm_free(d->reveal.p);
        plmm_free(d->masked.p);
        plmm_free(f->inputs[i].p);
    }
    for (uint32_t i = 0; i < f->queue_n; i++) {
        plmm_free(f->queue[i].frame.p);
    }
    plmm_agg_round_free(f->agg);
    plmm_known_free(f->known);
    plmm_registrar_free(f->registrar);
    plmm_shelf_free(f->shelf);
    fleet_journal_clear(&f->journal);
    plmm_free(f->survivors.p);
    plmm_free(f->request.p);
    plmm_free(f->sum);
    plmm_free(f);
}

static inline uint32_t fleet_place(const fleet *f, uint64_t id)
{
    uint64_t i = id < 1000 ? UINT64_MAX : (id - 1000) / 7;
    return i < f->n && f->d[i].cfg.certificate.device == id ? (uint32_t)i : UINT32_MAX;
}

/* ---- post ---- */

static inline bool fleet_chance(fleet *f, uint32_t per_mille)
{
    return per_mille > 0 && f->now < f->faults_end && plmm_rng_below(&f->rng, 1000) < per_mille;
}

static inline void fleet_enqueue(fleet *f, uint32_t from, uint32_t to, fleet_bytes frame)
{
    CHECK(f->queue_n < FLEET_QUEUE_MAX, "queue");
    if (f->queue_n == FLEET_QUEUE_MAX) {
        plmm_free(frame.p);
        return;
    }
    uint64_t late = fleet_chance(f, f->delay) ? plmm_rng_below(&f->rng, 1500) : 0;
    f->queue[f->queue_n++] = (fleet_letter){
        .due = f->now + 1 + late, .order = f->order++, .from = from, .to = to, .frame = frame};
}

/* The invariants that hold on the wire whatever happens. */
static inline void fleet_watch(fleet *f, uint32_t from, const fleet_bytes *b)
{
    static plmm_frame frame;
    plmm_error err;
    CHECK(plmm_frame_decode(&frame, b->p, b->len, &err) == PLMM_OK, "%s", err.msg);
    if (frame.type == PLMM_MSG_SURVIVORS ||
        frame.type == PLMM_MSG_CHOSEN) { /* C2: one set, for all */
        if (f->survivors.p == NULL) {
            f->survivors = fleet_copy(frame.bulk, frame.bulk_len);
        }
        CHECK(f->survivors.len == frame.bulk_len &&
                  memcmp(f->survivors.p, frame.bulk, frame.bulk_len) == 0,
              "two survivor sets");
    }
    if (from == FLEET_AGG) {
        return;
    }
    fleet_device *d = &f->d[from];
    bool reveals = frame.type == PLMM_MSG_REVEAL || frame.type == PLMM_MSG_SUM;
    bool masked = frame.type == PLMM_MSG_MASKED || frame.type == PLMM_MSG_CONTRIB;
    fleet_bytes *book = reveals ? &d->reveal : masked ? &d->masked : NULL;
    if (book != NULL && book->p == NULL) {
        *book = fleet_copy(b->p, b->len);
    }
    CHECK(book == NULL || (book->len == b->len && memcmp(book->p, b->p, b->len) == 0),
          "device %u answers twice, or masks two vectors with one mask", from); /* C1 C4 */
}

static inline void fleet_post(fleet *f, uint32_t from, uint32_t to, fleet_bytes frame)
{
    f->letters++;
    if (f->tap == NULL) {
        fleet_watch(f, from, &frame);
    } else if (!f->tap(f, from, to, &frame, f->tap_arg)) {
        plmm_free(frame.p);
        return;
    }
    if (fleet_chance(f, f->lose)) {
        plmm_free(frame.p);
        return;
    }
    if (fleet_chance(f, f->twice)) {
        fleet_enqueue(f, from, to, fleet_copy(frame.p, frame.len));
    }
    fleet_enqueue(f, from, to, frame);
}

/* Does a party that is to make a record durable crash before (or after) it is? */
static inline bool fleet_crashes(fleet *f, bool before)
{
    f->persists += before;
    return fleet_chance(f, f->crash / 2) ||
           (f->persists == f->crash_at && f->crash_before == before);
}

/* What depends on a record is not said in the step that makes it: it is not durable yet (C4,
 * C11). */
#define FLEET_PERSIST_FIRST(out, persists, sends)                                                  \
    do {                                                                                           \
        uint32_t persist_ = 0, send_ = 0;                                                          \
        for (uint32_t a_ = 0; a_ < (out)->n; a_++) {                                               \
            persist_ += (persists);                                                                \
            send_ += (sends);                                                                      \
        }                                                                                          \
        CHECK(persist_ == 0 || send_ == 0, "a step sends what is not durable");                    \
    } while (0)

/* ---- a device ---- */

static inline void fleet_record(fleet_journal *j, const uint8_t *p, size_t len)
{
    CHECK(j->n < FLEET_RECORDS_MAX, "journal");
    j->record[j->n++] = fleet_copy(p, len);
}

static void fleet_client_event(fleet *f, uint32_t i, plmm_client_event e, plmm_status *status);

static inline void fleet_client_train(fleet *f, uint32_t i, const plmm_client_action *a)
{
    fleet_device *d = &f->d[i];
    plmm_error err = {0};
    if (a->type == PLMM_CLIENT_DO_TRAIN) {
        fleet_client_event(
            f, i, (plmm_client_event){.type = PLMM_CLIENT_EV_TRAINED, .weight = d->weight}, NULL);
        return;
    }
    uint32_t lanes[FLEET_LENGTH_MAX + 2];
    plmm_free(d->payload.p);
    d->payload = (fleet_bytes){plmm_alloc(a->payload_len, 1), a->payload_len};
    CHECK(plmm_client_round_mask(d->m, d->payload.p, &d->digest, lanes, d->delta, f->length,
                                 &err) == PLMM_OK,
          "%s", err.msg);
    if (f->masking != NULL) {
        f->masking(f, i, f->masking_arg);
    }
    fleet_client_event(
        f, i, (plmm_client_event){.type = PLMM_CLIENT_EV_MASKED, .digest = d->digest}, NULL);
}

static inline bool fleet_quits(fleet *f, uint32_t i, const uint8_t *p, size_t len)
{
    static plmm_frame frame;
    fleet_device *d = &f->d[i];
    CHECK(plmm_frame_peek(&frame, p, len, NULL) == PLMM_OK, "own frame");
    if (d->quits != 0 && frame.type == d->quits) {
        d->gone = true;
    }
    return d->gone;
}

/* Restart from what is durable. */
static inline void fleet_client_crash(fleet *f, uint32_t i)
{
    fleet_device *d = &f->d[i];
    plmm_error err = {0};
    f->crashes++;
    d->lives++;
    plmm_client_round_free(d->m);
    d->m = NULL;
    CHECK(plmm_client_round_new(&d->m, &d->cfg, &err) == PLMM_OK, "%s", err.msg);
    for (uint32_t r = 0; r < d->journal.n; r++) {
        plmm_status rc =
            plmm_client_round_replay(d->m, d->journal.record[r].p, d->journal.record[r].len, &err);
        CHECK(rc == PLMM_OK, "device %u record %u: %s", i, r, err.msg);
    }
    fleet_random(f, &d->seed, d->journal.n == 0 ? sizeof d->seed : 0);
    fleet_client_event(
        f, i,
        (plmm_client_event){.type = d->journal.n > 0 ? PLMM_CLIENT_EV_RESUME : PLMM_CLIENT_EV_START,
                            .seed = d->seed},
        NULL);
}

static inline void fleet_client_obey(fleet *f, uint32_t i, const plmm_client_action *a)
{
    fleet_device *d = &f->d[i];
    fleet_bytes frame;
    switch (a->type) {
    case PLMM_CLIENT_DO_SEND:
        if (!fleet_quits(f, i, a->bytes, a->len)) {
            fleet_post(f, i, FLEET_AGG, fleet_copy(a->bytes, a->len));
        }
        break;
    case PLMM_CLIENT_DO_SEND_UPLOAD:
        CHECK(d->stored.len == a->payload_len, "a stored vector");
        frame = (fleet_bytes){plmm_alloc(a->len + d->stored.len, 1), a->len + d->stored.len};
        memcpy(frame.p, a->bytes, a->len);
        memcpy(frame.p + a->len, d->stored.p, d->stored.len);
        if (fleet_quits(f, i, frame.p, frame.len)) {
            plmm_free(frame.p);
        } else {
            fleet_post(f, i, FLEET_AGG, frame);
        }
        break;
    case PLMM_CLIENT_DO_PERSIST_UPLOAD:
    case PLMM_CLIENT_DO_PERSIST:
        if (fleet_crashes(f, true)) { /* not durable yet */
            fleet_client_crash(f, i);
            return;
        }
        fleet_record(&d->journal, a->bytes, a->len);
        if (a->type == PLMM_CLIENT_DO_PERSIST_UPLOAD) {
            plmm_free(d->stored.p);
            d->stored = fleet_copy(d->payload.p, d->payload.len);
            plmm_account cost;
            plmm_round_cost(&cost, a->params);
            plmm_account_add(&d->cfg.spent, &cost, 1);
        }
        if (fleet_crashes(f, false)) { /* durable, and nobody was told */
            fleet_client_crash(f, i);
            return;
        }
        fleet_client_event(
            f, i, (plmm_client_event){.type = PLMM_CLIENT_EV_PERSISTED, .seq = a->seq}, NULL);
        break;
    case PLMM_CLIENT_DO_TRAIN:
    case PLMM_CLIENT_DO_MASK:
        fleet_client_train(f, i, a);
        break;
    case PLMM_CLIENT_DO_FINISH:
        d->finished = true;
        break;
    case PLMM_CLIENT_DO_ABORT:
        d->aborted = a->reason;
        d->refusal = a->refusal;
        (void)snprintf(d->text, sizeof d->text, "%s", a->text);
        break;
    }
}

static inline void fleet_client_event(fleet *f, uint32_t i, plmm_client_event e,
                                      plmm_status *status)
{
    fleet_device *d = &f->d[i];
    plmm_client_actions out;
    plmm_error err = {0};
    if (d->gone || d->m == NULL) {
        return;
    }
    e.now_ms = f->now;
    uint32_t before = d->lives;
    plmm_status rc = plmm_client_round_step(d->m, &e, &out, &err);
    d->refused = rc != PLMM_OK ? out.refusal : PLMM_REFUSAL_NONE;
    if (status != NULL) {
        *status = rc;
        (void)snprintf(f->text, sizeof f->text, "%s", err.msg);
    }
    FLEET_PERSIST_FIRST(
        &out,
        out.v[a_].type == PLMM_CLIENT_DO_PERSIST || out.v[a_].type == PLMM_CLIENT_DO_PERSIST_UPLOAD,
        out.v[a_].type == PLMM_CLIENT_DO_SEND || out.v[a_].type == PLMM_CLIENT_DO_SEND_UPLOAD);
    for (uint32_t a = 0; rc == PLMM_OK && a < out.n && d->lives == before && !d->gone; a++) {
        fleet_client_obey(f, i, &out.v[a]);
    }
}

/* ---- the aggregator ---- */

static void fleet_agg_event(fleet *f, plmm_agg_event e, plmm_status *status);

static inline void fleet_agg_drop(fleet *f, const plmm_agg_action *a)
{
    plmm_error err = {0};
    for (uint32_t d = 0; d < a->to_n; d++) {
        uint32_t i = fleet_place(f, a->to[d]);
        CHECK(plmm_agg_round_drop(f->agg, f->sum, f->inputs[i].p, f->inputs[i].len, &err) ==
                  PLMM_OK,
              "%s", err.msg);
        f->dropped++;
    }
}

/* What a process of the aggregator begins with. */
static inline void fleet_agg_new(fleet *f)
{
    plmm_error err = {0};
    plmm_known_free(f->known);
    f->known = NULL;
    if (f->lends) {
        CHECK(plmm_known_new(&f->known, &f->cfg.key, &f->cfg.registrar, f->cfg.params.expert,
                             FLEET_MAX, &err) == PLMM_OK,
              "%s", err.msg);
    }
    f->cfg.known = f->known;
    CHECK(plmm_agg_round_new(&f->agg, &f->cfg, &err) == PLMM_OK, "%s", err.msg);
}

static inline void fleet_agg_crash(fleet *f)
{
    plmm_error err = {0};
    plmm_agg_actions out;
    f->crashes++;
    f->lives++;
    plmm_agg_round_free(f->agg);
    f->agg = NULL;
    memset(f->sum, 0, plmm_round_sum_bytes(&f->cfg.params));
    fleet_agg_new(f);
    for (uint32_t r = 0; r < f->journal.n; r++) {
        CHECK(plmm_agg_round_replay(f->agg, f->journal.record[r].p, f->journal.record[r].len, &out,
                                    &err) == PLMM_OK,
              "aggregator record %u: %s", r, err.msg);
        for (uint32_t a = 0; a < out.n; a++) {
            uint32_t i = fleet_place(f, out.v[a].device);
            if (out.v[a].type == PLMM_AGG_DO_DROP_INPUT) {
                fleet_agg_drop(f, &out.v[a]);
                continue;
            }
            CHECK(out.v[a].type == PLMM_AGG_DO_ADD_INPUT && out.v[a].bytes == NULL, "replay");
            CHECK(plmm_agg_round_add(f->agg, f->sum, f->inputs[i].p, f->inputs[i].len, &err) ==
                      PLMM_OK,
                  "%s", err.msg);
        }
    }
    fleet_agg_event(
        f,
        (plmm_agg_event){.type = f->journal.n > 0 ? PLMM_AGG_EV_RESUME : PLMM_AGG_EV_START,
                         .seed = f->agg_seed},
        NULL);
}

static inline void fleet_agg_send(fleet *f, const plmm_agg_action *a)
{
    size_t cap = plmm_agg_round_frame_max(f->agg), len;
    uint8_t *buf = plmm_alloc(cap, 1);
    plmm_error err = {0};
    for (uint32_t i = 0; i < a->to_n; i++) {
        uint32_t to = fleet_place(f, a->to[i]);
        CHECK(to != UINT32_MAX, "receiver %" PRIu64, a->to[i]);
        CHECK(plmm_agg_round_render(f->agg, a->msg, a->to[i], buf, cap, &len, &err) == PLMM_OK,
              "%s", err.msg);
        fleet_post(f, FLEET_AGG, to, fleet_copy(buf, len));
    }
    plmm_free(buf);
}

/* The registrar answers at once. */
static inline void fleet_agg_seal(fleet *f, const plmm_agg_action *a)
{
    static plmm_registrar_answer answer;
    plmm_enrolled enrolled = {f->enrolled, f->enrolled_n};
    plmm_error err = {0};
    plmm_free(f->request.p);
    f->request = fleet_copy(a->bytes, a->len);
    if (f->mute_registrar) {
        return;
    }
    if (f->before_seal != NULL) {
        f->before_seal(f);
    }
    CHECK(plmm_registrar_seal(f->registrar, a->bytes, a->len, &enrolled, &answer, &err) == PLMM_OK,
          "%s", err.msg);
    f->seals += answer.record_len > 0;
    fleet_bytes frame = fleet_copy(answer.frame, answer.frame_len);
    fleet_agg_event(
        f, (plmm_agg_event){.type = PLMM_AGG_EV_SEALED, .bytes = frame.p, .len = frame.len}, NULL);
    plmm_free(frame.p);
}

static inline void fleet_agg_unmask(fleet *f)
{
    plmm_agg_event e = {.type = PLMM_AGG_EV_UNMASKED};
    plmm_error err = {0};
    CHECK(plmm_agg_round_unmask(f->agg, f->sum, &e.unmasked, &err) == PLMM_OK, "%s", err.msg);
    fleet_agg_event(f, e, NULL);
}

static inline void fleet_agg_obey(fleet *f, const plmm_agg_action *a)
{
    plmm_error err = {0};
    uint32_t i;
    switch (a->type) {
    case PLMM_AGG_DO_SEND:
        fleet_agg_send(f, a);
        break;
    case PLMM_AGG_DO_PERSIST:
        if (fleet_crashes(f, true)) {
            fleet_agg_crash(f);
            return;
        }
        fleet_record(&f->journal, a->bytes, a->len);
        if (fleet_crashes(f, false)) {
            fleet_agg_crash(f);
            return;
        }
        fleet_agg_event(f, (plmm_agg_event){.type = PLMM_AGG_EV_PERSISTED, .seq = a->seq}, NULL);
        break;
    case PLMM_AGG_DO_ADD_INPUT:
        CHECK(f->survivors.p == NULL, "an input after the survivors were announced");
        i = fleet_place(f, a->device);
        plmm_free(f->inputs[i].p);
        f->inputs[i] = fleet_copy(a->bytes, a->len);
        CHECK(plmm_agg_round_add(f->agg, f->sum, a->bytes, a->len, &err) == PLMM_OK, "%s", err.msg);
        break;
    case PLMM_AGG_DO_SEAL:
        fleet_agg_seal(f, a);
        break;
    case PLMM_AGG_DO_DROP_INPUT:
        fleet_agg_drop(f, a);
        break;
    case PLMM_AGG_DO_UNMASK:
        if (!f->stop_at_unmask) {
            fleet_agg_unmask(f);
        }
        break;
    case PLMM_AGG_DO_FINISH:
        f->finished = true;
        f->in_sum = a->n;
        memcpy(f->result, f->sum, plmm_round_lanes(&f->cfg.params) * sizeof f->sum[0]);
        fleet_agg_event(f, (plmm_agg_event){.type = PLMM_AGG_EV_PUBLISHED, .model = {{0x55}}},
                        NULL);
        break;
    case PLMM_AGG_DO_ABORT:
        f->aborted = true;
        f->reason = a->reason;
        f->blamed = a->device;
        (void)snprintf(f->text, sizeof f->text, "%s", a->text);
        break;
    }
}

static inline void fleet_agg_event(fleet *f, plmm_agg_event e, plmm_status *status)
{
    plmm_agg_actions out;
    plmm_error err = {0};
    e.now_ms = f->now;
    plmm_status rc = plmm_agg_round_step(f->agg, &e, &out, &err);
    if (rc != PLMM_OK && rc != PLMM_ERR_STALE) {
        f->refusal = out.refusal;
    }
    if (status != NULL) {
        *status = rc;
        (void)snprintf(f->text, sizeof f->text, "%s", err.msg);
    }
    FLEET_PERSIST_FIRST(&out, out.v[a_].type == PLMM_AGG_DO_PERSIST,
                        out.v[a_].type == PLMM_AGG_DO_SEND);
    /* Nested steps end borrowed pointers: what sends comes last, and lists are copied. */
    static uint64_t lists[FLEET_DEPTH_MAX][4 * FLEET_MAX];
    static uint32_t depth;
    plmm_agg_actions mine = out;
    CHECK(depth < FLEET_DEPTH_MAX, "depth");
    uint32_t used = 0;
    for (uint32_t a = 0; a < mine.n; a++) {
        if (mine.v[a].type == PLMM_AGG_DO_SEND) {
            memcpy(lists[depth] + used, mine.v[a].to, mine.v[a].to_n * sizeof(uint64_t));
            mine.v[a].to = lists[depth] + used;
            used += mine.v[a].to_n;
        }
    }
    uint32_t life = f->lives;
    depth++;
    for (uint32_t a = 0; a < mine.n && f->lives == life; a++) {
        fleet_agg_obey(f, &mine.v[a]);
    }
    depth--;
}

/* ---- the run ---- */

static inline void fleet_start(fleet *f)
{
    plmm_error err = {0};
    f->sum = plmm_alloc(plmm_round_sum_bytes(&f->cfg.params), 1);
    fleet_agg_new(f);
    fleet_agg_event(f, (plmm_agg_event){.type = PLMM_AGG_EV_START, .seed = f->agg_seed}, NULL);
    for (uint32_t i = 0; i < f->n; i++) {
        CHECK(plmm_client_round_new(&f->d[i].m, &f->d[i].cfg, &err) == PLMM_OK, "%s", err.msg);
        fleet_client_event(
            f, i, (plmm_client_event){.type = PLMM_CLIENT_EV_START, .seed = f->d[i].seed}, NULL);
    }
}

static inline uint32_t fleet_next(const fleet *f)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < f->queue_n; i++) {
        const fleet_letter *l = &f->queue[i], *b = best == UINT32_MAX ? NULL : &f->queue[best];
        if (b == NULL || l->due < b->due || (l->due == b->due && l->order < b->order)) {
            best = i;
        }
    }
    return best;
}

static inline bool fleet_over(const fleet *f)
{
    if (!f->finished && !f->aborted) {
        return false;
    }
    for (uint32_t i = 0; i < f->n; i++) {
        if (!f->d[i].gone && f->d[i].m != NULL &&
            plmm_client_round_deadline(f->d[i].m) != UINT64_MAX) {
            return false;
        }
    }
    return true;
}

static inline void fleet_deliver(fleet *f, uint32_t at)
{
    fleet_letter l = f->queue[at];
    f->queue[at] = f->queue[--f->queue_n];
    f->now = l.due > f->now ? l.due : f->now;
    if (l.to == FLEET_AGG) {
        fleet_agg_event(
            f, (plmm_agg_event){.type = PLMM_AGG_EV_FRAME, .bytes = l.frame.p, .len = l.frame.len},
            NULL);
    } else {
        fleet_client_event(f, l.to,
                           (plmm_client_event){.type = PLMM_CLIENT_EV_FRAME,
                                               .bytes = l.frame.p,
                                               .len = l.frame.len},
                           NULL);
    }
    plmm_free(l.frame.p);
}

/* The earliest deadline; UINT64_MAX if there is none. */
static inline uint64_t fleet_deadline(const fleet *f)
{
    uint64_t t = plmm_agg_round_deadline(f->agg);
    for (uint32_t i = 0; i < f->n; i++) {
        if (!f->d[i].gone && f->d[i].m != NULL) {
            uint64_t c = plmm_client_round_deadline(f->d[i].m);
            t = c < t ? c : t;
        }
    }
    return t;
}

static inline void fleet_run(fleet *f)
{
    for (uint32_t turn = 0;
         turn < 200000 && !fleet_over(f) && !(f->until_abort && f->d[0].aborted != PLMM_ABORT_NONE);
         turn++) {
        uint32_t at = fleet_next(f);
        uint64_t t = fleet_deadline(f);
        if (at != UINT32_MAX && f->queue[at].due <= t) {
            fleet_deliver(f, at);
            continue;
        }
        if (t == UINT64_MAX) {
            break;
        }
        f->now = t > f->now ? t : f->now;
        fleet_agg_event(f, (plmm_agg_event){.type = PLMM_AGG_EV_TICK}, NULL);
        for (uint32_t i = 0; i < f->n; i++) {
            fleet_client_event(f, i, (plmm_client_event){.type = PLMM_CLIENT_EV_TICK}, NULL);
        }
    }
}

/* ---- the truth, computed apart: what each survivor's vector was ---- */

static inline void fleet_lanes(const fleet *f, uint32_t i, uint32_t *lanes)
{
    plmm_round_params p = *plmm_agg_round_params(f->agg);
    plmm_hash h;
    plmm_seed root, rounding;
    plmm_error err;
    plmm_round_params_hash(&h, &p);
    plmm_kdf(root.b, f->d[i].seed.b, "round.rt", h.b, sizeof h.b);
    plmm_seed_derive(&rounding, &root, "rounding", 0);
    plmm_encoding e = plmm_round_encoding(&p);
    plmm_xnoise x = plmm_round_xnoise(&p);
    uint32_t w = f->d[i].weight < p.weight_max ? f->d[i].weight : p.weight_max, level;
    int32_t *v = (int32_t *)lanes;
    CHECK(plmm_encode_int(v, NULL, &e, f->d[i].delta, f->length, w, x.kind != 0 ? &x : NULL,
                          &rounding, &err) == PLMM_OK,
          "%s", err.msg);
    if (f->d[i].reveal.p != NULL && plmm_round_surplus(&p, f->in_sum, &level)) {
        plmm_xnoise_root(&root, &rounding);
        plmm_xnoise_chain(&root, &root, level + 1);
        CHECK(plmm_xnoise_remove(v, plmm_round_lanes(&p), &x, level, &root, &err) == PLMM_OK, "%s",
              err.msg);
    }
    plmm_lanes_reduce(v, plmm_round_lanes(&p), p.ring_bits);
}

/* After a run: if it finished, the sum is to the bit that of the survivors. */
static inline void fleet_check_sum(const fleet *f)
{
    if (!f->finished) {
        return;
    }
    uint64_t ids[FLEET_MAX];
    uint32_t n, want[FLEET_LENGTH_MAX + 2] = {0}, lanes[FLEET_LENGTH_MAX + 2];
    size_t all = plmm_round_lanes(&f->cfg.params);
    plmm_agg_round_survivors(f->agg, ids, &n);
    CHECK(n == f->in_sum && n >= f->cfg.params.n_min, "%u survivors, %u in the sum", n, f->in_sum);
    for (uint32_t s = 0; s < n; s++) {
        fleet_lanes(f, fleet_place(f, ids[s]), lanes);
        plmm_ring_add(want, lanes, all, f->cfg.params.ring_bits);
    }
    if (f->cfg.params.noise_mode == PLMM_NOISE_CENTRAL) { /* the aggregator's, of its own seed */
        plmm_seed own = f->cfg.tree;
        plmm_error err;
        if (f->cfg.params.noise_tree == 0) {
            plmm_seed_derive(&own, &f->agg_seed, "noise.01", f->cfg.params.attempt);
        }
        CHECK(plmm_round_add_central(want, &f->cfg.params, &own, &err) == PLMM_OK, "%s", err.msg);
    }
    CHECK(memcmp(want, f->result, all * sizeof want[0]) == 0, "the sum over %u devices is exact",
          n);
}

#endif
