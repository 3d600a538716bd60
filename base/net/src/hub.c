#include "plmm/hub.h"

#include "plmm/alloc.h"

#include <errno.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

enum { SEND_WAIT_MS = 10000 };

typedef enum slot_state { SLOT_RECEIVING, SLOT_OPEN, SLOT_SENDING } slot_state;

typedef struct slot {
    plmm_hub *owner;
    uint32_t number;
    bool has_ctx;
    nng_ctx ctx;
    nng_aio *aio;
    slot_state state; /* RECEIVING and SENDING belong to nng's threads, OPEN to the loop */
    nng_msg *in;
    nng_msg *out;
    size_t out_used;
    uint32_t pipe;
} slot;

struct plmm_hub {
    nng_socket socket;
    bool has_socket;
    uint32_t port;
    pthread_mutex_t lock;
    pthread_cond_t news;
    bool closing;
    bool posted;
    uint32_t *ready; /* ring of slots with a request; as many as there are slots, so never full */
    uint32_t ready_at, ready_n;
    uint32_t n;
    slot *slots;
};

static void on_aio(void *arg);

static void listen_again(slot *s)
{
    s->state = SLOT_RECEIVING;
    nng_aio_set_timeout(s->aio, NNG_DURATION_INFINITE);
    nng_ctx_recv(s->ctx, s->aio);
}

/* On one of nng's threads: a request came, or a reply went out. */
static void on_aio(void *arg)
{
    slot *s = arg;
    plmm_hub *h = s->owner;
    int rv = nng_aio_result(s->aio);
    if (s->state == SLOT_SENDING) {
        if (rv != 0) {
            nng_msg_free(nng_aio_get_msg(s->aio));
            nng_aio_set_msg(s->aio, NULL);
        }
        if (rv != NNG_ECLOSED && rv != NNG_ECANCELED) {
            listen_again(s);
        }
        return;
    }
    if (rv == NNG_ECLOSED || rv == NNG_ECANCELED) {
        return; /* the hub closes */
    }
    if (rv != 0) {
        listen_again(s);
        return;
    }
    s->in = nng_aio_get_msg(s->aio);
    nng_aio_set_msg(s->aio, NULL);
    s->pipe = (uint32_t)nng_pipe_id(nng_msg_get_pipe(s->in));
    (void)pthread_mutex_lock(&h->lock);
    s->state = SLOT_OPEN;
    h->ready[(h->ready_at + h->ready_n) % h->n] = s->number;
    h->ready_n++;
    (void)pthread_cond_signal(&h->news);
    (void)pthread_mutex_unlock(&h->lock);
}

static plmm_status start_socket(plmm_hub *h, const plmm_hub_config *c, plmm_error *err)
{
    nng_listener listener;
    int rv = nng_rep0_open(&h->socket);
    h->has_socket = rv == 0;
    if (rv == 0) {
        rv = nng_socket_set_size(h->socket, NNG_OPT_RECVMAXSZ, c->request_max);
    }
    for (uint32_t i = 0; i < h->n && rv == 0; i++) {
        slot *s = &h->slots[i];
        rv = nng_ctx_open(&s->ctx, h->socket);
        s->has_ctx = rv == 0;
        rv = rv == 0 ? nng_aio_alloc(&s->aio, on_aio, s) : rv;
    }
    rv = rv == 0 ? nng_listener_create(&listener, h->socket, c->url) : rv;
    rv = rv == 0 ? nng_listener_start(listener, 0) : rv;
    int port = 0;
    rv = rv == 0 ? nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port) : rv;
    if (rv != 0) {
        return plmm_fail(err, rv == NNG_ENOMEM ? PLMM_ERR_NOMEM : PLMM_ERR_IO,
                         "cannot listen on %s: %s", c->url, nng_strerror(rv));
    }
    h->port = (uint32_t)port;
    return PLMM_OK;
}

plmm_status plmm_hub_open(plmm_hub **out, const plmm_hub_config *c, plmm_error *err)
{
    PLMM_ASSERT(c->slots >= 2 && c->slots <= 65536);
    plmm_hub *h = plmm_alloc(1, sizeof *h);
    if (h == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for the socket");
    }
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&h->lock, NULL);
    (void)pthread_cond_init(&h->news, &attr);
    (void)pthread_condattr_destroy(&attr);
    h->n = c->slots;
    h->slots = plmm_alloc(h->n, sizeof *h->slots);
    h->ready = plmm_alloc(h->n, sizeof *h->ready);
    plmm_status rc = PLMM_OK;
    if (h->slots == NULL || h->ready == NULL) {
        rc = plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for %u open requests", h->n);
        h->n = 0;
    }
    for (uint32_t i = 0; i < h->n; i++) {
        h->slots[i].owner = h;
        h->slots[i].number = i;
    }
    rc = rc == PLMM_OK ? start_socket(h, c, err) : rc;
    if (rc != PLMM_OK) {
        plmm_hub_close(h);
        return rc;
    }
    for (uint32_t i = 0; i < h->n; i++) {
        listen_again(&h->slots[i]);
    }
    *out = h;
    return PLMM_OK;
}

void plmm_hub_close(plmm_hub *h)
{
    if (h == NULL) {
        return;
    }
    if (h->has_socket) {
        (void)nng_close(h->socket); /* ends every receive and send with NNG_ECLOSED */
    }
    for (uint32_t i = 0; i < h->n; i++) {
        slot *s = &h->slots[i];
        if (s->aio != NULL) {
            nng_aio_stop(s->aio);
            nng_aio_free(s->aio);
        }
        if (s->in != NULL) {
            nng_msg_free(s->in);
        }
        if (s->out != NULL) {
            nng_msg_free(s->out);
        }
    }
    (void)pthread_cond_destroy(&h->news);
    (void)pthread_mutex_destroy(&h->lock);
    plmm_free(h->ready);
    plmm_free(h->slots);
    plmm_free(h);
}

uint32_t plmm_hub_port(const plmm_hub *h)
{
    return h->port;
}

uint32_t plmm_hub_slots(const plmm_hub *h)
{
    return h->n;
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

plmm_hub_news plmm_hub_wait(plmm_hub *h, uint64_t wait_ms, plmm_hub_request *r)
{
    struct timespec until = deadline_after(wait_ms);
    plmm_hub_news news = PLMM_HUB_TIMEOUT;
    (void)pthread_mutex_lock(&h->lock);
    while (h->ready_n == 0 && !h->posted) {
        if (pthread_cond_timedwait(&h->news, &h->lock, &until) == ETIMEDOUT) {
            break;
        }
    }
    if (h->posted) {
        h->posted = false;
        news = PLMM_HUB_POSTED;
    } else if (h->ready_n > 0) {
        slot *s = &h->slots[h->ready[h->ready_at]];
        h->ready_at = (h->ready_at + 1) % h->n;
        h->ready_n--;
        *r = (plmm_hub_request){s->number, s->pipe, nng_msg_body(s->in), nng_msg_len(s->in)};
        news = PLMM_HUB_REQUEST;
    }
    (void)pthread_mutex_unlock(&h->lock);
    return news;
}

void plmm_hub_post(plmm_hub *h)
{
    (void)pthread_mutex_lock(&h->lock);
    h->posted = true;
    (void)pthread_cond_signal(&h->news);
    (void)pthread_mutex_unlock(&h->lock);
}

void plmm_hub_release(plmm_hub *h, uint32_t number)
{
    slot *s = &h->slots[number];
    if (s->in != NULL) {
        nng_msg_free(s->in);
        s->in = NULL;
    }
}

plmm_status plmm_hub_reserve(plmm_hub *h, uint32_t number, size_t max, uint8_t **at,
                             plmm_error *err)
{
    slot *s = &h->slots[number];
    int rv = s->out == NULL ? nng_msg_alloc(&s->out, 0) : 0;
    rv = rv == 0 && nng_msg_len(s->out) < s->out_used + max
             ? nng_msg_realloc(s->out, s->out_used + max)
             : rv;
    if (rv != 0) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for a reply of %zu bytes",
                         s->out_used + max);
    }
    *at = (uint8_t *)nng_msg_body(s->out) + s->out_used;
    return PLMM_OK;
}

void plmm_hub_commit(plmm_hub *h, uint32_t number, size_t len)
{
    h->slots[number].out_used += len;
}

plmm_status plmm_hub_append(plmm_hub *h, uint32_t number, const uint8_t *bytes, size_t len,
                            plmm_error *err)
{
    uint8_t *at;
    PLMM_TRY(plmm_hub_reserve(h, number, len, &at, err));
    if (len > 0) {
        memcpy(at, bytes, len);
    }
    plmm_hub_commit(h, number, len);
    return PLMM_OK;
}

size_t plmm_hub_pending(const plmm_hub *h, uint32_t number)
{
    return h->slots[number].out_used;
}

void plmm_hub_reply(plmm_hub *h, uint32_t number)
{
    slot *s = &h->slots[number];
    plmm_hub_release(h, number);
    if (s->out == NULL && nng_msg_alloc(&s->out, 0) != 0) {
        listen_again(s); /* no memory for an empty reply: the device will ask again */
        return;
    }
    size_t spare = nng_msg_len(s->out) - s->out_used;
    (void)nng_msg_chop(s->out, spare);
    s->out_used = 0;
    s->state = SLOT_SENDING;
    nng_aio_set_msg(s->aio, s->out);
    s->out = NULL;
    nng_aio_set_timeout(s->aio, SEND_WAIT_MS);
    nng_ctx_send(s->ctx, s->aio);
}

void plmm_hub_hang_up(plmm_hub *h, uint32_t number)
{
    slot *s = &h->slots[number];
    nng_pipe pipe = {.id = s->pipe};
    plmm_hub_release(h, number);
    s->out_used = 0;
    (void)nng_pipe_close(pipe);
    listen_again(s);
}
