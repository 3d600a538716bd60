/* The other ways to make a sum, as processes over TCP: SecAgg+ under Ring-LWE masks, and one-shot
 * rounds with a committee. In each the aggregator is killed with -9 once some vectors are in and
 * started again; the sums are those of the survivors' inputs, bit for bit. */
#define FLEET_SIZE 26
#include "fleet.h"

enum { ROUNDS = 2, KILL_AT = 8 };

typedef struct way {
    const char *name, *protocol, *mask;
} way;

static void check_sum(const char *dir, uint64_t version)
{
    uint8_t *sum = NULL, *ids = NULL;
    size_t sum_len = 0, ids_len = 0;
    plmm_manifest m;
    plmm_error err = {0};
    unsigned long long v = version;
    uint32_t wrong = 0;
    CHECK(plmm_file_read(fleet_path(dir, "versions/%llu/sum.bin", v), 1 << 20, &sum, &sum_len,
                         &err) == PLMM_OK &&
              plmm_file_read(fleet_path(dir, "versions/%llu/devices.bin", v), 1 << 20, &ids,
                             &ids_len, &err) == PLMM_OK &&
              fleet_manifest(dir, version, &m, &err) == PLMM_OK,
          "version %llu: %s", v, err.msg);
    if (sum != NULL && ids != NULL) {
        uint32_t n = (uint32_t)(ids_len / sizeof(uint64_t));
        const uint32_t *lanes = (const uint32_t *)(const void *)sum;
        for (uint32_t i = 0; i <= FLEET_LENGTH; i++) {
            wrong += lanes[i] != fleet_expected((const uint64_t *)(const void *)ids, n, m.round, i);
        }
        CHECK(n >= 20 && wrong == 0, "version %llu: %u devices, %u wrong lanes", v, n, wrong);
    }
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

static pid_t serve(char *self, char *dir, uint32_t port)
{
    char number[16];
    (void)snprintf(number, sizeof number, "%u", port);
    char *argv[] = {self, (char[]){"serve"}, dir, number, (char[]){"2"}, (char[]){"6000"}, NULL};
    return fleet_start(self, dir, "serve", argv);
}

static void drive(char *self, char *dir)
{
    pid_t device[FLEET_DEVICES + 1] = {0};
    int status = 0;
    pid_t registrar = fleet_start_registrar(self, dir, 0);
    pid_t node = serve(self, dir, 0);
    uint32_t port = fleet_wait_port(dir, "port");
    for (uint8_t id = 1; id <= FLEET_DEVICES; id++) {
        char name[8], work[8];
        (void)snprintf(name, sizeof name, "%u", id);
        (void)snprintf(work, sizeof work, "%u", 40u * id);
        char *args[] = {self, (char[]){"join"}, dir, name, (char[]){"3"}, work, NULL};
        fleet_enrol_device(dir, id, port);
        device[id] = fleet_start(self, dir, name, args);
    }
    for (int i = 0; i < 1000 && vectors(dir) < KILL_AT; i++) {
        plmm_clock_sleep_ms(20);
    }
    CHECK(vectors(dir) >= KILL_AT, "some vectors before the kill");
    CHECK(kill(node, SIGKILL) == 0 && waitpid(node, NULL, 0) == node, "kill");
    node = serve(self, dir, port);
    for (uint8_t id = 1; id <= FLEET_DEVICES; id++) {
        CHECK(waitpid(device[id], &status, 0) == device[id] && status == 0, "device %u: %x", id,
              (unsigned)status);
    }
    CHECK(waitpid(node, &status, 0) == node && status == 0, "serve: %x", (unsigned)status);
    fleet_end_registrar(registrar);
    CHECK(fleet_log_has(dir, "serve", "ev=round.resume round=1"), "the round went on");
    for (uint64_t v = 2; v <= ROUNDS + 1; v++) {
        check_sum(dir, v);
    }
}

static void one_way(char *self, way w)
{
    char dir[64] = "/tmp/plmm-protocols-XXXXXX";
    int before = plmm_test_failures;
    CHECK(setenv("FLEET_PROTOCOL", w.protocol, 1) == 0 && setenv("FLEET_MASK", w.mask, 1) == 0 &&
              mkdtemp(dir) != NULL,
          "%s", w.name);
    fleet_init(dir);
    drive(self, dir);
    CHECK(plmm_test_failures == before, "%s failed", w.name);
    if (plmm_test_failures != before) {
        fleet_show_log(dir, "serve");
        fleet_show_log(dir, "3");
    }
    if (getenv("PLMM_TEST_KEEP") == NULL) {
        CHECK(plmm_path_remove(dir, NULL) == PLMM_OK, "clean up");
    }
}

int main(int argc, char **argv)
{
    static const way ways[] = {{"SecAgg+, Ring-LWE", "1", "2"},
                               {"SecAgg+, long Ring-LWE", "1", "3"},
                               {"one-shot", "2", "2"}};
    plmm_error err = {0};
    if (plmm_crypto_init(&err) != PLMM_OK) {
        fleet_die("crypto", &err);
    }
    if (argc == 6) {
        return fleet_role(argv);
    }
    (void)alarm(170);
    for (size_t i = 0; i < COUNT(ways); i++) {
        one_way(argv[0], ways[i]);
    }
    return plmm_test_end();
}
