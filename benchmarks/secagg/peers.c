/* peers.c -- those we are measured beside: the prototype, run as a program; Flower, read from what
 * its script printed on the same machine. */
#include "bench.h"

#include "plmm/alloc.h"
#include "plmm/file.h"
#include "plmm/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGS_MAX = 16, OUTPUT_MAX = 1 << 14 };

static void child(const char *program, const char *const *args, uint32_t threads, int out)
{
    char number[12];
    const char *argv[ARGS_MAX] = {program};
    for (size_t i = 0; i + 2 < ARGS_MAX && args[i] != NULL; i++) {
        argv[i + 1] = args[i];
    }
    (void)snprintf(number, sizeof number, "%u", threads);
    if (setenv("OMP_NUM_THREADS", number, 1) == 0 && setenv("OMP_WAIT_POLICY", "passive", 1) == 0 &&
        dup2(out, STDOUT_FILENO) >= 0) {
        (void)execv(program, (char *const *)(uintptr_t)argv);
    }
    _exit(127);
}

/* The child's whole output, cut at OUTPUT_MAX. */
static void drain(int fd, char text[OUTPUT_MAX])
{
    size_t used = 0;
    ssize_t got;
    char rest[256];
    do {
        bool room = used + 1 < OUTPUT_MAX;
        got = read(fd, room ? text + used : rest, room ? OUTPUT_MAX - 1 - used : sizeof rest);
        used += got > 0 && room ? (size_t)got : 0;
    } while (got > 0);
    text[used] = '\0';
}

/* The number after key; NaN if key is not there. */
static double after(const char *text, const char *key)
{
    const char *p = strstr(text, key);
    return p == NULL ? (double)NAN : strtod(p + strlen(key), NULL);
}

plmm_status bench_prototype_run(bench_prototype *out, const char *program, const char *const *args,
                                uint32_t threads, plmm_error *err)
{
    static char text[OUTPUT_MAX];
    int ends[2];
    if (pipe(ends) != 0) {
        return plmm_fail(err, PLMM_ERR_IO, "cannot make a pipe for %s", program);
    }
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(ends[0]);
        child(program, args, threads, ends[1]);
    }
    (void)close(ends[1]);
    drain(ends[0], text);
    (void)close(ends[0]);
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) {
        return plmm_fail(err, PLMM_ERR_IO, "cannot run %s", program);
    }
    bool committee = strstr(text, "mode Committee") != NULL;
    /* It prints CPU seconds over its threads. */
    double server = after(text, " server ") * threads;
    double total = after(text, "TOTAL ") * threads;
    *out = (bench_prototype){.clients_s = total - server,
                             .server_s = server,
                             .setup_s = committee ? after(text, "(amortised) ") * threads : 0,
                             .exact = strstr(text, "EXACT") != NULL};
    if (WEXITSTATUS(status) != 0 || isnan(total) || isnan(server)) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%s ended with %d and said: %.200s", program,
                         WEXITSTATUS(status), text);
    }
    return PLMM_OK;
}

/* ---- Flower ---- */

typedef struct finder {
    uint32_t d;
    double best[2]; /* distance of the line taken: device, server */
} finder;

static plmm_status take_line(bench_flower *f, finder *at, const plmm_json *line, plmm_error *err)
{
    const char *side = "";
    uint32_t d = 0;
    PLMM_TRY(plmm_json_need_text(line, "flower", "side", 16, &side, err));
    PLMM_TRY(plmm_json_need_u32(line, "flower", "d", 1, 1u << 30, &d, err));
    bool server = strcmp(side, "server") == 0;
    double far = fabs(log((double)d / at->d));
    if (far >= at->best[server]) {
        return PLMM_OK;
    }
    at->best[server] = far;
    if (server) {
        PLMM_TRY(plmm_json_need_real(line, "flower", "survivor_s", 0, 1e6, &f->survivor_s, err));
        return plmm_json_need_real(line, "flower", "dropped_s", 0, 1e6, &f->dropped_s, err);
    }
    int64_t up = 0;
    f->d = d;
    PLMM_TRY(plmm_json_need_u32(line, "flower", "k", 1, 1u << 20, &f->k, err));
    PLMM_TRY(plmm_json_need_int(line, "flower", "up_bytes", 0, INT64_C(1) << 40, &up, err));
    f->up = (uint64_t)up;
    return plmm_json_need_real(line, "flower", "device_s", 0, 1e6, &f->device_s, err);
}

plmm_status bench_flower_read(bench_flower *out, const char *path, uint32_t d, plmm_error *err)
{
    uint8_t *text = NULL;
    size_t len = 0;
    finder at = {d, {HUGE_VAL, HUGE_VAL}};
    PLMM_TRY(plmm_file_read(path, 1 << 20, &text, &len, err));
    plmm_json_seq seq;
    plmm_json_seq_init(&seq, (const char *)text, len, path, NULL);
    plmm_status rc = PLMM_OK;
    for (plmm_json *line = NULL; rc == PLMM_OK;) {
        rc = plmm_json_seq_next(&seq, &line, err);
        if (rc != PLMM_OK || line == NULL) {
            break;
        }
        rc = take_line(out, &at, line, err);
        plmm_json_free(line);
    }
    plmm_free(text);
    if (rc == PLMM_OK && (isinf(at.best[0]) || isinf(at.best[1]))) {
        rc = plmm_fail(err, PLMM_ERR_FORMAT, "%s has no line of a device and of a server", path);
    }
    return rc;
}
