/* fleet.h -- a small federation for tests: real processes, real TCP on loopback, real SQLite, tiny
 * vectors instead of a model. The same program is the driver, the aggregator (`serve`), its registrar
 * (`registrar`) and each device (`join`); their drivers are the product's.
 *
 * What a device gives is a function of (device, round), and every coordinate of it is a whole
 * number of quantiser steps, so that the encoding is exact and anybody can say what the sum must
 * be. */
#ifndef FLEET_H
#define FLEET_H

#include "plmm/alloc.h"
#include "plmm/clock.h"
#include "plmm/file.h"
#include "plmm/join.h"
#include "plmm/log.h"
#include "plmm/registry.h"
#include "plmm/serve.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define FLEET_EXPERT "art"
#ifndef FLEET_SIZE
#define FLEET_SIZE 20
#endif
enum {
    FLEET_DEVICES = FLEET_SIZE,
    FLEET_LENGTH = 300,
    FLEET_QUANT = 16,
    FLEET_CLIP = 32767, /* 2^(16-1) - 1: one step is WEIGHT_MAX */
    FLEET_WEIGHT_MAX = 4,
    FLEET_RING = 21 /* 32 * 32767 < 2^20 */
};

/* ---- inputs: lane i of a device in a round, as a signed number of steps ---- */

static inline uint32_t fleet_weight(uint64_t device)
{
    return 1 + (uint32_t)(device % FLEET_WEIGHT_MAX);
}

static inline int32_t fleet_coordinate(uint64_t device, uint64_t round, uint32_t i)
{
    uint64_t x = device * UINT64_C(0x9e3779b97f4a7c15) + round * UINT64_C(0xbf58476d1ce4e5b9) +
                 i * UINT64_C(0x94d049bb133111eb);
    x ^= x >> 29;
    x *= UINT64_C(0xd6e8feb86659fd93);
    return (int32_t)((x >> 33) % 401) - 200; /* |4 * 200| * sqrt(300) is below the clip */
}

/* What lane i of the sum over these devices must be, mod 2^FLEET_RING. */
static inline uint32_t fleet_expected(const uint64_t *devices, uint32_t n, uint64_t round,
                                      uint32_t i)
{
    int64_t sum = 0;
    for (uint32_t d = 0; d < n; d++) {
        int64_t w = fleet_weight(devices[d]);
        sum += i == FLEET_LENGTH ? w : w * fleet_coordinate(devices[d], round, i);
    }
    return (uint32_t)((uint64_t)sum & ((1u << FLEET_RING) - 1));
}

/* ---- keys: of a test, hence from numbers ---- */

static inline void fleet_keys(uint8_t who, plmm_sign_pk *pk, plmm_sign_sk *sk)
{
    plmm_seed seed = {{0}};
    memset(seed.b, who, sizeof seed.b);
    seed.b[0] = 0x5a;
    plmm_sign_keypair(pk, sk, &seed);
}
enum { FLEET_AGGREGATOR = 200, FLEET_REGISTRAR = 201 };

/* The registrar as a party; its chain is of a test too. */
static inline plmm_registrar_config fleet_registrar(void)
{
    plmm_registrar_config c = {.expert = FLEET_EXPERT, .chain_length = 1000};
    plmm_sign_pk pk;
    plmm_sign_sk sk;
    fleet_keys(FLEET_REGISTRAR, &pk, &c.key);
    fleet_keys(FLEET_AGGREGATOR, &c.aggregator, &sk);
    memset(c.chain.b, 0x77, sizeof c.chain.b);
    return c;
}

static inline plmm_anchor fleet_anchor(void)
{
    plmm_anchor a = {.expert = FLEET_EXPERT};
    plmm_sign_sk sk;
    plmm_registrar_config c = fleet_registrar();
    plmm_registrar *r = NULL;
    plmm_link last;
    CHECK(plmm_registrar_new(&r, &c, NULL) == PLMM_OK, "registrar");
    plmm_registrar_link(r, &a.link, &last);
    plmm_registrar_free(r);
    fleet_keys(FLEET_AGGREGATOR, &a.aggregator, &sk);
    fleet_keys(FLEET_REGISTRAR, &a.registrar, &sk);
    return a;
}

static inline plmm_certificate fleet_certificate(uint8_t device)
{
    plmm_certificate c;
    plmm_sign_pk pk;
    plmm_sign_sk sk, registrar;
    fleet_keys(FLEET_REGISTRAR, &pk, &registrar);
    fleet_keys(device, &pk, &sk);
    CHECK(plmm_certificate_issue(&c, &registrar, FLEET_EXPERT, device, &pk, NULL) == PLMM_OK,
          "device %u", device);
    return c;
}

/* ---- paths ---- */

static inline const char *fleet_path(const char *dir, const char *fmt, ...) PLMM_PRINTF(2, 3);
static inline const char *fleet_path(const char *dir, const char *fmt, ...)
{
    static _Thread_local char path[8][512];
    static _Thread_local unsigned next;
    char name[200];
    char *out = path[next++ % 8];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    (void)snprintf(out, 512, "%s/%s", dir, name);
    return out;
}

static inline void fleet_die(const char *what, const plmm_error *err)
{
    (void)fprintf(stderr, "%s: %s\n", what, err->msg);
    exit(EXIT_FAILURE);
}

/* ---- versions: DIR/versions/N/{devices.bin,sum.bin,manifest.pb}, N renamed into place ---- */

static inline uint64_t fleet_newest(const char *dir)
{
    uint64_t v = 0;
    while (plmm_path_exists(fleet_path(dir, "versions/%llu", (unsigned long long)v + 1))) {
        v++;
    }
    return v;
}

static inline plmm_status fleet_manifest(const char *dir, uint64_t version, plmm_manifest *m,
                                         plmm_error *err)
{
    uint8_t *bytes = NULL;
    size_t len = 0;
    PLMM_TRY(
        plmm_file_read(fleet_path(dir, "versions/%llu/manifest.pb", (unsigned long long)version),
                       PLMM_MANIFEST_MAX, &bytes, &len, err));
    plmm_status rc = plmm_manifest_decode(m, bytes, len, err);
    plmm_free(bytes);
    return rc;
}

static inline void fleet_file(plmm_manifest *m, const char *dir, const char *name, const void *data,
                              size_t len)
{
    plmm_digest d;
    plmm_error err = {0};
    plmm_manifest_file *f = &m->files[m->files_n++];
    (void)snprintf(f->name, sizeof f->name, "%s", name);
    f->size = len;
    plmm_digest_init(&d);
    plmm_digest_update(&d, data, len);
    plmm_digest_final(&d, &f->digest);
    if (plmm_file_write(fleet_path(dir, "versions/.new/%s", name), data, len, PLMM_MODE_PUBLIC,
                        &err) != PLMM_OK) {
        fleet_die("version", &err);
    }
}

static inline void fleet_publish(const char *dir, uint64_t round, const uint32_t *sum,
                                 const uint64_t *devices, uint32_t n, plmm_manifest *m)
{
    uint64_t version = fleet_newest(dir) + 1;
    plmm_sign_pk pk;
    plmm_sign_sk key;
    plmm_error err = {0};
    uint8_t bytes[PLMM_MANIFEST_MAX];
    size_t len = 0;
    plmm_manifest old;
    fleet_keys(FLEET_AGGREGATOR, &pk, &key);
    *m = (plmm_manifest){
        .expert = FLEET_EXPERT, .version = version, .method = 1, .factor = 2, .round = round};
    m->survivors = n;
    if (version > 1 && fleet_manifest(dir, version - 1, &old, &err) == PLMM_OK) {
        plmm_manifest_hash(&m->parent, &old);
    }
    plmm_status rc = plmm_path_remove(fleet_path(dir, "versions/.new"), &err);
    rc = rc == PLMM_OK ? plmm_dir_make(fleet_path(dir, "versions/.new"), 0700, &err) : rc;
    fleet_file(m, dir, "devices.bin", devices, n * sizeof *devices);
    fleet_file(m, dir, "sum.bin", sum, (FLEET_LENGTH + 1) * sizeof *sum);
    rc = rc == PLMM_OK ? plmm_manifest_sign(m, &key, &err) : rc;
    rc = rc == PLMM_OK ? plmm_manifest_encode(bytes, &len, m, &err) : rc;
    rc = rc == PLMM_OK ? plmm_file_write(fleet_path(dir, "versions/.new/manifest.pb"), bytes, len,
                                         PLMM_MODE_PUBLIC, &err)
                       : rc;
    rc = rc == PLMM_OK
             ? plmm_path_rename(fleet_path(dir, "versions/.new"),
                                fleet_path(dir, "versions/%llu", (unsigned long long)version), &err)
             : rc;
    if (rc != PLMM_OK) {
        fleet_die("publish", &err);
    }
}

/* ---- the aggregator's process ---- */

static inline plmm_status fleet_find(void *ctx, const plmm_hash *hash, plmm_manifest *m,
                                     plmm_error *err)
{
    const char *dir = ctx;
    for (uint64_t v = fleet_newest(dir); v > 0; v--) {
        plmm_hash found;
        PLMM_TRY(fleet_manifest(dir, v, m, err));
        plmm_manifest_hash(&found, m);
        if (hash == NULL || plmm_equal(&found, hash, sizeof found)) {
            return PLMM_OK;
        }
    }
    return plmm_fail(err, PLMM_ERR_NOTFOUND, "no such version");
}

static inline plmm_status fleet_prepare(void *ctx, plmm_round_params *p, plmm_error *err)
{
    plmm_manifest m;
    PLMM_TRY(fleet_find(ctx, NULL, &m, err));
    plmm_manifest_hash(&p->model, &m);
    p->length = FLEET_LENGTH;
    p->method = 1;
    p->factor = 2;
    memset(p->names.b, 7, sizeof p->names.b);
    return PLMM_OK;
}

static inline plmm_status fleet_on_sum(void *ctx, const plmm_round_params *p, const uint32_t *sum,
                                       const uint64_t *devices, uint32_t n, plmm_manifest *m,
                                       plmm_error *err)
{
    PLMM_TRY(fleet_find(ctx, NULL, m, err));
    if (m->round != p->round) {
        fleet_publish(ctx, p->round, sum, devices, n, m);
    }
    return PLMM_OK;
}

static inline plmm_status fleet_read(void *ctx, const plmm_manifest *m, uint32_t file,
                                     uint64_t offset, uint8_t *out, size_t len, plmm_error *err)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    PLMM_TRY(plmm_file_read(
        fleet_path(ctx, "versions/%llu/%s", (unsigned long long)m->version, m->files[file].name),
        1 << 20, &bytes, &size, err));
    bool inside = offset + len <= size;
    if (inside && len > 0) {
        memcpy(out, bytes + offset, len);
    }
    plmm_free(bytes);
    return inside ? PLMM_OK : plmm_fail(err, PLMM_ERR_RANGE, "beyond the end");
}

static inline uint32_t fleet_number(const char *name, uint32_t missing)
{
    return getenv(name) != NULL ? (uint32_t)strtoul(getenv(name), NULL, 10) : missing;
}

/* cohort 0: all devices. */
static inline plmm_agg_config fleet_round(uint32_t step_ms, uint32_t cohort)
{
    plmm_sign_pk pk;
    plmm_agg_config c = {
        .params = {.expert = FLEET_EXPERT,
                   .cohort = FLEET_DEVICES,
                   .n_min = 10,
                   .gamma_ppm = 100000,
                   .delta_ppm = 200000,
                   .sigma = 40,
                   .eta = 20,
                   .trust = PLMM_TRUST_SEMI_MALICIOUS,
                   .protocol = fleet_number("FLEET_PROTOCOL", PLMM_PROTOCOL_SECAGG),
                   .mask = fleet_number("FLEET_MASK", PLMM_MASK_RING),
                   .stream = PLMM_STREAM_CHACHA20,
                   .rate = UINT32_MAX,
                   .groups = 1,
                   .ring_bits = FLEET_RING,
                   .quant_bits = FLEET_QUANT,
                   .weight_max = FLEET_WEIGHT_MAX,
                   .clip = FLEET_CLIP,
                   .steps = 1,
                   .batch_tokens = 1,
                   .learning_rate = 1},
        .checkins_max = FLEET_DEVICES, /* the round begins when all are there */
        .roster_min = FLEET_DEVICES,
        .gather_ms = 20000,
        .phase_ms = step_ms,
        .train_ms = step_ms};
    if (cohort > 0) {
        c.params.cohort = c.checkins_max = c.roster_min = cohort;
    }
    fleet_keys(FLEET_REGISTRAR, &c.registrar, &c.key);
    fleet_keys(FLEET_AGGREGATOR, &pk, &c.key);
    return c;
}

/* ---- the registrar's process ---- */

/* The port in DIR/NAME, once a process wrote it there; 0 after ten seconds. */
static inline uint32_t fleet_wait_port(const char *dir, const char *name)
{
    uint8_t *text = NULL;
    size_t len = 0;
    for (int i = 0; i < 1000; i++) {
        if (plmm_file_read(fleet_path(dir, "%s", name), 100, &text, &len, NULL) == PLMM_OK) {
            uint32_t port = (uint32_t)strtoul((char *)text, NULL, 10);
            plmm_free(text);
            return port;
        }
        plmm_clock_sleep_ms(10);
    }
    CHECK(false, "nobody wrote %s", name);
    return 0;
}

static inline int fleet_seal(char *dir, uint32_t port)
{
    char url[64], port_file[512];
    plmm_error err = {0};
    (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%u", port);
    (void)snprintf(port_file, sizeof port_file, "%s/registrar-port", dir);
    plmm_registry_config c = {.url = url, .registrar = fleet_registrar(), .port_file = port_file};
    plmm_status rc = plmm_node_open(fleet_path(dir, "registrar.db"), &c.store, &err);
    rc = rc == PLMM_OK ? plmm_registry_run(&c, &err) : rc;
    plmm_node_close(c.store);
    if (rc != PLMM_OK) {
        fleet_die("registrar", &err);
    }
    return EXIT_SUCCESS;
}

/* May change the configuration of `serve` once its store is open. */
#ifndef FLEET_SERVE_MORE
#define FLEET_SERVE_MORE(config) ((void)(config))
#endif

static inline int fleet_serve(char *dir, uint32_t port, uint32_t rounds, uint32_t step_ms)
{
    char url[64], registrar[64], port_file[512];
    plmm_error err = {0};
    plmm_serve_result result;
    (void)snprintf(registrar, sizeof registrar, "tcp://127.0.0.1:%u",
                   fleet_wait_port(dir, "registrar-port"));
    (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%u", port);
    (void)snprintf(port_file, sizeof port_file, "%s/port", dir);
    uint32_t cohort = fleet_number("FLEET_COHORT", 0);
    plmm_serve_config c = {
        .url = url,
        .eligible = cohort,
        .round = fleet_round(step_ms, cohort),
        .epoch_rounds = fleet_number("FLEET_EPOCH", 0),
        .vector_max = FLEET_LENGTH,
        .registrar = registrar,
        .hooks = {dir, fleet_prepare, fleet_on_sum, fleet_find, fleet_read, NULL, NULL, NULL},
        .rounds = rounds,
        .failures = 20,
        .slots = 64,
        .hold_ms = 1000,
        .pause_ms = 100,
        .linger_ms = fleet_number("FLEET_LINGER", 3000),
        .port_file = port_file,
    };
    plmm_status rc = plmm_node_open(fleet_path(dir, "node.db"), &c.store, &err);
    FLEET_SERVE_MORE(&c);
    rc = rc == PLMM_OK ? plmm_serve_run(&c, &result, &err) : rc;
    plmm_node_close(c.store);
    if (rc != PLMM_OK) {
        fleet_die("serve", &err);
    }
    return EXIT_SUCCESS;
}

/* ---- a device's process ---- */

/* What makes updates no whole number of steps, and error feedback worth while; 0: neither. */
#ifndef FLEET_FRACTION
#define FLEET_FRACTION 0.0f
#endif

typedef struct fleet_device {
    const char *dir;
    uint8_t id;
    uint32_t work_ms; /* how long "training" takes */
    uint64_t version; /* ends when it has this one; 0: after the rounds that it was told */
} fleet_device;

static inline plmm_status fleet_train(void *ctx, const plmm_round_params *p, float *delta,
                                      uint32_t *weight, plmm_error *err)
{
    const fleet_device *d = ctx;
    PLMM_TRY(
        plmm_file_write(fleet_path(d->dir, "training-%u-%llu", d->id, (unsigned long long)p->round),
                        "", 0, PLMM_MODE_PUBLIC, err));
    plmm_clock_sleep_ms(d->work_ms);
    for (uint32_t i = 0; i < p->length; i++) {
        delta[i] =
            FLEET_FRACTION + (float)(FLEET_WEIGHT_MAX * fleet_coordinate(d->id, p->round, i));
    }
    *weight = fleet_weight(d->id);
    return PLMM_OK;
}

static inline plmm_status fleet_installed(void *ctx, const plmm_manifest *m, plmm_policy *policy,
                                          plmm_error *err)
{
    const fleet_device *d = ctx;
    (void)err;
    if (d->version != 0 && m->version >= d->version) {
        plmm_join_stop(); /* what it came for */
    }
    policy->vectors_n = 1;
    policy->vectors[0] = (plmm_policy_vector){.method = 1, .factor = 2, .length = FLEET_LENGTH};
    memset(policy->vectors[0].names.b, 7, 32);
    return PLMM_OK;
}

static inline plmm_status fleet_join_run(fleet_device *d, uint32_t rounds, uint32_t patience_ms,
                                         plmm_join_result *result, plmm_error *err)
{
    plmm_expert folder;
    plmm_sign_pk pk;
    plmm_anchor anchor = fleet_anchor();
    plmm_join_config c = {.expert = FLEET_EXPERT,
                          .folder = &folder,
                          .hooks = {d, fleet_train, fleet_installed},
                          .rounds = rounds,
                          .resend_ms = 1500,
                          .silence_ms = 20000,
                          .patience_ms = patience_ms,
                          .error_feedback = FLEET_FRACTION > 0};
    plmm_policy_default(&c.policy, &anchor);
    c.policy.clip_max = 40000;
    fleet_keys(d->id, &pk, &c.key);
    PLMM_TRY(plmm_expert_open(&folder, fleet_path(d->dir, "device-%u", d->id), &anchor, err));
    PLMM_TRY(plmm_store_open(fleet_path(d->dir, "device-%u.db", d->id), &c.store, err));
    plmm_status rc = plmm_join_run(&c, result, err);
    plmm_store_close(c.store);
    return rc;
}

static inline int fleet_join(const char *dir, uint8_t id, uint64_t version, uint32_t work_ms)
{
    fleet_device d = {dir, id, work_ms, version};
    plmm_join_result result;
    plmm_error err = {0};
    if (fleet_join_run(&d, 0, 60000, &result, &err) != PLMM_OK) {
        fleet_die("join", &err);
    }
    return EXIT_SUCCESS;
}

/* Enrols device id, which dials the port. */
static inline void fleet_enrol_device(const char *dir, uint8_t id, uint32_t port)
{
    plmm_store *store = NULL;
    plmm_error err = {0};
    plmm_store_expert x = {.anchor = fleet_anchor(), .certificate = fleet_certificate(id)};
    (void)snprintf(x.address, sizeof x.address, "tcp://127.0.0.1:%u", port);
    plmm_status rc = plmm_store_open(fleet_path(dir, "device-%u.db", id), &store, &err);
    rc = rc == PLMM_OK ? plmm_store_expert_add(store, &x, &err) : rc;
    plmm_store_close(store);
    if (rc != PLMM_OK) {
        fleet_die("enrol", &err);
    }
}

/* Hash of version 1, once fleet_init made it. */
static plmm_hash fleet_hash;

/* The registrar's database with all devices, and version 1. */
static inline void fleet_init(const char *dir)
{
    plmm_node_store *store = NULL;
    plmm_error err = {0};
    plmm_manifest m;
    static const uint32_t zero[FLEET_LENGTH + 1];
    plmm_status rc = plmm_dir_make(fleet_path(dir, "versions"), 0700, &err);
    rc = rc == PLMM_OK ? plmm_node_open(fleet_path(dir, "registrar.db"), &store, &err) : rc;
    for (uint8_t id = 1; id <= FLEET_DEVICES && rc == PLMM_OK; id++) {
        plmm_certificate c = fleet_certificate(id);
        rc = plmm_node_device_add(store, &c, "", 0, &err);
    }
    plmm_node_close(store);
    if (rc != PLMM_OK) {
        fleet_die("init", &err);
    }
    uint64_t none = 0;
    fleet_publish(dir, 0, zero, &none, 1, &m);
    plmm_manifest_hash(&fleet_hash, &m);
}

/* ---- processes ---- */

/* Starts this program with a role; its standard error goes to DIR/log-NAME. Ends itself after 140 s
 * whatever happens. */
static inline pid_t fleet_start(const char *self, const char *dir, const char *name,
                                char *const argv[])
{
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(fleet_path(dir, "log-%s", name), O_WRONLY | O_CREAT | O_APPEND, 0600);
        (void)dup2(fd, STDERR_FILENO);
        (void)alarm(140);
        (void)execv(self, argv);
        _exit(127);
    }
    CHECK(pid > 0, "fork");
    return pid;
}

/* Is the text in DIR/log-NAME? */
static inline bool fleet_log_has(const char *dir, const char *name, const char *text)
{
    uint8_t *log = NULL;
    size_t len = 0;
    if (plmm_file_read(fleet_path(dir, "log-%s", name), 1 << 24, &log, &len, NULL) != PLMM_OK) {
        return false;
    }
    bool has = strstr((char *)log, text) != NULL;
    plmm_free(log);
    return has;
}

static inline void fleet_show_log(const char *dir, const char *name)
{
    uint8_t *log = NULL;
    size_t len = 0;
    if (plmm_file_read(fleet_path(dir, "log-%s", name), 1 << 24, &log, &len, NULL) == PLMM_OK) {
        size_t from = len > 6000 ? len - 6000 : 0;
        (void)fprintf(stderr, "---- log-%s\n%s\n", name, (char *)log + from);
    }
    plmm_free(log);
}

static inline void fleet_on_term(int number)
{
    (void)number;
    plmm_serve_stop();
}

static inline void fleet_on_term_registrar(int number)
{
    (void)number;
    plmm_registry_stop();
}

static inline pid_t fleet_start_registrar(char *self, char *dir, uint32_t port)
{
    char number[16];
    (void)snprintf(number, sizeof number, "%u", port);
    char *argv[] = {self, (char[]){"registrar"}, dir, number, (char[]){"0"}, (char[]){"0"}, NULL};
    return fleet_start(self, dir, "registrar", argv);
}

static inline void fleet_end_registrar(pid_t pid)
{
    int status = 0;
    /* One that was started just now may not have its handler yet. */
    CHECK(kill(pid, SIGTERM) == 0 && waitpid(pid, &status, 0) == pid &&
              (status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM)),
          "registrar: %x", (unsigned)status);
}

/* This program as `SELF serve DIR PORT ROUNDS STEP_MS`, `SELF registrar DIR PORT 0 0` or
 * `SELF join DIR ID VERSION WORK_MS`. */
static inline int fleet_role(char **argv)
{
    unsigned long a = strtoul(argv[3], NULL, 10), b = strtoul(argv[4], NULL, 10);
    unsigned long c = strtoul(argv[5], NULL, 10);
    struct sigaction act = {.sa_handler = fleet_on_term};
    (void)sigaction(SIGTERM, &act, NULL);
    plmm_log_to(STDERR_FILENO, PLMM_LOG_DEBUG);
    if (strcmp(argv[1], "registrar") == 0) {
        act.sa_handler = fleet_on_term_registrar;
        (void)sigaction(SIGTERM, &act, NULL);
        return fleet_seal(argv[2], (uint32_t)a);
    }
    return strcmp(argv[1], "serve") == 0
               ? fleet_serve(argv[2], (uint32_t)a, (uint32_t)b, (uint32_t)c)
               : fleet_join(argv[2], (uint8_t)a, b, (uint32_t)c);
}

#endif
