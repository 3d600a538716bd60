/* Three rounds for which only some of twenty devices are eligible, as processes over TCP: nobody
 * else is in a sum, who is not eligible is told so and comes back, and every device ends with the
 * last version. Eligibility is computed again here from the registrar's chain. */
#include "fleet.h"

enum { ROUNDS = 3, COHORT = 14 };

/* The rate that the aggregator announced for a round. */
static uint32_t rate_of(const char *dir, uint64_t round)
{
    uint8_t *log = NULL;
    size_t len = 0;
    char text[64];
    uint32_t rate = 0;
    (void)snprintf(text, sizeof text, "ev=round.begin round=%llu ", (unsigned long long)round);
    CHECK(plmm_file_read(fleet_path(dir, "log-serve"), 1 << 24, &log, &len, NULL) == PLMM_OK,
          "log");
    const char *at = log != NULL ? strstr((char *)log, text) : NULL;
    at = at != NULL ? strstr(at, "rate=") : NULL;
    CHECK(at != NULL, "round %llu", (unsigned long long)round);
    rate = at != NULL ? (uint32_t)strtoul(at + 5, NULL, 10) : 0;
    plmm_free(log);
    return rate;
}

/* The k-th round was drawn by link k-1. */
static void check_round(const char *dir, const plmm_chain *chain, uint32_t k, bool ever[])
{
    plmm_manifest m;
    plmm_link link;
    plmm_lottery lottery;
    uint8_t *ids = NULL;
    size_t len = 0;
    plmm_error err = {0};
    CHECK(fleet_manifest(dir, k + 1, &m, &err) == PLMM_OK &&
              plmm_file_read(fleet_path(dir, "versions/%u/devices.bin", k + 1), 1 << 20, &ids, &len,
                             &err) == PLMM_OK,
          "%s", err.msg);
    uint32_t rate = rate_of(dir, m.round), eligible = 0;
    CHECK(rate != 0 && rate != UINT32_MAX, "rate %u", rate);
    plmm_chain_open(chain, &link, k - 1);
    plmm_lottery_init(&lottery, &link, rate, 0, 1);
    for (uint64_t id = 1; id <= FLEET_DEVICES; id++) {
        eligible += plmm_lottery_has(&lottery, id);
    }
    CHECK(eligible >= COHORT, "round %u: %u are eligible", k, eligible);
    for (size_t i = 0; i < len / 8; i++) {
        uint64_t id;
        memcpy(&id, ids + 8 * i, 8);
        CHECK(plmm_lottery_has(&lottery, id), "round %u: device %u is not eligible", k,
              (unsigned)id);
        ever[id] = true;
    }
    CHECK(len / 8 >= 10 && len / 8 <= COHORT, "round %u: %zu devices", k, len / 8);
    plmm_free(ids);
}

static bool told(const char *dir)
{
    bool any = false;
    for (unsigned id = 1; id <= FLEET_DEVICES; id++) {
        char name[8];
        (void)snprintf(name, sizeof name, "%u", id);
        any = any || fleet_log_has(dir, name, plmm_abort_str(PLMM_ABORT_NOT_SELECTED));
    }
    return any;
}

static void drive(char *self, char *dir)
{
    pid_t device[FLEET_DEVICES + 1] = {0};
    int status = 0;
    bool ever[FLEET_DEVICES + 1] = {false};
    plmm_chain *chain = NULL;
    plmm_registrar_config r = fleet_registrar();
    pid_t registrar = fleet_start_registrar(self, dir, 0);
    char *argv[] = {self, "serve", dir, "0", "3", "8000", NULL};
    pid_t serve = fleet_start(self, dir, "serve", argv);
    uint32_t port = fleet_wait_port(dir, "port");
    for (uint8_t id = 1; id <= FLEET_DEVICES; id++) {
        char name[8];
        (void)snprintf(name, sizeof name, "%u", id);
        char *args[] = {self, "join", dir, name, "4", "0", NULL};
        fleet_enrol_device(dir, id, port);
        device[id] = fleet_start(self, dir, name, args);
    }
    for (uint8_t id = 1; id <= FLEET_DEVICES; id++) {
        CHECK(waitpid(device[id], &status, 0) == device[id] && status == 0, "device %u: %x", id,
              (unsigned)status);
    }
    CHECK(waitpid(serve, &status, 0) == serve && status == 0, "serve: %x", (unsigned)status);
    fleet_end_registrar(registrar);
    CHECK(plmm_chain_new(&chain, &r.chain, r.chain_length, NULL) == PLMM_OK, "chain");
    uint32_t took_part = 0;
    for (uint32_t k = 1; k <= ROUNDS && chain != NULL; k++) {
        check_round(dir, chain, k, ever);
    }
    for (uint64_t id = 1; id <= FLEET_DEVICES; id++) {
        took_part += ever[id];
    }
    CHECK(took_part > COHORT, "the cohort is another each time: %u took part", took_part);
    CHECK(told(dir), "who is not eligible is told");
    plmm_chain_free(chain);
}

int main(int argc, char **argv)
{
    char dir[64] = "/tmp/plmm-sampled-XXXXXX";
    plmm_error err = {0};
    if (plmm_crypto_init(&err) != PLMM_OK) {
        fleet_die("crypto", &err);
    }
    if (argc == 6) {
        return fleet_role(argv);
    }
    char cohort[16];
    (void)snprintf(cohort, sizeof cohort, "%d", COHORT);
    (void)alarm(100);
    CHECK(setenv("FLEET_COHORT", cohort, 1) == 0 && mkdtemp(dir) != NULL, "mkdtemp");
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
