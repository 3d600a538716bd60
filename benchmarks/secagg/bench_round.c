/* bench_round -- what whole rounds of secure aggregation cost: all devices and the server by the
 * production machines in one thread, with everything that a deployment does but the network and the
 * training. One JSON line a case; the prototype and Flower beside it as ratios. */
#include "bench.h"

#include "plmm/cli.h"
#include "plmm/committee.h"
#include "plmm/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const phase_names[BENCH_PHASES] = {"keys", "share", "mask", "agree", "unmask"};
static const char *const call_names[BENCH_CALLS] = {"sign", "verify", "agreement", "encode",
                                                    "hash"};

void bench_delta(float *delta, uint32_t length, uint32_t i)
{
    uint32_t state = 2654435761u * (i + 1);
    for (uint32_t j = 0; j < length; j++) {
        state = state * 1664525u + 1013904223u;
        delta[j] = (float)((int32_t)state >> 8) * 0x1p-23f;
    }
}

/* ---- sums ---- */

static double total(const double s[BENCH_PHASES])
{
    double t = 0;
    for (int p = 0; p < BENCH_PHASES; p++) {
        t += s[p];
    }
    return t;
}

static double all_of(const bench_result *r)
{
    return total(r->device_s) + total(r->server_s) + r->registrar_s;
}

/* ---- peers ---- */

typedef struct peers {
    const char *prototype;
    uint32_t threads;
    bool ran, has_flower;
    bench_prototype best;
    bench_flower flower;
} peers;

/* The committee's set-up is one side of each channel only; a cold round has both. */
static double prototype_all(const bench_prototype *p, bool warm)
{
    return p->clients_s + p->server_s + (warm ? 0 : 2 * p->setup_s);
}

static plmm_status run_prototype(peers *x, const bench_case *c, bool warm, const bench_result *r,
                                 plmm_error *err)
{
    /* its mode, n, d, k and t or members and points, VAES, cached channels, rho, corrupt */
    bool oneshot = c->protocol == PLMM_PROTOCOL_ONESHOT;
    const uint32_t mode = oneshot ? 2 : c->mask == PLMM_MASK_RING ? 0 : 1;
    const uint32_t numbers[9] = {mode, c->n, c->length,          r->k,      r->t,
                                 0,    warm, PLMM_COMMITTEE_RHO, r->corrupt};
    char text[9][12];
    const char *args[12] = {0};
    for (int i = 0; i < 9; i++) {
        (void)snprintf(text[i], sizeof text[i], "%" PRIu32, numbers[i]);
        args[i] = text[i];
    }
    bench_prototype p;
    PLMM_TRY(bench_prototype_run(&p, x->prototype, args, x->threads, err));
    if (!p.exact) {
        return plmm_fail(err, PLMM_ERR_STATE, "the prototype's sum is wrong");
    }
    if (!x->ran || prototype_all(&p, warm) < prototype_all(&x->best, warm)) {
        x->best = p;
    }
    x->ran = true;
    return PLMM_OK;
}

/* ---- the line ---- */

/* Five digits: no clock here is better. */
static void put(plmm_json_writer *w, const char *key, double v)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%.5g", v);
    plmm_json_put_key(w, key);
    plmm_json_put_real(w, strtod(text, NULL));
}

static void put_count(plmm_json_writer *w, const char *key, uint64_t v)
{
    plmm_json_put_key(w, key);
    plmm_json_put_u64(w, v);
}

static void put_name(plmm_json_writer *w, const char *key, const char *v)
{
    plmm_json_put_key(w, key);
    plmm_json_put_text(w, v);
}

static void put_case(plmm_json_writer *w, const bench_case *c, bool warm, const bench_result *r)
{
    static const char *const masks[] = {"", "ring", "kahe", "kahe-long"};
    put_name(w, "bench", "round");
    put_name(w, "protocol", c->protocol == PLMM_PROTOCOL_SECAGG ? "secagg" : "oneshot");
    put_name(w, "mask", masks[c->mask]);
    const char *stream = plmm_stream_name(c->stream);
    put_name(w, "stream", stream != NULL ? stream : "none");
    put_name(w, "channels", warm ? "warm" : "cold");
    put_count(w, "n", c->n);
    put_count(w, "d", c->length);
    put_count(w, "k", r->k);
    put_count(w, "t", r->t);
    put_count(w, "ring_bits", r->ring_bits);
    put_count(w, "dropped", r->dropped);
    put_count(w, "survivors", r->survivors);
    plmm_json_put_key(w, "exact");
    plmm_json_put_bool(w, r->exact);
}

static void put_costs(plmm_json_writer *w, const bench_case *c, const bench_result *r)
{
    char key[48];
    put(w, "cpu_s", all_of(r));
    put(w, "half_cpu_s", all_of(r) / 2);
    put(w, "device_ms", 1e3 * total(r->device_s) / c->n);
    put(w, "server_s", total(r->server_s));
    put(w, "registrar_s", r->registrar_s);
    if (c->protocol == PLMM_PROTOCOL_ONESHOT) {
        put(w, "tables_s", r->tables_s);
    }
    for (int p = 0; p < BENCH_PHASES; p++) {
        (void)snprintf(key, sizeof key, "device_%s_ms", phase_names[p]);
        put(w, key, 1e3 * r->device_s[p] / c->n);
    }
    for (int p = 0; p < BENCH_PHASES; p++) {
        (void)snprintf(key, sizeof key, "server_%s_s", phase_names[p]);
        put(w, key, r->server_s[p]);
    }
    for (int i = 0; i < BENCH_CALLS; i++) {
        (void)snprintf(key, sizeof key, "%s_s", call_names[i]);
        put(w, key, r->calls_s[i]);
        (void)snprintf(key, sizeof key, "%s_calls", call_names[i]);
        put_count(w, key, r->calls[i]);
    }
    put(w, "signatures_share",
        (r->calls_s[BENCH_SIGN] + r->calls_s[BENCH_VERIFY] + r->calls_s[BENCH_HASH]) / all_of(r));
    put_count(w, "up_bytes", r->up / c->n);
    put_count(w, "down_bytes", r->down / c->n);
    put_count(w, "vector_bytes", r->payload);
    put(w, "up_to_float32", (double)r->up / c->n / (4.0 * c->length));
}

static void put_peers(plmm_json_writer *w, const bench_case *c, bool warm, const bench_result *r,
                      const peers *x)
{
    if (x->ran) {
        put_count(w, "prototype_threads", x->threads);
        double all = prototype_all(&x->best, warm);
        put(w, "prototype_cpu_s", all);
        put(w, "prototype_half_cpu_s", all / 2);
        put(w, "prototype_server_s", x->best.server_s);
        put(w, "to_prototype", all_of(r) / all);
        put(w, "server_to_prototype", total(r->server_s) / x->best.server_s);
    }
    if (x->has_flower) {
        const bench_flower *f = &x->flower;
        double server = r->survivors * f->survivor_s + r->dropped * f->dropped_s;
        put_count(w, "flower_k", f->k);
        put_count(w, "flower_d", f->d);
        put(w, "flower_device_s", f->device_s);
        put(w, "flower_server_s", server);
        put(w, "flower_device_ratio", f->device_s * c->n / total(r->device_s));
        put(w, "flower_server_ratio", server / total(r->server_s));
        put(w, "flower_up_ratio", (double)f->up * c->n / (double)r->up);
    }
}

static plmm_status print_line(const bench_case *c, bool warm, const bench_result *r, const peers *x,
                              plmm_error *err)
{
    plmm_json_writer w;
    plmm_json_begin(&w, PLMM_JSON_COMPACT, plmm_cli_put, NULL);
    plmm_json_open_object(&w);
    put_case(&w, c, warm, r);
    put_costs(&w, c, r);
    put_peers(&w, c, warm, r, x);
    plmm_json_close_object(&w);
    PLMM_TRY(plmm_json_end(&w, err));
    return plmm_cli_put(NULL, "\n", 1, err);
}

/* ---- the program ---- */

static plmm_status choose(const char *given, const char *const *names, uint32_t *out,
                          plmm_error *err)
{
    for (uint32_t i = 0; names[i] != NULL; i++) {
        if (strcmp(given, names[i]) == 0) {
            *out = i + 1;
            return PLMM_OK;
        }
    }
    return plmm_fail(err, PLMM_ERR_RANGE, "%s is not known; %s is", given, names[0]);
}

static plmm_status read_case(plmm_cli_args *a, bench_case *c, peers *x, plmm_error *err)
{
    static const char *const masks[] = {"ring", "kahe", "kahe-long", NULL};
    static const char *const streams[] = {"chacha", "aes", NULL};
    uint32_t mask = 0;
    uint32_t stream = 0;
    bool oneshot = strcmp(a->verb->name, "oneshot") == 0;
    const char *name = plmm_cli_text(a, "mask");
    PLMM_TRY(choose(name != NULL ? name : oneshot ? "kahe" : "ring", masks, &mask, err));
    PLMM_TRY(choose(plmm_cli_text(a, "stream"), streams, &stream, err));
    *c = (bench_case){.n = (uint32_t)plmm_cli_int(a, "n"),
                      .length = (uint32_t)plmm_cli_int(a, "d"),
                      .protocol = oneshot ? PLMM_PROTOCOL_ONESHOT : PLMM_PROTOCOL_SECAGG,
                      .mask = mask,
                      .stream = stream,
                      .drop = plmm_cli_real(a, "drop")};
    *x = (peers){.prototype = plmm_cli_text(a, "prototype"),
                 .threads = (uint32_t)plmm_cli_int(a, "threads")};
    if (plmm_cli_text(a, "flower") != NULL) {
        x->has_flower = true;
        PLMM_TRY(bench_flower_read(&x->flower, plmm_cli_text(a, "flower"), c->length, err));
    }
    return PLMM_OK;
}

static void keep_best(bench_result *best, const bench_result *r, bool first)
{
    if (first || all_of(r) < all_of(best)) {
        *best = *r;
    }
}

static plmm_status run(plmm_cli_args *a, plmm_error *err)
{
    bench_case c;
    bench_result best[2] = {{0}};
    peers x[2];
    PLMM_TRY(plmm_crypto_init(err));
    PLMM_TRY(read_case(a, &c, &x[0], err));
    x[1] = x[0];
    int kinds = plmm_cli_flag(a, "warm") ? 2 : 1;
    for (int64_t i = 0; i < plmm_cli_int(a, "repeat"); i++) {
        bench_result r[2];
        bench_rounds(&c, &r[0], kinds == 2 ? &r[1] : NULL);
        for (int warm = 0; warm < kinds; warm++) {
            if (!r[warm].exact) {
                return plmm_fail(err, PLMM_ERR_STATE, "the sum is not that of the survivors");
            }
            keep_best(&best[warm], &r[warm], i == 0);
            if (x[warm].prototype != NULL) {
                PLMM_TRY(run_prototype(&x[warm], &c, warm == 1, &r[warm], err));
            }
        }
    }
    for (int warm = 0; warm < kinds; warm++) {
        PLMM_TRY(print_line(&c, warm == 1, &best[warm], &x[warm], err));
    }
    return PLMM_OK;
}

static const plmm_cli_option options[] = {
    {"n", PLMM_CLI_INT, "N", "1000", 3, 10000, "devices"},
    {"d", PLMM_CLI_INT, "N", "50000", 1, 1 << 24, "coordinates"},
    {"mask", PLMM_CLI_TEXT, "NAME", NULL, 0, 0,
     "ring, kahe or kahe-long; default: ring, and kahe for one-shot"},
    {"stream", PLMM_CLI_TEXT, "NAME", "chacha", 0, 0, "chacha or aes: what expands seeds"},
    {"warm", PLMM_CLI_FLAG, NULL, NULL, 0, 0,
     "a second line: a round with all channel keys cached"},
    {"drop", PLMM_CLI_REAL, "SHARE", "0.1", 0, 0.5, "devices whose vector never comes"},
    {"repeat", PLMM_CLI_INT, "N", "1", 1, 100, "runs of each; the fastest counts"},
    {"prototype", PLMM_CLI_TEXT, "PATH", NULL, 0, 0,
     "simcpu.c, compiled with -O3 -march=native -fopenmp: run alternately with ours"},
    {"threads", PLMM_CLI_INT, "N", "2", 1, 64, "OpenMP threads of the prototype"},
    {"flower", PLMM_CLI_TEXT, "FILE", NULL, 0, 0,
     "what benchmarks/peers/flower_secagg.py printed here"},
};

static const plmm_cli_verb verbs[] = {
    {"secagg", "", 0, 0, "run SecAgg+ rounds",
     "One JSON line: CPU seconds of all devices and of the server by phase, octets a device, and\n"
     "the ratios to the prototype and to Flower. half_cpu_s is what two cores would take.",
     options, sizeof options / sizeof options[0], run},
    {"oneshot", "", 0, 0, "run one-shot rounds",
     "As secagg; a warm round is a later one of an epoch: no roster, no key agreement.", options,
     sizeof options / sizeof options[0], run},
};

int main(int argc, char **argv)
{
    static const plmm_cli_program p = {"bench_round", "what rounds of secure aggregation cost",
                                       NULL, verbs, sizeof verbs / sizeof verbs[0]};
    return plmm_cli_main(&p, argc, argv);
}
