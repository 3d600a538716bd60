/* The worker: takes masks out of sums and publishes versions, while the loop answers devices. */
#include "serve_internal.h"

#include <string.h>

static void run_job(plmm__serve *s, plmm__job job)
{
    plmm__worker *w = &s->worker;
    const plmm_agg_round *m = s->machines[s->cur].m;
    w->err = (plmm_error){0};
    if (job == PLMM__JOB_UNMASK) {
        w->rc = plmm_agg_round_unmask(m, s->sum, &w->unmasked, &w->err);
    } else {
        w->rc = s->c->hooks.publish(s->c->hooks.ctx, plmm_agg_round_params(m), s->sum, s->survivors,
                                    s->survivors_n, &w->manifest, &w->err);
    }
}

static void *worker_main(void *arg)
{
    plmm__serve *s = arg;
    plmm__worker *w = &s->worker;
    (void)pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        if (w->job == PLMM__JOB_NONE || w->done) {
            (void)pthread_cond_wait(&w->news, &w->lock);
            continue;
        }
        plmm__job job = w->job;
        (void)pthread_mutex_unlock(&w->lock);
        run_job(s, job);
        (void)pthread_mutex_lock(&w->lock);
        w->done = true;
        plmm_hub_post(s->hub);
    }
    (void)pthread_mutex_unlock(&w->lock);
    return NULL;
}

plmm_status plmm__worker_start(plmm__serve *s, plmm_error *err)
{
    plmm__worker *w = &s->worker;
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_cond_init(&w->news, NULL);
    int rv = pthread_create(&w->thread, NULL, worker_main, s);
    if (rv != 0) {
        return plmm_fail(err, PLMM_ERR_IO, "cannot start the worker thread: %s", strerror(rv));
    }
    w->started = true;
    return PLMM_OK;
}

void plmm__worker_stop(plmm__serve *s)
{
    plmm__worker *w = &s->worker;
    if (!w->started) {
        return;
    }
    (void)pthread_mutex_lock(&w->lock);
    w->stop = true;
    (void)pthread_cond_signal(&w->news);
    (void)pthread_mutex_unlock(&w->lock);
    (void)pthread_join(w->thread, NULL); /* a job under way is finished */
    (void)pthread_cond_destroy(&w->news);
    (void)pthread_mutex_destroy(&w->lock);
    w->started = false;
}

void plmm__worker_give(plmm__serve *s, plmm__job job)
{
    plmm__worker *w = &s->worker;
    (void)pthread_mutex_lock(&w->lock);
    PLMM_ASSERT(w->job == PLMM__JOB_NONE && !w->done);
    w->job = job;
    (void)pthread_cond_signal(&w->news);
    (void)pthread_mutex_unlock(&w->lock);
}

bool plmm__worker_busy(plmm__serve *s)
{
    (void)pthread_mutex_lock(&s->worker.lock);
    bool busy = s->worker.job != PLMM__JOB_NONE;
    (void)pthread_mutex_unlock(&s->worker.lock);
    return busy;
}

plmm__job plmm__worker_take(plmm__serve *s)
{
    plmm__worker *w = &s->worker;
    plmm__job job = PLMM__JOB_NONE;
    (void)pthread_mutex_lock(&w->lock);
    if (w->done) {
        job = w->job;
        w->job = PLMM__JOB_NONE;
        w->done = false;
    }
    (void)pthread_mutex_unlock(&w->lock);
    return job;
}
