/* The record of a run: summaries, and files that depend on nothing but the record. */
#include "plmm/alloc.h"
#include "plmm/file.h"
#include "plmm/rng.h"
#include "plmm/run_record.h"

#include "test.h"

#include <math.h>
#include <sqlite3.h>
#include <unistd.h>

static char dir[] = "/tmp/plmm-run-record-XXXXXX";

static const char *path_of(const char *name)
{
    static char path[2][128];
    static unsigned turn;
    turn ^= 1;
    (void)snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name);
    return path[turn];
}

/* Three seeds, two experts, two kinds; backwards: rows are added in the opposite order. */
static plmm_run *make(bool backwards, bool exact)
{
    static const uint64_t seeds[] = {1, 2, 3};
    static const char *const experts[] = {"medicine", "it, & <more>"};
    static const char *const kinds[] = {"new wording", "unseen entities"};
    plmm_run *run = NULL;
    plmm_error err;
    CHECK(plmm_run_new(&run, "test", seeds, 3, experts, 2, kinds, 2, &err) == PLMM_OK, "%s",
          err.msg);
    for (uint32_t n = 0; n < 3 * 2 * 5; n++) {
        uint32_t i = backwards ? 29 - n : n;
        uint32_t seed = i / 10;
        uint32_t expert = i / 5 % 2;
        uint32_t version = i % 5;
        plmm_rng r;
        plmm_rng_init(&r, 5, i);
        for (uint32_t kind = 0; kind < 2; kind++) {
            plmm_score_record s = {seed,
                                   expert,
                                   version,
                                   version,
                                   kind,
                                   40,
                                   3 - 0.4 * version + 0.01 * seed,
                                   exact ? 0.2 + 0.1 * version - 0.01 * seed : (double)NAN,
                                   exact ? 0.25 : (double)NAN};
            CHECK(plmm_run_add_score(run, &s, &err) == PLMM_OK, "%s", err.msg);
        }
        plmm_round_record q = {.seed_index = seed,
                               .expert = expert,
                               .slot = version + 1,
                               .round = version + 1,
                               .attempt = 1,
                               .epoch = version % 3,
                               .completed = version != 3,
                               .invited = 20,
                               .cohort = 20,
                               .neighbours = 12,
                               .threshold = 8,
                               .bits = 24,
                               .length = 100,
                               .survivors = 17,
                               .dropped = {1, 0, 1, 1, 0},
                               .bytes_up = 20000 + plmm_rng_below(&r, 100),
                               .bytes_down = 9000,
                               .start_ms = 1000 * version,
                               .end_ms = 1000 * version + 800,
                               .phase_ms = {1, 2, 3, 4, 5, 6, 7, 8},
                               .train_loss = 2.5,
                               .sum_checked = true,
                               .sum_exact = version != 2};
        (void)snprintf(q.reason, sizeof q.reason, "%s", q.completed ? "" : "too few");
        CHECK(plmm_run_add_round(run, &q, &err) == PLMM_OK, "%s", err.msg);
    }
    CHECK(plmm_run_add_fact(run, "Secure aggregation", "k", "a 'help' & more", &err, "%d", 12) ==
              PLMM_OK,
          "%s", err.msg);
    plmm_run_sort(run);
    return run;
}

static void summaries(void)
{
    plmm_run *run = make(false, true);
    plmm_summary m = plmm_run_summary(run, 0, 1);
    CHECK(m.exact_gain.n == 3 && fabs(m.exact_gain.mean - 0.4) < 1e-12, "margin %g",
          m.exact_gain.mean);
    CHECK(m.exact_gain.sd < 1e-12, "the margin is equal in all seeds, not +- %g", m.exact_gain.sd);
    CHECK(fabs(m.base_exact.sd - 0.01) < 1e-12, "spread of the base %g", m.base_exact.sd);
    CHECK(fabs(m.nll_gain.mean - 1.6) < 1e-12 && m.version == 4 && m.items == 40, "loss");
    size_t checked;
    size_t exact;
    plmm_run_checked(run, &checked, &exact);
    CHECK(checked == 30 && exact == 24, "%zu of %zu exact", exact, checked);
    CHECK(plmm_run_nll_at(run, 0, 0, 9).n == 0, "nobody scored version 9");
    plmm_run_free(run);
}

static char *slurp(const char *path, size_t *len)
{
    uint8_t *data = NULL;
    plmm_error err;
    *len = 0;
    CHECK(plmm_file_read(path, 1 << 22, &data, len, &err) == PLMM_OK, "%s", err.msg);
    return (char *)data;
}

static void files(void)
{
    static const char *const names[] = {"a.html", "b.html", "a.csv", "b.csv", "a.db", "b.db"};
    plmm_error err;
    for (unsigned i = 0; i < 2; i++) {
        plmm_run *run = make(i == 1, true);
        CHECK(plmm_run_write_report(run, path_of(names[i]), &err) == PLMM_OK, "%s", err.msg);
        CHECK(plmm_run_write_csv(run, path_of(names[2 + i]), &err) == PLMM_OK, "%s", err.msg);
        CHECK(plmm_run_write_db(run, path_of(names[4 + i]), &err) == PLMM_OK, "%s", err.msg);
        CHECK(plmm_run_write_db(run, path_of(names[4 + i]), &err) == PLMM_OK, "%s", err.msg);
        plmm_run_free(run);
    }
    for (unsigned i = 0; i < 6; i += 2) {
        size_t la;
        size_t lb;
        char *a = slurp(path_of(names[i]), &la);
        char *b = slurp(path_of(names[i + 1]), &lb);
        CHECK(la == lb && la > 0 && memcmp(a, b, la) == 0, "%s and %s differ", names[i],
              names[i + 1]);
        if (i == 0 && a != NULL) {
            CHECK(strstr(a, "it, &amp; &lt;more&gt;") != NULL, "names are escaped");
            CHECK(strstr(a, "<script") == NULL && strstr(a, "http") == NULL,
                  "the report needs no script and no outside resource");
            CHECK(strstr(a, "nan") == NULL && strstr(a, "inf ") == NULL, "a NAN was drawn");
        }
        if (i == 2 && a != NULL) {
            CHECK(strstr(a, "\"it, & <more>\"") != NULL, "CSV fields are quoted");
        }
        plmm_free(a);
        plmm_free(b);
    }
}

static void database(void)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    CHECK(sqlite3_open(path_of("a.db"), &db) == SQLITE_OK, "opens");
    CHECK(sqlite3_prepare_v2(db,
                             "SELECT count(*), sum(survivors), (SELECT count(*) FROM score), "
                             "(SELECT value FROM fact) FROM round WHERE completed",
                             -1, &st, NULL) == SQLITE_OK,
          "%s", sqlite3_errmsg(db));
    CHECK(sqlite3_step(st) == SQLITE_ROW && sqlite3_column_int(st, 0) == 24 &&
              sqlite3_column_int(st, 1) == 24 * 17 && sqlite3_column_int(st, 2) == 60 &&
              sqlite3_column_int(st, 3) == 12,
          "rows are as they were added");
    sqlite3_finalize(st);
    sqlite3_close(db);
    plmm_error err;
    plmm_run *run = make(false, false);
    CHECK(plmm_run_write_db(run, "/nonexistent/x.db", &err) == PLMM_ERR_IO, "no such directory");
    CHECK(strstr(err.msg, "/nonexistent/x.db") != NULL, "%s", err.msg);
    plmm_run_free(run);
}

/* What was written comes back: the report drawn from it is the same. */
static void read_back(void)
{
    plmm_error err = {0};
    plmm_run *run = NULL;
    size_t la;
    size_t lb;
    CHECK(plmm_run_read_db(&run, path_of("a.db"), &err) == PLMM_OK, "%s", err.msg);
    if (run == NULL) {
        return;
    }
    CHECK(plmm_run_write_report(run, path_of("c.html"), &err) == PLMM_OK, "%s", err.msg);
    char *a = slurp(path_of("a.html"), &la);
    char *b = slurp(path_of("c.html"), &lb);
    CHECK(la == lb && la > 0 && memcmp(a, b, la) == 0, "the report drawn from run.db differs");
    plmm_free(a);
    plmm_free(b);
    plmm_run_free(run);
    run = NULL;
    CHECK(plmm_run_read_db(&run, path_of("none.db"), &err) == PLMM_ERR_NOTFOUND, "%s", err.msg);
    CHECK(plmm_run_read_db(&run, path_of("a.csv"), &err) == PLMM_ERR_FORMAT, "%s", err.msg);
    CHECK(run == NULL, "a file that is no database gives a run");
}

static void out_of_memory(void)
{
    plmm_run *run = make(false, false);
    plmm_error err;
    long k = 0;
    plmm_status rc = PLMM_ERR_NOMEM;
    for (; k < 2000 && rc != PLMM_OK; k++) {
        long live = plmm_alloc_live();
        plmm_alloc_fail_at(k);
        rc = plmm_run_write_report(run, path_of("c.html"), &err);
        plmm_alloc_fail_at(-1);
        CHECK(rc == PLMM_OK || rc == PLMM_ERR_NOMEM, "failure %ld is %d", k, rc);
        CHECK(plmm_alloc_live() == live, "failure %ld leaks", k);
    }
    CHECK(rc == PLMM_OK && k > 3, "it never succeeds, or never needed memory (%ld)", k);
    char *table = plmm_run_table(run);
    CHECK(table != NULL && strstr(table, "medicine") != NULL, "the table names the domain");
    plmm_free(table);
    plmm_run_free(run);
}

int main(void)
{
    CHECK(mkdtemp(dir) != NULL, "a directory for files");
    summaries();
    files();
    database();
    read_back();
    out_of_memory();
    plmm_error err;
    CHECK(plmm_path_remove(dir, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_alloc_live() == 0, "%ld blocks leak", plmm_alloc_live());
    return plmm_test_end();
}
