#include "plmm/line.h"

#include "plmm/alloc.h"

#include <errno.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <pthread.h>
#include <time.h>

enum { DIAL_MIN_MS = 50, DIAL_MAX_MS = 1000, CLOSE_WAIT_MS = 2000, CLOSING_MAX = 64 };

typedef enum plmm_line_state { LINE_IDLE, LINE_SENDING, LINE_RECEIVING } plmm_line_state;

struct plmm_line {
    plmm_line *next; /* among those that are kept */
    char *url;
    size_t reply_max;
    nng_socket socket;
    bool has_socket;
    bool stale;       /* a request on this socket failed */
    uint32_t closing; /* sockets that nng has not given back yet */
    nng_aio *aio;
    pthread_mutex_t lock;
    pthread_cond_t news;
    plmm_line_state state; /* of the request */
    bool fresh;            /* a connection was made since the last PLMM_LINE_NEW */
    bool finished;         /* the request ended; failed says how */
    bool failed;
    bool given_up; /* no receive may begin any more */
    nng_msg *reply;
    uint64_t up, down;
};

/* On one of nng's threads: the request went out, or its reply came. */
static void on_aio(void *arg)
{
    plmm_line *l = arg;
    int rv = nng_aio_result(l->aio);
    (void)pthread_mutex_lock(&l->lock);
    bool sent = l->state == LINE_SENDING;
    if (rv == 0 && sent && !l->given_up) {
        l->state = LINE_RECEIVING;
        nng_recv_aio(l->socket, l->aio); /* under the lock: reset() must see it begun or not */
    } else {
        l->state = LINE_IDLE;
        l->finished = true;
        l->failed = rv != 0;
        l->stale = l->stale || (rv != 0 && !l->given_up);
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
    plmm_line *l = arg;
    (void)pthread_mutex_lock(&l->lock);
    l->fresh = true;
    (void)pthread_cond_signal(&l->news);
    (void)pthread_mutex_unlock(&l->lock);
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

/* Ends what is under way and forgets its result. */
static void reset(plmm_line *l)
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

/* A socket that dials; the line's from now on. */
static int start_socket(plmm_line *l)
{
    int rv = nng_req0_open(&l->socket);
    l->has_socket = rv == 0;
    /* A request whose connection broke is not sent again by nng: what to send then is for the
     * machine to say. */
    rv = rv == 0 ? nng_socket_set_ms(l->socket, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE) : rv;
    rv = rv == 0 ? nng_socket_set_size(l->socket, NNG_OPT_RECVMAXSZ, l->reply_max) : rv;
    rv = rv == 0 ? nng_socket_set_ms(l->socket, NNG_OPT_RECONNMINT, DIAL_MIN_MS) : rv;
    rv = rv == 0 ? nng_socket_set_ms(l->socket, NNG_OPT_RECONNMAXT, DIAL_MAX_MS) : rv;
    rv = rv == 0 ? nng_pipe_notify(l->socket, NNG_PIPE_EV_ADD_POST, on_pipe, l) : rv;
    return rv == 0 ? nng_dial(l->socket, l->url, NULL, NNG_FLAG_NONBLOCK) : rv;
}

typedef struct closer {
    plmm_line *l;
    nng_socket socket;
} closer;

static void *close_socket(void *arg)
{
    closer *c = arg;
    (void)nng_close(c->socket); /* may never return, see plmm/line.h */
    (void)pthread_mutex_lock(&c->l->lock);
    c->l->closing--;
    (void)pthread_cond_broadcast(&c->l->news);
    (void)pthread_mutex_unlock(&c->l->lock);
    plmm_free(c);
    return NULL;
}

/* Has the socket closed on a thread of its own. Without memory for that it stays open: it counts as
 * one that nng keeps. */
static void drop_socket(plmm_line *l)
{
    pthread_t thread;
    closer *c = plmm_alloc(1, sizeof *c);
    (void)pthread_mutex_lock(&l->lock);
    l->closing++;
    (void)pthread_mutex_unlock(&l->lock);
    l->has_socket = false;
    if (c == NULL) {
        return;
    }
    *c = (closer){l, l->socket};
    if (pthread_create(&thread, NULL, close_socket, c) != 0) {
        plmm_free(c);
        return;
    }
    (void)pthread_detach(thread);
}

plmm_status plmm_line_open(plmm_line **out, const char *url, size_t reply_max, plmm_error *err)
{
    plmm_line *l = plmm_alloc(1, sizeof *l);
    if (l == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for the connection");
    }
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&l->lock, NULL);
    (void)pthread_cond_init(&l->news, &attr);
    (void)pthread_condattr_destroy(&attr);
    l->url = plmm_strdup(url);
    l->reply_max = reply_max;
    int rv = l->url == NULL ? NNG_ENOMEM : nng_aio_alloc(&l->aio, on_aio, l);
    rv = rv == 0 ? start_socket(l) : rv;
    if (rv != 0) {
        plmm_line_close(l);
        return plmm_fail(err, rv == NNG_ENOMEM ? PLMM_ERR_NOMEM : PLMM_ERR_IO, "cannot dial %s: %s",
                         url, nng_strerror(rv));
    }
    *out = l;
    return PLMM_OK;
}

/* Until nng has given every socket back, or for so long. */
static bool all_closed(plmm_line *l)
{
    struct timespec until = deadline_after(CLOSE_WAIT_MS);
    int rv = 0;
    (void)pthread_mutex_lock(&l->lock);
    while (l->closing > 0 && rv != ETIMEDOUT) {
        rv = pthread_cond_timedwait(&l->news, &l->lock, &until);
    }
    bool all = l->closing == 0;
    (void)pthread_mutex_unlock(&l->lock);
    return all;
}

/* Lines that a thread of nng may still look at. */
static plmm_line *kept;
static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;

static void keep(plmm_line *l)
{
    (void)pthread_mutex_lock(&kept_lock);
    l->next = kept;
    kept = l;
    (void)pthread_mutex_unlock(&kept_lock);
}

void plmm_line_close(plmm_line *l)
{
    if (l == NULL) {
        return;
    }
    if (l->aio != NULL) {
        reset(l);
    }
    if (l->has_socket) {
        drop_socket(l);
    }
    if (!all_closed(l)) {
        keep(l);
        return;
    }
    if (l->aio != NULL) {
        nng_aio_free(l->aio);
    }
    (void)pthread_cond_destroy(&l->news);
    (void)pthread_mutex_destroy(&l->lock);
    plmm_free(l->url);
    plmm_free(l);
}

/* A new socket in place of one that is stale, or that could not be made the last time. */
static plmm_status renew(plmm_line *l, plmm_error *err)
{
    if (l->has_socket && !l->stale) {
        return PLMM_OK;
    }
    if (l->has_socket) {
        drop_socket(l);
    }
    (void)pthread_mutex_lock(&l->lock);
    uint32_t closing = l->closing;
    (void)pthread_mutex_unlock(&l->lock);
    if (closing > CLOSING_MAX) {
        return plmm_fail(err, PLMM_ERR_IO,
                         "the connection to %s broke in the middle of %u requests, whose sockets "
                         "nng does not give back; start again, or use nng 1.9 or later",
                         l->url, closing);
    }
    l->stale = false;
    int rv = start_socket(l);
    if (rv != 0) {
        l->stale = true;
        return plmm_fail(err, rv == NNG_ENOMEM ? PLMM_ERR_NOMEM : PLMM_ERR_IO, "cannot dial %s: %s",
                         l->url, nng_strerror(rv));
    }
    return PLMM_OK;
}

plmm_status plmm_line_ask(plmm_line *l, const uint8_t *head, size_t head_len, const uint8_t *body,
                          size_t body_len, plmm_error *err)
{
    reset(l);
    PLMM_TRY(renew(l, err));
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
    l->state = LINE_SENDING;
    l->up += head_len + body_len;
    (void)pthread_mutex_unlock(&l->lock);
    nng_aio_set_msg(l->aio, msg);
    nng_send_aio(l->socket, l->aio);
    return PLMM_OK;
}

bool plmm_line_asked(plmm_line *l)
{
    (void)pthread_mutex_lock(&l->lock);
    bool asked = l->state != LINE_IDLE;
    (void)pthread_mutex_unlock(&l->lock);
    return asked;
}

void plmm_line_give_up(plmm_line *l)
{
    l->stale = l->stale || plmm_line_asked(l);
    reset(l);
}

plmm_line_news plmm_line_wait(plmm_line *l, uint64_t wait_ms)
{
    struct timespec until = deadline_after(wait_ms);
    plmm_line_news news = PLMM_LINE_TIMEOUT;
    (void)pthread_mutex_lock(&l->lock);
    while (!l->fresh && !l->finished) {
        if (pthread_cond_timedwait(&l->news, &l->lock, &until) == ETIMEDOUT) {
            break;
        }
    }
    if (l->finished) {
        l->finished = false;
        news = l->failed ? PLMM_LINE_LOST : PLMM_LINE_REPLY;
        l->down += l->reply != NULL ? nng_msg_len(l->reply) : 0;
    } else if (l->fresh) {
        l->fresh = false;
        news = PLMM_LINE_NEW;
    }
    (void)pthread_mutex_unlock(&l->lock);
    return news;
}

void plmm_line_reply(const plmm_line *l, const uint8_t **bytes, size_t *len)
{
    PLMM_ASSERT(l->reply != NULL);
    *bytes = nng_msg_body(l->reply);
    *len = nng_msg_len(l->reply);
}

void plmm_line_traffic(const plmm_line *l, uint64_t *up, uint64_t *down)
{
    *up = l->up;
    *down = l->down;
}
