/* One-shot epochs with the nodes' drivers, as processes over TCP: three rounds of one sealed roster,
 * with the aggregator and a device killed in the middle of the second; then a device is revoked, and
 * the next round is sealed anew without it. Sums are exact, nobody advertises a key or makes an
 * agreement twice, and who is not on the roster waits. Claim O5. */
#define FLEET_SIZE 28
#include "fleet.h"

#include "plmm/channels.h"
#include "plmm/store.h"

enum { COHORT = 26, KILL_AT = 6, PAIRS_MAX = 4096 };

typedef struct roster {
    uint64_t id[FLEET_DEVICES];
    uint32_t n;
} roster;

static bool on(const roster *r, uint64_t id)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (r->id[i] == id) {
            return true;
        }
    }
    return false;
}

/* Whose vectors are in a version; that its sum is theirs. */
static void check_sum(const char *dir, uint64_t version, roster *r)
{
    uint8_t *sum = NULL, *ids = NULL;
    size_t sum_len = 0, ids_len = 0;
    plmm_manifest m = {.round = 0};
    plmm_error err = {0};
    unsigned long long v = version;
    uint32_t wrong = 0;
    *r = (roster){.n = 0};
    CHECK(plmm_file_read(fleet_path(dir, "versions/%llu/sum.bin", v), 1 << 20, &sum, &sum_len,
                         &err) == PLMM_OK &&
              plmm_file_read(fleet_path(dir, "versions/%llu/devices.bin", v), 1 << 20, &ids,
                             &ids_len, &err) == PLMM_OK &&
              fleet_manifest(dir, version, &m, &err) == PLMM_OK && ids_len <= sizeof r->id,
          "version %llu: %s", v, err.msg);
    if (sum != NULL && ids != NULL && ids_len <= sizeof r->id) {
        memcpy(r->id, ids, ids_len);
        r->n = (uint32_t)(ids_len / sizeof r->id[0]);
        const uint32_t *lanes = (const uint32_t *)(const void *)sum;
        for (uint32_t i = 0; i <= FLEET_LENGTH; i++) {
            wrong += lanes[i] != fleet_expected(r->id, r->n, m.round, i);
        }
    }
    CHECK(r->n >= COHORT - 2 && wrong == 0, "version %llu: %u devices, %u wrong lanes", v, r->n,
          wrong);
    plmm_free(sum);
    plmm_free(ids);
}

static uint32_t vectors(const char *dir)
{
    plmm_node_store *store = NULL;
    uint32_t n = 0;
    if (plmm_node_open(fleet_path(dir, "node.db"), &store, NULL) != PLMM_OK) {
        return 0;
    }
    for (uint64_t id = 1; id <= FLEET_DEVICES; id++) {
        uint8_t *payload = NULL;
        size_t len = 0;
        n += plmm_node_payload(store, id, &payload, &len, NULL) == PLMM_OK;
        plmm_free(payload);
    }
    plmm_node_close(store);
    return n;
}

static bool epoch_kept(const char *dir)
{
    plmm_node_store *store = NULL;
    uint8_t *epoch = NULL;
    size_t len = 0;
    CHECK(plmm_node_open(fleet_path(dir, "node.db"), &store, NULL) == PLMM_OK, "store");
    bool kept = store != NULL && plmm_node_epoch(store, &epoch, &len, NULL) == PLMM_OK && len > 0;
    plmm_free(epoch);
    plmm_node_close(store);
    return kept;
}

static uint32_t seals(const char *dir)
{
    plmm_node_store *store = NULL;
    uint64_t n = 0;
    CHECK(plmm_node_open(fleet_path(dir, "registrar.db"), &store, NULL) == PLMM_OK &&
              plmm_node_seal_count(store, &n, NULL) == PLMM_OK,
          "seals");
    plmm_node_close(store);
    return (uint32_t)n;
}

/* The device's key is that of the first round, and its table has a chain key for each pair: no
 * agreement is made again. */
static void check_channels(const char *dir, uint64_t id, uint64_t round)
{
    plmm_store *store = NULL;
    uint8_t *bytes = NULL, *epoch = NULL;
    size_t len = 0, epoch_len = 0;
    plmm_channels *c = NULL;
    unsigned long long d = id;
    CHECK(plmm_channels_new(&c, PAIRS_MAX, NULL) == PLMM_OK &&
              plmm_store_open(fleet_path(dir, "device-%llu.db", d), &store, NULL) == PLMM_OK &&
              plmm_store_note_get(store, FLEET_EXPERT, "channels", &bytes, &len, NULL) == PLMM_OK &&
              plmm_store_note_get(store, FLEET_EXPERT, "epoch", &epoch, &epoch_len, NULL) ==
                  PLMM_OK,
          "device %llu", d);
    CHECK(bytes != NULL && epoch != NULL && plmm_channels_decode(c, bytes, len, NULL) == PLMM_OK,
          "device %llu: channels", d);
    const plmm_channel_key *own = plmm_channels_own(c, round);
    CHECK(own != NULL && own->since == 1, "device %llu: another key", d);
    CHECK(plmm_channels_count(c) >= 10, "device %llu: %u pairs", d, plmm_channels_count(c));
    plmm_free(bytes);
    plmm_free(epoch);
    plmm_store_close(store);
    plmm_channels_free(c);
}

static pid_t serve(char *self, char *dir, uint32_t port, uint32_t rounds)
{
    char number[16], count[16];
    (void)snprintf(number, sizeof number, "%u", port);
    (void)snprintf(count, sizeof count, "%u", rounds);
    char *argv[] = {self, (char[]){"serve"}, dir, number, count, (char[]){"8000"}, NULL};
    return fleet_start(self, dir, "serve", argv);
}

static pid_t join(char *self, char *dir, uint32_t id, const char *version)
{
    char name[8], work[8], until[8];
    (void)snprintf(name, sizeof name, "%u", id);
    (void)snprintf(work, sizeof work, "%u", 60 * id);
    (void)snprintf(until, sizeof until, "%s", version);
    char *args[] = {self, (char[]){"join"}, dir, name, until, work, NULL};
    return fleet_start(self, dir, name, args);
}

static void wait_all(const pid_t *device, pid_t node)
{
    int status = 0;
    for (uint32_t id = 1; id <= FLEET_DEVICES; id++) {
        CHECK(device[id] == 0 || (waitpid(device[id], &status, 0) == device[id] && status == 0),
              "device %u: %x", id, (unsigned)status);
    }
    CHECK(waitpid(node, &status, 0) == node && status == 0, "serve: %x", (unsigned)status);
}

static void end(pid_t pid)
{
    CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid, "kill");
}

/* In the second round: kills the device that trains longest while it does, and the aggregator once it
 * has some vectors; starts both again. */
static void crash_both(char *self, char *dir, uint32_t port, pid_t *device, pid_t *node)
{
    roster first = {.n = 0};
    for (int i = 0; i < 2000 && fleet_newest(dir) < 2; i++) {
        plmm_clock_sleep_ms(20);
    }
    check_sum(dir, 2, &first);
    uint32_t victim = (uint32_t)(first.n > 0 ? first.id[first.n - 1] : 1);
    for (int i = 0;
         i < 1000 && !plmm_path_exists(fleet_path(dir, "training-%u-2", (unsigned)victim)); i++) {
        plmm_clock_sleep_ms(10);
    }
    end(device[victim]);
    for (int i = 0; i < 1000 && vectors(dir) < KILL_AT; i++) {
        plmm_clock_sleep_ms(10);
    }
    CHECK(vectors(dir) >= KILL_AT, "some vectors before the kill");
    end(*node);
    device[victim] = join(self, dir, victim, "4");
    *node = serve(self, dir, port, 2);
}

static void check_epoch(const char *dir)
{
    roster r[3];
    char name[8];
    for (uint32_t i = 0; i < 3; i++) {
        check_sum(dir, i + 2, &r[i]);
    }
    CHECK(seals(dir) == 1, "%u rosters were sealed", seals(dir));
    CHECK(fleet_log_has(dir, "serve", "ev=round.resume round=2"), "the second round went on");
    CHECK(epoch_kept(dir), "the aggregator keeps the epoch");
    for (uint32_t id = 1; id <= FLEET_DEVICES; id++) {
        bool was = on(&r[0], id);
        (void)snprintf(name, sizeof name, "%u", id);
        CHECK((was || !on(&r[1], id)) && (was || !on(&r[2], id)), "device %u came in between", id);
        CHECK(!fleet_log_has(dir, name, "round=2 attempt=1 state=\"advertised\"") &&
                  !fleet_log_has(dir, name, "round=3 attempt=1 state=\"advertised\""),
              "device %u made keys again", id);
        CHECK(was == on(&r[2], id), "device %u in the third round", id);
        CHECK(was || fleet_log_has(dir, name, plmm_abort_str(PLMM_ABORT_NOT_SELECTED)),
              "device %u is told to wait", id);
        if (was) {
            check_channels(dir, id, 4);
        }
    }
}

static void revoke(const char *dir, uint64_t id)
{
    plmm_node_store *store = NULL;
    CHECK(plmm_node_open(fleet_path(dir, "registrar.db"), &store, NULL) == PLMM_OK &&
              plmm_node_device_revoke(store, id, NULL) == PLMM_OK,
          "revoke");
    plmm_node_close(store);
}

/* A device of the roster is revoked between two rounds. */
static void next_roster(char *self, char *dir, uint32_t port)
{
    pid_t device[FLEET_DEVICES + 1] = {0};
    roster before, after;
    check_sum(dir, 4, &before);
    uint64_t gone = before.id[3];
    revoke(dir, gone);
    pid_t node = serve(self, dir, port, 1);
    for (uint32_t id = 1; id <= FLEET_DEVICES; id++) {
        device[id] = id == gone ? 0 : join(self, dir, id, "5");
    }
    wait_all(device, node);
    check_sum(dir, 5, &after);
    CHECK(!on(&after, gone), "a revoked device came back");
    CHECK(seals(dir) == 2 && fleet_log_has(dir, "serve", "why=\"a device of it was revoked\""),
          "%u rosters were sealed", seals(dir));
}

static void drive(char *self, char *dir)
{
    pid_t device[FLEET_DEVICES + 1] = {0};
    pid_t registrar = fleet_start_registrar(self, dir, 0);
    pid_t node = serve(self, dir, 0, 3);
    uint32_t port = fleet_wait_port(dir, "port");
    for (uint8_t id = 1; id <= FLEET_DEVICES; id++) {
        fleet_enrol_device(dir, id, port);
        device[id] = join(self, dir, id, "4");
    }
    crash_both(self, dir, port, device, &node);
    wait_all(device, node);
    check_epoch(dir);
    if (plmm_test_failures == 0) {
        next_roster(self, dir, port);
    }
    fleet_end_registrar(registrar);
}

int main(int argc, char **argv)
{
    char dir[64] = "/tmp/plmm-epochs-XXXXXX", cohort[16];
    plmm_error err = {0};
    if (plmm_crypto_init(&err) != PLMM_OK) {
        fleet_die("crypto", &err);
    }
    if (argc == 6) {
        return fleet_role(argv);
    }
    (void)snprintf(cohort, sizeof cohort, "%d", COHORT);
    (void)alarm(130);
    CHECK(setenv("FLEET_PROTOCOL", "2", 1) == 0 && setenv("FLEET_MASK", "2", 1) == 0 &&
              setenv("FLEET_COHORT", cohort, 1) == 0 && setenv("FLEET_EPOCH", "8", 1) == 0 &&
              setenv("FLEET_LINGER", "8000", 1) == 0 && /* who was turned away often asks seldom */
              mkdtemp(dir) != NULL,
          "mkdtemp");
    fleet_init(dir);
    drive(argv[0], dir);
    if (plmm_test_failures > 0) {
        fleet_show_log(dir, "serve");
    }
    if (getenv("PLMM_TEST_KEEP") == NULL) {
        CHECK(plmm_path_remove(dir, NULL) == PLMM_OK, "clean up");
    }
    return plmm_test_end();
}
