/* Noise that the aggregator's process carries from round to round, over TCP, with the program's own
 * privacy (aggregator/program/node_privacy.c) between the drivers: four rounds of ten out of twenty
 * devices, in two trees. The aggregator is killed in a round and goes on; every sum is to the bit that of
 * its devices and of the tree's noise, which is the same before and after the crash, and no device is in
 * two rounds of a tree. Then five rounds with noise of the devices and a clip that follows their bits, also
 * into the new process. */
#define FLEET_SERVE_MORE(config) noisy_serve(config)
struct plmm_serve_config;
static void noisy_serve(struct plmm_serve_config *c);
#include "fleet.h"

#include "node.h"
#include "plmm/privacy.h"

#include <math.h>

enum { ROUNDS_TREE = 4, ROUNDS_ADAPTIVE = 5, LEAVES = 2, COHORT = 10 };
static const double RATE = 1, QUANTILE = .5;

/* ---- in the aggregator's process ---- */

static node server;

/* What the round's noise follows from; written down for the judge. */
typedef struct noted {
    plmm_round_params params;
    plmm_seed seed;
} noted;
static double next_clip;

static plmm_status noisy_prepare(void *ctx, plmm_round_params *p, plmm_error *err)
{
    PLMM_TRY(fleet_prepare(ctx, p, err));
    return node_privacy_prepare(&server, fleet_newest(ctx), p, err);
}

static plmm_status noisy_released(void *ctx, const plmm_round_params *p, plmm_error *err)
{
    (void)ctx;
    return node_privacy_released(&server, p, err);
}

/* Called when a round begins, and again after a crash. */
static plmm_status noisy_tree(void *ctx, const plmm_round_params *p, plmm_seed *seed,
                              plmm_error *err)
{
    const char *path = fleet_path(ctx, "noise-%llu", (unsigned long long)p->round);
    uint8_t *before = NULL;
    size_t len = 0;
    noted n;
    memset(&n, 0, sizeof n);
    PLMM_TRY(node_privacy_tree(&server, seed, err));
    n.params = *p;
    n.seed = *seed;
    if (plmm_file_read(path, 1 << 16, &before, &len, NULL) == PLMM_OK) {
        const noted *b = (const noted *)(const void *)before;
        bool same = len == sizeof n && b->params.noise_leaf == p->noise_leaf &&
                    plmm_equal(&b->seed, seed, sizeof *seed);
        plmm_free(before);
        return same ? PLMM_OK : plmm_fail(err, PLMM_ERR_STATE, "other noise after a crash");
    }
    return plmm_file_write(path, &n, sizeof n, PLMM_MODE_SECRET, err);
}

static plmm_status adaptive_publish(void *ctx, const plmm_round_params *p, const uint32_t *sum,
                                    const uint64_t *devices, uint32_t n, plmm_manifest *m,
                                    plmm_error *err)
{
    noted w;
    memset(&w, 0, sizeof w);
    w.params = *p;
    next_clip = node_privacy_next_clip(&server, p, sum, n);
    PLMM_TRY(plmm_file_write(fleet_path(ctx, "noise-%llu", (unsigned long long)p->round), &w,
                             sizeof w, PLMM_MODE_SECRET, err));
    return fleet_on_sum(ctx, p, sum, devices, n, m, err);
}

static plmm_status adaptive_published(void *ctx, const plmm_round_params *p, plmm_error *err)
{
    (void)ctx;
    (void)p;
    return node_privacy_keep_clip(&server, next_clip, err);
}

static void noisy_serve(plmm_serve_config *c)
{
    plmm_error err = {0};
    bool tree = fleet_number("FLEET_TREE", 0) != 0;
    server.store = c->store;
    server.config = (node_config){.cohort = COHORT, .n_min = COHORT, .method = PLMM_METHOD_FFA};
    server.config.clip = FLEET_CLIP;
    server.config.privacy.noise = PLMM_NOISE_SKELLAM;
    server.config.privacy.mode = (tree ? PLMM_NOISE_CENTRAL : PLMM_NOISE_DISTRIBUTED) - 1;
    server.config.privacy.adversary = tree ? PLMM_ADVERSARY_MODELS : PLMM_ADVERSARY_SERVER;
    server.config.privacy.delta = 1e-6;
    server.config.privacy.multiplier = .01;
    server.config.privacy.overhead = 1e-6; /* one step of the lattice stays one step */
    server.config.privacy.tree = tree ? LEAVES : 0;
    server.config.privacy.adaptive = tree ? 0 : QUANTILE;
    server.config.privacy.adaptive_rate = RATE;
    c->hooks.publish = tree ? fleet_on_sum : adaptive_publish;
    c->hooks.published = tree ? NULL : adaptive_published;
    if (node_privacy_check(&server.config, &err) != PLMM_OK) {
        fleet_die("privacy", &err);
    }
    c->eligible = 0;
    c->hooks.prepare = noisy_prepare;
    c->hooks.released = noisy_released;
    c->hooks.tree = noisy_tree;
}

/* ---- the judge ---- */

static void check_round(const char *dir, uint64_t version, uint32_t times[FLEET_DEVICES + 1])
{
    plmm_manifest m;
    uint8_t *ids = NULL, *sum = NULL, *was = NULL;
    size_t n = 0, len = 0, noted_len = 0;
    uint32_t want[FLEET_LENGTH] = {0};
    unsigned long long v = version;
    plmm_error err = {0};
    bool good = fleet_manifest(dir, version, &m, &err) == PLMM_OK &&
                plmm_file_read(fleet_path(dir, "versions/%llu/devices.bin", v), 1 << 20, &ids, &n,
                               &err) == PLMM_OK &&
                plmm_file_read(fleet_path(dir, "versions/%llu/sum.bin", v), 1 << 20, &sum, &len,
                               &err) == PLMM_OK &&
                plmm_file_read(fleet_path(dir, "noise-%llu", (unsigned long long)m.round), 1 << 16,
                               &was, &noted_len, &err) == PLMM_OK &&
                noted_len == sizeof(noted) && len >= sizeof want;
    CHECK(good, "version %llu: %s", v, err.msg);
    if (good) {
        const noted *w = (const noted *)(const void *)was;
        uint32_t mask = (uint32_t)((UINT64_C(1) << w->params.ring_bits) - 1);
        CHECK(w->params.noise_leaf == (version - 2) % LEAVES, "leaf %u", w->params.noise_leaf);
        CHECK(w->params.quant_bits == FLEET_QUANT, "%u bits", w->params.quant_bits);
        CHECK(n == 8 * COHORT, "%zu devices", n / 8);
        for (size_t d = 0; d < n / 8; d++) {
            uint64_t id;
            memcpy(&id, ids + 8 * d, 8);
            times[id]++;
            for (uint32_t i = 0; i < FLEET_LENGTH; i++) {
                want[i] += (uint32_t)(FLEET_WEIGHT_MAX * fleet_coordinate(id, m.round, i)) & mask;
            }
        }
        CHECK(plmm_round_add_central(want, &w->params, &w->seed, &err) == PLMM_OK, "%s", err.msg);
        CHECK(memcmp(want, sum, sizeof want) == 0, "version %llu: the sum", v);
    }
    plmm_free(ids);
    plmm_free(sum);
    plmm_free(was);
}

/* Length of what a device gives, before it is clipped. */
static double norm_of(uint64_t device, uint64_t round)
{
    double squares = 0;
    for (uint32_t i = 0; i < FLEET_LENGTH; i++) {
        double v = FLEET_WEIGHT_MAX * (double)fleet_coordinate(device, round, i);
        squares += v * v;
    }
    return sqrt(squares);
}

/* The clip of each round is what followed from the sum before it, to the last bit, and that is what the
 * norms of its devices make it, but for the noise. */
static void check_clip(const char *dir, uint64_t version, double *clip)
{
    plmm_manifest m;
    uint8_t *ids = NULL, *sum = NULL, *was = NULL;
    size_t n = 0, len = 0, noted_len = 0;
    unsigned long long v = version;
    plmm_error err = {0};
    bool good = fleet_manifest(dir, version, &m, &err) == PLMM_OK &&
                plmm_file_read(fleet_path(dir, "versions/%llu/devices.bin", v), 1 << 20, &ids, &n,
                               &err) == PLMM_OK &&
                plmm_file_read(fleet_path(dir, "versions/%llu/sum.bin", v), 1 << 20, &sum, &len,
                               &err) == PLMM_OK &&
                plmm_file_read(fleet_path(dir, "noise-%llu", (unsigned long long)m.round), 1 << 16,
                               &was, &noted_len, &err) == PLMM_OK &&
                noted_len == sizeof(noted) && n == 8 * COHORT;
    CHECK(good, "version %llu: %s", v, err.msg);
    if (good) {
        const noted *w = (const noted *)(const void *)was;
        uint32_t within = 0;
        CHECK(w->params.clip == *clip && w->params.clip_bit == 1, "version %llu: clip %g, not %g",
              v, w->params.clip, *clip);
        for (size_t d = 0; d < COHORT; d++) {
            uint64_t id;
            memcpy(&id, ids + 8 * d, 8);
            within += norm_of(id, m.round) <= *clip;
        }
        double next = plmm_round_next_clip(&w->params, (const uint32_t *)(const void *)sum, COHORT,
                                           QUANTILE, RATE);
        double plain = *clip * exp(-RATE * (within / (double)COHORT - QUANTILE));
        CHECK(fabs(next - plain) < .02 * plain, "version %llu: %g, %u within %g", v, next, within,
              *clip);
        *clip = next;
    }
    plmm_free(ids);
    plmm_free(sum);
    plmm_free(was);
}

static pid_t start_serve(char *self, char *dir, uint32_t port, uint32_t rounds)
{
    char number[16], count[16];
    (void)snprintf(number, sizeof number, "%u", port);
    (void)snprintf(count, sizeof count, "%u", rounds);
    char *argv[] = {self, (char[]){"serve"}, dir, number, count, (char[]){"8000"}, NULL};
    return fleet_start(self, dir, "serve", argv);
}

/* Somebody trains in the second round. */
static bool second_round(const char *dir)
{
    for (unsigned id = 1; id <= FLEET_DEVICES; id++) {
        if (plmm_path_exists(fleet_path(dir, "training-%u-2", id))) {
            return true;
        }
    }
    return false;
}

static void check_tree(const char *dir)
{
    uint32_t times[FLEET_DEVICES + 1] = {0};
    for (uint64_t version = 2; version <= ROUNDS_TREE + 1; version++) {
        check_round(dir, version, times);
        for (uint32_t id = 1; id <= FLEET_DEVICES; id++) {
            CHECK(times[id] <= version / LEAVES, "device %u is in a tree twice", id);
        }
    }
    CHECK(fleet_log_has(dir, "serve", "after 2 releases"), "two trees are charged");
    CHECK(!fleet_log_has(dir, "serve", "after 3 releases"), "once each");
}

static void check_adaptive(const char *dir)
{
    double clip = FLEET_CLIP;
    for (uint64_t version = 2; version <= ROUNDS_ADAPTIVE + 1; version++) {
        check_clip(dir, version, &clip);
    }
    CHECK(clip > 6000 && clip < 9000, "it comes to the norms, which are about 8000: %g", clip);
    CHECK(fleet_log_has(dir, "serve", "after 5 releases"), "each round is charged");
}

/* Runs so many rounds, with a crash of the aggregator in the second. */
static void drive(char *self, char *dir, uint32_t rounds)
{
    char last[16];
    (void)snprintf(last, sizeof last, "%u", rounds + 1);
    pid_t device[FLEET_DEVICES + 1] = {0};
    int status = 0;
    pid_t registrar = fleet_start_registrar(self, dir, 0);
    pid_t serve = start_serve(self, dir, 0, rounds);
    uint32_t port = fleet_wait_port(dir, "port");
    for (uint8_t id = 1; id <= FLEET_DEVICES; id++) {
        char name[8];
        (void)snprintf(name, sizeof name, "%u", id);
        char *args[] = {self, (char[]){"join"}, dir, name, last, (char[]){"100"}, NULL};
        fleet_enrol_device(dir, id, port);
        device[id] = fleet_start(self, dir, name, args);
    }
    while (!second_round(dir)) { /* serve ends by itself, or its alarm ends it */
        CHECK(waitpid(serve, &status, WNOHANG) == 0, "serve: %x", (unsigned)status);
        if (plmm_test_failures > 0) {
            return;
        }
        plmm_clock_sleep_ms(5);
    }
    CHECK(kill(serve, SIGKILL) == 0 && waitpid(serve, NULL, 0) == serve, "kill");
    serve = start_serve(self, dir, port, rounds);
    for (uint8_t id = 1; id <= FLEET_DEVICES; id++) {
        CHECK(waitpid(device[id], &status, 0) == device[id] && status == 0, "device %u: %x", id,
              (unsigned)status);
    }
    CHECK(kill(serve, SIGTERM) == 0 && waitpid(serve, &status, 0) == serve && status == 0,
          "serve: %x", (unsigned)status);
    fleet_end_registrar(registrar);
    CHECK(fleet_newest(dir) == rounds + 1, "%d versions", (int)fleet_newest(dir));
    CHECK(fleet_log_has(dir, "serve", "ev=round.resume"), "it went on with its round");
}

static void scene(char *self, const char *tree, uint32_t rounds, void (*check)(const char *))
{
    char dir[64] = "/tmp/plmm-noisy-XXXXXX";
    CHECK(setenv("FLEET_TREE", tree, 1) == 0 && mkdtemp(dir) != NULL, "mkdtemp");
    fleet_init(dir);
    drive(self, dir, rounds);
    check(dir);
    if (plmm_test_failures > 0) {
        fleet_show_log(dir, "serve");
    }
    if (getenv("PLMM_TEST_KEEP") == NULL) {
        CHECK(plmm_path_remove(dir, NULL) == PLMM_OK, "clean up");
    }
}

int main(int argc, char **argv)
{
    plmm_error err = {0};
    if (plmm_crypto_init(&err) != PLMM_OK) {
        fleet_die("crypto", &err);
    }
    if (argc == 6) {
        return fleet_role(argv);
    }
    char cohort[16];
    (void)snprintf(cohort, sizeof cohort, "%d", COHORT);
    (void)alarm(150);
    CHECK(setenv("FLEET_COHORT", cohort, 1) == 0, "setenv");
    scene(argv[0], "1", ROUNDS_TREE, check_tree);
    scene(argv[0], "0", ROUNDS_ADAPTIVE, check_adaptive);
    return plmm_test_end();
}
