#include "plmm/clock.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

static uint64_t read_us(clockid_t id)
{
    struct timespec t;
    (void)clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t plmm_clock_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

uint64_t plmm_clock_ms(void)
{
    return plmm_clock_us() / 1000;
}

uint64_t plmm_clock_cpu_us(void)
{
    return read_us(CLOCK_PROCESS_CPUTIME_ID);
}

int64_t plmm_clock_wall_ms(void)
{
    return (int64_t)(read_us(CLOCK_REALTIME) / 1000);
}

void plmm_clock_sleep_ms(uint64_t ms)
{
    struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&t, &t) != 0 && errno == EINTR) {
    }
}

void plmm_clock_iso(int64_t wall_ms, char out[PLMM_CLOCK_ISO_BYTES])
{
    int64_t ms = wall_ms % 1000 < 0 ? wall_ms % 1000 + 1000 : wall_ms % 1000;
    time_t s = (time_t)((wall_ms - ms) / 1000);
    struct tm t;
    char date[24];
    if (gmtime_r(&s, &t) == NULL || strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &t) == 0) {
        (void)snprintf(date, sizeof date, "?");
    }
    (void)snprintf(out, PLMM_CLOCK_ISO_BYTES, "%.19s.%03dZ", date, (int)ms);
}
