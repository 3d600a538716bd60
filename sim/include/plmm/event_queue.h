/* plmm/event_queue.h -- virtual time: a priority queue of (time, sequence).
 *
 * Events come out in the order of their time; events of one time in the order in which they were
 * posted. The order therefore depends on what was posted and on nothing else: no thread, no
 * address, no clock. One thread at a time.
 */
#ifndef PLMM_EVENT_QUEUE_H
#define PLMM_EVENT_QUEUE_H

#include "plmm/status.h"

typedef struct plmm_sim_event {
    uint64_t at_ms; /* virtual milliseconds since the start of the run */
    uint64_t seq;   /* given by the queue */
    uint32_t kind;  /* the engine's own numbering */
    uint32_t party; /* whom it concerns */
    uint64_t tag;   /* generation, step or whatever kind says */
    void *data;     /* owned by whoever holds the event; the queue never looks at it */
    size_t len;
} plmm_sim_event;

typedef struct plmm_event_queue {
    plmm_sim_event *heap; /* private */
    size_t n, cap;
    uint64_t seq, now_ms;
} plmm_event_queue;

/* An empty queue at time 0 is {0}. Frees the array; events with data must have been popped
 * before. */
void plmm_event_queue_free(plmm_event_queue *q);

/* Adds *ev; its time may not lie before the event popped last (asserted). PLMM_ERR_NOMEM leaves the
 * queue as it was, and ev->data with the caller. */
PLMM_NODISCARD plmm_status plmm_event_queue_post(plmm_event_queue *q, const plmm_sim_event *ev,
                                                 plmm_error *err);

/* Earliest event, or false when the queue is empty. now_ms becomes its time. */
bool plmm_event_queue_pop(plmm_event_queue *q, plmm_sim_event *out);

/* The earliest event without taking it, or NULL. Valid until the next call on q. */
const plmm_sim_event *plmm_event_queue_peek(const plmm_event_queue *q);

#endif
