/* An aggregator whose registrar is away, as processes over TCP: before a round it waits, says so and
 * answers devices all the same; a round that waits for its seal is aborted, and its number is spent;
 * once the registrar is back the next round completes. */
#include "fleet.h"

enum { STEP_MS = 3000, PATIENCE_MS = 40000 };

static bool wait_log(const char *dir, const char *name, const char *text)
{
    uint64_t until = plmm_clock_ms() + PATIENCE_MS;
    while (!fleet_log_has(dir, name, text) && plmm_clock_ms() < until) {
        plmm_clock_sleep_ms(10);
    }
    bool has = fleet_log_has(dir, name, text);
    CHECK(has, "%s did not say %s", name, text);
    return has;
}

static void start_devices(char *self, char *dir, uint32_t port, pid_t *device)
{
    for (uint8_t id = 1; id <= FLEET_DEVICES; id++) {
        char name[8];
        (void)snprintf(name, sizeof name, "%u", id);
        char *args[] = {self, (char[]){"join"}, dir, name, (char[]){"2"}, (char[]){"0"}, NULL};
        fleet_enrol_device(dir, id, port);
        device[id] = fleet_start(self, dir, name, args);
    }
}

static void drive(char *self, char *dir)
{
    pid_t device[FLEET_DEVICES + 1] = {0};
    int status = 0;
    char step[16];
    plmm_manifest m = {0};
    (void)snprintf(step, sizeof step, "%d", STEP_MS);
    pid_t registrar = fleet_start_registrar(self, dir, 0);
    uint32_t seals = fleet_wait_port(dir, "registrar-port");
    CHECK(kill(registrar, SIGKILL) == 0 && waitpid(registrar, NULL, 0) == registrar, "kill");
    char *argv[] = {self, (char[]){"serve"}, dir, (char[]){"0"}, (char[]){"1"}, step, NULL};
    pid_t serve = fleet_start(self, dir, "serve", argv);
    uint32_t port = fleet_wait_port(dir, "port");
    (void)wait_log(dir, "serve", "ev=registrar.away why=\"the registrar at tcp://127.0.0.1:");
    CHECK(!fleet_log_has(dir, "serve", "ev=round.begin"), "no round begins without it");
    registrar = fleet_start_registrar(self, dir, seals);
    (void)wait_log(dir, "serve", "ev=round.begin round=1 ");
    CHECK(kill(registrar, SIGSTOP) == 0, "stop");
    start_devices(self, dir, port, device);
    (void)wait_log(dir, "serve", "round=1 phase=seal");
    (void)wait_log(dir, "serve", "ev=round.abort round=1 ");
    CHECK(kill(registrar, SIGKILL) == 0 && waitpid(registrar, NULL, 0) == registrar, "kill");
    registrar = fleet_start_registrar(self, dir, seals); /* which sealed nothing yet */
    for (uint8_t id = 1; id <= FLEET_DEVICES; id++) {
        CHECK(waitpid(device[id], &status, 0) == device[id] && status == 0, "device %u: %x", id,
              (unsigned)status);
    }
    CHECK(waitpid(serve, &status, 0) == serve && status == 0, "serve: %x", (unsigned)status);
    fleet_end_registrar(registrar);
    CHECK(fleet_manifest(dir, 2, &m, NULL) == PLMM_OK && m.round >= 2, "round %d made version 2",
          (int)m.round);
    CHECK(!fleet_log_has(dir, "serve", "round=1 attempt=2"), "a round whose seal was asked for");
    CHECK(fleet_log_has(dir, "1", plmm_abort_str(PLMM_ABORT_NO_SEAL)), "devices are told");
}

int main(int argc, char **argv)
{
    char dir[64] = "/tmp/plmm-away-XXXXXX";
    plmm_error err = {0};
    if (plmm_crypto_init(&err) != PLMM_OK) {
        fleet_die("crypto", &err);
    }
    if (argc == 6) {
        return fleet_role(argv);
    }
    (void)alarm(110);
    CHECK(mkdtemp(dir) != NULL, "mkdtemp");
    fleet_init(dir);
    drive(argv[0], dir);
    if (plmm_test_failures > 0) {
        fleet_show_log(dir, "serve");
        fleet_show_log(dir, "registrar");
    }
    if (getenv("PLMM_TEST_KEEP") == NULL) {
        CHECK(plmm_path_remove(dir, NULL) == PLMM_OK, "clean up");
    }
    return plmm_test_end();
}
