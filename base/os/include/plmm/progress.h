/* plmm/progress.h -- how far a long job is, on standard error: on a terminal one line that rewrites
 * itself a few times a second, otherwise a plain line every five seconds and one at the end.
 *     run: 34/96 rounds  35 %  1.9 rounds/s  31 s left  loss 3.12
 * Belongs to one thread at a time. */
#ifndef PLMM_PROGRESS_H
#define PLMM_PROGRESS_H

#include "plmm/status.h"

typedef struct plmm_progress {
    const char *what, *unit; /* borrowed */
    uint64_t total, done;
    uint64_t start_ms, shown_ms;
    bool quiet, terminal;
    char note[80];
} plmm_progress;

/* what: the job ("run"); unit: of its steps, plural ("rounds"); total: 0 when unknown. */
void plmm_progress_start(plmm_progress *p, const char *what, const char *unit, uint64_t total);
/* No output at all from now on. */
void plmm_progress_silence(plmm_progress *p);
/* done steps so far; note (may be NULL) is put at the end of the line. */
void plmm_progress_update(plmm_progress *p, uint64_t done, const char *note);
/* The last line, with the time it took. */
void plmm_progress_end(plmm_progress *p);

#endif
