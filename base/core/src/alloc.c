#if defined(__linux__)
#define _DEFAULT_SOURCE /* madvise */
#include <sys/mman.h>
#endif

#include "plmm/alloc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static atomic_long live, countdown = -1;

static int out_of_luck(void)
{
    long k = atomic_load(&countdown);
    if (k > 0) {
        atomic_store(&countdown, k - 1);
    }
    return k == 0;
}

void *plmm_alloc(size_t n, size_t size)
{
    if (out_of_luck() || (size != 0 && n > (SIZE_MAX - PLMM_ALIGN) / size)) {
        return NULL;
    }
    size_t bytes = (n * size + PLMM_ALIGN - 1) / PLMM_ALIGN * PLMM_ALIGN;
    bytes = bytes == 0 ? PLMM_ALIGN : bytes;
    enum { HUGE_PAGE = 2 << 20 };
    bool large = bytes >= 2 * (size_t)HUGE_PAGE;
    void *p = NULL;
    if (posix_memalign(&p, large ? HUGE_PAGE : PLMM_ALIGN, bytes) != 0) {
        return NULL;
    }
#if defined(__linux__)
    if (large) { /* products go through weights of many MiB: fewer, larger pages. A wish only. */
        (void)madvise(p, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    }
#endif
    memset(p, 0, bytes);
    atomic_fetch_add(&live, 1);
    return p;
}

void *plmm_grow(void *p, size_t old_n, size_t new_n, size_t size)
{
    void *q = plmm_alloc(new_n, size);
    if (q != NULL && p != NULL) {
        memcpy(q, p, (old_n < new_n ? old_n : new_n) * size);
        plmm_free(p);
    }
    return q;
}

char *plmm_strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    char *p = plmm_alloc(n, 1);
    if (p != NULL) {
        memcpy(p, s, n);
    }
    return p;
}

void plmm_free(void *p)
{
    if (p != NULL) {
        atomic_fetch_sub(&live, 1);
        free(p);
    }
}

void plmm_alloc_fail_at(long k)
{
    atomic_store(&countdown, k);
}

long plmm_alloc_live(void)
{
    return atomic_load(&live);
}
