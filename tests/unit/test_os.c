/* base/os and nearest names: files, pool, log lines, command lines. */
#include "plmm/address.h"
#include "plmm/alloc.h"
#include "plmm/cli.h"
#include "plmm/clock.h"
#include "plmm/file.h"
#include "plmm/log.h"
#include "plmm/nearest.h"
#include "plmm/pool.h"
#include "plmm/progress.h"
#include "test.h"

#include <sys/stat.h>
#include <unistd.h>

static char dir[64] = "/tmp/plmm-test-os-XXXXXX";

static const char *at(const char *name)
{
    static char path[4][PLMM_PATH_MAX];
    static int next;
    char *p = path[next++ % 4];
    CHECK(plmm_path_join(p, PLMM_PATH_MAX, dir, name, NULL) == PLMM_OK, "join");
    return p;
}

static void test_nearest(void)
{
    static const char *const names[] = {"info", "train", NULL, "generate"};
    CHECK(plmm_edit_distance("kitten", "sitting") == 3, "classic");
    CHECK(plmm_edit_distance("ab", "ba") == 1 && plmm_edit_distance("", "abc") == 3, "swap");
    CHECK(strcmp(plmm_nearest("trian", names, COUNT(names)), "train") == 0, "swap of two");
    CHECK(plmm_nearest("xyzzy", names, COUNT(names)) == NULL, "too far");
}

static plmm_status collect(void *ctx, const char *name, plmm_error *err)
{
    (void)err;
    char *all = ctx;
    size_t n = strlen(all);
    (void)snprintf(all + n, 200 - n, "%s ", name);
    return PLMM_OK;
}

static unsigned mode_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (unsigned)st.st_mode & 0777u : 0;
}

static void test_files(void)
{
    plmm_error err = {0};
    uint8_t *data = NULL;
    size_t len = 0;
    CHECK(plmm_file_read(at("gone"), 10, &data, &len, &err) == PLMM_ERR_NOTFOUND, "%s", err.msg);
    CHECK(strstr(err.msg, "cannot open ") != NULL && strstr(err.msg, "No such file") != NULL, "%s",
          err.msg);
    CHECK(plmm_file_read(dir, 10, &data, &len, &err) == PLMM_ERR_FORMAT, "%s", err.msg);
    CHECK(plmm_file_write(at("a"), "hello", 5, PLMM_MODE_SECRET, &err) == PLMM_OK, "%s", err.msg);
    CHECK(mode_of(at("a")) == 0600 && plmm_file_check_secret(at("a"), &err) == PLMM_OK, "0600");
    CHECK(plmm_file_read(at("a"), 4, &data, &len, &err) == PLMM_ERR_RANGE && data == NULL, "%s",
          err.msg);
    CHECK(plmm_file_read(at("a"), 5, &data, &len, &err) == PLMM_OK && len == 5 &&
              strcmp((char *)data, "hello") == 0,
          "%s", err.msg);
    plmm_free(data);
    CHECK(plmm_file_write(at("a"), "", 0, PLMM_MODE_PUBLIC, &err) == PLMM_OK, "%s", err.msg);
    CHECK(mode_of(at("a")) == 0644 && plmm_file_check_secret(at("a"), &err) == PLMM_ERR_STATE, "%s",
          err.msg);
    plmm_map m;
    CHECK(plmm_file_map(at("a"), &m, &err) == PLMM_OK && m.data == NULL && m.len == 0, "empty");
    plmm_file_unmap(&m);
    CHECK(plmm_file_write(at("no/such"), "x", 1, PLMM_MODE_PUBLIC, &err) == PLMM_ERR_NOTFOUND, "%s",
          err.msg);
}

static void test_writer(void)
{
    plmm_error err = {0};
    plmm_file_writer w;
    CHECK(plmm_file_writer_open(&w, at("w"), PLMM_MODE_PUBLIC, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_file_writer_write(&w, "12", 2, &err) == PLMM_OK, "%s", err.msg);
    plmm_file_writer_abort(&w);
    CHECK(!plmm_path_exists(at("w")), "aborted");
    CHECK(plmm_file_writer_open(&w, at("w"), PLMM_MODE_PUBLIC, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_file_writer_write(&w, "12", 2, &err) == PLMM_OK, "%s", err.msg);
    CHECK(!plmm_path_exists(at("w")), "nothing is there before commit");
    CHECK(plmm_file_writer_commit(&w, &err) == PLMM_OK, "%s", err.msg);
    plmm_map m;
    CHECK(plmm_file_map(at("w"), &m, &err) == PLMM_OK && m.len == 2 && m.data[1] == '2', "map");
    plmm_file_unmap(&m);
}

static void test_dirs(void)
{
    plmm_error err = {0};
    char all[200] = "";
    CHECK(plmm_dir_make(at("d/e/f"), PLMM_MODE_DIR, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_dir_make(at("d/e/f"), PLMM_MODE_DIR, &err) == PLMM_OK, "again: %s", err.msg);
    CHECK(plmm_dir_make(at("w/x"), PLMM_MODE_DIR, &err) != PLMM_OK, "a file is in the way");
    CHECK(plmm_path_rename(at("d"), at("g"), &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_path_is_dir(at("g/e/f")) && !plmm_path_exists(at("d")), "renamed");
    CHECK(plmm_dir_list(dir, collect, all, &err) == PLMM_OK && strcmp(all, "a g w ") == 0, "'%s'",
          all);
    CHECK(symlink("/etc", at("g/link")) == 0 && plmm_path_remove(at("g"), &err) == PLMM_OK, "%s",
          err.msg);
    CHECK(!plmm_path_exists(at("g")) && plmm_path_exists("/etc/passwd"), "links are not followed");
    CHECK(plmm_path_remove(at("g"), &err) == PLMM_OK, "absent is fine");
    char small[4];
    CHECK(plmm_path_join(small, sizeof small, "ab", "c", &err) == PLMM_ERR_RANGE, "too long");
    CHECK(plmm_path_join(small, sizeof small, "ab", "/c", &err) == PLMM_OK &&
              strcmp(small, "/c") == 0,
          "absolute");
}

typedef struct sums {
    uint64_t out[1000];
    uint32_t used[8];
    size_t fail_from;
} sums;

static plmm_status square(void *ctx, size_t i, uint32_t thread, plmm_error *err)
{
    sums *s = ctx;
    s->used[thread]++; /* not shared: that is what thread promises */
    s->out[i] += i * i + 1;
    return i >= s->fail_from ? plmm_fail(err, PLMM_ERR_IO, "job %zu", i) : PLMM_OK;
}

static void test_pool(uint32_t threads)
{
    plmm_pool *pool = NULL;
    plmm_error err = {0};
    CHECK(plmm_pool_new(threads, &pool, &err) == PLMM_OK, "%s", err.msg);
    if (pool == NULL) {
        return;
    }
    for (int run = 0; run < 50; run++) {
        sums s = {.fail_from = SIZE_MAX};
        CHECK(plmm_pool_run(pool, 1000, square, &s, &err) == PLMM_OK, "%s", err.msg);
        uint32_t jobs = 0;
        for (size_t i = 0; i < 8; i++) {
            jobs += s.used[i];
        }
        CHECK(jobs == 1000, "%u jobs", jobs);
        for (size_t i = 0; i < 1000; i++) {
            CHECK(s.out[i] == i * i + 1, "index %zu ran %" PRIu64, i, s.out[i]);
        }
        sums f = {.fail_from = 10};
        CHECK(plmm_pool_run(pool, 1000, square, &f, &err) == PLMM_ERR_IO &&
                  strcmp(err.msg, "job 10") == 0,
              "got '%s'", err.msg);
        CHECK(plmm_pool_run(pool, 0, square, &f, &err) == PLMM_OK, "none");
    }
    plmm_pool_free(pool);
}

static void test_clock(void)
{
    char iso[PLMM_CLOCK_ISO_BYTES];
    plmm_clock_iso(INT64_C(1000000000123), iso);
    CHECK(strcmp(iso, "2001-09-09T01:46:40.123Z") == 0, "got %s", iso);
    uint64_t a = plmm_clock_ms();
    plmm_clock_sleep_ms(2);
    CHECK(plmm_clock_ms() >= a + 2, "monotonic");
}

static void test_log(void)
{
    int fd[2];
    char line[400] = "";
    CHECK(pipe(fd) == 0, "pipe");
    plmm_log_to(fd[1], PLMM_LOG_INFO);
    plmm_log(PLMM_LOG_DEBUG, "a.b", "hidden");
    plmm_log(PLMM_LOG_WARN, "a.b", "x=%d why=\"%s\"", 7, "two\nlines");
    ssize_t n = read(fd[0], line, sizeof line - 1);
    CHECK(n > 30 && strstr(line, " lvl=warn ev=a.b x=7 why=\"two\\x0alines\"\n") != NULL, "'%s'",
          line);
    CHECK(strncmp(line, "ts=2", 4) == 0, "'%s'", line);
    plmm_log_to(STDERR_FILENO, PLMM_LOG_INFO);
    (void)close(fd[0]);
    (void)close(fd[1]);
}

static void test_address(void)
{
    static const struct {
        const char *url, *want; /* NULL: refused */
        plmm_status rc;
    } rows[] = {
        {"tcp://127.0.0.1:7878", "tcp://127.0.0.1:7878", PLMM_OK},
        {"tcp://127.200.3.4:0", "tcp://127.200.3.4:0", PLMM_OK},
        {"tcp://localhost:9", "tcp://127.0.0.1:9", PLMM_OK},
        {"tcp://[::1]:65535", "tcp://[::1]:65535", PLMM_OK},
        {"tcp://0.0.0.0:1", NULL, PLMM_ERR_UNSUPPORTED},
        {"tcp://*:1", NULL, PLMM_ERR_UNSUPPORTED},
        {"tcp://[::]:1", NULL, PLMM_ERR_UNSUPPORTED},
        {"tcp://127.0.0.1.evil.example:1", NULL, PLMM_ERR_UNSUPPORTED},
        {"tcp://127.0.0.256:1", NULL, PLMM_ERR_UNSUPPORTED},
        {"tcp://127.1:1", NULL, PLMM_ERR_UNSUPPORTED},
        {"tcp://localhost.example:1", NULL, PLMM_ERR_UNSUPPORTED},
        {"tcp://:1", NULL, PLMM_ERR_UNSUPPORTED},
        {"tcp://127.0.0.1", NULL, PLMM_ERR_CONFIG},
        {"tcp://127.0.0.1:65536", NULL, PLMM_ERR_CONFIG},
        {"tcp://127.0.0.1:1x", NULL, PLMM_ERR_CONFIG},
        {"ipc:///tmp/x", NULL, PLMM_ERR_CONFIG},
        {"", NULL, PLMM_ERR_CONFIG},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char out[PLMM_ADDRESS_BYTES] = "";
        plmm_error err = {0};
        plmm_status rc = plmm_address_loopback(rows[i].url, "cannot listen on", out, &err);
        CHECK(rc == rows[i].rc, "%s: %s", rows[i].url, err.msg);
        CHECK(strcmp(out, rows[i].want != NULL ? rows[i].want : "") == 0, "%s: got %s", rows[i].url,
              out);
    }
}

static const plmm_cli_option options[] = {
    {"json", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "print JSON"},
    {"top", PLMM_CLI_INT, "N", "10", 1, 1000, "rows to show"},
    {"rate", PLMM_CLI_REAL, "R", "0.5", 0, 1, "a rate"},
    {"set", PLMM_CLI_LIST, "KEY=VALUE", NULL, 0, 0, "override"},
    {"out", PLMM_CLI_TEXT, "DIR", NULL, 0, 0, "where"},
};

static plmm_status run_info(plmm_cli_args *a, plmm_error *err)
{
    if (plmm_cli_flag(a, "json")) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "as asked");
    }
    a->exit_code = 3;
    return PLMM_OK;
}

static const plmm_cli_verb verbs[] = {
    {"info", "DIR [MORE]", 1, 2, "say what it is", NULL, options, COUNT(options), run_info},
};
static const plmm_cli_program program = {"plmm-test", "a test", NULL, verbs, COUNT(verbs)};

static void test_cli_errors(void)
{
    static struct {
        char *argv[4];
        int argc;
        const char *message;
    } rows[] = {
        {{"x", "--jsn"}, 2, "info has no option --jsn, did you mean --json"},
        {{"x", "--top", "0"}, 3, "--top is 0, must be an integer in 1..1000"},
        {{"x", "--top=1.5"}, 2, "--top is 1.5, must be an integer in 1..1000"},
        {{"x", "--rate", "nan"}, 3, "--rate is nan, must be a number in 0..1"},
        {{"x", "--out"}, 2, "--out needs a value: --out DIR"},
        {{"x", "--json=1"}, 2, "--json takes no value"},
        {{"a", "b", "c"}, 3, "c is one word too many; usage: info DIR [MORE]"},
        {{"--json"}, 1, "info needs DIR [MORE]; see info --help"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        plmm_cli_args a;
        plmm_error err = {0};
        CHECK(plmm_cli_parse(verbs, rows[i].argc, rows[i].argv, &a, &err) == PLMM_ERR_RANGE &&
                  strcmp(err.msg, rows[i].message) == 0,
              "row %zu: got '%s'", i, err.msg);
    }
}

static void test_cli(void)
{
    char *argv[] = {"--set", "a=1", "dir", "--top=7", "--set=b=2", "--", "--json"};
    plmm_cli_args a;
    plmm_error err = {0};
    CHECK(plmm_cli_parse(verbs, COUNT(argv), argv, &a, &err) == PLMM_OK, "%s", err.msg);
    CHECK(a.n_operands == 2 && strcmp(a.operands[1], "--json") == 0, "operands");
    CHECK(!plmm_cli_flag(&a, "json") && plmm_cli_int(&a, "top") == 7, "options");
    CHECK(plmm_cli_real(&a, "rate") == 0.5 && plmm_cli_text(&a, "out") == NULL, "defaults");
    CHECK(strcmp(plmm_cli_item(&a, "set", 1), "b=2") == 0 && plmm_cli_item(&a, "set", 2) == NULL,
          "list");
    char *plain[] = {"plmm-test", "info", "x"};
    char *json[] = {"plmm-test", "info", "x", "--json"};
    char *wrong[] = {"plmm-test", "inof"};
    CHECK(plmm_cli_main(&program, 3, plain) == 3, "exit code of the verb");
    CHECK(plmm_cli_main(&program, 4, json) == 2, "configuration");
    CHECK(plmm_cli_main(&program, 2, wrong) == 2, "usage");
    CHECK(plmm_cli_main(&program, 1, wrong) == 2, "nothing");
}

int main(void)
{
    CHECK(mkdtemp(dir) != NULL, "mkdtemp");
    test_nearest();
    test_files();
    test_writer();
    test_dirs();
    test_pool(1);
    test_pool(3);
    test_clock();
    test_log();
    test_address();
    test_cli_errors();
    test_cli();
    plmm_progress p;
    plmm_progress_start(&p, "test", "steps", 10);
    plmm_progress_update(&p, 10, "fine");
    plmm_progress_end(&p);
    CHECK(plmm_path_remove(dir, NULL) == PLMM_OK, "clean up");
    CHECK(plmm_alloc_live() == 0, "%ld blocks leak", plmm_alloc_live());
    return plmm_test_end();
}
