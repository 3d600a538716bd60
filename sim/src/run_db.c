/* run_db.c -- run.db: the record as a SQLite file. Rows are inserted in the record's order, so
 * equal records give equal dumps. */
#include "plmm/alloc.h"
#include "plmm/file.h"
#include "plmm/run_record.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

static const char schema[] =
    "PRAGMA user_version=4;"
    "CREATE TABLE run(name TEXT NOT NULL, config TEXT);"
    "CREATE TABLE seed(i INTEGER PRIMARY KEY, seed INTEGER NOT NULL);"
    "CREATE TABLE expert(i INTEGER PRIMARY KEY, name TEXT NOT NULL);"
    "CREATE TABLE kind(i INTEGER PRIMARY KEY, name TEXT NOT NULL);"
    "CREATE TABLE fact(i INTEGER PRIMARY KEY, section TEXT, key TEXT, value TEXT, help TEXT);"
    "CREATE TABLE round(seed INTEGER REFERENCES seed(i), expert INTEGER REFERENCES expert(i),"
    " slot INTEGER, round INTEGER, attempt INTEGER, completed INTEGER, reason TEXT, invited "
    "INTEGER,"
    " cohort INTEGER, neighbours INTEGER, threshold INTEGER, bits INTEGER, length INTEGER,"
    " survivors INTEGER, dropped_advertise INTEGER, dropped_share INTEGER, dropped_masked INTEGER,"
    " dropped_agree INTEGER, dropped_reveal INTEGER, late INTEGER, restarts INTEGER,"
    " duplicates INTEGER,"
    " lost INTEGER, frames INTEGER, start_ms INTEGER, end_ms INTEGER, checkin_ms INTEGER,"
    " advertise_ms INTEGER, share_ms INTEGER, train_ms INTEGER, upload_ms INTEGER,"
    " agree_ms INTEGER, reveal_ms INTEGER, publish_ms INTEGER, bytes_up INTEGER,"
    " bytes_down INTEGER, bytes_version INTEGER, fetches INTEGER, train_loss REAL, update_norm "
    "REAL, clipped REAL,"
    " sum_checked INTEGER, sum_exact INTEGER, \"group\" INTEGER, groups INTEGER, cosine REAL,"
    " nll_alone REAL, lying INTEGER, clip REAL, epsilon REAL, epsilon_models REAL, epoch INTEGER, "
    "PRIMARY "
    "KEY(seed, expert, slot, \"group\"));"
    "CREATE TABLE score(seed INTEGER REFERENCES seed(i), expert INTEGER REFERENCES expert(i),"
    " slot INTEGER, version INTEGER, kind INTEGER REFERENCES kind(i), items INTEGER, nll REAL, "
    "exact REAL,"
    " chance REAL, PRIMARY KEY(seed, expert, slot, kind));";

enum { ROUND_COLUMNS = 52, SCORE_COLUMNS = 9 };

static plmm_status db_fail(sqlite3 *db, const char *path, plmm_error *err)
{
    return plmm_fail(err, PLMM_ERR_IO, "cannot write %s: %s", path,
                     db == NULL ? "out of memory" : sqlite3_errmsg(db));
}

/* A statement with its next free parameter; errors stick. */
typedef struct binder {
    sqlite3_stmt *stmt;
    int at;
    bool failed;
} binder;

static void put_int(binder *b, uint64_t v)
{
    b->failed = sqlite3_bind_int64(b->stmt, ++b->at, (sqlite3_int64)v) != SQLITE_OK || b->failed;
}

static void put_real(binder *b, double v)
{
    int rc =
        isnan(v) ? sqlite3_bind_null(b->stmt, ++b->at) : sqlite3_bind_double(b->stmt, ++b->at, v);
    b->failed = rc != SQLITE_OK || b->failed;
}

static void put_text(binder *b, const char *s)
{
    b->failed = sqlite3_bind_text(b->stmt, ++b->at, s, -1, SQLITE_STATIC) != SQLITE_OK || b->failed;
}

static void run_row(binder *b)
{
    b->failed = sqlite3_step(b->stmt) != SQLITE_DONE || b->failed;
    b->failed = sqlite3_reset(b->stmt) != SQLITE_OK || b->failed;
    b->at = 0;
}

static bool begin(sqlite3 *db, binder *b, const char *sql)
{
    *b = (binder){0};
    return sqlite3_prepare_v2(db, sql, -1, &b->stmt, NULL) == SQLITE_OK;
}

static bool end(binder *b)
{
    return sqlite3_finalize(b->stmt) == SQLITE_OK && !b->failed;
}

static bool write_names(sqlite3 *db, const char *sql, char **names, size_t n)
{
    binder b;
    if (!begin(db, &b, sql)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        put_int(&b, i);
        put_text(&b, names[i]);
        run_row(&b);
    }
    return end(&b);
}

static bool write_lists(sqlite3 *db, const plmm_run *run)
{
    binder b;
    if (!begin(db, &b, "INSERT INTO run VALUES(?,?)")) {
        return false;
    }
    put_text(&b, run->name);
    put_text(&b, run->config);
    run_row(&b);
    if (!end(&b) || !begin(db, &b, "INSERT INTO seed VALUES(?,?)")) {
        return false;
    }
    for (size_t i = 0; i < run->n_seeds; i++) {
        put_int(&b, i);
        put_int(&b, run->seeds[i]);
        run_row(&b);
    }
    if (!end(&b) || !begin(db, &b, "INSERT INTO fact VALUES(?,?,?,?,?)")) {
        return false;
    }
    for (size_t i = 0; i < run->n_facts; i++) {
        put_int(&b, i);
        put_text(&b, run->facts[i].section);
        put_text(&b, run->facts[i].key);
        put_text(&b, run->facts[i].value);
        put_text(&b, run->facts[i].help);
        run_row(&b);
    }
    return end(&b) &&
           write_names(db, "INSERT INTO expert VALUES(?,?)", run->experts, run->n_experts) &&
           write_names(db, "INSERT INTO kind VALUES(?,?)", run->kinds, run->n_kinds);
}

static void put_round(binder *b, const plmm_round_record *r)
{
    put_int(b, r->seed_index);
    put_int(b, r->expert);
    put_int(b, r->slot);
    put_int(b, r->round);
    put_int(b, r->attempt);
    put_int(b, r->completed);
    put_text(b, r->reason);
    const uint32_t counts[] = {r->invited, r->cohort, r->neighbours, r->threshold,
                               r->bits,    r->length, r->survivors};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        put_int(b, counts[i]);
    }
    for (unsigned s = 0; s < PLMM_STEPS; s++) {
        put_int(b, r->dropped[s]);
    }
    const uint64_t more[] = {r->late,   r->restarts, r->duplicates, r->lost,
                             r->frames, r->start_ms, r->end_ms};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        put_int(b, more[i]);
    }
    for (unsigned p = 0; p < PLMM_PHASES; p++) {
        put_int(b, r->phase_ms[p]);
    }
    put_int(b, r->bytes_up);
    put_int(b, r->bytes_down);
    put_int(b, r->bytes_version);
    put_int(b, r->fetches);
    put_real(b, r->train_loss);
    put_real(b, r->update_norm);
    put_real(b, r->clipped);
    put_int(b, r->sum_checked);
    put_int(b, r->sum_exact);
    put_int(b, r->group);
    put_int(b, r->groups);
    put_real(b, r->cosine);
    put_real(b, r->nll_alone);
    put_int(b, r->lying);
    put_real(b, r->clip);
    put_real(b, r->epsilon);
    put_real(b, r->epsilon_models);
    put_int(b, r->epoch);
    PLMM_ASSERT(b->at == ROUND_COLUMNS);
    run_row(b);
}

static bool write_rows(sqlite3 *db, const plmm_run *run)
{
    binder b;
    if (!begin(db, &b,
               "INSERT INTO round VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,"
               "?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)")) {
        return false;
    }
    for (size_t i = 0; i < run->n_rounds; i++) {
        put_round(&b, &run->rounds[i]);
    }
    if (!end(&b) || !begin(db, &b, "INSERT INTO score VALUES(?,?,?,?,?,?,?,?,?)")) {
        return false;
    }
    for (size_t i = 0; i < run->n_scores; i++) {
        const plmm_score_record *s = &run->scores[i];
        put_int(&b, s->seed_index);
        put_int(&b, s->expert);
        put_int(&b, s->slot);
        put_int(&b, s->version);
        put_int(&b, s->kind);
        put_int(&b, s->items);
        put_real(&b, s->nll);
        put_real(&b, s->exact);
        put_real(&b, s->chance);
        PLMM_ASSERT(b.at == SCORE_COLUMNS);
        run_row(&b);
    }
    return end(&b);
}

plmm_status plmm_run_write_db(const plmm_run *run, const char *path, plmm_error *err)
{
    char temp[PLMM_PATH_MAX];
    if ((size_t)snprintf(temp, sizeof temp, "%s.part", path) >= sizeof temp) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot write %.60s...: the path is too long", path);
    }
    PLMM_TRY(plmm_path_remove(temp, err)); /* what an interrupted run left */
    sqlite3 *db = NULL;
    plmm_status rc = PLMM_OK;
    if (sqlite3_open_v2(temp, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK ||
        sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(db, schema, NULL, NULL, NULL) != SQLITE_OK || !write_lists(db, run) ||
        !write_rows(db, run) || sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK) {
        rc = db_fail(db, path, err);
    }
    if (sqlite3_close(db) != SQLITE_OK && rc == PLMM_OK) {
        rc = db_fail(db, path, err);
    }
    if (rc == PLMM_OK) {
        rc = plmm_path_rename(temp, path, err);
    }
    if (rc != PLMM_OK) {
        plmm_status removed = plmm_path_remove(temp, NULL);
        (void)removed; /* the first error is the one to tell */
    }
    return rc;
}
