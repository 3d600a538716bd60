#include "link.h"

#include "plmm/alloc.h"

#include <errno.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <pthread.h>
#include <time.h>

enum { DIAL_MIN_MS = 50, DIAL_MAX_MS = 1000 };

typedef enum plmm__link_state { LINK_IDLE, LINK_SENDING, LINK_RECEIVING } plmm__link_state;

struct plmm__link {
    nng_socket socket;
    bool has_socket;
    nng_aio *aio;
    pthread_mutex_t lock;
    pthread_cond_t news;
    plmm__link_state state; /* of the request */
    bool fresh;             /* a connection was made since the last LINK_NEW */
    bool finished;          /* the request ended; failed says how */
    bool failed;
    bool given_up; /* no receive may begin any more */
    nng_msg *reply;
    uint64_t up, down;
};

/* On one of nng's threads: the request went out, or its reply came. */
static void on_aio(void *arg)
{
    plmm__link *l = arg;
    int rv = nng_aio_result(l->aio);
    (void)pthread_mutex_lock(&l->lock);
    bool sent = l->state == LINK_SENDING;
    if (rv == 0 && sent && !l->given_up) {
        l->state = LINK_RECEIVING;
        nng_recv_aio(l->socket, l->aio); /* under the lock: reset() must see it begun or not */
    } else {
        l->state = LINK_IDLE;
        l->finished = true;
        l->failed = rv != 0;
        if (rv != 0 && sent) {
            nng_msg_free(nng_aio_get_msg(l->aio)); /* a failed send leaves the message with us */
        } else if (rv == 0 && !sent) {
            l->reply = nng_aio_get_msg(l->aio);
        }
        (void)pthread_cond_signal(&l->news);
    }
    (void)pthread_mutex_unlock(&l->lock);
}

static void on_pipe(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    (void)pipe;
    (void)event;
    plmm__link *l = arg;
    (void)pthread_mutex_lock(&l->lock);
    l->fresh = true;
    (void)pthread_cond_signal(&l->news);
    (void)pthread_mutex_unlock(&l->lock);
}

static int start(plmm__link *l, const char *url, size_t reply_max)
{
    int rv = nng_req0_open(&l->socket);
    l->has_socket = rv == 0;
    /* A request whose connection broke is not sent again by nng: what to send then is for the
     * machine to say. */
    rv = rv == 0 ? nng_socket_set_ms(l->socket, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE) : rv;
    rv = rv == 0 ? nng_socket_set_size(l->socket, NNG_OPT_RECVMAXSZ, reply_max) : rv;
    rv = rv == 0 ? nng_socket_set_ms(l->socket, NNG_OPT_RECONNMINT, DIAL_MIN_MS) : rv;
    rv = rv == 0 ? nng_socket_set_ms(l->socket, NNG_OPT_RECONNMAXT, DIAL_MAX_MS) : rv;
    rv = rv == 0 ? nng_aio_alloc(&l->aio, on_aio, l) : rv;
    rv = rv == 0 ? nng_pipe_notify(l->socket, NNG_PIPE_EV_ADD_POST, on_pipe, l) : rv;
    return rv == 0 ? nng_dial(l->socket, url, NULL, NNG_FLAG_NONBLOCK) : rv;
}

plmm_status plmm__link_open(plmm__link **out, const char *url, size_t reply_max, plmm_error *err)
{
    plmm__link *l = plmm_alloc(1, sizeof *l);
    if (l == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for the connection");
    }
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&l->lock, NULL);
    (void)pthread_cond_init(&l->news, &attr);
    (void)pthread_condattr_destroy(&attr);
    int rv = start(l, url, reply_max);
    if (rv != 0) {
        plmm__link_close(l);
        return plmm_fail(err, rv == NNG_ENOMEM ? PLMM_ERR_NOMEM : PLMM_ERR_IO, "cannot dial %s: %s",
                         url, nng_strerror(rv));
    }
    *out = l;
    return PLMM_OK;
}

void plmm__link_close(plmm__link *l)
{
    if (l == NULL) {
        return;
    }
    if (l->has_socket) {
        (void)nng_close(l->socket);
    }
    if (l->aio != NULL) {
        nng_aio_stop(l->aio);
        nng_aio_free(l->aio);
    }
    if (l->reply != NULL) {
        nng_msg_free(l->reply);
    }
    (void)pthread_cond_destroy(&l->news);
    (void)pthread_mutex_destroy(&l->lock);
    plmm_free(l);
}

/* Ends what is under way and forgets its result. */
static void reset(plmm__link *l)
{
    (void)pthread_mutex_lock(&l->lock);
    l->given_up = true;
    (void)pthread_mutex_unlock(&l->lock);
    nng_aio_abort(l->aio, NNG_ECANCELED);
    nng_aio_wait(l->aio); /* the callback has run: the aio may be used again */
    (void)pthread_mutex_lock(&l->lock);
    l->given_up = false;
    l->finished = false;
    nng_msg *old = l->reply;
    l->reply = NULL;
    (void)pthread_mutex_unlock(&l->lock);
    if (old != NULL) {
        nng_msg_free(old);
    }
}

plmm_status plmm__link_ask(plmm__link *l, const uint8_t *head, size_t head_len, const uint8_t *body,
                           size_t body_len, plmm_error *err)
{
    reset(l);
    nng_msg *msg = NULL;
    int rv = nng_msg_alloc(&msg, 0);
    rv = rv == 0 && head_len > 0 ? nng_msg_append(msg, head, head_len) : rv;
    rv = rv == 0 && body_len > 0 ? nng_msg_append(msg, body, body_len) : rv;
    if (rv != 0) {
        if (msg != NULL) {
            nng_msg_free(msg);
        }
        return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for a request of %zu bytes",
                         head_len + body_len);
    }
    (void)pthread_mutex_lock(&l->lock);
    l->state = LINK_SENDING;
    l->up += head_len + body_len;
    (void)pthread_mutex_unlock(&l->lock);
    nng_aio_set_msg(l->aio, msg);
    nng_send_aio(l->socket, l->aio);
    return PLMM_OK;
}

void plmm__link_give_up(plmm__link *l)
{
    reset(l);
}

bool plmm__link_asked(plmm__link *l)
{
    (void)pthread_mutex_lock(&l->lock);
    bool asked = l->state != LINK_IDLE;
    (void)pthread_mutex_unlock(&l->lock);
    return asked;
}

static struct timespec deadline_after(uint64_t wait_ms)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    wait_ms = wait_ms > 3600000 ? 3600000 : wait_ms;
    uint64_t ns = (uint64_t)t.tv_nsec + wait_ms % 1000 * 1000000;
    t.tv_sec += (time_t)(wait_ms / 1000 + ns / 1000000000);
    t.tv_nsec = (long)(ns % 1000000000);
    return t;
}

plmm__link_news plmm__link_wait(plmm__link *l, uint64_t wait_ms)
{
    struct timespec until = deadline_after(wait_ms);
    plmm__link_news news = LINK_TIMEOUT;
    (void)pthread_mutex_lock(&l->lock);
    while (!l->fresh && !l->finished) {
        if (pthread_cond_timedwait(&l->news, &l->lock, &until) == ETIMEDOUT) {
            break;
        }
    }
    if (l->finished) {
        l->finished = false;
        news = l->failed ? LINK_LOST : LINK_REPLY;
        l->down += l->reply != NULL ? nng_msg_len(l->reply) : 0;
    } else if (l->fresh) {
        l->fresh = false;
        news = LINK_NEW;
    }
    (void)pthread_mutex_unlock(&l->lock);
    return news;
}

void plmm__link_reply(const plmm__link *l, const uint8_t **bytes, size_t *len)
{
    PLMM_ASSERT(l->reply != NULL);
    *bytes = nng_msg_body(l->reply);
    *len = nng_msg_len(l->reply);
}

void plmm__link_traffic(const plmm__link *l, uint64_t *up, uint64_t *down)
{
    *up = l->up;
    *down = l->down;
}
