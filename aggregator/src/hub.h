/* hub.h -- the aggregator's socket: requests of devices in, one reply to each, over nng's rep
 * protocol with a context for each request that is open. A request may be held for long (a device
 * waiting for news) and answered from the loop's thread. nng's threads only move messages into a
 * bounded queue; everything else happens in the thread that calls plmm__hub_wait. */
#ifndef HUB_H
#define HUB_H

#include "plmm/status.h"

typedef struct plmm__hub plmm__hub;

typedef struct plmm__hub_request {
    uint32_t slot;        /* names the request until plmm__hub_reply */
    uint32_t pipe;        /* the connection it came on; never 0 */
    const uint8_t *bytes; /* until plmm__hub_reply or plmm__hub_release */
    size_t len;
} plmm__hub_request;

/* What plmm__hub_wait came back with. */
typedef enum plmm__hub_news { HUB_REQUEST, HUB_POSTED, HUB_TIMEOUT } plmm__hub_news;

typedef struct plmm__hub_config {
    const char *url;    /* checked loopback address; port 0 takes a free one */
    uint32_t slots;     /* requests open at a time, 2..65536 */
    size_t request_max; /* larger ones are dropped with their connection, before they are read */
} plmm__hub_config;

/* Listens. PLMM_ERR_IO with the address and the reason, PLMM_ERR_NOMEM. */
PLMM_NODISCARD plmm_status plmm__hub_open(plmm__hub **h, const plmm__hub_config *c,
                                          plmm_error *err);
void plmm__hub_close(plmm__hub *h); /* NULL is fine */

uint32_t plmm__hub_port(const plmm__hub *h);
uint32_t plmm__hub_slots(const plmm__hub *h);

/* Waits until a request or a post is there, or for wait_ms. Requests in the order they came. */
plmm__hub_news plmm__hub_wait(plmm__hub *h, uint64_t wait_ms, plmm__hub_request *r);

/* Wakes plmm__hub_wait up with HUB_POSTED; for worker threads and signal watchers. */
void plmm__hub_post(plmm__hub *h);

/* Forgets the request's bytes, keeps the slot open for a later reply. */
void plmm__hub_release(plmm__hub *h, uint32_t slot);

/* Appends to the reply of the slot. PLMM_ERR_NOMEM. */
PLMM_NODISCARD plmm_status plmm__hub_append(plmm__hub *h, uint32_t slot, const uint8_t *bytes,
                                            size_t len, plmm_error *err);

/* Room for max octets at the end of the reply, to be filled in place, then plmm__hub_commit with
 * how many were. PLMM_ERR_NOMEM. */
PLMM_NODISCARD plmm_status plmm__hub_reserve(plmm__hub *h, uint32_t slot, size_t max, uint8_t **at,
                                             plmm_error *err);
void plmm__hub_commit(plmm__hub *h, uint32_t slot, size_t len);

/* Octets appended so far. */
size_t plmm__hub_pending(const plmm__hub *h, uint32_t slot);

/* Sends what was appended (maybe nothing); the slot then waits for another request. */
void plmm__hub_reply(plmm__hub *h, uint32_t slot);

#endif
