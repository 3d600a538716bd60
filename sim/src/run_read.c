/* run_read.c -- a record back from its run.db, to draw the report anew. */
#include "plmm/alloc.h"
#include "plmm/file.h"
#include "plmm/run_record.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

enum { NAMES_MAX = 64, SCHEMA = 4 };

/* A statement being walked. */
typedef struct rows {
    sqlite3 *db;
    sqlite3_stmt *stmt;
    int at; /* next column */
    const char *path;
} rows;

static plmm_status broken(const rows *r, plmm_error *err)
{
    return plmm_fail(err, PLMM_ERR_FORMAT, "cannot read %s: %s", r->path, sqlite3_errmsg(r->db));
}

static plmm_status ask(rows *r, const char *sql, plmm_error *err)
{
    r->at = 0;
    return sqlite3_prepare_v2(r->db, sql, -1, &r->stmt, NULL) == SQLITE_OK ? PLMM_OK
                                                                           : broken(r, err);
}

/* Steps to the next row; at the end, or after an error, the statement is gone. */
static plmm_status next(rows *r, bool *more, plmm_error *err)
{
    int rc = sqlite3_step(r->stmt);
    r->at = 0;
    *more = rc == SQLITE_ROW;
    if (rc == SQLITE_ROW) {
        return PLMM_OK;
    }
    plmm_status out = rc == SQLITE_DONE ? PLMM_OK : broken(r, err);
    (void)sqlite3_finalize(r->stmt);
    r->stmt = NULL;
    return out;
}

static uint64_t get(rows *r)
{
    return (uint64_t)sqlite3_column_int64(r->stmt, r->at++);
}

static uint32_t get32(rows *r)
{
    uint64_t v = get(r);
    return v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

static double get_real(rows *r)
{
    int at = r->at++;
    return sqlite3_column_type(r->stmt, at) == SQLITE_NULL ? (double)NAN
                                                           : sqlite3_column_double(r->stmt, at);
}

static const char *get_text(rows *r)
{
    const unsigned char *s = sqlite3_column_text(r->stmt, r->at++);
    return s == NULL ? "" : (const char *)s;
}

/* ---- lists ---- */

typedef struct lists {
    uint64_t seeds[NAMES_MAX];
    char *experts[NAMES_MAX], *kinds[NAMES_MAX];
    size_t n_seeds, n_experts, n_kinds;
} lists;

static plmm_status read_names(rows *r, const char *sql, char *names[NAMES_MAX], size_t *n,
                              plmm_error *err)
{
    PLMM_TRY(ask(r, sql, err));
    for (bool more = true;;) {
        PLMM_TRY(next(r, &more, err));
        if (!more) {
            return PLMM_OK;
        }
        if (*n == NAMES_MAX) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "cannot read %s: more than %d names", r->path,
                             NAMES_MAX);
        }
        names[*n] = plmm_strdup(get_text(r));
        if (names[*n] == NULL) {
            return plmm_fail(err, PLMM_ERR_NOMEM, "cannot read %s: out of memory", r->path);
        }
        ++*n;
    }
}

static plmm_status read_seeds(rows *r, lists *l, plmm_error *err)
{
    PLMM_TRY(ask(r, "SELECT seed FROM seed ORDER BY i", err));
    for (bool more = true;;) {
        PLMM_TRY(next(r, &more, err));
        if (!more) {
            return PLMM_OK;
        }
        if (l->n_seeds == NAMES_MAX) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "cannot read %s: more than %d seeds", r->path,
                             NAMES_MAX);
        }
        l->seeds[l->n_seeds++] = get(r);
    }
}

/* ---- rows ---- */

static plmm_status in_range(const rows *r, const plmm_run *run, uint32_t seed, uint32_t expert,
                            uint32_t kind, plmm_error *err)
{
    if (seed < run->n_seeds && expert < run->n_experts && kind < run->n_kinds) {
        return PLMM_OK;
    }
    return plmm_fail(err, PLMM_ERR_FORMAT,
                     "cannot read %s: a row names a seed, expert or kind "
                     "that is not listed",
                     r->path);
}

static void get_round(rows *r, plmm_round_record *q)
{
    q->seed_index = get32(r);
    q->expert = get32(r);
    q->slot = get32(r);
    q->round = get32(r);
    q->attempt = get32(r);
    q->completed = get(r) != 0;
    (void)snprintf(q->reason, sizeof q->reason, "%s", get_text(r));
    uint32_t *counts[] = {&q->invited, &q->cohort, &q->neighbours, &q->threshold,
                          &q->bits,    &q->length, &q->survivors};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        *counts[i] = get32(r);
    }
    for (unsigned s = 0; s < PLMM_STEPS; s++) {
        q->dropped[s] = get32(r);
    }
    uint32_t *more[] = {&q->late, &q->restarts, &q->duplicates, &q->lost, &q->frames};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        *more[i] = get32(r);
    }
    q->start_ms = get(r);
    q->end_ms = get(r);
    for (unsigned p = 0; p < PLMM_PHASES; p++) {
        q->phase_ms[p] = get(r);
    }
    q->bytes_up = get(r);
    q->bytes_down = get(r);
    q->bytes_version = get(r);
    q->fetches = get32(r);
    q->train_loss = get_real(r);
    q->update_norm = get_real(r);
    q->clipped = get_real(r);
    q->sum_checked = get(r) != 0;
    q->sum_exact = get(r) != 0;
    q->group = get32(r);
    q->groups = get32(r);
    q->cosine = get_real(r);
    q->nll_alone = get_real(r);
    q->lying = get32(r);
    q->clip = get_real(r);
    q->epsilon = get_real(r);
    q->epsilon_models = get_real(r);
    q->epoch = get32(r);
}

static plmm_status read_rounds(rows *r, plmm_run *run, plmm_error *err)
{
    PLMM_TRY(ask(r, "SELECT * FROM round ORDER BY seed, expert, slot, \"group\"", err));
    for (bool more = true;;) {
        plmm_round_record q = {0};
        PLMM_TRY(next(r, &more, err));
        if (!more) {
            return PLMM_OK;
        }
        get_round(r, &q);
        PLMM_TRY(in_range(r, run, q.seed_index, q.expert, 0, err));
        PLMM_TRY(plmm_run_add_round(run, &q, err));
    }
}

static plmm_status read_scores(rows *r, plmm_run *run, plmm_error *err)
{
    PLMM_TRY(ask(r, "SELECT * FROM score ORDER BY seed, expert, slot, kind", err));
    for (bool more = true;;) {
        PLMM_TRY(next(r, &more, err));
        if (!more) {
            return PLMM_OK;
        }
        plmm_score_record s = {0};
        s.seed_index = get32(r);
        s.expert = get32(r);
        s.slot = get32(r);
        s.version = get32(r);
        s.kind = get32(r);
        s.items = get32(r);
        s.nll = get_real(r);
        s.exact = get_real(r);
        s.chance = get_real(r);
        PLMM_TRY(in_range(r, run, s.seed_index, s.expert, s.kind, err));
        PLMM_TRY(plmm_run_add_score(run, &s, err));
    }
}

static plmm_status read_facts(rows *r, plmm_run *run, plmm_error *err)
{
    PLMM_TRY(ask(r, "SELECT section, key, help, value FROM fact ORDER BY i", err));
    for (bool more = true;;) {
        PLMM_TRY(next(r, &more, err));
        if (!more) {
            return PLMM_OK;
        }
        const char *section = get_text(r);
        const char *key = get_text(r);
        const char *help = get_text(r);
        PLMM_TRY(plmm_run_add_fact(run, section, key, help, err, "%s", get_text(r)));
    }
}

static plmm_status read_run(rows *r, lists *l, plmm_run **run, plmm_error *err)
{
    bool more = false;
    PLMM_TRY(ask(r, "PRAGMA user_version", err));
    PLMM_TRY(next(r, &more, err));
    if (!more || get(r) != SCHEMA) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%s is no run.db of this version of plmm-sim",
                         r->path);
    }
    PLMM_TRY(next(r, &more, err));
    PLMM_TRY(read_seeds(r, l, err));
    PLMM_TRY(read_names(r, "SELECT name FROM expert ORDER BY i", l->experts, &l->n_experts, err));
    PLMM_TRY(read_names(r, "SELECT name FROM kind ORDER BY i", l->kinds, &l->n_kinds, err));
    PLMM_TRY(ask(r, "SELECT name, config FROM run", err));
    PLMM_TRY(next(r, &more, err));
    if (!more) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "cannot read %s: it names no run", r->path);
    }
    PLMM_TRY(plmm_run_new(run, get_text(r), l->seeds, l->n_seeds, (const char *const *)l->experts,
                          l->n_experts, (const char *const *)l->kinds, l->n_kinds, err));
    if (sqlite3_column_type(r->stmt, 1) != SQLITE_NULL) {
        PLMM_TRY(plmm_run_set_config(*run, get_text(r), err));
    }
    PLMM_TRY(next(r, &more, err));
    PLMM_TRY(read_facts(r, *run, err));
    PLMM_TRY(read_rounds(r, *run, err));
    return read_scores(r, *run, err);
}

plmm_status plmm_run_read_db(plmm_run **out, const char *path, plmm_error *err)
{
    if (!plmm_path_exists(path)) {
        return plmm_fail(err, PLMM_ERR_NOTFOUND, "there is no %s", path);
    }
    rows r = {.path = path};
    lists l = {.n_seeds = 0};
    plmm_run *run = NULL;
    plmm_status rc = PLMM_OK;
    if (sqlite3_open_v2(path, &r.db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK) {
        rc = broken(&r, err);
    }
    rc = rc != PLMM_OK ? rc : read_run(&r, &l, &run, err);
    (void)sqlite3_finalize(r.stmt);
    (void)sqlite3_close(r.db);
    for (size_t i = 0; i < NAMES_MAX; i++) {
        plmm_free(l.experts[i]);
        plmm_free(l.kinds[i]);
    }
    if (rc != PLMM_OK) {
        plmm_run_free(run);
        return rc;
    }
    *out = run;
    return PLMM_OK;
}
