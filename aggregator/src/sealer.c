#include "sealer.h"

#include "plmm/alloc.h"
#include "plmm/clock.h"
#include "plmm/line.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { TURN_MS = 100, ANSWER_MS = 5000, AGAIN_MS = 200, URL_MAX = 128 };

struct plmm__sealer {
    plmm_line *line;
    plmm_hub *hub;
    char url[URL_MAX];
    plmm_sign_sk key; /* SECRET */
    plmm_sign_pk registrar;
    plmm_registry_ask ask;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t news;
    bool stop, done;
    plmm__asked job;
    uint64_t until;
    /* Of the job; the thread's until done is set. */
    uint8_t *bytes;
    size_t len;
    plmm_status rc;
    plmm_error err;
    const uint8_t *reply;
    size_t reply_len;
    plmm_registry_answer devices;
};

/* Is the job's time over, or the sealer to stop? */
static bool is_over(plmm__sealer *s)
{
    (void)pthread_mutex_lock(&s->lock);
    bool over = s->stop || plmm_clock_ms() >= s->until;
    (void)pthread_mutex_unlock(&s->lock);
    return over;
}

/* One request and its answer; false if there was none. */
static bool try_once(plmm__sealer *s, const uint8_t *bytes, size_t len)
{
    uint64_t until = plmm_clock_ms() + ANSWER_MS;
    if (plmm_line_ask(s->line, bytes, len, NULL, 0, &s->err) != PLMM_OK) {
        return false;
    }
    while (plmm_clock_ms() < until && !is_over(s)) {
        plmm_line_news news = plmm_line_wait(s->line, TURN_MS);
        if (news == PLMM_LINE_REPLY) {
            plmm_line_reply(s->line, &s->reply, &s->reply_len);
            return s->reply_len > 0;
        }
        if (news == PLMM_LINE_LOST) {
            break;
        }
    }
    plmm_line_give_up(s->line);
    return false;
}

static bool ask_devices(plmm__sealer *s)
{
    uint8_t question[PLMM_REGISTRY_ASK];
    plmm_seed nonce;
    if (plmm_seed_system(&nonce, &s->err) != PLMM_OK) {
        return false;
    }
    memcpy(s->ask.nonce, nonce.b, sizeof s->ask.nonce);
    plmm_registry_ask_encode(question, &s->ask, &s->key);
    return try_once(s, question, sizeof question) &&
           plmm_registry_answer_decode(&s->devices, s->reply, s->reply_len, &s->ask, &s->registrar,
                                       &s->err) == PLMM_OK;
}

/* Until it is done, or its time is over, or the sealer stops. */
static void work(plmm__sealer *s)
{
    s->err = (plmm_error){0};
    s->rc = PLMM_ERR_TIMEOUT;
    do {
        bool ok = s->job == PLMM__ASKED_DEVICES ? ask_devices(s) : try_once(s, s->bytes, s->len);
        if (ok) {
            s->rc = PLMM_OK;
            return;
        }
        plmm_clock_sleep_ms(AGAIN_MS);
    } while (!is_over(s));
    char why[sizeof s->err.msg];
    (void)snprintf(why, sizeof why, "%s", s->err.msg);
    s->rc = plmm_fail(&s->err, PLMM_ERR_TIMEOUT, "the registrar at %s does not answer%s%.250s",
                      s->url, why[0] != '\0' ? ": " : "", why);
}

static void *sealer_main(void *arg)
{
    plmm__sealer *s = arg;
    (void)pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        if (s->job == PLMM__ASKED_NOTHING || s->done) {
            (void)pthread_cond_wait(&s->news, &s->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&s->lock);
        work(s);
        (void)pthread_mutex_lock(&s->lock);
        s->done = true;
        plmm_hub_post(s->hub);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return NULL;
}

plmm_status plmm__sealer_start(plmm__sealer **out, const plmm__sealer_config *c, plmm_error *err)
{
    plmm__sealer *s = plmm_alloc(1, sizeof *s);
    if (s == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory");
    }
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_cond_init(&s->news, NULL);
    (void)snprintf(s->url, sizeof s->url, "%s", c->url);
    (void)snprintf(s->ask.expert, sizeof s->ask.expert, "%s", c->expert);
    s->key = *c->key;
    s->registrar = c->registrar;
    s->hub = c->hub;
    plmm_status rc = plmm_line_open(&s->line, c->url, PLMM_REGISTRY_ANSWER, err);
    if (rc == PLMM_OK) {
        int rv = pthread_create(&s->thread, NULL, sealer_main, s);
        s->started = rv == 0;
        rc = rv == 0 ? PLMM_OK
                     : plmm_fail(err, PLMM_ERR_IO,
                                 "cannot start the thread that asks the "
                                 "registrar: %s",
                                 strerror(rv));
    }
    if (rc != PLMM_OK) {
        plmm__sealer_stop(s);
        return rc;
    }
    *out = s;
    return PLMM_OK;
}

void plmm__sealer_stop(plmm__sealer *s)
{
    if (s == NULL) {
        return;
    }
    if (s->started) {
        (void)pthread_mutex_lock(&s->lock);
        s->stop = true;
        (void)pthread_cond_signal(&s->news);
        (void)pthread_mutex_unlock(&s->lock);
        (void)pthread_join(s->thread, NULL);
    }
    plmm_line_close(s->line);
    (void)pthread_cond_destroy(&s->news);
    (void)pthread_mutex_destroy(&s->lock);
    plmm_free(s->bytes);
    plmm_wipe(&s->key, sizeof s->key);
    plmm_free(s);
}

bool plmm__sealer_busy(plmm__sealer *s)
{
    (void)pthread_mutex_lock(&s->lock);
    bool busy = s->job != PLMM__ASKED_NOTHING;
    (void)pthread_mutex_unlock(&s->lock);
    return busy;
}

void plmm__sealer_cancel(plmm__sealer *s)
{
    (void)pthread_mutex_lock(&s->lock);
    s->until = 0;
    (void)pthread_mutex_unlock(&s->lock);
}

static void give(plmm__sealer *s, plmm__asked job, uint32_t wait_ms)
{
    (void)pthread_mutex_lock(&s->lock);
    PLMM_ASSERT(s->job == PLMM__ASKED_NOTHING && !s->done);
    s->until = plmm_clock_ms() + wait_ms;
    s->job = job;
    (void)pthread_cond_signal(&s->news);
    (void)pthread_mutex_unlock(&s->lock);
}

void plmm__sealer_devices(plmm__sealer *s, uint64_t after, uint32_t wait_ms)
{
    s->ask.after = after;
    give(s, PLMM__ASKED_DEVICES, wait_ms);
}

void plmm__sealer_seal(plmm__sealer *s, uint8_t *bytes, size_t len, uint32_t wait_ms)
{
    plmm_free(s->bytes);
    s->bytes = bytes;
    s->len = len;
    give(s, PLMM__ASKED_SEAL, wait_ms);
}

bool plmm__sealer_take(plmm__sealer *s, plmm__sealer_result *r)
{
    (void)pthread_mutex_lock(&s->lock);
    bool done = s->done;
    (void)pthread_mutex_unlock(&s->lock);
    if (done) {
        *r = (plmm__sealer_result){.what = s->job,
                                   .rc = s->rc,
                                   .err = s->err,
                                   .devices = &s->devices,
                                   .bytes = s->reply,
                                   .len = s->reply_len};
    }
    return done;
}

void plmm__sealer_done(plmm__sealer *s)
{
    plmm_free(s->bytes);
    s->bytes = NULL;
    (void)pthread_mutex_lock(&s->lock);
    s->done = false;
    s->job = PLMM__ASKED_NOTHING;
    (void)pthread_mutex_unlock(&s->lock);
}
