/* plmm/hub.h -- a socket that answers: requests in, one reply to each, over nng's rep
 * protocol with a context for each request that is open. A request may be held for long (a device
 * waiting for news) and answered from the loop's thread. nng's threads only move messages into a
 * bounded queue; everything else happens in the thread that calls plmm_hub_wait. */
#ifndef PLMM_HUB_H
#define PLMM_HUB_H

#include "plmm/status.h"

typedef struct plmm_hub plmm_hub;

typedef struct plmm_hub_request {
    uint32_t slot;        /* names the request until plmm_hub_reply */
    uint32_t pipe;        /* the connection it came on; never 0 */
    const uint8_t *bytes; /* until plmm_hub_reply or plmm_hub_release */
    size_t len;
} plmm_hub_request;

/* What plmm_hub_wait came back with. */
typedef enum plmm_hub_news { PLMM_HUB_REQUEST, PLMM_HUB_POSTED, PLMM_HUB_TIMEOUT } plmm_hub_news;

typedef struct plmm_hub_config {
    const char *url;    /* checked loopback address; port 0 takes a free one */
    uint32_t slots;     /* requests open at a time, 2..65536 */
    size_t request_max; /* larger ones are dropped with their connection, before they are read */
} plmm_hub_config;

/* Listens. PLMM_ERR_IO with the address and the reason, PLMM_ERR_NOMEM. */
PLMM_NODISCARD plmm_status plmm_hub_open(plmm_hub **h, const plmm_hub_config *c, plmm_error *err);
void plmm_hub_close(plmm_hub *h); /* NULL is fine */

uint32_t plmm_hub_port(const plmm_hub *h);
uint32_t plmm_hub_slots(const plmm_hub *h);

/* Waits until a request or a post is there, or for wait_ms. Requests in the order they came. */
plmm_hub_news plmm_hub_wait(plmm_hub *h, uint64_t wait_ms, plmm_hub_request *r);

/* Wakes plmm_hub_wait up with PLMM_HUB_POSTED; for worker threads and signal watchers. */
void plmm_hub_post(plmm_hub *h);

/* Forgets the request's bytes, keeps the slot open for a later reply. */
void plmm_hub_release(plmm_hub *h, uint32_t slot);

/* Appends to the reply of the slot. PLMM_ERR_NOMEM. */
PLMM_NODISCARD plmm_status plmm_hub_append(plmm_hub *h, uint32_t slot, const uint8_t *bytes,
                                           size_t len, plmm_error *err);

/* Room for max octets at the end of the reply, to be filled in place, then plmm_hub_commit with
 * how many were. PLMM_ERR_NOMEM. */
PLMM_NODISCARD plmm_status plmm_hub_reserve(plmm_hub *h, uint32_t slot, size_t max, uint8_t **at,
                                            plmm_error *err);
void plmm_hub_commit(plmm_hub *h, uint32_t slot, size_t len);

/* Octets appended so far. */
size_t plmm_hub_pending(const plmm_hub *h, uint32_t slot);

/* Sends what was appended (maybe nothing); the slot then waits for another request. */
void plmm_hub_reply(plmm_hub *h, uint32_t slot);

/* Gives no reply and closes the request's connection; the slot then waits for another request. */
void plmm_hub_hang_up(plmm_hub *h, uint32_t slot);

#endif
