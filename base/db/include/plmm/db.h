/* plmm/db.h -- state in one SQLite file: what a device, an aggregator and a run remember.
 *
 * Opened with write-ahead logging and synchronous = FULL: what a committed call wrote is on disk
 * when the call returns, so that a message may be sent that depends on it. Deleted content is
 * overwritten (secure_delete), and plmm_db_scrub takes it out of the log as well. The file, its log
 * and its index are readable by their owner alone.
 *
 * A handle belongs to one thread at a time; several processes may open one file, a writer waits up
 * to five seconds for another. Errors are one sentence with the file's path and SQLite's reason:
 *
 *   PLMM_ERR_IO      disk full, no permission
 *   PLMM_ERR_STATE   in use by another process
 *   PLMM_ERR_FORMAT  not SQLite, or damaged
 *   PLMM_ERR_CONFIG  another program's file, or of a newer version of this one
 *   PLMM_ERR_NOMEM
 */
#ifndef PLMM_DB_H
#define PLMM_DB_H

#include "plmm/status.h"

typedef struct plmm_db plmm_db;

/* Versions of a schema: step i takes a file of version i to version i + 1 (step 0 makes the
 * tables). Each step runs in one transaction with the change of the number. Steps are only ever
 * appended. */
typedef struct plmm_db_schema {
    const char *name;     /* for messages: "device state" */
    uint32_t application; /* magic number of the file, not 0 */
    const char *const *step;
    uint32_t steps;
} plmm_db_schema;

/* Opens the file, making it if it is not there; brings it to the newest version of the schema. */
PLMM_NODISCARD plmm_status plmm_db_open(const char *path, const plmm_db_schema *schema,
                                        plmm_db **out, plmm_error *err);
void plmm_db_close(plmm_db *db); /* rolls back an open transaction; NULL is fine */

/* ---- arguments of a statement, for its ?1, ?2, ... ---- */

typedef enum plmm_arg_kind {
    PLMM_ARG_NULL,
    PLMM_ARG_INT,
    PLMM_ARG_REAL,
    PLMM_ARG_TEXT,
    PLMM_ARG_BLOB
} plmm_arg_kind;

/* Texts and blobs are borrowed until the call (or the cursor) ends. */
typedef struct plmm_arg {
    plmm_arg_kind kind;
    int64_t i;
    double d;
    const void *p;
    size_t len;
} plmm_arg;

static inline plmm_arg plmm_arg_i(int64_t v)
{
    return (plmm_arg){.kind = PLMM_ARG_INT, .i = v};
}
/* As its 64 bits: read back with (uint64_t)plmm_rows_i. */
static inline plmm_arg plmm_arg_u(uint64_t v)
{
    return (plmm_arg){.kind = PLMM_ARG_INT, .i = (int64_t)v};
}
static inline plmm_arg plmm_arg_d(double v)
{
    return (plmm_arg){.kind = PLMM_ARG_REAL, .d = v};
}
plmm_arg plmm_arg_s(const char *text); /* NULL gives SQL's NULL */
static inline plmm_arg plmm_arg_b(const void *bytes, size_t len)
{
    return (plmm_arg){.kind = PLMM_ARG_BLOB, .p = bytes, .len = len};
}

/* ---- statements ----
 * sql is one statement and a string literal: it is compiled once and kept by its address. */

/* Runs a statement that gives no rows. */
PLMM_NODISCARD plmm_status plmm_db_run(plmm_db *db, const char *sql, const plmm_arg *args, size_t n,
                                       plmm_error *err);
/* plmm_db_run with the arguments in a list: PLMM_DB_RUN(db, err, "...", plmm_arg_i(1), ...). */
#define PLMM_DB_RUN(db, err, sql, ...)                                                             \
    plmm_db_run(db, sql, (const plmm_arg[]){__VA_ARGS__},                                          \
                sizeof((const plmm_arg[]){__VA_ARGS__}) / sizeof(plmm_arg), err)

int64_t plmm_db_last_id(const plmm_db *db); /* rowid of the last insert */
int64_t plmm_db_changes(const plmm_db *db); /* rows that the last run changed */

/* Rows of a statement, one after the other:
 *     plmm_rows *r = NULL;
 *     rc = plmm_db_query(db, "...", args, n, &r, err);
 *     while (rc == PLMM_OK && (rc = plmm_rows_next(r, &more, err)) == PLMM_OK && more) { ... }
 *     plmm_rows_close(r);
 * plmm_rows_next after the end or a failure is an error of the program. */
typedef struct plmm_rows plmm_rows;
PLMM_NODISCARD plmm_status plmm_db_query(plmm_db *db, const char *sql, const plmm_arg *args,
                                         size_t n, plmm_rows **out, plmm_error *err);
PLMM_NODISCARD plmm_status plmm_rows_next(plmm_rows *r, bool *more, plmm_error *err);
void plmm_rows_close(plmm_rows *r); /* NULL is fine */

/* Column c = 0, 1, ... of the present row. NULL reads as 0, "" and an empty blob (p may be NULL).
 * Texts and blobs live until the next plmm_rows_next or plmm_rows_close. */
int64_t plmm_rows_i(const plmm_rows *r, int c);
double plmm_rows_d(const plmm_rows *r, int c);
const char *plmm_rows_s(const plmm_rows *r, int c);
const void *plmm_rows_b(const plmm_rows *r, int c, size_t *len);
bool plmm_rows_null(const plmm_rows *r, int c);

/* FORMAT, naming the column, unless it is a blob of len bytes, which is copied to out. */
PLMM_NODISCARD plmm_status plmm_rows_copy(const plmm_rows *r, int c, void *out, size_t len,
                                          plmm_error *err);

/* The first column of the first row as an integer, `missing` if there is no row. */
PLMM_NODISCARD plmm_status plmm_db_int(plmm_db *db, const char *sql, const plmm_arg *args, size_t n,
                                       int64_t missing, int64_t *out, plmm_error *err);

/* ---- transactions: they do not nest (asserted) ---- */

PLMM_NODISCARD plmm_status plmm_db_begin(plmm_db *db, plmm_error *err);
/* Commits when rc is PLMM_OK, otherwise rolls back; returns rc, or the failure of the commit
 * (rolled back then). So: PLMM_TRY(begin); return plmm_db_end(db, work(db), err). */
PLMM_NODISCARD plmm_status plmm_db_end(plmm_db *db, plmm_status rc, plmm_error *err);

/* After something secret was deleted: moves the log into the file and empties it, so that no old
 * copy of a page remains. STATE if another process reads meanwhile; what was deleted is gone later
 * then. */
PLMM_NODISCARD plmm_status plmm_db_scrub(plmm_db *db, plmm_error *err);

/* Tests only: fn is called before each statement that is run (not while rows are read). */
void plmm_db_on_statement(void (*fn)(const char *sql));

#endif
