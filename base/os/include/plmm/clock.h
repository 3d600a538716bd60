/* plmm/clock.h -- the system's clocks, for drivers and programs only. Thread-safe. */
#ifndef PLMM_CLOCK_H
#define PLMM_CLOCK_H

#include <stdint.h>

uint64_t plmm_clock_ms(void);     /* monotonic milliseconds, from an arbitrary start */
uint64_t plmm_clock_us(void);     /* the same in microseconds */
uint64_t plmm_clock_cpu_us(void); /* processor time of this process, all threads */
int64_t plmm_clock_wall_ms(void); /* milliseconds since 1970 UTC; jumps when the clock is set */

/* Waits at least ms milliseconds, also through signals. */
void plmm_clock_sleep_ms(uint64_t ms);

/* "2026-11-21T09:30:59.123Z" */
enum { PLMM_CLOCK_ISO_BYTES = 25 };
void plmm_clock_iso(int64_t wall_ms, char out[PLMM_CLOCK_ISO_BYTES]);

#endif
