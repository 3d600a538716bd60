/* plmm/alloc.h -- the only way to the heap, so that tests can make it fail and count leaks.
 * All functions are thread-safe. */
#ifndef PLMM_ALLOC_H
#define PLMM_ALLOC_H

#include <stddef.h>

/* Every block is aligned for the widest vector load we use. */
enum { PLMM_ALIGN = 64 };

/* Zeroed array of n elements of size bytes, aligned to PLMM_ALIGN; NULL when out of memory or when
 * n * size overflows. n * size == 0 gives a distinct non-NULL pointer. Free with plmm_free. */
void *plmm_alloc(size_t n, size_t size);

/* The same, not zeroed: for large blocks that are written before they are read. */
void *plmm_alloc_unset(size_t n, size_t size);

/* Grows (or first makes, from NULL) an array of old_n to new_n elements, keeping the old ones and
 * zeroing the rest. NULL on failure, p is then untouched and still owned by the caller. */
void *plmm_grow(void *p, size_t old_n, size_t new_n, size_t size);

/* Copy of the NUL-terminated s (not NULL), or NULL when out of memory. Free with plmm_free. */
char *plmm_strdup(const char *s);

void plmm_free(void *p); /* NULL is fine */

/* Tests only: the k-th call from now (0 = the next) and every later one return NULL. -1: never. */
void plmm_alloc_fail_at(long k);
/* Blocks allocated and not yet freed by this process. */
long plmm_alloc_live(void);

#endif
