/* plmm/pool.h -- a pool of threads that works through indices. Threads that have nothing to do
 * sleep. Which thread gets which index depends on the schedule: keep results by index, and use the
 * thread number only to pick scratch memory; then the result does not depend on the number of
 * threads. */
#ifndef PLMM_POOL_H
#define PLMM_POOL_H

#include "plmm/status.h"

typedef struct plmm_pool plmm_pool;

enum { PLMM_POOL_THREADS_MAX = 256 };

/* Processors this process may use now, at least 1. */
uint32_t plmm_pool_cpus(void);

/* threads in 1..PLMM_POOL_THREADS_MAX, or 0 for plmm_pool_cpus(). The calling thread is one of
 * them, so a pool of 1 starts none. PLMM_ERR_RANGE, PLMM_ERR_NOMEM, PLMM_ERR_IO. */
PLMM_NODISCARD plmm_status plmm_pool_new(uint32_t threads, plmm_pool **pool, plmm_error *err);
void plmm_pool_free(plmm_pool *pool); /* NULL is fine; not from inside a job */

uint32_t plmm_pool_threads(const plmm_pool *pool);

/* index in 0..n-1; thread in 0..threads-1, never two at once with the same thread number. */
typedef plmm_status (*plmm_pool_job)(void *ctx, size_t index, uint32_t thread, plmm_error *err);

/* Runs job for every index, each once, and returns when all are done. When some fail, no new index
 * is begun, and of those that failed the error with the lowest index is returned. One run at a time
 * (asserted): no run from inside a job, none from two threads. */
PLMM_NODISCARD plmm_status plmm_pool_run(plmm_pool *pool, size_t n, plmm_pool_job job, void *ctx,
                                         plmm_error *err);

#endif
