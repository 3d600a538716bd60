/* plmm/log.h -- the one log of a program: a line an event,
 *     ts=2026-11-21T09:30:59.123Z lvl=info ev=round.done round=7 devices=18
 * Values with spaces are quoted by the caller ("why=\"%s\""); control characters are written as
 * \xNN, so that a line stays a line. Never keys, updates or a user's text. Libraries do not log:
 * programs and their drivers do. Thread-safe. */
#ifndef PLMM_LOG_H
#define PLMM_LOG_H

#include "plmm/status.h"

typedef enum plmm_log_level {
    PLMM_LOG_ERROR,
    PLMM_LOG_WARN,
    PLMM_LOG_INFO,
    PLMM_LOG_DEBUG
} plmm_log_level;

/* Lines up to level go to file descriptor fd, each in one write. Before the first call: info to
 * standard error. */
void plmm_log_to(int fd, plmm_log_level level);

bool plmm_log_enabled(plmm_log_level level);

/* event is dotted and lower case; fmt gives the rest of the line. At most 1000 bytes. */
void plmm_log(plmm_log_level level, const char *event, const char *fmt, ...) PLMM_PRINTF(3, 4);

#endif
