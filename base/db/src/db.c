#include "plmm/db.h"

#include "plmm/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CACHE = 64, BUSY_MS = 5000, PATH_SHOWN = 200 };

/* A compiled statement; idle ones wait in the cache for their next use. */
struct plmm_rows {
    plmm_db *db;
    const char *sql;
    sqlite3_stmt *stmt;
    bool cached; /* it lies in the cache and must not be finalised on closing */
    bool busy;
    bool ended;
};

struct plmm_db {
    sqlite3 *sqlite;
    char path[PATH_SHOWN + 1];
    bool in_transaction;
    plmm_rows cache[CACHE];
    uint32_t cached;
};

static _Atomic(void (*)(const char *)) statement_hook;

void plmm_db_on_statement(void (*fn)(const char *sql))
{
    atomic_store(&statement_hook, fn);
}

static plmm_status fail(plmm_error *err, const char *path, int code, const char *why,
                        const char *what)
{
    plmm_status rc = PLMM_ERR_IO;
    switch (code & 0xff) {
    case SQLITE_NOMEM:
        rc = PLMM_ERR_NOMEM;
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return plmm_fail(err, PLMM_ERR_STATE, "cannot %s %s: another process is using it", what,
                         path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        rc = PLMM_ERR_FORMAT;
        break;
    case SQLITE_CONSTRAINT:
    case SQLITE_TOOBIG:
    case SQLITE_RANGE:
        rc = PLMM_ERR_RANGE;
        break;
    default:
        break;
    }
    return plmm_fail(err, rc, "cannot %s %s: %s", what, path, why);
}

static plmm_status db_fail(const plmm_db *db, const char *what, plmm_error *err)
{
    return fail(err, db->path, sqlite3_errcode(db->sqlite), sqlite3_errmsg(db->sqlite), what);
}

/* ---- opening ---- */

static plmm_status exec(plmm_db *db, const char *sql, plmm_error *err)
{
    if (sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL) != SQLITE_OK) {
        return db_fail(db, "use", err);
    }
    return PLMM_OK;
}

/* The file is made by us, so that nobody else can ever read it; SQLite gives its log the same
 * mode. */
static plmm_status make_file(const char *path, plmm_error *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return plmm_fail(err, errno == ENOENT ? PLMM_ERR_NOTFOUND : PLMM_ERR_IO,
                         "cannot open %s: %s", path, strerror(errno));
    }
    (void)close(fd);
    return PLMM_OK;
}

static plmm_status pragma_int(plmm_db *db, const char *sql, int64_t *out, plmm_error *err)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(db->sqlite, sql, -1, &s, NULL);
    if (rc == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW) {
        *out = sqlite3_column_int64(s, 0);
        (void)sqlite3_finalize(s);
        return PLMM_OK;
    }
    plmm_status status = db_fail(db, "open", err);
    (void)sqlite3_finalize(s);
    return status;
}

static plmm_status migrate_step(plmm_db *db, const plmm_db_schema *schema, uint32_t from,
                                plmm_error *err)
{
    char number[64];
    (void)snprintf(number, sizeof number, "PRAGMA user_version = %u", from + 1);
    PLMM_TRY(exec(db, schema->step[from], err));
    return exec(db, number, err);
}

/* Inside a transaction: two processes that open a new file together must not both make it. */
static plmm_status migrate(plmm_db *db, const plmm_db_schema *schema, plmm_error *err)
{
    int64_t application = 0, version = 0;
    char number[64];
    PLMM_TRY(pragma_int(db, "PRAGMA application_id", &application, err));
    PLMM_TRY(pragma_int(db, "PRAGMA user_version", &version, err));
    int64_t tables = 0;
    PLMM_TRY(pragma_int(db, "SELECT count(*) FROM sqlite_schema", &tables, err));
    bool fresh = application == 0 && version == 0 && tables == 0;
    if (!fresh && (uint32_t)application != schema->application) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "%s is not a file of plmm's %s", db->path,
                         schema->name);
    }
    if (version < 0 || version > (int64_t)schema->steps) {
        return plmm_fail(
            err, PLMM_ERR_CONFIG,
            "%s has version %lld of plmm's %s, this program knows up to %u: use a newer "
            "plmm",
            db->path, (long long)version, schema->name, schema->steps);
    }
    if (fresh) {
        (void)snprintf(number, sizeof number, "PRAGMA application_id = %d",
                       (int)schema->application);
        PLMM_TRY(exec(db, number, err));
    }
    for (uint32_t i = (uint32_t)version; i < schema->steps; i++) {
        PLMM_TRY(migrate_step(db, schema, i, err));
    }
    return PLMM_OK;
}

static plmm_status set_up(plmm_db *db, const plmm_db_schema *schema, plmm_error *err)
{
    (void)sqlite3_busy_timeout(db->sqlite, BUSY_MS);
    PLMM_TRY(exec(db, "PRAGMA trusted_schema = OFF", err));
    PLMM_TRY(exec(db, "PRAGMA journal_mode = WAL", err));
    PLMM_TRY(exec(db, "PRAGMA synchronous = FULL", err));
    PLMM_TRY(exec(db, "PRAGMA secure_delete = ON", err));
    PLMM_TRY(exec(db, "PRAGMA foreign_keys = ON", err));
    PLMM_TRY(exec(db, "PRAGMA temp_store = MEMORY", err));
    PLMM_TRY(plmm_db_begin(db, err));
    return plmm_db_end(db, migrate(db, schema, err), err);
}

plmm_status plmm_db_open(const char *path, const plmm_db_schema *schema, plmm_db **out,
                         plmm_error *err)
{
    PLMM_TRY(make_file(path, err));
    plmm_db *db = plmm_alloc(1, sizeof *db);
    if (db == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot open %s: out of memory", path);
    }
    (void)snprintf(db->path, sizeof db->path, "%s", path);
    int rc = sqlite3_open_v2(path, &db->sqlite, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    plmm_status status = rc == SQLITE_OK ? set_up(db, schema, err)
                                         : fail(err, db->path, rc, sqlite3_errstr(rc), "open");
    if (status != PLMM_OK) {
        plmm_db_close(db);
        return status;
    }
    *out = db;
    return PLMM_OK;
}

void plmm_db_close(plmm_db *db)
{
    if (db == NULL) {
        return;
    }
    for (uint32_t i = 0; i < db->cached; i++) {
        (void)sqlite3_finalize(db->cache[i].stmt);
    }
    (void)sqlite3_close_v2(db->sqlite);
    plmm_free(db);
}

/* ---- statements ---- */

plmm_arg plmm_arg_s(const char *text)
{
    return text == NULL ? (plmm_arg){.kind = PLMM_ARG_NULL}
                        : (plmm_arg){.kind = PLMM_ARG_TEXT, .p = text, .len = strlen(text)};
}

/* The compiled statement: an idle one of the cache, a new one in the cache, or one of its own. */
static plmm_status take(plmm_db *db, const char *sql, plmm_rows **out, plmm_error *err)
{
    bool in_use = false;
    for (uint32_t i = 0; i < db->cached; i++) {
        if (db->cache[i].sql == sql) {
            in_use = db->cache[i].busy;
            if (!in_use) {
                *out = &db->cache[i];
                return PLMM_OK;
            }
            break;
        }
    }
    bool cached = !in_use && db->cached < CACHE;
    plmm_rows *r = cached ? &db->cache[db->cached] : plmm_alloc(1, sizeof *r);
    if (r == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot use %s: out of memory", db->path);
    }
    *r = (plmm_rows){.db = db, .sql = sql, .cached = cached};
    if (sqlite3_prepare_v3(db->sqlite, sql, -1, cached ? SQLITE_PREPARE_PERSISTENT : 0, &r->stmt,
                           NULL) != SQLITE_OK) {
        plmm_status rc = db_fail(db, "use", err);
        if (!cached) {
            plmm_free(r);
        }
        return rc;
    }
    db->cached += cached;
    *out = r;
    return PLMM_OK;
}

static int bind(sqlite3_stmt *s, int at, const plmm_arg *a)
{
    switch (a->kind) {
    case PLMM_ARG_NULL:
        return sqlite3_bind_null(s, at);
    case PLMM_ARG_INT:
        return sqlite3_bind_int64(s, at, a->i);
    case PLMM_ARG_REAL:
        return sqlite3_bind_double(s, at, a->d);
    case PLMM_ARG_TEXT:
        return sqlite3_bind_text64(s, at, a->p, a->len, SQLITE_STATIC, SQLITE_UTF8);
    case PLMM_ARG_BLOB:
        return a->len == 0 ? sqlite3_bind_zeroblob(s, at, 0)
                           : sqlite3_bind_blob64(s, at, a->p, a->len, SQLITE_STATIC);
    }
    return SQLITE_MISUSE;
}

plmm_status plmm_db_query(plmm_db *db, const char *sql, const plmm_arg *args, size_t n,
                          plmm_rows **out, plmm_error *err)
{
    plmm_rows *r = NULL;
    PLMM_TRY(take(db, sql, &r, err));
    PLMM_ASSERT(sqlite3_bind_parameter_count(r->stmt) == (int)n);
    void (*hook)(const char *) = atomic_load(&statement_hook);
    if (hook != NULL) {
        hook(sql);
    }
    r->busy = true;
    r->ended = false;
    for (size_t i = 0; i < n; i++) {
        if (bind(r->stmt, (int)i + 1, &args[i]) != SQLITE_OK) {
            plmm_status rc = db_fail(db, "use", err);
            plmm_rows_close(r);
            return rc;
        }
    }
    *out = r;
    return PLMM_OK;
}

plmm_status plmm_rows_next(plmm_rows *r, bool *more, plmm_error *err)
{
    PLMM_ASSERT(r->busy && !r->ended);
    int rc = sqlite3_step(r->stmt);
    r->ended = rc != SQLITE_ROW;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
        return db_fail(r->db, "use", err);
    }
    *more = rc == SQLITE_ROW;
    return PLMM_OK;
}

void plmm_rows_close(plmm_rows *r)
{
    if (r == NULL) {
        return;
    }
    r->busy = false;
    if (r->cached) {
        (void)sqlite3_reset(r->stmt);
        (void)sqlite3_clear_bindings(r->stmt);
    } else {
        (void)sqlite3_finalize(r->stmt);
        plmm_free(r);
    }
}

plmm_status plmm_db_run(plmm_db *db, const char *sql, const plmm_arg *args, size_t n,
                        plmm_error *err)
{
    plmm_rows *r = NULL;
    bool more = false;
    PLMM_TRY(plmm_db_query(db, sql, args, n, &r, err));
    plmm_status rc = plmm_rows_next(r, &more, err);
    plmm_rows_close(r);
    return rc;
}

int64_t plmm_db_last_id(const plmm_db *db)
{
    return sqlite3_last_insert_rowid(db->sqlite);
}

int64_t plmm_db_changes(const plmm_db *db)
{
    return sqlite3_changes64(db->sqlite);
}

int64_t plmm_rows_i(const plmm_rows *r, int c)
{
    return sqlite3_column_int64(r->stmt, c);
}

double plmm_rows_d(const plmm_rows *r, int c)
{
    return sqlite3_column_double(r->stmt, c);
}

const char *plmm_rows_s(const plmm_rows *r, int c)
{
    const unsigned char *s = sqlite3_column_text(r->stmt, c);
    return s != NULL ? (const char *)s : "";
}

const void *plmm_rows_b(const plmm_rows *r, int c, size_t *len)
{
    const void *p = sqlite3_column_blob(r->stmt, c);
    *len = (size_t)sqlite3_column_bytes(r->stmt, c);
    return p;
}

bool plmm_rows_null(const plmm_rows *r, int c)
{
    return sqlite3_column_type(r->stmt, c) == SQLITE_NULL;
}

plmm_status plmm_rows_copy(const plmm_rows *r, int c, void *out, size_t len, plmm_error *err)
{
    size_t got = 0;
    const void *p = plmm_rows_b(r, c, &got);
    if (got != len || sqlite3_column_type(r->stmt, c) != SQLITE_BLOB) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "%s is damaged: column %s holds %zu bytes, expected %zu", r->db->path,
                         sqlite3_column_name(r->stmt, c), got, len);
    }
    if (len > 0) {
        memcpy(out, p, len);
    }
    return PLMM_OK;
}

plmm_status plmm_db_int(plmm_db *db, const char *sql, const plmm_arg *args, size_t n,
                        int64_t missing, int64_t *out, plmm_error *err)
{
    plmm_rows *r = NULL;
    bool more = false;
    PLMM_TRY(plmm_db_query(db, sql, args, n, &r, err));
    plmm_status rc = plmm_rows_next(r, &more, err);
    if (rc == PLMM_OK) {
        *out = more ? plmm_rows_i(r, 0) : missing;
    }
    plmm_rows_close(r);
    return rc;
}

/* ---- transactions ---- */

plmm_status plmm_db_begin(plmm_db *db, plmm_error *err)
{
    PLMM_ASSERT(!db->in_transaction);
    PLMM_TRY(plmm_db_run(db, "BEGIN IMMEDIATE", NULL, 0, err));
    db->in_transaction = true;
    return PLMM_OK;
}

plmm_status plmm_db_end(plmm_db *db, plmm_status rc, plmm_error *err)
{
    PLMM_ASSERT(db->in_transaction);
    db->in_transaction = false;
    if (rc == PLMM_OK) {
        rc = plmm_db_run(db, "COMMIT", NULL, 0, err);
    }
    if (rc != PLMM_OK && sqlite3_get_autocommit(db->sqlite) == 0) {
        (void)sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
    }
    return rc;
}

plmm_status plmm_db_scrub(plmm_db *db, plmm_error *err)
{
    int64_t busy = 0;
    PLMM_TRY(plmm_db_int(db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, 0, 0, &busy, err));
    if (busy != 0) {
        return plmm_fail(
            err, PLMM_ERR_STATE,
            "cannot overwrite what was deleted from %s yet: another process is reading "
            "it",
            db->path);
    }
    return PLMM_OK;
}
