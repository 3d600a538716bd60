#include "plmm/event_queue.h"

#include "plmm/alloc.h"

static bool before(const plmm_sim_event *a, const plmm_sim_event *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->seq < b->seq;
}

void plmm_event_queue_free(plmm_event_queue *q)
{
    plmm_free(q->heap);
    *q = (plmm_event_queue){0};
}

plmm_status plmm_event_queue_post(plmm_event_queue *q, const plmm_sim_event *ev, plmm_error *err)
{
    PLMM_ASSERT(ev->at_ms >= q->now_ms);
    if (q->n == q->cap) {
        size_t cap = q->cap == 0 ? 256 : 2 * q->cap;
        plmm_sim_event *heap = plmm_grow(q->heap, q->cap, cap, sizeof *heap);
        if (heap == NULL) {
            return plmm_fail(err, PLMM_ERR_NOMEM, "cannot post event %zu: out of memory", q->n);
        }
        q->heap = heap;
        q->cap = cap;
    }
    plmm_sim_event e = *ev;
    e.seq = q->seq++;
    size_t i = q->n++;
    while (i > 0 && before(&e, &q->heap[(i - 1) / 2])) {
        q->heap[i] = q->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    q->heap[i] = e;
    return PLMM_OK;
}

bool plmm_event_queue_pop(plmm_event_queue *q, plmm_sim_event *out)
{
    if (q->n == 0) {
        return false;
    }
    *out = q->heap[0];
    plmm_sim_event last = q->heap[--q->n];
    size_t i = 0;
    for (size_t child = 1; child < q->n; child = 2 * i + 1) {
        if (child + 1 < q->n && before(&q->heap[child + 1], &q->heap[child])) {
            child++;
        }
        if (before(&last, &q->heap[child])) {
            break;
        }
        q->heap[i] = q->heap[child];
        i = child;
    }
    q->heap[i] = last;
    q->now_ms = out->at_ms;
    return true;
}

const plmm_sim_event *plmm_event_queue_peek(const plmm_event_queue *q)
{
    return q->n == 0 ? NULL : &q->heap[0];
}
