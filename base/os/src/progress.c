#include "plmm/progress.h"

#include "plmm/clock.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TERMINAL_EVERY_MS = 200, PLAIN_EVERY_MS = 5000 };

void plmm_progress_start(plmm_progress *p, const char *what, const char *unit, uint64_t total)
{
    *p = (plmm_progress){.what = what,
                         .unit = unit,
                         .total = total,
                         .start_ms = plmm_clock_ms(),
                         .terminal = isatty(STDERR_FILENO) == 1};
    p->shown_ms = p->start_ms;
}

void plmm_progress_silence(plmm_progress *p)
{
    p->quiet = true;
}

static void print_duration(char out[32], double seconds)
{
    if (seconds < 100) {
        (void)snprintf(out, 32, "%.0f s", seconds);
    } else if (seconds < 6000) {
        (void)snprintf(out, 32, "%.0f min %02.0f s", (double)((int)seconds / 60),
                       (double)((int)seconds % 60));
    } else {
        (void)snprintf(out, 32, "%.1f h", seconds / 3600);
    }
}

static void show(plmm_progress *p, bool last)
{
    double seconds = (double)(plmm_clock_ms() - p->start_ms) / 1000;
    double rate = seconds > 0 ? (double)p->done / seconds : 0;
    char line[300], amount[96], when[64] = "", duration[32];
    if (p->total > 0) {
        (void)snprintf(amount, sizeof amount, "%llu/%llu %s  %.0f %%", (unsigned long long)p->done,
                       (unsigned long long)p->total, p->unit,
                       100 * (double)p->done / (double)p->total);
    } else {
        (void)snprintf(amount, sizeof amount, "%llu %s", (unsigned long long)p->done, p->unit);
    }
    if (last) {
        print_duration(duration, seconds);
        (void)snprintf(when, sizeof when, "  in %s", duration);
    } else if (p->total > p->done && rate > 0) {
        print_duration(duration, (double)(p->total - p->done) / rate);
        (void)snprintf(when, sizeof when, "  %s left", duration);
    }
    int n = snprintf(line, sizeof line, "%s%s: %s  %.3g %s/s%s%s%s%s", p->terminal ? "\r" : "",
                     p->what, amount, rate, p->unit, when, p->note[0] != '\0' ? "  " : "", p->note,
                     p->terminal ? "\033[K" : "\n");
    if (n > 0) {
        (void)fwrite(line, 1, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1, stderr);
        if (p->terminal && last) {
            (void)fputc('\n', stderr);
        }
        (void)fflush(stderr);
    }
    p->shown_ms = plmm_clock_ms();
}

void plmm_progress_update(plmm_progress *p, uint64_t done, const char *note)
{
    p->done = done;
    (void)snprintf(p->note, sizeof p->note, "%s", note != NULL ? note : "");
    uint64_t every = p->terminal ? TERMINAL_EVERY_MS : PLAIN_EVERY_MS;
    if (!p->quiet && plmm_clock_ms() - p->shown_ms >= every) {
        show(p, false);
    }
}

void plmm_progress_end(plmm_progress *p)
{
    if (!p->quiet) {
        show(p, true);
    }
}
