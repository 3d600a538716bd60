/* base/db: opening, refusals, migration, arguments, transactions, what is left of deleted text. */
#include "plmm/alloc.h"
#include "plmm/db.h"
#include "plmm/file.h"
#include "test.h"

#include <sys/stat.h>
#include <unistd.h>

static const char *const steps[] = {
    "CREATE TABLE t(id INTEGER PRIMARY KEY, i INTEGER, d REAL, s TEXT, b BLOB) STRICT",
    "CREATE TABLE u(x INTEGER) STRICT; INSERT INTO u SELECT id FROM t",
    "THIS IS NO SQL",
};
static plmm_db_schema schema = {
    .name = "test", .application = 0x74657374, .step = steps, .steps = 1};
static char path[PLMM_PATH_MAX];

static plmm_db *open_db(void)
{
    plmm_db *db = NULL;
    plmm_error err = {0};
    CHECK(plmm_db_open(path, &schema, &db, &err) == PLMM_OK, "%s", err.msg);
    return db;
}

static int64_t number(plmm_db *db, const char *sql)
{
    int64_t v = -1;
    plmm_error err = {0};
    CHECK(plmm_db_int(db, sql, NULL, 0, -2, &v, &err) == PLMM_OK, "%s: %s", sql, err.msg);
    return v;
}

static void test_arguments(void)
{
    plmm_db *db = open_db();
    plmm_error err = {0};
    plmm_rows *r = NULL;
    bool more = false;
    size_t len = 0;
    uint8_t three[3];
    CHECK(PLMM_DB_RUN(db, &err, "INSERT INTO t VALUES(?1, ?2, ?3, ?4, ?5)", plmm_arg_i(7),
                      plmm_arg_u(UINT64_MAX), plmm_arg_d(0.1), plmm_arg_s("caf\xc3\xa9"),
                      plmm_arg_b("a\0b", 3)) == PLMM_OK,
          "%s", err.msg);
    CHECK(plmm_db_last_id(db) == 7 && plmm_db_changes(db) == 1, "id and changes");
    CHECK(PLMM_DB_RUN(db, &err, "INSERT INTO t(s, b) VALUES(?1, ?2)", plmm_arg_s(NULL),
                      plmm_arg_b(NULL, 0)) == PLMM_OK,
          "%s", err.msg);
    CHECK(plmm_db_query(db, "SELECT * FROM t ORDER BY id", NULL, 0, &r, &err) == PLMM_OK &&
              plmm_rows_next(r, &more, &err) == PLMM_OK && more,
          "%s", err.msg);
    CHECK((uint64_t)plmm_rows_i(r, 1) == UINT64_MAX && plmm_rows_d(r, 2) == 0.1, "numbers");
    CHECK(strcmp(plmm_rows_s(r, 3), "caf\xc3\xa9") == 0, "text");
    CHECK(memcmp(plmm_rows_b(r, 4, &len), "a\0b", 3) == 0 && len == 3, "blob");
    CHECK(plmm_rows_copy(r, 4, three, 3, &err) == PLMM_OK && three[2] == 'b', "copied");
    CHECK(plmm_rows_copy(r, 4, three, 2, &err) == PLMM_ERR_FORMAT, "another length");
    CHECK(strstr(err.msg, "column b holds 3 bytes, expected 2") != NULL, "%s", err.msg);
    CHECK(plmm_rows_copy(r, 3, three, 5, &err) == PLMM_ERR_FORMAT, "text is no blob");
    CHECK(plmm_rows_next(r, &more, &err) == PLMM_OK && more && plmm_rows_null(r, 3), "NULL");
    CHECK(!plmm_rows_null(r, 4) && plmm_rows_s(r, 3)[0] == '\0', "an empty blob is not NULL");
    /* The same statement inside itself. */
    plmm_rows *in = NULL;
    CHECK(plmm_db_query(db, "SELECT count(*) FROM t", NULL, 0, &in, &err) == PLMM_OK, "nested");
    plmm_rows_close(in);
    CHECK(plmm_rows_next(r, &more, &err) == PLMM_OK && !more, "end");
    plmm_rows_close(r);
    CHECK(PLMM_DB_RUN(db, &err, "INSERT INTO t(id) VALUES(?1)", plmm_arg_i(7)) == PLMM_ERR_RANGE,
          "twice");
    CHECK(strstr(err.msg, "UNIQUE") != NULL && strstr(err.msg, path) != NULL, "%s", err.msg);
    plmm_db_close(db);
}

static void test_transactions(void)
{
    plmm_db *db = open_db();
    plmm_error err = {0};
    CHECK(number(db, "PRAGMA synchronous") == 2, "FULL");
    CHECK(number(db, "PRAGMA secure_delete") == 1, "overwritten");
    CHECK(plmm_db_begin(db, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_db_run(db, "DELETE FROM t", NULL, 0, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_db_end(db, PLMM_ERR_RANGE, &err) == PLMM_ERR_RANGE, "the reason is kept");
    CHECK(number(db, "SELECT count(*) FROM t") == 2, "rolled back");
    CHECK(plmm_db_begin(db, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_db_run(db, "DELETE FROM t WHERE id <> 7", NULL, 0, &err) == PLMM_OK, "%s", err.msg);
    plmm_db_close(db); /* in the middle of it */
    db = open_db();
    CHECK(number(db, "SELECT count(*) FROM t") == 2, "closed without commit");
    CHECK(plmm_db_begin(db, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_db_run(db, "DELETE FROM t WHERE id <> 7", NULL, 0, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_db_end(db, PLMM_OK, &err) == PLMM_OK, "%s", err.msg);
    CHECK(number(db, "SELECT count(*) FROM t") == 1, "committed");
    plmm_db_close(db);
}

static bool grep(const char *suffix, const char *what)
{
    char file[PLMM_PATH_MAX + 8];
    uint8_t *data = NULL;
    size_t len = 0, n = strlen(what);
    plmm_error err;
    (void)snprintf(file, sizeof file, "%s%s", path, suffix);
    if (plmm_file_read(file, 1 << 24, &data, &len, &err) != PLMM_OK) {
        return false;
    }
    bool found = false;
    for (size_t i = 0; i + n <= len && !found; i++) {
        found = memcmp(data + i, what, n) == 0;
    }
    plmm_free(data);
    return found;
}

static void test_scrub(void)
{
    static const char secret[] = "my-password-is-swordfish";
    plmm_db *db = open_db();
    plmm_error err = {0};
    CHECK(PLMM_DB_RUN(db, &err, "INSERT INTO t(id, s) VALUES(50, ?1)", plmm_arg_s(secret)) ==
              PLMM_OK,
          "%s", err.msg);
    CHECK(grep("-wal", secret), "it is in the log first");
    CHECK(plmm_db_run(db, "DELETE FROM t WHERE id = 50", NULL, 0, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_db_scrub(db, &err) == PLMM_OK, "%s", err.msg);
    CHECK(!grep("", secret) && !grep("-wal", secret) && !grep("-shm", secret), "gone");
    plmm_db_close(db);
}

static void test_opening(void)
{
    plmm_db *db = open_db();
    plmm_error err = {0};
    struct stat st;
    CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600, "mode %o", st.st_mode);
    plmm_db *other = open_db();
    CHECK(plmm_db_begin(db, &err) == PLMM_OK, "%s", err.msg);
    plmm_db_close(db);
    CHECK(number(other, "SELECT count(*) FROM t") == 1, "a second handle reads");
    plmm_db_close(other);
    schema.steps = 2;
    db = open_db();
    CHECK(number(db, "SELECT count(*) FROM u") == 1 && number(db, "PRAGMA user_version") == 2,
          "migrated with its rows");
    plmm_db_close(db);
    db = NULL;
    schema.steps = 1;
    CHECK(plmm_db_open(path, &schema, &db, &err) == PLMM_ERR_CONFIG && db == NULL, "newer");
    CHECK(strstr(err.msg, "has version 2 of plmm's test") != NULL, "%s", err.msg);
    schema.steps = 3;
    CHECK(plmm_db_open(path, &schema, &db, &err) == PLMM_ERR_IO && db == NULL, "a bad step");
    schema.steps = 2;
    db = open_db();
    CHECK(number(db, "PRAGMA user_version") == 2, "a failed step leaves the version");
    plmm_db_close(db);
    db = NULL;
    schema.application++;
    CHECK(plmm_db_open(path, &schema, &db, &err) == PLMM_ERR_CONFIG && db == NULL, "another's");
    CHECK(strstr(err.msg, "is not a file of plmm's test") != NULL, "%s", err.msg);
    schema.application--;
}

static void test_bad_files(const char *dir)
{
    plmm_db *db = NULL;
    plmm_error err = {0};
    char file[PLMM_PATH_MAX];
    CHECK(plmm_path_join(file, sizeof file, dir, "text", &err) == PLMM_OK, "%s", err.msg);
    static const char text[] = "this is a text and no database, and it is long enough to be read .."
                               "...........................................................";
    CHECK(plmm_file_write(file, text, sizeof text, PLMM_MODE_SECRET, &err) == PLMM_OK, "%s",
          err.msg);
    CHECK(plmm_db_open(file, &schema, &db, &err) == PLMM_ERR_FORMAT && db == NULL, "no database");
    CHECK(plmm_db_open("/nonexistent/x.db", &schema, &db, &err) == PLMM_ERR_NOTFOUND && db == NULL,
          "%s", err.msg);
    uint8_t *data = NULL;
    size_t len = 0;
    CHECK(plmm_file_read(path, 1 << 24, &data, &len, &err) == PLMM_OK, "%s", err.msg);
    for (size_t i = 120; i < len; i++) {
        data[i] = (uint8_t)(data[i] ^ 0x5a);
    }
    CHECK(plmm_file_write(file, data, len, PLMM_MODE_SECRET, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_db_open(file, &schema, &db, &err) == PLMM_ERR_FORMAT && db == NULL, "%s", err.msg);
    plmm_free(data);
}

static void test_oom(void)
{
    for (long k = 0;; k++) {
        plmm_db *db = NULL;
        plmm_error err = {0};
        plmm_alloc_fail_at(k);
        plmm_status rc = plmm_db_open(path, &schema, &db, &err);
        plmm_alloc_fail_at(-1);
        plmm_db_close(db);
        CHECK(plmm_alloc_live() == 0, "k=%ld leaks", k);
        if (rc == PLMM_OK) {
            break;
        }
        CHECK(rc == PLMM_ERR_NOMEM && db == NULL && err.msg[0] != '\0', "k=%ld", k);
    }
}

int main(void)
{
    char dir[] = "/dev/shm/plmm-test-db-XXXXXX"; /* memory: flushing is free */
    plmm_error err;
    CHECK(mkdtemp(dir) != NULL, "no temporary directory");
    CHECK(plmm_path_join(path, sizeof path, dir, "t.db", &err) == PLMM_OK, "%s", err.msg);
    test_arguments();
    test_transactions();
    test_scrub();
    test_opening();
    test_bad_files(dir);
    test_oom();
    CHECK(plmm_path_remove(dir, &err) == PLMM_OK, "%s", err.msg);
    return plmm_test_end();
}
