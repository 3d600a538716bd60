/* Error feedback across restarts, as processes over TCP: a device opens its store anew for each round, so
 * all it knows of the last one is there. After three rounds the sums and what the stores still hold are,
 * but for floats, what the devices were to send. */
#define FLEET_FRACTION                                                                             \
    1.0f /* a device's coordinates are weight / 4 above a whole number of steps */
#define FLEET_SIZE 12
#include "fleet.h"
#include "plmm/feedback.h"

#include <math.h>

enum { ROUNDS = 3 };

/* As `SELF join DIR ID VERSION WORK_MS`, a round at a time. */
static int join_anew(const char *dir, uint8_t id)
{
    plmm_error err = {0};
    for (uint32_t round = 0; round < ROUNDS; round++) {
        fleet_device d = {.dir = dir, .id = id};
        plmm_join_result result;
        if (fleet_join_run(&d, 1, 60000, &result, &err) != PLMM_OK) {
            fleet_die("join", &err);
        }
    }
    return EXIT_SUCCESS;
}

/* gap[i] += weight times what the store of the device still holds, in steps. */
static void add_kept(const char *dir, uint8_t id, double gap[FLEET_LENGTH])
{
    plmm_store *store = NULL;
    plmm_error err = {0};
    plmm_feedback f = {0};
    uint8_t *bytes = NULL;
    size_t len = 0;
    plmm_status rc = plmm_store_open(fleet_path(dir, "device-%u.db", id), &store, &err);
    rc = rc == PLMM_OK
             ? plmm_store_note_get(store, FLEET_EXPERT, PLMM_STORE_RESIDUAL, &bytes, &len, &err)
             : rc;
    rc = rc == PLMM_OK && bytes != NULL ? plmm_feedback_decode(&f, bytes, len, &err) : rc;
    CHECK(rc == PLMM_OK && f.length == FLEET_LENGTH, "device %u: %s", id, err.msg);
    for (size_t i = 0; i < f.length; i++) {
        gap[i] += fleet_weight(id) * (double)f.kept[i] / FLEET_WEIGHT_MAX;
    }
    plmm_feedback_free(&f);
    plmm_free(bytes);
    plmm_store_close(store);
}

static void add_sum(const char *dir, uint64_t version, double gap[FLEET_LENGTH])
{
    plmm_manifest m;
    uint8_t *sum = NULL;
    size_t len = 0;
    plmm_error err = {0};
    bool good = fleet_manifest(dir, version, &m, &err) == PLMM_OK &&
                plmm_file_read(fleet_path(dir, "versions/%u/sum.bin", (unsigned)version), 1 << 20,
                               &sum, &len, &err) == PLMM_OK &&
                len == 4 * (FLEET_LENGTH + 1) && m.survivors == FLEET_DEVICES;
    CHECK(good, "version %u: %s", (unsigned)version, err.msg);
    for (uint32_t i = 0; good && i < FLEET_LENGTH; i++) {
        gap[i] += plmm_lane_signed(((const uint32_t *)(const void *)sum)[i], FLEET_RING);
        for (uint64_t id = 1; id <= FLEET_DEVICES; id++) {
            double w = fleet_weight(id);
            gap[i] -=
                w * (fleet_coordinate(id, m.round, i) + (double)FLEET_FRACTION / FLEET_WEIGHT_MAX);
        }
    }
    plmm_free(sum);
}

static double largest(const double gap[FLEET_LENGTH])
{
    double most = 0;
    for (uint32_t i = 0; i < FLEET_LENGTH; i++) {
        most = fmax(most, fabs(gap[i]));
    }
    return most;
}

static void drive(char *self, char *dir)
{
    pid_t device[FLEET_DEVICES + 1] = {0};
    int status = 0;
    double gap[FLEET_LENGTH] = {0};
    pid_t registrar = fleet_start_registrar(self, dir, 0);
    char *argv[] = {self,          (char[]){"serve"}, dir, (char[]){"0"},
                    (char[]){"3"}, (char[]){"8000"},  NULL};
    pid_t serve = fleet_start(self, dir, "serve", argv);
    uint32_t port = fleet_wait_port(dir, "port");
    for (uint8_t id = 1; id <= FLEET_DEVICES; id++) {
        char name[8];
        (void)snprintf(name, sizeof name, "%u", id);
        char *args[] = {self, (char[]){"join"}, dir, name, (char[]){"4"}, (char[]){"0"}, NULL};
        fleet_enrol_device(dir, id, port);
        device[id] = fleet_start(self, dir, name, args);
    }
    for (uint8_t id = 1; id <= FLEET_DEVICES; id++) {
        CHECK(waitpid(device[id], &status, 0) == device[id] && status == 0, "device %u: %x", id,
              (unsigned)status);
    }
    CHECK(waitpid(serve, &status, 0) == serve && status == 0, "serve: %x", (unsigned)status);
    fleet_end_registrar(registrar);
    CHECK(fleet_newest(dir) == ROUNDS + 1, "%d versions", (int)fleet_newest(dir));
    for (uint64_t version = 2; version <= ROUNDS + 1; version++) {
        add_sum(dir, version, gap);
    }
    double without = largest(gap);
    for (uint8_t id = 1; id <= FLEET_DEVICES; id++) {
        add_kept(dir, id, gap);
    }
    CHECK(largest(gap) < .02, "%g steps are lost", largest(gap));
    CHECK(without > .5, "%g are in the stores: nothing is shown", without);
}

int main(int argc, char **argv)
{
    char dir[64] = "/tmp/plmm-residual-XXXXXX";
    plmm_error err = {0};
    if (plmm_crypto_init(&err) != PLMM_OK) {
        fleet_die("crypto", &err);
    }
    if (argc == 6 && strcmp(argv[1], "join") == 0) {
        plmm_log_to(STDERR_FILENO, PLMM_LOG_DEBUG);
        return join_anew(argv[2], (uint8_t)strtoul(argv[3], NULL, 10));
    }
    if (argc == 6) {
        return fleet_role(argv);
    }
    (void)alarm(150);
    CHECK(mkdtemp(dir) != NULL, "mkdtemp");
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
