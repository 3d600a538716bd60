/* link.h -- the device's connection: one request at a time, over nng's req protocol, which dials
 * again by itself. Everything happens in the thread that calls plmm__link_wait; nng's threads only
 * leave word. */
#ifndef LINK_H
#define LINK_H

#include "plmm/status.h"

typedef struct plmm__link plmm__link;

typedef enum plmm__link_news {
    LINK_REPLY,   /* the reply to the last request: plmm__link_reply gives its octets */
    LINK_NEW,     /* the connection is new: whoever is there does not know who we are */
    LINK_TIMEOUT, /* nothing within the time */
    LINK_LOST     /* the request failed; ask again */
} plmm__link_news;

/* Begins to dial url (a checked loopback address) and returns at once; a peer that is not there yet
 * is tried again, at most every second. Replies above reply_max octets are refused. */
PLMM_NODISCARD plmm_status plmm__link_open(plmm__link **l, const char *url, size_t reply_max,
                                           plmm_error *err);
void plmm__link_close(plmm__link *l); /* NULL is fine */

/* Sends head and then body (which may be empty) as one request; an earlier one that was not
 * answered is given up. PLMM_ERR_NOMEM. */
PLMM_NODISCARD plmm_status plmm__link_ask(plmm__link *l, const uint8_t *head, size_t head_len,
                                          const uint8_t *body, size_t body_len, plmm_error *err);

/* Gives up the request under way, if there is one. */
void plmm__link_give_up(plmm__link *l);

/* Is a request without an answer? */
bool plmm__link_asked(plmm__link *l);

plmm__link_news plmm__link_wait(plmm__link *l, uint64_t wait_ms);

/* Of LINK_REPLY: borrowed until the next plmm__link_ask. */
void plmm__link_reply(const plmm__link *l, const uint8_t **bytes, size_t *len);

/* Octets sent and received so far, without the transport's own. */
void plmm__link_traffic(const plmm__link *l, uint64_t *up, uint64_t *down);

#endif
