/* aggregator/node_store: what goes in comes out and is refused; killed before any statement. */
#include "plmm/alloc.h"
#include "plmm/db.h"
#include "plmm/file.h"
#include "plmm/node_store.h"
#include "test.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/dev/shm/plmm-test-node-XXXXXX"; /* memory: flushing is free */
static char path[PLMM_PATH_MAX];

static plmm_node_store *open_store(void)
{
    plmm_node_store *s = NULL;
    plmm_error err = {0};
    CHECK(plmm_node_open(path, &s, &err) == PLMM_OK, "%s", err.msg);
    return s;
}

static void fresh_file(void)
{
    static const char *const suffix[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < COUNT(suffix); i++) {
        char file[PLMM_PATH_MAX + 8];
        (void)snprintf(file, sizeof file, "%s%s", path, suffix[i]);
        (void)unlink(file);
    }
}

static plmm_certificate certificate(uint64_t id)
{
    plmm_certificate c = {.device = id};
    memset(&c.key, (int)id, sizeof c.key);
    memset(&c.signature, (int)id + 1, sizeof c.signature);
    return c;
}

static void test_devices(void)
{
    plmm_error err = {0};
    uint64_t id = 0, enrolled = 0, revoked = 0;
    char *value = NULL;
    plmm_certificate got;
    fresh_file();
    plmm_node_store *s = open_store();
    for (uint64_t i = 1; i <= 5; i++) {
        CHECK(plmm_node_device_next(s, &id, &err) == PLMM_OK && id == i, "id %d", (int)id);
        plmm_certificate c = certificate(id);
        CHECK(i == 3 || plmm_node_device_add(s, &c, "label", 5, &err) == PLMM_OK, "%s", err.msg);
    }
    plmm_certificate c = certificate(4);
    CHECK(plmm_node_device_add(s, &c, "", 5, &err) == PLMM_ERR_STATE, "the id again");
    c.device = 40;
    CHECK(plmm_node_device_add(s, &c, "", 5, &err) == PLMM_ERR_STATE, "the key again");
    CHECK(plmm_node_device_get(s, 3, &got, &err) == PLMM_ERR_NOTFOUND, "%s", err.msg);
    CHECK(plmm_node_device_get(s, 4, &got, &err) == PLMM_OK && got.device == 4 &&
              got.key.b[0] == 4 && got.signature.b[63] == 5,
          "%s", err.msg);
    CHECK(plmm_node_device_revoke(s, 4, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_node_device_get(s, 4, &got, &err) == PLMM_ERR_NOTFOUND &&
              strstr(err.msg, "revoked") != NULL,
          "%s", err.msg);
    CHECK(plmm_node_device_revoke(s, 3, &err) == PLMM_ERR_NOTFOUND, "%s", err.msg);
    CHECK(plmm_node_device_count(s, &enrolled, &revoked, &err) == PLMM_OK && enrolled == 3 &&
              revoked == 1,
          "%d enrolled, %d revoked", (int)enrolled, (int)revoked);
    plmm_node_close(s);
    s = open_store();
    CHECK(plmm_node_device_next(s, &id, &err) == PLMM_OK && id == 6, "after a restart: %d",
          (int)id);
    CHECK(plmm_node_set(s, "a", "b", &err) == PLMM_OK &&
              plmm_node_set(s, "a", "c", &err) == PLMM_OK,
          "%s", err.msg);
    CHECK(plmm_node_get(s, "a", &value, &err) == PLMM_OK && strcmp(value, "c") == 0, "setting");
    plmm_free(value);
    CHECK(plmm_node_get(s, "x", &value, &err) == PLMM_OK && value == NULL, "none");
    plmm_node_close(s);
}

static plmm_status see_device(void *ctx, const plmm_node_device *d, plmm_error *err)
{
    (void)err;
    plmm_node_device *last = ctx;
    CHECK(d->serial > last->serial, "in the order of changes");
    *last = *d;
    return PLMM_OK;
}

static plmm_status see_seal(void *ctx, uint64_t round, const uint8_t *record, size_t len,
                            int64_t time_ms, plmm_error *err)
{
    (void)err;
    uint32_t *n = ctx;
    CHECK(round == 9 && len == 3 && record[0] == 'b' + *n && time_ms == 7, "seal %u", *n);
    (*n)++;
    return PLMM_OK;
}

/* What a registrar keeps, and what its aggregator takes over. */
static void test_registrar(void)
{
    plmm_error err = {0};
    uint64_t serial = 9, count = 9, *ids = NULL;
    uint32_t n = 0, seals = 0;
    plmm_node_device last = {.serial = 0};
    plmm_certificate got;
    fresh_file();
    plmm_node_store *s = open_store();
    CHECK(plmm_node_device_serial(s, &serial, &err) == PLMM_OK && serial == 0, "nothing yet");
    for (uint64_t i = 1; i <= 5; i++) {
        plmm_certificate c = certificate(10 * i);
        CHECK(plmm_node_device_add(s, &c, "", 5, &err) == PLMM_OK, "%s", err.msg);
    }
    CHECK(plmm_node_device_revoke(s, 20, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_node_device_revoke(s, 21, &err) == PLMM_ERR_NOTFOUND, "%s", err.msg);
    CHECK(plmm_node_device_serial(s, &serial, &err) == PLMM_OK && serial == 6, "%d", (int)serial);
    CHECK(plmm_node_devices_after(s, 0, 3, see_device, &last, &err) == PLMM_OK &&
              last.serial == 4 && last.certificate.device == 40,
          "a page: %d", (int)last.serial);
    CHECK(plmm_node_devices_after(s, 4, 99, see_device, &last, &err) == PLMM_OK &&
              last.serial == 6 && last.revoked && last.certificate.device == 20,
          "the rest: %d", (int)last.serial);
    CHECK(plmm_node_enrolled(s, &ids, &n, &err) == PLMM_OK && n == 4 && ids[0] == 10 &&
              ids[1] == 30 && ids[3] == 50,
          "%u enrolled", n);
    plmm_free(ids);
    last.serial = 70;
    last.revoked = false;
    CHECK(plmm_node_device_take(s, &last, 5, &err) == PLMM_OK &&
              plmm_node_device_get(s, 20, &got, &err) == PLMM_OK &&
              plmm_node_device_serial(s, &serial, &err) == PLMM_OK && serial == 70,
          "%s", err.msg);
    CHECK(plmm_node_device_barred(s, 30, 1, &err) == PLMM_OK &&
              plmm_node_device_bar(s, 30, 12, &err) == PLMM_OK &&
              plmm_node_device_barred(s, 40, 12, &err) == PLMM_OK &&
              plmm_node_device_barred(s, 30, 13, &err) == PLMM_OK,
          "%s", err.msg);
    CHECK(plmm_node_device_barred(s, 30, 12, &err) == PLMM_ERR_STATE &&
              strstr(err.msg, "up to round 12") != NULL,
          "%s", err.msg);
    CHECK(plmm_node_seal_add(s, 0, 8, (const uint8_t *)"axx", 3, 7, &err) == PLMM_OK &&
              plmm_node_seal_add(s, 1, 9, (const uint8_t *)"bxx", 3, 7, &err) == PLMM_OK &&
              plmm_node_seal_add(s, 2, 9, (const uint8_t *)"cxx", 3, 7, &err) == PLMM_OK,
          "%s", err.msg);
    CHECK(plmm_node_seal_add(s, 2, 10, (const uint8_t *)"dxx", 3, 7, &err) == PLMM_ERR_STATE &&
              strstr(err.msg, "another registrar") != NULL,
          "%s", err.msg);
    plmm_node_close(s);
    s = open_store();
    CHECK(plmm_node_seal_count(s, &count, &err) == PLMM_OK && count == 3, "%d", (int)count);
    CHECK(plmm_node_seals_last(s, see_seal, &seals, &err) == PLMM_OK && seals == 2, "%u", seals);
    plmm_node_close(s);
}

static plmm_status see_record(void *ctx, uint64_t seq, const uint8_t *record, size_t len,
                              plmm_error *err)
{
    (void)err;
    uint64_t *last = ctx;
    CHECK(seq > *last && len == 2 && record[0] == (uint8_t)seq, "record %d", (int)seq);
    *last = seq;
    return PLMM_OK;
}

static plmm_status see_round(void *ctx, const plmm_node_round *r, plmm_error *err)
{
    (void)err;
    uint32_t *n = ctx;
    if ((*n)++ == 0) {
        CHECK(r->round == 2 && r->attempt == 1 && r->state == PLMM_NODE_RUNNING && r->begun_ms == 9,
              "the running one first");
    } else {
        CHECK(r->round == 1 && r->attempt == 1 && r->state == PLMM_NODE_PUBLISHED &&
                  r->survivors == 17 && r->version == 2 && r->step_ms[3] == 33 &&
                  r->ended_ms == 8 && strcmp(r->text, "fine") == 0,
              "as it ended");
    }
    return PLMM_OK;
}

static void test_rounds(void)
{
    plmm_error err = {0};
    uint8_t record[2] = {0}, *blob = NULL;
    size_t len = 0;
    uint64_t round = 9, last = 0;
    uint32_t attempt = 9, seen = 0;
    bool sealed = true;
    fresh_file();
    plmm_node_store *s = open_store();
    CHECK(plmm_node_round_last(s, &round, &attempt, &sealed, &err) == PLMM_OK && round == 0 &&
              attempt == 0 && !sealed,
          "none yet");
    CHECK(plmm_node_round_running(s, &round, &attempt, &blob, &len, &err) == PLMM_ERR_NOTFOUND,
          "%s", err.msg);
    CHECK(plmm_node_round_begin(s, 1, 1, (const uint8_t *)"params", 6, 7, &err) == PLMM_OK, "%s",
          err.msg);
    CHECK(plmm_node_round_begin(s, 2, 1, NULL, 0, 7, &err) == PLMM_ERR_STATE, "one at a time");
    for (uint64_t seq = 1; seq < 6; seq++) {
        record[0] = (uint8_t)seq;
        const uint8_t *payload = seq > 2 ? (const uint8_t *)"payload" : NULL;
        CHECK(plmm_node_journal_append(s, seq, record, 2, seq, payload, 7, &err) == PLMM_OK, "%s",
              err.msg);
    }
    CHECK(plmm_node_journal_append(s, 5, record, 2, 0, NULL, 0, &err) == PLMM_ERR_STATE, "%s",
          err.msg);
    CHECK(plmm_node_journal_append(s, 6, record, 2, 3, record, 2, &err) == PLMM_ERR_STATE, "%s",
          err.msg);
    plmm_node_close(s);
    s = open_store();
    CHECK(plmm_node_round_running(s, &round, &attempt, &blob, &len, &err) == PLMM_OK &&
              round == 1 && attempt == 1 && len == 6 && memcmp(blob, "params", 6) == 0,
          "it runs still");
    plmm_free(blob);
    CHECK(plmm_node_journal_each(s, see_record, &last, &err) == PLMM_OK && last == 5,
          "the refused one left nothing: %d", (int)last);
    CHECK(plmm_node_payload(s, 3, &blob, &len, &err) == PLMM_OK && len == 7, "%s", err.msg);
    plmm_free(blob);
    CHECK(plmm_node_payload(s, 2, &blob, &len, &err) == PLMM_ERR_NOTFOUND, "%s", err.msg);
    plmm_node_round r = {.round = 1,
                         .attempt = 1,
                         .state = PLMM_NODE_PUBLISHED,
                         .survivors = 17,
                         .version = 2,
                         .sealed = true,
                         .ended_ms = 8,
                         .step_ms = {[3] = 33},
                         .text = "fine"};
    CHECK(plmm_node_round_end(s, &r, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_node_round_end(s, &r, &err) == PLMM_ERR_STATE, "%s", err.msg);
    CHECK(plmm_node_payload(s, 3, &blob, &len, &err) == PLMM_ERR_NOTFOUND, "%s", err.msg);
    last = 0;
    CHECK(plmm_node_journal_each(s, see_record, &last, &err) == PLMM_OK && last == 0, "emptied");
    CHECK(plmm_node_round_last(s, &round, &attempt, &sealed, &err) == PLMM_OK && round == 1 &&
              sealed,
          "sealed");
    CHECK(plmm_node_round_begin(s, 1, 1, NULL, 0, 9, &err) == PLMM_ERR_STATE, "%s", err.msg);
    CHECK(plmm_node_round_begin(s, 2, 1, NULL, 0, 9, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_node_round_last(s, &round, &attempt, &sealed, &err) == PLMM_OK && round == 2 &&
              !sealed,
          "last");
    CHECK(plmm_node_rounds(s, 9, see_round, &seen, &err) == PLMM_OK && seen == 2, "%u", seen);
    plmm_node_close(s);
}

static plmm_status see_version(void *ctx, const plmm_node_version *v, plmm_error *err)
{
    (void)err;
    uint64_t *want = ctx;
    CHECK(v->version == *want && v->manifest.b[0] == (uint8_t)*want && v->bytes == 100, "version");
    *want -= 1;
    return PLMM_OK;
}

static plmm_status see_audit(void *ctx, int64_t time_ms, const char *event, uint64_t device,
                             const char *text, plmm_error *err)
{
    (void)err;
    int64_t *want = ctx;
    CHECK(time_ms == *want && device == 3 && strcmp(event, "peer") == 0 && strcmp(text, "t") == 0,
          "row %d", (int)time_ms);
    *want -= 1;
    return PLMM_OK;
}

static void test_lists(void)
{
    plmm_error err = {0};
    uint64_t want = 3;
    int64_t row = 7;
    fresh_file();
    plmm_node_store *s = open_store();
    for (uint64_t i = 1; i <= 3; i++) {
        plmm_node_version v = {.version = i, .round = i, .manifest = {{(uint8_t)i}}, .bytes = 100};
        CHECK(plmm_node_version_put(s, &v, &err) == PLMM_OK, "%s", err.msg);
        CHECK(plmm_node_version_put(s, &v, &err) == PLMM_OK, "again: %s", err.msg);
    }
    CHECK(plmm_node_versions(s, 9, see_version, &want, &err) == PLMM_OK && want == 0, "all");
    /* Many rows as one transaction, then one that is rolled back. */
    CHECK(plmm_node_begin(s, &err) == PLMM_OK, "%s", err.msg);
    for (int64_t i = 0; i < 8; i++) {
        CHECK(plmm_node_audit(s, i, "peer", 3, "t", &err) == PLMM_OK, "%s", err.msg);
    }
    CHECK(plmm_node_end(s, PLMM_OK, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_node_begin(s, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_node_audit(s, 99, "peer", 3, "t", &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_node_end(s, PLMM_ERR_IO, &err) == PLMM_ERR_IO, "rolled back");
    CHECK(plmm_node_audits(s, 3, see_audit, &row, &err) == PLMM_OK && row == 4, "three newest");
    plmm_node_close(s);
}

/* ---- killed before the k-th statement ---- */

enum { OPS = 12 };

static void check_epoch(plmm_node_store *s, const char *kept)
{
    uint8_t *epoch = NULL;
    size_t len = 0;
    plmm_status rc = plmm_node_epoch(s, &epoch, &len, NULL);
    CHECK(kept == NULL ? rc == PLMM_ERR_NOTFOUND
                       : rc == PLMM_OK && len == strlen(kept) && memcmp(epoch, kept, len) == 0,
          "kept: %s", kept != NULL ? kept : "nothing");
    plmm_free(epoch);
}

/* What a round leaves for later ones is kept with its end, over those that leave nothing, until one
 * is aborted. */
static void test_epoch(void)
{
    static const struct {
        plmm_node_state state;
        const char *leaves, *kept;
    } row[] = {{PLMM_NODE_PUBLISHED, NULL, NULL},  {PLMM_NODE_PUBLISHED, "one", "one"},
               {PLMM_NODE_PUBLISHED, NULL, "one"}, {PLMM_NODE_PUBLISHED, "other", "other"},
               {PLMM_NODE_ABORTED, NULL, NULL},    {PLMM_NODE_PUBLISHED, "last", "last"}};
    plmm_error err = {0};
    fresh_file();
    plmm_node_store *s = open_store();
    for (size_t i = 0; i < COUNT(row); i++) {
        plmm_node_round r = {.round = i + 1,
                             .attempt = 1,
                             .state = row[i].state,
                             .text = "",
                             .epoch = (const uint8_t *)row[i].leaves,
                             .epoch_len = row[i].leaves != NULL ? strlen(row[i].leaves) : 0};
        CHECK(plmm_node_round_begin(s, i + 1, 1, NULL, 0, 7, &err) == PLMM_OK &&
                  plmm_node_round_end(s, &r, &err) == PLMM_OK,
              "%s", err.msg);
        plmm_node_close(s);
        s = open_store();
        check_epoch(s, row[i].kept);
    }
    CHECK(plmm_node_epoch_drop(s, &err) == PLMM_OK, "%s", err.msg);
    check_epoch(s, NULL);
    plmm_node_close(s);
}

static plmm_status operation(plmm_node_store *s, uint32_t i, plmm_error *err)
{
    plmm_certificate c = certificate(i + 1);
    uint8_t record[3] = {1, 2, (uint8_t)i};
    plmm_node_round r = {
        .round = 1, .attempt = 1, .state = PLMM_NODE_ABORTED, .reason = 4, .text = "few"};
    plmm_node_version v = {.version = 1, .bytes = 5};
    uint64_t id = 0;
    switch (i) {
    case 0:
        return plmm_node_device_next(s, &id, err);
    case 1:
    case 2:
        return plmm_node_device_add(s, &c, "x", 1, err);
    case 3:
        return plmm_node_round_begin(s, 1, 1, record, 3, 4, err);
    case 4:
    case 5:
        return plmm_node_journal_append(s, i, record, 3, 0, NULL, 0, err);
    case 6:
    case 7:
        return plmm_node_journal_append(s, i, record, 3, i, record, 3, err);
    case 8:
        return plmm_node_round_end(s, &r, err);
    case 9:
        return plmm_node_version_put(s, &v, err);
    case 10:
        return plmm_node_round_begin(s, 1, 2, record, 3, 4, err);
    default:
        return plmm_node_audit(s, 1, "e", 2, "t", err);
    }
}

static long statements_left = -1;

static void before_statement(const char *sql)
{
    (void)sql;
    if (statements_left-- == 0) {
        (void)kill(getpid(), SIGKILL);
    }
}

/* FNV-1a over every value of every table. */
static uint64_t dump(void)
{
    static const char *const tables[] = {"settings", "ids",      "devices",  "rounds",
                                         "journal",  "payloads", "versions", "audit"};
    sqlite3 *db = NULL;
    uint64_t h = UINT64_C(14695981039346656037);
    CHECK(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK, "open");
    for (size_t t = 0; t < COUNT(tables); t++) {
        char sql[64];
        sqlite3_stmt *st = NULL;
        (void)snprintf(sql, sizeof sql, "SELECT * FROM %s ORDER BY 1, 2", tables[t]);
        CHECK(sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK, "%s", sql);
        while (sqlite3_step(st) == SQLITE_ROW) {
            for (int c = 0; c < sqlite3_column_count(st); c++) {
                const uint8_t *p = sqlite3_column_blob(st, c);
                for (int k = 0, n = sqlite3_column_bytes(st, c); k < n; k++) {
                    h = (h ^ p[k]) * UINT64_C(1099511628211);
                }
                h = (h ^ 0xff) * UINT64_C(1099511628211);
            }
        }
        (void)sqlite3_finalize(st);
    }
    (void)sqlite3_close(db);
    return h;
}

/* Runs operations first.. and tells how many returned, dying before statement `at` (-1: never). */
static uint32_t run_child(uint32_t first, long at, bool *died)
{
    int fd[2];
    CHECK(pipe(fd) == 0, "pipe");
    pid_t pid = fork();
    if (pid == 0) {
        plmm_error err = {0};
        plmm_node_store *s = NULL;
        statements_left = at;
        plmm_db_on_statement(before_statement);
        bool ok = plmm_node_open(path, &s, &err) == PLMM_OK;
        for (uint32_t i = first; ok && i < OPS; i++) {
            ok = operation(s, i, &err) == PLMM_OK && write(fd[1], "x", 1) == 1;
        }
        _exit(ok ? 0 : 1);
    }
    (void)close(fd[1]);
    int status = 0;
    char c;
    uint32_t done = 0;
    while (read(fd[0], &c, 1) == 1) {
        done++;
    }
    (void)close(fd[0]);
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid, "wait");
    *died = WIFSIGNALED(status);
    CHECK(*died || WEXITSTATUS(status) == 0, "the child failed");
    return done;
}

static void test_kill(void)
{
    uint64_t want[OPS + 1];
    bool died = false;
    long kills = 0;
    fresh_file();
    plmm_node_store *s = open_store();
    want[0] = dump();
    for (uint32_t i = 0; i < OPS; i++) {
        plmm_error err = {0};
        CHECK(operation(s, i, &err) == PLMM_OK, "%u: %s", i, err.msg);
        want[i + 1] = dump();
    }
    plmm_node_close(s);
    for (long at = 0;; at++) {
        fresh_file();
        uint32_t done = run_child(0, at, &died);
        if (!died) {
            CHECK(done == OPS && dump() == want[OPS], "the run to its end");
            break;
        }
        kills++;
        plmm_node_close(open_store()); /* recovers, or makes the tables */
        uint64_t got = dump();
        uint32_t next = done < OPS && got == want[done + 1] ? done + 1 : done;
        CHECK(got == want[next], "killed at %ld after %u operations: half of one is there", at,
              done);
        if (at % 4 == 0) { /* and life goes on as if nothing had been */
            (void)run_child(next, -1, &died);
            CHECK(!died && dump() == want[OPS], "killed at %ld, then finished", at);
        }
    }
    CHECK(kills > 40, "only %ld", kills);
}

static void test_oom(void)
{
    fresh_file();
    plmm_node_store *s = open_store();
    plmm_error err = {0};
    for (uint32_t i = 0; i < OPS; i++) {
        CHECK(operation(s, i, &err) == PLMM_OK, "%s", err.msg);
    }
    CHECK(plmm_node_set(s, "k", "v", &err) == PLMM_OK, "%s", err.msg);
    plmm_node_close(s);
    for (long k = 0;; k++) {
        uint8_t *blob = NULL;
        char *value = NULL;
        size_t len = 0;
        uint64_t round = 0;
        uint32_t attempt = 0;
        s = NULL;
        err = (plmm_error){0};
        plmm_alloc_fail_at(k);
        plmm_status rc = plmm_node_open(path, &s, &err);
        rc = rc == PLMM_OK ? plmm_node_get(s, "k", &value, &err) : rc;
        rc = rc == PLMM_OK ? plmm_node_round_running(s, &round, &attempt, &blob, &len, &err) : rc;
        plmm_alloc_fail_at(-1);
        plmm_free(value);
        plmm_free(blob);
        plmm_node_close(s);
        CHECK(plmm_alloc_live() == 0, "k=%ld leaks", k);
        if (rc == PLMM_OK) {
            break;
        }
        CHECK(rc == PLMM_ERR_NOMEM && err.msg[0] != '\0', "k=%ld: %d %s", k, rc, err.msg);
    }
}

int main(void)
{
    plmm_error err;
    CHECK(mkdtemp(dir) != NULL, "no temporary directory");
    CHECK(plmm_path_join(path, sizeof path, dir, "node.db", &err) == PLMM_OK, "%s", err.msg);
    test_devices();
    test_registrar();
    test_rounds();
    test_epoch();
    test_lists();
    test_kill();
    test_oom();
    CHECK(plmm_path_remove(dir, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_alloc_live() == 0, "%ld blocks leak", plmm_alloc_live());
    return plmm_test_end();
}
