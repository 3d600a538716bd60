/* plmm/line.h -- a connection that asks: one request at a time, over nng's req protocol, which dials
 * again by itself. Everything happens in the thread that calls plmm_line_wait; nng's threads only
 * leave word.
 *
 * A socket of nng before 1.9 can be lost for good: when its connection breaks between two parts of
 * a long request, the rest is never sent and never given up, nng's only reaper waits for it, nothing
 * dials again, and nng_close never returns. So a request that failed or was given up takes its socket
 * with it: the next one gets a new socket, and the old is closed on a thread of its own, which nobody
 * waits for longer than plmm_line_close says. */
#ifndef PLMM_LINE_H
#define PLMM_LINE_H

#include "plmm/status.h"

typedef struct plmm_line plmm_line;

typedef enum plmm_line_news {
    PLMM_LINE_REPLY,   /* the reply to the last request: plmm_line_reply gives its octets */
    PLMM_LINE_NEW,     /* the connection is new: whoever is there does not know who we are */
    PLMM_LINE_TIMEOUT, /* nothing within the time */
    PLMM_LINE_LOST     /* the request failed; ask again */
} plmm_line_news;

/* Begins to dial url (a checked loopback address) and returns at once; a peer that is not there yet
 * is tried again, at most every second. Replies above reply_max octets are refused. */
PLMM_NODISCARD plmm_status plmm_line_open(plmm_line **l, const char *url, size_t reply_max,
                                          plmm_error *err);
/* Waits at most two seconds for nng; what it does not give back by then stays with it until the
 * process ends. NULL is fine. */
void plmm_line_close(plmm_line *l);

/* Sends head and then body (which may be empty) as one request; an earlier one that was not
 * answered is given up. PLMM_ERR_NOMEM; PLMM_ERR_IO when nng has kept too many sockets. */
PLMM_NODISCARD plmm_status plmm_line_ask(plmm_line *l, const uint8_t *head, size_t head_len,
                                         const uint8_t *body, size_t body_len, plmm_error *err);

/* Gives up the request under way, if there is one: nobody answers it. */
void plmm_line_give_up(plmm_line *l);

/* Is a request without an answer? */
bool plmm_line_asked(plmm_line *l);

plmm_line_news plmm_line_wait(plmm_line *l, uint64_t wait_ms);

/* Of PLMM_LINE_REPLY: borrowed until the next plmm_line_ask. */
void plmm_line_reply(const plmm_line *l, const uint8_t **bytes, size_t *len);

/* Octets sent and received so far, without the transport's own. */
void plmm_line_traffic(const plmm_line *l, uint64_t *up, uint64_t *down);

#endif
