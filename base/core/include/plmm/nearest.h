/* plmm/nearest.h -- "did you mean": the known name closest to a mistyped one. Pure, thread-safe. */
#ifndef PLMM_NEAREST_H
#define PLMM_NEAREST_H

#include <stddef.h>
#include <stdint.h>

/* Number of single-character insertions, deletions, substitutions and swaps of neighbours that turn
 * a into b (optimal string alignment). Only the first 63 bytes of each count. */
size_t plmm_edit_distance(const char *a, const char *b);

/* The one of names[0..n) closest to word, the first of equals; NULL when none is within half of the
 * longer of the two, because a far guess does not help. names may hold NULL entries; they are
 * skipped. The result points into names. */
const char *plmm_nearest(const char *word, const char *const *names, size_t n);

#endif
