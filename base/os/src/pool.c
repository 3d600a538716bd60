#include "plmm/pool.h"

#include "plmm/alloc.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct helper {
    plmm_pool *pool;
    pthread_t thread;
    uint32_t number;
} helper;

struct plmm_pool {
    pthread_mutex_t lock;
    pthread_cond_t work;  /* a run began, or the end */
    pthread_cond_t quiet; /* the last helper left a run */
    uint32_t threads;
    uint32_t started; /* helpers that exist */
    bool stop, running;
    uint64_t run; /* number of the run: a helper enters each once */
    uint32_t busy;
    size_t n, next;
    plmm_pool_job job;
    void *ctx;
    size_t failed_index;
    plmm_status failed; /* of failed_index */
    plmm_error err;
    helper helpers[PLMM_POOL_THREADS_MAX];
};

uint32_t plmm_pool_cpus(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > PLMM_POOL_THREADS_MAX ? PLMM_POOL_THREADS_MAX : (uint32_t)n;
}

/* Works until no index is left. Called, and returns, with the lock held. */
static void work(plmm_pool *p, uint32_t thread)
{
    while (p->next < p->n && p->failed == PLMM_OK) {
        size_t index = p->next++;
        plmm_error err = {0};
        (void)pthread_mutex_unlock(&p->lock);
        plmm_status rc = p->job(p->ctx, index, thread, &err);
        (void)pthread_mutex_lock(&p->lock);
        if (rc != PLMM_OK && (p->failed == PLMM_OK || index < p->failed_index)) {
            p->failed = rc;
            p->failed_index = index;
            p->err = err;
        }
    }
}

static void *helper_main(void *arg)
{
    helper *h = arg;
    plmm_pool *p = h->pool;
    uint64_t seen = 0;
    (void)pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        if (p->run == seen) {
            (void)pthread_cond_wait(&p->work, &p->lock);
            continue;
        }
        seen = p->run;
        p->busy++;
        work(p, h->number);
        if (--p->busy == 0) {
            (void)pthread_cond_signal(&p->quiet);
        }
    }
    (void)pthread_mutex_unlock(&p->lock);
    return NULL;
}

plmm_status plmm_pool_new(uint32_t threads, plmm_pool **pool, plmm_error *err)
{
    threads = threads == 0 ? plmm_pool_cpus() : threads;
    if (threads > PLMM_POOL_THREADS_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "threads is %u, must be 0 (all processors) or 1..%d",
                         threads, PLMM_POOL_THREADS_MAX);
    }
    plmm_pool *p = plmm_alloc(1, sizeof *p);
    if (p == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for a pool of %u threads", threads);
    }
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_cond_init(&p->work, NULL);
    (void)pthread_cond_init(&p->quiet, NULL);
    p->threads = threads;
    for (uint32_t i = 1; i < threads; i++) {
        helper *h = &p->helpers[i];
        *h = (helper){.pool = p, .number = i};
        int rv = pthread_create(&h->thread, NULL, helper_main, h);
        if (rv != 0) {
            plmm_pool_free(p);
            return plmm_fail(err, PLMM_ERR_IO, "cannot start thread %u of %u: %s", i + 1, threads,
                             strerror(rv));
        }
        p->started = i;
    }
    *pool = p;
    return PLMM_OK;
}

void plmm_pool_free(plmm_pool *p)
{
    if (p == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&p->lock);
    PLMM_ASSERT(!p->running);
    p->stop = true;
    (void)pthread_cond_broadcast(&p->work);
    (void)pthread_mutex_unlock(&p->lock);
    for (uint32_t i = 1; i <= p->started; i++) {
        (void)pthread_join(p->helpers[i].thread, NULL);
    }
    (void)pthread_cond_destroy(&p->quiet);
    (void)pthread_cond_destroy(&p->work);
    (void)pthread_mutex_destroy(&p->lock);
    plmm_free(p);
}

uint32_t plmm_pool_threads(const plmm_pool *pool)
{
    return pool->threads;
}

plmm_status plmm_pool_run(plmm_pool *p, size_t n, plmm_pool_job job, void *ctx, plmm_error *err)
{
    (void)pthread_mutex_lock(&p->lock);
    PLMM_ASSERT(!p->running);
    p->running = true;
    p->n = n;
    p->next = 0;
    p->job = job;
    p->ctx = ctx;
    p->failed = PLMM_OK;
    p->run++;
    if (n > 1) {
        (void)pthread_cond_broadcast(&p->work);
    }
    work(p, 0);
    while (p->busy > 0) {
        (void)pthread_cond_wait(&p->quiet, &p->lock);
    }
    p->running = false;
    plmm_status rc = p->failed;
    if (rc != PLMM_OK && err != NULL) {
        *err = p->err;
    }
    (void)pthread_mutex_unlock(&p->lock);
    return rc;
}
