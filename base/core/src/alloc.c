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

/* n * size, at least one, rounded up; 0 if that overflows. */
static size_t octets(size_t n, size_t size)
{
    if (size != 0 && n > (SIZE_MAX - PLMM_ALIGN) / size) {
        return 0;
    }
    size_t bytes = (n * size + PLMM_ALIGN - 1) / PLMM_ALIGN * PLMM_ALIGN;
    return bytes == 0 ? PLMM_ALIGN : bytes;
}

void *plmm_alloc_unset(size_t n, size_t size)
{
    const size_t bytes = octets(n, size);
    void *p = NULL;
    if (out_of_luck() || bytes == 0 || posix_memalign(&p, PLMM_ALIGN, bytes) != 0) {
        return NULL;
    }
    atomic_fetch_add(&live, 1);
    return p;
}

void *plmm_alloc(size_t n, size_t size)
{
    void *p = plmm_alloc_unset(n, size);
    if (p != NULL) {
        memset(p, 0, octets(n, size));
    }
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
