/* Twenty devices and an aggregator as processes over TCP; two devices are killed with -9 in the
 * middle of a round, and so are the aggregator and its registrar, which are started again. The
 * rounds complete, and each sum equals the sum of the survivors' inputs bit for bit. With `chaos`,
 * later rounds lose the aggregator, the registrar or a device to kill -9 every second, at any step.
 *     test_fleet [ROUNDS [chaos]]
 * PLMM_TEST_KEEP in the environment leaves the directory and its logs.
 */
#include "fleet.h"

#include "plmm/rng.h"

enum { MUTE = 7, LATE = 13, STEP_MS = 5000, KILL_AT = 8 };

typedef struct fleet {
    char *self;
    char dir[64];
    pid_t serve, registrar;
    uint32_t registrar_port;
    pid_t device[FLEET_DEVICES + 1]; /* 0: not running */
    uint32_t port;
    uint32_t rounds;
    bool chaos; /* after the first round kill somebody every second */
} fleet;

static void start_serve(fleet *f)
{
    char port[16], rounds[16], step[16];
    (void)snprintf(port, sizeof port, "%u", f->port);
    (void)snprintf(rounds, sizeof rounds, "%u", f->rounds);
    (void)snprintf(step, sizeof step, "%d", STEP_MS);
    char *argv[] = {f->self, "serve", f->dir, port, rounds, step, NULL};
    f->serve = fleet_start(f->self, f->dir, "serve", argv);
}

/* work_ms: how long it "trains"; devices differ, so that uploads are spread in time. It ends when
 * it has the last version. */
static void start_device(fleet *f, uint8_t id, uint32_t work_ms)
{
    char name[8], version[16], work[16];
    (void)snprintf(name, sizeof name, "%u", id);
    (void)snprintf(version, sizeof version, "%u", f->rounds + 1);
    (void)snprintf(work, sizeof work, "%u", work_ms);
    char *argv[] = {f->self, "join", f->dir, name, version, work, NULL};
    f->device[id] = fleet_start(f->self, f->dir, name, argv);
}

static void kill_now(pid_t *pid)
{
    CHECK(kill(*pid, SIGKILL) == 0 && waitpid(*pid, NULL, 0) == *pid, "kill");
    *pid = 0;
}

static bool wait_for(fleet *f, bool (*seen)(fleet *f), uint32_t ms, const char *what)
{
    uint64_t until = plmm_clock_ms() + ms;
    while (!seen(f)) {
        int status;
        bool dead = f->serve != 0 && waitpid(f->serve, &status, WNOHANG) == f->serve;
        if (dead || plmm_clock_ms() > until) {
            CHECK(false, "%s: %s", what, dead ? "the aggregator ended" : "not within its time");
            f->serve = dead ? 0 : f->serve;
            return false;
        }
        plmm_clock_sleep_ms(20);
    }
    return true;
}

static bool port_known(fleet *f)
{
    uint8_t *text = NULL;
    size_t len = 0;
    if (plmm_file_read(fleet_path(f->dir, "port"), 100, &text, &len, NULL) != PLMM_OK) {
        return false;
    }
    f->port = (uint32_t)strtoul((char *)text, NULL, 10);
    plmm_free(text);
    return f->port != 0;
}

static bool mute_trains(fleet *f)
{
    return plmm_path_exists(fleet_path(f->dir, "training-%u-1", MUTE));
}

/* How many of devices from..to have a vector in the aggregator's database? */
static unsigned vectors(const fleet *f, unsigned from, unsigned to)
{
    plmm_node_store *store = NULL;
    unsigned n = 0;
    if (plmm_node_open(fleet_path(f->dir, "node.db"), &store, NULL) != PLMM_OK) {
        return 0;
    }
    for (unsigned id = from; id <= to; id++) {
        uint8_t *payload = NULL;
        size_t len = 0;
        n += plmm_node_payload(store, id, &payload, &len, NULL) == PLMM_OK;
        plmm_free(payload);
    }
    plmm_node_close(store);
    return n;
}

static bool late_uploaded(fleet *f)
{
    return vectors(f, LATE, LATE) == 1;
}

static bool some_uploaded(fleet *f)
{
    return vectors(f, 1, FLEET_DEVICES) >= KILL_AT;
}

static bool first_round_done(fleet *f)
{
    return fleet_newest(f->dir) >= 2;
}

/* ---- what must be true ---- */

static void check_sum(fleet *f, uint64_t version)
{
    uint8_t *sum = NULL, *ids = NULL;
    size_t sum_len = 0, ids_len = 0;
    plmm_error err = {0};
    unsigned long long v = (unsigned long long)version;
    plmm_manifest m;
    CHECK(plmm_file_read(fleet_path(f->dir, "versions/%llu/sum.bin", v), 1 << 20, &sum, &sum_len,
                         &err) == PLMM_OK &&
              plmm_file_read(fleet_path(f->dir, "versions/%llu/devices.bin", v), 1 << 20, &ids,
                             &ids_len, &err) == PLMM_OK &&
              fleet_manifest(f->dir, version, &m, &err) == PLMM_OK,
          "version %llu: %s", v, err.msg);
    if (sum == NULL || ids == NULL) {
        return;
    }
    uint32_t n = (uint32_t)(ids_len / sizeof(uint64_t));
    const uint64_t *devices = (const uint64_t *)(const void *)ids;
    const uint32_t *lanes = (const uint32_t *)(const void *)sum;
    CHECK(sum_len == (FLEET_LENGTH + 1) * sizeof(uint32_t), "%zu octets", sum_len);
    unsigned wrong = 0;
    for (uint32_t i = 0; i <= FLEET_LENGTH; i++) {
        wrong += lanes[i] != fleet_expected(devices, n, m.round, i);
    }
    CHECK(wrong == 0, "version %llu: %u of %d lanes are wrong", v, wrong, FLEET_LENGTH + 1);
    bool mute = false, late = false;
    for (uint32_t i = 0; i < n; i++) {
        mute = mute || devices[i] == MUTE;
        late = late || devices[i] == LATE;
    }
    if (version == 2) {
        CHECK(!mute, "a device that died before its upload is in the sum");
        CHECK(late, "a device that died after its upload is not in the sum");
    }
    /* On a busy machine more may be late, but never so many that the sum would be refused. */
    CHECK(n >= 10 && n <= FLEET_DEVICES, "version %llu: %u devices in the sum", v, n);
    plmm_free(sum);
    plmm_free(ids);
}

/* The device uses the last version, and has it whole. */
static void check_device(fleet *f, uint8_t id)
{
    plmm_store *store = NULL;
    plmm_expert folder;
    plmm_anchor anchor = fleet_anchor();
    plmm_store_expert x = {0};
    plmm_manifest m;
    plmm_error err = {0};
    CHECK(plmm_store_open(fleet_path(f->dir, "device-%u.db", id), &store, &err) == PLMM_OK &&
              plmm_store_expert_get(store, FLEET_EXPERT, &x, &err) == PLMM_OK &&
              plmm_expert_open(&folder, fleet_path(f->dir, "device-%u", id), &anchor, &err) ==
                  PLMM_OK,
          "device %u: %s", id, err.msg);
    CHECK(x.version == f->rounds + 1, "device %u has version %llu", id,
          (unsigned long long)x.version);
    CHECK(plmm_expert_verify(&folder, x.version, &m, &err) == PLMM_OK, "device %u: %s", id,
          err.msg);
    CHECK(x.bytes_up > 0 && x.bytes_down > 0, "device %u counts octets", id);
    plmm_store_close(store);
}

static void wreak(fleet *f)
{
    plmm_rng rng;
    plmm_rng_init(&rng, plmm_test_seed(plmm_clock_us()), 0);
    for (int i = 0; i < 60 && fleet_newest(f->dir) <= f->rounds; i++) {
        uint8_t id = (uint8_t)(1 + plmm_rng_below(&rng, FLEET_DEVICES));
        plmm_clock_sleep_ms(500 + plmm_rng_below(&rng, 1000));
        if (plmm_rng_below(&rng, 4) == 0) {
            kill_now(&f->registrar);
            f->registrar = fleet_start_registrar(f->self, f->dir, f->registrar_port);
        } else if (plmm_rng_below(&rng, 3) == 0) {
            if (waitpid(f->serve, NULL, WNOHANG) != 0) { /* it has ended: its rounds are done */
                f->serve = 0;
                return;
            }
            kill_now(&f->serve);
            start_serve(f);
        } else if (f->device[id] == 0) {
            continue;
        } else if (waitpid(f->device[id], NULL, WNOHANG) == 0) { /* it has not ended by itself */
            kill_now(&f->device[id]);
            start_device(f, id, 50);
        } else {
            f->device[id] = 0;
        }
    }
}

static void end_all(fleet *f)
{
    int status = 0;
    for (uint8_t id = 1; id <= FLEET_DEVICES; id++) {
        if (f->device[id] != 0) {
            CHECK(waitpid(f->device[id], &status, 0) == f->device[id] && WIFEXITED(status) &&
                      WEXITSTATUS(status) == 0,
                  "device %u ended with %x", id, (unsigned)status);
        }
    }
    if (f->serve != 0 && f->chaos) {
        (void)kill(f->serve, SIGTERM); /* it counts only the rounds since it was started last */
    }
    fleet_end_registrar(f->registrar);
    if (f->serve != 0) {
        CHECK(waitpid(f->serve, &status, 0) == f->serve &&
                  (status == 0 || (f->chaos && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM)),
              "serve ended with %x", (unsigned)status);
    }
}

static void show_logs(const char *dir)
{
    fleet_show_log(dir, "serve");
    fleet_show_log(dir, "registrar");
    for (unsigned id = 1; id <= FLEET_DEVICES; id++) {
        char name[8];
        (void)snprintf(name, sizeof name, "%u", id);
        fleet_show_log(dir, name);
    }
}

static void drive(fleet *f)
{
    f->registrar = fleet_start_registrar(f->self, f->dir, 0);
    f->registrar_port = fleet_wait_port(f->dir, "registrar-port");
    start_serve(f);
    if (!wait_for(f, port_known, 10000, "the port")) {
        return;
    }
    for (uint8_t id = 1; id <= FLEET_DEVICES; id++) {
        fleet_enrol_device(f->dir, id, f->port);
        start_device(f, id, id == MUTE ? 60000 : 40u * id);
    }
    if (wait_for(f, mute_trains, 30000, "a device in training")) {
        kill_now(&f->device[MUTE]);
    }
    if (wait_for(f, some_uploaded, 30000, "some uploads")) {
        kill_now(&f->serve);
        kill_now(&f->registrar);
        start_serve(f);
        f->registrar = fleet_start_registrar(f->self, f->dir, f->registrar_port);
    }
    if (wait_for(f, late_uploaded, 30000, "an upload")) {
        kill_now(&f->device[LATE]);
    }
    if (wait_for(f, first_round_done, 40000, "the first round") && f->rounds > 1) {
        start_device(f, MUTE, 10);
        start_device(f, LATE, 10);
    }
    if (f->chaos) {
        wreak(f);
    }
    end_all(f);
    CHECK(fleet_newest(f->dir) == f->rounds + 1, "%llu versions",
          (unsigned long long)fleet_newest(f->dir));
    for (uint64_t v = 2; v <= f->rounds + 1; v++) {
        check_sum(f, v);
    }
    for (uint8_t id = 1; id <= FLEET_DEVICES; id++) {
        if (f->rounds > 1 || (id != MUTE && id != LATE)) {
            check_device(f, id);
        }
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
    fleet f = {.self = argv[0], .dir = "/tmp/plmm-fleet-XXXXXX", .rounds = 2};
    f.chaos = argc == 3;
    f.rounds = argc >= 2 ? (uint32_t)strtoul(argv[1], NULL, 10) : f.rounds;
    (void)alarm(150);
    CHECK(mkdtemp(f.dir) != NULL, "mkdtemp");
    fleet_init(f.dir);
    drive(&f);
    if (plmm_test_failures > 0) {
        show_logs(f.dir);
    }
    if (getenv("PLMM_TEST_KEEP") == NULL) {
        CHECK(plmm_path_remove(f.dir, NULL) == PLMM_OK, "clean up");
    }
    return plmm_test_end();
}
