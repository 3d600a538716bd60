#include "plmm/log.h"

#include "plmm/clock.h"

#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

enum { LINE_BYTES = 1024, TEXT_BYTES = 900 };

static _Atomic int log_fd = STDERR_FILENO;
static _Atomic int log_level = PLMM_LOG_INFO;

void plmm_log_to(int fd, plmm_log_level level)
{
    atomic_store(&log_fd, fd);
    atomic_store(&log_level, (int)level);
}

bool plmm_log_enabled(plmm_log_level level)
{
    return (int)level <= atomic_load(&log_level);
}

static const char *level_name(plmm_log_level level)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    return names[level];
}

void plmm_log(plmm_log_level level, const char *event, const char *fmt, ...)
{
    if (!plmm_log_enabled(level)) {
        return;
    }
    char text[TEXT_BYTES], line[LINE_BYTES], iso[PLMM_CLOCK_ISO_BYTES];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    plmm_clock_iso(plmm_clock_wall_ms(), iso);
    size_t n = (size_t)snprintf(line, sizeof line - 1, "ts=%s lvl=%s ev=%s%s", iso,
                                level_name(level), event, text[0] != '\0' ? " " : "");
    for (const char *p = text; *p != '\0' && n < sizeof line - 6; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f) {
            n += (size_t)snprintf(line + n, sizeof line - n, "\\x%02x", (unsigned)*p & 0xff);
        } else {
            line[n++] = *p;
        }
    }
    line[n++] = '\n';
    ssize_t written = write(atomic_load(&log_fd), line, n);
    (void)written; /* a log that cannot be written must not stop the program */
}
