/* One whole round in memory, both sides, no network and no waiting: what the protocol costs. One
 * JSON line. usage: bench_round [devices] [coordinates] [dropouts] */
#include "plmm/agg_round.h"
#include "plmm/alloc.h"
#include "plmm/client_round.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct device {
    plmm_client_config cfg;
    plmm_client_round *m;
    plmm_seed seed;
    uint8_t *payload;
} device;

typedef struct bench {
    uint32_t n, length, drops;
    device *d;
    plmm_agg_config cfg;
    plmm_agg_round *agg;
    plmm_roster_memo memo;
    uint32_t *sum, *lanes;
    float *delta;
    uint8_t *frame, *upload;
    size_t frame_cap;
    double device_s, agg_s, unmask_s;
    uint64_t up, down;
    bool finished;
    uint32_t survivors;
} bench;

static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void must(plmm_status rc, const plmm_error *err)
{
    if (rc != PLMM_OK && rc != PLMM_ERR_STALE) {
        (void)fprintf(stderr, "bench_round: %s\n", err->msg);
        exit(1);
    }
}

static void seed_of(plmm_seed *s, uint64_t i)
{
    static const plmm_seed root = {{7}};
    plmm_seed_derive(s, &root, "bench.00", i);
}

static void agg_event(bench *b, plmm_agg_event e);

static void client_event(bench *b, uint32_t i, plmm_client_event e)
{
    device *d = &b->d[i];
    plmm_client_actions out;
    plmm_error err = {0};
    double t0 = seconds();
    must(plmm_client_round_step(d->m, &e, &out, &err), &err);
    b->device_s += seconds() - t0;
    for (uint32_t a = 0; a < out.n; a++) {
        const plmm_client_action *c = &out.v[a];
        plmm_client_event next = {.seq = c->seq};
        switch (c->type) {
        case PLMM_CLIENT_DO_PERSIST:
        case PLMM_CLIENT_DO_PERSIST_UPLOAD:
            next.type = PLMM_CLIENT_EV_PERSISTED;
            client_event(b, i, next);
            break;
        case PLMM_CLIENT_DO_SEND:
            b->up += c->len;
            agg_event(
                b, (plmm_agg_event){.type = PLMM_AGG_EV_FRAME, .bytes = c->bytes, .len = c->len});
            break;
        case PLMM_CLIENT_DO_SEND_UPLOAD:
            if (i < b->drops) {
                break;
            }
            memcpy(b->upload, c->bytes, c->len);
            memcpy(b->upload + c->len, d->payload, c->payload_len);
            b->up += c->len + c->payload_len;
            agg_event(b, (plmm_agg_event){.type = PLMM_AGG_EV_FRAME,
                                          .bytes = b->upload,
                                          .len = c->len + c->payload_len});
            break;
        case PLMM_CLIENT_DO_TRAIN:
            next.type = PLMM_CLIENT_EV_TRAINED;
            next.weight = 1;
            client_event(b, i, next);
            break;
        case PLMM_CLIENT_DO_MASK:
            t0 = seconds();
            d->payload = plmm_alloc(c->payload_len, 1);
            must(plmm_client_round_mask(d->m, d->payload, &next.digest, b->lanes, b->delta,
                                        b->length, &err),
                 &err);
            b->device_s += seconds() - t0;
            next.type = PLMM_CLIENT_EV_MASKED;
            client_event(b, i, next);
            break;
        case PLMM_CLIENT_DO_FINISH:
            break;
        case PLMM_CLIENT_DO_ABORT:
            if (i >= b->drops) {
                (void)fprintf(stderr, "bench_round: device %u: %s\n", i, c->text);
            }
            break;
        }
    }
}

static void send(bench *b, const plmm_agg_action *a)
{
    plmm_error err = {0};
    size_t len = 0, cap = plmm_agg_round_frame_max(b->agg);
    uint32_t n = a->to_n;
    uint64_t *to = plmm_alloc(n, sizeof *to);
    uint8_t *frame = plmm_alloc(cap, 1);
    plmm_message msg = a->msg;
    bool same = a->same;
    memcpy(to, a->to, n * sizeof *to);
    for (uint32_t i = 0; i < n; i++) {
        double t0 = seconds();
        if (i == 0 || !same) {
            must(plmm_agg_round_render(b->agg, msg, to[i], frame, cap, &len, &err), &err);
        }
        b->agg_s += seconds() - t0;
        b->down += len;
        client_event(b, (uint32_t)to[i] - 1,
                     (plmm_client_event){.type = PLMM_CLIENT_EV_FRAME, .bytes = frame, .len = len});
    }
    plmm_free(to);
    plmm_free(frame);
}

static void agg_event(bench *b, plmm_agg_event e)
{
    plmm_agg_actions out;
    plmm_error err = {0};
    double t0 = seconds();
    must(plmm_agg_round_step(b->agg, &e, &out, &err), &err);
    b->agg_s += seconds() - t0;
    for (uint32_t a = 0; a < out.n; a++) {
        plmm_agg_event next = {.seq = out.v[a].seq};
        t0 = seconds();
        switch (out.v[a].type) {
        case PLMM_AGG_DO_PERSIST:
            next.type = PLMM_AGG_EV_PERSISTED;
            agg_event(b, next);
            break;
        case PLMM_AGG_DO_ADD_INPUT:
            must(plmm_agg_round_add(b->agg, b->sum, out.v[a].bytes, out.v[a].len, &err), &err);
            b->agg_s += seconds() - t0;
            break;
        case PLMM_AGG_DO_SEND:
            send(b, &out.v[a]);
            break;
        case PLMM_AGG_DO_UNMASK:
            must(plmm_agg_round_unmask(b->agg, b->sum, &next.unmasked, &err), &err);
            b->unmask_s += seconds() - t0;
            next.type = PLMM_AGG_EV_UNMASKED;
            agg_event(b, next);
            break;
        case PLMM_AGG_DO_FINISH:
            b->finished = true;
            b->survivors = out.v[a].n;
            next.type = PLMM_AGG_EV_PUBLISHED;
            agg_event(b, next);
            break;
        case PLMM_AGG_DO_ABORT:
            (void)fprintf(stderr, "bench_round: %s\n", out.v[a].text);
            break;
        }
    }
}

static plmm_round_params params_of(uint32_t n, uint32_t length)
{
    plmm_round_params p = {.expert = "bench",
                           .round = 1,
                           .attempt = 1,
                           .cohort = n,
                           .n_min = 3,
                           .gamma_ppm = 100000,
                           .delta_ppm = 100000,
                           .sigma = 40,
                           .eta = 20,
                           .trust = PLMM_TRUST_SEMI_MALICIOUS,
                           .protocol = PLMM_PROTOCOL_SECAGG,
                           .mask = PLMM_MASK_RING,
                           .stream = PLMM_STREAM_CHACHA20,
                           .rate = UINT32_MAX,
                           .groups = 1,
                           .quant_bits = 16,
                           .weight_max = 256,
                           .clip = 1.0,
                           .length = length,
                           .steps = 1,
                           .batch_tokens = 1,
                           .learning_rate = 1.0};
    plmm_encoding e = plmm_round_encoding(&p);
    p.ring_bits = plmm_encoding_ring_bits(&e);
    return p;
}

static void setup(bench *b)
{
    plmm_seed s;
    plmm_anchor anchor = {.expert = "bench"};
    plmm_sign_sk registrar;
    plmm_error err = {0};
    b->cfg = (plmm_agg_config){.params = params_of(b->n, b->length),
                               .checkins_max = b->n,
                               .roster_min = 3,
                               .gather_ms = 1000,
                               .phase_ms = 1000,
                               .train_ms = 1000};
    seed_of(&s, UINT64_C(1) << 40);
    plmm_sign_keypair(&anchor.aggregator, &b->cfg.key, &s);
    seed_of(&s, UINT64_C(1) << 41);
    plmm_sign_keypair(&anchor.registrar, &registrar, &s);
    b->cfg.registrar = anchor.registrar;
    size_t payload = plmm_round_payload_bytes(&b->cfg.params);
    b->d = plmm_alloc(b->n, sizeof b->d[0]);
    b->sum = plmm_alloc(plmm_round_sum_bytes(&b->cfg.params), 1);
    b->lanes = plmm_alloc(plmm_round_lanes(&b->cfg.params), sizeof b->lanes[0]);
    b->delta = plmm_alloc(b->length, sizeof b->delta[0]);
    b->upload = plmm_alloc(1, PLMM_FRAME_SMALL + payload);
    for (uint32_t i = 0; i < b->n; i++) {
        plmm_client_config *c = &b->d[i].cfg;
        plmm_sign_pk pk;
        seed_of(&s, 2 * (uint64_t)i);
        plmm_sign_keypair(&pk, &c->key, &s);
        must(plmm_certificate_issue(&c->certificate, &registrar, "bench", i + 1, &pk, &err), &err);
        plmm_policy_default(&c->policy, &anchor);
        c->policy.n_min = 3;
        c->policy.vectors_n = 1;
        c->policy.vectors[0].length = b->length;
        c->resend_ms = 1000;
        c->silence_ms = 100000;
        c->memo = &b->memo;
        seed_of(&b->d[i].seed, 2 * (uint64_t)i + 1);
        must(plmm_client_round_new(&b->d[i].m, c, &err), &err);
    }
    must(plmm_agg_round_new(&b->agg, &b->cfg, &err), &err);
}

static void tear_down(bench *b)
{
    for (uint32_t i = 0; i < b->n; i++) {
        plmm_client_round_free(b->d[i].m);
        plmm_free(b->d[i].payload);
    }
    plmm_agg_round_free(b->agg);
    void *blocks[] = {b->d, b->sum, b->lanes, b->delta, b->upload, b->frame};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        plmm_free(blocks[i]);
    }
}

int main(int argc, char **argv)
{
    bench b = {.n = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 48,
               .length = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1000};
    b.drops = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : b.n / 10;
    plmm_error err = {0};
    must(plmm_crypto_init(&err), &err);
    setup(&b);
    agg_event(&b, (plmm_agg_event){.type = PLMM_AGG_EV_START, .seed = {{1}}});
    for (uint32_t i = 0; i < b.n; i++) {
        client_event(&b, i, (plmm_client_event){.type = PLMM_CLIENT_EV_START, .seed = b.d[i].seed});
    }
    for (uint64_t now = 1000; !b.finished && now < 20000; now += 1000) {
        agg_event(&b, (plmm_agg_event){.type = PLMM_AGG_EV_TICK, .now_ms = now});
    }
    plmm_agg_status s;
    plmm_agg_round_status(b.agg, &s);
    printf(
        "{\"bench\":\"round\",\"devices\":%u,\"coordinates\":%u,\"k\":%u,\"t\":%u,\"dropped\":%u,"
        "\"survivors\":%u,\"device_ms\":%.3f,\"aggregator_s\":%.3f,\"unmask_s\":%.3f,"
        "\"up_bytes\":%" PRIu64 ",\"down_bytes\":%" PRIu64 "}\n",
        b.n, b.length, s.k, s.t, b.drops, b.survivors, 1e3 * b.device_s / b.n, b.agg_s, b.unmask_s,
        b.up / b.n, b.down / b.n);
    tear_down(&b);
    return b.finished ? 0 : 1;
}
